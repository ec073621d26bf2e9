"""Kinds of cells in a synthesized netlist, by their names in the libraries of yosys."""

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

#: Look-up tables, without those of shift registers and memories.
LUT = re.compile(r"LUT[1-6]|INV|LUT4|SB_LUT4")


#: Flip-flops.
FF = re.compile(r"FD[RSCP]E(_1)?|TRELLIS_FF|SB_DFF\w*")


#: Carry cells of adders.
CARRY = re.compile(r"CARRY[48]|CCU2C|SB_CARRY")


#: Multiplexers that join look-up tables to larger ones.
WIDE_MUX = re.compile(r"MUXF[789]|PFUMX|L6MUX21")


#: Block RAMs.
BRAM = re.compile(r"RAMB(18|36)E[12]|DP16KD|SB_RAM40_4K\w*|SB_SPRAM256KA")


#: Multiplier blocks.
DSP = re.compile(r"DSP48E[12]?|MULT18X18D|ALU54B|SB_MAC16")


#: Look-up tables that a shift register occupies.
SRL = {"SRL16E": 1, "SRLC32E": 1}


#: Look-up tables that a memory cell occupies; logic cells for TRELLIS_DPR16X4.
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
    """Count the cells of a kind.

    Parameters
    ----------
    cells : number of cells of a netlist, by name
    pattern : the whole names that count, such as ``FF``

    Returns
    -------
    The number of cells.
    """
    return sum(count for name, count in cells.items() if pattern.fullmatch(name))


def count_luts(cells: Mapping[str, int], family: str) -> int:
    """Count the look-up tables of a netlist before placement.

    Parameters
    ----------
    cells : number of cells of a netlist, by name
    family : family of FPGAs, such as ``xcup`` or ``ecp5``

    Returns
    -------
    The number of look-up tables, those of shift registers and memories included.
    """
    made = sum(cells.get(name, 0) * size for name, size in (SRL | LUTRAM).items())
    # On ECP5 a carry cell takes the place of two look-up tables.
    return count_cells(cells, LUT) + made + 2 * cells.get("CCU2C", 0) * (family == "ecp5")
