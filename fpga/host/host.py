"""The host's end of the link: sessions that survive noise, and matrix products on a board."""

import os
import termios
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import serial
from numpy.typing import NDArray
from serial.tools.list_ports import comports

from ...golden.checkpoint.tensors import TernaryTensor
from ...golden.errors import TrilithError
from ...golden.matmul import check_activations, check_trits, ternary_matmul
from ...hw.beats import activation_beats, result_values, weight_beats
from ...hw.engine.results import results_shape
from ...hw.jobs import JobShape
from ..boards import BOARDS
from ..frames import DONE, JOB, MAX_PAYLOAD, Frame, FrameReader, Identity, Kind

__all__ = ["Board", "BoardError", "BoardMatmul", "JobCounters", "Link", "Resident"]

#: Frames under way that are not acknowledged yet: 4 KB, 40 ms at 1 Mbaud, more than the delay of a
#: USB adapter.
_WINDOW = 16


#: Times that something is tried without any progress, each time for twice as long, up to
#: ``_LONGEST`` seconds.
_TRIES = 10


_LONGEST = 1.0


#: Rates of the boards here, in baud.
_RATES = tuple(dict.fromkeys(board.top.baud for board in BOARDS.values()))


#: What pyserial raises where a port fails or is none; ``termios.error`` is no ``OSError``.
_PORT_ERRORS = (OSError, ValueError, OverflowError, TypeError, termios.error)


class BoardError(TrilithError, RuntimeError):
    """A board that cannot be used; the message says what to try."""


class _AnswerLostError(Exception):
    """A session in which an answer was lost: begin another, and repeat."""


@dataclass(frozen=True, kw_only=True)
class JobCounters:
    """What the board counted in a job.

    Parameters
    ----------
    clocks : from the job's acceptance to its last result, both counted
    waits : of them, those in which the engine waited for the link
    """

    clocks: int
    waits: int


class Link:
    """Frames over a serial port, delivered in order and once each.

    Up to ``_WINDOW`` frames are under way. The board takes those that come in order and
    acknowledges with the number that it expects next; from there on everything is sent again.
    Answers are numbered too, and one that is missing ends the session.

    Parameters
    ----------
    port : of the system, such as ``/dev/ttyUSB0``
    baud : as the board's bitstream has it; by default the rates of all boards here are tried

    Raises
    ------
    BoardError
        If the port cannot be used, or what is there does not answer or is not understood.
    """

    def __init__(self, port: str, baud: int | None = None) -> None:
        self._rates = _RATES if baud is None else (baud,)
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
        #: Sessions begun, and frames sent again.
        self.sessions = self.repeated = 0
        #: Seconds in which an answer must come, from how long others took.
        self._patience = _LONGEST / 2
        try:
            self.identity = self.begin()
        except BaseException:
            self._serial.close()
            raise
        self._rates = (self.baud,)
        self._name = f"{port} at {self.baud} baud"

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    @property
    def baud(self) -> int:
        """The line's rate."""
        return self._serial.baudrate

    @property
    def rejected(self) -> int:
        """Pieces of noise that came instead of frames."""
        return self._reader.rejected

    def begin(self) -> Identity:
        """Begin a session: whatever was under way is dropped on both sides.

        Raises
        ------
        BoardError
            If no identity comes, or one that is not understood.
        """
        nonce = os.urandom(4)
        self.sessions += 1
        self._expected = self._base = 0
        self._answers.clear()
        hello = Frame(kind=Kind.HELLO, sequence=0, payload=nonce).encode()
        for tries in range(_TRIES):
            turn, which = divmod(tries, len(self._rates))
            begin = time.monotonic()
            try:
                self._serial.baudrate = self._rates[which]
            except _PORT_ERRORS as error:
                raise self._failed(error) from None
            self._write(hello)
            for frame in self._frames(self._wait(turn)):
                if frame.kind == Kind.IDENTITY and frame.payload[:4] == nonce:
                    try:
                        identity = Identity.decode(frame.payload[4:])
                    except ValueError as error:
                        raise BoardError(
                            f"{self._name}: {error}: build the bitstream and the host from one "
                            "version of trilith"
                        ) from None
                    self._learn(time.monotonic() - begin)
                    return identity
        raise BoardError(
            f"{self._name}: a board must answer and none does: is its bitstream loaded, is it this "
            "port, and is --baud that of the bitstream (trilith fpga boards)?"
        )

    def _learn(self, seconds: float) -> None:
        """Adapt to how long an answer took, slowly, as the window fills and machines are busy."""
        self._patience += (0.1 + 4 * seconds - self._patience) / 4

    def _wait(self, tries: int) -> float:
        return max(min(self._patience * 2**tries, _LONGEST), self._patience)

    def _write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except _PORT_ERRORS as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> BoardError:
        return BoardError(f"{self._name}: the port must stay there and failed: {error}")

    def _frames(self, seconds: float) -> Iterator[Frame]:
        """Frames as they come, until so long after the last of them."""
        limit = time.monotonic() + seconds
        while True:
            while self._answers:
                limit = time.monotonic() + seconds
                yield self._answers.popleft()
            left = limit - time.monotonic()
            if left <= 0:
                return
            try:
                # Which talks to the port as well.
                self._serial.timeout = left
                data = self._serial.read(max(1, self._serial.in_waiting))
            except _PORT_ERRORS as error:
                raise self._failed(error) from None
            self._answers.extend(self._reader.feed(data))

    def deliver(
        self, frames: Sequence[tuple[Kind, bytes]], *, answer: bool = False
    ) -> tuple[bytes, JobCounters | None, bool]:
        """Deliver frames and, if they hold a job, collect its answer.

        Returns
        -------
        The result bytes, the job's counters, and whether the engine flagged an error.

        Raises
        ------
        BoardError
            If the board stops answering, or taking frames.
        _AnswerLostError
            If an answer is lost.
        """
        sent = base = 0
        results = bytearray()
        counters: JobCounters | None = None
        error = False
        tries = 0
        highest = 0
        #: When each frame was sent first, or None if it was sent again: which one was answered?
        when: list[float | None] = []
        stale = 0  # Refusals that may still come for what was sent before going back.
        rejected = self.rejected
        while base < len(frames) or (answer and counters is None):
            if tries >= _TRIES:
                raise BoardError(
                    f"{self._name}: the board must get on and stopped: check the cable, and reset "
                    "the board"
                )
            while sent < min(len(frames), base + _WINDOW):
                kind, payload = frames[sent]
                number = (self._base + sent) % 256
                self._write(Frame(kind=kind, sequence=number, payload=payload).encode())
                if sent < highest:
                    self.repeated += 1
                    when[sent] = None
                else:
                    when.append(time.monotonic())
                sent += 1
                highest = max(highest, sent)
            for frame in self._frames(self._wait(tries)):
                if frame.kind in (Kind.ACK, Kind.REFUSAL):
                    moved = (frame.sequence - self._base - base) % 256
                    if 0 < moved <= highest - base:
                        base += moved
                        sent = max(sent, base)
                        then = when[base - 1]
                        if then is not None:
                            self._learn(time.monotonic() - then)
                        tries = stale = 0
                    if frame.kind == Kind.REFUSAL and moved <= highest - base:
                        if stale:
                            stale -= 1
                        else:
                            stale = max(sent - base - 1, 0)
                            sent = base
                            tries += 1
                    break
                if frame.kind in (Kind.RESULTS, Kind.DONE):
                    if not answer or frame.sequence != self._expected:
                        raise _AnswerLostError
                    self._expected = (self._expected + 1) % 256
                    tries = 0
                    if frame.kind == Kind.RESULTS:
                        results += frame.payload
                        continue
                    if len(frame.payload) != DONE.size:
                        raise _AnswerLostError
                    clocks, waits, flags = DONE.unpack(frame.payload)
                    counters = JobCounters(clocks=clocks, waits=waits)
                    error = bool(flags & 1)
                    break
            else:
                tries += 1
                if base < len(frames):
                    sent, stale = base, 0
                elif self.rejected > rejected or tries >= _TRIES // 2:
                    raise _AnswerLostError
        self._base = (self._base + len(frames)) % 256
        return bytes(results), counters, error


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A matrix in the board's weight memory: its first beat there, and its shape."""

    address: int
    n: int
    k: int


class Board:
    """An engine on a board: matrix products over a link. A context manager.

    Parameters
    ----------
    port, baud : see ``Link``

    Raises
    ------
    BoardError
        Here and in the methods: see ``Link``.
    """

    #: Result bytes of a job at most, as far as a group of rows allows: what noise makes to be
    #: repeated.
    _RESULT_BYTES = 8192

    def __init__(self, port: str, baud: int | None = None) -> None:
        self.link = Link(port, baud)
        self.identity = self.link.identity
        self.config = self.identity.config
        self._result_bytes = -(-results_shape(self.config).size // 8)
        #: The first beat of the weight memory that holds no resident matrix.
        self.used = 0
        #: Clocks of the engine so far, and those of them in which it waited for the link.
        self.clocks = self.waits = 0
        #: The activations that the engine holds.
        self._loaded: NDArray[np.int8] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.link.close()

    def beats(self, n: int, k: int) -> int:
        """Beats of weights of a matrix."""
        return -(-n // self.config.rows) * -(-k // self.config.lanes)

    def check(self, name: str, n: int, k: int) -> None:
        """Raise ``BoardError`` if the engine cannot multiply by a matrix at all."""
        config = self.config
        if n > config.n_max or k > config.k_max:
            raise BoardError(
                f"{name} must have at most {config.n_max} outputs and {config.k_max} inputs, the "
                f"engine's maximum, not {n} and {k}"
            )

    def place(self, trits: NDArray[np.int8]) -> Resident:
        """Write a matrix into the weight memory, behind those that are there.

        Raises
        ------
        BoardError
            If it does not fit.
        """
        resident = self.write(self.used, trits)
        self.used += self.beats(resident.n, resident.k)
        return resident

    def write(self, address: int, trits: NDArray[np.int8]) -> Resident:
        """Write a matrix into the weight memory.

        Parameters
        ----------
        address : its first beat
        trits : int8[N, K]

        Raises
        ------
        BoardError
            If it does not fit.
        """
        check_trits(trits)
        n, k = trits.shape
        self.check("the matrix", n, k)
        beats = weight_beats(self.config, trits)
        if address + len(beats) > self.identity.beats:
            raise BoardError(
                f"the matrix must fit the {self.identity.beats - address} beats of the weight "
                f"memory from {address} on, not take {len(beats)}"
            )
        self._repeat(lambda: self.link.deliver(self._write_frames(address, beats)))
        return Resident(address=address, n=n, k=k)

    def multiply(
        self, weights: Resident | NDArray[np.int8], q: NDArray[np.int8]
    ) -> NDArray[np.int32]:
        """``weights (N, K) @ q (T, K) -> int32[T, N]``, exactly.

        Parameters
        ----------
        weights : resident, or trits int8[N, K], which are then sent piece by piece through the free
            part of the weight memory
        q : int8[T, K]

        Raises
        ------
        TypeError, ValueError
            If ``q`` is not legal for the engine.
        BoardError
            If the matrix does not fit, or the engine flags an error.
        """
        config = self.config
        check_activations(q, config.act_bits)
        trits = None
        if isinstance(weights, Resident):
            n, k, address = weights.n, weights.k, weights.address
            groups = -(-n // config.rows)
        else:
            trits = weights
            check_trits(trits)
            n, k = trits.shape
            address = self.used
            groups = (self.identity.beats - self.used) // -(-k // config.lanes)
            if not groups:
                raise BoardError(
                    f"the weight memory must have {-(-k // config.lanes)} free beats for a group "
                    f"of rows of {k} inputs, not {self.identity.beats - self.used}; place less"
                )
        self.check("the matrix", n, k)
        if q.shape[1] != k:
            raise ValueError(f"weights and activations must share K, not have {k} and {q.shape[1]}")
        most = self._RESULT_BYTES // (self._result_bytes * min(len(q), config.tokens))
        rows = config.rows * min(groups, max(1, most))
        results = np.empty((len(q), n), np.int32)
        for start in range(0, n, rows):
            size = min(rows, n - start)
            frames: list[tuple[Kind, bytes]] = []
            place = address
            if trits is None:
                place += self.beats(start, k)
            else:
                frames = self._write_frames(
                    address, weight_beats(config, trits[start : start + size])
                )
            for token in range(0, len(q), config.tokens):
                part = q[token : token + config.tokens]
                results[token : token + len(part), start : start + size] = self._repeat(
                    lambda frames=frames, part=part, size=size, place=place: self._job(
                        frames, part, size, place
                    )
                )
                frames = []
        return results

    def _write_frames(self, address: int, beats: NDArray[np.uint8]) -> list[tuple[Kind, bytes]]:
        frames = [(Kind.ADDRESS, address.to_bytes(3, "little"))]
        return [*frames, *_pieces(Kind.WRITE, beats)]

    def _job(
        self,
        frames: Sequence[tuple[Kind, bytes]],
        q: NDArray[np.int8],
        n: int,
        address: int,
    ) -> NDArray[np.int32]:
        """Write weights if there are any, run a job, and return int32[T, N]."""
        config = self.config
        reuse = self._loaded is not None and np.array_equal(self._loaded, q)
        shape = JobShape(n=n, k=q.shape[1], tokens=len(q), reuse=reuse)
        job = asdict(shape) | {"address": address, "count": self.beats(n, shape.k)}
        payload = b"".join(job[name].to_bytes(size, "little") for name, size in JOB.items())
        loading = [] if reuse else _pieces(Kind.ACTIVATIONS, activation_beats(config, q))
        self._loaded = None
        answer, counters, error = self.link.deliver(
            [*frames, (Kind.JOB, payload), *loading], answer=True
        )
        if error:
            raise BoardError("the engine must not flag an error on a legal job, and it did")
        groups = -(-n // config.rows)
        if len(answer) != groups * len(q) * self._result_bytes:
            raise _AnswerLostError
        values, last = result_values(
            config, np.frombuffer(answer, np.uint8).reshape(-1, self._result_bytes)
        )
        if not last[-1] or last[:-1].any():
            raise _AnswerLostError
        assert counters is not None
        self._loaded = q.copy()
        self.clocks += counters.clocks
        self.waits += counters.waits
        return values.reshape(groups, len(q), -1).swapaxes(0, 1).reshape(len(q), -1)[:, :n]

    def _repeat(self, action: Callable[[], Any]) -> Any:
        """Do something until no answer is lost."""
        for _ in range(_TRIES):
            try:
                return action()
            except _AnswerLostError:
                self._loaded = None
                if self.link.begin() != self.identity:
                    raise BoardError("the board must stay the same, and another answers") from None
        raise BoardError(
            f"one of {_TRIES} answers must arrive whole and none did: check the cable, or lower "
            "--baud (and build the bitstream for it)"
        )


def _pieces(kind: Kind, beats: NDArray[np.uint8]) -> list[tuple[Kind, bytes]]:
    data = np.ascontiguousarray(beats).tobytes()
    return [(kind, data[start : start + MAX_PAYLOAD]) for start in range(0, len(data), MAX_PAYLOAD)]


def _port_message(port: str, baud: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == 2 or not os.path.exists(port):
        found = ", ".join(entry.device for entry in comports()) or "none"
        return f"--port must be a serial port, and there is no {port}; found: {found}"
    if number == 13:
        return (
            f"{port} must be readable and writable for you, and is not: join the group that owns "
            "it (Debian: adduser $USER dialout, then log in again)"
        )
    if number == 11 or "lock" in str(error):
        return f"{port} must be free, and another program uses it: end that one first"
    return f"{port} must be a serial port that can run at {baud} baud: {error}"


class BoardMatmul:
    """Multiplies on a board what a golden model multiplies: a ``trilith.golden.layers.Matmul``.

    Every result is held to golden's. A matrix is placed when it is first used and stays on the
    board, as far as there is room; the others are sent with each product.

    Parameters
    ----------
    board : the board
    shapes : (N, K) of all matrices, to know whether they fit
    """

    def __init__(self, board: Board, shapes: Iterable[tuple[int, int]]) -> None:
        self._board = board
        shapes = list(shapes)
        for n, k in shapes:
            board.check("a matrix of the checkpoint", n, k)
        self._limit = board.identity.beats
        if sum(board.beats(n, k) for n, k in shapes) > self._limit:
            # What does not fit goes through the rest, which takes a group of rows at least.
            chunks = max(-(-k // board.config.lanes) for _, k in shapes)
            self._limit -= min(max(self._limit // 8, chunks), self._limit)
        #: By identity, with the tensor itself, so that no other takes its place: the groups of one
        #: matrix share a name.
        self._residents: dict[int, tuple[TernaryTensor, Resident]] = {}
        #: Results so far that differed from golden's, and multiply-accumulates.
        self.wrong = self.macs = 0

    def __call__(self, weight: TernaryTensor, q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply ``weight (N, K) @ q (T, K) -> int32[T, N]``."""
        board = self._board
        trits = weight.trits
        if id(weight) not in self._residents and (
            board.used + board.beats(*weight.shape) <= self._limit
        ):
            self._residents[id(weight)] = weight, board.place(trits)
        _, resident = self._residents.get(id(weight), (weight, trits))
        results = board.multiply(resident, q)
        self.macs += trits.size * len(q)
        self.wrong += int((results != ternary_matmul(trits, q)).sum())
        return results
