# amaranth: UnusedElaboratable=no
"""Components of the AXI wrapper refuse parameters that are not legal."""

import re

import pytest

from trilith.hw import AxiMatVec, BusWidths, MatVecConfig
from trilith.hw.axi.core_wrapper import AxiTokenCore, CoreBuses
from trilith.hw.axi.full import BurstCutter
from trilith.hw.axi.lite import RegisterBank
from trilith.hw.axi.memory_master import AxiMemoryMaster
from trilith.hw.axi.registers import Register
from trilith.hw.axi.stream import AxiStreamReader, AxiStreamWriter
from trilith.hw.axi.weight_reader import AxiWeightReader, WordTrimmer
from trilith.hw.gearbox import Gearbox
from trilith.hw.token.config import CORE_PRESETS

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


BURSTS = "must be 1, 2, 4, 8, 16, 32, 64, 128 or 256, not 3"
READER = {"beat_bytes": 16, "bus_bits": 128}
CUTTER = {"word_bytes": 16, "longest": 16, "offset_bits": 32, "count_bits": 5}
TRIMMER = {"unit_bytes": 1, "word_units": 4, "count_bits": 8}


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: AxiTokenCore(CONFIG), TypeError, f"config must be a TokenConfig, not {CONFIG!r}"),
        (
            lambda: AxiTokenCore(CORE_PRESETS["small"], 64),
            TypeError,
            "buses must be a CoreBuses, not 64",
        ),
        (
            lambda: CoreBuses(weights=48),
            ValueError,
            WIDTHS.replace("bus_bits", "weights").replace("33", "48"),
        ),
        (lambda: CoreBuses(weights=64, burst=3), ValueError, f"burst {BURSTS}"),
        (
            lambda: CoreBuses(weights=512, buffer=63),
            ValueError,
            "buffer must be from 64 to 65536, not 63",
        ),
        (lambda: AxiMemoryMaster(None), TypeError, "config must be a TokenConfig, not None"),
        (
            lambda: AxiMemoryMaster(CORE_PRESETS["small"], longest=3),
            ValueError,
            f"longest {BURSTS}",
        ),
        (lambda: AxiWeightReader(**READER | {"bus_bits": 33}), ValueError, WIDTHS),
        (
            lambda: AxiWeightReader(**READER | {"beat_bytes": 0}),
            ValueError,
            "beat_bytes must be at least 1, not 0",
        ),
        (
            lambda: AxiWeightReader(**READER, buffer_words=8),
            ValueError,
            "buffer_words must be at least 64, not 8",
        ),
        (
            lambda: BurstCutter(**CUTTER | {"word_bytes": 12}),
            ValueError,
            "word_bytes must be 4, 8, 16, 32, 64 or 128, not 12",
        ),
        (
            lambda: BurstCutter(**CUTTER | {"offset_bits": 12}),
            ValueError,
            "offset_bits must be from 13 to 64, not 12",
        ),
        (
            lambda: WordTrimmer(**TRIMMER | {"word_units": 1}),
            ValueError,
            "word_units must be at least 2, not 1",
        ),
        (
            lambda: WordTrimmer(**TRIMMER | {"unit_bytes": 1.5}),
            TypeError,
            "unit_bytes must be an integer, not 1.5",
        ),
    ],
)
def test_masters(make, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        make()
