"""``trilith claims``: the field's claims, checked."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["claims"]


def claims(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Each claim that made ternary models famous: our figure, how it was computed, a verdict.

    Example:
      trilith claims
    """
    from ..reports.claims import QUALITY
    from ..reports.claims import claims as compute

    rows = list(compute())
    if as_json:
        print(json.dumps({"claims": [asdict(row) for row in rows], "quality": QUALITY}, indent=2))
        return
    for row in rows:
        print(f"{row.claim}\n  {row.verdict.upper()}\n  {row.figure}\n  ({row.label}: {row.how})\n")
    print("Quality beside energy: mean benchmark score, % (published, arXiv 2504.12285)")
    for name, score in QUALITY.items():
        print(f"  {name:<14} {score:.2f}")
