"""Multiplication-free matrix–vector engine."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import MatVecConfig, check_config
from .dot import DotProduct, Operands, add_or_subtract
from .loader import JobLoader, above, activations_shape, job_layout
from .results import ResultQueue, results_shape
from .timing import EngineTiming
from .weight_decoder import BeatDecoder

__all__ = ["MatVecEngine"]


def _faults_layout() -> data.StructLayout:
    """Error flags of the engine: illegal weight code, illegal activation, job out of range."""
    return data.StructLayout({"weight": 1, "activation": 1, "job": 1})


def _tag_layout(config: MatVecConfig) -> data.StructLayout:
    """Flags and counts that accompany a weight beat through the data path.

    Fields
    ------
    group_end : the beat ends a result group
    last : the beat is the last one of its job
    tokens : tokens of the job
    valid_rows : rows of the beat below N
    """
    return data.StructLayout(
        {
            "group_end": 1,
            "last": 1,
            "tokens": range(config.tokens + 1),
            "valid_rows": range(config.rows + 1),
        }
    )


@dataclass(frozen=True, kw_only=True)
class _Buffer:
    """Read side of the activation buffer of one token.

    Parameters
    ----------
    read : read port of the memory
    chunk : chunk to read next
    bank : half of the buffer to read
    reading : the token takes part in the job that is computed
    """

    read: memory.ReadPort
    chunk: Signal
    bank: Signal
    reading: Signal


@dataclass(frozen=True, kw_only=True)
class _Issue:
    """State and decisions of the issue stage, which accepts the weight beats.

    Parameters
    ----------
    active : a job is computed
    room : result beats that the queue has room for, less those under way
    tokens, group_chunks : fields of the job
    n_left_inverted : outputs that are left, inverted
    before_last : chunk before the last one, −1 for a job of one chunk
    group_chunk : chunk within the result group, from 1 on
    last_chunk : the next beat is the last one of its group of rows
    last_rows : the group of rows is the last one
    group_end : the next beat ends a result group
    settled : the queue has stored all tokens of the result group before
    fire : a weight beat is accepted
    fire_group_end, fire_last_chunk : likewise, and the beat has that place
    start : a job is handed over by the loader
    """

    active: Signal
    room: Signal
    tokens: Signal
    group_chunks: Signal
    n_left_inverted: Signal
    before_last: Signal
    group_chunk: Signal
    last_chunk: Signal
    last_rows: Signal
    group_end: Signal
    settled: Signal
    fire: Signal
    fire_group_end: Signal
    fire_last_chunk: Signal
    start: Signal


@dataclass(frozen=True, kw_only=True)
class _Beat:
    """A weight beat in one stage of the data path: whether it is there, and its tag."""

    valid: Value
    tag: data.View


class MatVecEngine(wiring.Component):
    """Multiplies packed ternary matrices with integer vectors, exactly.

    Jobs run in order. A job first loads ``tokens × ceil(k / lanes)`` activation beats, or none with
    ``reuse``; meanwhile the job before is computed. It then takes
    ``ceil(n / rows) × ceil(k / lanes)`` weight beats and delivers its results.

    A weight beat that is accepted in cycle 0 passes these stages. D is ``config.dot_latency``.

    =====  =====================================================================================
    cycle  what holds the beat
    =====  =====================================================================================
    0      ``weights``; the block RAMs get the address of its chunk
    1      ``packed``, whose bytes ``BeatDecoder`` decodes; the outputs of the block RAMs
    2      ``activations``, ``illegal``, and the weight registers of ``DotProduct``
    D + 1  the outputs of ``DotProduct``; ``capture``, ``restart``, ``clear`` if a group ends
    D + 2  the accumulators; at the end of a result group ``held`` of ``ResultQueue`` instead
    D + 3  the memory of ``ResultQueue``, with the result beat of token 0
    D + 4  ``results``, with the result beat of token 0
    =====  =====================================================================================

    A compact engine has no ``packed``: ``BeatDecoder`` has the register. Its block RAMs get the
    address in cycle 1, and their outputs are the ``activations`` of cycle 2.
    The data path never stalls: the engine accepts a weight beat only if the queue has room for the
    results that it may finish. The data path therefore drains without a handshake. Its registers up
    to the sums need neither enable nor reset. A reset clears the valid flags beside them.

    Latency: ``config.latency`` cycles from the last weight beat of a result group to its first
    result beat, if the queue is empty. On an idle engine whose streams have no gap, the first
    weight beat follows the acceptance of a job by ``job_latency + tokens · ceil(k / lanes)``
    cycles, or by ``job_latency`` with ``reuse``. ``trilith.hw.engine.timing`` has the cycles of
    whole jobs. Throughput: one weight beat per cycle, if every result group has at least ``tokens``
    weight beats and the consumer takes each result beat at once.

    Example: an engine of 8 lanes, 5 rows and 2 tokens on an FPGA, with one level of the adder tree
    per stage, has D = 5 and a latency of 9. A job of N = 12, K = 20 and 2 tokens is accepted in
    cycle 0. Its activations come in cycles 2 to 7, its weights in cycles 9 to 17, and its last
    result in cycle 27.

    Corner cases:

    - Lanes from K on add 0, and results of rows from N on are 0. An illegal code in such a lane or
      row still raises ``faults.weight``.
    - A job has one result group per group of rows if ``group_chunks`` is 0, or not below its number
      of chunks.
    - A dropped job takes no beats. Beats that were sent for it go to the next job.
    - The first weight beat of a loaded job may follow the last one of the job before at once.
    - A reset drops all jobs, beats and results. The loaded activations are then lost for ``reuse``.

    Parameters
    ----------
    config : shape, widths and code

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``.

    Members
    -------
    jobs : In(stream of ``job_layout``); ready unless a job is checked, loaded or offered
    activations : In(stream of ``activations_shape``); by token, then by chunk; ready only while a
        job loads
    weights : In(stream of ``8 · weight_bytes`` bits); by group of rows, then by chunk; the trits of
        a beat by row, then by lane; ready only while a job is computed and the queue has room for
        ``config.tokens`` beats
    results : Out(stream of ``results_shape``); by group of rows, then by result group, then by
        token
    busy : Out(1); high from the cycle after the acceptance of a job to the cycle of its last result
    error : Out(1); sticky until reset; rises one cycle after an error flag
    faults : Out(3); error flags, each high for one cycle: ``weight``, an illegal weight code, which
        counts as zero, 3 cycles after its beat; ``activation``, an illegal activation, which counts
        as zero, 1 cycle after its beat; ``job``, a job out of range, which is dropped (see
        ``JobLoader``), 2 cycles after its acceptance
    """

    def __init__(self, config: MatVecConfig) -> None:
        self._config = config = check_config(config)
        super().__init__(
            {
                "jobs": In(stream.Signature(job_layout(config))),
                "activations": In(stream.Signature(activations_shape(config))),
                "weights": In(stream.Signature(8 * config.weight_bytes)),
                "results": Out(stream.Signature(results_shape(config))),
                "busy": Out(1),
                "error": Out(1),
                "faults": Out(_faults_layout()),
            }
        )

    @property
    def config(self) -> MatVecConfig:
        """The configuration."""
        return self._config

    @property
    def latency(self) -> int:
        """Cycles from the last weight beat of a result group to its first result beat."""
        return self._config.latency

    @property
    def job_latency(self) -> int:
        """Cycles from the acceptance of a job to its first weight beat, with nothing to load."""
        return EngineTiming.of(self._config).job_latency

    @property
    def queue_depth(self) -> int:
        """Result beats that the engine can hold."""
        return self._config.queue_depth

    def elaborate(self, platform: object) -> Module:
        """Connect loader, buffers, issue stage, weight decoder, dot products and result queue.

        The accumulators, the count of free places in the queue and the error flags are built here.
        ``restart`` clears the accumulators at the end of a result group and after a reset. The
        queue captures ``sums``, which include the beat that ends the group.
        """
        m = Module()
        config = self._config
        m.submodules.loader = loader = JobLoader(config)
        wiring.connect(m, wiring.flipped(self.jobs), loader.jobs)
        wiring.connect(m, wiring.flipped(self.activations), loader.activations)
        buffers = self._buffers(m, loader)
        issue = self._issue(m, loader, buffers)
        self._advance(m, loader, buffers, issue)
        beats = self._beats(m, issue)
        weight_decoder, illegal, activations = self._input_registers(m, buffers)
        capture, restart, clear = self._group_ends(m, beats[-2])

        m.submodules.queue = queue = ResultQueue(config, depth=config.queue_depth)
        wiring.connect(m, queue.results, wiring.flipped(self.results))
        # The beat whose sums leave the dot products in this cycle.
        end = beats[-1]
        m.d.comb += [
            queue.capture.eq(capture),
            queue.clear.eq(clear),
            queue.tokens.eq(end.tag.tokens),
            queue.last.eq(end.tag.last),
        ]
        for row in range(config.rows):
            dot = DotProduct(
                lanes=config.lanes,
                tokens=config.tokens,
                act_bits=config.act_bits,
                levels_per_stage=config.levels_per_stage,
                target=config.target,
                operands=Operands.of(config),
                place=row * config.lanes % 5,
            )
            m.submodules[f"dot{row}"] = dot
            lanes = slice(row * config.lanes, (row + 1) * config.lanes)
            m.d.comb += [
                dot.zero.eq(weight_decoder.zero[lanes]),
                dot.negative.eq(weight_decoder.negative[lanes]),
                dot.activations.eq(activations),
            ]
            for token in range(config.tokens):
                accumulator = Signal(
                    config.acc_width, name=f"accumulator{row}_{token}", reset_less=True
                )
                total = queue.sums[token][row]
                m.d.comb += total.eq(
                    add_or_subtract(accumulator, dot.sums[token], dot.subtract, config.acc_width)
                )
                with m.If(restart):
                    m.d.sync += accumulator.eq(0)
                with m.Elif(end.valid):
                    m.d.sync += accumulator.eq(total)

        # A group takes its room in the queue when its last beat is accepted, not when it arrives.
        used = Mux(issue.fire_group_end, issue.tokens, 0)
        m.d.sync += issue.room.eq(issue.room - used + (self.results.valid & self.results.ready))
        # The error is found in two cycles, because the weight decoders lie far apart on the chip.
        illegal_beat = Signal()
        m.d.sync += illegal_beat.eq(illegal.any() & beats[2].valid)
        m.d.comb += [
            self.faults.weight.eq(illegal_beat),
            self.faults.activation.eq(loader.bad_activation),
            self.faults.job.eq(loader.bad_job),
        ]
        m.d.sync += self.error.eq(self.error | self.faults.as_value().any())
        m.d.comb += self.busy.eq(loader.busy | issue.active | (issue.room != config.queue_depth))
        return m

    def _buffers(self, m: Module, loader: JobLoader) -> list[_Buffer]:
        """Activation buffers, one for each token, written by the loader.

        Each holds two jobs in two halves: the lowest address bit is the half, the others are the
        chunk. A word that the loader writes in one cycle can be read in the next one. The issue
        stage drives the read ports.
        """
        config = self._config
        buffers = []
        # Each token has a memory and an address of its own: the wires of a common address would be
        # long. Each address counts from its own value, so that tools do not merge them again.
        for token in range(config.tokens):
            m.submodules[f"buffer{token}"] = buffer = memory.Memory(
                shape=activations_shape(config).size,
                depth=2 * config.max_chunks,
                init=[],
                attrs={"ram_style": "block"},
            )
            write = buffer.write_port()
            chunk = Signal(range(config.max_chunks), name=f"chunk{token}", reset_less=True)
            bank = Signal(name=f"bank{token}")
            reading = Signal(name=f"reading{token}")
            one = _Buffer(read=buffer.read_port(), chunk=chunk, bank=bank, reading=reading)
            buffers.append(one)
            m.d.comb += [
                write.addr.eq(loader.write_address[token]),
                write.data.eq(loader.write_data),
                # A half is never written while it is read. Tools cannot prove this, and would add
                # logic for a read during a write; the condition states it.
                write.en.eq(loader.write_enable[token] & (write.addr[0] ^ one.read.addr[0])),
            ]
        return buffers

    def _issue(self, m: Module, loader: JobLoader, buffers: list[_Buffer]) -> _Issue:
        """Decide which weight beat comes next, and whether it may come.

        A beat is accepted if a job is computed, the queue has room for one more result group, and
        the beat does not end a group before the queue has stored the group before. The handover of
        the next job may happen in the same cycle as the last beat of a job. ``weights.ready``
        depends on registers alone.
        """
        config = self._config
        before_last = Signal.like(loader.offer.p.before_last, reset_less=True)
        # The count is inverted: counting up takes no logic in front of the carries.
        n_left_inverted = Signal(range(config.n_max + 1), reset_less=True)
        tokens = Signal(range(config.tokens + 1), reset_less=True)
        group_chunks = Signal(range(config.max_chunks + 1), reset_less=True)
        group_chunk = Signal(range(1, config.max_chunks + 1), reset_less=True)
        room = Signal(range(config.queue_depth + 1), init=config.queue_depth)
        active = buffers[0].reading

        fire = Signal()
        # This flag is ready before its beat comes, because its fan-out is high.
        last_chunk = Signal(reset_less=True)
        group_end = Signal()
        last_rows = Signal()
        settled = Signal(init=1)
        # ``fire`` comes late in the cycle. Decisions at the end of a group use ``may_fire``, which
        # is the same unless the beat ends a group too soon.
        may_fire = Signal()
        fire_group_end = Signal()
        fire_last_chunk = Signal()
        m.d.comb += [
            group_end.eq(last_chunk | (group_chunk == group_chunks)),
            last_rows.eq(~above(~n_left_inverted, config.rows)),
            self.weights.ready.eq(active & (room >= config.tokens) & (settled | ~group_end)),
            fire.eq(self.weights.valid & self.weights.ready),
            may_fire.eq(self.weights.valid & active & (room >= config.tokens) & settled),
            fire_group_end.eq(may_fire & group_end),
            fire_last_chunk.eq(may_fire & last_chunk),
            loader.offer.ready.eq(~active | (fire_last_chunk & last_rows)),
        ]
        domain = m.d["sync" if config.compact else "comb"]
        for buffer in buffers:
            domain += [
                buffer.read.addr.eq(Cat(buffer.bank, buffer.chunk)),
                # Reads are enabled even without a beat: ``fire`` is too late for every block RAM.
                buffer.read.en.eq(buffer.reading),
            ]
        if config.tokens > 1:
            # Cycles until the queue has stored all tokens of the group.
            spacing = Signal(range(config.tokens))
            with m.If(fire_group_end):
                m.d.sync += spacing.eq(tokens - 1)
            with m.Elif(~settled):
                m.d.sync += spacing.eq(spacing - 1)
            m.d.comb += settled.eq(spacing == 0)
        start = Signal()
        m.d.comb += start.eq(loader.offer.valid & loader.offer.ready)
        return _Issue(
            active=active,
            room=room,
            tokens=tokens,
            group_chunks=group_chunks,
            n_left_inverted=n_left_inverted,
            before_last=before_last,
            group_chunk=group_chunk,
            last_chunk=last_chunk,
            last_rows=last_rows,
            group_end=group_end,
            settled=settled,
            fire=fire,
            fire_group_end=fire_group_end,
            fire_last_chunk=fire_last_chunk,
            start=start,
        )

    def _advance(self, m: Module, loader: JobLoader, buffers: list[_Buffer], issue: _Issue) -> None:
        """Update the counters of the issue stage with each beat and each job.

        A beat advances the chunk. The last beat of a group of rows sets it back to 0, and so does a
        handover. The last beat of a job stops the reading unless another job starts.
        """
        config, offer, before_last = self._config, loader.offer.p, issue.before_last
        with m.If(issue.fire):
            m.d.sync += [buffer.chunk.eq(buffer.chunk + 1) for buffer in buffers]
            m.d.sync += issue.group_chunk.eq(issue.group_chunk + 1)
            # The beat after the last chunk is the first chunk again.
            m.d.sync += issue.last_chunk.eq(
                (buffers[0].chunk == before_last[:-1]) | before_last[-1]
            )
        with m.If(issue.fire_last_chunk):
            m.d.sync += issue.n_left_inverted.eq(issue.n_left_inverted + config.rows)
            with m.If(issue.last_rows):
                m.d.sync += [buffer.reading.eq(0) for buffer in buffers]
        with m.If(issue.start):
            m.d.sync += [
                # A job has at least one token.
                *(
                    buffer.reading.eq(offer.tokens > token if token else 1)
                    for token, buffer in enumerate(buffers)
                ),
                before_last.eq(offer.before_last),
                issue.last_chunk.eq(offer.before_last[-1]),
                issue.n_left_inverted.eq(~offer.n),
                issue.tokens.eq(offer.tokens),
                issue.group_chunks.eq(offer.group_chunks),
            ]
        with m.If(issue.start & (offer.bank != buffers[0].bank)):
            m.d.sync += [buffer.bank.eq(~buffer.bank) for buffer in buffers]
        with m.If(issue.start | issue.fire_last_chunk):
            m.d.sync += [buffer.chunk.eq(0) for buffer in buffers]
        with m.If(issue.start | issue.fire_group_end):
            m.d.sync += issue.group_chunk.eq(1)

    def _beats(self, m: Module, issue: _Issue) -> list[_Beat]:
        """Weight beats in each stage of the data path, from the issue stage to the accumulators.

        Element s of the list is the beat that was accepted s cycles ago, and its tag.
        """
        config = self._config
        tag = Signal(_tag_layout(config), name="tag0")
        m.d.comb += [
            tag.group_end.eq(issue.group_end),
            tag.last.eq(issue.last_chunk & issue.last_rows),
            tag.tokens.eq(issue.tokens),
            tag.valid_rows.eq(Mux(issue.last_rows, ~issue.n_left_inverted, config.rows)),
        ]
        beats = [_Beat(valid=issue.fire, tag=tag)]
        for stage in range(1, config.dot_latency + 2):
            # Tags need no reset, because only a valid one is used.
            valid = Signal(name=f"valid{stage}")
            tag = Signal(_tag_layout(config), name=f"tag{stage}", reset_less=True)
            m.d.sync += [valid.eq(beats[-1].valid), tag.eq(beats[-1].tag)]
            beats.append(_Beat(valid=valid, tag=tag))
        return beats

    def _input_registers(
        self, m: Module, buffers: list[_Buffer]
    ) -> tuple[BeatDecoder, Signal, data.View]:
        """Registers of beats: weight decoder, its errors, and, a cycle later, activations."""
        config = self._config
        m.submodules.decoder = weight_decoder = BeatDecoder(
            code=config.code, count=config.rows * config.lanes, registered=config.compact
        )
        illegal = Signal.like(weight_decoder.illegal, reset_less=True)
        # A register follows the block RAM, whose output comes late in the cycle.
        shape = data.ArrayLayout(activations_shape(config), config.tokens)
        activations = Signal(shape, reset_less=True)
        packed = self.weights.p
        if not config.compact:
            packed = Signal.like(self.weights.p, reset_less=True)
            m.d.sync += packed.eq(self.weights.p)
        m.d.comb += weight_decoder.packed.eq(packed)
        m.d.sync += illegal.eq(weight_decoder.illegal)
        domain = m.d["comb" if config.compact else "sync"]
        domain += activations.eq(Cat(buffer.read.data for buffer in buffers))
        return weight_decoder, illegal, activations

    def _group_ends(self, m: Module, ahead: _Beat) -> tuple[Signal, Signal, Signal]:
        """End of a result group at the accumulators: capture, restart, and rows to clear.

        These signals reach every accumulator. They are registers, decided one cycle ahead.
        """
        config = self._config
        capture = Signal()
        restart = Signal(init=1)
        clear = Signal(config.rows, reset_less=True)
        ends = Signal()
        m.d.comb += ends.eq(ahead.valid & ahead.tag.group_end)
        m.d.sync += [capture.eq(ends), restart.eq(ends)]
        m.d.sync += clear.eq(
            Cat(
                Const(0, 1),
                (ends & (row >= ahead.tag.valid_rows) for row in range(1, config.rows)),
            )
        )
        return capture, restart, clear
