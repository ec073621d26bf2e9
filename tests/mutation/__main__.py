"""Command: ``python -m mutation`` in the folder ``tests``; see ``--help``."""

import argparse
import sys
import tomllib
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from trilith.sim.tools.cache import build_folder

from .campaign import BUDGETS, ROOMS, Campaign, Result, sample
from .coverage_map import digest

CHECKOUT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("survivors.toml")


def explained() -> dict[str, tuple[str, bool]]:
    """Reason of each survivor that no test needs to kill, and whether it is equal to its source."""
    entries = tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    return {one["mutant"]: (one["reason"], one["equal"]) for one in entries}


def report(results: list[Result]) -> int:
    """Print the kill rate of each room and the survivors; return the number without a reason."""
    reasons = explained()
    equal = {name for name, (_, same) in reasons.items() if same}
    results = [
        replace(one, status="equivalent") if one.status == "survived" and one.name in equal else one
        for one in results
    ]
    print(
        f"\n{'room':<20}{'tried':>7}{'equivalent':>12}{'killed':>8}{'survived':>10}{'open':>6}{'rate':>8}"
    )
    for room in [*ROOMS, "all"]:
        own = [one for one in results if room in (one.room, "all")]
        count = Counter(one.status for one in own)
        killed, tried = count["killed"] + count["timeout"], len(own) - count["equivalent"]
        # Survivors of some tests: others that execute their lines did not run.
        left = sum(one.status == "survived" and one.left > 0 for one in own)
        if own:
            rate = f"{killed / tried:.1%}" if tried else "-"
            print(
                f"{room:<20}{len(own):>7}{count['equivalent']:>12}{killed:>8}"
                f"{count['survived'] - left:>10}{left:>6}{rate:>8}"
            )
    unexplained = 0
    for one in results:
        if one.status == "survived":
            reason, _ = reasons.get(one.name, ("", False))
            unexplained += not reason
            print(f"{'explained' if reason else 'survived'}: line {one.line}: {one.name}")
            print(
                f"    {one.run} tests run, {one.left} left out" + (f"; {reason}" if reason else "")
            )
    return unexplained


def main(arguments: list[str] | None = None) -> int:
    """Try a sample of mutants; return 1 if one without a reason survives."""
    parser = argparse.ArgumentParser(
        prog="mutation", description="Break the code in many places, and count what tests notice."
    )
    add = parser.add_argument
    add("--count", type=int, default=390, help="mutants of all rooms together (default: 390)")
    add("--seed", type=int, default=0, help="decides which mutants are drawn (default: 0)")
    add("--room", action="append", choices=list(ROOMS), help="a room; default: all of them")
    add("--quick", action="store_true", help="measure nothing, and run only quick tests")
    add("--copy", type=int, default=0, help="number of the copy: each process needs its own")
    add("--report", action="store_true", help="print the stored results, and run nothing")
    add("--save", action="store_true", help="also write the results into the checkout")
    options = parser.parse_args(arguments)
    campaign = Campaign(CHECKOUT, build_folder() / "mutation", options.copy)
    results = []
    with closing(campaign.bench):
        if options.quick or options.report:
            campaign.map.load()
        else:
            for file in campaign.measure():
                print(f"measuring {file}", flush=True)
        chosen = [
            (room, mutant)
            for room in options.room or ROOMS
            for mutant in sample(CHECKOUT, room, -(-options.count // len(ROOMS)), options.seed)
        ]
        for number, (room, mutant) in enumerate(chosen, 1):
            if options.report:
                source = (CHECKOUT / mutant.file).read_text()
                # Survivors too that newer tests may kill.
                found = campaign.store.results.get((mutant.name, digest(source)))
                results += [found] if found else []
                continue
            result = campaign.try_mutant(mutant, room, BUDGETS[0 if options.quick else -1])
            results.append(result)
            took = f"{result.status:<10} {result.seconds:6.1f} s"
            print(f"{number}/{len(chosen)} {took}  {result.name}", flush=True)
    if options.save:
        campaign.store.save(results)
    return int(report(results) > 0)


if __name__ == "__main__":
    sys.exit(main())
