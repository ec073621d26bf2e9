"""Operands that units are measured on: those of a trained network, or ones like a released model's.

Nothing is padded: a matrix gives the whole chunks of ``lanes`` that its K has.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...golden.codes import Code
from ...golden.floats import FloatFormat, IntFormat
from ...golden.network.bitnet_2b4t import LAYER_SHAPES, ZERO_FRACTION
from ...golden.network.layers import BitLinear
from ...golden.network.mlp import BitNetMLP, load_digits
from ...golden.quantize import absmax_quantize
from ...hw.baselines import Baseline

__all__ = ["BEATS", "SOURCES", "Operands", "operands", "zero_share"]

#: ``trained``: the digits network's layers on its test images, and for formats that are not ternary
#: its twin's that was trained in float. ``2b4t``: random, with the share of zeros of BitNet b1.58
#: 2B4T's weights, normal inputs, and for ``down_proj`` their squared ReLU; ``2b4t:0.3`` the same
#: with another share of zeros.
SOURCES = ("trained", "2b4t")


#: Enough for a turn of all matrices at 16 lanes.
BEATS = 1712


_Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Operands:
    """A beat for every clock, chunk after chunk of an output, output after output of a token.

    Parameters
    ----------
    weights : int64[beats, rows, lanes], as ``Baseline`` has them
    activations : int64[beats, lanes], the same for all rows
    last : bool[beats]; the beat ends its dot product
    dots : of each dot product the places of its beats
    zero_weights, zero_activations : shares of the operands
    """

    weights: NDArray[np.int64]
    activations: NDArray[np.int64]
    last: NDArray[np.bool_]
    dots: tuple[NDArray[np.int64], ...]
    zero_weights: float
    zero_activations: float

    def first(self, beats: int) -> "Operands":
        """The first beats; the shares of zeros stay those of all."""
        return replace(
            self,
            weights=self.weights[:beats],
            activations=self.activations[:beats],
            last=self.last[:beats],
            dots=tuple(dot for dot in self.dots if dot[-1] < beats),
        )


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Trits[N, K] and the inputs[T, K] of their network; the same of one trained in float."""

    trits: NDArray[np.int8]
    inputs: _Floats
    float_weights: _Floats
    float_inputs: _Floats


def _record(network: BitNetMLP, images: NDArray[np.uint8]) -> list[_Floats]:
    """What goes into each layer."""
    seen: list[_Floats] = []

    def recorded(layer):
        def run(x: _Floats) -> _Floats:
            seen.append(x)
            return layer(x)

        return run

    replace(network, layers=tuple(map(recorded, network.layers))).forward(images)
    return seen


def _trained(rng: np.random.Generator) -> Iterator[_Layer]:
    """The layers in turn, each time on other images."""
    ternary, floats = BitNetMLP.load(), BitNetMLP.load_float()
    images, _ = load_digits()
    while True:
        some = images[rng.choice(len(images), 4, replace=False)]
        inputs, float_inputs = _record(ternary, some), _record(floats, some)
        for index, (layer, twin) in enumerate(zip(ternary.layers, floats.layers, strict=True)):
            assert isinstance(layer, BitLinear)
            k = layer.weight.shape[1]
            yield _Layer(
                trits=layer.weight.trits,
                inputs=inputs[index],
                # W (N, K) @ 1 (K, K) -> W, exactly.
                float_weights=twin(np.eye(k, dtype=np.float32)).T,
                float_inputs=float_inputs[index],
            )


def zero_share(source: str) -> float | None:
    """The share of zero trits of a source like 2B4T; None for the trained network.

    Raises
    ------
    ValueError
        If there is no such source.
    """
    match = re.fullmatch(r"2b4t(?::(0(?:\.\d+)?|1(?:\.0+)?))?", source)
    if source != "trained" and match is None:
        raise ValueError(
            "operands must be trained, 2b4t, or 2b4t and a share of zeros such as 2b4t:0.3, "
            f"not {source!r}"
        )
    if match is None:
        return None
    return ZERO_FRACTION if match[1] is None else float(match[1])


def _like_2b4t(rng: np.random.Generator, zeros: float) -> Iterator[_Layer]:
    """Tokens of ``down_proj`` and of the other matrices, whose K is 2,560.

    One to eight: 25 % of the MACs, as in the model.
    """
    while True:
        for turn in range(9):
            name = "mlp.down_proj" if turn == 4 else "mlp.up_proj"
            k = LAYER_SHAPES[name][1]
            x = rng.standard_normal((1, k), np.float32)
            if turn == 4:
                x = np.maximum(x, 0) ** 2
            sign = rng.choice(np.array([-1, 1], np.int8), (16, k))
            yield _Layer(
                trits=sign * (rng.random((16, k)) >= zeros),
                inputs=x,
                float_weights=rng.standard_normal((16, k), np.float32) / np.float32(np.sqrt(k)),
                float_inputs=x,
            )


def _convert(fmt: FloatFormat | IntFormat | Code, values: _Floats) -> NDArray[np.int64]:
    """Values[rows, K] in a format.

    Integers and floats of eight bits are scaled by each row's largest, as they are deployed.
    """
    if isinstance(fmt, Code):
        return np.where(values < 0, -1, 1).astype(np.int64)
    if isinstance(fmt, IntFormat):
        return absmax_quantize(values, fmt.bits)[0].astype(np.int64)
    exact = values.astype(np.float64)
    if fmt.bits == 8:
        largest = fmt.decode(np.array(fmt.overflow - 1))
        top = float(largest.significand) * 2.0 ** float(largest.exponent + fmt.scale)
        exact *= top / np.maximum(np.abs(exact).max(axis=1, keepdims=True), 1e-30)
    mantissa, exponent = np.frexp(exact)
    significand = np.abs(mantissa * 2.0**53).astype(np.int64)
    return fmt.encode(exact < 0, significand, exponent.astype(np.int64) - 53)


def operands(
    baseline: Baseline,
    source: str,
    *,
    beats: int,
    lanes: int,
    rows: int = 1,
    interleave: int = 1,
    seed: int = 0,
) -> Operands:
    """Operands in the order in which an engine of one token sees them.

    Floating-point patterns are the twin's values rounded; integers are scaled by the largest of
    a token, or of a matrix for weights; weights of codes are the network's trits, for ``binary``
    the twin's signs.

    Parameters
    ----------
    baseline : for its formats
    source : of ``SOURCES``, or ``2b4t:`` and a share of zeros
    beats : how many
    lanes : products of a row in a beat; a matrix whose K is less is left out
    rows : outputs at once
    interleave : dot products that take turns, see ``DotUnit``
    seed : of all that is random

    Raises
    ------
    ValueError
        If there is no such source, or ``lanes`` is above 256, the trained network's largest K.
    """
    if lanes > 256:
        raise ValueError(f"lanes must be at most 256, not {lanes}")
    rng = np.random.default_rng(seed)
    share = zero_share(source)
    layers = _trained(rng) if share is None else _like_2b4t(rng, share)
    ternary = isinstance(baseline.weights, Code) and len(baseline.weights.values) == 3
    ws: list[NDArray[np.int64]] = []
    xs: list[NDArray[np.int64]] = []
    last: list[NDArray[np.bool_]] = []
    dots: list[NDArray[np.int64]] = []
    done = 0
    for layer in layers:
        if done >= beats:
            break
        k = layer.trits.shape[1]
        chunks = k // lanes
        if not chunks:
            continue
        # A token stays for some beats, as it does for all outputs of a layer.
        outputs = rows * interleave * max(1, 32 // (chunks * rows))
        if ternary:
            weights = layer.trits.astype(np.int64)
            inputs = layer.inputs
        else:
            # A matrix is scaled as one.
            matrix = _convert(baseline.weights, layer.float_weights.reshape(1, -1))
            weights = matrix.reshape(layer.float_weights.shape)
            inputs = layer.float_inputs
        tokens = _convert(baseline.activations, inputs)
        for token in tokens:
            start = int(rng.integers(max(len(weights) - outputs, 0) + 1))
            w = np.resize(weights[start : start + outputs], (outputs, k))[:, : chunks * lanes]
            # [turn, slot, row, chunk, lane] to [turn, chunk, slot, row, lane].
            w = w.reshape(-1, interleave, rows, chunks, lanes).transpose(0, 3, 1, 2, 4)
            w = w.reshape(-1, rows, lanes)
            x = np.repeat(token[: chunks * lanes].reshape(chunks, lanes), interleave, axis=0)
            ws.append(w)
            turns = outputs // (rows * interleave)
            xs.append(np.tile(x, (turns, 1)))
            place = done + np.arange(len(w)).reshape(-1, chunks, interleave)
            dots += list(place.swapaxes(1, 2).reshape(-1, chunks))
            ends = np.zeros((turns, chunks, interleave), bool)
            ends[:, -1] = True
            last.append(ends.reshape(-1))
            done += len(w)
    w, x = np.concatenate(ws)[:beats], np.concatenate(xs)[:beats]

    def zeros(fmt: FloatFormat | IntFormat | Code, values: NDArray[np.int64]) -> float:
        sign = 1 << (fmt.bits - 1) if isinstance(fmt, FloatFormat) else 0
        return float(np.mean((values & ~sign if sign else values) == 0))

    return Operands(
        weights=w,
        activations=x,
        last=np.concatenate(last)[:beats],
        dots=tuple(dot for dot in dots if dot[-1] < beats),
        zero_weights=zeros(baseline.weights, w),
        zero_activations=zeros(baseline.activations, x),
    )
