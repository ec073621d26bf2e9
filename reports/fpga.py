"""The table of boards: figures of the last build, and modelled speed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..fpga.boards import (
    BOARDS,
    SOCS,
    BoardDescription,
    SocDescription,
    image_bytes,
    memory_bytes,
)
from ..fpga.flow.blocks import blocks_needed
from ..fpga.frames import JOB, MAX_PAYLOAD, Frame
from ..fpga.gateware.config import CoreTopConfig, TopConfig
from ..golden.checkpoint.model_config import ModelConfig
from ..golden.codes import CODES
from ..golden.data import PYDOC
from ..golden.files import read_json
from ..hw.config import MatVecConfig
from ..hw.engine.loader import activations_shape
from ..hw.engine.results import results_shape
from ..hw.engine.timing import job_times
from ..hw.jobs import JobShape
from ..hw.token.config import TokenConfig
from ..hw.token.plan import CompileError, plan_image
from ..sim.cost.core.cycles import CoreCycles
from ..sim.cost.core.extension import extended_cycles
from ..sim.cost.core_system import part_seconds
from ..sim.cost.model_shapes import find_model
from ..sim.tools.cache import build_folder
from .largest import MADE, LargestModel, largest_image, largest_weights

__all__ = ["BoardRow", "board_rows"]

_STORED = Path(__file__).parent.parent / "fpga" / "data"

#: Tokens that a token attends to, itself included, in the rates of token cores.
_CONTEXT = 64


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """A row of the table.

    Parameters
    ----------
    name, title, device, family : see ``BoardDescription``
    engine : lanes x rows x tokens
    macs : multiply-accumulates per cycle
    clock_mhz : frequency of the design in MHz
    gmacs_single, gmacs_full : 1e9 MACs per second at full rate, for one token and for as many
        tokens as the engine serves at once
    weight_bytes : bytes of block RAM for weights; None without a link
    memory_bytes : bytes of the memory of a token core behind a link; None without one
    model_tokens : tokens per second of the trained model. With a token core at a context of 64, its
        weights in block RAM, as far as they fit. Otherwise with the link. None without a link, or
        if the model does not fit.
    model_streamed_tokens : likewise with a token core, if all weights come from its memory
    model_stream_bytes : bytes of weights that go over the link for each of these tokens; None
        without a link
    made_tokens : tokens per second, with a token core at a context of 64, of ``MADE``, whose
        weights that do not fit block RAM come from memory; None without such a core, or if it does
        not fit
    largest : the largest model of BitNet's shape that the board holds; None without a link
    big_seconds : seconds per token of BitNet 2B4T if all weights come over the link; None without
        a link that multiplies
    big_memory_tokens : tokens per second of BitNet 2B4T if its weights come from the board's memory
        at the rate of the pins, or of the design's weight ports; None without such a memory
    measured : summary of the last build, see ``trilith.fpga.flow.bitstream.build_board``; None
        without one
    """

    name: str
    title: str
    device: str
    family: str
    engine: str
    macs: int
    clock_mhz: float
    gmacs_single: float
    gmacs_full: float
    weight_bytes: int | None = None
    memory_bytes: int | None = None
    model_tokens: float | None = None
    model_streamed_tokens: float | None = None
    model_stream_bytes: int | None = None
    made_tokens: float | None = None
    largest: LargestModel | None = None
    big_seconds: float | None = None
    big_memory_tokens: float | None
    measured: dict[str, Any] | None

    @property
    def placed(self) -> bool:
        """Whether the measured design was placed and routed, not only synthesized."""
        return self.measured is not None and self.measured["mhz"] is not None

    @property
    def logic(self) -> int | None:
        """Logic cells of the measured design."""
        return self.measured["used"]["logic cells"]["used"] if self.measured else None

    @property
    def flip_flops(self) -> int | None:
        """Flip-flops of the measured design; None on iCE40, whose logic cells include them."""
        used = self.measured["used"] if self.measured else {}
        return used["flip-flops"]["used"] if "flip-flops" in used else None

    @property
    def blocks(self) -> float | None:
        """Blocks of logic that the measured design needs, such as CLBs: see ``blocks_needed``."""
        if self.logic is None:
            return None
        return blocks_needed(self.family, self.logic, self.flip_flops or 0)


def board_rows() -> list[BoardRow]:
    """Rows of all boards, with the last build here, or else the one stored with this package."""
    boards = [
        _core_row(board, board.top)
        if isinstance(board.top, CoreTopConfig)
        else _link_row(board, board.top)
        for board in BOARDS.values()
    ]
    return boards + [
        _row(soc, soc.core.engine, soc.clock_hz, soc.clock_hz, soc.weight_bytes_per_second)
        for soc in SOCS.values()
    ]


def _summary(board: BoardDescription | SocDescription) -> dict[str, Any] | None:
    """Summary of the board's last build, if that was of the design as it is now."""
    design = json.loads(json.dumps(board.design))
    folder = build_folder() / "fpga" / board.name
    for file in (folder / "summary.json", _STORED / f"{board.name}.json"):
        if file.is_file():
            summary = json.loads(file.read_text())
            if summary | design == summary:
                return summary
    return None


def _row(
    board: BoardDescription | SocDescription,
    config: MatVecConfig,
    clock_hz: float,
    beats_hz: float,
    memory_bytes_per_second: float | None,
    **link: Any,
) -> BoardRow:
    """Row of a board.

    Parameters
    ----------
    board : the board
    config : its engine
    clock_hz, beats_hz : frequency of the clock, and rate of the engine's beats
    memory_bytes_per_second : rate of a memory that holds BitNet 2B4T; None without one
    link : columns of a board whose host is at the end of a link
    """
    tokens = None
    if memory_bytes_per_second is not None:
        used = config.lanes * config.rows * CODES[config.code].bits_per_trit / 8 * beats_hz
        tokens = min(memory_bytes_per_second, used) / _big_bytes(config)
    return BoardRow(
        name=board.name,
        title=board.title,
        device=board.device,
        family=board.family,
        engine=str(config),
        macs=config.macs_per_clock,
        clock_mhz=clock_hz / 1e6,
        gmacs_single=config.lanes * config.rows * beats_hz / 1e9,
        gmacs_full=config.macs_per_clock * beats_hz / 1e9,
        big_memory_tokens=tokens,
        measured=_summary(board),
        **link,
    )


def _link_row(board: BoardDescription, top: TopConfig) -> BoardRow:
    """Row of a board that multiplies for a host at the end of a link."""
    config, model = top.engine, _trained()
    shapes = list(model.linear_shapes.values()) * model.layers
    stream = max(0, memory_bytes(config, shapes) - board.weight_bytes)
    big_bytes = _big_bytes(config)
    found = largest_weights(
        config.k_max, lambda shapes: memory_bytes(config, shapes) <= board.weight_bytes
    )
    largest = None
    if found is not None:
        products = list(found.linear_shapes.values()) * found.layers
        largest = LargestModel.of(found, 1 / _link_seconds(top, products, 0), whole=False)
    return _row(
        board,
        config,
        top.clock_hz,
        # The weight memory limits the rate of beats.
        top.clock_hz / top.memory.words_per_beat,
        board.dram_bytes_per_second if board.dram_bytes >= big_bytes else None,
        weight_bytes=board.weight_bytes,
        model_tokens=1 / _link_seconds(top, shapes, stream),
        model_stream_bytes=stream,
        largest=largest,
        big_seconds=_line_bytes(big_bytes) * 10 / top.baud,
    )


def _link_seconds(top: TopConfig, shapes: Sequence[tuple[int, int]], stream: int) -> float:
    """Seconds of the products of a token over a link.

    Parameters
    ----------
    top : configuration of the board
    shapes : (N, K) of each product
    stream : bytes of weights that go over the link
    """
    config, line, cycles = top.engine, _line_bytes(stream), 0
    result_bytes = -(-results_shape(config).size // 8)
    activation_bytes = -(-activations_shape(config).size // 8)
    for n, k in shapes:
        job = JobShape(n=n, k=k, tokens=1)
        beats = job.row_groups(config) * job.chunks(config)
        cycles += next(job_times(config, [job])).cycles + (top.memory.words_per_beat - 1) * beats
        line += len(Frame(kind=0, sequence=0, payload=bytes(sum(JOB.values()))).encode())
        line += _line_bytes(job.chunks(config) * activation_bytes)
        line += _line_bytes(job.row_groups(config) * result_bytes)
    return cycles / top.clock_hz + line * 10 / top.baud


def _core_row(board: BoardDescription, top: CoreTopConfig) -> BoardRow:
    """Row of a board with a token core behind a link."""
    core, memory = top.core, top.memory
    rate = board.dram_bytes_per_second * board.dram_share

    def speed(sizes: ModelConfig, resident_bytes: int) -> float:
        """Tokens per second of a model that fits."""
        computes, moves = part_seconds(
            _cycles(core, sizes), hertz=top.clock_hz, rate=rate, resident_bytes=resident_bytes
        )
        return 1 / sum(max(computes[part], moves[part]) for part in computes)

    def tokens(sizes: ModelConfig, resident_bytes: int) -> float | None:
        """Tokens per second of a model; None if it does not fit."""
        try:
            fits = image_bytes(plan_image(core, sizes)) <= memory.bytes
        except CompileError:
            fits = False
        return speed(sizes, resident_bytes) if fits else None

    found, largest = largest_image(core, memory.bytes), None
    if found is not None:
        largest = LargestModel.of(found, speed(found, board.weight_bytes), whole=True)
    return _row(
        board,
        core.engine,
        top.clock_hz,
        top.clock_hz,
        None,
        weight_bytes=board.weight_bytes,
        memory_bytes=memory.bytes,
        model_tokens=tokens(_trained(), board.weight_bytes),
        model_streamed_tokens=tokens(_trained(), 0),
        model_stream_bytes=0,
        made_tokens=tokens(MADE, board.weight_bytes),
        largest=largest,
    )


@lru_cache(maxsize=16)
def _cycles(core: TokenConfig, sizes: ModelConfig) -> CoreCycles:
    """Cycles of a token; kept, because they take a second."""
    return extended_cycles(core, sizes, position=min(_CONTEXT, sizes.max_positions) - 1)


def _trained() -> ModelConfig:
    """Sizes of the trained model of the repository."""
    return ModelConfig.read(read_json(PYDOC / "config.json"), PYDOC)


def _big_bytes(config: MatVecConfig) -> float:
    """Bytes of BitNet 2B4T's matrices in the code of an engine."""
    return find_model("bitnet-2b4t").linear_weights * CODES[config.code].bits_per_trit / 8


def _line_bytes(payload: float) -> float:
    """Bytes on the line for bytes of payload, in full frames."""
    frame = Frame(kind=0, sequence=0, payload=bytes(MAX_PAYLOAD)).encode()
    return payload * len(frame) / MAX_PAYLOAD
