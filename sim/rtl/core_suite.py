"""Cases of the part ``core``: the simulated token core against its golden model."""

import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from ...golden.checkpoint.tokenizer import load_tokenizer
from ...golden.data import PYDOC
from ...golden.network.random_model import random_model
from ...golden.network.token_core import CoreModel
from ...golden.network.transformer import BitNetModel
from ...hw.config import MatVecConfig
from ...hw.token.config import CORE_PRESETS, TokenConfig
from ...hw.token.image import compile_image
from ...hw.token.image_file import Image
from ..tools.errors import SimulationError
from .cases import CaseResult, core_result
from .core_faults import FaultCase, memory_errors, passes, programs, resets
from .core_text import CoreNetwork
from .memory_model import MemoryModel
from .token_core import TokenCoreSimulator

__all__ = ["PAIRS", "PROMPTS", "build_core", "core_images", "run_core"]

#: Small core whose chunks have rows of two positions. The rows of its head are weight beats, whose
#: 20 bytes do not divide a chunk of 64.
PAIRS = replace(
    CORE_PRESETS["small"],
    engine=MatVecConfig(lanes=20, rows=5, k_max=128, n_max=160),
    attention_lanes=64,
)

#: The same core for prompts of 4 tokens at a time.
PROMPTS = replace(PAIRS, engine=replace(PAIRS.engine, tokens=4))

_TABLE = tomllib.loads((Path(__file__).parent / "suite.toml").read_text())["core"]


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A text that a core continues; every vector is compared.

    Parameters
    ----------
    name : what is special about the case
    model : the model in the arithmetic of the core
    config : configuration of the core
    prompt : token numbers
    tokens : how many tokens to add; None for as many as the context holds
    memory : speed of the memories
    temperature : see ``CoreNetwork.generate``
    beyond : send the token behind a full context too, which the core must refuse
    overflow : values are too large, so that the sticky error is set
    decode : text of token numbers, if the model has texts
    """

    name: str
    model: CoreModel
    config: TokenConfig
    prompt: Sequence[int]
    tokens: int | None = None
    memory: MemoryModel | None = None
    temperature: float = 0.0
    beyond: bool = False
    overflow: bool = False
    decode: Callable[[list[int]], str] | None = None

    def run(self) -> CaseResult:
        """Run the case."""
        start, failure, answer = time.perf_counter(), "", list(self.prompt)
        image = compile_image(self.model, self.config)
        with TokenCoreSimulator(image, memory=self.memory) as simulator:
            network = CoreNetwork(self.model, simulator, overflow=self.overflow)
            try:
                text = network.generate(self.prompt, temperature=self.temperature)
                answer += islice(text, self.tokens)
                if self.beyond:
                    failure = self._refuses(simulator)
                if self.overflow and not network.runs[-1].error:
                    failure = "a value must be too large, and none is"
            except SimulationError as error:
                failure = str(error)
        return core_result(
            self.model,
            self.config,
            network.runs,
            name=self.name,
            seconds=time.perf_counter() - start,
            failure=failure,
            remark="" if self.decode is None else f"; {self.decode(answer)!r:.60}",
        )

    def _refuses(self, simulator: TokenCoreSimulator) -> str:
        """Send a token behind a full context; say what is wrong with the answer."""
        found = simulator.command(0, self.model.config.max_positions, 1)
        if found.error and not found.tokens and not found.vectors:
            return ""
        return "the core must refuse a token behind a full context, and runs it"


@cache
def _trained() -> tuple[Any, CoreModel]:
    """The tokenizer and the model in the repository."""
    return load_tokenizer(PYDOC), CoreModel(model=BitNetModel.load(PYDOC))


def _small(family: str, *, groups: int = 1, **changes: int) -> BitNetModel:
    """A random model that fits the small core."""
    config = _TABLE["model"] | _TABLE["families"][family] | changes
    return random_model(config, seed=3, groups=groups)


def _zeros(model: BitNetModel) -> BitNetModel:
    """The model with an embedding of zeros for token 4, and one embedding for tokens 6 to 9."""
    embedding = model.embedding.copy()
    embedding[4] = 0
    embedding[7:10] = embedding[6]
    return replace(model, embedding=embedding, head=embedding)


def _large(model: BitNetModel) -> BitNetModel:
    """The model with an embedding and gains whose products are too large for elements."""
    gains = {**model.layers[0].gains}
    gains["input_layernorm"] = gains["input_layernorm"] * np.float32(1e37)
    embedding = model.embedding * np.float32(1e10)
    layers = (replace(model.layers[0], gains=gains), *model.layers[1:])
    return replace(model, layers=layers, embedding=embedding, head=embedding)


def _cases() -> Iterator[_Case]:
    """All cases: texts of the trained model, then random models on a small core."""
    tokenizer, trained = _trained()
    pydoc, small = CORE_PRESETS["pydoc"], CORE_PRESETS["small"]
    slow = {name: MemoryModel(**speed) for name, speed in _TABLE["memories"].items()}
    first = _TABLE["prompts"][0]
    for name, text, tokens, memory in (
        *((f"after {text!r}", text, _TABLE["tokens"], None) for text in _TABLE["prompts"]),
        *((name, first, 8, slow[name]) for name in ("slow memories", "pauses on every port")),
    ):
        yield _Case(
            name=name,
            model=trained,
            config=pydoc,
            prompt=tokenizer.encode(text).ids,
            tokens=tokens,
            memory=memory,
            decode=tokenizer.decode,
        )
    llama = CoreModel(model=_small("llama", groups=2))
    yield _Case(name="Llama, group scales, full context", model=llama, config=small, prompt=[5, 3])
    for name, memory in slow.items():
        yield _Case(
            name=f"Llama, {name}", model=llama, config=small, prompt=[9], tokens=6, memory=memory
        )
    bitnet = CoreModel(model=_small("bitnet", max_position_embeddings=31))
    yield _Case(
        name="BitNet, one token too many",
        model=bitnet,
        config=small,
        prompt=[1],
        beyond=True,
    )
    yield _Case(
        name="zeros, equal logits, 32 answers",
        model=CoreModel(model=_zeros(_small("bitnet"))),
        config=small,
        prompt=[4, 6, 4],
        tokens=8,
        temperature=1.0,
    )
    yield _Case(
        name="values that are too large",
        model=CoreModel(model=_large(_small("bitnet"))),
        config=small,
        prompt=[1, 2],
        tokens=3,
        overflow=True,
    )
    odd = CoreModel(model=_small("llama", vocab_size=157))
    for name, tokens, memory in (
        ("full context", None, None),
        ("slow memories", 6, slow["slow memories"]),
        ("pauses on every port", 6, slow["pauses on every port"]),
    ):
        yield _Case(
            name=f"Llama, head in weight beats, {name}",
            model=odd,
            config=PAIRS,
            prompt=[8, 2],
            tokens=tokens,
            memory=memory,
        )
    yield from _prompt_cases(slow)
    tiny = CoreModel(model=_small("bitnet", **_TABLE["below"]))
    yield _Case(name="BitNet, sizes below the maxima", model=tiny, config=small, prompt=[2])


def _prompt_cases(slow: Mapping[str, MemoryModel]) -> Iterator[_Case]:
    """Prompts of several tokens at a time: whole passes and a part of one, then single tokens."""
    # Each of two groups of inputs must be a multiple of the engine's 20 lanes.
    sizes = {"hidden_size": 40, "intermediate_size": 80, "head_dim": 20}
    models = {
        "Llama, group scales": CoreModel(model=_small("llama", groups=2, **sizes)),
        "BitNet": CoreModel(model=_small("bitnet")),
    }
    prompt = _TABLE["prompt_tokens"]
    for (family, model), (name, memory) in product(models.items(), [("", None), *slow.items()]):
        yield _Case(
            name=f"{family}, prompt of {len(prompt)} tokens{name and f', {name}'}",
            model=model,
            config=PROMPTS,
            prompt=prompt,
            tokens=3,
            memory=memory,
        )


def _fault_cases() -> Iterator[FaultCase]:
    """Cases of faults, on the same cores."""
    tokenizer, trained = _trained()
    pydoc, small = CORE_PRESETS["pydoc"], CORE_PRESETS["small"]
    llama = CoreModel(model=_small("llama", groups=2))
    prompt = tokenizer.encode(_TABLE["prompts"][-1]).ids
    odd = CoreModel(model=_small("bitnet", vocab_size=157))
    # A position behind its context, and a token behind its vocabulary, have a place in a command.
    short = CoreModel(model=_small("bitnet", vocab_size=157, max_position_embeddings=31))
    for name, model, config, tokens, faults in (
        ("resets within a token", trained, pydoc, prompt, resets),
        ("Llama, resets within a token", llama, small, [9, 7], resets),
        ("BitNet, head in weight beats, resets", odd, PAIRS, [9, 7], resets),
        ("BitNet, head in weight beats, memory errors", odd, PAIRS, [9, 7], memory_errors),
        ("Llama, memory errors", llama, small, [9, 7], memory_errors),
        ("Llama, programs that are not legal", llama, small, [9, 7], programs),
        ("BitNet, resets within a pass", odd, PROMPTS, _TABLE["prompt_tokens"], resets),
        ("BitNet, passes that are not legal", short, PROMPTS, _TABLE["prompt_tokens"], passes),
    ):
        yield FaultCase(name=name, model=model, config=config, prompt=tokens, faults=faults)


def run_core() -> Iterator[CaseResult]:
    """Run all cases."""
    return (case.run() for case in (*_cases(), *_fault_cases()))


def core_images() -> list[Image]:
    """Compile one image for each core of the cases."""
    images = {}
    for case in _cases():
        if case.config not in images:
            images[case.config] = compile_image(case.model, case.config)
    return list(images.values())


def build_core(image: Image) -> None:
    """Build the core of an image, unless the cache has it."""
    TokenCoreSimulator(image)
