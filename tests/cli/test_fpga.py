import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRILITH = Path(sys.executable).parent / "trilith"


def fpga(*arguments):
    return subprocess.run(
        [str(TRILITH), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def test_boards_are_listed():
    boards = json.loads(fpga("fpga", "boards", "--json").stdout)
    assert [board["name"] for board in boards] == [
        "icebreaker",
        "ulx3s",
        "ecpix5",
        "tang-nano-9k",
        "arty-a7-35t",
        "kv260",
    ]
    macs = {board["name"]: board["macs_per_clock"] for board in boards}
    assert macs["ulx3s"] == 1280
    assert macs["icebreaker"] == 80
    assert macs["kv260"] == 320
    assert boards[-1]["baud"] is boards[-1]["weight_memory_bytes"] is None
    assert fpga("fpga", "boards").stdout.count("\n") == 1 + len(boards)


def test_the_report_has_every_board():
    report = json.loads(fpga("report", "fpga", "--json").stdout)
    rows = {row["name"]: row for row in report["boards"]}
    # A beat of 80 weights in two clocks.
    assert rows["icebreaker"]["gmacs_single"] == pytest.approx(0.96)
    # The trained model fits, and what it does is bound by the link.
    assert rows["ulx3s"]["model_stream_bytes"] == 0
    assert rows["tang-nano-9k"]["model_stream_bytes"] > 200_000
    assert rows["ulx3s"]["model_tokens"] > rows["icebreaker"]["model_tokens"]
    # 417 MB over 3 Mbaud.
    assert rows["icebreaker"]["big_seconds"] == pytest.approx(416.5e6 / 0.956 * 10 / 3e6, rel=0.01)
    # 16 bytes in each of 200 million clocks, of 417 MB.
    assert rows["kv260"]["big_memory_tokens"] == pytest.approx(3.2e9 / 416.5e6, rel=0.01)
    assert rows["kv260"]["model_tokens"] is rows["kv260"]["weight_bytes"] is None
    assert {figure["label"] for figure in report["published"]} == {"published"}


def test_what_was_only_synthesized_says_so(tmp_path, monkeypatch):
    """From the stored summaries alone, whose devices have room left."""
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    lines = fpga("report", "fpga").stdout.splitlines()
    marked = [line for line in lines if line.endswith("  synthesized, not placed")]
    assert [line.split()[0] for line in marked] == ["Arty", "Kria"]
    rows = {
        row["name"]: row for row in json.loads(fpga("report", "fpga", "--json").stdout)["boards"]
    }
    for name in ("arty-a7-35t", "kv260"):
        used = rows[name]["measured"]["used"]
        assert rows[name]["measured"]["mhz"] is None
        assert used["DSP"]["used"] == 0
        for kind in ("logic cells", "flip-flops", "block RAM"):
            assert 0 < used[kind]["used"] <= 0.95 * used[kind]["available"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("build", "--board", "x"),
            "--board must be one of icebreaker, ulx3s, ecpix5, tang-nano-9k, arty-a7-35t, kv260, "
            "not 'x'",
        ),
        (
            ("build", "--board", "kv260", "--seed", "2"),
            "--seed must not be given for kv260, which Vivado places",
        ),
        (
            ("simulate", "--board", "kv260"),
            "--board must be one of icebreaker, ulx3s, ecpix5, tang-nano-9k, arty-a7-35t, not",
        ),
        (("simulate", "--board", "x"), "--board must be one of icebreaker, ulx3s, ecpix5"),
        (("simulate", "--flip", "2"), "--flip must be from 0 to 1, not 2.0"),
        (("build", "--board", "ulx3s", "--seed", "-1"), "--seed must be 0 or more, not -1"),
        (
            ("selftest", "--port", "/dev/ttyNOWHERE"),
            "--port: there is no serial port /dev/ttyNOWHERE; ports found: ",
        ),
        (("selftest", "--port", "x", "--baud", "0"), "--baud must be 1 or more, not 0"),
        (
            ("generate", "--port", "x", "--max-tokens", "0"),
            "--max-tokens must be 1 or more, not 0",
        ),
    ],
)
def test_refusals(arguments, message):
    done = fpga("fpga", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
