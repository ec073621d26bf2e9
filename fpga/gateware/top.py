"""Top level of a board: engine, weight memory and host link, behind two wires."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..frames import Kind
from .config import TopConfig
from .link import FrameReceiver
from .session import Session
from .uart import UartReceiver, UartTransmitter

__all__ = ["BoardTop"]


class BoardTop(wiring.Component):
    """A matrix–vector engine, its weights, and a link to a host; PROTOCOL.md defines the link.

    The top level decides which frames are taken. ``Session`` executes them.

    =========================================== ======================= =========================
    frame                                       taken                   answer
    =========================================== ======================= =========================
    ``HELLO``                                   always; begins session  ``IDENTITY``
    with the expected number, nothing executes  yes                     ``ACK``
    with the expected number, another executes  no                      ``REFUSAL``
    with a number up to 127 ahead               no                      ``REFUSAL``
    with any other number: it was taken before  no                      ``ACK``
    =========================================== ======================= =========================

    A frame that is not taken is lost: the host sends it again.

    Latency: a frame is executed from the fourth cycle after its closing delimiter on. Throughput:
    the link moves up to 0.95 bytes of payload in the time of a byte, in both directions at once. A
    job's results wait in a queue until they are sent; if it is full, the engine waits.

    Parameters
    ----------
    config : configuration of the top level

    Members
    -------
    rx : In(1); the receiving line of the UART, high when idle, asynchronous
    tx : Out(1); the sending line of the UART, high when idle
    active : Out(1); something moves that does not wait for the host; for the activity LED

    Raises
    ------
    TypeError
        If ``config`` is not a ``TopConfig``.
    """

    def __init__(self, config: TopConfig) -> None:
        if not isinstance(config, TopConfig):
            raise TypeError(f"config must be a TopConfig, not {config!r}")
        self._config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1)})

    @property
    def config(self) -> TopConfig:
        """Configuration of the top level."""
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor = self._config.divisor
        m.submodules.uart_receiver = from_line = UartReceiver(divisor=divisor)
        m.submodules.uart_transmitter = to_line = UartTransmitter(divisor=divisor)
        m.submodules.receiver = receiver = FrameReceiver()
        session = Session(self._config)
        # The reset of the session is a register, because its fan-out is high.
        begin = Signal()
        m.submodules.session = ResetInserter(begin)(session)
        wiring.connect(m, session.line, to_line.data)
        expected = Signal(8)
        hello, in_order = Signal(), Signal()
        ahead = Signal(8)
        m.d.comb += [
            from_line.rx.eq(self.rx),
            self.tx.eq(to_line.tx),
            receiver.data.eq(from_line.data),
            receiver.strobe.eq(from_line.strobe),
            hello.eq(receiver.frame & (receiver.kind == Kind.HELLO)),
            in_order.eq(receiver.frame & ~hello & (receiver.sequence == expected) & session.free),
            receiver.take.eq(hello | in_order),
            receiver.address.eq(session.address),
            session.received.eq(receiver.frame & ~hello),
            # A frame that was taken before is acknowledged again and not refused: the host sends it
            # again if its acknowledgement was lost. Numbers wrap around at 256.
            ahead.eq(receiver.sequence - expected),
            session.refused.eq(~in_order & ~ahead[-1]),
            session.payload.eq(receiver.payload),
            session.kind.eq(receiver.kind),
            session.length.eq(receiver.length),
            session.expected.eq(expected),
            self.active.eq(session.active | to_line.busy),
        ]
        # A frame starts after the reset with which a session begins.
        taken = Signal()
        m.d.sync += [begin.eq(hello), taken.eq(receiver.take), session.start.eq(taken)]
        with m.If(hello):
            m.d.sync += expected.eq(0)
        with m.Elif(in_order):
            m.d.sync += expected.eq(expected + 1)
        return m
