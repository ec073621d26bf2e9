"""``trilith claims``: well-known claims about ternary models, checked."""

from dataclasses import asdict

from .options import JsonOptions, command, new_app
from .output import Column, Table, print_facts, print_json

__all__ = ["app"]

app = new_app()


@command(app)
def claims(options: JsonOptions) -> None:
    """Print well-known claims about ternary models, each with our figure and a verdict.

    Each figure says whether it is measured, published or modelled, and how it was computed.

    Example:
      trilith claims
    """
    from ..reports.claims import QUALITY
    from ..reports.claims import claims as compute

    rows = list(compute())
    if options.as_json:
        print_json({"claims": [asdict(row) for row in rows], "quality": QUALITY})
        return
    for row in rows:
        print_facts({"claim": row.claim, "verdict": row.verdict, "figure": row.figure})
        print_facts({row.label: row.how})
        print()
    print("Quality beside energy: mean benchmark score (published, arXiv 2504.12285)")
    Table(Column("model", 0, 14, "<"), Column("score, %", 1, form=".2f")).rows(QUALITY.items())
