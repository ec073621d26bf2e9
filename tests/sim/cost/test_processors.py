from dataclasses import replace
from math import inf, nan

import pytest

from trilith.sim.cost.comparison import rival
from trilith.sim.cost.designs import DESIGNS
from trilith.sim.cost.memories import find_memory
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.cost.processors import ISSUE_SHARE, KERNELS, RUNTIMES, Processor
from trilith.sim.cost.system import estimate
from trilith.sim.tools.errors import EstimateError

LAPTOP = DESIGNS["laptop-bitnet.cpp"]
PROCESSOR = LAPTOP.processor
MODEL = MODELS["bitnet-2b4t"]


def test_products_take_the_instructions_of_their_kernel():
    """Six cores of three instructions of 8.53 MACs at 5.2 GHz."""
    result = estimate(MODEL, LAPTOP, find_memory("lpddr5"))
    rate = 6 * 3 * 8.53 * 5.2e9 * ISSUE_SHARE.share
    assert result.linear_compute == pytest.approx(MODEL.linear_weights / rate)
    half = replace(LAPTOP, processor=replace(PROCESSOR, cores=3))
    slow = estimate(MODEL, half, find_memory("lpddr5"))
    assert slow.linear_compute == pytest.approx(2 * result.linear_compute)
    assert slow.linear_memory == result.linear_memory


def test_operator_calls_take_cycles_or_microseconds(monkeypatch):
    monkeypatch.setitem(RUNTIMES, "threads", replace(RUNTIMES["threads"], cycles_per_call=5200.0))
    calls = 28 * MODEL.layers + 4
    result = estimate(MODEL, LAPTOP, find_memory("lpddr5"))
    assert result.calls == pytest.approx(calls * 1e-6)
    assert estimate(MODEL, LAPTOP, find_memory("lpddr5"), batch=3).calls == pytest.approx(
        3 * calls * 1e-6
    )
    parts = result.linear_memory + result.attention + result.head + result.calls
    assert result.seconds == pytest.approx(parts)
    many = replace(LAPTOP, processor=replace(PROCESSOR, calls_per_layer=2**20))
    assert estimate(MODEL, many, find_memory("lpddr5")).bound == "operator calls"
    assert estimate(MODEL, DESIGNS["array-1024"], find_memory("lpddr5")).calls == 0


def test_a_rival_has_the_same_operator_calls():
    memory = find_memory("lpddr5")
    for mode in ("macs", "bandwidth"):
        ours, theirs = (
            estimate(MODEL, one, memory) for one in rival(LAPTOP, "int8", mode=mode, k=2560)
        )
        assert theirs.calls == ours.calls
    assert ours.linear_compute == theirs.linear_compute == 0


def test_every_figure_has_a_source():
    assert all(one.source for one in (*KERNELS.values(), *RUNTIMES.values(), ISSUE_SHARE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cores": 0}, "cores must be from 1 to 1048576, not 0"),
        ({"cores": -4}, "cores must be from 1 to 1048576, not -4"),
        ({"cores": 2**40}, "cores must be from 1 to 1048576, not 1099511627776"),
        (
            {"instructions_per_cycle": 0},
            "instructions_per_cycle must be from 1 to 1048576, not 0",
        ),
        ({"calls_per_layer": -1}, "calls_per_layer must be from 0 to 1048576, not -1"),
        ({"kernel": "tl3"}, "the kernel must be one of tmac-neon, .*, not 'tl3'"),
        ({"head_kernel": "tl3"}, "the kernel must be one of tmac-neon, .*, not 'tl3'"),
        ({"runtime": "magic"}, "the runtime must be one of threads, graph, eager, not 'magic'"),
    ],
)
def test_bad_input(change, message):
    assert isinstance(PROCESSOR, Processor)
    with pytest.raises(EstimateError, match=f"^{message}$"):
        replace(PROCESSOR, **change)


@pytest.mark.parametrize(
    ("one", "change", "message"),
    [
        (ISSUE_SHARE, {"share": 0}, "share must be from 1e-06 to 1, not 0"),
        (ISSUE_SHARE, {"share": 1.5}, "share must be from 1e-06 to 1, not 1.5"),
        (
            KERNELS["tmac-neon"],
            {"macs_per_instruction": nan},
            "macs_per_instruction must be from 1e-06 to 1000000.0, not nan",
        ),
        (
            RUNTIMES["graph"],
            {"us_per_call": -1.0},
            "us_per_call must be from 0 to 1000000000.0, not -1.0",
        ),
        (
            RUNTIMES["threads"],
            {"cycles_per_call": inf},
            "cycles_per_call must be from 0 to 1000000000.0, not inf",
        ),
    ],
)
def test_bad_constants(one, change, message):
    with pytest.raises(EstimateError, match=f"^{message}$"):
        replace(one, **change)


def test_counts_are_integers():
    with pytest.raises(TypeError, match=r"^cores must be an integer, not 1\.5$"):
        replace(PROCESSOR, cores=1.5)
