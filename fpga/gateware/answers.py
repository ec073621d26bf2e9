"""Order in which a board answers."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer
from ..frames import DONE, MAX_PAYLOAD, Kind
from .link import FrameTransmitter

__all__ = ["AnswerScheduler"]


class _Answer(Enum, shape=2):
    """Source of the payload that is being sent."""

    IDENTITY = 0
    RESULTS = 1
    DONE = 2


class AnswerScheduler(wiring.Component):
    """Sends the board's frames, the most urgent first.

    A request that comes while a frame is being sent waits. When the line is free, the first of
    these conditions that is true decides which frame starts:

    ============== =================================== ===========================================
    frame          condition                           sequence number
    ============== =================================== ===========================================
    ``IDENTITY``   the host asked for it               none that is used
    ``ACK`` or     a frame must be acknowledged; only  ``expected``
    ``REFUSAL``    the last one that waits counts
    ``RESULTS``    a full payload is in the queue, or  the count of results and ends
                   any byte after the last result
    ``DONE``       the job is done, the queue empty    the same count
    ============== =================================== ===========================================

    Kind and length are fixed when a frame starts. Result bytes that come later wait for the next.

    Latency: that of ``FrameTransmitter``, which begins a frame in the cycle after the request if
    the line is free. Throughput: a payload of ``n`` bytes in ``n + 11`` to ``n + 12`` bytes on the
    line, and ``n + 6`` cycles between frames.

    Parameters
    ----------
    identity : payload of ``Kind.IDENTITY`` behind the four bytes of the host
    depth : of the queue of result bytes, in bytes
    live : 0 or more; bytes of the identity, the last ones, that are known only after the start
    flags : 0 to 7; flags of ``Kind.DONE`` behind the error flag

    Members
    -------
    identify : In(1); the host asks for the identity
    nonce : In(32); the four bytes of the host, first byte lowest
    received : In(1); a frame must be acknowledged
    refused : In(1); with ``received``: that frame was not taken
    expected : In(8); number of the frame that is expected next
    level : In; bytes in the queue
    results : In(stream of bytes); the queue's output
    done : In(1); all results of the job are in the queue; falls in the cycle after ``answered``
    cycles, waits : In(32); counts of the job, see ``JobTimer``
    error : In(1); the job must not be trusted
    live : In; the last bytes of the identity, if there are any
    flags : In; flags behind the error flag, if there are any
    answered : Out(1); the last byte of ``Kind.DONE`` is taken
    line : Out(stream of bytes)
    busy : Out(1); a frame is being sent, or an identity or acknowledgement waits

    Raises
    ------
    TypeError
        If ``identity`` is not bytes, or a number is not an integer.
    ValueError
        If the identity does not fit a frame, a payload does not fit the queue, or a number is not
        legal.
    """

    def __init__(self, identity: bytes, *, depth: int, live: int = 0, flags: int = 0) -> None:
        if not isinstance(identity, bytes):
            raise TypeError(f"identity must be of type bytes, not {identity!r}")
        if not 0 < len(identity) <= MAX_PAYLOAD - 4:
            raise ValueError(
                f"identity must have from 1 to {MAX_PAYLOAD - 4} bytes, not {len(identity)}"
            )
        depth = check_integer("depth", depth, MAX_PAYLOAD)
        live = check_integer("live", live, 0, len(identity))
        flags = check_integer("flags", flags, 0, 7)
        self._identity, self._live, self._flags = identity, live, flags
        optional = {"live": 8 * live, "flags": flags}
        super().__init__(
            {
                "identify": In(1),
                "nonce": In(32),
                "received": In(1),
                "refused": In(1),
                "expected": In(8),
                "level": In(range(depth + 1)),
                "results": In(stream.Signature(8)),
                "done": In(1),
                "cycles": In(32),
                "waits": In(32),
                "error": In(1),
                **{name: In(bits) for name, bits in optional.items() if bits},
                "answered": Out(1),
                "line": Out(stream.Signature(8)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sender = sender = FrameTransmitter()
        wiring.connect(m, sender.line, wiring.flipped(self.line))
        identify, acknowledge, refuse = Signal(), Signal(), Signal()
        number = Signal(8)
        answer = Signal(_Answer, reset_less=True)
        size = 4 + len(self._identity)
        index = Signal(range(size), reset_less=True)
        full = self.level >= MAX_PAYLOAD
        moved = Signal()
        m.d.comb += [
            sender.sequence.eq(number),
            moved.eq(sender.payload.valid & sender.payload.ready),
            self.answered.eq((answer == _Answer.DONE) & moved & (index == DONE.size - 1)),
            self.busy.eq(~sender.ready | identify | acknowledge),
        ]
        with m.If(moved):
            m.d.sync += index.eq(index + 1)
        # The length of a frame is fixed when it starts: results that come later wait.
        with m.If(sender.ready):
            m.d.sync += index.eq(0)
            with m.If(identify):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Kind.IDENTITY),
                    sender.length.eq(size),
                ]
                m.d.sync += [identify.eq(0), answer.eq(_Answer.IDENTITY)]
            with m.Elif(acknowledge):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Mux(refuse, Kind.REFUSAL, Kind.ACK)),
                    sender.sequence.eq(self.expected),
                ]
                m.d.sync += acknowledge.eq(0)
            with m.Elif(full | (self.done & (self.level != 0))):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Kind.RESULTS),
                    sender.length.eq(Mux(full, MAX_PAYLOAD, self.level)),
                ]
                m.d.sync += [number.eq(number + 1), answer.eq(_Answer.RESULTS)]
            with m.Elif(self.done):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Kind.DONE),
                    sender.length.eq(DONE.size),
                ]
                m.d.sync += [number.eq(number + 1), answer.eq(_Answer.DONE)]
        # Later than what is above: a request in the cycle in which another leaves is kept.
        with m.If(self.received):
            m.d.sync += [acknowledge.eq(1), refuse.eq(self.refused)]
        with m.If(self.identify):
            m.d.sync += identify.eq(1)
        self._payload(m, sender, answer, index)
        return m

    def _payload(self, m: Module, sender: FrameTransmitter, answer: Signal, index: Signal) -> None:
        """Give the transmitter the payload of the frame that it sends.

        The identity and the counts are multiplexers over bytes, selected by ``index``. Result bytes
        come straight from the queue.

        Parameters
        ----------
        m : the module
        sender : the transmitter
        answer : kind of answer whose payload is sent
        index : place of the next byte in the payload
        """
        fixed = len(self._identity) - self._live
        identity = Array(
            [
                *(self.nonce.word_select(byte, 8) for byte in range(4)),
                *(Const(byte, 8) for byte in self._identity[:fixed]),
                *(self.live.word_select(byte, 8) for byte in range(self._live)),
            ]
        )
        words = (self.cycles, self.waits)
        flags = [self.flags] if self._flags else []
        # The fields of ``frames.DONE`` in their order.
        counters = Array(
            [
                *(word.word_select(byte, 8) for word in words for byte in range(4)),
                Cat(self.error, *flags, Const(0, 7 - self._flags)),
            ]
        )
        with m.Switch(answer):
            with m.Case(_Answer.IDENTITY):
                m.d.comb += [sender.payload.valid.eq(1), sender.payload.p.eq(identity[index])]
            with m.Case(_Answer.RESULTS):
                m.d.comb += [
                    sender.payload.valid.eq(self.results.valid),
                    sender.payload.p.eq(self.results.p),
                    self.results.ready.eq(sender.payload.ready),
                ]
            with m.Default():
                m.d.comb += [sender.payload.valid.eq(1), sender.payload.p.eq(counters[index[:4]])]
