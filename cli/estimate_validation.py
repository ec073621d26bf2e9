"""The part of ``trilith estimate`` that prints predictions of published systems."""

from dataclasses import asdict

from .output import Column, Table, print_facts, print_json, print_note

__all__ = ["print_validation"]


def print_validation(*, as_json: bool) -> None:
    """Print predicted against published rates, by group.

    Parameters
    ----------
    as_json : print one JSON value instead of text
    """
    from ..sim.cost.designs import LOWER_BOUND
    from ..sim.cost.memories import EFFICIENCY
    from ..sim.cost.processors import ISSUE_SHARE, RUNTIMES
    from ..sim.cost.validation import NOT_PREDICTED, Group, predict, summary

    predictions = predict()
    total = summary(predictions)
    if as_json:
        rows = [
            {
                **asdict(one.row),
                "predicted": one.rate,
                "error": one.error,
                "bound": one.bound,
                "arithmetic_and_memory_lower_bound_joules_per_token": one.joules_per_token,
            }
            for one in predictions
        ]
        constants = {
            "efficiency": EFFICIENCY,
            "issue_share": asdict(ISSUE_SHARE),
            "runtimes": {name: asdict(one) for name, one in RUNTIMES.items()},
        }
        table = {"rows": rows, "summary": total, "not_predicted": NOT_PREDICTED}
        print_json(table | constants | {"label": "modelled"})
        return
    for group in Group:
        print_note(f"{group}, tokens/s: {group.meaning}")
        if group not in total:
            print_note("no system yet")
            continue
        Table(*_RATES).rows(one for one in predictions if one.row.group == group)
        one = total[group]
        print_note(
            f"{group}: median absolute error over {one['systems']} systems "
            f"{one['median_over_systems']:.1%}, over {one['rows']} counted rows "
            f"{one['median_absolute_error']:.1%}\n"
        )
    print_note(f"energy in J/token: published of the whole system; {LOWER_BOUND}")
    Table(*_ENERGIES).rows(one for one in predictions if one.row.joules_per_token is not None)
    facts = [("not predicted", f"{name}: {reason}") for name, reason in NOT_PREDICTED.items()]
    facts += _constants()
    facts += [
        (
            "assumed",
            f"{one.row.system}, {one.row.model}: bound by {one.bound}; {one.row.assumptions} "
            f"({one.row.source})",
        )
        for one in predictions
    ]
    print_facts(facts)


def _constants() -> list[tuple[str, str]]:
    """Constants of all predictions, with their sources."""
    from ..sim.cost.memories import EFFICIENCY
    from ..sim.cost.processors import ISSUE_SHARE, RUNTIMES

    facts = [
        ("constant", f"bandwidth that the reader {kind} sustains: {share:.0%} ({source})")
        for kind, (share, source) in EFFICIENCY.items()
    ]
    facts.append(
        (
            "constant",
            f"vector instructions that a kernel starts, of those that the cores can start: "
            f"{ISSUE_SHARE.share:.0%} ({ISSUE_SHARE.source})",
        )
    )
    for name, one in RUNTIMES.items():
        cost = (
            f"{one.cycles_per_call:g} cycles" if one.cycles_per_call else f"{one.us_per_call:g} µs"
        )
        facts.append(("constant", f"operator call, {name}: {cost} ({one.source})"))
    return facts


_SYSTEM = (
    Column("system", lambda one: one.row.system, 43, "<"),
    Column("model", lambda one: one.row.model, 15, "<"),
)
_RATES = (
    *_SYSTEM,
    Column("published", lambda one: one.row.rate, 9, ".2f"),
    Column("predicted", "rate", 9, ".2f"),
    Column("error", "error", 5, "+.0%"),
    Column("counted", lambda one: "yes" if one.row.counted else "no", form="<"),
)
#: No ratio is made of the two energies.
_ENERGIES = (
    *_SYSTEM,
    Column("published", lambda one: one.row.joules_per_token, form=".3g"),
    Column("lower bound", "joules_per_token", form=".3g"),
)
