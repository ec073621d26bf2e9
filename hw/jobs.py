"""Jobs of the engine: their fields, the word on the ``jobs`` stream, and the golden results.

NumPy is imported by the functions that use it: estimates need the shapes of jobs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..golden.checks import check_flag, check_integer
from ..golden.matmul import check_activations, check_trits, ternary_matmul
from .config import MatVecConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Job",
    "JobShape",
    "check_job",
    "golden_beats",
    "golden_results",
    "job_fields",
    "job_limits",
    "job_word",
]


@dataclass(frozen=True, kw_only=True)
class JobShape:
    """Everything about a job but the values of its operands: it decides the cycles of the job.

    The fields stand in the order of the job word, the first one lowest.

    Parameters
    ----------
    n, k, tokens : outputs, inputs and activation vectors, each 1 or more
    group_chunks : 0 for one result per output, else one partial result every ``group_chunks``
        chunks
    reuse : whether the job uses the activations of the job before, and loads none

    Raises
    ------
    TypeError
        If a size is not an integer, or ``reuse`` is not a truth value.
    ValueError
        If a size is too small or too large.
    """

    n: int
    k: int
    tokens: int
    group_chunks: int = 0
    reuse: bool = False

    def __post_init__(self) -> None:
        for name, low in (("n", 1), ("k", 1), ("tokens", 1), ("group_chunks", 0)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low))
        object.__setattr__(self, "reuse", check_flag("reuse", self.reuse))

    def chunks(self, config: MatVecConfig) -> int:
        """Weight beats along K: ``ceil(k / lanes)``."""
        return -(-self.k // config.lanes)

    def row_groups(self, config: MatVecConfig) -> int:
        """Groups of rows along N: ``ceil(n / rows)``."""
        return -(-self.n // config.rows)

    def row_group(self, config: MatVecConfig) -> tuple[int, int, int]:
        """Result groups within one group of rows.

        Returns
        -------
        The number of full result groups, the chunks of each, and the chunks of a shorter last
        group, or 0 without one.
        """
        chunks = self.chunks(config)
        length = min(self.group_chunks or chunks, chunks)
        return chunks // length, length, chunks % length

    def result_groups(self, config: MatVecConfig) -> int:
        """Partial results of each output; 1 if ``group_chunks`` is 0."""
        full, _, rest = self.row_group(config)
        return full + (rest > 0)

    def result_beats(self, config: MatVecConfig) -> int:
        """Beats of the ``results`` stream."""
        return self.row_groups(config) * self.result_groups(config) * self.tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One job for the engine, with its operands.

    Parameters
    ----------
    trits : int8[N, K], the weights: −1, 0 and +1
    activations : int8[T, K]
    group_chunks : 0 for one result per output, else one partial result every ``group_chunks``
        chunks
    reuse : whether the activations stay those of the job before, and are not sent again

    Members
    -------
    shape : the job without its operands

    Raises
    ------
    TypeError
        If an operand is not an integer array, ``group_chunks`` is not an integer, or ``reuse`` is
        not a truth value.
    ValueError
        If the shape or a value of an operand is not legal, the operands differ in K, or
        ``group_chunks`` is negative or too large.
    """

    trits: NDArray[np.int8]
    activations: NDArray[np.int8]
    group_chunks: int = 0
    reuse: bool = False
    shape: JobShape = field(init=False)

    def __post_init__(self) -> None:
        check_trits(self.trits)
        check_activations(self.activations)
        (n, k), (tokens, activations_k) = self.trits.shape, self.activations.shape
        if k != activations_k:
            raise ValueError(
                f"trits and activations must share K, not have {k} and {activations_k}"
            )
        shape = JobShape(n=n, k=k, tokens=tokens, group_chunks=self.group_chunks, reuse=self.reuse)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "group_chunks", shape.group_chunks)
        object.__setattr__(self, "reuse", shape.reuse)


def job_limits(config: MatVecConfig) -> dict[str, tuple[int, int]]:
    """Smallest and largest legal value of each field of the job word, the lowest field first."""
    return {
        "n": (1, config.n_max),
        "k": (1, config.k_max),
        "tokens": (1, config.tokens),
        "group_chunks": (0, config.max_chunks),
        "reuse": (0, 1),
    }


def job_fields(config: MatVecConfig) -> dict[str, int]:
    """Bits of each field of the job word, the lowest field first.

    ``trilith.hw.engine.loader.job_layout`` is the same word as a layout in Amaranth.
    """
    return {name: largest.bit_length() for name, (_, largest) in job_limits(config).items()}


def _check_shape(config: MatVecConfig, shape: JobShape) -> None:
    """Raise ValueError unless every size is at most the engine's maximum."""
    for name, value, most in (
        ("N", shape.n, config.n_max),
        ("K", shape.k, config.k_max),
        ("tokens of a job", shape.tokens, config.tokens),
        ("group_chunks", shape.group_chunks, config.max_chunks),
    ):
        if value > most:
            raise ValueError(f"{name} must be at most {most}, the engine's maximum, not {value}")


def job_word(config: MatVecConfig, shape: JobShape) -> int:
    """One beat of the ``jobs`` stream, as an integer.

    Parameters
    ----------
    config : the configuration of the engine
    shape : the job

    Raises
    ------
    ValueError
        If a size is above the engine's maximum.
    """
    _check_shape(config, shape)
    word = offset = 0
    for name, bits in job_fields(config).items():
        word |= int(getattr(shape, name)) << offset
        offset += bits
    return word


def check_job(config: MatVecConfig, job: Job) -> None:
    """Raise unless the engine can run the job.

    Parameters
    ----------
    config : the configuration of the engine
    job : the job

    Raises
    ------
    ValueError
        If a size is above the engine's maximum, or an activation does not fit ``act_bits``.
    """
    _check_shape(config, job.shape)
    check_activations(job.activations, config.act_bits)


def golden_results(config: MatVecConfig, job: Job) -> NDArray[np.int32]:
    """Results that the golden model gives for a job.

    Parameters
    ----------
    config : the configuration of the engine
    job : the job

    Returns
    -------
    int32[T, N], or int32[S, T, N] with S partial results if ``group_chunks`` is not 0.
    """
    if not job.group_chunks:
        return ternary_matmul(job.trits, job.activations)
    import numpy as np

    width = job.group_chunks * config.lanes
    return np.stack(
        [
            ternary_matmul(job.trits[:, k : k + width], job.activations[:, k : k + width])
            for k in range(0, job.shape.k, width)
        ]
    )


def golden_beats(config: MatVecConfig, job: Job) -> NDArray[np.int32]:
    """Values of the ``results`` stream that the golden model gives for a job.

    The beats come by group of rows, then by result group, then by token. Rows from N on hold 0.

    Parameters
    ----------
    config : the configuration of the engine
    job : the job

    Returns
    -------
    int32[result_beats, rows]; ``last`` belongs to the final beat.
    """
    import numpy as np

    shape = job.shape
    # results (S, T, N) -> beats (group of rows, S, T), each with ``rows`` outputs
    results = golden_results(config, job).reshape(-1, shape.tokens, shape.n)
    row_groups = shape.row_groups(config)
    padding = row_groups * config.rows - shape.n
    padded = np.pad(results, ((0, 0), (0, 0), (0, padding)))
    blocks = padded.reshape(-1, shape.tokens, row_groups, config.rows)
    return blocks.transpose(2, 0, 1, 3).reshape(-1, config.rows)
