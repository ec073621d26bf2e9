"""``trilith report model``."""

import json
import re

from trilith.golden.data import PYDOC


def test_the_page_has_the_estimate_of_the_command(trilith, tmp_path):
    page = tmp_path / "pages" / "a.html"
    done = trilith("report", "model", PYDOC, "--out", page, "--memory", "ddr4", "--context", 64)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{page}\n", "")
    more = ("--memory", "ddr4", "--context", 64, "--versus", "fp16,int8,w4a16", "--json")
    rows = json.loads(trilith("estimate", PYDOC, *more).stdout)["rows"]
    assert len(rows) == 4
    text = page.read_text(encoding="utf-8")
    for row in rows:
        cells = re.search(rf"<tr><td>{row['design']}</td>(.*?)</tr>", text)[1]
        cells = re.findall(r">([^<]*)</td>", cells)
        rate = row["tokens_per_second"]
        assert cells == [
            *(row["weights"], row["head"], str(row["cache_bits"])),
            *(f"{row['macs_per_clock']:g}", f"{row['clock_mhz']:g}"),
            f"{rate:,.0f}" if rate >= 1e4 else f"{rate:.4g}",
            *(f"{1e3 * row['joules_per_token']:.4g}", row["bound"]),
        ]


def test_a_page_is_replaced_only_with_force(trilith, refused, tmp_path):
    page = tmp_path / "a.html"
    page.write_text("mine")
    words = ("report", "model", PYDOC, "--out", page)
    refused(trilith(*words), f"{page}: exists already; give another name, or --force to replace it")
    assert page.read_text() == "mine"
    assert trilith(*words, "--force").returncode == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_bad_files_are_refused(trilith, refused, tmp_path):
    page, bad = tmp_path / "a.html", tmp_path / "a.gguf"
    (tmp_path / "empty").mkdir()
    bad.write_bytes(b"GGUF" + bytes(8))
    for path, message in (
        (bad, f"{bad}: its header must be whole: "),
        ("nope", "PATH must be a folder or a file of a model, and there is none named 'nope'"),
        (tmp_path / "empty", f"{tmp_path / 'empty' / 'config.json'}: must be a "),
    ):
        refused(trilith("report", "model", path, "--out", page), message)
    inside = PYDOC / "a.html"
    done = trilith("report", "model", PYDOC, "--out", inside)
    refused(done, f"{inside}: must not be inside the input {PYDOC}; give another name")
    assert not inside.exists()
    assert not page.exists()
