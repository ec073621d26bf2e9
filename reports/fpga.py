"""The table of boards: figures of the last build, and modelled speed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..fpga.boards import BOARDS, SOCS, BoardDescription, SocDescription, memory_bytes
from ..fpga.frames import JOB, MAX_PAYLOAD, Frame
from ..golden.checkpoint.model_config import ModelConfig
from ..golden.codes import CODES
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
        at the rate of the pins, or of the design's weight ports; None without such a memory
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
    weight_bytes: int | None = None
    model_tokens: float | None = None
    model_stream_bytes: int | None = None
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


def board_rows() -> list[BoardRow]:
    """Rows of all boards, with the last build here, or else the one stored with this package."""
    return [_link_row(board) for board in BOARDS.values()] + [
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
        used = config.lanes * config.rows / CODES[config.code].trits_per_byte * beats_hz
        tokens = min(memory_bytes_per_second, used) / _big_bytes(config)
    return BoardRow(
        name=board.name,
        title=board.title,
        device=board.device,
        engine=str(config),
        macs=config.macs_per_clock,
        clock_mhz=clock_hz / 1e6,
        gmacs_single=config.lanes * config.rows * beats_hz / 1e9,
        gmacs_full=config.macs_per_clock * beats_hz / 1e9,
        big_memory_tokens=tokens,
        measured=_summary(board),
        **link,
    )


def _link_row(board: BoardDescription) -> BoardRow:
    """Row of a board whose host is at the end of a link."""
    config, top = board.top.engine, board.top
    model = ModelConfig.read(read_json(PYDOC / "config.json"), PYDOC)
    shapes = list(model.linear_shapes.values()) * model.layers
    stream = max(0, memory_bytes(config, shapes) - top.identity.memory_bytes)
    line = _line_bytes(stream)
    cycles = 0
    result_bytes = -(-results_shape(config).size // 8)
    activation_bytes = -(-activations_shape(config).size // 8)
    for n, k in shapes:
        job = JobShape(n=n, k=k, tokens=1)
        beats = job.row_groups(config) * job.chunks(config)
        cycles += next(job_times(config, [job])).cycles + (top.memory.words_per_beat - 1) * beats
        line += len(Frame(kind=0, sequence=0, payload=bytes(sum(JOB.values()))).encode())
        line += _line_bytes(job.chunks(config) * activation_bytes)
        line += _line_bytes(job.row_groups(config) * result_bytes)
    big_bytes = _big_bytes(config)
    return _row(
        board,
        config,
        top.clock_hz,
        # The weight memory limits the rate of beats.
        top.clock_hz / top.memory.words_per_beat,
        board.dram_bytes_per_second if board.dram_bytes >= big_bytes else None,
        weight_bytes=top.identity.memory_bytes,
        model_tokens=1 / (cycles / top.clock_hz + line * 10 / top.baud),
        model_stream_bytes=stream,
        big_seconds=_line_bytes(big_bytes) * 10 / top.baud,
    )


def _big_bytes(config: MatVecConfig) -> float:
    """Bytes of BitNet 2B4T's matrices in the code of an engine."""
    return find_model("bitnet-2b4t").linear_weights / CODES[config.code].trits_per_byte


def _line_bytes(payload: float) -> float:
    """Bytes on the line for bytes of payload, in full frames."""
    frame = Frame(kind=0, sequence=0, payload=bytes(MAX_PAYLOAD)).encode()
    return payload * len(frame) / MAX_PAYLOAD
