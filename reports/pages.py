"""Pages of ``docs/`` that are written from computed figures (``make docs``)."""

from pathlib import Path

from ..golden.files import new_file
from ..golden.templates import render
from .claims import QUALITY, claims

__all__ = ["claims_page"]

#: Folder of the pages in a checkout.
_DOCS = Path(__file__).parents[1] / "docs"


def claims_page() -> str:
    """The page of claims in Markdown, one section for each claim of ``trilith claims``."""
    return render(
        "trilith.reports", "claims.md.jinja", claims=list(claims()), quality=dict(QUALITY)
    )


def main() -> None:
    """Write the pages and print their names."""
    file = _DOCS / "claims.md"
    with new_file(file, force=True) as partial:
        partial.write_text(claims_page())
    print(file)


if __name__ == "__main__":
    main()
