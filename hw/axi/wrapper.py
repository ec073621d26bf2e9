"""The engine as an AXI peripheral."""

from dataclasses import dataclass, fields
from typing import Self

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice
from ..config import MatVecConfig, WeightCode, check_config
from ..engine.engine import MatVecEngine
from ..engine.loader import activations_shape, job_layout
from .lite import RegisterBank, axi_lite
from .registers import MAGIC, MAP_VERSION, REGISTERS
from .stream import BUS_BITS, AxiStreamReader, AxiStreamWriter, axi_stream

__all__ = ["JOB_QUEUE_DEPTH", "RESULT_BYTES", "AxiMatVec", "BusWidths"]

#: Jobs in the queue in front of the engine. The engine itself loads one and computes another.
JOB_QUEUE_DEPTH = 4


#: Bytes of one sign-extended result on the bus.
RESULT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class BusWidths:
    """Widths of TDATA of the three AXI4-Streams, in bits.

    Parameters
    ----------
    weights, activations, results : 32, 64, 128, 256, 512 or 1024

    Raises
    ------
    TypeError
        If a width is not an integer.
    ValueError
        If a width is not legal.
    """

    weights: int
    activations: int = 64
    results: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            name = f"the width of the {field.name} bus"
            width = check_choice(name, getattr(self, field.name), BUS_BITS)
            object.__setattr__(self, field.name, width)

    @classmethod
    def of(cls, config: MatVecConfig) -> Self:
        """Default widths for a configuration.

        Weights get the narrowest bus that carries one beat per cycle, at most 1024 bits.
        Activations and results get 64 bits.
        """
        enough = (bits for bits in BUS_BITS if bits >= 8 * config.weight_bytes)
        return cls(weights=next(enough, BUS_BITS[-1]))


class AxiMatVec(wiring.Component):
    """``MatVecEngine`` behind AXI4-Stream and AXI4-Lite, with the port names of AXI tools.

    The streams carry beats byte after byte, the lowest first (``AxiStreamReader``,
    ``AxiStreamWriter``):

    - ``s_axis_weights``: weight beats of the engine, ``weight_bytes`` each.
    - ``s_axis_activations``: activation beats, ``activation_bytes`` each: ``lanes`` values of
      ``act_bits`` bits, lane 0 lowest, padded to a whole byte.
    - ``m_axis_results``: ``rows`` values for each result beat, each sign-extended to 32 bits; rows
      from N on are 0. TLAST marks the last word of a job.

    ``s_axi_ctrl`` reaches the registers of ``REGISTERS``, which start jobs. ``irq`` is high while
    an enabled interrupt is pending. No output depends on an input of the same cycle. All ports are
    synchronous to ``aclk``, and so is ``aresetn``.

    A job starts with a write of 1 to ``job_start``. It takes the values that the registers
    ``job_n`` to ``job_reuse`` have in the cycle after that write. They may change afterwards. Up to
    ``JOB_QUEUE_DEPTH`` jobs wait in a queue. Behind it, the engine loads one job and computes
    another. Two kinds of jobs never reach the queue:

    - A job that comes while the queue is full sets the flag ``job_lost``.
    - A job with a number that does not fit its field sets the flag ``job``. If all numbers fit and
      the job is out of range for the engine, the engine drops it later and sets the same flag.

    Latency: the engine is offered a job 2 cycles after the write to ``job_start`` is accepted, if
    the queue was empty. A weight beat reaches the engine in the cycle after its last word. A result
    word is offered in the cycle after the beat that completes it. Throughput: with w bytes in a bus
    word and B bytes in a beat (4 · rows for results), a beat takes max(1, B / w) cycles on average.
    A job of G groups of rows and C chunks therefore takes max(G · C, ceil(G · C · B / w)) cycles
    for its weights, if neither activations nor results hold it up.

    Example: the preset ``micro`` has 8 lanes, 5 rows and one token. Its beats have 8 bytes for
    weights and activations, and 20 bytes for results. All buses have 64 bits. Let a job have N = 5
    and K = 8. If the write to ``job_start`` is accepted in cycle 0, the engine accepts the job in
    cycle 2, and the activation beat in cycle 4 or later. If the only weight word is accepted later,
    in cycle t, the result beat follows in cycle t + 1 + 9, where 9 is ``config.latency``. The three
    result words follow in cycles t + 11 to t + 13, and an enabled interrupt in cycle t + 14.

    The command ``reset`` drops jobs, data and results in the cycle after its write. It keeps the
    registers, the counters and an offered result word. An input word that is accepted in this cycle
    is dropped too. No input word is accepted in the cycle that follows.

    Parameters
    ----------
    config : the configuration of the engine
    widths : widths of the buses; by default ``BusWidths.of(config)``

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``, or ``widths`` is not a ``BusWidths``.

    Members
    -------
    aclk : In(1); clock
    aresetn : In(1); synchronous reset, active low; it resets the registers and the counters too
    s_axis_weights_…, s_axis_activations_… : In(``axi_stream``), one port for each signal; TREADY is
        low from the second cycle of a reset to the first one after it; TLAST may stay 0
    m_axis_results_… : Out(``axi_stream``), one port for each signal; an offered word stays until it
        is taken, even after the command ``reset``
    s_axi_ctrl_… : In(``axi_lite``), one port for each signal; see ``RegisterBank``
    irq : Out(1); interrupt request; rises one cycle after its event, and stays until a write clears
        the bit in ``interrupt_pending`` or in ``interrupt_enable``
    """

    def __init__(self, config: MatVecConfig, widths: BusWidths | None = None) -> None:
        check_config(config)
        self._widths = BusWidths.of(config) if widths is None else widths
        if not isinstance(self._widths, BusWidths):
            raise TypeError(f"widths must be a BusWidths, not {widths!r}")
        self._engine = MatVecEngine(config)
        members = {"aclk": In(1), "aresetn": In(1)}
        for bus, flow, signature in self._buses():
            for name, member in signature.members.items():
                members[f"{bus}_{name}"] = member if flow == Out else member.flip()
        members["irq"] = Out(1)
        super().__init__(members)

    def _buses(self) -> list[tuple[str, wiring.Flow, wiring.Signature]]:
        """Prefix of the ports, direction and signature of each bus.

        Each signal of a signature becomes a member ``<prefix>_<signal>``. The directions of a
        signature are those of the manager or the transmitter. An ``In`` bus flips them.
        """
        widths = self._widths
        return [
            ("s_axi_ctrl", In, axi_lite()),
            ("s_axis_weights", In, axi_stream(widths.weights)),
            ("s_axis_activations", In, axi_stream(widths.activations)),
            ("m_axis_results", Out, axi_stream(widths.results)),
        ]

    @property
    def engine(self) -> MatVecEngine:
        """The engine inside."""
        return self._engine

    @property
    def widths(self) -> BusWidths:
        """Widths of the buses."""
        return self._widths

    @property
    def activation_bytes(self) -> int:
        """Bytes of an activation beat on its bus: ``ceil(lanes · act_bits / 8)``."""
        return -(-activations_shape(self._engine.config).size // 8)

    @property
    def result_bytes(self) -> int:
        """Bytes of a result beat on its bus."""
        return RESULT_BYTES * self._engine.config.rows

    @property
    def register_values(self) -> dict[str, int]:
        """Values of the constant registers, by name.

        Software reads the shape of the engine from them. ``code`` is the number of the code
        in ``WeightCode``. ``version`` has the major version of the map in its upper 16 bits.
        ``bus_bytes`` has the bytes of a word of weights, activations and results, lowest first.
        """
        config, widths = self._engine.config, self._widths
        major, minor = MAP_VERSION
        return {
            "magic": MAGIC,
            "version": major << 16 | minor,
            "lanes": config.lanes,
            "rows": config.rows,
            "tokens": config.tokens,
            "act_bits": config.act_bits,
            "code": list(WeightCode).index(WeightCode(config.code)),
            "k_max": config.k_max,
            "n_max": config.n_max,
            "acc_width": config.acc_width,
            "weight_bytes": config.weight_bytes,
            "activation_bytes": self.activation_bytes,
            "queue_depth": JOB_QUEUE_DEPTH,
            "bus_bytes": widths.weights // 8
            | widths.activations // 8 << 8
            | widths.results // 8 << 16,
        }

    def elaborate(self, platform: object) -> Module:
        """Connect the engine to readers, writer, job queue, register bank and counters.

        The domain ``sync`` is local, because its clock and its reset are ports. Each counter counts
        the cycles in which its event is true.
        """
        m = Module()
        config, engine, widths = self._engine.config, self._engine, self._widths
        m.domains.sync = ClockDomain(local=True)
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]

        m.submodules.bank = bank = RegisterBank(REGISTERS)
        weights = AxiStreamReader(bus_bits=widths.weights, beat_bytes=config.weight_bytes)
        activations = AxiStreamReader(bus_bits=widths.activations, beat_bytes=self.activation_bytes)
        queue = fifo.SyncFIFO(width=job_layout(config).size, depth=JOB_QUEUE_DEPTH)
        m.submodules.writer = writer = AxiStreamWriter(
            beat_bytes=self.result_bytes, bus_bits=widths.results
        )
        # The command ``reset`` drops jobs and data, but not an offered result word: AXI4-Stream
        # forbids to withdraw it. The writer therefore has a clear input instead of this reset.
        dropped = ResetInserter(bank.control[0])
        m.submodules.engine = dropped(engine)
        m.submodules.queue = dropped(queue)
        m.submodules.weights = dropped(weights)
        m.submodules.activations = dropped(activations)
        m.d.comb += writer.clear.eq(bank.control[0])

        ends = (bank.axi, weights.axis, activations.axis, writer.axis)
        for (bus, flow, signature), end in zip(self._buses(), ends, strict=True):
            for name, member in signature.members.items():
                port, inner = getattr(self, f"{bus}_{name}"), getattr(end, name)
                m.d.comb += port.eq(inner) if member.flow == flow else inner.eq(port)

        results = engine.results
        wide = [Signal(8 * RESULT_BYTES, name=f"result{row}") for row in range(config.rows)]
        m.d.comb += [
            engine.weights.p.eq(weights.beats.p),
            engine.weights.valid.eq(weights.beats.valid),
            weights.beats.ready.eq(engine.weights.ready),
            engine.activations.p.as_value().eq(activations.beats.p),
            engine.activations.valid.eq(activations.beats.valid),
            activations.beats.ready.eq(engine.activations.ready),
            *(word.eq(results.p["values"][row]) for row, word in enumerate(wide)),
            writer.beats.p.data.eq(Cat(wide)),
            writer.beats.p.last.eq(results.p.last),
            writer.beats.valid.eq(results.valid),
            results.ready.eq(writer.beats.ready),
        ]

        # A number that does not fit its field makes the job out of range. Without this check, the
        # engine would see the lower bits, which may be legal.
        job = Signal(job_layout(config))
        too_large = Signal()
        start = bank.job_start[0]
        sizes = {
            "n": bank.job_n,
            "k": bank.job_k,
            "tokens": bank.job_tokens,
            "group_chunks": bank.job_group_chunks,
        }
        m.d.comb += [
            *(job[name].eq(value) for name, value in sizes.items()),
            job.reuse.eq(bank.job_reuse),
            too_large.eq(Cat(value[len(job[name]) :] for name, value in sizes.items()).any()),
            queue.w_data.eq(job),
            queue.w_en.eq(start & ~too_large),
            engine.jobs.p.as_value().eq(queue.r_data),
            engine.jobs.valid.eq(queue.r_rdy),
            queue.r_en.eq(engine.jobs.ready),
        ]

        job_done = Signal()
        busy = Signal()
        m.d.comb += [
            job_done.eq(writer.axis.tvalid & writer.axis.tready & writer.axis.tlast),
            busy.eq(queue.r_rdy | engine.busy | ~writer.empty),
            bank.status.eq(Cat(busy, Const(0, 7), JOB_QUEUE_DEPTH - queue.level)),
            bank.error_set.eq(
                Cat(
                    engine.faults.weight,
                    engine.faults.activation,
                    engine.faults.job | (start & too_large),
                    start & ~too_large & ~queue.w_rdy,
                    weights.frame,
                    weights.keep,
                    activations.frame,
                    activations.keep,
                )
            ),
            bank.interrupt_pending_set.eq(Cat(job_done, bank.error_set.any())),
            self.irq.eq((bank.interrupt_pending & bank.interrupt_enable).any()),
        ]
        for name, value in self.register_values.items():
            m.d.comb += getattr(bank, name).eq(value)

        events = {
            "cycles": busy,
            "jobs_done": job_done,
            "weight_beats": engine.weights.valid & engine.weights.ready,
            "wait_weights": ~engine.weights.valid & engine.weights.ready,
            "wait_activations": ~engine.activations.valid & engine.activations.ready,
            "wait_results": engine.results.valid & ~engine.results.ready,
        }
        # Performance counters. They wrap around after 2³² events.
        for name, event in events.items():
            count = Signal(32, name=name)
            with m.If(bank.control[1]):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
            m.d.comb += getattr(bank, name).eq(count)
        return m
