# amaranth: UnusedElaboratable=no
"""Kinds of dot products: each as hardware, as golden results, and as bits on ports."""

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
from ..config import check_lanes
from .config import DotConfig, check_config
from .fused import FusedDot
from .integers import BinaryDot, IntegerDot, TernaryDot
from .tree import TreeDot
from .unit import DotRows, DotUnit

__all__ = ["BASELINES", "Baseline", "pack_values"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Kind of dot product with two faces: the unit in hardware, and its results in NumPy.

    Operands are integer arrays: patterns of a floating-point format, or the numbers themselves.

    Parameters
    ----------
    name : key in ``BASELINES``
    weights, activations : formats of the operands; a code packs trits, or bits for ±1
    to : format of the result; None for an exact integer
    form : ``fused`` or ``tree``, see ``FusedDot`` and ``TreeDot``; ``exact`` for integers
    """

    name: str
    weights: FloatFormat | IntFormat | Code
    activations: FloatFormat | IntFormat | Code
    to: FloatFormat | None = None
    form: str = "exact"

    @property
    def kind(self) -> type[DotUnit]:
        """Class of a unit of one row."""
        if isinstance(self.activations, Code):
            return BinaryDot
        if isinstance(self.weights, Code):
            return TernaryDot
        if isinstance(self.activations, IntFormat):
            return IntegerDot
        return TreeDot if self.form == "tree" else FusedDot

    def check(self, config: DotConfig) -> None:
        """Check that the hardware can have a configuration.

        Raises
        ------
        ValueError
            If a row does not have whole symbols of the weights' code, or the unit does not have the
            choices.
        """
        if isinstance(self.weights, Code):
            check_lanes(config.lanes, self.weights)
        self.kind.check_choices(config)

    def unit(self, config: DotConfig) -> DotUnit:
        """Make the hardware.

        Parameters
        ----------
        config : shape of the unit

        Returns
        -------
        A unit of one row, or ``DotRows``.

        Raises
        ------
        TypeError
            If ``config`` is not a ``DotConfig``.
        """
        check_config(config)
        units = [self._row(config) for _ in range(config.rows)]
        return DotRows(units) if config.rows > 1 else units[0]

    def _row(self, config: DotConfig) -> DotUnit:
        """Make a unit of one row."""
        weights, activations = self.weights, self.activations
        if isinstance(activations, Code):
            return BinaryDot(config)
        if isinstance(weights, Code):
            return TernaryDot(config, code=weights, activation_bits=activations.bits)
        if isinstance(activations, IntFormat):
            return IntegerDot(config, weight_bits=weights.bits, activation_bits=activations.bits)
        assert self.to is not None
        kind = TreeDot if self.form == "tree" else FusedDot
        return kind(config, weight_format=weights, activation_format=activations, to=self.to)

    def golden(self, weights: NDArray[np.integer], activations: NDArray[np.integer]) -> NDArray:
        """Compute the results that the hardware must deliver.

        Parameters
        ----------
        weights, activations : int[dots, beats, lanes]

        Returns
        -------
        int64[dots], patterns of ``to`` or exact sums.
        """
        if self.to is None:
            return np.einsum("dbl,dbl->d", weights, activations, dtype=np.int64)
        dot = tree_dot if self.form == "tree" else fused_dot
        return dot(weights, self.weights, activations, self.activations, self.to)

    def weight_port(self, weights: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Pack weights as the port takes them.

        Parameters
        ----------
        weights : int[beats, lanes], or int[beats, rows, lanes] for several rows

        Returns
        -------
        uint8[beats, bytes], byte 0 lowest.

        Raises
        ------
        ValueError
            If there are several rows, and the bits of a row are no whole bytes.
        """
        beats, *rows, lanes = weights.shape
        if rows and not isinstance(self.weights, Code) and lanes * self.weights.bits % 8:
            raise ValueError(
                f"rows of {lanes} lanes must be whole bytes, not {lanes * self.weights.bits} bits"
            )
        return _port(self.weights, weights.reshape(-1, lanes)).reshape(beats, -1)

    def activation_port(self, activations: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Pack activations as the port takes them.

        Parameters
        ----------
        activations : int[beats, lanes]

        Returns
        -------
        uint8[beats, bytes], byte 0 lowest.
        """
        return _port(self.activations, activations)

    def results(self, total: NDArray[np.uint8], bits: int, rows: int) -> NDArray[np.int64]:
        """Unpack the results on the port ``total``.

        Parameters
        ----------
        total : uint8[results, bytes], byte 0 lowest
        bits : width of the port
        rows : rows of the unit

        Returns
        -------
        int64[results, rows], patterns of ``to`` or signed integers.
        """
        each = bits // rows
        flat = np.unpackbits(total, axis=1, count=bits, bitorder="little")
        words = np.zeros((len(total), rows, 64), np.uint8)
        words[..., :each] = flat.reshape(len(total), rows, each)
        values = np.packbits(words, axis=2, bitorder="little").view("<i8")[..., 0]
        # Integers are sign-extended by a shift to the top and back.
        return values if self.to is not None else values << (64 - each) >> (64 - each)


def _port(fmt: FloatFormat | IntFormat | Code, values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Pack values, int[beats, lanes], to bytes, uint8[beats, bytes], lane 0 lowest."""
    if isinstance(fmt, Code):
        return fmt.pack(values.astype(np.int8))
    return pack_values(values, fmt.bits)


def pack_values(values: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Pack integers as a port takes them, the lowest bit of the first value lowest.

    Parameters
    ----------
    values : int[beats, n], two's complement
    bits : 1 to 63; bits of each value

    Returns
    -------
    uint8[beats, bytes], byte 0 lowest.
    """
    # The last axis has the bits of each value, the lowest first.
    each = (values[..., np.newaxis] >> np.arange(bits) & 1).astype(np.uint8)
    return np.packbits(each.reshape(len(values), -1), axis=1, bitorder="little")


def _floats() -> list[Baseline]:
    """List the kinds with floating-point numbers, each in both forms."""
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
    """List the kinds with integers, trits and bits."""
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


#: All kinds by name: ``weights x activations``, then the format of the sum and the form, or the
#: code of the weights.
BASELINES = {baseline.name: baseline for baseline in (*_floats(), *_integers())}
