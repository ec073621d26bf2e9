"""Memory side of the token core: the port, its channels, and the ways of their words."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..gearbox import Gearbox
from .config import TokenConfig, check_core_config
from .dots import byte_row
from .element import ELEMENT
from .instruction import instruction_layout
from .memory_port import (
    MemoryPort,
    memory_request,
    memory_response,
    memory_write,
    read_request,
    read_word,
)
from .program import INSTRUCTION_BYTES, Op
from .requests import GAIN_OUTPUTS, SCALE_OUTPUTS, Requester
from .router import ElementRouter, element_words
from .scaler import vector_word
from .tokens import token_number

__all__ = ["CoreMemory"]

#: Channels of the memory port, in order: gains and angles, scales, rows of bytes, the program.
_CHANNELS = ("gains", "scales", "rows", "program")


class CoreMemory(wiring.Component):
    """Reads what instructions and the attention need, and hands each word to its unit.

    =========  ===========================  ======================================================
    channel    asked by                     units that get the words
    =========  ===========================  ======================================================
    gains      ``Requester``                peaks, normalizer, heads
    scales     ``Requester``, attention     scaler, attention, and ``Requester`` for the embedding
    rows       ``Requester``, attention     attention, and the scaler for the embedding
    program    sequencer                    sequencer
    =========  ===========================  ======================================================

    Latency: that of ``MemoryPort``, and 1 cycle for the cutting into words of L elements or into
    chunks. Throughput: a memory word per cycle in all; for each channel a word of L elements, or a
    chunk, per cycle.

    Example: an embedding row of 72 bytes lies in memory as 128 bytes, with attention lanes of 64
    bytes. The scaler takes 18 words of 4 bytes. The 56 bytes behind them are dropped.

    - Two users of one channel: the instruction goes first. It asks for scales and rows only while
      the attention is idle.
    - Rows of the embedding are padded to whole words. The zeros behind the last element are
      dropped, so that they do not block the next row. The attention's rows come behind them in the
      same channel, so that none is left when the next token begins.
    - Reset: requests and words are dropped. The memory must then not answer reads from before.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    requests, write_data, read_data, error : the memory port, see ``MemoryPort``
    begins, instruction, others, token, embedding_offset, angle_offset, scale, have_scale : see
        ``Requester``
    waits : likewise
    busy_attention : In(1); the attention has a command
    embeds : Out(1); bytes of an embedding's row, or its zeros, are left
    taking_bytes : In(1); the scaler takes an embedding, see ``ResultScaler``
    program_requests : In(stream of ``read_request``)
    program : Out(stream of ``read_word``)
    writes : In(stream of ``memory_write``); those of the cache
    attention_scales, attention_rows : In(streams of ``read_request``)
    peak_gains, gains, angles, weight_scales : Out(streams of ``vector_word``)
    attention_elements : Out(stream of ``element_words``)
    rows : Out(stream of ``byte_row``)
    bytes : Out(stream of L signed bytes)
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        request = stream.Signature(read_request(config))
        word = stream.Signature(vector_word(config))
        bytes_ = data.ArrayLayout(signed(8), config.vector_lanes)
        written = data.StructLayout(
            {"data": config.memory_width, "strobes": config.memory_width // 8}
        )
        super().__init__(
            {
                "requests": Out(stream.Signature(memory_request(config))),
                "write_data": Out(stream.Signature(written)),
                "read_data": In(stream.Signature(memory_response(config))),
                "error": Out(1),
                "begins": In(1),
                "instruction": In(8 * INSTRUCTION_BYTES),
                "others": In(token_number(config)),
                "token": In(range(config.vocabulary_max)),
                "embedding_offset": In(config.address_bits),
                "angle_offset": In(config.address_bits),
                "scale": Out(ELEMENT),
                "have_scale": Out(1),
                "waits": Out(1),
                "embeds": Out(1),
                "busy_attention": In(1),
                "taking_bytes": In(1),
                "program_requests": In(request),
                "program": Out(stream.Signature(read_word(config))),
                "writes": In(stream.Signature(memory_write(config))),
                "attention_scales": In(request),
                "attention_rows": In(request),
                "peak_gains": Out(word),
                "gains": Out(word),
                "angles": Out(word),
                "weight_scales": Out(word),
                "attention_elements": Out(stream.Signature(element_words(config))),
                "rows": Out(stream.Signature(byte_row(config))),
                "bytes": Out(stream.Signature(bytes_)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the port with its users, channel by channel."""
        m = Module()
        config = self._config
        m.submodules.port = port = MemoryPort(config, channels=len(_CHANNELS))
        m.submodules.requester = requester = Requester(config)
        m.submodules.gains = gains = ElementRouter(config, outputs=len(GAIN_OUTPUTS))
        m.submodules.scales = scales = ElementRouter(config, outputs=len(SCALE_OUTPUTS))
        requests = dict(zip(_CHANNELS, port.channel_requests, strict=True))
        words = dict(zip(_CHANNELS, port.channel_words, strict=True))
        for name in (
            "begins", "instruction", "others", "token", "embedding_offset", "angle_offset",
        ):  # fmt: skip
            m.d.comb += getattr(requester, name).eq(getattr(self, name))
        m.d.comb += [
            requester.busy_attention.eq(self.busy_attention),
            self.scale.eq(requester.scale),
            self.have_scale.eq(requester.have_scale),
            self.waits.eq(requester.waits),
            self.error.eq(port.error),
        ]
        for name in ("requests", "write_data"):
            wiring.connect(m, getattr(port, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.read_data), port.read_data)
        wiring.connect(m, wiring.flipped(self.writes), port.writes)
        wiring.connect(m, wiring.flipped(self.program_requests), requests["program"])
        wiring.connect(m, words["program"], wiring.flipped(self.program))
        wiring.connect(m, requester.gain_requests, requests["gains"])
        wiring.connect(m, requester.gain_routes, gains.routes)
        wiring.connect(m, words["gains"], gains.memory)
        wiring.connect(m, words["scales"], scales.memory)
        for name, router, outputs, target in (
            ("peak", gains, GAIN_OUTPUTS, self.peak_gains),
            ("normalizer", gains, GAIN_OUTPUTS, self.gains),
            ("angles", gains, GAIN_OUTPUTS, self.angles),
            ("scaler", scales, SCALE_OUTPUTS, self.weight_scales),
        ):
            source = router.outputs[outputs.index(name)]
            m.d.comb += [
                target.p.eq(source.p.elements),
                target.valid.eq(source.valid),
                source.ready.eq(target.ready),
            ]
        attention = scales.outputs[SCALE_OUTPUTS.index("attention")]
        wiring.connect(m, attention, wiring.flipped(self.attention_elements))
        wiring.connect(m, scales.outputs[SCALE_OUTPUTS.index("embedding")], requester.embedding)
        self._share_scales(m, requester, requests["scales"], scales.routes)
        self._share_rows(m, requester, requests["rows"], words["rows"])
        return m

    def _share_scales(
        self,
        m: Module,
        requester: Requester,
        channel: wiring.PureInterface,
        routes: wiring.PureInterface,
    ) -> None:
        """Requests for scales, of the instruction or of the attention, and their routes.

        A request and its route leave in the same cycle, or both wait. The instruction asks only
        while the attention is idle: its requests never replace one that waits.
        """
        own, whole = requester.scale_requests, self.attention_scales
        chosen = own.valid | requester.scale_routes.valid
        m.d.comb += [
            channel.p.eq(Mux(chosen, own.p.as_value(), whole.p.as_value())),
            channel.valid.eq(Mux(chosen, own.valid, whole.valid & routes.ready)),
            own.ready.eq(channel.ready),
            requester.scale_routes.ready.eq(routes.ready),
            whole.ready.eq(channel.ready & routes.ready & ~chosen),
            routes.valid.eq(Mux(chosen, requester.scale_routes.valid, whole.valid & channel.ready)),
        ]
        with m.If(chosen):
            m.d.comb += routes.p.eq(requester.scale_routes.p)
        with m.Else():
            m.d.comb += [
                routes.p.output.eq(SCALE_OUTPUTS.index("attention")),
                routes.p.count.eq(~0),
            ]

    def _share_rows(
        self,
        m: Module,
        requester: Requester,
        channel: wiring.PureInterface,
        words: wiring.PureInterface,
    ) -> None:
        """Requests for rows, and their words: to the attention, or an embedding's to the scaler."""
        own, others = requester.row_requests, self.attention_rows
        # Requests of one user follow at once. Those of the other wait until all words have left, so
        # that words are those of the last request, however late they come.
        embedding, under_way = Signal(), Signal(range(4))
        free = (under_way == 0) | (embedding == own.valid)
        with m.If(own.valid):
            m.d.comb += [channel.p.eq(own.p), channel.valid.eq(free)]
            m.d.comb += own.ready.eq(channel.ready & free)
        with m.Else():
            m.d.comb += [channel.p.eq(others.p), channel.valid.eq(others.valid & free)]
            m.d.comb += others.ready.eq(channel.ready & free)
        accepted = channel.valid & channel.ready
        # Counted one cycle later, because the ready of the words comes late in a cycle.
        ended = Signal()
        m.d.sync += ended.eq(words.valid & words.ready & words.p.last)
        m.d.sync += under_way.eq(under_way + accepted - ended)
        with m.If(accepted):
            m.d.sync += embedding.eq(own.valid)
        config = self._config
        word_bytes = config.memory_width // 8
        op = data.View(instruction_layout(Op.END), self.instruction).op
        m.submodules.chunks = chunks = Gearbox(
            in_bytes=word_bytes, out_bytes=config.attention_lanes
        )
        m.submodules.pieces = pieces = Gearbox(in_bytes=word_bytes, out_bytes=config.vector_lanes)
        # A chunk stays for several cycles. Behind a register, words of the next one come meanwhile.
        held = Signal(data.StructLayout({"valid": 1, "row": byte_row(config)}))
        if config.attention_lanes > word_bytes:
            m.d.comb += [
                self.rows.p.eq(held.row),
                self.rows.valid.eq(held.valid),
                chunks.o.ready.eq(self.rows.ready | ~held.valid),
            ]
            with m.If(chunks.o.ready):
                m.d.sync += held.valid.eq(chunks.o.valid)
                m.d.sync += Value.cast(held.row).eq(Value.cast(chunks.o.p.data))
        else:
            m.d.comb += [
                Value.cast(self.rows.p).eq(Value.cast(chunks.o.p.data)),
                self.rows.valid.eq(chunks.o.valid),
                chunks.o.ready.eq(self.rows.ready),
            ]
        for gearbox, used in ((chunks, ~embedding), (pieces, embedding)):
            m.d.comb += [
                gearbox.i.p.data.eq(words.p.data),
                gearbox.i.p.count.eq(word_bytes // gearbox.unit_bytes),
                gearbox.i.p.last.eq(words.p.last),
                gearbox.i.valid.eq(words.valid & used),
            ]
        if config.tokens > 1:
            m.d.comb += self.embeds.eq((embedding & (under_way != 0)) | ~pieces.empty)
        # The scaler stops at the end of the embedding. The zeros behind it are dropped here.
        begun = Signal()
        with m.If(self.taking_bytes):
            m.d.sync += begun.eq(1)
        with m.Elif(self.begins & (op == Op.EMBED)):
            m.d.sync += begun.eq(0)
        m.d.comb += [
            words.ready.eq(Mux(embedding, pieces.i.ready, chunks.i.ready)),
            Value.cast(self.bytes.p).eq(Value.cast(pieces.o.p.data)),
            self.bytes.valid.eq(pieces.o.valid),
            pieces.o.ready.eq(self.bytes.ready | (begun & ~self.taking_bytes)),
        ]
