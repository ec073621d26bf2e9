"""Faults of the simulated token core: resets, memory errors, and programs that it refuses."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from ...golden.network.token_core import CoreCache, CoreModel
from ...hw.token.config import TokenConfig
from ...hw.token.image import compile_image
from ...hw.token.image_file import Image
from ...hw.token.program import INSTRUCTION_BYTES, Op
from ..tools.errors import SimulationError
from .cases import CaseResult, core_result
from .core_text import CoreNetwork
from .memory_model import MemoryModel
from .token_core import CoreRun, GoldenTrace, TokenCoreSimulator

__all__ = ["FaultCase", "memory_errors", "passes", "programs", "read_ranges", "resets"]


def read_ranges(image: Image, token: int) -> dict[str, tuple[int, int]]:
    """Bytes of the memory that a token reads at position 0.

    Parameters
    ----------
    image : the compiled model
    token : its number

    Returns
    -------
    First and last byte of each list, by its name
    """
    program, sizes = image.program, image.sizes
    kinds = {op: [one.fields for one in program if one.op is op] for op in Op}
    setup, embed, head = kinds[Op.SETUP][0], kinds[Op.EMBED][0], kinds[Op.HEAD][0]
    angles, attend, down = kinds[Op.ANGLES][0], kinds[Op.ATTEND][0], kinds[Op.PRODUCT][-1]
    hidden, size, vocabulary = sizes["hidden"], sizes["head_size"], sizes["vocabulary"]
    starts = {
        "program": (0, INSTRUCTION_BYTES * len(program)),
        "angles": (angles["address"], 4 * size),
        "gains": (embed["peak_gains"], 4 * hidden),
        "last gains": (down["peak_gains"], 4 * hidden),
        "scale of the embedding": (embed["scales"] + 4 * token, 4),
        "embedding": (embed["rows"] + token * setup["embedding_bytes"], hidden),
        "scale of a key": (attend["address"], 4),
        "key": (attend["address"] + attend["scale_step"], size),
        "scales of the head": (head["address"], 4 * vocabulary),
    }
    if not image.config.head_on_weights:
        rows = head["address"] + head["scale_step"]
        starts["head"] = (rows, vocabulary * setup["embedding_bytes"])
    return {name: (start, start + count - 1) for name, (start, count) in starts.items()}


@dataclass(frozen=True, kw_only=True)
class FaultCase:
    """Faults of one kind: each must end as ``TokenCore`` says, and the next text must be right.

    Parameters
    ----------
    name : what is special about the case
    model : the model in the arithmetic of the core
    config : configuration of the core
    prompt : token numbers of the texts; a text has two tokens more
    faults : function of the case; it yields what the core did in each pass
    """

    name: str
    model: CoreModel
    config: TokenConfig
    prompt: Sequence[int]
    faults: Callable[["FaultCase", Image], Iterator[CoreRun]]

    def run(self) -> CaseResult:
        """Run the case."""
        start, failure, runs = time.perf_counter(), "", []
        try:
            runs += self.faults(self, compile_image(self.model, self.config))
        except SimulationError as error:
            failure = str(error)
        seconds = time.perf_counter() - start
        return core_result(
            self.model, self.config, runs, name=self.name, seconds=seconds, failure=failure
        )

    def text(self, simulator: TokenCoreSimulator) -> list[CoreRun]:
        """Run a text, and compare all of its vectors."""
        network = CoreNetwork(self.model, simulator)
        list(islice(network.generate(self.prompt), 2))
        return network.runs


def resets(case: FaultCase, image: Image) -> Iterator[CoreRun]:
    """Reset a core at many cycles of a pass, so that every part is busy at some of them."""
    tokens, position = case.prompt[: case.config.tokens], len(case.prompt)
    with TokenCoreSimulator(image) as core:
        yield from case.text(core)
        cycles = core.run(tokens, position).cycles
        for after in (*range(1, 8), *np.linspace(8, cycles, 24).astype(int).tolist()):
            core.reset(tokens, position, 1, cycles=after)
            yield from case.text(core)


def passes(case: FaultCase, image: Image) -> Iterator[CoreRun]:
    """Send passes that are not legal; none makes a vector, and the next pass must be right."""
    sizes, most = case.model.config, case.config.tokens
    last = sizes.max_positions - 1
    wrong = {
        "more commands than tokens": [(3, place, 1) for place in range(most + 1)],
        "twice as many and one more": [(3, place, 1) for place in range(2 * most + 1)],
        "a position twice": [(3, 0, 0), (3, 0, 1)],
        "a position left out": [(3, 0, 0), (3, 2, 1)],
        "positions that count down": [(3, 1, 0), (3, 0, 1)],
        "a position beyond the context": [(3, last, 0), (3, last + 1, 1)],
        "a first token beyond the vocabulary": [(sizes.vocabulary, 0, 0), (3, 1, 1)],
        "a last token beyond the vocabulary": [(3, 0, 0), (sizes.vocabulary, 1, 1)],
    }
    tokens = list(case.prompt[:most])
    for name, commands in wrong.items():
        with TokenCoreSimulator(image) as core:
            found = core.commands(commands)
            if not found.error or found.tokens or found.vectors:
                raise SimulationError(f"the core runs a pass with {name}")
            golden = GoldenTrace(case.model, tokens, CoreCache(sizes))
            result = core.run(tokens, 0)
            difference = golden.difference(result.vectors, head=True)
            if difference is not None:
                raise SimulationError(f"behind a pass with {name}: {difference}")
            yield result


def memory_errors(case: FaultCase, image: Image) -> Iterator[CoreRun]:
    """Let the first, the middle and the last read of each list fail."""
    for name, (first, last) in read_ranges(image, case.prompt[0]).items():
        for byte in (first, (first + last) // 2, last):
            with TokenCoreSimulator(image, memory=MemoryModel(fails_at=byte)) as core:
                try:
                    core.run(case.prompt[0], 0)
                except SimulationError as error:
                    if not str(error).endswith(" with 0 of 1 answers"):
                        raise
                else:
                    raise SimulationError(f"the core accepts an error in the {name}, byte {byte}")
                core.reset()
                yield from case.text(core)


def programs(case: FaultCase, image: Image) -> Iterator[CoreRun]:
    """Run programs that end early, and unknown instructions."""
    whole = image.program_words
    found = [replace(image, program_words=count) for count in (0, 1, whole // 2, whole - 1)]
    for index in range(len(image.program)):
        memory = image.memory.copy()
        memory[INSTRUCTION_BYTES * index] = 1 + max(Op)
        found.append(replace(image, memory=memory))
    for wrong in found:
        with TokenCoreSimulator(wrong) as core:
            for _ in range(2):
                result = core.command(case.prompt[0], 0, 1)
                if result.tokens or not result.error:
                    raise SimulationError("the core runs a program that is not legal")
                yield result
