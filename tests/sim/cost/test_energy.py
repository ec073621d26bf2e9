import json
import re

import pytest

from trilith.sim.cost.energy import Product, buffered, matmul_energy, ternary_ratios
from trilith.sim.cost.formats import FORMATS
from trilith.sim.cost.memories import DRAM
from trilith.sim.cost.profiles import find_profile
from trilith.sim.gatelevel import table
from trilith.sim.gatelevel.table import load_table
from trilith.sim.tools.errors import EstimateError


def test_what_71_leaves_out():
    new = ternary_ratios(find_profile("jouppi7"), (8, 20, 24, 32))
    assert {bits: round(ratio, 1) for bits, ratio in new.items()} == {
        8: 71.4,
        20: 28.6,
        24: 23.8,
        32: 16.7,
    }
    assert ternary_ratios(find_profile("horowitz45"), (8,))[8] == pytest.approx(50.0, abs=1e-9)
    moved = FORMATS["fp16"].weight_bits
    assert moved / FORMATS["ternary-2.0"].weight_bits == 8.0
    assert moved / FORMATS["ternary-1.6"].weight_bits == 10.0


def test_a_product_by_hand():
    profile = find_profile("jouppi7")
    parts = matmul_energy(
        Product(n=32, k=2560, tokens=4, rows=16, pass_tokens=2),
        FORMATS["ternary-1.6"],
        profile,
        DRAM["lpddr5"],
    )
    assert parts.mac == pytest.approx(32 * 2560 * 4 * 0.0175)
    # Each activation is read for two groups of 16 rows; results have 20 bits.
    assert parts.sram == pytest.approx((8 * 2560 * 4 * 2 + 20 * 32 * 4) * 7.5 / 64)
    assert parts.dram == pytest.approx(1.6 * 32 * 2560 * 2 * 9)
    assert parts.total == parts.mac + parts.sram + parts.dram
    paper, fp16 = (
        matmul_energy(
            Product(n=32, k=2560, tokens=4), FORMATS[name], find_profile("bitnet-paper"), None
        )
        for name in ("ternary-1.6", "fp16")
    )
    assert fp16.mac / paper.mac == pytest.approx(0.5 / 0.007)
    assert paper.dram == 0


def test_the_activation_buffer_is_shared_by_rows(tmp_path, monkeypatch, stored_table):
    monkeypatch.setattr(table, "_DATA", tmp_path)
    (tmp_path / "gate-demo.json").write_text(json.dumps(stored_table))
    found = {(one.unit, one.rows): one for one in buffered(load_table("demo"), (1, 4), n=10)}
    # Ten outputs: ten reads or three, and a write, of 8 or 16 bits at 1 and 2 pJ.
    for rows, reads in ((1, 10), (4, 3)):
        ternary = found["ternaryxint8-escape", rows]
        assert (ternary.mac_fj, ternary.label) == (41, "measured")
        assert ternary.buffer_fj == pytest.approx(8 * 1000 * (reads * 1 + 2) / 10)
        assert found["fp16xfp16-fp32-fused", rows].buffer_fj == 2 * ternary.buffer_fj
    assert len(found) == 4
    bare = stored_table | {"sram": []}
    (tmp_path / "gate-demo.json").write_text(json.dumps(bare))
    assert buffered(load_table("demo"), (1,), n=10) == []
    # Another process of the same node is published.
    (tmp_path / "gate-asap7.json").write_text(json.dumps(bare))
    (first, *_) = buffered(load_table("asap7"), (1,), n=10)
    assert first.label == "published"
    assert first.buffer_fj == pytest.approx(8 * 1000 * 7.5 / 64 * 11 / 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 0}, "n must be from 1 to 2147483648, not 0"),
        ({"tokens": -1}, "tokens must be from 1 to 2147483648, not -1"),
        ({"sram_kilobytes": 5}, "sram_kilobytes must be 8, 32 or 1024, not 5"),
        ({"adder_bits": 0}, "adder_bits must be from 1 to 64, not 0"),
    ],
)
def test_bad_sizes(values, message):
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        Product(**{"n": 1, "k": 1, "tokens": 1} | values)
