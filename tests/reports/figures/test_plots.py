import csv
import re
from pathlib import Path

import pytest

from trilith.reports.figures import plots
from trilith.reports.figures.plots import FIGURES, draw
from trilith.reports.figures.style import save
from trilith.reports.fpga import board_rows
from trilith.sim.cost.memories import find_dram
from trilith.sim.cost.token_energy import MACHINES, token_energy
from trilith.sim.gatelevel.core_table import load_core_table
from trilith.sim.gatelevel.table import COMPARED_UNITS, library_names, load_table


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    names = ["prefill_energy", "roofline", "published"]
    files = draw(folder, names)
    assert [file.name for file in files] == [
        *(f"{name}{ending}" for name in names for ending in (".png", ".svg", ".csv")),
        "report.html",
    ]
    return folder


def test_the_numbers_stand_beside_the_figure(drawn):
    assert (drawn / "roofline.png").read_bytes().startswith(b"\x89PNG")
    with open(drawn / "roofline.csv") as file:
        rows = list(csv.DictReader(file))
    ridges = {row["name"]: float(row["vectors_at_ridge"] or 0) for row in rows}
    # 1024 MACs at 1 GHz over 0.89 · 51.2 GB/s.
    assert ridges["fp16"] == pytest.approx(1024e9 * 2 / (0.89 * 51.2e9))
    assert ridges["fp16"] / ridges["ternary-1.6"] == pytest.approx(10)
    # 16.78 tokens/s of 2.084 G weights of 1.6 bits.
    (kv260,) = [row for row in rows if row["name"] == "KV260, generation"]
    assert float(kv260["operations_per_byte"]) == 10
    assert float(kv260["gop_per_s"]) == pytest.approx(2 * 2.084 * 16.78, rel=1e-3)
    assert float(kv260["pins_gop_per_s"]) == pytest.approx(10 * 19.2)
    with open(drawn / "prefill_energy.csv") as file:
        published = [row for row in csv.DictReader(file) if row["series"] == "published"]
    assert len(published) == 6
    for row in published:
        assert round(float(row["recipe_joules"]), 3) == float(row["joules"])


def test_captions_and_axes_say_what_is_shown(drawn):
    for name in ("prefill_energy", "roofline", "published"):
        text = re.sub(r"\s+", " ", (drawn / f"{name}.svg").read_text())
        assert "odelled" in text
    assert "energy of the prompt (J)" in (drawn / "prefill_energy.svg").read_text()
    assert "predicted over published (log scale)" in (drawn / "published.svg").read_text()


def test_the_page_needs_no_network(drawn):
    page = (drawn / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "@import" not in page
    assert page.count("<img ") == 3
    assert "Predicted over published" in page
    # Tables that belong to no figure are only on the page of all figures.
    assert 'id="claims"' not in page


def test_the_whole_page_in_a_browser(browse, tmp_path, kept_cycles, monkeypatch):
    few = {name: FIGURES[name] for name in ("gate_mac", "core_context")}
    monkeypatch.setattr(plots, "FIGURES", few)
    page = draw(tmp_path, few)[-1].read_text()
    assert "71.4x lower energy per matrix multiplication" in page
    found, faults = browse(
        page,
        """const heads = [...document.querySelectorAll("h1, h2, h3")].map(one => one.textContent);
           const row = word => [...document.querySelectorAll("tr")].find(
             one => one.cells[0].textContent === word);
           return {width: document.documentElement.scrollWidth, heads: heads,
                   links: [...document.querySelectorAll("nav a")].filter(
                     one => !document.querySelector(one.hash)).length,
                   unsorted: [...document.querySelectorAll("th")].filter(
                     one => !one.querySelector("button")).length,
                   board: row("ULX3S-85F").cells[6].textContent,
                   cycles: row("512").cells[1].textContent,
                   fp16: [...row("fp16").cells].map(one => one.textContent),
                   images: [...document.images].every(one => one.naturalWidth > 800)};""",
    )
    assert faults == []
    assert found.pop("width") <= 390
    heads = found.pop("heads")
    assert len(set(heads)) == len(heads)
    assert {"Claims", "FPGA boards", "Token core"} < set(heads)
    with open(Path(plots.__file__).with_name("core_context.csv")) as file:
        rows = [row for row in csv.DictReader(file) if row["context"] == "512"]
    cycles = f"{sum(float(row['mega_cycles']) for row in rows):.4g}"
    measured = next(row for row in board_rows() if row.name == "ulx3s").measured
    assert found == {
        "links": 0,
        "unsorted": 0,
        "board": f"{measured['mhz']:.4g}",
        "cycles": cycles,
        # As the example of docs/estimates.md: 9.33 and 351.787.
        "fp16": ["fp16", "fp16", "16", "9.332", "351.8", "weights"],
        "images": True,
    }


def test_published_energies_keep_their_units(tmp_path):
    draw(tmp_path, ["published_macs"])
    with open(tmp_path / "published_macs.csv") as file:
        rows = {row["work"]: row for row in csv.DictReader(file)}
    # 1036 · 10¹² operations per joule, two of them a MAC; 3.222 G MACs a token.
    assert float(rows["TCN-CUTIE, ternary x ternary"]["pj_per_mac"]) == pytest.approx(
        0.00193, rel=0.01
    )
    assert float(rows["VitaLLM, BitNet 3B"]["pj_per_mac"]) == pytest.approx(0.290, rel=0.01)
    assert float(rows["RedMulE, FP16"]["pj_per_mac"]) == pytest.approx(2.78, rel=0.01)
    assert len(FIGURES) == 18


def test_measured_energies_are_those_of_the_tables(tmp_path):
    draw(tmp_path, ["gate_mac_all", "gate_split", "gate_zeros"])
    with open(tmp_path / "gate_mac_all.csv") as file:
        rows = list(csv.DictReader(file))
    for library in library_names():
        table = load_table(library)
        some = {row["unit"]: row for row in rows if row["library"] == library}
        assert set(some) >= set(COMPARED_UNITS)
        for unit in COMPARED_UNITS:
            measured = table.best(unit)
            assert float(some[unit]["fj_per_mac"]) == pytest.approx(measured.energy_fj)
            ratio = table.best("FP16").energy_fj / measured.energy_fj
            assert float(some[unit]["fp16_over_it"]) == pytest.approx(ratio)
    published = [row["fp16_over_it"] for row in rows if row["library"] == "published"]
    assert [round(float(ratio), 1) for ratio in published] == [71.4, 28.6, 16.7]
    with open(tmp_path / "gate_split.csv") as file:
        split = list(csv.DictReader(file))
    for row in split:
        parts = [
            float(one["part_fj"])
            for one in split
            if (one["library"], one["unit"]) == (row["library"], row["unit"])
            and one["part"] != "ports"
        ]
        assert sum(parts) == pytest.approx(float(row["fj_per_mac"]), rel=1e-3)
        (charge,) = [
            float(one["part_fj"])
            for one in split
            if (one["library"], one["unit"], one["part"]) == (row["library"], row["unit"], "ports")
        ]
        assert charge == pytest.approx(load_table(row["library"]).best(row["unit"]).ports_fj)
    with open(tmp_path / "gate_zeros.csv") as file:
        zeros = list(csv.DictReader(file))
    for library in library_names():
        shares = [float(row["zero_weights"]) for row in zeros if row["library"] == library]
        assert shares == sorted(shares)
        assert (shares[0], round(shares[-1], 1)) == (0, 0.8)
    text = re.sub(r"\s+", " ", (tmp_path / "gate_mac_all.svg").read_text())
    assert "zero-delay activity" in text
    assert "energy per MAC (fJ, log scale)" in text


def test_the_headline_has_the_best_units_with_ports(tmp_path):
    draw(tmp_path, ["gate_mac"])
    with open(tmp_path / "gate_mac.csv") as file:
        rows = {row["unit"]: row for row in csv.DictReader(file)}
    table = load_table("asap7")
    assert 6 <= len(rows) <= 8
    ours = table.best("ternaryxint8-escape").with_ports_fj
    for unit, row in rows.items():
        best = table.best(unit).with_ports_fj
        assert float(row["with_ports_fj"]) == pytest.approx(best)
        assert float(row["over_ternary"]) == pytest.approx(best / ours)
    text = (tmp_path / "gate_mac.svg").read_text()
    assert f"{ours:.1f} fJ<" in text
    assert "9.1 times the ternary MAC" in text


def test_weights_on_chip_are_read_from_sram(tmp_path):
    draw(tmp_path, ["matmul_energy"])
    with open(tmp_path / "matmul_energy.csv") as file:
        rows = list(csv.DictReader(file))
    found = {
        (row["memory"], row["tokens"], row["format"]): float(row["pj_per_mac"])
        for row in rows
        if row["part"] == "weights"
    }
    # 14 pJ for 64 bits of 1 MB; 9 pJ for a bit of LPDDR5; once for 64 tokens.
    assert found["1 MB of SRAM", "1", "fp8"] == pytest.approx(8 * 14 / 64)
    assert found["1 MB of SRAM", "64", "ternary-1.6"] == pytest.approx(1.6 * 14 / 64 / 64)
    assert found["LPDDR5", "1", "fp16"] == pytest.approx(144)


def test_the_front_has_no_engine_that_another_one_beats(tmp_path):
    draw(tmp_path, ["pareto"])
    with open(tmp_path / "pareto.csv") as file:
        rows = list(csv.DictReader(file))
    places = [
        (float(row["arithmetic_mm2_45nm"]), float(row["joules_per_token"]), row["on_front"])
        for row in rows
    ]
    front = [(area, joules) for area, joules, on in places if on]
    assert len(front) > 5
    for area, joules in front:
        assert not any(a < area and j < joules for a, j, _ in places)


def test_the_energy_of_a_token_sums_to_the_command_s(tmp_path):
    draw(tmp_path, ["token_energy"])
    with open(tmp_path / "token_energy.csv") as file:
        rows = list(csv.DictReader(file))
    core, table = load_core_table("asap7"), load_table("asap7")
    for machine in MACHINES.values():
        for context in (512, 4096):
            one = token_energy(machine, core, table, find_dram("lpddr5"), context=context)
            sums = {
                panel: sum(
                    float(row["joule"])
                    for row in rows
                    if (row["panel"], row["machine"], row["context"])
                    == (panel, machine.label, str(context))
                )
                for panel in ("logic", "whole")
            }
            expected = {"logic": one.logic_total, "whole": one.total}
            assert sums == pytest.approx(expected, rel=1e-6)


def test_axes_stand_on_rounded_places_while_they_are_written(tmp_path, monkeypatch):
    """The last digits of the layout differ by run, and would give a SVG other names of clips."""
    drawing, places = FIGURES["gate_zeros"](), []
    write = drawing.figure.savefig

    def watched(*arguments, **settings):
        places.extend(one for axes in drawing.figure.axes for one in axes.get_position().extents)
        write(*arguments, **settings)

    monkeypatch.setattr(drawing.figure, "savefig", watched)
    save(drawing, tmp_path / "gate_zeros")
    assert len(places) >= 8
    assert all(abs(one - round(one, 9)) < 1e-15 for one in places)
