"""Target: the answers of a board, through a serial port whose time is not the machine's."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from trilith.fpga.frames import DONE, Frame, FrameReader, Kind
from trilith.fpga.host.link import AnswerLostError, BoardError, Link
from trilith.fpga.identity import Identity
from trilith.golden import CODES
from trilith.hw import PRESETS

from .campaign import Target
from .mutation import Object, integer, items, text, to_json

#: Stands in an answer for the four bytes that the host chose.
_NONCE = b"HOST"


class _Port:
    """A serial port: each frame that the host sends is answered by the next entry of a script."""

    def __init__(self, script: list[bytes]) -> None:
        self.script, self.now, self.waiting = script, 0.0, bytearray()
        self.timeout, self.baudrate = 0.0, 1

    @property
    def in_waiting(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes) -> None:
        for frame in FrameReader().feed(data):
            answer = self.script.pop(0) if self.script else b""
            if frame.kind == Kind.HELLO:
                answer = _encoded(answer, frame.payload)
            self.waiting += _encoded(answer, _NONCE)

    def read(self, size: int) -> bytes:
        if not self.waiting:
            self.now += self.timeout
        data, self.waiting = bytes(self.waiting[:size]), self.waiting[size:]
        return data

    def close(self) -> None:
        pass


def _encoded(answer: Any, nonce: bytes) -> Any:
    """Encode the frames of an entry once the host's bytes are known."""
    if isinstance(answer, bytes):
        return answer
    out = b""
    for kind, sequence, payload in answer:
        whole = bytes.fromhex(payload).replace(_NONCE, nonce)[:255]
        out += Frame(kind=kind, sequence=sequence, payload=whole).encode()
    return out


@contextmanager
def _port(script: list[Any]) -> Iterator[None]:
    port = _Port(script)
    clock = SimpleNamespace(monotonic=lambda: port.now)
    with (
        mock.patch("trilith.fpga.host.link.serial.Serial", return_value=port),
        mock.patch("trilith.fpga.host.link.time", clock),
    ):
        yield


def _tree() -> list:
    """Identity, acknowledgement of two frames, results in two frames, end of the job."""
    identity = Identity(config=PRESETS["micro"], beats=64, clock_hz=50_000_000).encode()
    done = DONE.pack(100, 3, 0)
    answer = [[Kind.RESULTS, 0, b"abcd"], [Kind.RESULTS, 1, b"ef"], [Kind.DONE, 2, done]]
    frame = [
        [[Kind.IDENTITY, 0, _NONCE + identity]],
        [[Kind.ACK, 1, b""]],
        [[Kind.ACK, 2, b""], *answer],
    ]
    return [[[int(kind), number, data] for kind, number, data in entry] for entry in frame]


def _dump(tree: Any) -> dict[str, bytes]:
    script = []
    for entry in items(tree):
        frames = []
        for frame in items(entry):
            kind, number, payload = (*items(frame), 0, 0, b"")[:3]
            frames.append([integer(kind, 8), integer(number, 8), text(payload)[:255].hex()])
        script.append(frames)
    return {"script.json": to_json(Object.of(script)).encode()}


def _read(folder: Path) -> dict[str, Any]:
    script = json.loads((folder / "script.json").read_bytes())
    with _port(script):
        try:
            link = Link("port", 1)
            answer = link.ask([(Kind.JOB, b"job"), (Kind.ACTIVATIONS, b"acts")])
        except AnswerLostError:
            raise BoardError("the answer was lost") from None
    config = link.identity.config
    names = ("act_bits", "lanes", "rows", "tokens", "code", "levels_per_stage", "k_max", "n_max")
    return {
        "identity": [
            str(x) if name == "code" else x for name in names if (x := getattr(config, name))
        ],
        "memory": [link.identity.beats, link.identity.clock_hz],
        "results": answer.results,
        "counts": [answer.cycles, answer.waits],
    }


def _naive(folder: Path) -> dict[str, Any]:
    """All frames in order: the first identity, and behind it results from 0 to the end."""
    script = json.loads((folder / "script.json").read_bytes())
    frames = [(kind, seq, bytes.fromhex(data)) for entry in script for kind, seq, data in entry]
    while not (frames[0][0] == Kind.IDENTITY and frames[0][2][:4] == _NONCE):
        del frames[0]
    payload = frames[0][2]
    magic, version, *numbers = struct.unpack("<4sBBHBBBB3s3s3sI", payload[4:])
    assert (magic, version) == (b"TRLT", 1)
    act_bits, lanes, rows, tokens, code, levels, k_max, n_max, beats, clock = numbers
    k_max, n_max, beats = (int.from_bytes(x, "little") for x in (k_max, n_max, beats))
    end = [kind for kind, _, _ in frames].index(Kind.DONE)
    answers = [(k, s, d) for k, s, d in frames[: end + 1] if k in (Kind.RESULTS, Kind.DONE)]
    assert [s for _, s, _ in answers] == list(range(len(answers)))
    cycles, waits, flags = struct.unpack("<IIB", answers[-1][2])
    assert not flags & 1
    return {
        "identity": [act_bits, lanes, rows, tokens, list(CODES)[code], levels, k_max, n_max],
        "memory": [beats, clock],
        "results": b"".join(d for _, _, d in answers[:-1]),
        "counts": [cycles, waits],
    }


TARGETS = [
    Target(
        name="board",
        tree=_tree(),
        dump=_dump,
        read=_read,
        naive=_naive,
        share=20_000,
        raw=False,
    ),
]
