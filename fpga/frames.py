"""Frames of the host link, as PROTOCOL.md defines them: bytes on the line and back."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum, IntFlag
from typing import Self
from zlib import crc32

import numpy as np

from ..golden.checks import check_integer, check_kind
from ..golden.elements import from_element_bits
from ..hw.jobs import JobShape

__all__ = [
    "ANSWER",
    "CHECK",
    "DONE",
    "JOB",
    "MAX_PAYLOAD",
    "MODEL",
    "TOKEN",
    "DoneFlag",
    "Frame",
    "FrameReader",
    "Kind",
    "address_payload",
    "check_payload",
    "job_payload",
    "model_payload",
    "pack_fields",
    "token_answers",
    "token_payload",
    "unpack_fields",
]

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

#: Likewise the fields of ``Kind.CHECK``: a byte address and a number of bytes, whole memory words.
CHECK = {"address": 4, "bytes": 4}

#: Fields of ``Kind.MODEL``: memory words of the program, byte address of the weights, their beats,
#: and the beats that are copied into the resident weight memory, the first ones.
MODEL = {"program_words": 4, "base": 4, "beats": 4, "resident": 3}

#: Fields of ``Kind.TOKEN``: a command of the core.
TOKEN = {"token": 3, "position": 3, "k": 1}

#: Fields of an answer to ``Kind.TOKEN`` in ``Kind.RESULTS``: the token, and the bits of its logit.
ANSWER = {"token": 3, "logit": 3}

#: Payload of ``Kind.DONE``: cycles of the job, cycles in which it waited, and flags.
DONE = struct.Struct("<IIB")


class DoneFlag(IntFlag):
    """Flags of ``Kind.DONE``. All but ``ERROR`` are causes in a token core since its ``MODEL``."""

    #: The job must not be trusted, or was out of range.
    ERROR = 1
    #: A token ended without its answers.
    STOPPED = 2
    #: A value was too large, and saturated as in the golden model: no error.
    LARGE = 4
    #: A weight code is illegal.
    WEIGHT = 8
    #: The engine refused a product.
    JOB = 16
    #: The memory answered with an error.
    MEMORY = 32


class Kind(IntEnum):
    """Kinds of frames; those from the board have bit 7 set.

    Protocol 1 has ``JOB`` and ``ACTIVATIONS``. Protocol 2 has ``CHECK``, ``MODEL`` and ``TOKEN``.
    """

    #: Begin a session: everything under way is dropped, and sequence numbers start at 0. Payload:
    #: four bytes of the host's choice, which the identity returns.
    HELLO = 1
    #: Set the address for ``WRITE``. Payload: the beat, 3 bytes; in protocol 2 the byte, 4 bytes.
    ADDRESS = 2
    #: Bytes for the memory, in order; over all frames a whole number of beats, or of memory words.
    WRITE = 3
    #: Run a job. Payload: see ``JOB``.
    JOB = 4
    #: Bytes of the job's activations, in order; over all frames a whole number of beats.
    ACTIVATIONS = 5
    #: Compute the CRC-32 of bytes of the memory. Payload: see ``CHECK``.
    CHECK = 6
    #: Begin a model: copy its resident weights, and release the core. Payload: see ``MODEL``.
    MODEL = 7
    #: Run a token. Payload: see ``TOKEN``.
    TOKEN = 8
    #: Answer to ``HELLO``, see ``identity.py``.
    IDENTITY = 0x81
    #: Acknowledgement: the sequence number is that of the frame expected next. No payload.
    ACK = 0x82
    #: Acknowledgement that says that a frame was not taken: it came too soon, or one before it is
    #: missing.
    REFUSAL = 0x85
    #: Bytes of results, in order.
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


def pack_fields(fields: Mapping[str, int], values: Mapping[str, int]) -> bytes:
    """Encode the fields of a table by their bytes, each in little-endian order."""
    return b"".join(int(values[name]).to_bytes(size, "little") for name, size in fields.items())


def unpack_fields(fields: Mapping[str, int], payload: bytes) -> dict[str, int]:
    """Decode fields from the first bytes of a payload."""
    values, place = {}, 0
    for name, size in fields.items():
        values[name] = int.from_bytes(payload[place : place + size], "little")
        place += size
    return values


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
        If a value does not fit its field. The other encoders raise it too.
    """
    return pack_fields(JOB, asdict(shape) | {"address": address, "count": count})


def address_payload(address: int) -> bytes:
    """Encode the payload of ``Kind.ADDRESS`` in protocol 2: a byte address, 4 bytes."""
    return pack_fields({"address": 4}, {"address": address})


def check_payload(address: int, count: int) -> bytes:
    """Encode the payload of ``Kind.CHECK``.

    Parameters
    ----------
    address : byte address in the memory, a multiple of a memory word's bytes
    count : number of bytes, likewise a multiple
    """
    return pack_fields(CHECK, {"address": address, "bytes": count})


def model_payload(*, program_words: int, base: int, beats: int, resident: int) -> bytes:
    """Encode the payload of ``Kind.MODEL``.

    Parameters
    ----------
    program_words : memory words of the program, which begins at address 0
    base : byte address of the weights, a multiple of a memory word's bytes
    beats : weight beats of the model
    resident : beats, from the first on, that are copied into the resident weight memory
    """
    return pack_fields(
        MODEL,
        {"program_words": program_words, "base": base, "beats": beats, "resident": resident},
    )


def token_payload(token: int, position: int, k: int) -> bytes:
    """Encode the payload of ``Kind.TOKEN``.

    Parameters
    ----------
    token : number of the token
    position : its position
    k : logits to answer with, the largest first; 0 for none
    """
    return pack_fields(TOKEN, {"token": token, "position": position, "k": k})


def token_answers(results: bytes) -> tuple[list[int], list[float]]:
    """Decode the results of ``Kind.TOKEN``.

    Parameters
    ----------
    results : bytes of all ``Kind.RESULTS`` of the job

    Returns
    -------
    Tokens, and the logit of each, a 24-bit element; the largest logit first.

    Raises
    ------
    ValueError
        If the bytes are not a whole number of answers.
    """
    size = sum(ANSWER.values())
    if len(results) % size:
        raise ValueError(f"the bytes of answers must be a multiple of {size}, not {len(results)}")
    found = [unpack_fields(ANSWER, results[place:]) for place in range(0, len(results), size)]
    bits = np.array([one["logit"] for one in found], np.uint32)
    return [one["token"] for one in found], from_element_bits(bits).tolist()
