"""cocotb testbench of ``BeatDecoder``: every byte of a code against the table of the code.

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
        self.bytes = self.code.packed_bytes(self._count)

    async def check(self, packed: list[int]) -> None:
        """Decode a beat, byte 0 first."""
        self._ports["packed"].value = int.from_bytes(bytes(packed), "little")
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
        beat = bytes(packed).hex(" ")
        assert trits == expected, f"beat {beat} must be {expected}, not {trits}"
        illegal = (~self.code.legal[packed]).tolist()
        assert outputs["illegal"] == illegal, f"illegal of {beat} must be {illegal}"


@_limited_test
async def every_byte_decodes(dut) -> None:
    """All 256 bytes at each place of the beat, with a legal byte and an illegal one beside it."""
    bench = DecoderBench(dut)
    legal = np.flatnonzero(bench.code.legal)
    others = [int(legal[0]), int(legal[-1]), *map(int, np.flatnonzero(~bench.code.legal)[:1])]
    for place, byte, other in product(range(bench.bytes), range(256), others):
        packed = [other] * bench.bytes
        packed[place] = byte
        await bench.check(packed)


@_limited_test
async def one_illegal_byte_is_enough(dut) -> None:
    """One illegal byte gives zeros and sets its bit of ``illegal``; the others are decoded."""
    bench = DecoderBench(dut)
    legal = cycle(int(byte) for byte in np.random.default_rng(1).permutation(256))
    for place, byte in product(range(bench.bytes), np.flatnonzero(~bench.code.legal)):
        packed = [next(b for b in legal if bench.code.legal[b]) for _ in range(bench.bytes)]
        await bench.check(packed)
        packed[place] = int(byte)
        await bench.check(packed)


@_limited_test
async def random_beats_decode(dut) -> None:
    """Beats of random bytes, legal or not."""
    bench = DecoderBench(dut)
    for packed in np.random.default_rng(2).integers(0, 256, (1000, bench.bytes)).tolist():
        await bench.check(packed)
