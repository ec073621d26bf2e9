"""The table of boards: figures of the last build, and modelled speed."""

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

__all__ = ["BoardRow", "board_rows"]

_STORED = Path(__file__).parent.parent / "fpga" / "data"


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """A row of the table.

    Parameters
    ----------
    name, title, device : see ``BoardDescription``
    engine : lanes x rows x tokens
    macs : multiply-accumulates per cycle
    clock_mhz : frequency of the design in MHz
    gmacs_single, gmacs_full : 1e9 MACs per second at full rate, for one token and for as many
        tokens as the engine serves at once
    weight_bytes : bytes of the weight memory on the chip; None without one
    model_tokens : tokens per second of the trained model, the link included; None without a link
    model_stream_bytes : bytes of weights that go over the link for each of these tokens
    big_seconds : seconds per token of BitNet 2B4T if all weights come over the link; None without
        a link
    big_memory_tokens : tokens per second of BitNet 2B4T if its weights come from the board's memory
        at the rate of the pins, or of the DMA of the design; None without such a memory
    measured : summary of the last build, see ``trilith.fpga.flow.bitstream.build_board``; None
        without one
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


def board_rows() -> list[BoardRow]:
    """Rows of all boards, with the last build here, or else the one stored with this package."""
    return [_row(board) for board in BOARDS.values()] + [_soc_row(soc) for soc in SOCS.values()]


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


def _common(
    board: BoardDescription | SocDescription, config: MatVecConfig, clock_hz: float, beats_hz: float
) -> partial[BoardRow]:
    """Columns that boards with and without processor share; ``beats_hz`` is the rate of beats."""
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
    """Row of a board whose host is at the end of a link."""
    config, top = board.top.engine, board.top
    # The weight memory limits the rate of beats.
    hz = top.clock_hz / top.memory.words_per_beat
    model = ModelConfig.read(read_json(PYDOC / "config.json"), PYDOC)
    layers = model.layers
    shapes = list(model.linear_shapes.values()) * layers
    need = memory_bytes(config, shapes)
    stream = max(0, need - top.identity.memory_bytes)
    line = _line_bytes(stream)
    cycles = 0
    result_bytes = -(-results_shape(config).size // 8)
    activation_bytes = -(-activations_shape(config).size // 8)
    for n, k in shapes:
        job = JobShape(n=n, k=k, tokens=1)
        times = next(job_times(config, [job]))
        beats = job.row_groups(config) * job.chunks(config)
        cycles += times.cycles + (top.memory.words_per_beat - 1) * beats
        line += len(Frame(kind=0, sequence=0, payload=bytes(sum(JOB.values()))).encode())
        line += _line_bytes(job.chunks(config) * activation_bytes)
        line += _line_bytes(job.row_groups(config) * result_bytes)
    seconds = cycles / top.clock_hz + line * 10 / top.baud
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
    """Row of a board with a processor."""
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
    """Bytes of BitNet 2B4T's matrices, with five trits in each byte."""
    return find_model("bitnet-2b4t").linear_weights / 5


def _line_bytes(payload: float) -> float:
    """Bytes on the line for bytes of payload, in full frames."""
    frame = Frame(kind=0, sequence=0, payload=bytes(MAX_PAYLOAD)).encode()
    return payload * len(frame) / MAX_PAYLOAD
