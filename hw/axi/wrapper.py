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

from ...golden.codes import CODES
from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.loader import activations_shape, job_layout
from .lite import RegisterBank, axi_lite
from .registers import MAGIC, MAP_VERSION, REGISTERS
from .stream import BUS_BITS, AxiStreamReader, AxiStreamWriter, axi_stream

__all__ = ["JOB_QUEUE_DEPTH", "AxiMatVec", "BusWidths"]

#: Jobs that wait in front of the engine, which itself holds one that loads and one that computes.
JOB_QUEUE_DEPTH = 4


#: Bytes of a result on the bus, sign-extended.
RESULT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class BusWidths:
    """Bits of TDATA of each AXI4-Stream, powers of two from 32 to 1024.

    Raises
    ------
    ValueError
        If a value is not legal.
    """

    weights: int
    activations: int = 64
    results: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value not in BUS_BITS:
                legal = ", ".join(map(str, BUS_BITS))
                raise ValueError(
                    f"the width of the {field.name} bus must be one of {legal}, not {value!r}"
                )

    @classmethod
    def of(cls, config: MatVecConfig) -> Self:
        """The narrowest for weights that carries a beat per clock, at most 1024; 64 for others."""
        enough = (bits for bits in BUS_BITS if bits >= 8 * config.weight_bytes)
        return cls(weights=next(enough, BUS_BITS[-1]))


class AxiMatVec(wiring.Component):
    """``MatVecEngine`` behind AXI4-Stream and AXI4-Lite, under the names that AXI tools look for.

    Streams are packed byte after byte, the lowest first (``AxiStreamReader``, ``AxiStreamWriter``):

    - ``s_axis_weights``: the engine's weight beats, ``weight_bytes`` each.
    - ``s_axis_activations``: its activation beats, ``activation_bytes`` each: ``lanes`` values of
      ``act_bits``, lane 0 lowest, filled up to a whole byte.
    - ``m_axis_results``: of each result beat ``rows`` values, each extended to 32 bits with its
      sign; rows beyond N are 0. TLAST is with the last word of a job.

    ``s_axi_ctrl`` has the registers of ``REGISTERS``; jobs are started there. ``irq`` is high
    while a pending bit is enabled. No output depends on an input of the same clock, and all is
    synchronous to ``aclk``, ``aresetn`` too.

    Latency: a job is offered to the engine 3 clocks after the write to ``job_start`` is taken, if
    it is the only one. A weight beat reaches the engine in the clock after its last word, and the
    word that a result beat completes is offered in the clock after the beat. Throughput: with w
    bytes of a bus and B of a beat (4·rows for results), a beat takes max(1, B / w) clocks on
    average; so a job with G·C weight beats takes max(G·C, ceil(G·C·B / w)) clocks for them, where
    neither activations nor results hold it up.

    Parameters
    ----------
    config : the engine's
    widths : of the buses; by default ``BusWidths.of(config)``

    Members
    -------
    aclk, aresetn : In(1)
    s_axis_weights_…, s_axis_activations_…, m_axis_results_… : tdata, tkeep, tlast, tvalid, tready
    s_axi_ctrl_… : AXI4-Lite, 32 bits
    irq : Out(1)
    """

    def __init__(self, config: MatVecConfig, widths: BusWidths | None = None) -> None:
        self._engine = MatVecEngine(config)
        self._widths = widths or BusWidths.of(config)
        members = {"aclk": In(1), "aresetn": In(1)}
        for bus, flow, signature in self._buses():
            for name, member in signature.members.items():
                members[f"{bus}_{name}"] = member if flow == Out else member.flip()
        members["irq"] = Out(1)
        super().__init__(members)

    def _buses(self) -> list[tuple[str, wiring.Flow, wiring.Signature]]:
        """Prefix of the ports, whether this end drives, and signature of each bus."""
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
        """Of the buses."""
        return self._widths

    @property
    def activation_bytes(self) -> int:
        """Of an activation beat on its bus."""
        return -(-activations_shape(self._engine.config).size // 8)

    @property
    def result_bytes(self) -> int:
        """Of a result beat on its bus."""
        return RESULT_BYTES * self._engine.config.rows

    @property
    def register_values(self) -> dict[str, int]:
        """What the registers hold that do not change."""
        config, widths = self._engine.config, self._widths
        major, minor = MAP_VERSION
        return {
            "magic": MAGIC,
            "version": major << 16 | minor,
            "lanes": config.lanes,
            "rows": config.rows,
            "tokens": config.tokens,
            "act_bits": config.act_bits,
            "code": list(CODES).index(config.code),
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

        # A job whose numbers do not fit their fields is out of range, whatever is left of them.
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
        for name, event in events.items():
            count = Signal(32, name=name)
            with m.If(bank.control[1]):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
            m.d.comb += getattr(bank, name).eq(count)
        return m
