"""Simulation of the token core behind a model of its memory."""

import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...golden.checks import check_integer, check_kind
from ...golden.elements import OverflowFlag, from_element_bits
from ...golden.environment import child_environment
from ...golden.network.token_core import CoreCache, CoreModel
from ...golden.templates import render
from ...hw.token.config import K_MAX
from ...hw.token.core import TRACE_PARTS, TokenCore, TraceKind, trace_shape
from ...hw.token.image_file import Image
from ...hw.token.memory_port import memory_request
from ...hw.token.passes import core_command
from ...hw.token.topk import answer_shape
from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.verilog import keep_verilog
from .build import build_simulation
from .clocked import CONTROL, port_bytes
from .memory_model import MemoryModel

__all__ = ["CoreRun", "GoldenTrace", "TokenCoreSimulator"]


@dataclass(frozen=True, kw_only=True)
class CoreRun:
    """Cycles, answers and vectors of one pass in a token core.

    Parameters
    ----------
    cycles : from the acceptance of the first command to the end of its last result
    tokens : the largest logits' tokens, the largest first
    logits : their values, elements
    by_part : cycles of each of ``TRACE_PARTS``, a cycle for the first one that works, and of
        ``sequencing``, when none works
    vectors : all vectors in the order in which they were made, each padded to whole words: elements
        as float64, and integers as int8; those of a step come by token
    error : the sticky error is set
    count : tokens of the pass
    """

    cycles: int
    tokens: list[int]
    logits: list[float]
    by_part: dict[str, int]
    vectors: list[NDArray[Any]]
    error: bool
    count: int = 1


class GoldenTrace:
    """Vectors and logits of the golden model for one pass, to be compared with the core.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    tokens : a token, or those of a pass
    cache : keys and values of the tokens before; those of the pass are added

    Attributes
    ----------
    logits : elements [vocabulary], behind the last token
    """

    def __init__(self, model: CoreModel, tokens: int | Sequence[int], cache: CoreCache) -> None:
        self._vectors: list[tuple[int, str, NDArray[Any]]] = []
        #: An overflow before the head.
        self._overflow = False
        with OverflowFlag() as self._flag:
            ids = _listed(tokens)
            self.logits = model.forward(ids, cache, last=True, trace=self._take)[0]

    def overflow(self, *, head: bool) -> bool:
        """Whether a value was too large.

        Parameters
        ----------
        head : count those of the head, which a core computes only if it is asked for logits
        """
        return self._flag.raised if head else self._overflow

    def _take(self, layer: int, name: str, vectors: NDArray[Any]) -> None:
        """Take the vectors of a step by token; heads come one by one, as in hardware."""
        if name == "logits":
            return
        if name != "head input":
            self._overflow = self._flag.raised
        for vector in vectors:
            heads = vector if vector.ndim == 2 else [vector]
            self._vectors += [(layer, name, np.array(head)) for head in heads]

    def __len__(self) -> int:
        return len(self._vectors)

    def difference(self, found: list[NDArray[Any]], *, head: bool) -> str | None:
        """Say where the vectors of a core differ.

        Parameters
        ----------
        found : ``CoreRun.vectors``
        head : the core was asked for logits

        Returns
        -------
        None if all are equal
        """
        vectors = self._vectors if head else self._vectors[:-1]
        if len(found) != len(vectors):
            return f"{len(found)} vectors, not {len(vectors)}"
        for mine, (layer, name, vector) in zip(found, vectors, strict=True):
            padded = np.pad(vector, (0, len(mine) - len(vector)))
            if (mine != padded).any():
                place = int(np.flatnonzero(mine != padded)[0])
                return (
                    f"layer {layer}, {name}: element {place} is {mine[place]}, not {padded[place]}"
                )
        return None


class TokenCoreSimulator:
    """A simulated token core with a model in its memory.

    It is a context manager: the simulation is a process, which ends with the context.

    Parameters
    ----------
    image : the compiled model
    memory : speed and faults of the memories
    limit : most cycles of a token, 1 or more
    filled : positions whose keys and values the image holds, from 0 on; see ``with_cache``
    record : file for the values of the ports in each cycle, see ``recorded``

    Raises
    ------
    ToolchainError
        If the simulation cannot be built.
    TypeError, ValueError
        If a number is not legal.
    """

    def __init__(
        self,
        image: Image,
        *,
        memory: MemoryModel | None = None,
        limit: int = 10_000_000,
        filled: int = 0,
        record: Path | None = None,
    ) -> None:
        check_kind("image", image, Image)
        self._config, self._image = config, image = image.config, image
        self._memory = memory or MemoryModel()
        self._record = record
        self._limit = check_integer("limit", limit, 1)
        self._filled, self._reason = check_integer("filled", filled, 0, config.context_max), ""
        command = core_command(config)
        verilog = keep_verilog(lambda: TokenCore(config, trace=True), "token_core", repr(config))
        self._ports = _ports(verilog)
        main = render(
            "trilith.sim.rtl",
            "token_core.cpp.jinja",
            word_bytes=config.memory_width // 8,
            beat_bytes=config.engine.weight_bytes,
            token_bits=command["token"].width,
            position_bits=command["position"].width,
            k_bits=command["k"].width,
            parts=len(TRACE_PARTS),
            parts_offset=trace_shape(config)["parts"].offset,
            burst_bits=memory_request(config)["words"].width,
            recorded=[name.replace("__", "___05F") for name in self._ports],
        )
        with keep("token-core", f"{CONTROL}\0{main}") as (folder, making):
            if making is not None:
                (making / "core.vlt").write_text(CONTROL)
                (making / "core.cpp").write_text(main)
        self._program = build_simulation(
            [folder / "core.vlt", verilog], top="token_core", main=folder / "core.cpp"
        )

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
            -1 if memory.fails_at is None else memory.fails_at,
            round(memory.pauses * 2**16),
            memory.seed,
            memory.refresh_interval,
            memory.refresh_cycles,
            self._limit,
        )
        files = folder / "memory.bin", folder / "weights.bin"
        record = [] if self._record is None else [self._record]
        self._process = subprocess.Popen(
            [self._program, *files, *map(str, numbers), *record],
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

    @property
    def image(self) -> Image:
        """The compiled model."""
        return self._image

    def recorded(self) -> dict[str, NDArray[np.uint8]]:
        """Read the record: the values of the ports, but the trace, in each cycle so far.

        Returns
        -------
        By port uint8[cycles, port_bytes(width)], before each rising edge of the clock

        Raises
        ------
        ValueError
            If the simulator has no record.
        """
        if self._record is None:
            raise ValueError("the ports of a core are recorded only into a file, see record")
        sizes = {name: port_bytes(width) for name, width in self._ports.items()}
        rows = np.fromfile(self._record, np.uint8).reshape(-1, sum(sizes.values()))
        ends = np.cumsum(list(sizes.values())).tolist()
        return {
            name: rows[:, end - size : end]
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }

    def run(self, tokens: int | Sequence[int], position: int, k: int = 1) -> CoreRun:
        """Run a token, or several tokens that follow one another as one pass.

        Parameters
        ----------
        tokens : a token, or those of a pass, at most ``config.tokens``
        position : that of the first token; positions come in order, from 0 on, and any can come
            again
        k : logits to answer with behind the last token; 0 for none

        Raises
        ------
        TypeError
            If a value is not an integer.
        ValueError
            If the model has no such token or position, no token has run at the position before, k
            is larger than the core's 32 or than the vocabulary, or there are too many tokens.
        SimulationError
            If the pass does not end within the limit, or the memory fails; the core can be reset
            after a failure of the memory.
        """
        setup, ids = self._image.program[0].fields, _listed(tokens)
        most = min(self._config.tokens, setup["context"])
        check_integer("the number of tokens", len(ids), 1, most)
        for token in ids:
            check_integer("token", token, 0, setup["vocabulary"] - 1)
        room = setup["context"] - len(ids)
        check_integer("position", position, 0, min(self._filled, room))
        check_integer("k", k, 0, min(K_MAX, setup["vocabulary"]))
        result = self.command(ids, position, k)
        self._filled = max(self._filled, position + len(ids))
        return result

    def command(self, tokens: int | Sequence[int], position: int, k: int) -> CoreRun:
        """Send the commands of a pass to the core as they are, legal or not; see ``run``."""
        return self.commands(_commands(tokens, position, k))

    def commands(self, commands: Sequence[tuple[int, int, int]]) -> CoreRun:
        """Send commands as one pass, legal or not: token, position and k of each."""
        result, fault = self._command(commands, None)
        if fault is not None:
            token, position, k = commands[-1]
            raise SimulationError(
                f"{fault}; token {token} at position {position} ended after {result.cycles} "
                f"cycles with {len(result.tokens)} of {k} answers"
            )
        return result

    def reset(
        self,
        tokens: int | Sequence[int] = 0,
        position: int = 0,
        k: int = 0,
        *,
        cycles: int = 0,
    ) -> None:
        """Reset the core, within a pass or before it; the next text begins at position 0.

        The memory keeps its bytes, and forgets what it was asked for.

        Parameters
        ----------
        tokens, position, k : see ``run``
        cycles : cycles from the offer of the first command to the reset; 0 for no command

        Raises
        ------
        SimulationError
            If the reset is beyond the limit of a pass.
        TypeError, ValueError
            If a number does not fit its field of a command.
        """
        until = check_integer("cycles", cycles, 0, 2**32 - 1)
        self._command(_commands(tokens, position, k), until)
        self._filled = 0

    def _command(
        self, commands: Sequence[tuple[int, int, int]], reset: int | None
    ) -> tuple[CoreRun, str | None]:
        """Run a pass, or reset the core within it; return also the fault of the memory."""
        process, config = self._process, self._config
        layout = core_command(config)
        for command in commands:
            for name, value in zip(("token", "position", "k"), command, strict=True):
                check_integer(name, value, 0, 2 ** layout[name].width - 1)
        head = (len(commands), reset is not None, reset or 0)
        numbers = [int(value) for command in (head, *commands) for value in command]
        assert process.stdin is not None
        # A simulation that has stopped takes no command; reading tells why.
        with suppress(BrokenPipeError):
            process.stdin.write(struct.pack(f"<{len(numbers)}I", *numbers))
            process.stdin.flush()
        names = (*TRACE_PARTS, "sequencing")
        layout = struct.Struct(f"<{6 + len(names)}Q")
        found = layout.unpack(self._read(layout.size))
        cycles, answers, beats, error, kind, address, *by_part = found
        shape = answer_shape(config)
        rows = self._rows(answers, port_bytes(shape.size))
        logits = _field(rows, shape["logit"].offset, shape["logit"].width)
        result = CoreRun(
            cycles=cycles,
            tokens=_field(rows, 0, shape["token"].width).tolist(),
            logits=from_element_bits(logits.astype(np.uint32)).tolist(),
            by_part=dict(zip(names, by_part, strict=True)),
            vectors=self._vectors(self._rows(beats, port_bytes(trace_shape(config).size))),
            error=bool(error),
            count=len(commands),
        )
        faults = (
            None,
            f"the memory answered a read of byte {address} with an error",
            f"the memory has no byte {address} to write",
        )
        return result, faults[kind]

    def _vectors(self, trace: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Join the words of the trace to vectors, in the order of their last words.

        Words of several tokens come in turn. Heads that follow one another are one vector each.
        """
        layout, lanes = trace_shape(self._config), self._config.vector_lanes
        kinds = _field(trace, layout["kind"].offset, layout["kind"].width)
        last = _field(trace, layout["last"].offset, 1) != 0
        tokens = _field(trace, layout["token"].offset, layout["token"].width)
        vectors = {}
        for token in range(self._config.tokens):
            places = np.flatnonzero(tokens == token)
            ends = np.flatnonzero(last[places]) + 1
            for start, end in zip([0, *ends], ends, strict=False):
                mine = places[start:end]
                words = trace[mine]
                width = 24 if kinds[mine[0]] == TraceKind.ELEMENTS.value else 8
                fields = [
                    _field(words, layout["word"].offset + width * lane, width)
                    for lane in range(lanes)
                ]
                values = np.stack(fields, axis=1).ravel()
                if width == 8:
                    vectors[mine[-1]] = values.astype(np.uint8).view(np.int8)
                else:
                    vectors[mine[-1]] = from_element_bits(values.astype(np.uint32))
        return [vectors[end] for end in sorted(vectors)]

    def _read(self, size: int) -> bytes:
        """Read from the simulation."""
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            assert self._process.stderr is not None
            self._reason += self._process.stderr.read().decode(errors="replace").strip()
            raise SimulationError(f"the token core stopped: {self._reason or 'no message'}")
        return data

    def _rows(self, count: int, size: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._read(count * size), np.uint8).reshape(count, size)


def _ports(verilog: Path) -> dict[str, int]:
    """Find the width of each port of a core, without clock, reset and trace, in its Verilog."""
    top = verilog.read_text().partition("module token_core")[2].partition("endmodule")[0]
    found = re.findall(r"^  (?:input|output) (?:\[(\d+):0\] )?(\w+);$", top, re.M)
    return {
        name: int(high or 0) + 1
        for high, name in found
        if name not in ("clk", "rst") and not name.startswith("trace__")
    }


def _listed(tokens: int | Sequence[int]) -> list[int]:
    """The tokens of a pass, of which one may stand alone."""
    return list(tokens) if isinstance(tokens, Sequence | np.ndarray) else [tokens]


def _commands(tokens: int | Sequence[int], position: int, k: int) -> list[tuple[int, int, int]]:
    """Token, position and k of each command of a pass."""
    return [(token, position + place, k) for place, token in enumerate(_listed(tokens))]


def _field(rows: NDArray[np.uint8], offset: int, width: int) -> NDArray[np.int64]:
    """A field of each row of bytes, of at most 56 bits."""
    first, last = offset // 8, -(-(offset + width) // 8)
    value = np.zeros(len(rows), np.int64)
    for place in range(first, min(last, rows.shape[1])):
        value |= rows[:, place].astype(np.int64) << (8 * (place - first))
    return (value >> (offset - 8 * first)) & ((1 << width) - 1)
