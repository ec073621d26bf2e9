"""Taking of frames: what every top level has between its two wires and its session."""

from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..frames import Kind
from .link import FrameReceiver
from .uart import UartReceiver, UartTransmitter

__all__ = ["SESSION_MEMBERS", "connect_session"]

#: Members of a session, by which it executes and answers the frames that are taken.
SESSION_MEMBERS = {
    "start": In(1),
    "kind": In(8),
    "length": In(8),
    "address": Out(8),
    "payload": In(8),
    "free": Out(1),
    "received": In(1),
    "refused": In(1),
    "expected": In(8),
    "line": Out(stream.Signature(8)),
    "active": Out(1),
}


def connect_session(m: Module, top: Any, session: Any, *, divisor: int) -> Signal:
    """Make a link to the host, and let a session execute its frames.

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

    Parameters
    ----------
    m : module of the top level, which gets the UART, the receiver and the session
    top : component with the members ``rx``, ``tx`` and ``active`` of ``BoardTop``
    session : component with ``SESSION_MEMBERS``
    divisor : cycles per bit on the line

    Returns
    -------
    The reset of the session, high for one cycle when a new one begins.
    """
    m.submodules.uart_receiver = from_line = UartReceiver(divisor=divisor)
    m.submodules.uart_transmitter = to_line = UartTransmitter(divisor=divisor)
    m.submodules.receiver = receiver = FrameReceiver()
    # The reset of the session is a register, because its fan-out is high.
    begin = Signal()
    m.submodules.session = ResetInserter(begin)(session)
    wiring.connect(m, session.line, to_line.data)
    expected = Signal(8)
    hello, in_order = Signal(), Signal()
    ahead = Signal(8)
    m.d.comb += [
        from_line.rx.eq(top.rx),
        top.tx.eq(to_line.tx),
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
        top.active.eq(session.active | to_line.busy),
    ]
    # A frame starts after the reset with which a session begins.
    taken = Signal()
    m.d.sync += [begin.eq(hello), taken.eq(receiver.take), session.start.eq(taken)]
    with m.If(hello):
        m.d.sync += expected.eq(0)
    with m.Elif(in_order):
        m.d.sync += expected.eq(expected + 1)
    return begin
