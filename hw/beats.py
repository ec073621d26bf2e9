"""Streams of the engine as arrays of bytes: one row per beat, byte 0 in bits 7:0."""

import numpy as np
from numpy.typing import NDArray

from ..golden.checks import check_integer
from ..golden.codes import CODES, CodeError
from ..golden.matmul import check_activations, check_trits
from .config import MatVecConfig
from .jobs import Job, golden_beats

__all__ = [
    "activation_beats",
    "beat_numbers",
    "result_numbers",
    "result_values",
    "weight_beats",
    "weights_from_beats",
]


def weight_beats(config: MatVecConfig, trits: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Beats of the ``weights`` stream of a matrix.

    The beats come by group of rows, then by chunk. The trits of a beat come by row, then by lane.
    Rows and lanes beyond the matrix hold fillers of the code, see ``Code.fill``.

    Parameters
    ----------
    config : the configuration of the engine
    trits : int8[N, K], values −1, 0, +1

    Returns
    -------
    uint8[ceil(N / rows) · ceil(K / lanes), weight_bytes]

    Raises
    ------
    TypeError
        If ``trits`` is not an integer array.
    ValueError
        If the shape or a value is not legal, or the code cannot hold a value (``CodeError``); the
        message has its row and column.
    """
    check_trits(trits)
    code = CODES[config.code]
    n, k = trits.shape
    groups, chunks = -(-n // config.rows), -(-k // config.lanes)
    padded = np.empty((groups * config.rows, chunks * config.lanes), np.int8)
    padded[:n] = code.fill(trits, chunks * config.lanes)
    padded[n:] = code.fill(np.empty((1, 0), np.int8), chunks * config.lanes)
    tiles = padded.reshape(groups, config.rows, chunks, config.lanes).transpose(0, 2, 1, 3)
    try:
        return code.pack(tiles.reshape(groups * chunks, config.rows * config.lanes))
    except CodeError:
        # The place in the matrix, which is not that in the beats.
        code.check(padded)
        raise


def weights_from_beats(
    config: MatVecConfig, beats: NDArray[np.uint8], n: int, k: int
) -> NDArray[np.int8]:
    """Matrix of a ``weights`` stream: the inverse of ``weight_beats``.

    Parameters
    ----------
    config : the configuration of the engine
    beats : uint8[ceil(N / rows) · ceil(K / lanes), weight_bytes]
    n, k : shape of the matrix

    Returns
    -------
    int8[N, K]

    Raises
    ------
    CodeError
        If a byte is illegal.
    """
    n, k = check_integer("n", n, 1), check_integer("k", k, 1)
    groups, chunks = -(-n // config.rows), -(-k // config.lanes)
    flat = CODES[config.code].unpack(beats, config.rows * config.lanes)
    tiles = flat.reshape(groups, chunks, config.rows, config.lanes).transpose(0, 2, 1, 3)
    return tiles.reshape(groups * config.rows, chunks * config.lanes)[:n, :k]


def activation_beats(config: MatVecConfig, q: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Beats of the ``activations`` stream of some tokens.

    The beats come by token, then by chunk. Lane 0 stands in the lowest bits of a beat.

    Parameters
    ----------
    config : the configuration of the engine
    q : int8[T, K], values within ``activation_range(act_bits)``

    Returns
    -------
    uint8[T · ceil(K / lanes), ceil(lanes · act_bits / 8)]

    Raises
    ------
    TypeError
        If ``q`` is not an integer array.
    ValueError
        If the shape or a value is not legal.
    """
    check_activations(q, config.act_bits)
    tokens, k = q.shape
    chunks = -(-k // config.lanes)
    padded = np.zeros((tokens, chunks * config.lanes), np.int8)
    padded[:, :k] = q
    lanes = padded.reshape(tokens * chunks, config.lanes).view(np.uint8)
    if config.act_bits == 8:
        return lanes
    # The lowest act_bits bits of each value are its two's complement.
    bits = np.unpackbits(lanes[..., np.newaxis], axis=-1, bitorder="little")[..., : config.act_bits]
    return np.packbits(bits.reshape(len(lanes), -1), axis=-1, bitorder="little")


def result_values(
    config: MatVecConfig, beats: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Values and ``last`` flags of beats of the ``results`` stream.

    Parameters
    ----------
    config : the configuration of the engine
    beats : uint8[B, at least ceil((rows · acc_width + 1) / 8)]

    Returns
    -------
    values : int32[B, rows]
    last : bool[B]
    """
    size = config.rows * config.acc_width
    bits = np.unpackbits(beats, axis=-1, bitorder="little")
    # Two's complement: the highest bit of a value has a negative weight.
    weights = np.left_shift(1, np.arange(config.acc_width), dtype=np.int32)
    weights[-1] *= -1
    values = bits[:, :size].reshape(-1, config.rows, config.acc_width).astype(np.int32) @ weights
    return values, bits[:, size].astype(np.bool_)


def beat_numbers(beats: NDArray[np.uint8]) -> list[int]:
    """Read each beat, uint8[bytes], as one number, byte 0 lowest."""
    return [int.from_bytes(beat.tobytes(), "little") for beat in beats]


def result_numbers(config: MatVecConfig, job: Job) -> list[int]:
    """Beats of the ``results`` stream that the golden model gives for a job, as numbers.

    Parameters
    ----------
    config : the configuration of the engine
    job : the job

    Returns
    -------
    One number for each beat: the accumulators, row 0 lowest, and ``last`` above them.
    """
    # Negative values are cut to the width of an accumulator, as two's complement.
    mask = 2**config.acc_width - 1
    numbers = [
        sum((value & mask) << row * config.acc_width for row, value in enumerate(values))
        for values in golden_beats(config, job).tolist()
    ]
    numbers[-1] |= 1 << config.rows * config.acc_width
    return numbers
