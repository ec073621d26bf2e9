"""Operators of hw/baselines against NumPy, and its dot products against their golden functions.

All of them are simulated side by side in one program, because its compilation takes longer than its
run.
"""

from collections import Counter

import ml_dtypes
import numpy as np
import pytest
from amaranth.hdl import Module, Shape, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.golden.codes import Code
from trilith.golden.floats import BF16, E4M3, E5M2, FP16, FP32, FloatFormat, IntFormat
from trilith.hw.baselines import BASELINES, DotConfig
from trilith.hw.baselines.floats import FloatAdder, FloatMultiplier
from trilith.hw.baselines.multiply import multiply
from trilith.sim.rtl.clocked import port_bytes, run_clocked

LANES = 3
K_MAX = 6912

#: Formats and the NumPy types that must agree with them.
DTYPES = {
    FP32: np.float32,
    FP16: np.float16,
    BF16: ml_dtypes.bfloat16,
    E4M3: ml_dtypes.float8_e4m3fn,
    E5M2: ml_dtypes.float8_e5m2,
}
STAGES = (1, 2, 3)
#: Dot products that are tried with the multipliers for FPGAs too, of odd and even widths.
FPGA = (
    "int8xint8",
    "int4xint4",
    "fp16xfp16-fp32-fused",
    "e4m3xe4m3-fp32-fused",
    "int4xfp16-fp32-tree",
)

#: Units that are also simulated in the compact form for FPGAs.
COMPACT = ("ternaryxint8-escape", "ternaryxint8-base3")


class Everything(wiring.Component):
    """All operators and dot products side by side; names of ports start with that of their unit."""

    def __init__(self, variants: tuple[tuple[str, int, str], ...] = ()) -> None:
        self.operators = {}
        self.units = {
            f"{name}_{levels}_{variant}".replace("-", "_").replace("+", "_"): (
                name,
                BASELINES[name].unit(
                    DotConfig(
                        lanes=8 if "sherry" in name else LANES,
                        k_max=K_MAX,
                        levels_per_stage=levels,
                        choices=variant.split("+"),
                    )
                ),
            )
            for name, levels, variant in variants
        }
        if not variants:
            self.add_all()
        self.components = self.operators | {
            prefix: unit for prefix, (_, unit) in self.units.items()
        }
        members = {
            f"{name}_{port}": In(len(value)) if member.flow == In else Out(len(value))
            for name, component in self.components.items()
            for (port,), member, value in component.signature.flatten(component)
        }
        super().__init__(members)

    def add_all(self) -> None:
        for fmt in DTYPES:
            for to in {fmt, FP32}:
                name = f"mul_{fmt.name}_{to.name}"
                self.operators[name] = FloatMultiplier(a_format=fmt, b_format=fmt, to=to)
            for stages in STAGES if fmt is FP16 else STAGES[1:2]:
                name = f"add_{fmt.name}_{stages}"
                self.operators[name] = FloatAdder(fmt=fmt, stages=stages)
        #: Prefix of ports to the name and the unit.
        self.units = {
            f"{target}_{name}".replace("-", "_"): (
                name,
                # Whole quads of ``sherry`` fill the lanes.
                BASELINES[name].unit(
                    DotConfig(lanes=8 if "sherry" in name else LANES, k_max=K_MAX, target=target)
                ),
            )
            for target, names in (("asic", BASELINES), ("fpga", FPGA), ("compact-fpga", COMPACT))
            for name in names
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, component in self.components.items():
            m.submodules[name] = component
            for (port,), member, value in component.signature.flatten(component):
                outer = getattr(self, f"{name}_{port}")
                m.d.comb += value.eq(outer) if member.flow == In else outer.eq(value)
        return m


def patterns(fmt: FloatFormat, count: int, rng: np.random.Generator) -> np.ndarray:
    """Patterns of four kinds, some special: any, exponents near 1, small fractions, Gaussian."""
    anything = rng.integers(0, 2**fmt.bits, count, dtype=np.int64)
    exponents = (2**fmt.exponent_bits - 1) << fmt.mantissa_bits
    near = (anything & ~exponents) | (fmt.bias + rng.integers(-3, 4, count)) << fmt.mantissa_bits
    coarse = near & ~(2 ** max(fmt.mantissa_bits - 2, 0) - 1)
    unsigned = f"u{fmt.bits // 8}"
    gaussian = rng.standard_normal(count).astype(DTYPES[fmt]).view(unsigned).astype(np.int64)
    kind = np.arange(count) // 1000 % 4
    values = np.choose(kind, [anything, near, coarse, gaussian])
    # Mostly finite, so that sums are.
    special = fmt.decode(values)
    values = np.where(special.nan | special.infinite, values & ~exponents, values)
    one, sign = 1 << fmt.mantissa_bits, 1 << (fmt.bits - 1)
    corners = [0, 1, one - 1, one, fmt.overflow - 1, fmt.overflow - 2, fmt.overflow, fmt.nan]
    corners = np.array([*corners, fmt.overflow | 1, fmt.largest_exponent << fmt.mantissa_bits])
    corner = rng.choice(corners, count) | rng.choice([0, sign], count)
    return np.where(rng.random(count) < 0.02, corner, values)


def port(values: np.ndarray, bits: int) -> np.ndarray:
    """Values or bytes as ``run_clocked`` takes them."""
    if values.ndim == 1:
        values = values.astype("<i8").view(np.uint8).reshape(len(values), 8)
    full = np.zeros((len(values), port_bytes(bits)), np.uint8)
    size = min(values.shape[1], full.shape[1])
    full[:, :size] = values[:, :size]
    return full


def number(values: np.ndarray) -> np.ndarray:
    """Read the bytes that ``run_clocked`` returns as numbers."""
    full = np.zeros((len(values), 8), np.uint8)
    full[:, : values.shape[1]] = values
    return full.view("<i8")[:, 0]


def operator_inputs(fmt: FloatFormat, cycles: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Two operands per cycle: all pairs for eight bits, else random ones, with corner cases."""
    if fmt.bits == 8:
        pairs = np.resize(np.arange(2**16), cycles)
        return [pairs >> 8, pairs & 255]
    a, b = patterns(fmt, cycles, rng), patterns(fmt, cycles, rng)
    # Sums that cancel to the last bits or to nothing.
    close = rng.random(cycles) < 0.1
    flip = 1 << (fmt.bits - 1)
    return [a, np.where(close, (a ^ flip) + rng.integers(-1, 2, cycles) & (2 * flip - 1), b)]


def check_operator(name: str, inputs: list[np.ndarray], got: np.ndarray) -> int:
    """Compare results with NumPy's, NaNs as NaNs; return how many were compared."""
    operation, fmt_name, variant = name.split("_")
    formats = {fmt.name: fmt for fmt in DTYPES}
    fmt = formats[fmt_name]
    a, b = (x.astype(f"u{fmt.bits // 8}").view(DTYPES[fmt]) for x in inputs)
    to = fmt
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if operation == "add":
            latency, expected = int(variant), a + b
        else:
            latency, to = 2, formats[variant]
            # In double precision, exact for all formats but FP32, which is its own.
            exact = a.astype(np.float64) * b.astype(np.float64)
            expected = a * b if to is fmt else exact.astype(DTYPES[to])
    nan = np.isnan(expected.astype(np.float64))
    unsigned = expected.view(f"u{to.bits // 8}").astype(np.int64)
    expected = np.where(nan, to.nan, unsigned)[:-latency]
    wrong = np.flatnonzero(got[latency:] != expected)
    assert len(wrong) == 0, (
        f"{name}: {len(wrong)} wrong, first {inputs[0][wrong[0]]:#x}, {inputs[1][wrong[0]]:#x}: "
        f"{got[latency:][wrong[0]]:#x} must be {expected[wrong[0]]:#x}"
    )
    return len(expected)


def operands(fmt, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Operands of a dot product, int64[cycles, lanes]."""
    if isinstance(fmt, Code):
        return fmt.random(rng, shape).astype(np.int64)
    if isinstance(fmt, IntFormat):
        low, high = -(2 ** (fmt.bits - 1)), 2 ** (fmt.bits - 1)
        values = rng.integers(low + (fmt.bits == 2), high, shape)
        return np.where(rng.random(shape) < 0.1, low + (fmt.bits == 2), values)
    return patterns(fmt, shape[0] * shape[1], rng).reshape(shape)


class Run:
    """Inputs of a unit, cycle by cycle, and the results that it must deliver."""

    def __init__(self, name: str, unit, cycles: int, rng: np.random.Generator) -> None:
        self.baseline, self.unit = BASELINES[name], unit
        shape = (cycles, unit.lanes)
        self.w = operands(self.baseline.weights, shape, rng)
        self.x = operands(self.baseline.activations, shape, rng)
        if isinstance(self.baseline.weights, FloatFormat):
            # Lanes that cancel one another, so that small sums and zeros are left.
            cancel = rng.random(cycles) < 0.1
            self.w[cancel, 1] = self.w[cancel, 0] ^ 1 << (self.baseline.weights.bits - 1)
            self.x[cancel, 1] = self.x[cancel, 0]
        self.valid = rng.random(cycles) < 0.9
        self.valid[-unit.latency :] = False
        self.last = rng.random(cycles) < 0.5  # Without ``valid`` it means nothing.
        #: Cycles of the beats of each dot product, by the number of beats.
        self.dots: dict[int, list[np.ndarray]] = {}
        for slot in range(unit.interleave):
            beats = np.flatnonzero(self.valid[slot :: unit.interleave]) * unit.interleave + slot
            lengths = rng.choice([1, 1, 2, 3, 5, 20], len(beats))
            ends = np.cumsum(lengths)
            ends = ends[ends <= len(beats)]
            self.last[beats] = False
            self.last[beats[ends - 1]] = True
            for length, end in zip(lengths, ends, strict=False):
                self.dots.setdefault(int(length), []).append(beats[end - length : end])

    def inputs(self, prefix: str) -> dict[str, np.ndarray]:
        unit, baseline = self.unit, self.baseline
        return {
            f"{prefix}weights": port(baseline.weight_port(self.w), len(unit.weights)),
            f"{prefix}activations": port(
                baseline.activation_port(np.roll(self.x, unit.skew, axis=0)), len(unit.activations)
            ),
            f"{prefix}valid": port(self.valid.astype(np.int64), 1),
            f"{prefix}last": port(self.last.astype(np.int64), 1),
        }

    def check(self, total: np.ndarray, done: np.ndarray) -> int:
        """Compare every result; return how many products were compared."""
        unit, baseline = self.unit, self.baseline
        expected_done = np.zeros(len(self.valid), bool)
        expected_done[unit.latency :] = (self.valid & self.last)[: -unit.latency]
        assert np.array_equal(done[:, 0].astype(bool), expected_done), baseline.name
        got = baseline.results(total, len(unit.total), 1)[:, 0]
        products, seen = 0, []
        for length, dots in self.dots.items():
            cycles = np.array(dots)
            expected = baseline.golden(self.w[cycles], self.x[cycles])
            found = got[cycles[:, -1] + unit.latency]
            wrong = np.flatnonzero(found != expected)
            assert len(wrong) == 0, (
                f"{baseline.name}: {len(wrong)} of {len(dots)} with {length} beats wrong, first "
                f"{found[wrong[0]]:#x} must be {expected[wrong[0]]:#x}"
            )
            products += cycles.size * unit.lanes
            seen.append(expected)
        if baseline.to is not None:
            # The operands reach what is special, and are mostly not.
            to, values = baseline.to, np.concatenate(seen)
            nan = np.mean(values == to.nan)
            infinite = np.mean(values & ~(1 << (to.bits - 1)) == to.overflow)
            assert nan > 0.001
            assert infinite > 0.0002 or not baseline.activations.infinities
            assert nan + infinite < 0.75
        return products


class Products(wiring.Component):
    """Products of several widths, signed and unsigned, side by side."""

    def __init__(self) -> None:
        widths = [(4, 4), (4, 7), (5, 5), (5, 8), (7, 4), (8, 8), (9, 6), (11, 11), (11, 4)]
        #: Name to the shapes of the operands.
        self.shapes = {
            f"p{a}_{b}_{kind(1).signed:d}": (kind(a), kind(b))
            for a, b in widths
            for kind in (signed, unsigned)
        }
        members = {}
        for name, (a, b) in self.shapes.items():
            members |= {f"{name}_a": In(a), f"{name}_b": In(b)}
            members[f"{name}_y"] = Out(Shape(a.width + b.width, a.signed))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in self.shapes:
            a, b, y = (getattr(self, f"{name}_{port}") for port in "aby")
            m.d.sync += y.eq(multiply(m, a, b, name, "fpga"))
        return m


def test_products_for_fpgas():
    """All pairs of operands, or many and the corners."""
    cycles = 20_000
    rng = np.random.default_rng(0)
    products, inputs, expected = Products(), {}, {}
    for name, shapes in products.shapes.items():
        a, b = (
            np.arange(2**shape.width) - shape.signed * 2 ** (shape.width - 1) for shape in shapes
        )
        pairs = np.stack(np.meshgrid(a, b), -1).reshape(-1, 2)
        if len(pairs) > cycles:
            corners = np.stack(np.meshgrid(a[[0, 1, -2, -1]], b[[0, 1, -2, -1]]), -1)
            some = rng.choice(pairs, cycles - corners.size // 2)
            pairs = np.concatenate([corners.reshape(-1, 2), some])
        x, y = np.resize(pairs, (cycles, 2)).T
        for letter, shape, numbers in zip("ab", shapes, (x, y), strict=True):
            inputs[f"{name}_{letter}"] = port(numbers & (2**shape.width - 1), shape.width)
        expected[name] = x * y & (2 ** sum(shape.width for shape in shapes) - 1)
    outputs = run_clocked(products, inputs)
    for name, product in expected.items():
        assert np.array_equal(number(outputs[f"{name}_y"])[1:], product[:-1]), name


def run_everything(
    cycles: int, seed: int, variants: tuple[tuple[str, int, str], ...] = ()
) -> dict[str, int]:
    """Simulate all, or some variants; return by name how many operations were compared."""
    rng = np.random.default_rng(seed)
    everything = Everything(variants)
    formats = {fmt.name: fmt for fmt in DTYPES}
    operators = {
        name: operator_inputs(formats[name.split("_")[1]], cycles, rng)
        for name in everything.operators
    }
    runs = {
        prefix: Run(name, unit, cycles, rng) for prefix, (name, unit) in everything.units.items()
    }
    inputs = {}
    for name, (a, b) in operators.items():
        bits = formats[name.split("_")[1]].bits
        inputs |= {f"{name}_a": port(a, bits), f"{name}_b": port(b, bits)}
    for prefix, run in runs.items():
        inputs |= run.inputs(f"{prefix}_")
    outputs = run_clocked(everything, inputs)
    counts = {}
    for name, values in operators.items():
        counts[name] = check_operator(name, values, number(outputs[f"{name}_y"]))
    for prefix, run in runs.items():
        counts[prefix] = run.check(outputs[f"{prefix}_total"], outputs[f"{prefix}_done"])
    return counts


def test_all_bit_for_bit():
    counts = run_everything(2**16 + 3, seed=0)
    units = [("asic", name) for name in BASELINES] + [("fpga", name) for name in FPGA]
    units += [("compact-fpga", name) for name in COMPACT]
    assert set(counts) > {f"{target}_{name}".replace("-", "_") for target, name in units}
    assert min(counts.values()) >= 2**16


#: Units, levels per stage and choices, with every choice of each kind of unit.
VARIANTS = (
    ("int8xint8", 1, "no-product"),
    ("int8xint8", 9, "no-sum+array"),
    ("int4xint8", 2, "no-product+no-sum"),
    ("ternaryxint8-escape", 1, "no-product"),
    ("ternaryxint8-base3", 9, "no-product+no-sum"),
    ("ternaryxint8-two_bit", 2, "no-packed"),
    ("ternaryxint8-escape", 4, "no-product+no-sum+pair-sums"),
    ("ternaryxint4-base3", 1, "pair-sums"),
    ("ternaryxternary-two_bit", 2, "no-packed+pair-sums"),
    ("ternaryxint8-sherry", 3, "no-product+pair-sums"),
    ("ternaryxint8-sherry", 9, "no-product+no-sum"),
    ("ternaryxint8-sherry", 1, "no-packed+no-sum"),
    ("e4m3xe4m3-fp32-fused", 1, "no-align+carry-save"),
    ("e4m3xe4m3-fp32-fused", 9, "no-sum+array"),
    ("e5m2xe5m2-fp32-fused", 2, "early-maximum"),
    ("e5m2xe5m2-fp32-fused", 1, "no-product+early-maximum+no-normalized"),
    ("fp16xfp16-fp16-fused", 9, "no-product+no-sum+carry-save+early-maximum+no-align"),
    ("int4xfp16-fp32-fused", 9, "early-maximum+no-align+no-normalized"),
    ("e5m2xe5m2-fp32-tree", 1, "no-product"),
    ("e4m3xe4m3-fp32-tree", 1, "array"),
    ("fp16xfp16-fp16-tree", 1, "fast-adders"),
)


def test_variants_bit_for_bit():
    counts = run_everything(2**13, 7, VARIANTS)
    assert len(counts) == len(VARIANTS)
    assert min(counts.values()) >= 2**13
    named = {BASELINES[name].kind: set() for name, _, _ in VARIANTS}
    for name, _, variant in VARIANTS:
        named[BASELINES[name].kind].update(variant.split("+"))
    for kind, choices in named.items():
        assert choices == kind.CHOICES, kind


@pytest.mark.long
def test_a_million_operations_of_each():
    totals: Counter[str] = Counter()
    for seed in range(1, 5):  # In parts, for the memory.
        totals.update(run_everything(251_000, seed))
    assert min(totals.values()) >= 1_000_000
