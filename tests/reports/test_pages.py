from pathlib import Path

from trilith.reports.claims import claims
from trilith.reports.pages import claims_page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_stored_page_of_claims_has_the_figures_of_today():
    page = claims_page()
    assert (DOCS / "claims.md").read_text() == page
    for claim in claims():
        assert f". {claim.claim}\n" in page
        assert f"- Verdict: **{claim.verdict}**\n" in page
