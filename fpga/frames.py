"""Frames of the host link, as PROTOCOL.md defines them: bytes on the line and back."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Self
from zlib import crc32

from ..golden.codes import CODES
from ..hw.config import MatVecConfig

__all__ = [
    "DONE",
    "IDENTITY_BYTES",
    "JOB",
    "MAGIC",
    "MAX_PAYLOAD",
    "VERSION",
    "Frame",
    "FrameReader",
    "Identity",
    "Kind",
]

VERSION = 1
MAGIC = b"TRLT"

#: Bytes of payload in a frame: with header, code, trailer and delimiters 251 bytes on the line.
MAX_PAYLOAD = 240

#: Fields of a job's payload and their bytes, lowest first.
JOB = {
    "n": 3,
    "k": 3,
    "tokens": 1,
    "group_chunks": 2,
    "reuse": 1,
    "address": 3,
    "count": 3,
}

#: Payload of ``Kind.DONE``: clocks of the job, clocks that the engine waited for the link, flags.
DONE = struct.Struct("<IIB")


class Kind(IntEnum):
    """What a frame is for; those from the board have bit 7 set."""

    #: Begin a session: all that is under way is dropped, sequence numbers start at 0. Payload: four
    #: bytes of the host's choice, which the identity returns.
    HELLO = 1
    #: Where ``WRITE`` goes. Payload: the beat, 3 bytes.
    ADDRESS = 2
    #: Bytes for the weight memory, in order; over all frames a whole number of beats.
    WRITE = 3
    #: A job. Payload: see ``JOB``; ``address`` and ``count`` are of its weights, in beats.
    JOB = 4
    #: Bytes for the job's activations, in order; over all frames a whole number of beats.
    ACTIVATIONS = 5
    #: Answer to ``HELLO``: see ``Identity``.
    IDENTITY = 0x81
    #: The sequence number is that of the frame that is expected next; no payload.
    ACK = 0x82
    #: The same, and a frame was not taken: it came too soon, or one before it is missing.
    REFUSAL = 0x85
    #: Bytes of result beats, in order.
    RESULTS = 0x83
    #: The job's results are complete. Payload: see ``DONE``.
    DONE = 0x84


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame: its kind, sequence number from 0 to 255, and at most ``MAX_PAYLOAD`` bytes."""

    kind: int
    sequence: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the line, both delimiters included."""
        body = bytes((self.kind, self.sequence, len(self.payload))) + self.payload
        stuffed = bytearray()
        for group in body.split(b"\0"):
            stuffed += bytes((len(group) + 1,)) + group
        return b"\0" + bytes(stuffed) + _trailer(stuffed) + b"\0"

    @classmethod
    def decode(cls, line: bytes) -> Self | None:
        """The frame between two delimiters, or None if anything about it is wrong."""
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
    """CRC-32 in five bytes of seven bits, lowest first, bit 7 set: never zero."""
    crc = crc32(stuffed)
    return bytes(0x80 | crc >> 7 * index & 0x7F for index in range(5))


class FrameReader:
    """Finds the frames in what comes over the line.

    ``rejected`` counts pieces between delimiters that were none.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self.rejected = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes; give the frames that they complete."""
        *lines, rest = (self._pending + data).split(b"\0")
        # What is longer than any frame is noise.
        self._pending = rest[: 2 * MAX_PAYLOAD]
        for line in lines:
            if line:
                frame = Frame.decode(bytes(line))
                if frame is None:
                    self.rejected += 1
                else:
                    yield frame


_IDENTITY = struct.Struct("<4sBBHBBBB3s3s3sI")
IDENTITY_BYTES = 4 + _IDENTITY.size


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board says it is.

    Parameters
    ----------
    config : of its engine
    beats : of its weight memory, each ``config.weight_bytes`` bytes
    clock_hz : of its engine
    """

    config: MatVecConfig
    beats: int
    clock_hz: int

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weight memory."""
        return self.beats * self.config.weight_bytes

    def encode(self) -> bytes:
        """The payload of ``Kind.IDENTITY`` behind the host's four bytes."""
        config = self.config
        return _IDENTITY.pack(
            MAGIC,
            VERSION,
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
        """Undo ``encode``.

        Raises
        ------
        ValueError
            If it is no identity, or of another version of the protocol.
        """
        if payload[:4] != MAGIC:
            raise ValueError(f"the answer must begin with {MAGIC!r}, not {payload[:4]!r}")
        if payload[4] != VERSION:
            raise ValueError(f"the bitstream's protocol must be {VERSION}, not {payload[4]}")
        if len(payload) != _IDENTITY.size:
            raise ValueError(f"an identity must have {_IDENTITY.size} bytes, not {len(payload)}")
        values = _IDENTITY.unpack(payload)
        act_bits, lanes, rows, tokens, code, levels = values[2:8]
        k_max, n_max, beats = (int.from_bytes(value, "little") for value in values[8:11])
        if code >= len(CODES):
            raise ValueError(f"the weight code must be known, not number {code}")
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
