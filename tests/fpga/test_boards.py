"""Boards with a token core: their memory, and the images that fit."""

from dataclasses import replace

import numpy as np
import pytest

from trilith.fpga.boards import BOARDS, boards_for_image, image_bytes
from trilith.fpga.gateware.config import CoreTopConfig
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image_file import Image
from trilith.hw.token.plan import plan_image
from trilith.reports.largest import MADE


def image(config, memory, beats):
    return Image(
        config=config,
        memory=np.zeros(memory, np.uint8),
        weights=np.zeros((beats, config.engine.weight_bytes), np.uint8),
        program_words=0,
        model="none",
        model_digest="",
    )


def test_an_image_takes_its_memory_in_blocks_and_its_weights_behind_it():
    config = CORE_PRESETS["ulx3s"]
    assert image_bytes(image(config, 4096, 3)) == 4096 + 3 * 64
    assert image_bytes(image(config, 4097, 0)) == 8192
    plan = plan_image(config, MADE)
    # Rows of weights are filled to five, and to whole beats.
    assert 18_874_368 / 320 <= plan.beats[""] < 1.01 * 18_874_368 / 320
    assert image_bytes(plan) == -(-plan.memory_bytes // 4096) * 4096 + 64 * plan.beats[""]


def test_an_image_fits_boards_with_its_core_and_enough_memory():
    ulx3s, pydoc = CORE_PRESETS["ulx3s"], CORE_PRESETS["pydoc-ecp5"]
    assert boards_for_image(image(ulx3s, 2**20, 1)) == ["ulx3s"]
    assert boards_for_image(image(ulx3s, 2**25, 1)) == []
    assert boards_for_image(image(pydoc, 2**18, 0)) == ["ecpix5"]
    assert boards_for_image(image(pydoc, 2**18, 1)) == []
    assert boards_for_image(image(CORE_PRESETS["pydoc"], 4096, 1)) == []


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


def test_the_top_of_a_board_is_one_of_two_kinds():
    with pytest.raises(TypeError, match=r"^top must be a TopConfig, not 5$"):
        replace(BOARDS["ulx3s"], top=5)
