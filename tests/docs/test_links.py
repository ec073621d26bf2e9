"""Links of all pages: files, anchors, and the places of pages in the site and the reading order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
#: Pages of the repository. Templates make the pages of exports, so that they have no place here.
PAGES = sorted(
    file.relative_to(ROOT)
    for folder in ("", "docs", "examples", "fpga", "reports", "golden/data/*")
    for file in ROOT.glob(f"{folder}/*.md" if folder else "*.md")
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^(`{3,}).*?^\1`*$|`[^`\n]+`", re.M | re.S)


def links(page):
    """Targets of the links of a page, without those in code."""
    return LINK.findall(CODE.sub("", (ROOT / page).read_text(encoding="utf-8")))


def anchors(page):
    """Anchors of the headings of a page, by the rule of GitHub."""
    text = re.sub(r"^(`{3,}).*?^\1`*$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} (.*)$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def broken(page):
    """Links of a page that lead nowhere."""
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists():
            yield f"{link}: no such file"
        elif not file.resolve().is_relative_to(ROOT):
            yield f"{link}: outside the repository"
        elif anchor and anchor not in anchors(file):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_that_every_link_leads_somewhere(page):
    assert [*broken(page)] == []


def test_that_broken_links_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.md").write_text(
        "# A b, c\n[1](a.md#a-b-c) [2](#a-b) `[3](no.md)` [4](no.md)\n"
        "```\n# D\n[5](no.md)\n```\n[6](#d) [7](../a.md) [8](https://a.example/) ![9](no.svg)\n"
    )
    (tmp_path.parent / "a.md").write_text("")
    assert [*broken("a.md")] == [
        "#a-b: no such heading",
        "no.md: no such file",
        "#d: no such heading",
        "../a.md: outside the repository",
        "no.svg: no such file",
    ]


def nav_pages(entry):
    """Pages of a part of the site's navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in nav_pages(part)]


def test_that_every_page_is_in_the_site_and_in_the_reading_order():
    config = yaml.safe_load((ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = nav_pages(config["nav"])
    assert len(listed) == len({*listed})
    assert [page for page in listed if not (ROOT / page).is_file()] == []
    pages = {page.as_posix() for page in PAGES if page.parts[0] == "docs"}
    assert pages - {*listed} == set()
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links("docs/index.md")}
    unlinked = {page for page in pages if (ROOT / page).resolve() not in linked}
    assert unlinked == {"docs/index.md"}


def test_that_every_drawing_is_on_a_page():
    linked = {(ROOT / page).parent / link for page in PAGES for link in links(page)}
    drawings = {*(ROOT / "docs" / "drawings").iterdir()}
    assert drawings <= linked


def test_that_the_site_is_built_without_a_warning_and_asks_no_server(tmp_path):
    pytest.importorskip("material", reason="MkDocs is not installed: pip install '.[docs]'")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(
        [*command, "--config-file", ROOT / "docs" / "site" / "mkdocs.yml"],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "WARNING" not in done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="(https?:[^"]*)"', text)
        loaded += re.findall(
            r'<link[^>]* rel="(?:stylesheet|preconnect)"[^>]*(https?:[^">]*)', text
        )
        assert loaded == [], page
    for page in ("index.html", "docs/index.html", "docs/energy.html", "examples/index.html"):
        assert (tmp_path / "site" / page).is_file()
