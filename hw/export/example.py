"""The worked example of the pages: one product on a small engine, beat by beat."""

from dataclasses import dataclass

import numpy as np

from ...golden.codes import CODES
from ..beats import activation_beats, result_numbers, weight_beats
from ..config import MatVecConfig
from ..engine.loader import job_layout
from ..engine.results import results_shape
from ..jobs import Job, golden_results, job_word

__all__ = ["Example", "worked_example"]

#: Weights W[2, 9] of the example.
_TRITS = ((1, 0, -1, 1, 1, -1, 0, 1, -1), (-1, -1, 0, 0, 1, 1, 1, 0, 1))

#: Activations x[9] by their bits, with the smallest and the largest value.
_ACTIVATIONS = {
    8: (3, -128, 7, 0, 127, -1, 2, -5, 64),
    4: (3, -8, 7, 0, 5, -1, 2, -5, 4),
    2: (1, -1, 0, 1, 1, 0, -1, 1, -1),
}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A job on a small engine.

    Parameters
    ----------
    config : the engine
    job : the job, with one token
    """

    config: MatVecConfig
    job: Job

    @property
    def results(self) -> list[int]:
        """The products y, one for each output."""
        return golden_results(self.config, self.job)[0].tolist()

    @property
    def beats(self) -> dict[str, list[bytes]]:
        """Beats of each stream, byte 0 first."""
        config, job = self.config, self.job
        word = job_word(config, job.shape)
        size = -(-results_shape(config).size // 8)
        return {
            "jobs": [word.to_bytes(-(-job_layout(config).size // 8), "little")],
            "activations": [x.tobytes() for x in activation_beats(config, job.activations)],
            "weights": [beat.tobytes() for beat in weight_beats(config, job.trits)],
            "results": [one.to_bytes(size, "little") for one in result_numbers(config, job)],
        }


def _trits(code: str) -> np.ndarray:
    """Weights of the example: a code that counts zeros gets +1 for zeros that it cannot hold."""
    trits, zeros, span = np.array(_TRITS, np.int8), CODES[code].zeros, CODES[code].span
    if zeros is not None:
        for row in trits:
            for place in np.flatnonzero(row == 0):
                if np.count_nonzero(row[place - place % span : place] == 0) >= zeros:
                    row[place] = 1
    return trits


def worked_example(code: str, act_bits: int) -> Example:
    """Make the example: 7 lanes, or 8 where whole symbols must fill the lanes, and 2 rows.

    Parameters
    ----------
    code : a key of ``CODES``
    act_bits : 8, 4 or 2
    """
    config = MatVecConfig(
        lanes=7 + -7 % CODES[code].span, rows=2, act_bits=act_bits, code=code, k_max=9, n_max=2
    )
    activations = np.array([_ACTIVATIONS[act_bits]], np.int8)
    return Example(config=config, job=Job(trits=_trits(code), activations=activations))
