"""Description of weight codes, complete enough to write a packer from it."""

from typing import Any

from ...golden.codes import CODES, Code
from ..config import MatVecConfig

__all__ = ["describe_code", "encoding"]

#: Rule of each code: value of the symbol with the trits t0, t1, …, t0 first.
_RULES = {
    "base3": "The value is (t0 + 1) + 3 (t1 + 1) + 9 (t2 + 1) + 27 (t3 + 1) + 81 (t4 + 1). "
    "Values from 243 on are illegal.",
    "escape": "The value has four pairs of bits, p0 in bits 1:0 to p3 in bits 7:6. A pair is 00 "
    "for +1, 01 for 0, 10 for -1, or 11 for an escape. Without an escape, p0 to p3 are t0 to t3, "
    "and t4 is 0. The places of one or two escapes give t4, and move other trits to other pairs, "
    "as the table says. Values with three or four escapes are illegal.",
    "tq1": "The value is ceil(256 q / 243) with q = 81 (t0 + 1) + 27 (t1 + 1) + 9 (t2 + 1) + "
    "3 (t3 + 1) + (t4 + 1). Values that no q gives are illegal. This is the byte of GGUF's TQ1_0.",
    "two_bit": "The value is t0 + 1. The value 3 is illegal.",
    "binary": "The value is 1 for +1, and 0 for -1. No value is illegal. A weight of 0 has no "
    "symbol.",
    "sherry": "Exactly one of the four trits is 0. Bits 3:2 are its place, 0 for t0. Bit 4 is 1 if "
    "the first of the three other trits is -1. Bit 0 is 1 if the second one differs from the "
    "first, and bit 1 is 1 if the third one differs from the first. No value is illegal. Four "
    "trits with another number of zeros have no symbol.",
}


def _symbols(code: Code) -> list[list[int] | None]:
    """Tabulate the trits of each value of a symbol, t0 first; None for an illegal value."""
    # In the first fields, the symbols behind the first one are 0, which is legal in all codes.
    fields = zip(code.table[: 2**code.symbol_bits], code.legal, strict=False)
    return [trits[: code.symbol_trits].tolist() if legal else None for trits, legal in fields]


def encoding(code: Code) -> list[int]:
    """Tabulate the symbol of each tuple of trits.

    Returns
    -------
    int[3**symbol_trits], the value of the symbol at Σ (tⱼ + 1)·3ʲ; −1 for trits without a symbol
    """
    values = [-1] * 3**code.symbol_trits
    for value, trits in enumerate(_symbols(code)):
        if trits is not None:
            values[sum((trit + 1) * 3**j for j, trit in enumerate(trits))] = value
    return values


def describe_code(config: MatVecConfig) -> dict[str, Any]:
    """Describe the code of an engine's weight beats for tools.

    Returns
    -------
    ``name``; ``rule``, a text; ``symbol_bits`` and ``symbol_trits``; ``beat_symbols``, the symbols
    of a weight beat; ``beat_trits``, the weights of a beat, which the last symbols may exceed;
    ``filler``, the trit that packers write where there is no weight; ``zeros``, the zeros in each
    symbol, or None if trits are free; ``symbols``, the trits of each value, or None for an illegal
    value.
    """
    code, count = CODES[config.code], config.rows * config.lanes
    per_field = code.field_bits // code.symbol_bits
    return {
        "name": code.name,
        "rule": _RULES[code.name],
        "symbol_bits": code.symbol_bits,
        "symbol_trits": code.symbol_trits,
        "beat_symbols": code.packed_fields(count) * per_field,
        "beat_trits": count,
        "filler": 0 if code.zeros is None else -1,
        "zeros": code.zeros,
        "symbols": _symbols(code),
    }
