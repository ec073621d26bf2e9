"""Simulation of the token core behind a model of its memory."""

import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...golden.elements import from_element_bits
from ...golden.environment import child_environment
from ...golden.templates import render
from ...hw.token.core import TokenCore, trace_shape
from ...hw.token.image import Image
from ...hw.token.memory_port import memory_request
from ...hw.token.sequencer import core_command
from ...hw.token.topk import answer_shape
from ..tools.errors import SimulationError
from .build import build_component
from .clocked import CONTROL, port_bytes

__all__ = ["CoreRun", "MemoryModel", "TokenCoreSimulator"]


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """Speed of the memories behind a token core; the defaults answer at once.

    Parameters
    ----------
    latency : cycles from a request to its first word, 1 or more
    interval : cycles from one word to the next, 1 or more
    weight_interval : cycles from one weight beat to the next, 1 or more
    """

    latency: int = 1
    interval: int = 1
    weight_interval: int = 1


@dataclass(frozen=True, kw_only=True)
class CoreRun:
    """What a token core did for one token.

    Parameters
    ----------
    cycles : from the acceptance of the command to the end of its last result
    tokens : the largest logits' tokens, the largest first
    logits : their values, elements
    addresses : int64[n], words of the vector memory in the order in which they were written
    words : elements [n, vector_lanes], what was written there
    error : the sticky error is set
    """

    cycles: int
    tokens: list[int]
    logits: list[float]
    addresses: NDArray[np.int64]
    words: NDArray[np.float64]
    error: bool


class TokenCoreSimulator:
    """A simulated token core with a model in its memory.

    It is a context manager: the simulation is a process, which ends with the context.

    Parameters
    ----------
    image : the compiled model
    memory : speed of the memories
    limit : most cycles of a token

    Raises
    ------
    ToolchainError
        If the simulation cannot be built.
    """

    def __init__(
        self, image: Image, *, memory: MemoryModel | None = None, limit: int = 10_000_000
    ) -> None:
        config = image.config
        self._config, self._image = config, image
        self._memory, self._limit = memory or MemoryModel(), limit
        command = core_command(config)
        main = render(
            "trilith.sim.rtl",
            "token_core.cpp.jinja",
            word_bytes=config.memory_width // 8,
            beat_bytes=config.engine.weight_bytes,
            token_bits=command["token"].width,
            position_bits=command["position"].width,
            burst_bits=memory_request(config)["words"].width,
        )
        self._program = build_component(TokenCore(config), CONTROL, main)

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="trilith-")
        folder = Path(self._scratch.name)
        self._image.memory.tofile(folder / "memory.bin")
        self._image.weights.tofile(folder / "weights.bin")
        memory = self._memory
        numbers = (
            self._image.program_words,
            memory.latency,
            memory.interval,
            memory.weight_interval,
            self._limit,
        )
        self._process = subprocess.Popen(
            [self._program, folder / "memory.bin", folder / "weights.bin", *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()

    def run(self, token: int, position: int, k: int = 1) -> CoreRun:
        """Run one token.

        Parameters
        ----------
        token : its number
        position : its position; positions come in order, from 0 on
        k : logits to answer with; 0 for none

        Raises
        ------
        SimulationError
            If the core does not answer.
        """
        process, config = self._process, self._config
        assert process.stdin is not None
        process.stdin.write(struct.pack("<3I", token, position, k))
        process.stdin.flush()
        cycles, answers, beats, error = struct.unpack("<4Q", self._read(32))
        shape = answer_shape(config)
        rows = self._rows(answers, port_bytes(shape.size))
        tokens = _field(rows, 0, shape["token"].width)
        logits = from_element_bits(
            _field(rows, shape["logit"].offset, shape["logit"].width).astype(np.uint32)
        )
        layout = trace_shape(config)
        write = layout["write"]
        assert isinstance(write.shape, type(shape))
        trace = self._rows(beats, port_bytes(layout.size))
        elements = write.shape["elements"]
        words = [
            _field(trace, elements.offset + 24 * lane, 24) for lane in range(config.vector_lanes)
        ]
        return CoreRun(
            cycles=cycles,
            tokens=tokens.tolist(),
            logits=logits.tolist(),
            addresses=_field(trace, 0, write.shape["address"].width),
            words=from_element_bits(np.stack(words, axis=1).astype(np.uint32)),
            error=bool(error),
        )

    def _read(self, size: int) -> bytes:
        """Read from the simulation."""
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            assert self._process.stderr is not None
            reason = self._process.stderr.read().decode(errors="replace").strip()
            raise SimulationError(f"the token core stopped: {reason or 'no message'}")
        return data

    def _rows(self, count: int, size: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._read(count * size), np.uint8).reshape(count, size)


def _field(rows: NDArray[np.uint8], offset: int, width: int) -> NDArray[np.int64]:
    """A field of each row of bytes, of at most 56 bits."""
    first, last = offset // 8, -(-(offset + width) // 8)
    value = np.zeros(len(rows), np.int64)
    for place in range(first, min(last, rows.shape[1])):
        value |= rows[:, place].astype(np.int64) << (8 * (place - first))
    return (value >> (offset - 8 * first)) & ((1 << width) - 1)
