"""Theorems: what is claimed of a component, in words and as benches."""

from collections.abc import Callable
from dataclasses import dataclass
from os import times

from .bench import Bench
from .model import build_model
from .prover import Method, Outcome, Prover

#: Seeded faults of a component, of which at least ``LEAST_KILLED`` must break its theorem.
FAULTS, LEAST_KILLED = 12, 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A theorem for one set of parameters.

    Parameters
    ----------
    build : makes the bench
    depth : see ``Prover.prove``
    quick : whether ``make prove`` proves it; the others are for ``make prove-all``
    faults : number of seeded faults; more where most of them are outside the theorem's subject
    exhaustive : the part of the statement that is about golden functions alone: computed for each
        input in turn, and whether it holds
    """

    build: Callable[[], Bench]
    depth: int = 0
    quick: bool = True
    faults: int = FAULTS
    exhaustive: Callable[[], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Theorem:
    """A statement about a component.

    Parameters
    ----------
    name : short name
    file : file of the component, below the top of the checkout
    statement : one or two sentences
    assumptions : conditions of the environment, each a noun phrase or a sentence; they hold in
        every cycle
    method : how it is proven
    cases : the parameters for which it is proven; the first one is the one with faults
    """

    name: str
    file: str
    statement: str
    assumptions: tuple[str, ...] = ()
    method: Method = Method.INDUCTION
    cases: dict[str, Case]

    @property
    def bound(self) -> str:
        """The bound: ``unbounded``, or the cycles after a reset."""
        if self.method == Method.BOUNDED:
            return f"{max(case.depth for case in self.cases.values())} cycles"
        return "unbounded"

    @property
    def cases_text(self) -> str:
        """The parameters, with a mark at those that ``make prove`` leaves out."""
        return "; ".join(
            label if case.quick else f"{label} (long)" for label, case in self.cases.items()
        )

    @property
    def engine(self) -> str:
        """How it is proven, in words."""
        depths = sorted({case.depth for case in self.cases.values()})
        span = f"{depths[0]}" if len(depths) == 1 else f"{depths[0]} to {depths[-1]}"
        if self.method == Method.STATE:
            golden = any(case.exhaustive for case in self.cases.values())
            every = ", every input" if golden else ""
            return "any state" if depths == [0] else f"any state, {span} cycles{every}"
        if self.method == Method.BOUNDED:
            return "from a reset"
        return f"induction, depth {span}"


def _seconds() -> float:
    """Processor seconds of this process and of the programs that it ran."""
    return sum(times()[:4])


def check(theorem: Theorem, label: str) -> tuple[Outcome, float]:
    """Prove a case, and see that its assumptions can be met and its covers reached.

    Returns
    -------
    The outcome, and the processor seconds that it took, conversion included.
    """
    start = _seconds()
    case = theorem.cases[label]
    bench = case.build()
    if not bench.properties["claim"]:
        raise ValueError(f"{theorem.name}: the bench claims nothing")
    prover = Prover(bench, build_model(bench))
    outcome = prover.prove(theorem.method, case.depth)
    if outcome.holds:
        state = theorem.method == Method.STATE
        cycles = case.depth + 1 if state else max(case.depth, bench.reach)
        missing = [name for name, met in prover.covers(cycles, reset=not state) if not met]
        if missing:
            outcome = Outcome(failure=f"cannot be reached: {', '.join(missing)}")
        elif case.exhaustive and not case.exhaustive():
            outcome = Outcome(failure="an input breaks what is claimed of the golden function")
    return outcome, _seconds() - start


def kill(theorem: Theorem) -> tuple[int, int, float]:
    """Prove the first case with faults in its component, one at a time.

    Returns
    -------
    The faults for which the proof fails, all faults, and the processor seconds.
    """
    start = _seconds()
    case = next(iter(theorem.cases.values()))
    bench = case.build()
    model = build_model(bench, faults=case.faults)
    prover = Prover(bench, model)
    clean = prover.prove(theorem.method, case.depth)
    if not clean.holds:
        raise AssertionError(f"{theorem.name}: {clean.failure} without a fault")
    outcomes = [
        prover.prove(theorem.method, case.depth, fault=number + 1) for number in range(case.faults)
    ]
    killed = sum(bool(outcome.claims) for outcome in outcomes)
    return killed, case.faults, _seconds() - start
