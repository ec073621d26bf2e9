"""Numbers of block RAMs by hand, from the shapes of the primitives."""

import pytest

from trilith.hw import MatVecConfig
from trilith.hw.export.blockram import BLOCK_RAMS, buffer_blocks, queue_blocks
from trilith.hw.export.package import check_fit
from trilith.hw.export.verilog import ExportError


def test_that_the_table_is_sound() -> None:
    for ram in BLOCK_RAMS.values():
        assert ram.source
        depths, widths = zip(*ram.shapes, strict=True)
        assert sorted(depths) == list(depths)
        assert sorted(widths, reverse=True) == list(widths)
        # Each shape has all bits of the block. The ninth bit of a byte is not there below 9 bits.
        assert (
            len({depth * (width if width % 9 else width // 9 * 8) for depth, width in ram.shapes})
            == 1
        )


def test_the_blocks_of_each_device() -> None:
    """From the tables of the makers' data sheets, which the file names."""
    assert {name: (ram.device, ram.available) for name, ram in BLOCK_RAMS.items()} == {
        "xc7": ("XC7VX1140T", 1880),
        "xcup": ("XCVU13P", 2688),
        "ecp5": ("LFE5U-85F", 208),
        "ice40up5k": ("iCE40UP5K", 30),
        "gw1n9": ("GW1N-9", 26),
        "gw2a18": ("GW2A-18", 46),
    }


@pytest.mark.parametrize(
    ("family", "width", "depth", "blocks"),
    [
        ("xc7", 72, 512, 1),
        ("xc7", 73, 512, 2),
        ("xc7", 1, 32768, 1),
        ("ecp5", 512, 216, 15),
        ("ecp5", 9, 2048, 1),
        ("ecp5", 4, 4097, 2),
        ("ice40up5k", 64, 256, 4),
        ("ice40up5k", 2, 2048, 1),
    ],
)
def test_blocks(family: str, width: int, depth: int, blocks: int) -> None:
    assert BLOCK_RAMS[family].blocks(width, depth) == blocks


def test_that_the_limit_is_the_device() -> None:
    config = MatVecConfig(lanes=8, rows=5, k_max=1024, n_max=1024)
    ram = BLOCK_RAMS["ice40up5k"]
    assert (buffer_blocks(config, ram), queue_blocks(config, ram)) == (4, 6)
    check_fit(config, "ice40up5k")
    message = (
        r"^the engine needs 38 SB_RAM40_4K, and ice40up5k \(iCE40UP5K\) has 30: lower lanes, "
        r"tokens or act_bits, or k_max if the buffer is deep$"
    )
    with pytest.raises(ExportError, match=message):
        check_fit(MatVecConfig(lanes=64, rows=5, k_max=1024, n_max=1024), "ice40up5k")
