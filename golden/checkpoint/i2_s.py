"""The three layouts of bitnet.cpp's I2_S, and which of them the weights of a file look like.

The build of bitnet.cpp that wrote a file decides the layout, and the file does not name it.
Sources: ``quantize_i2_s`` in bitnet.cpp's ggml-bitnet-mad.cpp; its issues 585 and 600.

A wrong reading permutes the weights, so that counts of trits and illegal codes are the same in all
readings. The order shows the right one: outputs and inputs of trained matrices differ in their
share of zeros and in their mean, and an input with a large gain of the norm in front has few zeros.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import log, log1p, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, CheckpointWarning

__all__ = ["I2SLayout", "I2SMatrix", "I2SReading", "choose_layout", "unpack_codes"]

#: Standard deviations of chance between two readings from which the better one is right.
_CLEAR = 5.0


#: Most weights and most matrices that are looked at.
_WEIGHTS, _MATRICES = 2**23, 16


#: Inputs that follow one another in all layouts.
_RUN = 16


_SHIFTS = np.array([6, 4, 2, 0], np.uint8)[:, np.newaxis]


class I2SLayout(StrEnum):
    """Layouts of I2_S, by the runs of weights that share bytes.

    Each 4 · run weights that follow one another, along K and then along N, are four runs. Byte p
    of theirs has the code t + 1 of weight p of each run, the first run in the highest bits.

    - ``block128``: runs of 32; x86 builds with ACT_PARALLEL, and the files that Microsoft published
    - ``block64``: runs of 16; ARM builds
    - ``rows4``: runs of K, so that a byte has four rows; x86 builds without ACT_PARALLEL
    """

    BLOCK128 = "block128"
    BLOCK64 = "block64"
    ROWS4 = "rows4"

    def run(self, k: int) -> int:
        """Count the weights of a run in a matrix of K inputs."""
        return {"block128": 32, "block64": 16}.get(self, k)

    def misfit(self, shape: tuple[int, int]) -> str:
        """State the rule that a matrix of shape (N, K) breaks; empty if it breaks none."""
        n, k = shape
        if self is I2SLayout.ROWS4:
            return f"a multiple of 4 outputs in I2_S {self}, not {n}" if n % 4 else ""
        block = 4 * self.run(k)
        return f"a multiple of {block} inputs in I2_S {self}, not {k}" if k % block else ""


@dataclass(frozen=True, kw_only=True)
class I2SMatrix:
    """A matrix in I2_S.

    Parameters
    ----------
    name : name of the tensor, for messages
    shape : (N, K)
    raw : uint8[N · K / 4], the codes; may be memory-mapped
    gain : float[K] of the norm in front; None where it is not known
    """

    name: str
    shape: tuple[int, int]
    raw: NDArray[np.uint8]
    gain: NDArray | None


@dataclass(frozen=True, kw_only=True)
class I2SReading:
    """The layout that a file is read in, and how sure it is.

    Parameters
    ----------
    layout : the layout
    asked : the caller named it
    sigmas : how much better the weights look than in each other layout that fits their shapes, in
        standard deviations of chance; below 0 the other one looks better
    """

    layout: I2SLayout
    asked: bool
    sigmas: dict[I2SLayout, float]

    @property
    def clear(self) -> bool:
        """No other layout is possible."""
        return all(sigma >= _CLEAR for sigma in self.sigmas.values())

    def as_dict(self) -> dict[str, Any]:
        """Return all facts by name."""
        return asdict(self) | {"clear": self.clear, "clear_from": _CLEAR}

    def __str__(self) -> str:
        """Write the layout and how sure it is."""
        against = ", ".join(f"{sigma:.1f} against {x}" for x, sigma in self.sigmas.items())
        return (
            f"{self.layout}{' as asked' if self.asked else ''}, "
            f"{'clear' if self.clear else 'not clear'} from the weights"
            f" ({against or 'no other fits'}; in standard deviations of chance, {_CLEAR:g} is "
            "clear)"
        )


def unpack_codes(raw: NDArray[np.uint8], k: int, layout: I2SLayout) -> NDArray[np.uint8]:
    """Unpack a matrix, or its first rows.

    Parameters
    ----------
    raw : uint8[N · K / 4], N a multiple of 4 in the layout ``rows4``
    k : K, which fits the layout
    layout : layout of ``raw``

    Returns
    -------
    uint8[N, K], the codes t + 1; 3 is illegal
    """
    codes = raw.reshape(-1, 1, layout.run(k)) >> _SHIFTS
    codes &= np.uint8(3)
    return codes.reshape(-1, k)


def choose_layout(where: Path, matrices: Sequence[I2SMatrix], asked: str) -> I2SReading:
    """Choose the layout of a file, and look whether its weights agree.

    Parameters
    ----------
    where : the file, for messages
    matrices : all matrices in I2_S, at least one
    asked : "auto" for ``block128`` unless the weights contradict, or a value of ``I2SLayout``

    Returns
    -------
    The layout and how sure it is. A ``CheckpointWarning`` says that the weights do not show it, or
    that they contradict the layout that was asked for.

    Raises
    ------
    CheckpointError
        If a shape does not fit the layout, or ``asked`` is "auto" and the weights are clearly in
        another one.
    """
    layout = I2SLayout.BLOCK128 if asked == "auto" else I2SLayout(asked)
    fitting = [x for x in I2SLayout if not any(x.misfit(one.shape) for one in matrices)]
    others = [x for x in fitting if x is not layout]
    for one in matrices:
        if rule := layout.misfit(one.shape):
            if others:
                rule += f"; where another build wrote the file, give {_options(others)}"
            raise CheckpointError(f"{where}: {one.name} must have {rule}")
    evidence = _evidence(matrices, fitting)
    sigmas = {x: _sigmas(evidence[layout] - evidence[x]) for x in others}
    reading = I2SReading(layout=layout, asked=asked != "auto", sigmas=sigmas)
    worst = min(sigmas, key=lambda x: sigmas[x], default=layout)
    look = (
        f"{where}: the I2_S weights look like {worst} and not like {layout} "
        f"({-sigmas.get(worst, 0.0):.1f} standard deviations; {_CLEAR:g} are clear)"
    )
    if sigmas.get(worst, 0.0) <= -_CLEAR:
        if not reading.asked:
            raise CheckpointError(f"{look}; give {_options([worst])}")
        warnings.warn(CheckpointWarning(look), stacklevel=2)
    elif not reading.clear and not reading.asked:
        unclear = [x for x in others if sigmas[x] < _CLEAR]
        warnings.warn(
            CheckpointWarning(
                f"{where}: the I2_S weights are read as {layout}, and may be in the layout "
                f"{' or '.join(unclear)} of another build of bitnet.cpp; if the model's results "
                f"make no sense, give {_options(unclear)}"
            ),
            stacklevel=2,
        )
    return reading


def _options(layouts: Sequence[I2SLayout]) -> str:
    """Name the option, in the command line and in Python."""
    names = " or ".join(layouts)
    return f"--i2s-layout {names} (i2s_layout={layouts[0].value!r})"


def _sigmas(difference: NDArray[np.float64]) -> float:
    """Sum the differences of two readings' terms [matrices, terms], by the deviation of chance.

    Terms that clearly contradict one another show nothing: their assumptions do not hold. A tenth
    of the evidence against the rest is no contradiction.
    """
    by_term = difference.sum(axis=0) / sqrt(len(difference))
    less, more = sorted((-float(by_term.min(initial=0)), float(by_term.max(initial=0))))
    if less >= max(_CLEAR, more / 10):
        return 0.0
    return float(by_term.sum()) / sqrt(len(by_term))


def _evidence(
    matrices: Sequence[I2SMatrix], layouts: Sequence[I2SLayout]
) -> dict[I2SLayout, NDArray[np.float64]]:
    """Find the evidence for each layout, [matrices, terms], in a sample of the matrices."""
    if len(layouts) < 2:
        return {layout: np.zeros((1, 1)) for layout in layouts}
    found: dict[I2SLayout, list[list[float]]] = {layout: [] for layout in layouts}
    count = min(len(matrices), _MATRICES)
    for index in range(count):
        one = matrices[index * len(matrices) // count]
        n, k = one.shape
        rows = min(n, 4 * max(1, _WEIGHTS // (4 * count * k)))
        raw = np.asarray(one.raw[: rows * k // 4])
        for layout in layouts:
            found[layout].append(_matrix_evidence(unpack_codes(raw, k, layout), one.gain))
    return {layout: np.array(terms) for layout, terms in found.items()}


def _matrix_evidence(codes: NDArray[np.uint8], gain: NDArray | None) -> list[float]:
    """Compare the log-likelihoods of a matrix with structure and of independent trits, in nats.

    The structure is the spread of the shares of zeros and of the means of the inputs and outputs,
    the correlation of each input's share of zeros with its gain, and the correlation of the
    neighbors along K that only one of the layouts in blocks has side by side. Each of these terms
    has one parameter, fitted here, and without structure half of chi-squared with one degree of
    freedom, whose variance is 1/2: the difference of two terms has the variance 1 at most.

    Inputs and outputs are compared within runs of 16, because larger structure, such as heads,
    could look like the result of a wrong order. All layouts keep such runs of inputs whole.
    """
    n, k = codes.shape
    trits = codes.astype(np.float32) - np.float32(1)
    zeros = (codes == 1).astype(np.float32)
    # Sums by NumPy: threads of BLAS that wait for each other would cost more.
    shares, means = zeros.sum(axis=0) / n, trits.sum(axis=0) / n
    share, mean = float(shares.mean()), float(means.mean())
    nats = []
    for values, inputs, variance in (
        (zeros, shares, share * (1 - share)),
        (trits, means, 1 - share - mean * mean),
    ):
        nats.append(_spread(_within_runs(inputs), k // _RUN * (_RUN - 1), variance / n))
        outputs = _within_runs(values.sum(axis=1) / k)
        if len(outputs):
            # Quarters of the inputs that differ would look like every fourth output.
            outputs -= np.tile(outputs.reshape(-1, 4).mean(axis=0), _RUN // 4)
        nats.append(_spread(outputs, n // _RUN * (_RUN - 1) - 3, variance / k))
    gains = np.zeros(k) if gain is None else _ranks(np.abs(gain))
    nats.append(_correlation(_within_runs(_ranks(shares)), _within_runs(gains)))
    trits -= means
    trits -= trits.mean(axis=1, keepdims=True)
    nats.append(_bias((trits[:, _RUN - 1 : -1 : _RUN] * trits[:, _RUN::_RUN]).mean(axis=0)))
    return nats


def _within_runs(values: NDArray) -> NDArray[np.float64]:
    """Split values in whole runs, and subtract the mean of each: [runs, 16]."""
    runs = values[: len(values) // _RUN * _RUN].reshape(-1, _RUN).astype(np.float64)
    return runs - runs.mean(axis=1, keepdims=True)


def _spread(centered: NDArray[np.float64], freedom: int, variance: float) -> float:
    """Find the evidence that centered values vary by more than the variance of chance."""
    if variance <= 1e-9 or freedom < 1:  # All trits are equal, or there are few rows.
        return 0.0
    ratio = float((centered**2).sum()) / freedom / variance
    return freedom / 2 * (ratio - 1 - log(ratio)) if ratio > 1 else 0.0


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Find the evidence that two centered arrays correlate."""
    product = float((a * a).sum()) * float((b * b).sum())
    square = float((a * b).sum()) ** 2 / product if product else 0.0
    return -a.size / 2 * log1p(-min(square, 1 - 1e-9))


def _bias(values: NDArray[np.float32]) -> float:
    """Find the evidence that the mean of values is not 0."""
    variance = float(values.var(dtype=np.float64)) if values.size else 0.0
    return len(values) / 2 * log1p(float(values.mean()) ** 2 / variance) if variance else 0.0


def _ranks(values: NDArray) -> NDArray[np.float64]:
    """Rank values, so that no outlier decides; equal values have equal ranks."""
    return np.unique(values, return_inverse=True)[1].astype(np.float64)
