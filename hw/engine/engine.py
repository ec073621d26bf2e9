"""The multiplication-free matrix–vector engine."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import MatVecConfig
from .dot import DotProduct, add_or_subtract
from .loader import JobLoader, above, activations_shape, job_layout
from .results import ResultQueue, results_shape
from .timing import EngineTiming
from .weight_decoder import BeatDecoder

__all__ = ["MatVecEngine", "faults_shape"]


def faults_shape() -> data.StructLayout:
    """What an engine complains of: an illegal weight code or activation, a job out of range."""
    return data.StructLayout({"weight": 1, "activation": 1, "job": 1})


class MatVecEngine(wiring.Component):
    """Multiplies packed ternary matrices with integer vectors, exactly.

    Jobs run in the order in which they come. A job loads ``tokens × ceil(k / lanes)`` activation
    beats (none with ``reuse``) while the job before computes, then takes
    ``ceil(n / rows) × ceil(k / lanes)`` weight beats, one per clock, and delivers its results.

    The data path has no stall: a weight beat is accepted only if the queue has room for what it may
    finish. Everything the data path holds therefore drains without a handshake, and its registers
    need neither enable nor reset.

    Latency: ``latency`` clocks from the last weight beat of a result group to its first result beat
    where that can leave at once. A job's first weight beat follows its acceptance by
    ``job_latency + tokens · ceil(k / lanes)`` clocks (``job_latency`` with ``reuse``) where the
    engine was idle and no stream had a gap; ``trilith.hw.timing`` has the clocks of whole jobs.
    Throughput: a weight beat per clock while a result group takes at least ``tokens`` weight beats
    and the consumer takes each result beat at once.

    Parameters
    ----------
    config : shape, widths and code

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``.

    Members
    -------
    jobs : In(stream of ``job_layout``)
    activations : In(stream of ``activations_shape``); token, then chunk
    weights : In(stream of ``8 · weight_bytes`` bits); group of rows, then chunk; flat [row][lane]
    results : Out(stream of ``results_shape``); group of rows, then scale group, then token
    busy : Out(1); a job is being loaded or computed, or results wait
    error : Out(1); sticky until reset: an illegal weight code (which counts as zero), an illegal
        activation (which counts as zero), or a job out of range (which is dropped, see
        ``JobLoader``)
    faults : Out(``faults_shape``); what sets ``error``, one clock for each
    """

    def __init__(self, config: MatVecConfig) -> None:
        if not isinstance(config, MatVecConfig):
            raise TypeError(f"config must be a MatVecConfig, not {config!r}")
        self._config = config
        super().__init__(
            {
                "jobs": In(stream.Signature(job_layout(config))),
                "activations": In(stream.Signature(activations_shape(config))),
                "weights": In(stream.Signature(8 * config.weight_bytes)),
                "results": Out(stream.Signature(results_shape(config))),
                "busy": Out(1),
                "error": Out(1),
                "faults": Out(faults_shape()),
            }
        )

    @property
    def config(self) -> MatVecConfig:
        """The configuration."""
        return self._config

    @property
    def latency(self) -> int:
        """Clocks from a group's last weight beat to its first result beat."""
        return EngineTiming.of(self._config).latency

    @property
    def job_latency(self) -> int:
        """Clocks from a job's acceptance to its first weight beat, with nothing to load."""
        return EngineTiming.of(self._config).job_latency

    @property
    def queue_depth(self) -> int:
        """Result beats that the engine can hold: as many as are under way at full rate."""
        return self._config.queue_depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.loader = loader = JobLoader(config)
        wiring.connect(m, wiring.flipped(self.jobs), loader.jobs)
        wiring.connect(m, wiring.flipped(self.activations), loader.activations)

        # A memory and an address for each token: one address would have to reach too far. Each
        # counts for itself, which keeps tools from making them one again.
        reads, addresses, banks, reading = [], [], [], []
        for token in range(config.tokens):
            m.submodules[f"buffer{token}"] = buffer = memory.Memory(
                shape=activations_shape(config).size,
                depth=2 * config.max_chunks,
                init=[],
                attrs={"ram_style": "block"},
            )
            write = buffer.write_port()
            reads.append(buffer.read_port())
            addresses.append(
                Signal(range(config.max_chunks), name=f"chunk{token}", reset_less=True)
            )
            banks.append(bank := Signal(name=f"bank{token}"))
            reading.append(Signal(name=f"reading{token}"))
            m.d.comb += [
                write.addr.eq(loader.write_address[token]),
                write.data.eq(loader.write_data),
                # Never both in one half: said so, because tools that cannot prove it add logic.
                write.en.eq(loader.write_enable[token] & (loader.write_address[token][0] ^ bank)),
            ]

        # Issue: which weight beat comes next, and may it come.
        active, chunk = reading[0], addresses[0]
        offer = loader.offer.p
        before_last = Signal.like(offer.before_last, reset_less=True)
        # Inverted, because counting up takes no logic in front of the carries.
        n_left_inverted = Signal(range(config.n_max + 1), reset_less=True)
        n_left = ~n_left_inverted
        tokens = Signal(range(config.tokens + 1), reset_less=True)
        group_chunks = Signal(range(config.max_chunks + 1), reset_less=True)
        group_chunk = Signal(range(1, config.max_chunks + 1), reset_less=True)
        # Result beats that the queue can still promise.
        room = Signal(range(self.queue_depth + 1), init=self.queue_depth)

        fire = Signal()
        # Known before the beat comes, because much hangs on it.
        last_chunk = Signal(reset_less=True)
        group_end = Signal()
        last_rows = Signal()
        # The queue has taken in the tokens of the group before.
        settled = Signal(init=1)
        # A beat that may come if it does not end a group too soon. What else hangs on beats is
        # written without ``fire``, which comes last of all.
        may_fire = Signal()
        fire_group_end = Signal()
        fire_last_chunk = Signal()
        m.d.comb += [
            group_end.eq(last_chunk | (group_chunk == group_chunks)),
            last_rows.eq(~above(n_left, config.rows)),
            self.weights.ready.eq(active & (room >= config.tokens) & (settled | ~group_end)),
            fire.eq(self.weights.valid & self.weights.ready),
            may_fire.eq(self.weights.valid & active & (room >= config.tokens) & settled),
            fire_group_end.eq(may_fire & group_end),
            fire_last_chunk.eq(may_fire & last_chunk),
            loader.offer.ready.eq(~active | (fire_last_chunk & last_rows)),
        ]
        for read, bank, address, enable in zip(reads, banks, addresses, reading, strict=True):
            m.d.comb += [
                read.addr.eq(Cat(bank, address)),
                # Also where no beat comes: ``fire`` is too late to reach every block RAM.
                read.en.eq(enable),
            ]
        if config.tokens > 1:
            # Clocks until it is settled.
            spacing = Signal(range(config.tokens))
            with m.If(fire_group_end):
                m.d.sync += spacing.eq(tokens - 1)
            with m.Elif(~settled):
                m.d.sync += spacing.eq(spacing - 1)
            m.d.comb += settled.eq(spacing == 0)
        start = Signal()
        m.d.comb += start.eq(loader.offer.valid & loader.offer.ready)
        with m.If(fire):
            m.d.sync += [address.eq(address + 1) for address in addresses]
            m.d.sync += group_chunk.eq(group_chunk + 1)
            # The beat after the last one is the first again.
            m.d.sync += last_chunk.eq((chunk == before_last[:-1]) | before_last[-1])
        with m.If(fire_last_chunk):
            m.d.sync += n_left_inverted.eq(n_left_inverted + config.rows)
            with m.If(last_rows):
                m.d.sync += [enable.eq(0) for enable in reading]
        with m.If(start):
            m.d.sync += [
                # A job has a token at least.
                *(
                    enable.eq(offer.tokens > token if token else 1)
                    for token, enable in enumerate(reading)
                ),
                before_last.eq(offer.before_last),
                last_chunk.eq(offer.before_last[-1]),
                n_left_inverted.eq(~offer.n),
                tokens.eq(offer.tokens),
                group_chunks.eq(offer.group_chunks),
            ]
        with m.If(start & (offer.bank != banks[0])):
            m.d.sync += [bank.eq(~bank) for bank in banks]
        with m.If(start | fire_last_chunk):
            m.d.sync += [address.eq(0) for address in addresses]
        with m.If(start | fire_group_end):
            m.d.sync += group_chunk.eq(1)

        # What accompanies a beat down the data path. Only ``valid`` needs a reset.
        tag_shape = data.StructLayout(
            {
                "group_end": 1,
                "last": 1,
                "tokens": range(config.tokens + 1),
                "valid_rows": range(config.rows + 1),
            }
        )
        valid = fire
        tag = Signal(tag_shape, name="tag0")
        m.d.comb += [
            tag.group_end.eq(group_end),
            tag.last.eq(last_chunk & last_rows),
            tag.tokens.eq(tokens),
            tag.valid_rows.eq(Mux(last_rows, n_left, config.rows)),
        ]
        beats = [(valid, tag)]
        for stage in range(1, config.dot_latency + 2):
            next_valid = Signal(name=f"valid{stage}")
            next_tag = Signal(tag_shape, name=f"tag{stage}", reset_less=True)
            m.d.sync += [next_valid.eq(valid), next_tag.eq(tag)]
            valid, tag = next_valid, next_tag
            beats.append((valid, tag))

        # Data path. A register behind the block RAM, whose output comes late in a clock.
        m.submodules.decoder = decoder = BeatDecoder(
            code=config.code, count=config.rows * config.lanes
        )
        packed = Signal.like(self.weights.p, reset_less=True)
        illegal = Signal.like(decoder.illegal, reset_less=True)
        activations = Signal(
            data.ArrayLayout(activations_shape(config), config.tokens), reset_less=True
        )
        m.d.sync += [
            packed.eq(self.weights.p),
            illegal.eq(decoder.illegal),
            activations.eq(Cat(read.data for read in reads)),
        ]
        m.d.comb += decoder.packed.eq(packed)

        # What a group's end does to every accumulator, decided a clock ahead: registers reach far.
        capture = Signal()
        restart = Signal(init=1)
        clear = Signal(config.rows, reset_less=True)
        ahead_valid, ahead = beats[-2]
        ends = Signal()
        m.d.comb += ends.eq(ahead_valid & ahead.group_end)
        m.d.sync += [capture.eq(ends), restart.eq(ends)]
        m.d.sync += clear.eq(
            Cat(Const(0, 1), (ends & (row >= ahead.valid_rows) for row in range(1, config.rows)))
        )

        m.submodules.queue = queue = ResultQueue(config, depth=self.queue_depth)
        wiring.connect(m, queue.results, wiring.flipped(self.results))
        m.d.comb += [
            queue.capture.eq(capture),
            queue.clear.eq(clear),
            queue.tokens.eq(tag.tokens),
            queue.last.eq(tag.last),
        ]
        for row in range(config.rows):
            dot = DotProduct(
                lanes=config.lanes,
                tokens=config.tokens,
                act_bits=config.act_bits,
                levels_per_stage=config.levels_per_stage,
                target=config.target,
            )
            m.submodules[f"dot{row}"] = dot
            lanes = slice(row * config.lanes, (row + 1) * config.lanes)
            m.d.comb += [
                dot.zero.eq(decoder.zero[lanes]),
                dot.negative.eq(decoder.negative[lanes]),
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
                with m.Elif(valid):
                    m.d.sync += accumulator.eq(total)

        used = Mux(fire_group_end, tokens, 0)
        m.d.sync += room.eq(room - used + (self.results.valid & self.results.ready))
        # In two clocks, because the decoders lie far apart.
        illegal_beat = Signal()
        m.d.sync += illegal_beat.eq(illegal.any() & beats[2][0])
        m.d.comb += [
            self.faults.weight.eq(illegal_beat),
            self.faults.activation.eq(loader.bad_activation),
            self.faults.job.eq(loader.bad_job),
        ]
        m.d.sync += self.error.eq(self.error | self.faults.as_value().any())
        m.d.comb += self.busy.eq(loader.busy | active | (room != self.queue_depth))
        return m
