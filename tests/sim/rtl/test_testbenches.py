"""Runs the cocotb testbenches on small configurations of the hardware."""

import json
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from trilith.golden import CODES
from trilith.hw import BeatDecoder, MatVecConfig, MatVecEngine
from trilith.sim import SimulationError
from trilith.sim.rtl.cocotb_runner import run_testbench

#: The folder of the package ``testbenches``.
TESTS = Path(__file__).parents[2]

#: For each code an engine whose bytes straddle rows; between them they have every width of
#: activations, one to four tokens, one to three levels of the tree in a stage, and all targets. On
#: an ASIC, four rows share the sums of pairs.
ENGINES = {
    "base3": {"lanes": 7, "rows": 2, "tokens": 4, "act_bits": 4, "levels_per_stage": 3}
    | {"k_max": 32, "n_max": 18},
    "escape": {"lanes": 8, "rows": 1, "tokens": 3, "act_bits": 2, "k_max": 40, "n_max": 9},
    "tq1": {"lanes": 19, "rows": 3, "act_bits": 2, "k_max": 64, "n_max": 20},
    "two_bit": {"lanes": 7, "rows": 4, "tokens": 2, "act_bits": 2, "k_max": 32, "n_max": 20},
    "binary": {"lanes": 5, "rows": 3, "levels_per_stage": 2, "k_max": 19, "n_max": 10},
    "sherry": {"lanes": 12, "rows": 3, "tokens": 2, "k_max": 40, "n_max": 20},
}
for _code in ("escape", "two_bit", "binary"):
    ENGINES[_code]["target"] = "asic"
for _code in ("base3", "tq1"):
    ENGINES[_code]["target"] = "compact-fpga"

#: Trits of each code's decoder.
DECODER_COUNTS = {code.name: 2 * code.field_trits - 1 for code in CODES.values()}


@pytest.mark.parametrize("code", CODES)
def test_engine(code: str) -> None:
    fields = ENGINES[code] | {"code": code}
    passed = run_testbench(
        MatVecEngine(MatVecConfig(**fields)),
        "testbenches.engine",
        path=[TESTS],
        variables={"TRILITH_ENGINE": json.dumps(fields)},
    )
    assert passed == 14


class Decoders(wiring.Component):
    """A decoder of every code, each with two fields of whose last trits one is a filler.

    All in one design, because building a simulation takes so much longer than running it.
    """

    def __init__(self) -> None:
        self._decoders = {
            code: BeatDecoder(code=code, count=n) for code, n in DECODER_COUNTS.items()
        }
        super().__init__({code: Out(x.signature) for code, x in self._decoders.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for code, decoder in self._decoders.items():
            m.submodules[code] = decoder
            wiring.connect(m, wiring.flipped(getattr(self, code)), decoder)
        return m


def run_decoder(*, code: str, decoder: str, count: int) -> int:
    """Hold the decoder of one code to another code's table."""
    fields = {"code": code, "count": count, "prefix": f"{decoder}__"}
    return run_testbench(
        Decoders(),
        "testbenches.weight_decoder",
        path=[TESTS],
        variables={"TRILITH_DECODER": json.dumps(fields)},
    )


@pytest.mark.parametrize("code", CODES)
def test_decoder(code: str) -> None:
    assert run_decoder(code=code, decoder=code, count=DECODER_COUNTS[code]) == 3


def test_that_a_wrong_design_fails() -> None:
    message = (
        r"^testbenches\.weight_decoder: tests every_field_decodes, one_illegal_field_is_enough, "
        r"random_beats_decode failed; 3 ran: "
        r"AssertionError: beat .* must be .* "
        r"\(all of its output: .*/failed/testbenches\.weight_decoder\.log\)"
        r"\n(.*\n)*.*AssertionError: beat (00 )*.* must be \[.*\], not \[.*\]"
    )
    with pytest.raises(SimulationError, match=message):
        run_decoder(code="base3", decoder="tq1", count=DECODER_COUNTS["tq1"])


def test_that_no_test_is_a_failure() -> None:
    message = (
        r"^testbenches\.none: not all tests ran; 0 ran: "
        r".*ModuleNotFoundError: No module named 'testbenches\.none'"
    )
    with pytest.raises(SimulationError, match=message):
        run_testbench(Decoders(), "testbenches.none", path=[TESTS])
