"""Cycles of a token in the token core, equal to those of the RTL."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ....golden.checks import check_integer
from ....hw.token.config import K_MAX, TokenConfig, check_core_config
from ....hw.token.program import Instruction
from ...rtl.memory_model import MemoryModel
from .core import Core
from .sequencer import Command

__all__ = ["CoreCycles", "core_cycles"]


@dataclass(frozen=True, kw_only=True)
class CoreCycles:
    """Cycles of a pass in a token core, as ``CoreRun`` counts them.

    Parameters
    ----------
    cycles : from the acceptance of the first command to the end of its last result
    by_part : cycles of each part, a cycle for the first one that works, and of ``sequencing``, when
        none works
    bytes_by_part : bytes that the two memories deliver in these cycles: weight beats, and words of
        the memory port; it is not compared
    """

    cycles: int
    by_part: dict[str, int]
    bytes_by_part: dict[str, int] = field(default_factory=dict, compare=False)


def core_cycles(
    config: TokenConfig,
    program: Sequence[Instruction],
    *,
    token: int | Sequence[int],
    position: int,
    k: int = 1,
    memory: MemoryModel | None = None,
) -> CoreCycles:
    """Return the cycles of a token or of a pass, as ``TokenCoreSimulator.run`` counts them.

    The count is exact for fast and slow memories. It does not depend on data: each part of the core
    is followed cycle by cycle without its numbers. This takes about a fifth of a second for 10,000
    cycles.

    Parameters
    ----------
    config : configuration of the core
    program : the program of a model, see ``Image.program``
    token : a token, or those of a pass
    position : that of the first token
    k : logits to answer with behind the last token
    memory : speed of the memories, without pauses and faults; by default they answer at once

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``, or a number is not an integer.
    ValueError
        If the core would refuse the command, or the memory has pauses or a fault.
    """
    check_core_config(config)
    memory = memory or MemoryModel()
    if memory.pauses or memory.fails_at is not None:
        raise ValueError("memory must have no pauses and no fault, whose cycles are not known")
    fields = program[0].fields
    tokens = tuple(token) if isinstance(token, Sequence) else (token,)
    check_integer("the number of tokens", len(tokens), 1, min(config.tokens, fields["context"]))
    for one in tokens:
        check_integer("token", one, 0, fields["vocabulary"] - 1)
    position = check_integer("position", position, 0, fields["context"] - len(tokens))
    k = check_integer("k", k, 0, min(K_MAX, fields["vocabulary"]))
    command = Command(tokens=tokens, position=position, k=k)
    core = Core(config, program, memory, command)
    parts = core.run()
    return CoreCycles(cycles=sum(parts.values()), by_part=parts, bytes_by_part=core.bytes_by_part)
