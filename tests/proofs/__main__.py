"""Proves the theorems, and prints them as a table: ``make prove`` and ``make prove-all``."""

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import Future
from time import perf_counter

from trilith.cli.output import Column, Table
from trilith.sim.tools.pool import process_pool

from .page import write_page
from .prover import Outcome
from .registry import THEOREMS
from .theorem import LEAST_KILLED, Theorem, check, kill


def _check(name: str, label: str) -> tuple[Outcome, float]:
    return check(THEOREMS[name], label)


def _kill(name: str) -> tuple[int, int, float]:
    return kill(THEOREMS[name])


def _print_trace(outcome: Outcome) -> None:
    """Print values by cycle, the failed one last; signals that stay 0 are left out."""
    room = max(map(len, outcome.trace), default=0)
    for name, values in sorted(outcome.trace.items()):
        held = name.startswith(("claim_", "assume_", "cover_")) and name not in outcome.claims
        if held or name.split(".")[-1] == "clk" or name.endswith(".rst"):
            continue
        if name not in outcome.claims and not any(value.strip("0") for value in values):
            continue
        widths = max(map(len, values))
        mark = "  <- fails" if name in outcome.claims else ""
        print(f"    {name:<{room}}  {' '.join(f'{value:>{widths}}' for value in values)}{mark}")


def prove(theorems: Iterable[Theorem], *, quick: bool, jobs: int) -> bool:
    """Prove theorems and print a row for each; return whether all hold."""
    table = Table(
        Column("theorem", "name", 42, "<"),
        Column("method", "engine", 24, "<"),
        Column("bound", "bound", 9, "<"),
        Column("cases", "cases", 5),
        Column("s", "seconds", 6, ".1f"),
        Column("result", "result", 6, "<"),
    )
    all_hold = True
    with process_pool(jobs) as pool:
        tasks: list[tuple[Theorem, dict[str, Future]]] = []
        for theorem in theorems:
            labels = [label for label, case in theorem.cases.items() if case.quick or not quick]
            if labels:
                tasks.append((theorem, {x: pool.submit(_check, theorem.name, x) for x in labels}))
        for theorem, futures in tasks:
            results = {label: future.result() for label, future in futures.items()}
            holds = all(outcome.holds for outcome, _ in results.values())
            all_hold &= holds
            table.row(
                {
                    "name": theorem.name,
                    "engine": theorem.engine,
                    "bound": theorem.bound,
                    "cases": len(results),
                    "seconds": sum(seconds for _, seconds in results.values()),
                    "result": "holds" if holds else "FAILS",
                }
            )
            print(f"    {theorem.statement}")
            if theorem.assumptions:
                print(f"    Assumed: {' '.join(theorem.assumptions)}")
            print(f"    For: {'; '.join(results)}", flush=True)
            for label, (outcome, _) in results.items():
                if not outcome.holds:
                    print(f"    {label}: {outcome.failure}: {', '.join(outcome.claims)}")
                    _print_trace(outcome)
    return all_hold


def faults(theorems: Iterable[Theorem], *, jobs: int) -> bool:
    """Put faults into the components; return whether enough of them break every theorem."""
    table = Table(
        Column("theorem", "name", 42, "<"),
        Column("faults", "faults", 6),
        Column("killed", "killed", 6),
        Column("s", "seconds", 6, ".1f"),
        Column("result", "result", 6, "<"),
    )
    enough = True
    with process_pool(jobs) as pool:
        tasks = [(theorem, pool.submit(_kill, theorem.name)) for theorem in theorems]
        for theorem, future in tasks:
            killed, count, seconds = future.result()
            found = killed >= LEAST_KILLED
            enough &= found
            table.row(
                {
                    "name": theorem.name,
                    "faults": count,
                    "killed": killed,
                    "seconds": seconds,
                    "result": "found" if found else "FAILS",
                }
            )
            sys.stdout.flush()
    return enough


def main() -> int:
    """Read the arguments, prove, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m proofs", description=__doc__)
    parser.add_argument("name", nargs="*", help="beginnings of names of theorems; none means all")
    parser.add_argument("--all", action="store_true", help="also prove the cases that take long")
    parser.add_argument("--faults", action="store_true", help="show that seeded faults are found")
    parser.add_argument("--page", action="store_true", help="write docs/proofs.md, prove nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    given = parser.parse_args()
    if given.page:
        print(write_page())
        return 0
    chosen = [
        theorem
        for name, theorem in THEOREMS.items()
        if not given.name or name.startswith(tuple(given.name))
    ]
    if not chosen:
        parser.error(f"no theorem begins with {' or '.join(map(repr, given.name))}")
    start = perf_counter()
    good = prove(chosen, quick=not given.all, jobs=given.jobs)
    if given.faults:
        print()
        good &= faults(chosen, jobs=given.jobs)
    print(f"{len(chosen)} theorems, {perf_counter() - start:.0f} s with {given.jobs} processes")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
