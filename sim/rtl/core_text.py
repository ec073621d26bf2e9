"""Text from a token core, compared with the golden model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ...golden.checkpoint.model_config import ModelConfig
from ...golden.network.token_core import CoreCache, CoreModel
from ...hw.token.config import K_MAX
from ...hw.token.image_file import check_model
from ..tools.errors import SimulationError
from .token_core import CoreRun, GoldenTrace, TokenCoreSimulator

__all__ = ["CoreNetwork", "CoreText", "answer_difference"]


class _Answer(Protocol):
    """Answer of a pass: the tokens of the largest logits, the largest first, and their values."""

    @property
    def tokens(self) -> list[int]: ...
    @property
    def logits(self) -> list[float]: ...


class CoreText(ABC):
    """A model on a token core, with the interface of ``BitNetModel`` for texts.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    tokens : most tokens of a pass
    """

    def __init__(self, model: CoreModel, tokens: int) -> None:
        self._model, self._pass_tokens = model, tokens

    @property
    def config(self) -> ModelConfig:
        """Sizes and kind of the model."""
        return self._model.config

    @property
    def ends(self) -> Any:
        """Tokens that end a text, see ``BitNetModel``."""
        return self._model.model.ends

    def generate(
        self, prompt: Sequence[int], *, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[int]:
        """Yield the tokens that follow a prompt, until the context is full.

        The prompt runs in passes of as many tokens as the core has.

        Parameters
        ----------
        prompt : token numbers, not empty
        temperature : 0 for the likeliest token; above 0 to draw among the 32 likeliest
        seed : of the draws

        Raises
        ------
        ValueError
            If the prompt is empty, longer than the context, or has a token that is not in the
            vocabulary.
        TrilithError
            If the core does not answer, reports an error, or differs from the golden model.
        """
        rng = np.random.default_rng(seed)
        cache, tokens = CoreCache(self.config), list(prompt)
        self._model.check_tokens(tokens)
        position = 0
        while position < min(len(tokens), self.config.max_positions):
            ids = tokens[position : position + self._pass_tokens]
            answers = position + len(ids) == len(tokens)
            k = (K_MAX if temperature else 1) if answers else 0
            result = self.run_pass(ids, cache, min(k, self.config.vocabulary))
            position += len(ids)
            if answers:
                logits = np.array(result.logits)
                if temperature:
                    with np.errstate(over="ignore"):
                        weights = np.exp((logits - logits[0]) / temperature)
                    choice = int(rng.choice(len(logits), p=weights / weights.sum()))
                else:
                    choice = 0
                tokens.append(result.tokens[choice])
                yield tokens[-1]

    @abstractmethod
    def run_pass(self, tokens: Sequence[int], cache: CoreCache, k: int) -> _Answer:
        """Run a pass behind the tokens in a cache; k is the number of logits to answer with."""


def answer_difference(golden: GoldenTrace, answer: _Answer, k: int) -> str | None:
    """Say how the answer of a core differs from the golden model's.

    Parameters
    ----------
    golden : the same pass in the golden model
    answer : the tokens of the largest logits, and their values
    k : logits that were asked for

    Returns
    -------
    None if all are equal
    """
    best = np.argsort(-golden.logits, kind="stable")[:k]
    if answer.tokens != best.tolist():
        return f"the answer is {answer.tokens}, not {best.tolist()}"
    if answer.logits != golden.logits[best].tolist():
        return f"the logits are {answer.logits}, not {golden.logits[best].tolist()}"
    return None


class CoreNetwork(CoreText):
    """A model on a simulated token core; every vector is compared with the golden model.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    simulator : an entered ``TokenCoreSimulator`` with this model's image
    overflow : go on if a value is too large, in the core and in the golden model

    Raises
    ------
    CheckpointError
        If the image is of another model.

    Attributes
    ----------
    runs : what the core did in each pass
    """

    def __init__(
        self, model: CoreModel, simulator: TokenCoreSimulator, *, overflow: bool = False
    ) -> None:
        check_model(simulator.image, model)
        super().__init__(model, simulator.image.config.tokens)
        self._goes_on = overflow
        self._simulator = simulator
        self.runs: list[CoreRun] = []
        self._overflow = False

    def run_pass(self, tokens: Sequence[int], cache: CoreCache, k: int) -> CoreRun:
        """Run a pass behind the tokens in a cache, and compare it.

        Parameters
        ----------
        tokens : one or more, at most as many as a pass of the core has
        cache : keys and values that the core has too; those of the pass are added
        k : see ``TokenCoreSimulator.run``

        Raises
        ------
        SimulationError
            If the core does not answer, reports an error, or differs from the golden model.
        """
        position = cache.length
        golden = GoldenTrace(self._model, tokens, cache)
        result = self._simulator.run(tokens, position, k)
        self.runs.append(result)
        difference = golden.difference(result.vectors, head=k > 0)
        difference = difference or answer_difference(golden, result, k)
        self._overflow |= golden.overflow(head=k > 0)
        if difference is None and result.error != self._overflow:
            difference = f"the error flag is {result.error}, not {self._overflow}"
        if difference is not None:
            raise SimulationError(
                f"the token core differs from the golden model at position {position}: {difference}"
            )
        if result.error and not self._goes_on:
            raise SimulationError(
                f"the token core reports an error at position {position}: a value was too large"
            )
        return result
