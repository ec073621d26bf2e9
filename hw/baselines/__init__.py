"""The dot products that the ternary one is compared with, all behind one interface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...golden.codes import CODES, Code
from ...golden.floats import (
    BF16,
    E4M3,
    E5M2,
    FP16,
    FP32,
    INT4,
    FloatFormat,
    IntFormat,
    fused_dot,
    tree_dot,
)
from .fused import FusedDot
from .integers import BinaryDot, IntegerDot, TernaryDot
from .tree import TreeDot
from .unit import DotRows, DotUnit

__all__ = ["BASELINES", "Baseline", "DotUnit"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A kind of dot product, with two faces: the unit in hardware, and its results in NumPy.

    Operands are integer arrays: patterns of a floating-point format, or the numbers themselves.

    Parameters
    ----------
    name : key in ``BASELINES``
    weights, activations : formats of the operands; a code packs trits, or bits for ±1
    to : format of the result; None where it is an exact integer
    form : ``fused`` or ``tree``, see ``FusedDot`` and ``TreeDot``; ``exact`` for integers
    """

    name: str
    weights: FloatFormat | IntFormat | Code
    activations: FloatFormat | IntFormat | Code
    to: FloatFormat | None = None
    form: str = "exact"

    def unit(
        self,
        *,
        lanes: int,
        k_max: int,
        rows: int = 1,
        levels_per_stage: int = 1,
        target: str = "asic",
    ) -> DotUnit:
        """The hardware.

        Parameters
        ----------
        lanes : products per clock and row
        k_max : products in a dot product, at most
        rows : dot products with the same activations, side by side, see ``DotRows``
        levels_per_stage : levels of a tree of integer adders between two registers
        target : ``asic`` or ``fpga``, see ``DotProduct`` and ``multiply``

        Raises
        ------
        ValueError
            If the target is neither.
        """
        if target not in ("asic", "fpga"):
            raise ValueError(f"target must be asic or fpga, not {target!r}")
        units = [self._row(lanes, k_max, levels_per_stage, target) for _ in range(rows)]
        return DotRows(units) if rows > 1 else units[0]

    def _row(self, lanes: int, k_max: int, levels_per_stage: int, target: str) -> DotUnit:
        weights, activations = self.weights, self.activations
        if isinstance(activations, Code):
            return BinaryDot(lanes=lanes, k_max=k_max, levels_per_stage=levels_per_stage)
        if isinstance(weights, Code):
            return TernaryDot(
                code=weights,
                activation_bits=activations.bits,
                lanes=lanes,
                k_max=k_max,
                levels_per_stage=levels_per_stage,
                target=target,
            )
        if isinstance(activations, IntFormat):
            return IntegerDot(
                weight_bits=weights.bits,
                activation_bits=activations.bits,
                lanes=lanes,
                k_max=k_max,
                levels_per_stage=levels_per_stage,
                target=target,
            )
        assert self.to is not None
        if self.form == "tree":
            return TreeDot(
                weight_format=weights,
                activation_format=activations,
                to=self.to,
                lanes=lanes,
                target=target,
            )
        return FusedDot(
            weight_format=weights,
            activation_format=activations,
            to=self.to,
            lanes=lanes,
            k_max=k_max,
            levels_per_stage=levels_per_stage,
            target=target,
        )

    def golden(self, weights: NDArray[np.integer], activations: NDArray[np.integer]) -> NDArray:
        """Results that the hardware must deliver: int64[dots], patterns of ``to`` or exact sums.

        Parameters
        ----------
        weights, activations : int[dots, beats, lanes]
        """
        if self.to is None:
            return np.einsum("dbl,dbl->d", weights, activations, dtype=np.int64)
        dot = tree_dot if self.form == "tree" else fused_dot
        return dot(weights, self.weights, activations, self.activations, self.to)

    def weight_port(self, weights: NDArray[np.integer]) -> NDArray[np.uint8]:
        """What the port takes: int[beats, lanes] to uint8[beats, bytes], byte 0 lowest.

        Of several rows int[beats, rows, lanes].

        Raises
        ------
        ValueError
            If there are several rows, and a row's bits are no whole bytes.
        """
        beats, *rows, lanes = weights.shape
        if rows and not isinstance(self.weights, Code) and lanes * self.weights.bits % 8:
            raise ValueError(
                f"rows of {lanes} lanes must be whole bytes, not {lanes * self.weights.bits} bits"
            )
        return _port(self.weights, weights.reshape(-1, lanes)).reshape(beats, -1)

    def activation_port(self, activations: NDArray[np.integer]) -> NDArray[np.uint8]:
        """What the unit's port takes: int[beats, lanes] to uint8[beats, bytes], byte 0 lowest."""
        return _port(self.activations, activations)

    def results(self, total: NDArray[np.uint8], bits: int, rows: int) -> NDArray[np.int64]:
        """Results from the port: uint8[results, bytes] of so many bits to int64[results, rows]."""
        each = bits // rows
        flat = np.unpackbits(total, axis=1, count=bits, bitorder="little")
        words = np.zeros((len(total), rows, 64), np.uint8)
        words[..., :each] = flat.reshape(len(total), rows, each)
        values = np.packbits(words, axis=2, bitorder="little").view("<i8")[..., 0]
        return values if self.to is not None else values << (64 - each) >> (64 - each)


def _port(fmt: FloatFormat | IntFormat | Code, values: NDArray[np.integer]) -> NDArray[np.uint8]:
    if isinstance(fmt, Code):
        return fmt.pack(values.astype(np.int8))
    bits = (values[..., np.newaxis] >> np.arange(fmt.bits) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(len(values), -1), axis=1, bitorder="little")


def _floats() -> list[Baseline]:
    pairs = (
        (FP32, FP32, FP32),
        (FP16, FP16, FP32),
        (FP16, FP16, FP16),
        (BF16, BF16, FP32),
        (E4M3, E4M3, FP32),
        (E5M2, E5M2, FP32),
        (INT4, FP16, FP32),
    )
    return [
        Baseline(
            name=f"{weights.name}x{activations.name}-{to.name}-{form}",
            weights=weights,
            activations=activations,
            to=to,
            form=form,
        )
        for weights, activations, to in pairs
        for form in ("fused", "tree")
    ]


def _integers() -> list[Baseline]:
    int8, ternary = IntFormat(name="int8", bits=8), IntFormat(name="ternary", bits=2)
    binary = CODES["binary"]
    pairs: list[tuple[str, IntFormat | Code, IntFormat | Code]] = [
        ("int8xint8", int8, int8),
        ("int4xint8", INT4, int8),
        ("int4xint4", INT4, INT4),
        ("binaryxint8", binary, int8),
        ("binaryxbinary", binary, binary),
    ]
    pairs += [
        (f"ternaryx{activations.name}-{code.name}", code, activations)
        for activations in (int8, INT4, ternary)
        for code in CODES.values()
        if code is not binary
    ]
    return [Baseline(name=name, weights=w, activations=x) for name, w, x in pairs]


#: All kinds by name: ``weights x activations``, then format of the sum and form, or the code.
BASELINES = {baseline.name: baseline for baseline in (*_floats(), *_integers())}
