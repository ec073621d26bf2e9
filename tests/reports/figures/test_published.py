import pytest

from trilith.reports.figures.published import MacEnergy, draw_mac_energies, mac_energies


def test_every_energy_has_one_unit_and_a_source():
    units = ("tops_per_watt", "fj_per_operation", "pj_per_mac", "milliwatts")
    for entry in mac_energies():
        assert sum(getattr(entry, unit) is not None for unit in units) == 1, entry.design
        assert entry.source


@pytest.mark.parametrize(
    ("values", "pj"),
    [
        ({"pj_per_mac": 1.1}, 1.1),
        # Two operations are one MAC.
        ({"fj_per_operation": 67}, 0.134),
        ({"tops_per_watt": 4}, 0.5),
        # 1 W at 100 tokens/s is 10 mJ per token, of 2.084 G MACs.
        ({"milliwatts": 1000, "tokens_per_second": 100, "model": "bitnet-2b4t"}, 4.798),
    ],
)
def test_units_become_pj_per_mac(values, pj):
    entry = MacEnergy(design="a", node="b", kind="int8", words="c", source="d", **values)
    assert entry.pj == pytest.approx(pj, rel=1e-3)


def test_energies_are_drawn_from_the_largest_down():
    rows = draw_mac_energies().rows
    energies = [row["pj_per_mac"] for row in rows]
    assert energies == sorted(energies, reverse=True)
    assert sum(row["as_published"] == "modelled" for row in rows) == 3
