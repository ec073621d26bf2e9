"""Theorems about the dot product."""

from itertools import count

from amaranth.hdl import Const, Mux, Signal, Value, signed
from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.hw.engine.dot import DotProduct

_FILE = "hw/engine/dot.py"

#: Bits of the sums that a dot product is held to.
_WIDTH = 20


def _latency(operands: int, levels_per_stage: int, target: str) -> int:
    levels = (operands - 1).bit_length()
    return (1 if target == "asic" else 2) + -(-levels // levels_per_stage)


def _term(zero: Value, negative: Value, value: Value) -> Value:
    """A weight times a value, in ``_WIDTH`` bits."""
    product = Mux(zero, 0, Mux(negative, -value, value))
    return product.as_signed()


def _total(terms: list[Value]) -> Value:
    total: Value = Const(0, signed(_WIDTH))
    for term in terms:
        total = (total + term)[:_WIDTH].as_signed()
    return total


def flat(
    *,
    lanes: int,
    act_bits: int,
    tokens: int = 1,
    levels_per_stage: int = 1,
    target: str = "fpga",
    operands: str = "lanes",
) -> Bench:
    """The sum of all products, from any state."""
    dot = DotProduct(
        lanes=lanes,
        tokens=tokens,
        act_bits=act_bits,
        levels_per_stage=levels_per_stage,
        target=target,
        operands=operands,
    )
    bench = Bench(dot, resets=False)
    inputs = lanes * 3 // 4 if operands == "quads" else lanes
    latency = _latency(inputs, levels_per_stage, target)
    zero, negative = (bench.delay(x, latency) for x in (dot.zero, dot.negative))
    for token in range(tokens):
        values = [bench.delay(dot.activations[token][i], latency - 1) for i in range(lanes)]
        terms = [_term(zero[i], negative[i], values[i].as_signed()) for i in range(lanes)]
        result = Mux(dot.subtract, -dot.sums[token], dot.sums[token])
        bench.claim(f"sum{token}", result == bench.show(f"golden{token}", _total(terms)))
        if act_bits == 2:
            for lane in range(lanes):
                bench.assume(f"trit{token}_{lane}", dot.activations[token][lane] != -2)
    if operands == "quads":
        for quad in range(lanes // 4):
            bits = dot.zero[4 * quad : 4 * quad + 4]
            bench.assume(f"quad{quad}", (bits != 0) & ((bits & (bits - 1)[:4]) == 0))
    return bench


def flat_case(*, quick: bool = True, **shape) -> Case:
    """A case of ``flat`` with the latency of its shape."""
    inputs = shape["lanes"] * 3 // 4 if shape.get("operands") == "quads" else shape["lanes"]
    depth = _latency(inputs, shape.get("levels_per_stage", 1), shape.get("target", "fpga"))
    return Case(build=lambda: flat(**shape), depth=depth, quick=quick)


def nodes(lanes: int, act_bits: int) -> Bench:
    """Each node of the tree for FPGAs, against a tree of exact signed sums.

    ``age`` counts cycles since a reset. A node of level l holds a sum from cycle l + 2 on.
    """
    dot = DotProduct(lanes=lanes, tokens=1, act_bits=act_bits, levels_per_stage=1, target="fpga")
    bench = Bench(dot)
    m, inside = bench.m, bench.inside
    levels = (lanes - 1).bit_length()
    age = Signal(range(levels + 4), name="age")
    with m.If(age != levels + 3):
        m.d.sync += age.eq(age + 1)
    numbers = count()

    def keep(value: Value, bits: int | None = None) -> Signal:
        shape = signed(_WIDTH) if bits is None else bits
        register = Signal(shape, name=f"exact{next(numbers)}", reset_less=True)
        m.d.sync += register.eq(value)
        return register

    # Sums come one cycle after their signs: a sign is held for a cycle to meet its sum.
    tree = []
    for lane in dot._order():
        zero, negative = (keep(x[lane], 1) for x in (dot.zero, dot.negative))
        value = dot.activations[0][lane]
        exact = keep(Mux(zero, 0, Mux(negative, -value, value)))
        sign = keep(keep(~dot.negative[lane], 1), 1)
        tree.append((inside[f"x0_{lane}"], sign, exact))
        operand = inside[f"x0_{lane}"].as_signed()
        wanted = Mux(sign, exact, -exact)
        bench.claim(f"x{lane}", (age < 2) | (operand == wanted))
    for level in range(1, levels + 1):
        tree.reverse()
        pairs = [tree[i : i + 2] for i in range(0, len(tree), 2)]
        tree = []
        for index, pair in enumerate(pairs):
            exact = keep(_total([one[2] for one in pair]))
            sign = keep(pair[0][1], 1)
            node = inside[f"u{level}_0_{index}"].as_signed()
            name = f"{level}_{index}"
            old = age < 2 + level
            bench.claim(f"u{name}", old | (node == Mux(sign, exact, -exact)))
            early = inside[f"s_{index}"] if level == 1 else inside[f"s{level}_{index}"]
            bench.claim(f"s{name}", (age < 1 + level) | (early == pair[0][1]))
            if len(pair) == 2:
                differ = inside[f"d_{index}"] if level == 1 else inside[f"d{level}_{index}"]
                signs = pair[0][1] ^ pair[1][1]
                bench.claim(f"d{name}", (age < 1 + level) | (differ == signs))
            tree.append((node, sign, exact))
    result = Mux(dot.subtract, -dot.sums[0], dot.sums[0])
    bench.claim("sum", (age < 2 + levels) | (result == tree[0][2]))
    bench.cover("old", age == levels + 3)
    bench.reach = levels + 4
    return bench


THEOREMS = [
    Theorem(
        name="dot product: sum",
        file=_FILE,
        statement="The sum with its sign equals the sum of all products of weights and "
        "activations, for all inputs and from any state.",
        method=Method.STATE,
        cases={
            "5 lanes, ternary, 2 tokens": flat_case(lanes=5, act_bits=2, tokens=2),
            "5 lanes, int4": flat_case(lanes=5, act_bits=4),
            "8 lanes, ternary": flat_case(lanes=8, act_bits=2),
            "4 lanes, int8, 2 levels": flat_case(lanes=4, act_bits=8, levels_per_stage=2),
            "4 lanes, int8, compact": flat_case(
                lanes=4, act_bits=8, levels_per_stage=2, target="compact-fpga"
            ),
            "4 lanes, int8, ASIC": flat_case(lanes=4, act_bits=8, target="asic"),
            "8 lanes, int8": flat_case(lanes=8, act_bits=8, quick=False),
        },
    ),
    Theorem(
        name="dot product: quads",
        file=_FILE,
        statement="With three operands for each four lanes, the sum equals that of all four "
        "products.",
        assumptions=("Each four lanes have exactly one zero weight.",),
        method=Method.STATE,
        cases={
            f"{lanes} lanes, int{bits}, {target}": flat_case(
                lanes=lanes, act_bits=bits, target=target, operands="quads", quick=quick
            )
            for lanes, bits, target, quick in (
                (8, 2, "fpga", True),
                (8, 2, "asic", True),
                (4, 8, "compact-fpga", True),
                (8, 4, "fpga", False),
            )
        },
    ),
    Theorem(
        name="dot product: pair sums",
        file=_FILE,
        statement="With the sum or difference of each two activations as an operand, the sum "
        "equals that of all products.",
        method=Method.STATE,
        cases={
            "5 lanes, ternary": flat_case(lanes=5, act_bits=2, target="asic", operands="pairs"),
            "4 lanes, int8": flat_case(lanes=4, act_bits=8, target="asic", operands="pairs"),
        },
    ),
    Theorem(
        name="dot product: every node",
        file=_FILE,
        statement="Every adder of the tree holds, with its sign, the exact sum of the products "
        "below it; none wraps. The cycle of each level is the documented one.",
        cases={
            "16 lanes, int8": Case(build=lambda: nodes(16, 8), depth=2),
            "64 lanes, int8": Case(build=lambda: nodes(64, 8), depth=2),
        },
    ),
]
