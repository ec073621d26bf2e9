# amaranth: UnusedElaboratable=no
"""Components of the AXI wrapper refuse parameters that are not legal."""

import re

import pytest

from trilith.hw import AxiMatVec, BusWidths, MatVecConfig
from trilith.hw.axi.lite import RegisterBank
from trilith.hw.axi.registers import Register
from trilith.hw.axi.stream import AxiStreamReader, AxiStreamWriter
from trilith.hw.gearbox import Gearbox

CONFIG = MatVecConfig(lanes=8, rows=2, k_max=100, n_max=100)
A = Register(name="a", offset=0, access="rw", meaning="a number")
WIDTHS = "bus_bits must be 32, 64, 128, 256, 512 or 1024, not 33"


@pytest.mark.parametrize("end", [AxiStreamReader, AxiStreamWriter])
@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"bus_bits": 33}, ValueError, WIDTHS),
        ({"bus_bits": "32"}, TypeError, "bus_bits must be an integer, not '32'"),
        ({"beat_bytes": 0}, ValueError, "beat_bytes must be at least 1, not 0"),
        ({"beat_bytes": 2.0}, TypeError, "beat_bytes must be an integer, not 2.0"),
    ],
)
def test_streams(end, change, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        end(**{"bus_bits": 32, "beat_bytes": 4} | change)


def test_gearboxes():
    with pytest.raises(ValueError, match=r"^in_bytes must be at least 1, not 0$"):
        Gearbox(in_bytes=0, out_bytes=4)
    with pytest.raises(TypeError, match=r"^out_bytes must be an integer, not 4\.0$"):
        Gearbox(in_bytes=4, out_bytes=4.0)


@pytest.mark.parametrize(
    ("registers", "kind", "message"),
    [
        ([], ValueError, "registers must hold at least one register, not ()"),
        ([A, 3], TypeError, "registers must hold instances of Register, not 3"),
        ([A, A], ValueError, "every name must be unique, not 'a' of two registers"),
        (
            [A, Register(name="b", offset=0, access="ro", meaning="a number")],
            ValueError,
            "every offset must be unique, not 0 of two registers",
        ),
    ],
)
def test_register_banks(registers, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        RegisterBank(registers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"access": "wo"}, "access must be ro, rw, flags or command, not 'wo'"),
        ({"offset": 2}, "offset must be a multiple of 4 below 4096, not 2"),
        ({"offset": 4096}, "offset must be a multiple of 4 below 4096, not 4096"),
    ],
)
def test_registers(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Register(**{"name": "a", "offset": 0, "access": "rw", "meaning": "a number"} | change)


def test_wrappers():
    with pytest.raises(TypeError, match=r"^config must be a MatVecConfig, not None$"):
        AxiMatVec(None)
    with pytest.raises(TypeError, match=r"^widths must be a BusWidths, not 64$"):
        AxiMatVec(CONFIG, 64)
    message = "the width of the weights bus must be 32, 64, 128, 256, 512 or 1024, not 48"
    with pytest.raises(ValueError, match=f"^{message}$"):
        BusWidths(weights=48)
    with pytest.raises(TypeError, match=r"^the width of the results bus must be an integer, not"):
        BusWidths(weights=64, results="64")
