import json

import pytest

from trilith.fpga.flow.area import AreaRow
from trilith.fpga.flow.core_area import CoreRow
from trilith.hw.token.config import CORE_PRESETS


def test_report_of_unknown_baselines(command, refused):
    refused(
        command("report", "baselines", "--family", "ice40"),
        "--family must be xcup or ecp5, not 'ice40'",
    )
    refused(command("report", "baselines", "--lanes", "1"), "--lanes must be from 2 to 320, not 1")
    done = command("report", "baselines", "--name", "fp4")
    refused(done, "--name must be one of fp32xfp32-fp32-fused, ")
    assert done.stderr.endswith(", not 'fp4'\n")


def test_the_report_has_every_board(command):
    report = json.loads(command("report", "fpga", "--json").stdout)
    rows = {row["name"]: row for row in report["boards"]}
    # A beat of 80 weights in two clocks.
    assert rows["icebreaker"]["gmacs_single"] == pytest.approx(0.96)
    # The trained model fits: weights, head and cache are on the board.
    assert rows["ulx3s"]["model_stream_bytes"] == 0
    assert rows["ulx3s"]["model_tokens"] > 200
    assert 130 < rows["ulx3s"]["model_streamed_tokens"] < rows["ulx3s"]["model_tokens"]
    assert rows["ulx3s"]["made_tokens"] > 15
    assert rows["ulx3s"]["largest"]["weights"] > 80e6
    # It does not fit 256 KB of block RAM.
    assert rows["ecpix5"]["model_tokens"] is rows["ecpix5"]["made_tokens"] is None
    assert rows["tang-nano-9k"]["model_stream_bytes"] > 200_000
    assert rows["ulx3s"]["model_tokens"] > rows["icebreaker"]["model_tokens"]
    # 417 MB over 3 Mbaud.
    assert rows["icebreaker"]["big_seconds"] == pytest.approx(416.5e6 / 0.956 * 10 / 3e6, rel=0.01)
    # 16 bytes in each of 200 million clocks, of 417 MB.
    assert rows["kv260"]["big_memory_tokens"] == pytest.approx(12.8e9 / 416.5e6, rel=0.01)
    assert rows["kv260"]["model_tokens"] is rows["kv260"]["weight_bytes"] is None
    assert {figure["label"] for figure in report["published"]} == {"published"}


def test_what_was_only_synthesized_says_so(command, tmp_path, monkeypatch):
    """From the stored summaries alone, whose devices have room left."""
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    lines = command("report", "fpga").stdout.splitlines()
    marked = [line for line in lines if line.endswith("  synthesized, not placed")]
    assert [line.split()[0] for line in marked] == ["Arty", "Kria"]
    rows = {
        row["name"]: row for row in json.loads(command("report", "fpga", "--json").stdout)["boards"]
    }
    # Ternary products need no multiplier.
    for name, multipliers in (("arty-a7-35t", 0), ("kv260", CORE_PRESETS["kv260"].multipliers)):
        used = rows[name]["measured"]["used"]
        assert rows[name]["measured"]["mhz"] is None
        assert used["DSP"]["used"] == multipliers
        for kind in ("logic cells", "flip-flops", "block RAM"):
            assert 0 < used[kind]["used"] <= 0.95 * used[kind]["available"]


def test_the_core_is_measured_by_family(trilith, monkeypatch):
    measured = []

    def measure(config, family):
        measured.append((config.vector_lanes, config.attention_lanes, family))
        counts = dict.fromkeys(("lut", "lutram", "ff", "carry", "bram", "dsp"), 7)
        names = dict.fromkeys(("core", "tool", "command"), family)
        return [CoreRow(part="attention.dots", family=family, **counts, **names)]

    monkeypatch.setattr("trilith.fpga.flow.core_area.measure_core", measure)
    done = trilith("report", "area", "--core", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["family"] for row in json.loads(done.stdout)["core"]] == ["xcup", "ecp5"]
    assert measured == [(4, 64, "xcup"), (2, 16, "ecp5")]
    lines = trilith("report", "area", "--core", "--family", "ecp5").stdout.splitlines()
    assert lines[0].split()[:4] == ["label", "part", "family", "LUT"]
    assert lines[1].split()[:4] == ["measured", "attention.dots", "ecp5", "7"]
    assert lines[2:] == [
        "blocks of ecp5: a PFU has 8 LUT4 and 8 flip-flops (Lattice FPGA-DS-02012, ECP5 and "
        "ECP5-5G Family Data Sheet); the scarcer of the two decides",
        "ecp5: ecp5",
        "measured with ecp5: ecp5",
    ]


def test_the_core_of_a_board_stands_beside_published_figures(trilith, monkeypatch):
    given = []

    def measure(config, family, buses):
        given.append((config, family, buses.ports))
        names = dict.fromkeys(("core", "tool", "command"), "x")
        counts = dict.fromkeys(("lut", "lutram", "ff", "carry", "bram", "dsp"), 1)
        return [CoreRow(part="all parts", family=family, **names | counts)]

    monkeypatch.setattr("trilith.fpga.flow.core_area.measure_core", measure)
    lines = trilith("report", "area", "--core", "--board", "kv260").stdout.splitlines()
    assert given == [(CORE_PRESETS["kv260"], "xcup", 4)]
    assert any("bitnet-kv260 (KV260): 77,756 LUT, 168 DSP" in line for line in lines)
    found = json.loads(trilith("report", "area", "--core", "--board", "kv260", "--json").stdout)
    assert [row["label"] for row in found["published"]] == ["published"]


def test_a_board_without_a_core_is_refused(command, refused):
    refused(
        command("report", "area", "--core", "--board", "ulx3s"),
        "--board must be kv260, not 'ulx3s'",
    )


def test_the_core_is_not_measured_in_ice40(command, refused):
    refused(
        command("report", "area", "--core", "--family", "ice40"),
        "--family must be xcup or ecp5 with --core, not 'ice40'",
    )


def test_area_of_all_families(trilith, monkeypatch):
    shown = {}
    monkeypatch.setattr("trilith.cli.report._print_measured", lambda *given: shown.update(given[2]))
    done = trilith("report", "area")
    assert (done.returncode, done.stderr) == (0, "")
    assert {unit.family for unit in shown.values()} == {"xcup", "ecp5", "ice40"}


def test_areas_have_blocks_and_stand_beside_the_hardware_of_others(trilith, monkeypatch):
    def measure(unit):
        counts = dict.fromkeys(("srl", "lutram", "carry", "wide_mux", "bram", "dsp", "levels"), 0)
        return AreaRow(
            unit=unit.kind,
            family=unit.family,
            lanes=80,
            rows=1,
            tokens=1,
            act_bits=8,
            code="base3",
            levels_per_stage=1,
            target="fpga",
            lut=1397,
            ff=3439,
            mhz=None,
            tool="yosys",
            command="synth",
            **counts,
        )

    monkeypatch.setattr("trilith.fpga.flow.area.measure", measure)
    words = ("report", "area", "--code", "two_bit", "--family", "xcup")
    lines = trilith(*words).stdout.splitlines()
    assert "blocks/MAC" in lines[0]
    assert " 215 " in lines[1]
    assert " 2.69 " in lines[1]
    assert (
        "measured by us, same command  bitnet-kv260 ternary_matvec: 30.7 LUT6, 12.8 FF and 3.84 "
        "CLB per MAC (one slice)"
    ) in lines
    assert any(line.startswith("blocks of xcup: a CLB has 8 LUT6 and 16 ") for line in lines)
    found = json.loads(trilith(*words, "--json").stdout)
    assert found["measured"][0]["blocks_per_mac"] == pytest.approx(3439 / 16 / 80)
    assert found["peers"][0]["blocks_per_mac"] == pytest.approx(30.7 / 8)
    assert found["blocks"]["xcup"]["flip_flops"] == 16
    # They were measured in one family only.
    ice40 = ("report", "area", "--family", "ice40", "--json")
    assert json.loads(trilith(*ice40).stdout)["peers"] == []
