import csv
import re

import pytest

from trilith.reports.figures.plots import FIGURES, draw
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
    ridges = {row["format"]: float(row["ridge"]) for row in rows}
    # 1024 MACs at 1 GHz over 0.89 · 51.2 GB/s.
    assert ridges["fp16"] == pytest.approx(1024e9 * 2 / (0.89 * 51.2e9))
    assert ridges["fp16"] / ridges["ternary-1.6"] == pytest.approx(10)
    with open(drawn / "prefill_energy.csv") as file:
        published = [row for row in csv.DictReader(file) if row["series"] == "published"]
    assert len(published) == 6
    for row in published:
        assert round(float(row["recipe_joules"]), 3) == float(row["joules"])


def test_captions_and_axes_say_what_is_shown(drawn):
    for name in ("prefill_energy", "roofline", "published"):
        text = re.sub(r"\s+", " ", (drawn / f"{name}.svg").read_text())
        assert "Modelled" in text
    assert "energy of a 512-token prompt (J)" in (drawn / "prefill_energy.svg").read_text()
    assert "predicted (tokens/s)" in (drawn / "published.svg").read_text()


def test_the_page_needs_no_network(drawn):
    page = (drawn / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "@import" not in page
    assert page.count("<img ") == 3
    assert "71.4x lower energy per matrix multiplication" in page
    assert "Predicted against published" in page


def test_published_energies_keep_their_units(tmp_path):
    draw(tmp_path, ["measured"])
    with open(tmp_path / "measured.csv") as file:
        rows = {row["work"]: row for row in csv.DictReader(file)}
    # 1036 · 10¹² operations per joule, two of them a MAC; 3.222 G MACs a token.
    assert float(rows["TCN-CUTIE, ternary x ternary"]["pj_per_mac"]) == pytest.approx(
        0.00193, rel=0.01
    )
    assert float(rows["VitaLLM, BitNet 3B"]["pj_per_mac"]) == pytest.approx(0.290, rel=0.01)
    assert float(rows["RedMulE, FP16"]["pj_per_mac"]) == pytest.approx(2.78, rel=0.01)
    assert len(FIGURES) == 16


def test_measured_energies_are_those_of_the_tables(tmp_path):
    draw(tmp_path, ["gate_mac", "gate_split", "gate_zeros"])
    with open(tmp_path / "gate_mac.csv") as file:
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
    text = re.sub(r"\s+", " ", (tmp_path / "gate_mac.svg").read_text())
    assert "zero-delay activity: no wires, clock tree or" in text
    assert "energy per MAC (fJ, log scale)" in text


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
