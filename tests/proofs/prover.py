"""Proofs over a model: any state, induction, and bounded runs from a reset."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bitwuzla import Bitwuzla, Kind, Options, Result, Term

from .bench import Bench
from .model import Model

#: The solver gives up a question after this many seconds.
SECONDS = 600


class Method(StrEnum):
    """Ways of a proof.

    ``state``: the claims hold at the end of some cycles from any state. ``induction``: they hold in
    the cycles after a reset, and some cycles with them in a row lead to another such cycle.
    ``bounded``: they hold in the cycles after a reset, up to a bound.
    """

    STATE = "state"
    INDUCTION = "induction"
    BOUNDED = "bounded"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a proof: empty if it holds, else the step that failed and a counterexample."""

    failure: str = ""
    #: Names of the claims that fail, and the values of all ports, a list over the cycles.
    claims: tuple[str, ...] = ()
    trace: dict[str, list[str]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the proof holds."""
        return not self.failure


class _Run:
    """Cycles of a model one after the other, from an arbitrary state on.

    Parameters
    ----------
    reset : whether the first cycle is a reset, so that the second is the first one after it
    fault : number of the fault that is active, 0 for none
    """

    def __init__(self, bench: Bench, model: Model, *, reset: bool, fault: int = 0) -> None:
        self._bench, self._model, self._reset, self._fault = bench, model, reset, fault
        self._tm = model.manager
        self._state: dict[Term, Term] = {register: register for register in model.registers}
        self._names = list(model.values)
        self.cycles: list[dict[str, Term]] = []

    def _input(self, term: Term, name: str) -> Term:
        base = name.split(" [")[0]
        if base == "rst" and self._reset and not self.cycles:
            return self._bits(term, 1)
        if base == "rst" and not self._bench.resets:
            return self._bits(term, 0)
        if base == "fault":
            return self._bits(term, self._fault)
        if base in self._bench.constants:
            return term
        return self._tm.mk_const(term.sort(), f"{name}@{len(self.cycles)}")

    def _bits(self, term: Term, value: int) -> Term:
        if term.sort().is_bool():
            return self._tm.mk_true() if value else self._tm.mk_false()
        return self._tm.mk_bv_value(term.sort(), value)

    def step(self) -> None:
        """Add a cycle."""
        given = dict(self._state)
        for term, name in self._model.inputs.items():
            given[term] = self._input(term, name)
        following = list(self._model.registers.values())
        wanted = [self._model.values[name] for name in self._names]
        made = self._tm.substitute_terms(wanted + following, given)
        self.cycles.append(dict(zip(self._names, made, strict=False)))
        self._state = dict(zip(self._model.registers, made[len(wanted) :], strict=True))

    def properties(self, kind: str, cycle: int) -> list[Term]:
        """Terms of all properties of a kind in a cycle."""
        return [self.cycles[cycle][name] for name in self._bench.properties[kind]]


class Prover:
    """Proves the claims of a bench.

    Parameters
    ----------
    bench : the bench
    model : its model
    """

    def __init__(self, bench: Bench, model: Model) -> None:
        self._bench, self._model = bench, model

    def _solver(self) -> Bitwuzla:
        options = Options()
        options.set("produce-models", True)
        options.set("time-limit-per", 1000 * SECONDS)
        return Bitwuzla(self._model.manager, options)

    def prove(self, method: Method, depth: int, *, fault: int = 0) -> Outcome:
        """Prove the claims.

        Parameters
        ----------
        method : how
        depth : cycles before the one that is proven; of a bounded proof, cycles after the reset
        fault : number of the fault that is active, 0 for none
        """
        if method != Method.STATE:
            base = self._base(depth, fault)
            if not base.holds or method == Method.BOUNDED:
                return base
        run = _Run(self._bench, self._model, reset=False, fault=fault)
        solver = self._solver()
        for cycle in range(depth + 1):
            run.step()
            for term in run.properties("assume", cycle):
                solver.assert_formula(term)
            if method == Method.INDUCTION and cycle < depth:
                for term in run.properties("claim", cycle):
                    solver.assert_formula(term)
        what = "any state" if method == Method.STATE else "induction step"
        return self._ask(solver, run, depth, f"{what}, cycle {depth}")

    def _base(self, depth: int, fault: int) -> Outcome:
        """Claims in the cycles after a reset in any state; assumptions begin after the reset."""
        run = _Run(self._bench, self._model, reset=True, fault=fault)
        solver = self._solver()
        run.step()
        for cycle in range(1, depth + 1):
            run.step()
            for term in run.properties("assume", cycle):
                solver.assert_formula(term)
            outcome = self._ask(solver, run, cycle, f"cycle {cycle} after a reset")
            if not outcome.holds:
                return outcome
        return Outcome()

    def _ask(self, solver: Bitwuzla, run: _Run, cycle: int, what: str) -> Outcome:
        """Look for a violation of a claim in a cycle."""
        tm = self._model.manager
        solver.push()
        wrong = [tm.mk_term(Kind.NOT, [term]) for term in run.properties("claim", cycle)]
        solver.assert_formula(tm.mk_term(Kind.OR, [*wrong, tm.mk_false()]))
        result = solver.check_sat()
        if result == Result.UNSAT:
            solver.pop()
            return Outcome()
        if result == Result.UNKNOWN:
            return Outcome(failure=f"{what}: the solver gave up after {SECONDS} s")
        trace = {name: _values(solver, run, name) for name in run.cycles[0]}
        failed = [name for name in self._bench.properties["claim"] if trace[name][-1] == "0"]
        return Outcome(failure=what, claims=tuple(failed), trace=trace)

    def covers(self, cycles: int, *, reset: bool) -> Iterator[tuple[str, bool]]:
        """Whether each cover can be reached with all assumptions met.

        Parameters
        ----------
        cycles : cycles to look at
        reset : whether they follow a reset, or come from any state
        """
        run = _Run(self._bench, self._model, reset=reset)
        solver = self._solver()
        run.step()
        first = 0
        if reset:
            run.step()
            first = 1
        while len(run.cycles) < first + cycles:
            run.step()
        for cycle in range(first, len(run.cycles)):
            for term in run.properties("assume", cycle):
                solver.assert_formula(term)
        tm = self._model.manager
        for name in [*self._bench.properties["cover"], ""]:
            solver.push()
            terms = [one[name] if name else tm.mk_true() for one in run.cycles[first:]]
            solver.assert_formula(tm.mk_term(Kind.OR, [*terms, tm.mk_false()]))
            yield name or "assumptions", solver.check_sat() == Result.SAT
            solver.pop()


def _values(solver: Bitwuzla, run: _Run, name: str) -> list[str]:
    return [_text(solver.get_value(cycle[name])) for cycle in run.cycles]


def _text(value: Term) -> str:
    if value.sort().is_bool():
        return str(int(value.value()))
    if value.sort().is_bv():
        number = int(value.value(2), 2)
        return f"{number:x}"
    return "?"
