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
    assert macs["ulx3s"] == 320
    assert macs["icebreaker"] == 80
    assert macs["kv260"] == 320
    cores = {board["name"]: board["memory_bytes"] for board in boards if board["core"]}
    assert cores == {"ulx3s": 2**25, "ecpix5": 2**18, "kv260": None}
    assert boards[-1]["baud"] is boards[-1]["weight_memory_bytes"] is None
    assert fpga("fpga", "boards").stdout.count("\n") == 1 + len(boards)


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
            ("build", "--board", "ulx3s", "--sdram-module", "MT41K64M16"),
            "trilith: --sdram-module of ulx3s must be one of MT48LC16M16, AS4C16M16, IS42S16160, "
            "AS4C32M16, not 'MT41K64M16'",
        ),
        (
            ("build", "--board", "ecpix5", "--sdram-module", "AS4C32M16"),
            "trilith: --sdram-module of ecpix5 must be left out: its design has no SDRAM, "
            "not 'AS4C32M16'",
        ),
        (
            ("build", "--board", "kv260", "--sdram-module", "AS4C32M16"),
            "trilith: --sdram-module of kv260 must be left out: its design has no SDRAM, "
            "not 'AS4C32M16'",
        ),
        (
            ("simulate", "--board", "kv260"),
            "--board must be one of icebreaker, ulx3s, ecpix5, tang-nano-9k, arty-a7-35t, not",
        ),
        (("simulate", "--board", "x"), "--board must be one of icebreaker, ulx3s, ecpix5"),
        (("simulate", "--flip", "2"), "--flip must be from 0 to 1, not 2.0"),
        (
            ("build", "--board", "ulx3s", "--seed", "-1"),
            "--seed must be from 0 to 2147483647",
        ),
        (
            ("selftest", "--port", "/dev/ttyNOWHERE"),
            "--port: there is no serial port /dev/ttyNOWHERE; ports found: ",
        ),
        (("selftest", "--port", "x", "--baud", "0"), "--baud must be from 50 to 20000000, not 0"),
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
