"""Pages that share a base, in a browser where there is one."""

import re
from importlib.metadata import version

import pytest

from trilith.reports.html import HtmlTable, html_page

ROWS = [
    {"name": "b<b>", "value": 12345.6, "note": "one"},
    {"name": "a", "value": None},
    {"name": "c", "value": 2.5, "note": "two"},
]


@pytest.fixture(scope="module")
def page():
    return whole(HtmlTable.of(ROWS), HtmlTable.of(ROWS))


def whole(table, other):
    """A page with a figure, and a table in the place of each table of the report."""
    figure = {"name": "roof", "title": "Roof & line", "caption": "x < y", "png": "", "rows": table}
    names = ("claims", "quality", "boards", "published_boards", "core_cycles", "token_energy")
    tables = {"estimates": table, **dict.fromkeys(names, other)}
    return html_page("report.html.jinja", "A title", groups={"Head": [figure]}, tables=tables)


def test_cells_are_texts_and_numbers():
    table = HtmlTable.of(ROWS)
    assert table.names == ["name", "value", "note"]
    assert table.numeric == [False, True, False]
    assert table.cells == [["b<b>", "12,346", "one"], ["a", "", ""], ["c", "2.5", "two"]]


def test_the_page_has_version_date_and_contents(page):
    assert f"Trilith {version('trilith')}, <time" in page
    assert re.search(r'<time datetime="(\d{4}-\d\d-\d\d)">\1</time>', page)
    assert "Roof &amp; line" in page
    assert "x &lt; y" in page
    links = re.findall(r'href="#(\w+)"', page)
    assert links
    assert [name for name in links if f'id="{name}"' not in page] == []


def test_a_browser_sorts_the_tables(browse, page):
    values, faults = browse(
        page,
        """const column = at =>
             [...document.querySelector("tbody").rows].map(row => row.cells[at].textContent);
           const found = [];
           for (const at of [0, 0, 1, 1]) {
             document.querySelectorAll("th")[at].firstChild.click();
             found.push(column(0).join(" "),
                        document.querySelectorAll("th")[at].getAttribute("aria-sort"));
           }
           return found;""",
    )
    assert faults == []
    # By name up and down, then by value up and down; the row without a value stays last.
    assert values[::2] == ["a b<b> c", "c b<b> a", "c b<b> a", "b<b> c a"]
    assert values[1::2] == ["ascending", "descending"] * 2


def test_a_narrow_page_scrolls_its_tables_alone(browse, page):
    columns = {f"a long name of column {one}": 1.5 for one in range(30)}
    wide = whole(HtmlTable.of([columns]), HtmlTable.of([{"word": "w" * 300}]))
    for one in (page, wide):
        (width, table, focus), faults = browse(
            one,
            """const table = document.querySelector(".scroll");
               const button = table.querySelector("button");
               button.focus();
               return [document.documentElement.scrollWidth,
                       table.scrollWidth > table.clientWidth,
                       table.tabIndex === 0 && document.activeElement === button];""",
        )
        assert faults == []
        assert width <= 390
        assert table == (one is wide)
        assert focus


def test_the_browser_reports_faults(browse, page):
    bad = page.replace("</main>", "<img src='https://example.org/a.png' alt='a'></main>")
    _, faults = browse(bad, "return 0;")
    assert faults == ["https://example.org/a.png"]
    _, faults = browse(page.replace("</main>", "<script>nothing()</script></main>"), "return 0;")
    assert len(faults) == 1
    assert "nothing is not defined" in faults[0]
