"""The token core: from a token's number to the next, in hardware."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_flag
from ..engine.engine import MatVecEngine
from ..gearbox import Gearbox
from .attention import AttentionUnit
from .cache_writer import CacheWriter
from .config import TokenConfig, check_core_config
from .core_memory import CoreMemory
from .element import constant
from .head_rows import HeadRows
from .heads import HeadUnit
from .instruction import instruction_layout
from .memory_port import memory_request, memory_response
from .normalizer import Normalizer
from .padder import RowPadder
from .passes import core_command
from .peak import PeakTracker
from .program import Op
from .scaler import ResultScaler, vector_word
from .sequencer import Sequencer, fetch_shape
from .tokens import is_token, token_number
from .topk import TopK, answer_shape
from .writer import VectorWriter, vector_place, vector_write

__all__ = ["TRACE_PARTS", "TokenCore", "TraceKind", "faults_layout", "trace_shape"]


class TraceKind(enum.Enum, shape=2):
    """Vectors of the trace.

    - ``ELEMENTS``: a word that is written to the vector memory
    - ``INPUT``: bytes of a vector in front of a product or of the head
    - ``HEADS``: bytes of heads of queries, keys or values
    """

    ELEMENTS = 0
    INPUT = 1
    HEADS = 2


#: Parts whose work the trace shows. A cycle counts for the first one that works.
TRACE_PARTS = ("products", "head", "attention", "heads", "norms", "results")


def trace_shape(config: TokenConfig) -> data.StructLayout:
    """Layout of the trace.

    Fields
    ------
    kind : ``TraceKind``
    last : the word ends a vector, or a head
    parts : parts that work in this cycle, also between words of the trace: one bit for each of
        ``TRACE_PARTS``
    word : L elements, or L bytes in the lowest bits
    token : number of the token of elements, whose words come in turn; 0 with bytes
    """
    word, parts, token = 24 * config.vector_lanes, len(TRACE_PARTS), token_number(config)
    return data.StructLayout(
        {"kind": TraceKind, "last": 1, "parts": parts, "word": word, "token": token}
    )


def faults_layout() -> data.StructLayout:
    """Causes of the sticky error, see ``TokenCore``."""
    return data.StructLayout({"stopped": 1, "large": 1, "weight": 1, "job": 1, "memory": 1})


class TokenCore(wiring.Component):
    """Runs a ternary transformer: token in, largest logits out, without arithmetic elsewhere.

    The golden model is ``CoreModel`` of ``trilith.golden.network.token_core``: every vector equals
    its own, bit for bit. A program in memory, which ``trilith.hw.token.image`` writes, has the
    shape of the model. The memory also holds the cache, the embedding, the head, gains and angles.
    Ternary weights come on a stream of their own. So do the rows of the head, behind all weights,
    with ``TokenConfig.head_on_weights``.

    ============  ================================================================================
    instruction   way of the data
    ============  ================================================================================
    ``ANGLES``    memory → head unit
    ``EMBED``     memory → scaler → writer → vector memory
    ``PRODUCT``   vector memory → normalizer → engine → scaler → writer → vector memory
    ``HEADS``     vector memory → head unit → query buffer of the attention, or cache in memory
    ``ATTEND``    memory → attention → vector memory
    ``HEAD``      vector memory → normalizer → attention (with the rows) → ``TopK``
    ============  ================================================================================

    Every word that is written to the vector memory also goes to ``PeakTracker`` if its peaks are
    wanted. The normalizer therefore reads a vector once. Products of one vector share its bytes in
    the engine, and its factor.

    Latency: it depends on the model, the position and the memory; the parts state their own.
    Throughput: one pass at a time. The next command is accepted when the program of the one before
    has ended and all its answers are taken.

    Example: the commands (token 5, position 0, k 0) and (token 9, position 1, k 2) give two
    answers, both after the second one. They are the largest logit and, with ``last``, the next one.

    - Prompt: a command with k = 0 fills the cache, and skips the head. It gives no answer.
    - Pass: with T = ``engine.tokens`` above 1, up to T commands of consecutive positions run at
      once, and read the weights once. All but the last one have ``more`` set, and give no answer:
      their k is ignored. Each token attends to itself and to the positions before it. Every vector
      is the same as without passes.
    - Faults of a pass: one command that is illegal, a position that does not follow the one before,
      or more than T commands end the pass as a whole, behind its last command.
    - Position: it must count up from 0. The attention reads the cache of all positions before it,
      whatever token wrote them. Position 0 begins a new text without a reset.
    - Faults of a command: a token, a position or k that the model does not have ends the command
      without an answer, and sets ``error``. The cache stays as it is. The next command is legal.
    - Faults of the program: an unknown operation, a count of 0 or above a maximum, and a missing
      ``HEAD`` or ``END`` likewise. Instructions before it have run. The core does not check the
      order of the others, nor whether counts fit each other: such a program may wait for ever.
    - Faults of the memory: a word with an error is used as it is. No instruction begins after it,
      the command ends without an answer, and ``error`` stays set. All later commands end likewise
      until a reset.
    - Faults of the weights: an illegal code counts as 0, and sets ``error``. The token goes on.
    - Large values: they saturate as in the golden model, and set ``error`` where its
      ``OverflowFlag`` rises. The token goes on, and its answers equal those of the golden model.
    - Stalls: late memory, late weights or answers that are not taken delay the token, and change no
      value. The trace cannot delay it.
    - Reset: it drops the command and clears ``error``. Memory must drop reads from before. The
      cache in memory stays.

    Parameters
    ----------
    config : engine, widths, and the largest model
    trace : whether there is a port that shows every vector, for tests

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``, or ``trace`` is not a bool.

    Members
    -------
    commands : In(stream of ``core_command``)
    answers : Out(stream of ``answer_shape``); the k largest logits, the largest first; k must be at
        most the vocabulary of the model
    program_words : In(32); memory words of the program, which starts at address 0
    fetch : Out(stream of ``fetch_shape``); requests for weight beats
    weights : In(stream of beats of ``weight_bytes``), in the order of the requests: the engine's,
        then those of the head's rows
    requests, write_data, read_data : the memory port, see ``MemoryPort``
    trace : Out(stream of ``trace_shape``), if there is one; every vector of the token, word by
        word; its ``ready`` is ignored
    busy : Out(1); a command is not finished
    error : Out(1); sticky until a reset: a fault, or a large value
    faults : Out(5); causes of ``error``, each high in the cycle of its event: ``stopped``, a token
        ends without its answers; ``large``, a value was too large; ``weight``, an illegal weight
        code; ``job``, a product that the engine refused; and ``memory``, which stays high: a word
        came with an error, or a request had no words
    """

    def __init__(self, config: TokenConfig, *, trace: bool = False) -> None:
        self._config = config = check_core_config(config)
        self._traced = check_flag("trace", trace)
        width = config.memory_width
        written = data.StructLayout({"data": width, "strobes": width // 8})
        traced = {"trace": Out(stream.Signature(trace_shape(config)))} if trace else {}
        super().__init__(
            {
                "commands": In(stream.Signature(core_command(config))),
                "answers": Out(stream.Signature(answer_shape(config))),
                "program_words": In(32),
                "fetch": Out(stream.Signature(fetch_shape())),
                "weights": In(stream.Signature(8 * config.engine.weight_bytes)),
                "requests": Out(stream.Signature(memory_request(config))),
                "write_data": Out(stream.Signature(written)),
                "read_data": In(stream.Signature(memory_response(config))),
                **traced,
                "busy": Out(1),
                "error": Out(1),
                "faults": Out(faults_layout()),
            }
        )

    @property
    def config(self) -> TokenConfig:
        """The configuration."""
        return self._config

    def elaborate(self, platform: object) -> Module:
        """Make the parts, and connect them: memory, vectors, products, attention."""
        m = Module()
        self._parts(m)
        self._connect_memory(m)
        self._connect_vectors(m)
        self._connect_products(m)
        self._connect_attention(m)
        sequencer, topk = self._sequencer, self._topk
        wiring.connect(m, wiring.flipped(self.commands), sequencer.commands)
        wiring.connect(m, sequencer.fetch, wiring.flipped(self.fetch))
        m.d.comb += [
            # An answer waits until no fault can stop it.
            self.answers.p.eq(topk.answers.p),
            self.answers.valid.eq(topk.answers.valid & sequencer.answering),
            topk.answers.ready.eq((self.answers.ready & sequencer.answering) | sequencer.dropping),
            sequencer.answers.eq(topk.answers.valid),
            sequencer.memory_error.eq(self._memory.error),
            sequencer.program_words.eq(self.program_words),
            self.busy.eq(sequencer.busy),
        ]
        # Values that are too large saturate, as in the golden model. The flag tells that they did.
        overflows = (
            self._scaler.overflow,
            self._writer.overflow,
            self._normalizer.overflow,
            self._heads.overflow,
            self._attention.overflow,
        )
        if self._traced:
            self._trace(m)
        m.d.comb += [
            self.faults.stopped.eq(sequencer.fault),
            self.faults.large.eq(Cat(overflows).any()),
            self.faults.weight.eq(self._engine.faults.weight),
            self.faults.job.eq(self._engine.faults.job),
            self.faults.memory.eq(self._memory.error),
        ]
        with m.If(Cat(overflows).any() | sequencer.fault | self._engine.error | self._memory.error):
            m.d.sync += self.error.eq(1)
        return m

    def _trace(self, m: Module) -> None:
        """Copy every vector to the trace.

        The programs of ``trilith.hw.token.image`` write no two of them in one cycle.
        """
        trace, writes = self.trace.p, self._peak.words.p
        bytes_ = ((TraceKind.INPUT, self._normalizer.bytes), (TraceKind.HEADS, self._heads.bytes))
        m.d.comb += [
            # In the order of TRACE_PARTS.
            trace.parts.eq(
                Cat(
                    self._engine.weights.valid & self._engine.weights.ready,
                    self._attention.busy & self._to_head,
                    self._attention.busy,
                    self._heads.busy,
                    self._normalizer.busy,
                    self._writer.busy,
                )
            ),
            trace.word.eq(writes.elements),
            trace.last.eq(writes.last),
            trace.token.eq(writes.address[: len(trace.token)]),
            self.trace.valid.eq(self._written),
        ]
        for kind, port in bytes_:
            with m.If(port.valid & port.ready):
                m.d.comb += [
                    trace.kind.eq(kind),
                    trace.word.eq(port.p.values),
                    trace.last.eq(port.p.last),
                    trace.token.eq(0),
                    self.trace.valid.eq(1),
                ]

    def _parts(self, m: Module) -> None:
        """Make the parts."""
        config = self._config
        m.submodules.sequencer = self._sequencer = Sequencer(config)
        m.submodules.memory = self._memory = CoreMemory(config)
        m.submodules.engine = self._engine = MatVecEngine(config.engine)
        m.submodules.scaler = self._scaler = ResultScaler(config)
        m.submodules.writer = self._writer = VectorWriter(config)
        m.submodules.peak = self._peak = PeakTracker(config)
        m.submodules.normalizer = self._normalizer = Normalizer(config)
        m.submodules.heads = self._heads = HeadUnit(config)
        m.submodules.cache = self._cache = CacheWriter(config)
        m.submodules.attention = self._attention = AttentionUnit(config)
        m.submodules.topk = self._topk = TopK(config)
        # Weight beats and chunks of rows go to their users, or to the unit that shares them.
        self._beats, self._rows = self._engine.weights, self._attention.rows
        if config.head_on_weights:
            m.submodules.head_rows = self._head_rows = HeadRows(config)
            wiring.connect(m, self._head_rows.engine, self._beats)
            wiring.connect(m, self._head_rows.rows, self._rows)
            self._beats, self._rows = self._head_rows.weights, self._head_rows.memory

    def _connect_memory(self, m: Module) -> None:
        """Connect the memory port, and its users."""
        memory, sequencer = self._memory, self._sequencer
        for name in ("requests", "write_data"):
            wiring.connect(m, getattr(memory, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.read_data), memory.read_data)
        for name in (
            "begins", "instruction", "others", "token", "embedding_offset", "angle_offset",
        ):  # fmt: skip
            m.d.comb += getattr(memory, name).eq(getattr(sequencer, name))
        for name in ("scale", "have_scale", "waits", "embeds"):
            m.d.comb += getattr(sequencer, name).eq(getattr(memory, name))
        m.d.comb += [
            memory.busy_attention.eq(sequencer.busy_attention),
            memory.taking_bytes.eq(self._scaler.taking_bytes),
        ]
        attention = self._attention
        for source, target in (
            (sequencer.program_requests, memory.program_requests),
            (memory.program, sequencer.program),
            (self._cache.writes, memory.writes),
            (attention.element_requests, memory.attention_scales),
            (attention.row_requests, memory.attention_rows),
            (memory.peak_gains, self._peak.gains),
            (memory.gains, self._normalizer.gains),
            (memory.angles, self._heads.table),
            (memory.weight_scales, self._scaler.scales),
            (memory.attention_elements, attention.elements),
            (memory.rows, self._rows),
            (memory.bytes, self._scaler.bytes),
        ):
            wiring.connect(m, source, target)

    def _connect_vectors(self, m: Module) -> None:
        """Connect the vector memory: two units write, three read, one at a time.

        The normalizer reads while no product runs. The writer reads when the normalizer's factor
        is known, and the head unit when all products have been written.
        """
        config = self._config
        m.submodules.vectors = vectors = memory.Memory(
            shape=vector_word(config).size, depth=len(vector_place(config)), init=[]
        )
        read, write = vectors.read_port(), vectors.write_port()
        writer, normalizer, heads = self._writer, self._normalizer, self._heads
        m.d.comb += [Value.cast(unit.stored).eq(read.data) for unit in (writer, normalizer, heads)]
        # One read port: the unit that is busy has it, and the sequencer keeps the others idle.
        with m.If(normalizer.busy):
            m.d.comb += [read.addr.eq(normalizer.address), read.en.eq(normalizer.enable)]
        with m.Elif(writer.busy):
            m.d.comb += [read.addr.eq(writer.address), read.en.eq(writer.enable)]
        with m.Else():
            m.d.comb += [read.addr.eq(heads.address), read.en.eq(1)]

        writes, mixed, peak = Signal(vector_write(config)), self._attention.writes, self._peak
        valid, ready = Signal(), Signal()
        self._written = valid & ready
        m.d.comb += [
            writes.eq(Mux(mixed.valid, mixed.p.as_value(), writer.writes.p.as_value())),
            valid.eq(mixed.valid | writer.writes.valid),
            ready.eq(peak.words.ready | ~writes.track),
            mixed.ready.eq(ready),
            writer.writes.ready.eq(ready & ~mixed.valid),
            peak.words.p.eq(writes),
            peak.words.valid.eq(valid & writes.track),
            write.addr.eq(writes.address),
            write.data.eq(writes.elements),
            write.en.eq(valid & ready),
        ]
        sequencer = self._sequencer
        wiring.connect(m, sequencer.gained, peak.commands)
        wiring.connect(m, sequencer.writer, writer.commands)
        wiring.connect(m, sequencer.normalizer, normalizer.commands)
        # Without an answer no unit takes the peaks of the last vector. They are dropped between two
        # tokens. The tracker accepts its next vector only then, however late the peaks are.
        drop = Signal()
        with m.If(~sequencer.busy):
            m.d.sync += drop.eq(1)
        with m.Elif(sequencer.gained.valid & sequencer.gained.ready):
            m.d.sync += drop.eq(0)
        m.d.comb += [
            normalizer.peaks.p.eq(peak.peaks.p),
            normalizer.peaks.valid.eq(peak.peaks.valid),
            peak.peaks.ready.eq(normalizer.peaks.ready | drop),
            peak.token.eq(sequencer.normalizer.p.token),
            peak.drop.eq(drop),
        ]
        wiring.connect(m, self._scaler.words, writer.words)
        m.d.comb += sequencer.busy_vectors.eq(writer.busy)

    def _connect_products(self, m: Module) -> None:
        """Connect engine and scaler, and the normalizer's bytes and factor to both users."""
        config, sequencer = self._config, self._sequencer
        engine, scaler, normalizer = self._engine, self._scaler, self._normalizer
        wiring.connect(m, sequencer.jobs, engine.jobs)
        wiring.connect(m, wiring.flipped(self.weights), self._beats)
        wiring.connect(m, engine.results, scaler.results)
        wiring.connect(m, sequencer.scaler, scaler.commands)
        m.submodules.activations = gearbox = Gearbox(
            in_bytes=config.vector_lanes, out_bytes=config.engine.lanes, unit_bytes=1
        )
        m.submodules.query_padder = padder = RowPadder(config)
        self._query_padder = padder
        # The last vector goes to the head, and every other one to the engine.
        to_head = Signal()
        loads = sequencer.begins & (sequencer.op == Op.PRODUCT) & sequencer.flags.load
        with m.If(sequencer.begins & (sequencer.op == Op.HEAD)):
            m.d.sync += to_head.eq(1)
        with m.Elif(loads):
            m.d.sync += to_head.eq(0)
        bytes_ = normalizer.bytes
        m.d.comb += [
            gearbox.i.p.data.eq(bytes_.p.values),
            gearbox.i.p.count.eq(config.vector_lanes),
            gearbox.i.p.last.eq(bytes_.p.last),
            gearbox.i.valid.eq(bytes_.valid & ~to_head),
            Value.cast(engine.activations.p).eq(Value.cast(gearbox.o.p.data)),
            engine.activations.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(engine.activations.ready),
        ]
        self._to_head = to_head
        if config.head_on_weights:
            # The writer is busy until the last product has used all its beats.
            m.d.comb += self._head_rows.on.eq(to_head & ~self._writer.busy)

        # Products of one vector share its factor. An embedding has none: it is scale · integer.
        factors, have = Signal.like(scaler.factor.p), Signal()
        embedding = sequencer.op == Op.EMBED
        m.d.comb += scaler.factor.valid.eq(have | embedding)
        place, given = Signal(token_number(config)), normalizer.factor.valid & ~to_head
        with m.If(given):
            m.d.sync += have.eq(place == sequencer.others if len(place) else 1)
        with m.Elif(loads):
            m.d.sync += have.eq(0)
        if len(place):
            with m.If(given):
                m.d.sync += place.eq(place + 1)
            with m.Elif(loads):
                m.d.sync += place.eq(0)
        for token in range(config.tokens):
            factor, mine = factors[token], scaler.factor.p[token]
            m.d.comb += Value.cast(mine).eq(Mux(embedding, constant(1.0), Value.cast(factor)))
            with m.If(is_token(given, place, Const(token, len(place)))):
                m.d.sync += factor.eq(normalizer.factor.p)

    def _connect_attention(self, m: Module) -> None:
        """Connect heads, cache, attention and the choice of the largest logits."""
        config, sequencer = self._config, self._sequencer
        heads, cache, attention = self._heads, self._cache, self._attention
        normalizer, topk, to_head = self._normalizer, self._topk, self._to_head
        wiring.connect(m, sequencer.heads, heads.commands)
        wiring.connect(m, sequencer.cache, cache.commands)
        wiring.connect(m, sequencer.attention, attention.commands)
        wiring.connect(m, attention.logits, topk.logits)
        angles = data.View(instruction_layout(Op.ANGLES), sequencer.instruction)
        # Heads of queries and the last vector fill the query buffer, keys and values the cache.
        padder = self._query_padder
        m.submodules.queries = queries = Gearbox(
            in_bytes=config.vector_lanes, out_bytes=config.segment_bytes
        )
        # κ = log₂ e / √size for scores, and 1 for logits. It stays while query scales come.
        to_cache, kappa = Signal(), Signal.like(attention.kappa)
        first = sequencer.begins
        if config.tokens > 1:
            first &= sequencer.number == 0
        begins = first & (sequencer.op == Op.HEADS)
        with m.If(begins):
            m.d.sync += [to_cache.eq(sequencer.flags.cache), kappa.eq(sequencer.kappa)]
        with m.If(sequencer.begins & (sequencer.op == Op.HEAD)):
            m.d.sync += [to_cache.eq(0), Value.cast(kappa).eq(constant(1.0))]
        rows, scales = normalizer.bytes, normalizer.factor
        # The last vector never goes to the cache. No path leads from its ready to the normalizer.
        last = queries.i.ready & ~padder.filling
        m.d.comb += [
            padder.i.p.eq(Mux(to_head, rows.p.as_value(), heads.bytes.p.as_value())),
            padder.i.valid.eq(Mux(to_head, rows.valid, heads.bytes.valid)),
            heads.bytes.ready.eq(padder.i.ready & ~to_head),
            rows.ready.eq(Mux(to_head, last, m.submodules.activations.i.ready)),
            cache.bytes.p.eq(padder.o.p),
            cache.bytes.valid.eq(padder.o.valid & to_cache),
            queries.i.p.data.eq(padder.o.p.values),
            queries.i.p.count.eq(config.vector_lanes // queries.unit_bytes),
            queries.i.p.last.eq(padder.o.p.last),
            queries.i.valid.eq(padder.o.valid & ~to_cache),
            padder.o.ready.eq(Mux(to_cache, cache.bytes.ready, queries.i.ready)),
            Value.cast(attention.queries.p).eq(Value.cast(queries.o.p.data)),
            attention.queries.valid.eq(queries.o.valid),
            queries.o.ready.eq(attention.queries.ready),
            cache.scales.p.eq(heads.scales.p),
            cache.scales.valid.eq(heads.scales.valid & to_cache),
            attention.query_scales.p.eq(
                Mux(to_head, scales.p.as_value(), heads.scales.p.as_value())
            ),
            attention.query_scales.valid.eq(
                Mux(to_head, scales.valid, heads.scales.valid & ~to_cache)
            ),
            heads.scales.ready.eq(Mux(to_cache, cache.scales.ready, ~to_head)),
            scales.ready.eq(1),
            attention.kappa.eq(kappa),
            attention.head.eq(sequencer.op == Op.HEAD),
            attention.clear.eq(
                (begins & ~sequencer.flags.cache) | (sequencer.begins & (sequencer.op == Op.HEAD))
            ),
            # Angles of the token before are not under way any more, however slow the memory is:
            # gains come behind them in the same channel, and a product has waited for these.
            heads.clear.eq(first & (sequencer.op == Op.ANGLES)),
            # An instruction ``ANGLES`` counts words of cosines and of sines.
            heads.half.eq(angles.words >> 1),
            topk.k.eq(sequencer.k),
            sequencer.busy_heads.eq(
                heads.busy | cache.busy | padder.o.valid | ~queries.empty | cache.writes.valid
            ),
            sequencer.busy_normalizer.eq(normalizer.busy),
            sequencer.busy_attention.eq(attention.busy | topk.busy),
        ]
