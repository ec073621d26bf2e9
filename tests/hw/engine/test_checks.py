# amaranth: UnusedElaboratable=no
"""Components of the engine refuse parameters that are not legal."""

import re

import pytest

from trilith.hw import BeatDecoder, DotProduct, MatVecConfig, MatVecEngine
from trilith.hw.engine.loader import JobLoader
from trilith.hw.engine.results import ResultQueue

CONFIG = MatVecConfig(lanes=8, rows=2, k_max=100, n_max=100)
DOT = {"lanes": 8, "tokens": 1, "act_bits": 8, "levels_per_stage": 1, "target": "fpga"}


def refuses(build, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        build()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"target": "fgpa"}, ValueError, "target must be fpga, compact-fpga or asic, not 'fgpa'"),
        ({"target": 1}, TypeError, "target must be a string, not 1"),
        ({"act_bits": 3}, ValueError, "act_bits must be 8, 4 or 2, not 3"),
        ({"act_bits": 8.0}, TypeError, "act_bits must be an integer, not 8.0"),
        ({"lanes": 0}, ValueError, "lanes must be at least 1, not 0"),
        ({"tokens": -1}, ValueError, "tokens must be at least 1, not -1"),
        ({"tokens": True}, TypeError, "tokens must be an integer, not True"),
        ({"levels_per_stage": 0}, ValueError, "levels_per_stage must be at least 1, not 0"),
        (
            {"operands": "rows"},
            ValueError,
            "operands must be lanes, quads or pairs, not 'rows'",
        ),
        (
            {"operands": "pairs"},
            ValueError,
            "operands must be lanes or quads for an FPGA, not 'pairs'",
        ),
        (
            {"without": ["sum"]},
            ValueError,
            "without must be empty for an FPGA, not ['sum']",
        ),
        (
            {"target": "asic", "without": ["sums"]},
            ValueError,
            "a register to do without must be weights or sum, not 'sums'",
        ),
        ({"place": 5}, ValueError, "place must be from 0 to 4, not 5"),
    ],
)
def test_dot_products(change, kind, message):
    refuses(lambda: DotProduct(**DOT | change), kind, message)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"code": "base4"},
            ValueError,
            "code must be base3, escape, tq1, two_bit, binary or sherry, not 'base4'",
        ),
        ({"code": 3}, TypeError, "code must be a string, not 3"),
        ({"count": 0}, ValueError, "count must be from 1 to 1048576, not 0"),
        ({"count": 5.0}, TypeError, "count must be an integer, not 5.0"),
        ({"registered": 1}, TypeError, "registered must be True or False, not 1"),
    ],
)
def test_weight_decoders(change, kind, message):
    refuses(lambda: BeatDecoder(**{"code": "base3", "count": 5} | change), kind, message)


@pytest.mark.parametrize(
    "build", [MatVecEngine, JobLoader, lambda config: ResultQueue(config, depth=4)]
)
def test_configurations(build):
    refuses(lambda: build({}), TypeError, "config must be a MatVecConfig, not {}")


def test_result_queues():
    refuses(lambda: ResultQueue(CONFIG, depth=0), ValueError, "depth must be at least 1, not 0")
    message = "depth must be an integer, not 4.0"
    refuses(lambda: ResultQueue(CONFIG, depth=4.0), TypeError, message)
