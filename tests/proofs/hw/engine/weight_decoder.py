"""Theorems about the weight decoders."""

from amaranth.hdl import Array, Const, Value
from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.golden.codes import CODES, Code
from trilith.hw.engine.weight_decoder import BeatDecoder

_FILE = "hw/engine/weight_decoder.py"


def _fields(bench: Bench, code: Code, count: int, registered: bool) -> list[Value]:
    """The fields of the beat whose trits are at the outputs."""
    packed = bench.ports["packed"]
    if registered:
        packed = bench.delay(packed)
    bits = code.field_bits
    return [packed[bits * i : bits * (i + 1)] for i in range(code.packed_fields(count))]


def _table(values: list[int], index: Value) -> Value:
    return Array(Const(int(value), 1) for value in values)[index]


def trits(name: str, count: int, *, registered: bool = False) -> Bench:
    """Trits of a beat against the golden table."""
    code = CODES[name]
    decoder = BeatDecoder(code=name, count=count, registered=registered)
    bench = Bench(decoder)
    fields = _fields(bench, code, count, registered)
    for index in range(count):
        field, place = divmod(index, code.field_trits)
        column = code.table[:, place]
        zero = _table(column == 0, fields[field])
        negative = _table(column < 0, fields[field])
        bench.claim(f"zero{index}", decoder.zero[index] == zero)
        bench.claim(f"negative{index}", zero | (decoder.negative[index] == negative))
    return bench


def illegal(name: str, count: int, *, registered: bool = False) -> Bench:
    """Flags of illegal fields against the golden table."""
    code = CODES[name]
    decoder = BeatDecoder(code=name, count=count, registered=registered)
    bench = Bench(decoder)
    for index, field in enumerate(_fields(bench, code, count, registered)):
        flag = _table(~code.legal, field)
        bench.claim(f"illegal{index}", decoder.illegal[index] == flag)
    return bench


def round_trip(name: str) -> Bench:
    """Two legal fields with the same trits are the same field."""
    code = CODES[name]
    count = code.field_trits
    one, other = (BeatDecoder(code=name, count=count) for _ in range(2))
    bench = Bench(one)
    bench.add("other", other)
    same = Const(1, 1)
    for index in range(count):
        same &= (one.zero[index] == other.zero[index]) & (
            one.zero[index] | (one.negative[index] == other.negative[index])
        )
    both_legal = ~one.illegal.any() & ~other.illegal.any()
    bits = code.field_bits
    equal = one.packed[:bits] == other.packed[:bits]
    bench.claim("injective", ~(both_legal & same) | equal)
    bench.cover("equal", both_legal & same)
    return bench


def _cases(make) -> dict[str, Case]:
    cases = {}
    for name, code in CODES.items():
        count = code.field_trits * 2 - 1
        cases[name] = Case(build=lambda n=name, c=count: make(n, c))
        cases[f"{name}, registered"] = Case(
            build=lambda n=name, c=count: make(n, c, registered=True), depth=1
        )
    return cases


THEOREMS = [
    Theorem(
        name="decoder: trits",
        file=_FILE,
        statement="Every weight decoder gives the trits of the golden table for every byte or "
        "symbol, and the value 0 for an illegal one. In a beat of two fields, each trit comes from "
        "its own field.",
        method=Method.STATE,
        cases=_cases(trits),
    ),
    Theorem(
        name="decoder: illegal codes",
        file=_FILE,
        statement="A field is flagged as illegal exactly if the golden code has no such field, "
        "also where it only fills the beat.",
        method=Method.STATE,
        cases={
            name: case
            for name, case in _cases(illegal).items()
            if not name.startswith(("binary", "sherry"))
        },
    ),
    Theorem(
        name="decoder: one field per tuple of trits",
        file=_FILE,
        statement="Two legal fields that decode to the same trits are the same field.",
        method=Method.STATE,
        cases={name: Case(build=lambda n=name: round_trip(n)) for name in CODES},
    ),
]
