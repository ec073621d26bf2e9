import pytest

from trilith.fpga.flow.cells import BRAM, DSP, FF, count_cells, count_luts

XILINX = {
    "LUT1": 1,
    "LUT6": 10,
    "INV": 2,
    "RAM32M": 3,
    "SRL16E": 5,
    "MUXF7": 7,
    "CARRY4": 9,
    "FDRE": 100,
    "FDSE": 20,
    "FDPE": 3,
    "RAMB36E1": 4,
    "RAMB18E2": 1,
    "DSP48E1": 2,
    "BUFG": 1,
    "PLLE2_BASE": 1,
    "IBUF": 2,
}


def test_cells_of_xilinx():
    assert count_luts(XILINX, "xc7") == 1 + 10 + 2 + 4 * 3 + 5
    counts = [count_cells(XILINX, kind) for kind in (FF, BRAM, DSP)]
    assert counts == [123, 5, 2]


@pytest.mark.parametrize(("family", "luts"), [("ecp5", 7 + 2 * 3 + 4), ("xc7", 7 + 4)])
def test_that_adders_of_ecp5_are_made_of_luts(family, luts):
    assert count_luts({"LUT4": 7, "CCU2C": 3, "TRELLIS_DPR16X4": 1}, family) == luts
