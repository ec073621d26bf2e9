import pytest

from trilith.fpga.boards import BOARDS, SOCS
from trilith.fpga.flow.blocks import BLOCKS, blocks_needed


@pytest.mark.parametrize(
    ("family", "lut", "ff", "blocks"),
    [
        ("xcup", 80, 80, 10.0),
        ("xcup", 80, 320, 20.0),
        # The engine 80 x 1 x 1 by its flip-flops, and the one of bitnet-kv260 by its LUTs.
        ("xcup", 17.35, 43.0, 2.6875),
        ("xc7", 30.7, 12.8, 3.8375),
        ("ecp5", 80, 96, 12.0),
        ("gowin", 8, 12, 2.0),
        ("ice40", 0, 0, 0.0),
    ],
)
def test_the_scarcer_of_the_two_decides(family, lut, ff, blocks):
    assert blocks_needed(family, lut, ff) == pytest.approx(blocks)


def test_every_board_has_a_block_with_a_source():
    families = {board.family for board in (*BOARDS.values(), *SOCS.values())}
    assert families <= set(BLOCKS)
    assert all(block.source for block in BLOCKS.values())
    assert str(BLOCKS["xcup"]) == (
        "a CLB has 8 LUT6 and 16 flip-flops "
        "(AMD UG574, UltraScale Architecture Configurable Logic Block)"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("ecp6", 1, 1), ValueError, "family must be xcup, xc7, ecp5, ice40 or gowin, not 'ecp6'"),
        (("xcup", -1, 1), ValueError, r"lut must be from 0 to 1000000000000, not -1"),
        (("xcup", 1, float("inf")), ValueError, r"ff must be from 0 to 1000000000000, not inf"),
        (("xcup", float("nan"), 1), ValueError, r"lut must be from 0 to 1000000000000, not nan"),
        (("xcup", "8", 1), TypeError, r"lut must be a number, not '8'"),
    ],
)
def test_bad_counts(arguments, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        blocks_needed(*arguments)
