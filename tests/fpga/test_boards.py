"""Boards with a token core: their memory, and the images that fit."""

from dataclasses import replace

import pytest

from trilith.fpga.boards import BOARDS, image_bytes
from trilith.fpga.gateware.config import CoreTopConfig
from trilith.fpga.gateware.litedram_verilog import sdram_chip
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.plan import plan_image
from trilith.reports.largest import MADE


def test_an_image_takes_its_memory_in_blocks_and_its_weights_behind_it():
    plan = plan_image(CORE_PRESETS["ulx3s"], MADE)
    # Rows of weights are filled to five, and to whole beats.
    assert 18_874_368 / 320 <= plan.beats[""] < 1.01 * 18_874_368 / 320
    assert image_bytes(plan) == -(-plan.memory_bytes // 4096) * 4096 + 64 * plan.beats[""]


def test_another_sdram_changes_the_memory_alone():
    board = BOARDS["ulx3s"]
    larger = board.with_sdram("AS4C32M16")
    assert larger.top.memory.module == "AS4C32M16"
    assert larger.top.memory.bytes == larger.dram_bytes == 2**26
    assert larger.with_sdram(board.top.memory.module) == board


@pytest.mark.parametrize(
    "board", [one for one in BOARDS.values() if isinstance(one.top, CoreTopConfig)],
    ids=lambda board: board.name,
)  # fmt: skip
def test_boards_with_a_core_state_the_memory_of_their_design(board):
    top = board.top
    assert board.dram_bytes == top.memory.bytes
    width = 2 if board.has_sdram else top.word_bytes
    assert board.dram_bytes_per_second == width * top.clock_hz
    assert all(size >= 2**24 for size in board.sdram_modules.values())
    if board.has_sdram:
        assert board.sdram_modules[top.memory.module] == top.memory.bytes


def test_the_bytes_of_sdrams_are_those_of_litedram():
    pytest.importorskip("litedram")
    board = BOARDS["ulx3s"]
    found = {name: sdram_chip(name, board.top.clock_hz).bytes for name in board.sdram_modules}
    assert found == board.sdram_modules


def test_the_top_of_a_board_is_one_of_two_kinds():
    with pytest.raises(TypeError, match=r"^top must be a TopConfig, not 5$"):
        replace(BOARDS["ulx3s"], top=5)
