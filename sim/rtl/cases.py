"""Results of the cases of ``make sim``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...golden.network.token_core import CoreModel
from ...hw.config import MatVecConfig
from ...hw.token.config import TokenConfig
from .parts import Part
from .product import Work
from .token_core import CoreRun

__all__ = ["CaseResult", "case_result", "core_result"]


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """The result of a case.

    Parameters
    ----------
    part : a value of ``Part``, or ``network``
    name : what is special about the case
    shape : "N x K x T" without blanks: outputs, inputs, activation vectors; or a number of jobs
    engine : lanes × rows × tokens, such as "64x5x4"
    code : weight code
    cycles : cycles from the acceptance of the first job to the last result, both included
    utilization : MACs of the case per MAC that the engine can do in these cycles
    macs_per_second : MACs of the case per second of simulation; 0 if no time was measured
    passed : whether every result equals that of the golden model
    detail : the differences, or a remark
    """

    part: str
    name: str
    shape: str
    engine: str
    code: str
    cycles: int
    utilization: float
    macs_per_second: float
    passed: bool
    detail: str = ""


def case_result(
    config: MatVecConfig, work: Work, *, part: str, name: str, shape: str, detail: str = ""
) -> CaseResult:
    """Make the result of a case; the rates of a case that did not run are 0."""
    possible = work.cycles * config.macs_per_clock
    return CaseResult(
        part=part,
        name=name,
        shape=shape,
        engine=str(config),
        code=config.code,
        cycles=work.cycles,
        utilization=work.macs / possible if possible else 0.0,
        macs_per_second=work.macs / work.seconds if work.seconds else 0.0,
        passed=not work.wrong,
        detail=f"{work.wrong} results differ from the golden model" if work.wrong else detail,
    )


def core_result(
    model: CoreModel,
    config: TokenConfig,
    runs: Sequence[CoreRun],
    *,
    name: str,
    seconds: float,
    failure: str,
    remark: str = "",
) -> CaseResult:
    """Make the result of a case of the token core, from its tokens.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    config : configuration of the core
    runs : what the core did in each pass
    name : what is special about the case
    seconds : of the case
    failure : what is wrong; empty for nothing
    remark : what a case without a failure says, behind the number of vectors
    """
    tokens = sum(run.count for run in runs)
    weights = model.config.layers * sum(map(math.prod, model.config.linear_shapes.values()))
    work = Work(
        cycles=sum(run.cycles for run in runs),
        macs=tokens * weights,
        seconds=seconds,
        wrong=int(bool(failure)),
    )
    result = case_result(config.engine, work, part=Part.CORE, name=name, shape=f"{tokens} tokens")
    vectors = sum(len(run.vectors) for run in runs)
    return replace(result, detail=failure or f"{vectors} vectors{remark}")
