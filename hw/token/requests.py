"""Requests of the token core's instructions: gains, angles, scales, and the embedding's row."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT
from .instruction import instruction_layout
from .memory_port import read_request
from .program import INSTRUCTION_BYTES, Op
from .router import element_words, route_shape
from .tokens import token_number

__all__ = ["GAIN_OUTPUTS", "SCALE_OUTPUTS", "Requester", "units"]

#: Outputs of the routers of the two channels for elements, in order.
GAIN_OUTPUTS = ("peak", "normalizer", "angles")
SCALE_OUTPUTS = ("attention", "scaler", "embedding")


class Requester(wiring.Component):
    """Asks for the words that an instruction needs from memory, and tells where they go.

    =============  ==========================  ====================================================
    channel        instructions                words
    =============  ==========================  ====================================================
    gains          ``PRODUCT``, ``HEAD``       gains of the vector that is quantized; with
                                               ``PRODUCT`` as often as there are tokens
    gains          ``EMBED``, ``PRODUCT``,     gains of the norm that follows the result, behind the
                   ``ATTEND``                  words of the line above
    gains          ``ANGLES``                  angles of the position
    scales         ``PRODUCT``                 table of the weights' scales
    scales         ``EMBED``                   the word with the scale of the token's embedding
    rows           ``EMBED``                   row of the token's embedding
    =============  ==========================  ====================================================

    Requests of different channels leave in any order. A request and its route leave in the same
    cycle, or both wait: routes match requests by their order. The attention asks for its own rows
    and scales.

    Latency: 1 cycle from ``begins`` to the first request of each channel. Throughput: one request
    of each channel per cycle.

    Example: token 300 of an embedding whose scales begin at byte 4,096, with memory words of 64
    bytes and 4 lanes. Its scale is at byte 4,096 + 4 · 300 = 5,296, in the word at 5,248. It is
    element 12 of this word, and so the route skips 3 words of 4 elements.

    - Scales: they wait while the attention works, so that no other request is between its own.
    - Embedding: ``scale`` is there from the cycle after ``have_scale`` rises. ``EMBED`` clears
      ``have_scale`` before its request leaves, so that no scale from before counts.
    - Reset: requests that wait are dropped.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    begins : In(1); the instruction begins; it stays until ``waits`` is low
    instruction : In(512); the instruction, see ``instruction_layout``
    others : In; tokens of the pass behind the first one
    token : In; the token
    embedding_offset, angle_offset : In(32); bytes from the rows of token 0 and the angles of
        position 0 to those of this token and this position
    busy_attention : In(1); the attention may ask for scales
    gain_requests, scale_requests, row_requests : Out(streams of ``read_request``)
    gain_routes, scale_routes : Out(streams of ``route_shape``)
    embedding : In(stream of ``element_words``); the word with the scale of the token's embedding;
        always ready
    scale : Out(element); scale of the token's embedding
    have_scale : Out(1); ``scale`` has come
    waits : Out(1); a request is not accepted
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        request = stream.Signature(read_request(config))
        super().__init__(
            {
                "begins": In(1),
                "instruction": In(8 * INSTRUCTION_BYTES),
                "others": In(token_number(config)),
                "token": In(range(config.vocabulary_max)),
                "embedding_offset": In(config.address_bits),
                "angle_offset": In(config.address_bits),
                "busy_attention": In(1),
                "gain_requests": Out(request),
                "scale_requests": Out(request),
                "row_requests": Out(request),
                "gain_routes": Out(stream.Signature(route_shape(config, len(GAIN_OUTPUTS)))),
                "scale_routes": Out(stream.Signature(route_shape(config, len(SCALE_OUTPUTS)))),
                "embedding": In(stream.Signature(element_words(config))),
                "scale": Out(ELEMENT),
                "have_scale": Out(1),
                "waits": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Note the requests of an instruction when it begins; the other methods send them."""
        m = Module()
        now = {op: data.View(instruction_layout(op), self.instruction) for op in Op}
        head = now[Op.END]
        product, embed = head.op == Op.PRODUCT, head.op == Op.EMBED
        attend, last = head.op == Op.ATTEND, head.op == Op.HEAD
        loads = (product & head.load) | last
        conditions = {
            # Two requests of one channel: the first for this instruction, the second for the peaks.
            "gains": (loads & head.gained) | (head.op == Op.ANGLES),
            "peak_gains": (product | embed | attend) & head.peak_gained,
            "scales": (product & head.table) | embed,
            "rows": embed,
        }
        wanted = {name: Signal(name=f"wanted_{name}") for name in conditions}
        m.d.comb += self.waits.eq(Cat(wanted.values()).any())
        with m.If(self.begins):
            m.d.sync += [wanted[name].eq(value) for name, value in conditions.items()]
        self._request_gains(m, now, wanted)
        self._request_scales(m, now, wanted["scales"])
        self._keep_scale(m)
        m.d.comb += [
            self.row_requests.valid.eq(wanted["rows"]),
            self.row_requests.p.address.eq(now[Op.EMBED].rows + self.embedding_offset),
            self.row_requests.p.words.eq(now[Op.EMBED].row_words),
        ]
        with m.If(wanted["rows"] & self.row_requests.ready):
            m.d.sync += wanted["rows"].eq(0)
        return m

    def _request_gains(
        self, m: Module, now: dict[Op, data.View], wanted: dict[str, Signal]
    ) -> None:
        """Ask for the gains of the vector that is quantized, or for angles; then for the peaks'."""
        config = self._config
        lanes, per_word = config.vector_lanes, config.memory_width // 32
        product, head, angles = now[Op.PRODUCT], now[Op.HEAD], now[Op.ANGLES]
        address, count = Signal(config.address_bits), Signal(config.address_bits)
        output = Signal(range(len(GAIN_OUTPUTS)))
        with m.If(wanted["gains"]):
            m.d.comb += output.eq(GAIN_OUTPUTS.index("normalizer"))
            with m.Switch(product.op):
                with m.Case(Op.ANGLES):
                    m.d.comb += [
                        address.eq(angles.address + self.angle_offset),
                        count.eq(angles.words * lanes),
                        output.eq(GAIN_OUTPUTS.index("angles")),
                    ]
                with m.Case(Op.HEAD):
                    m.d.comb += [address.eq(head.gains), count.eq(head.k)]
                with m.Default():
                    m.d.comb += [address.eq(product.gains), count.eq(product.k)]
        with m.Else():
            m.d.comb += output.eq(GAIN_OUTPUTS.index("peak"))
            with m.Switch(product.op):
                for op in (Op.EMBED, Op.ATTEND):
                    with m.Case(op):
                        m.d.comb += [address.eq(now[op].peak_gains), count.eq(now[op].count)]
                with m.Default():
                    m.d.comb += [address.eq(product.peak_gains), count.eq(product.n)]
        both = self.gain_requests.ready & self.gain_routes.ready
        gains = wanted["gains"] | wanted["peak_gains"]
        m.d.comb += [
            self.gain_requests.valid.eq(gains & self.gain_routes.ready),
            self.gain_routes.valid.eq(gains & self.gain_requests.ready),
            self.gain_requests.p.address.eq(address),
            self.gain_requests.p.words.eq(units(count, per_word)),
            self.gain_routes.p.output.eq(output),
            self.gain_routes.p.count.eq(units(count, lanes)),
        ]
        # Each token of a product has a pass over the gains of its own.
        again: Value = Const(0)
        if config.tokens > 1:
            left = Signal.like(self.others)
            again = left != 0
            with m.If(self.begins):
                m.d.sync += left.eq(Mux(product.op == Op.PRODUCT, self.others, 0))
            with m.Elif(both & wanted["gains"]):
                m.d.sync += left.eq(left - 1)
        with m.If(both & wanted["gains"]):
            m.d.sync += wanted["gains"].eq(again)
        with m.Elif(both & wanted["peak_gains"]):
            m.d.sync += wanted["peak_gains"].eq(0)

    def _request_scales(self, m: Module, now: dict[Op, data.View], wanted: Signal) -> None:
        """Ask for the scales of the weights, or for the word with that of the embedding."""
        config = self._config
        product, embed = now[Op.PRODUCT], now[Op.EMBED]
        embedding = embed.op == Op.EMBED
        place = (embed.scales + (self.token << 2))[: config.address_bits]
        bits = (config.memory_width // 8 - 1).bit_length()
        element = place[2:bits] if bits > 2 else place[:0]
        # The attention's requests go first: it must not wait behind scales of its own results.
        asked = wanted & ~self.busy_attention
        m.d.comb += [
            self.scale_requests.valid.eq(asked & self.scale_routes.ready),
            self.scale_routes.valid.eq(asked & self.scale_requests.ready),
            self.scale_requests.p.address.eq(Mux(embedding, place >> bits << bits, product.scales)),
            self.scale_requests.p.words.eq(Mux(embedding, 1, product.scale_words)),
            self.scale_routes.p.output.eq(
                Mux(embedding, SCALE_OUTPUTS.index("embedding"), SCALE_OUTPUTS.index("scaler"))
            ),
            self.scale_routes.p.skip.eq(
                Mux(embedding, element >> (config.vector_lanes.bit_length() - 1), 0)
            ),
            self.scale_routes.p.count.eq(Mux(embedding, 1, product.scale_count)),
        ]
        with m.If(asked & self.scale_requests.ready & self.scale_routes.ready):
            m.d.sync += wanted.eq(0)

    def _keep_scale(self, m: Module) -> None:
        """Take the scale of the token's embedding, one element of a word."""
        lanes = self._config.vector_lanes
        # Scales begin at a whole word, so that the token's low bits are the place of its scale.
        lane = self.token[: (lanes - 1).bit_length()]
        word = Value.cast(self.embedding.p.elements)
        m.d.comb += self.embedding.ready.eq(1)
        with m.If(self.embedding.valid):
            m.d.sync += Value.cast(self.scale).eq(word.word_select(lane, ELEMENT.size))
            m.d.sync += self.have_scale.eq(1)
        op = data.View(instruction_layout(Op.END), self.instruction).op
        with m.If(self.begins & (op == Op.EMBED)):
            m.d.sync += self.have_scale.eq(0)


def units(value: Value, size: int) -> Value:
    """Number of units that a count takes: divided by a power of two, and rounded up.

    Parameters
    ----------
    value : the count
    size : counts in a unit, a power of two
    """
    return (value + (size - 1)) >> (size.bit_length() - 1)
