"""Operands of measurements: those of a trained network, or ones like a released model's.

Nothing is padded: a matrix gives only the whole chunks of ``lanes`` that its K has.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.tokenizer import load_tokenizer
from ...golden.codes import CODES, Code
from ...golden.data import DIGITS, PYDOC, SHERRY_DIGITS
from ...golden.floats import FloatFormat, IntFormat
from ...golden.network.bitnet_2b4t import LAYER_SHAPES, ZERO_FRACTION
from ...golden.network.layers import BitLinear
from ...golden.network.mlp import BitNetMLP, load_digits
from ...golden.network.transformer import BitNetModel
from ...golden.quantize import absmax_quantize
from ...hw.baselines import Baseline

__all__ = [
    "BEATS",
    "Operands",
    "Tile",
    "check_source",
    "make_operands",
    "make_tiles",
    "share_of_zeros",
    "zero_share",
]

#: Beats of a measurement: at 16 lanes, enough for all matrices once.
BEATS = 1712

#: Approximate number of beats for which a token stays at the inputs, as in an engine it stays for
#: all outputs of a layer.
_BEATS_PER_TOKEN = 32

#: Beats for which an operand that is held stays.
_HELD_BEATS = 8

#: Sources without a share of zeros.
_SOURCES = ("trained", "held-activations", "held-weights", "pydoc")

#: Tokens of the language model whose activations are recorded.
_TOKENS = 64

_Floats = NDArray[np.float32]
_Ints = NDArray[np.int64]
_Format = FloatFormat | IntFormat | Code


@dataclass(frozen=True, kw_only=True)
class Operands:
    """A beat for every cycle: chunk after chunk of an output, output after output of a token.

    Parameters
    ----------
    weights : int64[beats, rows, lanes], as ``Baseline`` takes them
    activations : int64[beats, lanes], the same for all rows
    last : bool[beats], whether the beat ends its dot product
    dots : the beats of each dot product, int64[chunks]
    zero_weights, zero_activations : shares of operands that are zero
    """

    weights: _Ints
    activations: _Ints
    last: NDArray[np.bool_]
    dots: tuple[_Ints, ...]
    zero_weights: float
    zero_activations: float

    def first(self, beats: int) -> "Operands":
        """Keep the first beats; the shares of zeros stay those of all beats."""
        return replace(
            self,
            weights=self.weights[:beats],
            activations=self.activations[:beats],
            last=self.last[:beats],
            dots=tuple(dot for dot in self.dots if dot[-1] < beats),
        )


def zero_share(source: str) -> float | None:
    """Read the share of zero trits from the name of a source.

    Parameters
    ----------
    source : ``trained``: the layers of the digits network on its test images, and for formats that
        are not ternary those of its twin, which was trained in floating point. ``2b4t``: random
        values with the share of zeros of BitNet b1.58 2B4T's weights, normal inputs, and squared
        ReLU inputs of ``down_proj``. ``2b4t:0.3``: the same with another share of zeros, 0 to 1.
        ``held-activations``: those of ``trained``, but activations stay for eight beats while
        weights change. ``held-weights``: the reverse. ``pydoc``: trits and activations of the
        stored language model on held-out text; other weights are normal, because the model has no
        twin in floating point.

    Returns
    -------
    The share; None for a source that has no share in its name.

    Raises
    ------
    ValueError
        If there is no such source.
    """
    match = re.fullmatch(r"2b4t(?::(0(?:\.\d+)?|1(?:\.0+)?))?", source)
    if source not in _SOURCES and match is None:
        raise ValueError(
            f"operands must be {', '.join(_SOURCES)}, 2b4t, or 2b4t and a share of zeros such as "
            f"2b4t:0.3, not {source!r}"
        )
    if match is None:
        return None
    return ZERO_FRACTION if match[1] is None else float(match[1])


def check_source(baseline: Baseline, source: str) -> None:
    """Refuse a source that a kind of dot product has no operands of.

    Raises
    ------
    ValueError
        If there is no such source, or the code of the weights decides the share of zeros.
    """
    zero_share(source)
    if _quads(baseline) and source not in (*_SOURCES, "2b4t"):
        raise ValueError(
            f"operands must be {', '.join(_SOURCES)} or 2b4t for {baseline.name}, which has one "
            f"zero in each four weights, not {source!r}"
        )


def _quads(baseline: Baseline) -> bool:
    """Whether each four weights have exactly one zero."""
    return isinstance(baseline.weights, Code) and baseline.weights.quads


def make_operands(
    baseline: Baseline,
    source: str,
    *,
    beats: int,
    lanes: int,
    rows: int = 1,
    interleave: int = 1,
) -> Operands:
    """Make operands in the order in which an engine of one token takes them.

    Floating-point operands are the values of the network in floating point, rounded. Integers are
    scaled by the largest value of a token, or of a matrix for weights. Weights of codes are the
    network's trits; for ``binary`` they are the signs of its twin. The code ``sherry`` has a
    network of its own with one zero in each four weights, and so have its random weights.

    Parameters
    ----------
    baseline : gives the formats
    source : see ``zero_share``
    beats : number of beats
    lanes : products of a row in a beat, 2 to 256; a matrix whose K is smaller is left out
    rows : outputs that are computed at once
    interleave : dot products that take turns, see ``DotUnit``

    Raises
    ------
    ValueError
        If ``check_source`` refuses the source, or ``lanes`` is above 256, the trained network's
        largest K.
    """
    if lanes > 256:
        raise ValueError(f"lanes must be at most 256, not {lanes}")
    check_source(baseline, source)
    quads = _quads(baseline)
    rng = np.random.default_rng(0)
    share = zero_share(source)
    if share is not None:
        layers = _like_2b4t(rng, share, quads=quads)
    elif source == "pydoc":
        layers = _language_model(rng, quads=quads)
    else:
        layers = _trained(rng, quads=quads)
    tokens = _tokens(
        baseline, layers, rng, beats=beats, lanes=lanes, rows=rows, interleave=interleave
    )
    *columns, dots = zip(*tokens, strict=True)
    weights, activations, last = (np.concatenate(column)[:beats] for column in columns)
    held = np.arange(beats) // _HELD_BEATS
    if source == "held-activations":
        activations = activations[held]
    elif source == "held-weights":
        weights = weights[held]
    return Operands(
        weights=weights,
        activations=activations,
        last=last,
        dots=tuple(dot for some in dots for dot in some if dot[-1] < beats),
        zero_weights=share_of_zeros(baseline.weights, weights),
        zero_activations=share_of_zeros(baseline.activations, activations),
    )


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A tile of a matrix, which stays while vectors pass, behind the tiles in front of it.

    Parameters
    ----------
    weights : int64[columns, K], as ``Baseline`` takes them; the last of them are the tile
    activations : int64[vectors, K]; the last of them meet the tile
    """

    weights: _Ints
    activations: _Ints


def make_tiles(baseline: Baseline, *, tiles: int, vectors: int, size: int) -> list[Tile]:
    """Cut tiles for an array with stationary weights from the trained network.

    Each tile is a random one of the next layer of the digits network, with its test images as
    vectors. Formats are converted as ``make_operands`` does with its source ``trained``.

    Parameters
    ----------
    baseline : gives the formats
    tiles : number of tiles
    vectors : vectors for which a tile stays, each of an image of its own, 1 to 360
    size : rows and columns of a tile, 1 to 10, the fewest outputs of a layer

    Returns
    -------
    The tiles; ``size`` outputs of each, and a multiple of ``size`` as K
    """
    rng = np.random.default_rng(0)
    layers = _trained(rng, quads=_quads(baseline), tokens=vectors)
    found = []
    for _, layer in zip(range(tiles), layers, strict=False):
        weights, activations = _in_formats(baseline, layer)
        output = int(rng.integers(len(weights) - size + 1))
        end = int(rng.integers(weights.shape[1] // size)) * size + size
        found.append(
            Tile(weights=weights[output : output + size, :end], activations=activations[:, :end])
        )
    return found


def _tokens(
    baseline: Baseline,
    layers: Iterator["_Layer"],
    rng: np.random.Generator,
    *,
    beats: int,
    lanes: int,
    rows: int,
    interleave: int,
) -> Iterator[tuple[_Ints, _Ints, NDArray[np.bool_], _Ints]]:
    """Iterate over the tokens of the layers, as an engine takes them, until there are all beats.

    Yields
    ------
    weights : int64[beats, rows, lanes]
    activations : int64[beats, lanes]
    last : bool[beats]
    dots : int64[dots, chunks], the beats of each dot product, counted over all tokens
    """
    done = 0
    for layer in layers:
        k = layer.trits.shape[1]
        chunks = k // lanes
        if not chunks:
            continue
        turns = max(1, _BEATS_PER_TOKEN // (chunks * rows))
        outputs = rows * interleave * turns
        weights, inputs = _in_formats(baseline, layer)
        for token in inputs:
            start = int(rng.integers(max(len(weights) - outputs, 0) + 1))
            w = np.resize(weights[start : start + outputs], (outputs, k))[:, : chunks * lanes]
            # [turn, slot, row, chunk, lane] to [turn, chunk, slot, row, lane].
            w = w.reshape(-1, interleave, rows, chunks, lanes).transpose(0, 3, 1, 2, 4)
            w = w.reshape(-1, rows, lanes)
            x = np.repeat(token[: chunks * lanes].reshape(chunks, lanes), interleave, axis=0)
            last = np.zeros((turns, chunks, interleave), bool)
            last[:, -1] = True
            places = done + np.arange(len(w)).reshape(-1, chunks, interleave)
            dots = places.swapaxes(1, 2).reshape(-1, chunks)
            yield w, np.tile(x, (turns, 1)), last.reshape(-1), dots
            done += len(w)
            if done >= beats:
                return


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer: trits[N, K] and inputs[T, K] of its network, and the same of its twin in floats."""

    trits: NDArray[np.int8]
    inputs: _Floats
    float_weights: _Floats
    float_inputs: _Floats


def _in_formats(baseline: Baseline, layer: _Layer) -> tuple[_Ints, _Ints]:
    """Convert a layer to the formats of a baseline: weights[N, K] and activations[T, K]."""
    if isinstance(baseline.weights, Code) and baseline.weights.zeros != 0:
        weights, inputs = layer.trits.astype(np.int64), layer.inputs
    else:
        # A matrix is scaled as one.
        matrix = _convert(baseline.weights, layer.float_weights.reshape(1, -1))
        weights, inputs = matrix.reshape(layer.float_weights.shape), layer.float_inputs
    return weights, _convert(baseline.activations, inputs)


def _record(network: BitNetMLP, images: NDArray[np.uint8]) -> list[_Floats]:
    """Record the inputs of each layer."""
    seen: list[_Floats] = []

    def recorded(layer):
        def run(x: _Floats) -> _Floats:
            seen.append(x)
            return layer(x)

        return run

    replace(network, layers=tuple(map(recorded, network.layers))).forward(images)
    return seen


def _trained(rng: np.random.Generator, *, quads: bool, tokens: int = 4) -> Iterator[_Layer]:
    """Iterate over the layers of the digits network, again and again, each time on new images.

    ``tokens`` is the number of images. With ``quads`` it is the network with one zero in each four
    weights.
    """
    ternary = BitNetMLP.load(SHERRY_DIGITS if quads else DIGITS)
    floats = BitNetMLP.load_float()
    images, _ = load_digits()
    while True:
        some = images[rng.choice(len(images), tokens, replace=False)]
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


@cache
def _recorded_model() -> list[tuple[NDArray[np.int8], _Floats]]:
    """Record trits[N, K] and inputs[T, K] of each matrix of the stored language model."""
    model = BitNetModel.load(PYDOC)
    tokenizer = load_tokenizer(PYDOC)
    texts = json.loads((PYDOC / "held_out.json").read_text())
    tokens = tokenizer.encode(" ".join(texts[:40]), add_special_tokens=False).ids[:_TOKENS]
    found = []

    def recorded(linear: BitLinear) -> Callable[[_Floats], _Floats]:
        def run(x: _Floats) -> _Floats:
            found.append((linear.weight.trits, x))
            return linear(x)

        return run

    layers = tuple(
        replace(layer, linears={name: recorded(one) for name, one in layer.linears.items()})
        for layer in model.layers
    )
    replace(model, layers=layers).forward(tokens)
    return found


def _language_model(rng: np.random.Generator, *, quads: bool) -> Iterator[_Layer]:
    """Iterate over the matrices of the stored language model, each time on other tokens.

    With ``quads`` the trits are random.
    """
    recorded = _recorded_model()
    while True:
        for trits, inputs in recorded:
            x = inputs[rng.choice(len(inputs), 1)]
            yield _Layer(
                trits=CODES["sherry"].random(rng, trits.shape) if quads else trits,
                inputs=x,
                float_weights=_normal(rng, trits.shape),
                float_inputs=x,
            )


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> _Floats:
    """Make normal weights[N, K], whose products keep the variance of their inputs."""
    return rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[1]))


def _like_2b4t(rng: np.random.Generator, zeros: float, *, quads: bool) -> Iterator[_Layer]:
    """Iterate over layers like 2B4T's: ``down_proj`` after every eight matrices whose K is 2,560.

    With that ratio ``down_proj`` has 25 % of the MACs, as in the model. With ``quads`` each four
    weights have one zero instead of a share.
    """
    while True:
        for turn in range(9):
            name = "mlp.down_proj" if turn == 4 else "mlp.up_proj"
            k = LAYER_SHAPES[name][1]
            x = rng.standard_normal((1, k), np.float32)
            if turn == 4:
                x = np.maximum(x, 0) ** 2
            if quads:
                trits = CODES["sherry"].random(rng, (16, k))
            else:
                sign = rng.choice(np.array([-1, 1], np.int8), (16, k))
                trits = sign * (rng.random((16, k)) >= zeros)
            yield _Layer(
                trits=trits,
                inputs=x,
                float_weights=rng.standard_normal((16, k), np.float32) / np.float32(np.sqrt(k)),
                float_inputs=x,
            )


def _convert(fmt: _Format, values: _Floats) -> _Ints:
    """Convert values[rows, K] to a format.

    Integers and floats of eight bits are scaled by each row's largest, as they are in deployment.
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


def share_of_zeros(fmt: FloatFormat | IntFormat | Code, values: _Ints) -> float:
    """Compute the share of zeros; a floating-point pattern is zero with either sign."""
    sign = 1 << (fmt.bits - 1) if isinstance(fmt, FloatFormat) else 0
    return float(np.mean((values & ~sign if sign else values) == 0))
