"""Frames of the host link, as PROTOCOL.md defines them: bytes on the line and back."""

import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Self
from zlib import crc32

from ..golden.checks import check_integer, check_kind
from ..golden.codes import CODES
from ..hw.config import MatVecConfig
from ..hw.jobs import JobShape

__all__ = [
    "DONE",
    "IDENTITY_BYTES",
    "JOB",
    "MAX_PAYLOAD",
    "Frame",
    "FrameReader",
    "Identity",
    "Kind",
    "job_payload",
]

_VERSION = 1
_MAGIC = b"TRLT"

#: Most bytes of payload in a frame. With header, stuffing, trailer and delimiters such a frame has
#: 251 bytes on the line.
MAX_PAYLOAD = 240

#: Fields of a job's payload and their bytes, lowest first: those of ``JobShape``, and the place of
#: its weights in the weight memory, in beats.
JOB = {
    "n": 3,
    "k": 3,
    "tokens": 1,
    "group_chunks": 2,
    "reuse": 1,
    "address": 3,
    "count": 3,
}

#: Payload of ``Kind.DONE``: cycles of the job, cycles in which the engine waited for the link,
#: flags. Bit 0 of the flags is the error flag.
DONE = struct.Struct("<IIB")


class Kind(IntEnum):
    """Kinds of frames; those from the board have bit 7 set."""

    #: Begin a session: everything under way is dropped, and sequence numbers start at 0. Payload:
    #: four bytes of the host's choice, which the identity returns.
    HELLO = 1
    #: Set the address for ``WRITE``. Payload: the beat, 3 bytes.
    ADDRESS = 2
    #: Bytes for the weight memory, in order; over all frames a whole number of beats.
    WRITE = 3
    #: Run a job. Payload: see ``JOB``.
    JOB = 4
    #: Bytes of the job's activations, in order; over all frames a whole number of beats.
    ACTIVATIONS = 5
    #: Answer to ``HELLO``, see ``Identity``.
    IDENTITY = 0x81
    #: Acknowledgement: the sequence number is that of the frame expected next. No payload.
    ACK = 0x82
    #: Acknowledgement that says that a frame was not taken: it came too soon, or one before it is
    #: missing.
    REFUSAL = 0x85
    #: Bytes of result beats, in order.
    RESULTS = 0x83
    #: End of the job's results. Payload: see ``DONE``.
    DONE = 0x84


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame of the link.

    Parameters
    ----------
    kind : kind, 0 to 255; a ``Kind`` if it means anything
    sequence : sequence number, 0 to 255
    payload : 0 to ``MAX_PAYLOAD`` bytes; a reader takes no longer one

    Raises
    ------
    TypeError
        If a number is not an integer, or the payload is not of type bytes.
    ValueError
        If a number is not legal.
    """

    kind: int
    sequence: int
    payload: bytes = b""

    def __post_init__(self) -> None:
        for name in ("kind", "sequence"):
            check_integer(name, getattr(self, name), 0, 255)
        check_kind("payload", self.payload, bytes)

    def encode(self) -> bytes:
        """Encode the frame.

        Returns
        -------
        The bytes on the line, with both delimiters. The body is stuffed by COBS (Cheshire and
        Baker, 1999), so that no byte between the delimiters is zero.
        """
        body = bytes((self.kind, self.sequence, len(self.payload))) + self.payload
        stuffed = bytearray()
        for group in body.split(b"\0"):
            stuffed += bytes((len(group) + 1,)) + group
        return b"\0" + bytes(stuffed) + _trailer(stuffed) + b"\0"

    @classmethod
    def decode(cls, line: bytes) -> Self | None:
        """Decode a frame.

        Parameters
        ----------
        line : the bytes between two delimiters

        Returns
        -------
        The frame, or None if its stuffing, its length or its CRC is wrong.
        """
        stuffed, trailer = line[:-5], line[-5:]
        if len(stuffed) < 4 or trailer != _trailer(stuffed):
            return None
        body = bytearray()
        place = 0
        while place < len(stuffed):
            code = stuffed[place]
            body += stuffed[place + 1 : place + code] + b"\0"
            place += code
        if place != len(stuffed) or len(body) != body[2] + 4 or body[2] > MAX_PAYLOAD:
            return None
        return cls(kind=body[0], sequence=body[1], payload=bytes(body[3:-1]))


def _trailer(stuffed: bytes | bytearray) -> bytes:
    """CRC-32 in five bytes of seven bits, lowest first; bit 7 of each is set: none is zero."""
    crc = crc32(stuffed)
    return bytes(0x80 | crc >> 7 * index & 0x7F for index in range(5))


class FrameReader:
    """Finds the frames in the bytes of a line.

    Members
    -------
    rejected : number of pieces between delimiters that were no frames
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self.rejected = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes from the line.

        Parameters
        ----------
        data : any number of bytes, cut anywhere

        Yields
        ------
        The frames that these bytes complete.
        """
        *lines, rest = (self._pending + data).split(b"\0")
        # A piece that is longer than any frame is noise; its head is enough to reject it.
        self._pending = rest[: 2 * MAX_PAYLOAD]
        for line in lines:
            if line:
                frame = Frame.decode(bytes(line))
                if frame is None:
                    self.rejected += 1
                else:
                    yield frame


def job_payload(shape: JobShape, *, address: int, count: int) -> bytes:
    """Encode the payload of ``Kind.JOB``.

    Parameters
    ----------
    shape : the job
    address : beat of the weight memory at which its weights begin
    count : number of its weight beats

    Returns
    -------
    The fields of ``JOB``, each in little-endian order.

    Raises
    ------
    OverflowError
        If a value does not fit its field.
    """
    job = asdict(shape) | {"address": address, "count": count}
    return b"".join(int(job[name]).to_bytes(size, "little") for name, size in JOB.items())


_IDENTITY = struct.Struct("<4sBBHBBBB3s3s3sI")
IDENTITY_BYTES = 4 + _IDENTITY.size


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity of a board.

    Parameters
    ----------
    config : configuration of its engine
    beats : size of its weight memory in beats of ``config.weight_bytes`` bytes
    clock_hz : frequency of its engine in Hz

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``, or a number is not an integer.
    ValueError
        If a number is not legal.
    """

    config: MatVecConfig
    beats: int
    clock_hz: int

    def __post_init__(self) -> None:
        check_kind("config", self.config, MatVecConfig)
        for name, bits in (("beats", 24), ("clock_hz", 32)):
            number = check_integer(name, getattr(self, name), 1, 2**bits - 1)
            object.__setattr__(self, name, number)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weight memory."""
        return self.beats * self.config.weight_bytes

    def encode(self) -> bytes:
        """Encode the identity.

        Returns
        -------
        The payload of ``Kind.IDENTITY`` behind the host's four bytes.
        """
        config = self.config
        return _IDENTITY.pack(
            _MAGIC,
            _VERSION,
            config.act_bits,
            config.lanes,
            config.rows,
            config.tokens,
            list(CODES).index(config.code),
            config.levels_per_stage,
            config.k_max.to_bytes(3, "little"),
            config.n_max.to_bytes(3, "little"),
            self.beats.to_bytes(3, "little"),
            self.clock_hz,
        )

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Decode an identity.

        Parameters
        ----------
        payload : of ``Kind.IDENTITY``, behind the host's four bytes

        Returns
        -------
        The identity.

        Raises
        ------
        ValueError
            If the bytes are no identity, or that of another version of the protocol.
        """
        if payload[:4] != _MAGIC:
            raise ValueError(f"an identity must begin with {_MAGIC!r}, not {payload[:4]!r}")
        # An identity of another version may have another length.
        if len(payload) > 4 and payload[4] != _VERSION:
            raise ValueError(f"the bitstream's protocol must be {_VERSION}, not {payload[4]}")
        if len(payload) != _IDENTITY.size:
            raise ValueError(f"an identity must have {_IDENTITY.size} bytes, not {len(payload)}")
        values = _IDENTITY.unpack(payload)
        act_bits, lanes, rows, tokens, code, levels = values[2:8]
        k_max, n_max, beats = (int.from_bytes(value, "little") for value in values[8:11])
        if code >= len(CODES):
            raise ValueError(f"the weight code must be below {len(CODES)}, not {code}")
        config = MatVecConfig(
            lanes=lanes,
            rows=rows,
            tokens=tokens,
            act_bits=act_bits,
            code=list(CODES)[code],
            k_max=k_max,
            n_max=n_max,
            levels_per_stage=levels,
        )
        return cls(config=config, beats=beats, clock_hz=values[11])
