# amaranth: UnusedElaboratable=no
"""Parameters of the dot products, and what they refuse."""

import re

import pytest
from amaranth.hdl import Module, Signal, signed

from trilith.golden.codes import CODES
from trilith.golden.floats import FP16, FP32, IntFormat
from trilith.hw import MatVecConfig
from trilith.hw.baselines import BASELINES, Choice, DotConfig
from trilith.hw.baselines.floats import FloatAdder, FloatMultiplier
from trilith.hw.baselines.fused import FusedDot
from trilith.hw.baselines.integers import BinaryDot, IntegerDot, TernaryDot
from trilith.hw.baselines.multiply import multiply
from trilith.hw.baselines.tree import TreeDot
from trilith.hw.baselines.unit import DotRows
from trilith.hw.config import Target

FIELDS = {"lanes": 5, "k_max": 64}
CONFIG = DotConfig(**FIELDS)
INT8 = IntFormat(name="int8", bits=8)


def test_that_a_target_is_an_enum() -> None:
    assert CONFIG.target is Target.ASIC
    assert DotConfig(**FIELDS, target="fpga").target is Target.FPGA


@pytest.mark.parametrize(
    ("lanes", "levels_per_stage", "levels", "cycles"),
    [
        (2, 1, 1, 1),
        (5, 1, 3, 3),
        (8, 1, 3, 3),
        (8, 2, 3, 2),
        (9, 4, 4, 1),
        (320, 4, 9, 3),
        (320, 9, 9, 1),
    ],
)
def test_trees(lanes: int, levels_per_stage: int, levels: int, cycles: int) -> None:
    config = DotConfig(lanes=lanes, k_max=1, levels_per_stage=levels_per_stage)
    assert (config.tree_levels, config.tree_cycles(lanes)) == (levels, cycles)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lanes": 1}, ValueError, "lanes must be from 2 to 320, not 1"),
        ({"lanes": 321}, ValueError, "lanes must be from 2 to 320, not 321"),
        ({"lanes": 5.0}, TypeError, "lanes must be an integer, not 5.0"),
        ({"k_max": 0}, ValueError, "k_max must be from 1 to 65536, not 0"),
        ({"rows": 65}, ValueError, "rows must be from 1 to 64, not 65"),
        ({"rows": True}, TypeError, "rows must be an integer, not True"),
        ({"levels_per_stage": 10}, ValueError, "levels_per_stage must be from 1 to 9, not 10"),
        ({"choices": (1,)}, TypeError, "choices must be a string, not 1"),
        (
            {"choices": ("array", "no-sum", "array")},
            ValueError,
            "choices must be different, not 'array' twice",
        ),
        ({"target": "fpgs"}, ValueError, "target must be fpga, compact-fpga or asic, not 'fpgs'"),
        ({"target": 1}, TypeError, "target must be a string, not 1"),
    ],
)
def test_bad_configurations(change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        DotConfig(**FIELDS | change)


@pytest.mark.parametrize("name", ["fp16xfp16-fp32-fused", "fp16xfp16-fp32-tree", "int8xint8"])
def test_that_every_kind_wants_a_dot_config(name: str) -> None:
    other = MatVecConfig(**FIELDS, rows=1, n_max=1)
    with pytest.raises(TypeError, match=r"^config must be a DotConfig, not MatVecConfig\(.*\)$"):
        BASELINES[name].unit(other)


def test_that_choices_have_one_order_and_a_name() -> None:
    config = DotConfig(**FIELDS, choices=["array", "no-sum"])
    assert config == DotConfig(**FIELDS, choices=(Choice.NO_SUM, Choice.ARRAY))
    assert config.variant == "no-sum+array"
    assert CONFIG.variant == ""


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        (
            "int8xint8",
            "no-align",
            "choices of IntegerDot must be among no-product, no-sum, array, not 'no-align'",
        ),
        ("binaryxbinary", "array", "choices of BinaryDot must be among none, not 'array'"),
        ("int8xint8", "no-product+array", "choices must not have both no-product and array"),
        (
            "ternaryxint8-base3",
            "no-product+no-packed",
            "choices must not have both no-product and no-packed",
        ),
        (
            "fp16xfp16-fp32-fused",
            "no-product",
            "choices must have early-maximum beside no-product",
        ),
        (
            "fp16xfp16-fp32-tree",
            "no-sum",
            "choices of TreeDot must be among no-product, array, fast-adders, not 'no-sum'",
        ),
    ],
)
@pytest.mark.parametrize("rows", [1, 2])
def test_that_units_refuse_choices(name: str, choices: str, message: str, rows: int) -> None:
    config = DotConfig(lanes=5, k_max=64, rows=rows, choices=choices.split("+"))
    for make in (BASELINES[name].check, BASELINES[name].unit):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make(config)


def test_that_rows_have_the_choices_of_their_units() -> None:
    config = DotConfig(**FIELDS, rows=2, choices=["no-sum"])
    assert BASELINES["int8xint8"].unit(config).latency == 2 + config.tree_cycles(5)


def test_that_variants_of_ternary_units_are_for_an_asic() -> None:
    config = DotConfig(**FIELDS, target="fpga", choices=["no-sum"])
    message = r"^choices of TernaryDot must be empty for an FPGA$"
    with pytest.raises(ValueError, match=message):
        BASELINES["ternaryxint8-base3"].unit(config)


FORMATS = {"weight_format": FP16, "activation_format": FP16, "to": FP32}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FusedDot(5, **FORMATS), TypeError, "config must be a DotConfig, not 5"),
        (lambda: TreeDot(5, **FORMATS), TypeError, "config must be a DotConfig, not 5"),
        (lambda: BinaryDot(5), TypeError, "config must be a DotConfig, not 5"),
        (
            lambda: FusedDot(CONFIG, **FORMATS | {"weight_format": "fp16"}),
            TypeError,
            "weight_format must be a FloatFormat or an IntFormat, not 'fp16'",
        ),
        (
            lambda: TreeDot(CONFIG, **FORMATS | {"activation_format": INT8}),
            TypeError,
            f"activation_format must be a FloatFormat, not {INT8!r}",
        ),
        (
            lambda: FusedDot(CONFIG, **FORMATS | {"to": None}),
            TypeError,
            "to must be a FloatFormat, not None",
        ),
        (
            lambda: IntegerDot(CONFIG, weight_bits=1, activation_bits=8),
            ValueError,
            "weight_bits must be from 2 to 16, not 1",
        ),
        (
            lambda: IntegerDot(CONFIG, weight_bits=8, activation_bits="8"),
            TypeError,
            "activation_bits must be an integer, not '8'",
        ),
        (
            lambda: TernaryDot(CONFIG, code="base3", activation_bits=8),
            TypeError,
            "code must be a Code, not 'base3'",
        ),
        (
            lambda: TernaryDot(CONFIG, code=CODES["base3"], activation_bits=3),
            ValueError,
            "activation_bits must be 8, 4 or 2, not 3",
        ),
        (
            lambda: TernaryDot(
                DotConfig(lanes=6, k_max=64), code=CODES["sherry"], activation_bits=8
            ),
            ValueError,
            "lanes must be a multiple of 4 with the code 'sherry', not 6",
        ),
        (lambda: DotRows([]), ValueError, "units must have at least one unit"),
        (
            lambda: FloatAdder(fmt=INT8, stages=2),
            TypeError,
            f"fmt must be a FloatFormat, not {INT8!r}",
        ),
        (lambda: FloatAdder(fmt=FP16, stages=4), ValueError, "stages must be from 1 to 3, not 4"),
        (
            lambda: FloatMultiplier(a_format=FP16, b_format=INT8, to=FP32),
            TypeError,
            f"b_format must be a FloatFormat, not {INT8!r}",
        ),
        (
            lambda: FloatMultiplier(a_format=FP16, b_format=FP16, to=FP32, target="fpgs"),
            ValueError,
            "target must be fpga, compact-fpga or asic, not 'fpgs'",
        ),
        (
            lambda: multiply(Module(), Signal(8), Signal(signed(8)), "p", "fpga"),
            ValueError,
            "a and b must both be signed or both be unsigned",
        ),
    ],
)
def test_bad_parameters(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()


def test_that_rows_are_equal() -> None:
    units = [
        IntegerDot(DotConfig(lanes=lanes, k_max=64), weight_bits=8, activation_bits=8)
        for lanes in (5, 6)
    ]
    with pytest.raises(ValueError, match=r"^units must have the same kind and configuration$"):
        DotRows(units)
