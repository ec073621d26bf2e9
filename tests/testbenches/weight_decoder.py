"""cocotb testbench of ``BeatDecoder``: every field of a code against the table of the code.

``tests/sim/rtl/test_testbenches.py`` runs it. The environment variable ``TRILITH_DECODER`` holds
JSON: the ``code``, the ``count`` of trits, and the ``prefix`` of the decoder's ports.
"""

import json
import os
from itertools import cycle, product

import numpy as np
from cocotb.triggers import Timer

from trilith.golden.codes import CODES
from trilith.sim.rtl.testbenches.bench import limited_test

#: Every test applies fewer beats, one in each step of time.
_limited_test = limited_test(10_000)


class DecoderBench:
    """Applies beats to a decoder and compares its outputs with the code's table and legality."""

    def __init__(self, dut) -> None:
        fields = json.loads(os.environ["TRILITH_DECODER"])
        self._ports = {
            name: getattr(dut, fields["prefix"] + name)
            for name in ("packed", "zero", "negative", "illegal")
        }
        self._count = fields["count"]
        self.code = CODES[fields["code"]]
        self.fields = self.code.packed_fields(self._count)
        self.values = 2**self.code.field_bits
        self._left = 8 * self.code.packed_bytes(self._count) - self.fields * self.code.field_bits
        self._noise = np.random.default_rng(3)

    async def check(self, packed: list[int]) -> None:
        """Decode a beat of fields, the first one first; bits that are left behind are random."""
        beat = int(self._noise.integers(2**self._left))
        for field in reversed(packed):
            beat = beat << self.code.field_bits | field
        self._ports["packed"].value = beat
        await Timer(1, "step")
        outputs = {}
        for name in ("zero", "negative", "illegal"):
            value = self._ports[name].value
            assert value.is_resolvable, f"{name} must be known"
            outputs[name] = [int(value) >> j & 1 for j in range(len(value))]
        # Illegal symbols are zeros in the table. If a trit is zero, ``negative`` may be 0 or 1.
        trits = [
            0 if zero else 1 - 2 * negative
            for zero, negative in zip(outputs["zero"], outputs["negative"], strict=True)
        ]
        expected = self.code.table[packed].reshape(-1)[: self._count].tolist()
        beat = bytes(packed).hex(" ")  # One field each.
        assert trits == expected, f"beat {beat} must be {expected}, not {trits}"
        illegal = (~self.code.legal[packed]).tolist()
        assert outputs["illegal"] == illegal, f"illegal of {beat} must be {illegal}"


@_limited_test
async def every_field_decodes(dut) -> None:
    """All fields at each place of the beat, with a legal field and an illegal one beside it."""
    bench = DecoderBench(dut)
    legal = np.flatnonzero(bench.code.legal)
    others = [int(legal[0]), int(legal[-1]), *map(int, np.flatnonzero(~bench.code.legal)[:1])]
    for place, field, other in product(range(bench.fields), range(bench.values), others):
        packed = [other] * bench.fields
        packed[place] = field
        await bench.check(packed)


@_limited_test
async def one_illegal_field_is_enough(dut) -> None:
    """One illegal field gives zeros and sets its bit of ``illegal``; the others are decoded."""
    bench = DecoderBench(dut)
    legal = cycle(map(int, np.random.default_rng(1).permutation(bench.values)))
    for place, field in product(range(bench.fields), np.flatnonzero(~bench.code.legal)):
        packed = [next(f for f in legal if bench.code.legal[f]) for _ in range(bench.fields)]
        await bench.check(packed)
        packed[place] = int(field)
        await bench.check(packed)


@_limited_test
async def random_beats_decode(dut) -> None:
    """Beats of random fields, legal or not."""
    bench = DecoderBench(dut)
    beats = np.random.default_rng(2).integers(0, bench.values, (1000, bench.fields))
    for packed in beats.tolist():
        await bench.check(packed)
