"""Blocks of logic of FPGAs, such as the CLB, and how many of them a design needs."""

from dataclasses import dataclass
from pathlib import Path

from ...golden.checks import check_choice, check_number
from ...sim.cost.datafiles import read_data
from ...sim.tools.records import record

__all__ = ["BLOCKS", "LogicBlock", "blocks_needed"]


@dataclass(frozen=True, kw_only=True)
class LogicBlock:
    """Block of logic that a vendor counts a family's devices in.

    Parameters
    ----------
    name : the vendor's word, such as ``CLB``
    luts : look-up tables of a block
    flip_flops : flip-flops of a block
    inputs : inputs of a look-up table
    source : manual of the vendor
    """

    name: str
    luts: int
    flip_flops: int
    inputs: int
    source: str

    def __str__(self) -> str:
        return (
            f"a {self.name} has {self.luts} LUT{self.inputs} and {self.flip_flops} flip-flops "
            f"({self.source})"
        )


#: Most cells of a design that are counted: far more than any device has.
_MOST = 10**12

_FILE = Path(__file__).parents[1] / "logic_blocks.toml"

#: Block of each family of FPGAs, from ``logic_blocks.toml``.
BLOCKS = {
    family: record(LogicBlock, entry, f"{_FILE}: {family}")
    for family, entry in read_data(_FILE).items()
}


def blocks_needed(family: str, lut: float, ff: float) -> float:
    """Count the blocks that hold some look-up tables and flip-flops.

    The scarcer of the two decides: ``max(lut / luts, ff / flip_flops)``. The number is a lower
    bound, because placement does not fill every block.

    Parameters
    ----------
    family : key of ``BLOCKS``
    lut : look-up tables, those of shift registers and memories included; 0 or more
    ff : flip-flops; 0 or more

    Returns
    -------
    The number of blocks, with its fraction; per MAC if the counts are per MAC.

    Raises
    ------
    TypeError, ValueError
        If the family is unknown, or a count is not a number, negative, or above 10¹².
    """
    block = BLOCKS[check_choice("family", family, BLOCKS)]
    for name, value in (("lut", lut), ("ff", ff)):
        check_number(name, value, 0, _MOST)
    return max(lut / block.luts, ff / block.flip_flops)
