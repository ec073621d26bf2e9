"""Random jobs for testbenches, and their beats with noise where a value must not matter."""

from collections.abc import Iterator
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from ....golden.codes import CODES
from ....golden.matmul import activation_range
from ....hw.beats import activation_beats, beat_numbers, weight_beats
from ....hw.config import MatVecConfig
from ....hw.jobs import Job

__all__ = [
    "random_activations",
    "random_job",
    "random_jobs",
    "random_trits",
    "reusing",
    "stream_beats",
]


def random_trits(
    config: MatVecConfig, rng: np.random.Generator, n: int, k: int
) -> NDArray[np.int8]:
    """Make random values of the configuration's code, int8[N, K]."""
    return CODES[config.code].random(rng, (n, k))


def random_activations(
    config: MatVecConfig, rng: np.random.Generator, tokens: int, k: int
) -> NDArray[np.int8]:
    """Make random legal activations, int8[T, K]."""
    low, high = activation_range(config.act_bits)
    return rng.integers(low, high + 1, (tokens, k), np.int8)


def random_job(config: MatVecConfig, rng: np.random.Generator, **fields: int) -> Job:
    """Make a job that loads its activations.

    Parameters
    ----------
    config : the configuration of the engine
    rng : source of everything that is random
    fields : ``n``, ``k``, ``tokens``, ``group_chunks``; those that are not given are random, and
        half of the jobs deliver no partial results
    """
    n = fields.get("n", int(rng.integers(1, config.n_max + 1)))
    k = fields.get("k", int(rng.integers(1, config.k_max + 1)))
    tokens = fields.get("tokens", int(rng.integers(1, config.tokens + 1)))
    group_chunks = fields.get(
        "group_chunks", int(rng.integers(0, config.max_chunks + 1)) if rng.random() < 0.5 else 0
    )
    return Job(
        trits=random_trits(config, rng, n, k),
        activations=random_activations(config, rng, tokens, k),
        group_chunks=group_chunks,
    )


def reusing(config: MatVecConfig, rng: np.random.Generator, loaded: Job, tokens: int) -> Job:
    """Make a random job that reuses activations of a job before.

    Parameters
    ----------
    config : the configuration of the engine
    rng : source of everything that is random
    loaded : the last job that loads activations
    tokens : the number of its activation vectors to reuse
    """
    fresh = random_job(config, rng, k=loaded.shape.k)
    return Job(
        trits=fresh.trits,
        activations=loaded.activations[:tokens],
        group_chunks=fresh.group_chunks,
        reuse=True,
    )


def random_jobs(config: MatVecConfig, rng: np.random.Generator) -> Iterator[Job]:
    """Make jobs without end: corner shapes with all tokens first, then random shapes.

    Up to two jobs that reuse activations follow each job that loads them.
    """
    lanes, rows = config.lanes, config.rows
    some_k = min(lanes + 1, config.k_max)
    shapes = [
        {"n": 1, "k": 1, "group_chunks": 0},
        {"n": min(rows + 1, config.n_max), "k": some_k, "group_chunks": 1},
        {"n": config.n_max, "k": config.k_max, "group_chunks": 0},
        {"n": config.n_max, "k": config.k_max, "group_chunks": config.max_chunks},
        {"n": min(2 * rows, config.n_max), "k": min(2 * lanes, config.k_max), "group_chunks": 1},
        {"n": 1, "k": max(config.k_max - 1, 1), "group_chunks": min(2, config.max_chunks)},
    ]
    corners = [{**shape, "tokens": config.tokens} for shape in shapes]
    corners += [{**shapes[1], "tokens": tokens} for tokens in range(1, config.tokens)]
    for fields in chain(corners, repeat({})):
        loaded = random_job(config, rng, **fields)
        yield loaded
        # The buffer keeps all tokens, even if a job in between has used only some of them.
        for _ in range(int(rng.integers(0, 3))):
            tokens = int(rng.integers(1, len(loaded.activations) + 1))
            yield reusing(config, rng, loaded, tokens)


def stream_beats(
    config: MatVecConfig, job: Job, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Beats of the streams ``activations`` and ``weights`` for a job.

    Values that must not matter are random: rows from N on, lanes from K on, and the trits that fill
    the last byte of a beat are trits of the code. Activations from K on are any bits; with
    ``act_bits`` 2 the illegal −2 is among them.

    Returns
    -------
    The activation beats, none if the job reuses them, and the weight beats, as integers.
    """
    code = CODES[config.code]
    n, k = job.trits.shape
    chunks = job.shape.chunks(config)
    size = (job.shape.row_groups(config) * config.rows, chunks * config.lanes)
    trits = code.random(rng, size)
    # The fillers of a symbol that the matrix ends in follow from its other trits.
    whole = k + -k % code.span
    trits[:n, :whole] = code.fill(job.trits, whole)
    packed = weight_beats(config, trits)
    count = config.rows * config.lanes
    beats = code.unpack(packed, 8 * config.weight_bytes // code.field_bits * code.field_trits)
    beats[:, count:] = code.random(rng, beats[:, count:].shape)
    weights = beat_numbers(code.pack(beats))

    activations = []
    if not job.reuse:
        tail = config.act_bits * (k - (chunks - 1) * config.lanes)
        for index, beat in enumerate(activation_beats(config, job.activations)):
            word = int.from_bytes(beat.tobytes(), "little")
            if index % chunks == chunks - 1:
                noise = int.from_bytes(rng.bytes(len(beat)), "little")
                noise %= 1 << (config.act_bits * config.lanes)
                word |= noise >> tail << tail
            activations.append(word)
    return activations, weights
