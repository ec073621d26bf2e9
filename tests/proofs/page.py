"""The page of the theorems, ``docs/proofs.md``."""

from pathlib import Path

from trilith.golden.files import new_file
from trilith.golden.templates import render

from .prover import Method
from .registry import THEOREMS
from .theorem import FAULTS, LEAST_KILLED

#: The stored page.
PAGE = Path(__file__).parents[2] / "docs" / "proofs.md"


def proofs_page() -> str:
    """The page in Markdown, one section for each theorem."""
    return (
        render(
            "proofs",
            "proofs.md.jinja",
            theorems=list(THEOREMS.values()),
            bounded=sum(one.method == Method.BOUNDED for one in THEOREMS.values()),
            faults=FAULTS,
            least=LEAST_KILLED,
        ).rstrip()
        + "\n"
    )


def write_page() -> Path:
    """Write the page, and return its place."""
    with new_file(PAGE, force=True) as partial:
        partial.write_text(proofs_page())
    return PAGE
