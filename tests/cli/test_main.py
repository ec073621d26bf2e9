import errno
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

from trilith.cli.main import main
from trilith.golden.network.bitnet_2b4t import CONFIG

TRILITH = Path(sys.executable).parent / "trilith"


def trilith(*arguments, **environment):
    return subprocess.run(
        [str(TRILITH), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


def refused(done, message):
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("trilith: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_lists_the_verbs():
    done = trilith("--help")
    assert done.returncode == 0
    assert "sim" in done.stdout
    assert "doctor" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], {"typer", "rich", "pydantic", "numpy", "amaranth", "cocotb", "matplotlib"}),
        (["estimate"], {"rich", "pydantic", "numpy", "amaranth", "cocotb", "matplotlib"}),
    ],
)
def test_a_quick_verb_imports_nothing_heavy(arguments, heavy):
    code = (
        "import atexit, sys; from trilith.cli.main import main; "
        f"atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules)))); "
        f"sys.argv = {['trilith', *arguments]!r}; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_verb_explains_itself():
    names = re.findall(r"^  (\w+)  ", trilith("--help").stdout, re.MULTILINE)
    assert len(names) == 12
    for name in names:
        module = import_module(f"trilith.cli.{name}")
        group = typer.main.get_command(module.app)
        for command in getattr(group, "commands", {name: group}).values():
            assert "\nExample" in command.help, command.name
            assert all(getattr(one, "help", "x") for one in command.params if not one.hidden)


def test_output_is_ascii_where_the_terminal_is():
    done = trilith("report", "fpga", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    done.stdout.encode("ascii")
    done = trilith("generate", "--prompt", "µ", "--max-tokens", 1, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("\\xb5")
    done = trilith("generate", "--prompt", "µ", "--max-tokens", 1, "--json", PYTHONUTF8="0")
    json.loads(done.stdout)


def test_doctor():
    done = trilith("doctor", "--json")
    assert done.returncode == 0
    tools = {tool["name"]: tool for tool in json.loads(done.stdout)}
    assert tools["cocotb"]["found"] == "cocotb 2.1.0"
    assert tools["verilator"]["found"]
    missing = trilith("doctor", PATH="/nowhere")
    assert missing.returncode == 1
    assert "missing  install a C++17 compiler" in missing.stdout


def test_sim_of_the_digits():
    done = trilith("sim", "--part", "digits")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "3 passed, 0 failed"
    assert "356 of 360 right (98.89%); trained in float: 360 (100.00%)" in lines[-2]
    cases = json.loads(trilith("sim", "--part", "digits", "--json").stdout)
    assert (cases["passed"], cases["failed"]) == (3, 0)
    assert [case["shape"] for case in cases["cases"]] == ["256x64x360", "256x256x360", "10x256x360"]


def test_unknown_part():
    message = "--part must be sweep, digits, language, bitnet or axi, not 'all'"
    refused(trilith("sim", "--part", "all"), message)


def test_part_and_checkpoint():
    refused(
        trilith("sim", "--part", "digits", "--checkpoint", "x"),
        "--part must not be given with --checkpoint: leave one of them out",
    )


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_unreadable_checkpoint(tmp_path, content):
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    if content is not None:
        file.write_bytes(content)
    what = "readable checkpoint" if content is None else "whole safetensors file"
    refused(trilith("sim", "--checkpoint", file), f"trilith: {file}: must be a {what}: ")


def test_checkpoint_of_something_else(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(1, np.float32)}, file)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    refused(
        trilith("sim", "--checkpoint", file),
        f"trilith: {file}: must have linear layers named model.layers.0.self_attn.q_proj.weight",
    )


def test_layer_out_of_range():
    message = "--layer must be from 0 to 29, not 30"
    refused(trilith("sim", "--checkpoint", "x", "--layer", "30"), message)


def test_full_disk(monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("trilith.sim.rtl.suite.run_suite", full)
    monkeypatch.setattr("sys.argv", ["trilith", "sim"])
    monkeypatch.setenv("TRILITH_BUILD", "/some/build")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    message = "trilith: [Errno 28] No space left on device; files go to /some/build (TRILITH_BUILD)"
    assert capsys.readouterr().err.startswith(message)


def test_unknown_verb_and_option():
    refused(trilith("simulate"), "No such command 'simulate'.")
    refused(trilith("sim", "--preset"), "No such option: --preset")


def test_report_of_unknown_baselines():
    refused(
        trilith("report", "baselines", "--family", "ice40"),
        "--family must be xcup or ecp5, not 'ice40'",
    )
    refused(trilith("report", "baselines", "--lanes", "1"), "--lanes must be from 2 to 320, not 1")
    done = trilith("report", "baselines", "--name", "fp4")
    refused(done, "--name must be one of fp32xfp32-fp32-fused, ")
    assert done.stderr.endswith(", not 'fp4'\n")
