"""Result beats as bytes."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.config import MatVecConfig
from ...hw.engine.results import results_shape

__all__ = ["ResultSerializer"]


class ResultSerializer(wiring.Component):
    """Cuts result beats into bytes, lowest first, filled to whole bytes.

    A beat has ``bits = rows · acc_width + 1`` bits: the values of the rows, the first one lowest,
    and ``last`` above them. It is shifted out of a register by eight bits at a time. The next beat
    is taken when the register is empty. That is fast enough, because the link moves a byte in 40
    cycles or more.

    Latency: the first byte of a beat is offered in the cycle after the beat was taken.
    Throughput: a beat in ``ceil(bits / 8) + 1`` cycles if every byte is taken at once.

    Parameters
    ----------
    config : configuration of the engine

    Members
    -------
    results : In(stream of ``results_shape``); the engine's beats
    hold : In(1); no beat is taken: the results of the job before are not answered yet
    bytes : Out(stream of bytes)
    ended : Out(1); the last beat of a job is being taken
    finished : Out(1); the last byte of a job is being taken
    busy : Out(1); bytes of a beat are still to come

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``.
    """

    def __init__(self, config: MatVecConfig) -> None:
        if not isinstance(config, MatVecConfig):
            raise TypeError(f"config must be a MatVecConfig, not {config!r}")
        self._beat = results_shape(config)
        super().__init__(
            {
                "results": In(stream.Signature(self._beat)),
                "hold": In(1),
                "bytes": Out(stream.Signature(8)),
                "ended": Out(1),
                "finished": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = -(-self._beat.size // 8)
        beat = Signal(8 * size, reset_less=True)
        left = Signal(range(size + 1))
        last = Signal(reset_less=True)
        taken = Signal()
        m.d.comb += [
            self.busy.eq(left != 0),
            self.bytes.p.eq(beat[:8]),
            self.bytes.valid.eq(left != 0),
            # A beat waits until the one before has left: one register is enough for the line.
            self.results.ready.eq((left == 0) & ~self.hold),
            taken.eq(self.results.valid & self.results.ready),
            self.ended.eq(taken & self.results.p.last),
            self.finished.eq(self.bytes.valid & self.bytes.ready & (left == 1) & last),
        ]
        with m.If(taken):
            m.d.sync += [beat.eq(self.results.p), left.eq(size), last.eq(self.results.p.last)]
        with m.Elif(self.bytes.valid & self.bytes.ready):
            m.d.sync += [beat.eq(beat >> 8), left.eq(left - 1)]
        return m
