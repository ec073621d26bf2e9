"""Frames over a serial port: sessions that survive noise."""

import os
import termios
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import serial
from serial.tools.list_ports import comports

from ...golden.checks import check_integer, check_kind
from ...golden.errors import TrilithError
from ..boards import BOARDS
from ..frames import DONE, MAX_PAYLOAD, DoneFlag, Frame, FrameReader, Kind
from ..identity import CoreIdentity, Identity, decode_identity

__all__ = ["TRIES", "AnswerLostError", "BoardError", "JobAnswer", "Link", "split_payload"]

#: Most frames that may be under way without an acknowledgement: 4 KB, 40 ms at 1 Mbaud, more than
#: the delay of a USB adapter. All of them are sent again when one is broken, so that a line with
#: noise must have fewer: half at each step back, and one more after so many in order, as in TCP
#: (Jacobson, 1988).
_WINDOWS = range(2, 17)
_FIRST_WINDOW = 8
_CALM = 128


#: Tries without any progress before the host gives up. Each waits for twice as long as the one
#: before, up to ``_LONGEST`` seconds.
TRIES = 10


_LONGEST = 1.0


#: Seconds of silence after which the answer to a job counts as lost.
_SILENCE = 4.0


_Result = TypeVar("_Result")


#: Baud rates of the boards here.
_RATES = tuple(dict.fromkeys(board.top.baud for board in BOARDS.values()))


#: Exceptions of pyserial where a port fails or is none; ``termios.error`` is no ``OSError``.
_PORT_ERRORS = (OSError, ValueError, OverflowError, TypeError, termios.error)


class BoardError(TrilithError, RuntimeError):
    """A board cannot be used; the message says what to try."""


class AnswerLostError(Exception):
    """An answer was lost: the session is of no use any more, and the job must be repeated."""


@dataclass(frozen=True, kw_only=True)
class JobAnswer:
    """Answer of a board to a job.

    Parameters
    ----------
    results : bytes of the result beats
    cycles : cycles from the job's acceptance to its last result, both counted
    waits : those of them in which it waited, see PROTOCOL.md
    flags : faults of a token core that make no error
    """

    results: bytes
    cycles: int
    waits: int
    flags: DoneFlag


class Link:
    """Frames over a serial port, delivered in order and once each.

    Up to 16 frames are under way (go-back-N), fewer on a line with noise. The board takes those
    that come in order and acknowledges with the number that it expects next; from there on
    everything is sent again. Answers are numbered too. If one is missing, the session ends.

    Parameters
    ----------
    port : a serial port of the system, such as ``/dev/ttyUSB0``
    baud : rate of the board's bitstream in bits per second; None: the rates of all boards here are
        tried

    Raises
    ------
    TypeError, ValueError
        If ``port`` is not a string, or ``baud`` is not an integer from 1 to 2³¹ − 1.
    BoardError
        If the port cannot be used, if no board answers, or if its answer is not understood.
    """

    def __init__(self, port: str, baud: int | None = None) -> None:
        check_kind("port", port, str)
        self._rates = _RATES if baud is None else (check_integer("baud", baud, 1, 2**31 - 1),)
        rates = " or ".join(map(str, self._rates))
        self._name = f"{port} at {rates} baud"
        try:
            self._serial = serial.Serial(
                port, self._rates[0], timeout=0, write_timeout=60, exclusive=True
            )
        except _PORT_ERRORS as error:
            raise BoardError(_port_message(port, self._rates[0], error)) from None
        self._reader = FrameReader()
        self._answers: deque[Frame] = deque()
        #: Sessions begun, frames sent again, and bytes sent on the line.
        self.sessions = self.repeated = self.sent_bytes = 0
        # Frames that may be under way, and those that came in order since this number changed.
        self._window, self._calm = _FIRST_WINDOW, 0
        # Seconds in which an answer must come, from how long others took.
        self._patience = _LONGEST / 2
        try:
            self.identity = self.begin()
        except BaseException:
            self._serial.close()
            raise
        self._rates = (self.baud,)
        self._name = f"{port} at {self.baud} baud"

    def close(self) -> None:
        """Close the port, so that another program can open it."""
        self._serial.close()

    @property
    def baud(self) -> int:
        """Rate of the line in bits per second."""
        return self._serial.baudrate

    @property
    def rejected(self) -> int:
        """Number of pieces of noise that came instead of frames."""
        return self._reader.rejected

    def begin(self) -> Identity | CoreIdentity:
        """Begin a session: everything that is under way is dropped on both sides.

        Returns
        -------
        The identity of the board.

        Raises
        ------
        BoardError
            If no identity comes, or one that is not understood.
        """
        nonce = os.urandom(4)
        self.sessions += 1
        self._expected = self._base = 0
        self._answers.clear()
        hello = Frame(kind=Kind.HELLO, sequence=0, payload=nonce)
        for tries in range(TRIES):
            turn, which = divmod(tries, len(self._rates))
            begin = time.monotonic()
            try:
                self._serial.baudrate = self._rates[which]
            except _PORT_ERRORS as error:
                raise self._failed(error) from None
            self._write(hello)
            for frame in self._frames(self._wait(turn)):
                # The nonce tells the answer from one to an earlier HELLO.
                if frame.kind == Kind.IDENTITY and frame.payload[:4] == nonce:
                    self._learn(time.monotonic() - begin)
                    return self._identity(frame.payload[4:])
        raise BoardError(
            f"{self._name}: no board answers; load its bitstream, and check --port and --baud "
            "(trilith fpga boards prints the rates)"
        )

    def _identity(self, payload: bytes) -> Identity | CoreIdentity:
        """Decode the identity of a board."""
        try:
            return decode_identity(payload)
        except ValueError as error:
            raise BoardError(f"{self._name}: {error}") from None

    def _learn(self, seconds: float) -> None:
        """Adapt to how long an answer took, slowly: the window fills, and machines are busy."""
        self._patience += (0.1 + 4 * seconds - self._patience) / 4

    def _wait(self, tries: int) -> float:
        """Seconds to wait for an answer after so many tries without progress."""
        return max(min(self._patience * 2**tries, _LONGEST), self._patience)

    def _moved(self, frames: int) -> None:
        """Widen the window after frames in order."""
        self._calm += frames
        if self._calm >= _CALM:
            self._window, self._calm = min(self._window + 1, max(_WINDOWS)), 0

    def _stepped_back(self) -> None:
        """Narrow the window after a frame was lost or broken."""
        self._window, self._calm = max(self._window // 2, min(_WINDOWS)), 0

    def _write(self, frame: Frame) -> None:
        """Send a frame."""
        line = frame.encode()
        self.sent_bytes += len(line)
        try:
            self._serial.write(line)
        except _PORT_ERRORS as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> BoardError:
        """Make the error of a port that failed while it was open."""
        return BoardError(
            f"{self._name}: the port failed: {error}; check the cable, and connect the board again"
        )

    def _frames(self, seconds: float) -> Iterator[Frame]:
        """Yield frames as they come, until none has come for so many seconds."""
        limit = time.monotonic() + seconds
        while True:
            while self._answers:
                limit = time.monotonic() + seconds
                yield self._answers.popleft()
            left = limit - time.monotonic()
            if left <= 0:
                return
            try:
                # Setting the timeout reconfigures the port, which may fail too.
                self._serial.timeout = left
                data = self._serial.read(max(1, self._serial.in_waiting))
            except _PORT_ERRORS as error:
                raise self._failed(error) from None
            self._answers.extend(self._reader.feed(data))

    def deliver(self, frames: Sequence[tuple[Kind, bytes]]) -> None:
        """Deliver frames that hold no job, and wait until all are acknowledged.

        Parameters
        ----------
        frames : kind and payload of each

        Raises
        ------
        BoardError
            If the board stops answering, or stops taking frames.
        AnswerLostError
            If an answer is lost.
        """
        self._run(_Delivery(self, frames, silence=None))

    def ask(self, frames: Sequence[tuple[Kind, bytes]], *, silence: float = _SILENCE) -> JobAnswer:
        """Deliver frames that hold one job, and collect its answer.

        Parameters
        ----------
        frames : kind and payload of each
        silence : seconds without a frame after which the answer counts as lost; a job may take as
            long

        Returns
        -------
        The answer. If the board reports an error instead, a new session begins, because the board
        keeps its error until then.

        Raises
        ------
        BoardError
            If the board stops answering, stops taking frames, or reports an error.
        AnswerLostError
            If an answer is lost.
        """
        delivery = _Delivery(self, frames, silence=silence)
        self._run(delivery)
        answer = delivery.result()
        if answer.flags & DoneFlag.ERROR:
            self.begin()
            part = "engine" if isinstance(self.identity, Identity) else "token core"
            causes = ", ".join(
                flag.name.lower()
                for flag in answer.flags
                if flag not in (DoneFlag.ERROR, DoneFlag.LARGE) and flag.name
            )
            raise BoardError(
                f"{self._name}: the {part} reported an error on a legal job"
                f"{causes and f' ({causes})'}; test the board with trilith fpga selftest, and "
                "build its bitstream again"
            )
        return answer

    def repeat(self, action: Callable[[], _Result], forget: Callable[[], None]) -> _Result:
        """Repeat an action in a new session as long as answers are lost.

        Parameters
        ----------
        action : delivers frames or asks; its repetition must do no harm
        forget : called before a new session, which resets the engine or the core

        Raises
        ------
        BoardError
            If too many answers are lost, or another board answers.
        """
        for _ in range(TRIES):
            try:
                return action()
            except AnswerLostError:
                forget()
                if self.begin() != self.identity:
                    raise BoardError(
                        "another board answers than at the start; connect one board per port"
                    ) from None
        raise BoardError(
            f"none of {TRIES} answers arrived whole; check the cable, or build a bitstream with a "
            "lower baud rate"
        )

    def _run(self, delivery: "_Delivery") -> None:
        """Send and receive until a delivery is complete."""
        while not delivery.complete:
            if delivery.tries >= TRIES:
                raise BoardError(
                    f"{self._name}: the board takes no more frames; check the cable, and reset the "
                    "board"
                )
            delivery.send()
            for frame in self._frames(self._wait(delivery.tries)):
                if delivery.take(frame):
                    break
            else:
                delivery.hear_nothing()
        self._base = (self._base + delivery.base) % 256


class _Delivery:
    """State of frames under way, and of the answer to a job among them.

    Parameters
    ----------
    link : the link, whose window and numbers are used
    frames : kind and payload of each frame
    silence : seconds without a frame after which the answer to a job counts as lost; None if no
        answer is expected
    """

    def __init__(
        self, link: Link, frames: Sequence[tuple[Kind, bytes]], *, silence: float | None
    ) -> None:
        self._link = link
        self._frames = frames
        self._silence = silence
        self._results = bytearray()
        self._done: tuple[int, int, int] | None = None
        # Time at which the last frame came.
        self._heard = time.monotonic()
        #: Frames that are acknowledged.
        self.base = 0
        #: Tries since something last moved.
        self.tries = 0
        # Frames sent since the last step back, and the most that were ever sent.
        self._sent = self._highest = 0
        # Time at which each frame was sent, or None if it was sent twice: then nobody knows which
        # of both was answered (Karn's rule).
        self._when: list[float | None] = []
        # Refusals that may still come for frames that were sent before the last step back.
        self._stale = 0
        self._rejected = link.rejected

    @property
    def complete(self) -> bool:
        """Whether nothing is left to send or to wait for."""
        if self._done is None:
            return self._silence is None and self.base >= len(self._frames)
        return bool(self._done[2] & DoneFlag.ERROR) or self.base >= len(self._frames)

    def result(self) -> JobAnswer:
        """The answer of a complete delivery."""
        assert self._done is not None
        cycles, waits, flags = self._done
        return JobAnswer(
            results=bytes(self._results), cycles=cycles, waits=waits, flags=DoneFlag(flags)
        )

    def send(self) -> None:
        """Send the frames that the window allows."""
        while self._sent < min(len(self._frames), self.base + self._link._window):
            kind, payload = self._frames[self._sent]
            number = (self._link._base + self._sent) % 256
            self._link._write(Frame(kind=kind, sequence=number, payload=payload))
            if self._sent < self._highest:
                self._link.repeated += 1
                self._when[self._sent] = None
            else:
                self._when.append(time.monotonic())
            self._sent += 1
            self._highest = max(self._highest, self._sent)

    def take(self, frame: Frame) -> bool:
        """Take a frame from the board; return whether to look for frames to send."""
        self._heard = time.monotonic()
        if frame.kind in (Kind.ACK, Kind.REFUSAL):
            self._acknowledge(frame)
            return True
        if frame.kind not in (Kind.RESULTS, Kind.DONE):
            return False
        if self._silence is None or frame.sequence != self._link._expected:
            raise AnswerLostError
        self._link._expected = (self._link._expected + 1) % 256
        self.tries = 0
        if frame.kind == Kind.RESULTS:
            self._results += frame.payload
            return False
        if len(frame.payload) != DONE.size:
            raise AnswerLostError
        self._done = DONE.unpack(frame.payload)
        return True

    def _acknowledge(self, frame: Frame) -> None:
        """Move the window to the number that the board expects, and back if it refused a frame."""
        moved = (frame.sequence - self._link._base - self.base) % 256
        under_way = self._highest - self.base
        if 0 < moved <= under_way:
            self.base += moved
            self._link._moved(moved)
            self._sent = max(self._sent, self.base)
            then = self._when[self.base - 1]
            if then is not None:
                self._link._learn(time.monotonic() - then)
            self.tries = self._stale = 0
        if frame.kind == Kind.REFUSAL and moved <= self._highest - self.base:
            if self._stale:
                self._stale -= 1
            else:
                self._stale = max(self._sent - self.base - 1, 0)
                self._sent = self.base
                self.tries += 1
                self._link._stepped_back()

    def hear_nothing(self) -> None:
        """Step back after a silence: frames are sent again, or the answer is lost."""
        if self.base < len(self._frames):
            self.tries += 1
            self._sent, self._stale = self.base, 0
            self._link._stepped_back()
        elif (
            self._silence is None
            or self._link.rejected > self._rejected
            or time.monotonic() - self._heard >= self._silence
        ):
            raise AnswerLostError


def split_payload(kind: Kind, data: bytes) -> list[tuple[Kind, bytes]]:
    """Cut bytes into payloads of frames.

    Parameters
    ----------
    kind : kind of the frames
    data : the bytes, of any length

    Returns
    -------
    Kind and payload of each frame, as ``Link.deliver`` takes them; all but the last are full.
    """
    return [(kind, data[start : start + MAX_PAYLOAD]) for start in range(0, len(data), MAX_PAYLOAD)]


def _port_message(port: str, baud: int, error: Exception) -> str:
    """Explain why a port could not be opened."""
    number = getattr(error, "errno", None)
    if number == 2 or not os.path.exists(port):
        found = ", ".join(entry.device for entry in comports()) or "none"
        return f"--port: there is no serial port {port}; ports found: {found}"
    if number == 13:
        return (
            f"{port}: you may not read and write this port; join the group that owns it (Debian: "
            "adduser $USER dialout, then log in again)"
        )
    if number == 11 or "lock" in str(error):
        return f"{port}: another program uses this port; end that program first"
    return f"{port}: this is no serial port, or it cannot run at {baud} baud: {error}"
