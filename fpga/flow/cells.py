"""What the cells of a synthesized netlist are: look-up tables, flip-flops and so on, by name."""

import re
from collections.abc import Mapping

__all__ = [
    "BRAM",
    "CARRY",
    "DSP",
    "FF",
    "LUT",
    "LUTRAM",
    "SRL",
    "WIDE_MUX",
    "count_cells",
    "count_luts",
]

LUT = re.compile(r"LUT[1-6]|INV|LUT4|SB_LUT4")


FF = re.compile(r"FD[RSCP]E(_1)?|TRELLIS_FF|SB_DFF\w*")


CARRY = re.compile(r"CARRY[48]|CCU2C|SB_CARRY")


WIDE_MUX = re.compile(r"MUXF[789]|PFUMX|L6MUX21")


BRAM = re.compile(r"RAMB(18|36)E[12]|DP16KD|SB_RAM40_4K\w*|SB_SPRAM256KA")


DSP = re.compile(r"DSP48E[12]?|MULT18X18D|ALU54B|SB_MAC16")


#: Look-up tables that a shift register occupies.
SRL = {"SRL16E": 1, "SRLC32E": 1}


#: Look-up tables that a memory cell occupies; of TRELLIS_DPR16X4, logic cells.
LUTRAM = {
    "RAM16X1D": 2,
    "RAM32X1S": 1,
    "RAM32X1D": 2,
    "RAM64X1S": 1,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1D": 8,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
    "TRELLIS_DPR16X4": 4,
}


def count_cells(cells: Mapping[str, int], pattern: re.Pattern[str]) -> int:
    """Cells of a kind.

    Parameters
    ----------
    cells : how many a netlist has, by name
    pattern : of the names that count
    """
    return sum(count for name, count in cells.items() if pattern.fullmatch(name))


def count_luts(cells: Mapping[str, int], family: str) -> int:
    """Look-up tables that a netlist takes before placement, shift registers and memory included."""
    made = sum(cells.get(name, 0) * size for name, size in (SRL | LUTRAM).items())
    # On ECP5 an adder is made of the look-up tables.
    return count_cells(cells, LUT) + made + 2 * cells.get("CCU2C", 0) * (family == "ecp5")
