"""A table of the boards: what was measured of each, and what it would do."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..fpga.boards import BOARDS, SOCS, BoardDescription, SocDescription, memory_bytes
from ..fpga.frames import JOB, MAX_PAYLOAD, Frame
from ..golden.checkpoint.model_config import ModelConfig
from ..golden.data import PYDOC
from ..golden.files import read_json
from ..hw.config import MatVecConfig
from ..hw.engine.loader import activations_shape
from ..hw.engine.results import results_shape
from ..hw.engine.timing import job_times
from ..hw.jobs import JobShape
from ..sim.cost.model_shapes import find_model
from ..sim.tools.cache import build_folder
from .area import Published

__all__ = ["PUBLISHED_BOARDS", "BoardRow", "board_rows"]

_STORED = Path(__file__).parent.parent / "fpga" / "data"

#: Of others, whole systems.
PUBLISHED_BOARDS = (
    Published(
        design="bitnet-kv260 (KV260)",
        figure="16.78 tokens/s, 42,271 LUT, 320 weights per clock at 250 MHz",
        what="BitNet 2B4T whole, 6.21 W",
    ),
    Published(design="TeLLMe v2 (KV260)", figure="25 tokens/s", what="BitNet 0.73B, 4.8 W, HLS"),
    Published(design="TerEffic (U280)", figure="727 tokens/s", what="2.7B, weights in HBM, 46 W"),
    Published(
        design="ternfpga (Arty A7-35T)",
        figure="8 MACs per clock at 100 MHz",
        what="tiles; DDR3 at 1.42 GB/s",
    ),
    Published(design="Trinity/t27 (Artix-7)", figure="63 tokens/s", what="a toy model, about 1 W"),
)


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """A board.

    Parameters
    ----------
    name, title, device : see ``BoardDescription``
    engine : lanes x rows x tokens
    macs : multiply-accumulates per clock
    clock_mhz : that the design runs at
    gmacs_single, gmacs_full : 1e9 MACs per second at full rate, for one token and for as many as
        the engine serves at once
    weight_bytes : of the weight memory on the chip; None where there is none
    model_tokens, model_stream_bytes : tokens per second of the trained model, the link included,
        and bytes of weights that go over the link for each; None where there is no link
    big_seconds : per token of BitNet 2B4T, all weights over the link; None where there is none
    big_memory_tokens : None, or tokens per second of it if its weights came from the board's memory
        at the pins' rate, or at that of the DMA that the design has
    measured : None, or the summary of the last build: see ``trilith.fpga.build.build_board``
    """

    name: str
    title: str
    device: str
    engine: str
    macs: int
    clock_mhz: float
    gmacs_single: float
    gmacs_full: float
    weight_bytes: int | None
    model_tokens: float | None
    model_stream_bytes: int | None
    big_seconds: float | None
    big_memory_tokens: float | None
    measured: dict[str, Any] | None

    @property
    def placed(self) -> bool:
        """Whether what was measured was placed and routed, and not only synthesized."""
        return self.measured is not None and self.measured["mhz"] is not None

    @property
    def logic(self) -> int | None:
        """Logic cells used."""
        return self.measured["used"]["logic cells"]["used"] if self.measured else None


def board_rows() -> list[BoardRow]:
    """All boards: measured by the last build here, else by the one that came with this."""
    return [_row(board) for board in BOARDS.values()] + [_soc_row(soc) for soc in SOCS.values()]


def _summary(board: BoardDescription | SocDescription) -> dict[str, Any] | None:
    """Of the board as it is now: what was measured of another design does not count."""
    design = json.loads(json.dumps(board.design))
    folder = build_folder() / "fpga" / board.name
    for file in (folder / "summary.json", _STORED / f"{board.name}.json"):
        if file.is_file():
            summary = json.loads(file.read_text())
            if summary | design == summary:
                return summary
    return None


def _common(
    board: BoardDescription | SocDescription, config: MatVecConfig, clock_hz: float, beats_hz: float
) -> partial[BoardRow]:
    """What rows of boards and of chips have in common; ``beats_hz`` is the rate of beats."""
    return partial(
        BoardRow,
        name=board.name,
        title=board.title,
        device=board.device,
        engine=str(config),
        macs=config.macs_per_clock,
        clock_mhz=clock_hz / 1e6,
        gmacs_single=config.lanes * config.rows * beats_hz / 1e9,
        gmacs_full=config.macs_per_clock * beats_hz / 1e9,
        measured=_summary(board),
    )


def _row(board: BoardDescription) -> BoardRow:
    config, top = board.top.engine, board.top
    # Beats come at the rate of the memory.
    hz = top.clock_hz / top.memory.words_per_beat
    model = ModelConfig.read(read_json(PYDOC / "config.json"), PYDOC)
    layers = model.layers
    shapes = list(model.linear_shapes.values()) * layers
    need = memory_bytes(config, shapes)
    stream = max(0, need - top.identity.memory_bytes)
    line = _line_bytes(stream)
    clocks = 0
    result_bytes = -(-results_shape(config).size // 8)
    activation_bytes = -(-activations_shape(config).size // 8)
    for n, k in shapes:
        job = JobShape(n=n, k=k, tokens=1)
        times = next(job_times(config, [job]))
        beats = job.row_groups(config) * job.chunks(config)
        clocks += times.cycles + (top.memory.words_per_beat - 1) * beats
        line += len(Frame(kind=0, sequence=0, payload=bytes(sum(JOB.values()))).encode())
        line += _line_bytes(job.chunks(config) * activation_bytes)
        line += _line_bytes(job.row_groups(config) * result_bytes)
    seconds = clocks / top.clock_hz + line * 10 / top.baud
    big_bytes = _big_bytes()
    memory_tokens = None
    if board.dram_bytes >= big_bytes:
        compute = config.lanes * config.rows / 5 * hz
        memory_tokens = min(board.dram_bytes_per_second, compute) / big_bytes
    return _common(board, config, top.clock_hz, hz)(
        weight_bytes=top.identity.memory_bytes,
        model_tokens=1 / seconds,
        model_stream_bytes=stream,
        big_seconds=_line_bytes(big_bytes) * 10 / top.baud,
        big_memory_tokens=memory_tokens,
    )


def _soc_row(board: SocDescription) -> BoardRow:
    config = board.engine
    compute = config.lanes * config.rows / 5 * board.clock_hz
    return _common(board, config, board.clock_hz, board.clock_hz)(
        weight_bytes=None,
        model_tokens=None,
        model_stream_bytes=None,
        big_seconds=None,
        big_memory_tokens=min(board.weight_bytes_per_second, compute) / _big_bytes(),
    )


def _big_bytes() -> float:
    """Bytes of BitNet 2B4T's matrices, five trits in each."""
    return find_model("bitnet-2b4t").linear_weights / 5


def _line_bytes(payload: float) -> float:
    """Bytes on the line for so many of payload, in full frames."""
    frame = Frame(kind=0, sequence=0, payload=bytes(MAX_PAYLOAD)).encode()
    return payload * len(frame) / MAX_PAYLOAD
