"""The board's end of the link: frames out of bytes, and bytes out of frames."""

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from ..frames import MAX_PAYLOAD

__all__ = ["FrameReceiver", "FrameTransmitter"]


class _State(Enum, shape=2):
    """Part of a frame that the next byte belongs to."""

    BODY = 0
    TRAILER = 1
    BAD = 2


def _trailer(crc: Signal) -> Array:
    """The five bytes behind the body of a frame, see ``frames.Frame``."""
    bits = Cat(crc, Const(0, 3))
    return Array(Cat(bits[7 * index : 7 * index + 7], Const(1, 1)) for index in range(5))


class FrameReceiver(wiring.Component):
    """Removes the stuffing of frames, checks them, and keeps the payload of a good one.

    The payload goes into one half of a buffer. If the frame is taken, it stays readable there until
    the next is taken, and the other half gets the frames that follow. A frame whose length or CRC
    is wrong is dropped without a message: the host sends it again.

    The state says where in a frame the next byte belongs:

    =========== ==================================================================================
    ``BODY``    header and payload, still stuffed: codes become zeros or vanish, bytes are counted
    ``TRAILER`` the five bytes of the CRC, each compared as it comes
    ``BAD``     something was wrong; only a delimiter leads out of here
    =========== ==================================================================================

    A delimiter in state ``TRAILER`` behind the fifth byte ends a good frame. Every delimiter begins
    the next frame.

    The CRC runs over the stuffed bytes, so that it does not depend on the stuffing being right.

    Latency: ``frame`` comes in the cycle after the closing delimiter's ``strobe``. Throughput: a
    byte in two cycles.

    Members
    -------
    data : In(8); a byte from the line, valid with ``strobe``
    strobe : In(1); a byte has come; not in two cycles one after the other
    frame : Out(1); for one cycle: a good frame has come
    kind : Out(8); kind of the frame; valid with ``frame`` and until the next header
    sequence : Out(8); sequence number of the frame; valid as long as ``kind``
    length : Out(8); bytes of its payload; valid as long as ``kind``
    take : In(1); with ``frame``: keep its payload
    address : In(8); place of a byte in the payload that was taken
    payload : Out(8); that byte, a cycle later
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "data": In(8),
                "strobe": In(1),
                "frame": Out(1),
                "kind": Out(8),
                "sequence": Out(8),
                "length": Out(8),
                "take": In(1),
                "address": In(8),
                "payload": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(
            shape=8, depth=512, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        write, read = buffer.write_port(), buffer.read_port()
        bank = Signal()
        with m.If(self.take):
            m.d.sync += bank.eq(~bank)
        m.d.comb += [
            read.addr.eq(Cat(self.address, ~bank)),
            self.payload.eq(read.data),
        ]

        place = Signal(8)  # Place of the next byte of the payload.
        left = Signal(8)  # Bytes of the payload that are still to come.
        header = Signal(range(4))  # Bytes of the header that have come.
        run = Signal(8)  # Bytes until the next code of the stuffing.
        first = Signal(init=1)
        trailer = Signal(range(6))
        state = Signal(_State)
        byte = Signal(8)
        decoded = Signal()
        delimiter = Signal()
        m.d.comb += [
            delimiter.eq(self.strobe & (self.data == 0)),
            crc.start.eq(delimiter),
            crc.data.eq(self.data),
            crc.valid.eq(self.strobe & ~delimiter & (state == _State.BODY)),
            byte.eq(self.data),
            write.addr.eq(Cat(place, bank)),
            write.data.eq(byte),
        ]
        with m.If(crc.valid):
            with m.If(run == 0):
                # A code says how far the next zero is. All but the first stand for a zero too.
                m.d.sync += [run.eq(self.data - 1), first.eq(0)]
                m.d.comb += [byte.eq(0), decoded.eq(~first)]
            with m.Else():
                m.d.sync += run.eq(run - 1)
                m.d.comb += decoded.eq(1)
        m.d.sync += self.frame.eq(0)
        with m.If(delimiter):
            m.d.sync += [
                self.frame.eq((state == _State.TRAILER) & (trailer == 5)),
                state.eq(_State.BODY),
                run.eq(0),
                first.eq(1),
                header.eq(0),
                place.eq(0),
                trailer.eq(0),
            ]
        with m.Elif(decoded & (header == 3)):
            m.d.comb += write.en.eq(1)
            m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += state.eq(_State.TRAILER)
        with m.Elif(decoded):
            m.d.sync += [
                header.eq(header + 1),
                self.kind.eq(self.sequence),
                self.sequence.eq(self.length),
                self.length.eq(byte),
                left.eq(byte),
            ]
            with m.If(header == 2):
                with m.If(byte == 0):
                    m.d.sync += state.eq(_State.TRAILER)
                with m.Elif(byte > MAX_PAYLOAD):
                    m.d.sync += state.eq(_State.BAD)
        with m.Elif(self.strobe & (state == _State.TRAILER)):
            m.d.sync += trailer.eq(trailer + 1)
            with m.If((trailer == 5) | (self.data != _trailer(crc.crc)[trailer])):
                m.d.sync += state.eq(_State.BAD)
        return m


class FrameTransmitter(wiring.Component):
    """Stuffs a frame into a buffer, then sends it.

    The buffer is needed because a code of the stuffing stands in front of the bytes that it counts.
    A place stays free for the code, and is written when the next zero, or the end, is known.

    The states of the machine:

    =========== ==================================================================================
    ``idle``    wait for ``start``
    ``header``  stuff kind, sequence number and length
    ``payload`` stuff the payload; then write the last code
    ``open``    send the opening delimiter
    ``fetch``   take a stuffed byte from the buffer
    ``send``    send the byte, and add it to the CRC
    ``trailer`` send the five bytes of the CRC
    ``close``   send the closing delimiter
    =========== ==================================================================================

    Latency: ``length + 6`` cycles from ``start`` to the opening delimiter, if the payload has no
    gaps. Throughput: that of the line, apart from these cycles, if the line takes a stuffed byte
    every second cycle at most.

    Members
    -------
    start : In(1); with ``ready``: begin a frame
    ready : Out(1); nothing is being sent
    kind : In(8); kind of the frame, with ``start``
    sequence : In(8); sequence number of the frame, with ``start``
    length : In(8); bytes of its payload, at most ``MAX_PAYLOAD``, with ``start``
    payload : In(stream of bytes); ``length`` of them are taken
    line : Out(stream of bytes); the frame with its delimiters
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "ready": Out(1),
                "kind": In(8),
                "sequence": In(8),
                "length": In(8),
                "payload": In(stream.Signature(8)),
                "line": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(
            shape=8, depth=256, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        write, read = buffer.write_port(), buffer.read_port()
        header = Signal(24)
        header_left = Signal(range(4))
        left = Signal(8)
        end = Signal(8)  # Place of the next byte in the buffer.
        code = Signal(8)  # Place of the code in front of it.
        run = Signal(8)  # Value of that code so far.
        place = Signal(8)  # Place of the next byte to send.
        # The buffer's output comes late in a cycle, so that the CRC is computed in the next.
        fetched = Signal(8, reset_less=True)
        trailer = Signal(range(5))
        # The byte to stuff comes late in a cycle, so that it is stuffed in the next.
        byte = Signal(8)
        take = Signal()
        taken = Signal(8, reset_less=True)
        stuff = Signal()
        m.d.comb += [read.addr.eq(place), crc.data.eq(fetched)]
        m.d.sync += [taken.eq(byte), stuff.eq(take)]
        with m.If(stuff):
            m.d.comb += write.en.eq(1)
            m.d.sync += end.eq(end + 1)
            with m.If(taken == 0):
                m.d.comb += [write.addr.eq(code), write.data.eq(run)]
                m.d.sync += [code.eq(end), run.eq(1)]
            with m.Else():
                m.d.comb += [write.addr.eq(end), write.data.eq(taken)]
                m.d.sync += run.eq(run + 1)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.ready.eq(1), crc.start.eq(1)]
                m.d.sync += [
                    header.eq(Cat(self.kind, self.sequence, self.length)),
                    header_left.eq(3),
                    left.eq(self.length),
                    end.eq(1),
                    code.eq(0),
                    run.eq(1),
                    place.eq(0),
                    trailer.eq(0),
                ]
                with m.If(self.start):
                    m.next = "header"
            with m.State("header"):
                m.d.comb += [byte.eq(header[:8]), take.eq(1)]
                m.d.sync += [header.eq(header >> 8), header_left.eq(header_left - 1)]
                with m.If(header_left == 1):
                    m.next = "payload"
            with m.State("payload"):
                m.d.comb += byte.eq(self.payload.p)
                with m.If(left != 0):
                    m.d.comb += [self.payload.ready.eq(1), take.eq(self.payload.valid)]
                    with m.If(self.payload.valid):
                        m.d.sync += left.eq(left - 1)
                with m.Elif(~stuff):
                    m.d.comb += [write.en.eq(1), write.addr.eq(code), write.data.eq(run)]
                    m.next = "open"
            with m.State("open"):
                m.d.comb += self.line.valid.eq(1)
                with m.If(self.line.ready):
                    m.next = "fetch"
            with m.State("fetch"):
                m.d.sync += [fetched.eq(read.data), place.eq(place + 1)]
                m.next = "send"
            with m.State("send"):
                m.d.comb += [
                    self.line.p.eq(fetched),
                    self.line.valid.eq(1),
                    crc.valid.eq(self.line.ready),
                ]
                with m.If(self.line.ready):
                    m.next = "fetch"
                    with m.If(place == end):
                        m.next = "trailer"
            with m.State("trailer"):
                m.d.comb += [self.line.p.eq(_trailer(crc.crc)[trailer]), self.line.valid.eq(1)]
                with m.If(self.line.ready):
                    m.d.sync += trailer.eq(trailer + 1)
                    with m.If(trailer == 4):
                        m.next = "close"
            with m.State("close"):
                m.d.comb += self.line.valid.eq(1)
                with m.If(self.line.ready):
                    m.next = "idle"
        return m
