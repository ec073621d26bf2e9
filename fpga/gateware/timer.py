"""Counters of a job."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["JobTimer"]


class JobTimer(wiring.Component):
    """Counts the cycles of a job, and those of them in which the engine waited for the link.

    Both counts have 32 bits and wrap around: at 100 MHz after 42 seconds. They keep their values
    from the end of a job to the start of the next, for the answer.

    ``waits`` runs a cycle behind ``waiting``, whose logic is long. The cycle of ``stop`` therefore
    counts a wait of the cycle before. Both counts have no reset: ``start`` sets them.

    Latency: ``cycles`` counts the cycle of ``start`` and that of ``stop``. Throughput: a job may
    start in the cycle after another stopped.

    Members
    -------
    start : In(1); a job was accepted
    stop : In(1); its last result was taken, or it has none; not together with ``start``
    waiting : In(1); the engine waits for the link
    cycles : Out(32); from ``start`` to ``stop``
    waits : Out(32); those of them with ``waiting``
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "waiting": In(1),
                "cycles": Out(32),
                "waits": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counting = Signal()
        waited = Signal()
        cycles, waits = Signal(32, reset_less=True), Signal(32, reset_less=True)
        m.d.comb += [self.cycles.eq(cycles), self.waits.eq(waits)]
        with m.If(self.stop):
            m.d.sync += counting.eq(0)
        with m.If(self.start):
            m.d.sync += [counting.eq(1), cycles.eq(1), waits.eq(0)]
        with m.Else():
            m.d.sync += [cycles.eq(cycles + counting), waits.eq(waits + waited)]
        # A register, because ``waiting`` comes late in a cycle.
        m.d.sync += waited.eq(counting & self.waiting)
        return m
