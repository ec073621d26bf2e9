from trilith.reports.claims import QUALITY, claims
from trilith.sim.gatelevel.table import load_table


def test_every_claim_has_a_figure_and_a_verdict():
    rows = {row.claim: row for row in claims()}
    assert len(rows) == 14
    for row in rows.values():
        assert row.verdict.startswith(("holds", "does not hold"))
        assert any(character.isdigit() for character in row.figure) or row.label == "measured"
        assert row.how
    figures = rows["71.4x lower energy per matrix multiplication"].figure
    assert figures.startswith("71.4x at 7 nm and 50.0x at 45 nm")
    assert "28.6x" in figures
    table = load_table("asap7")
    fp16, ternary = table.best("FP16"), table.best("ternary escape")
    ratio = fp16.energy_fj / ternary.energy_fj
    assert f"; {ratio:.1f}x measured at gate level" in figures
    assert (
        f"in ASAP7 at {table.common_clock:g} GHz (escape code, 16 lanes, "
        f"{ternary.levels_per_stage} adder levels per stage, {fp16.levels_per_stage} in FP16)"
    ) in figures
    assert rows["1.58 bits per weight"].verdict == (
        "holds only if it means information: no lossless fixed-length code here stores less than "
        "1.6 bits unless one zero in four is given (sherry)"
    )
    assert rows["1.58 bits per weight"].figure.startswith("log2 3 = 1.585; entropy of the 2B4T")
    assert "1.560" in rows["1.58 bits per weight"].figure
    assert rows["compression over 16x against FP16"].figure.startswith("10.0x")
    assert QUALITY["bitnet-2b4t"] < QUALITY["qwen2.5-1.5b"]
