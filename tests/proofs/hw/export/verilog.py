"""Theorem about the exported Verilog."""

from functools import partial

from amaranth.back import rtlil
from proofs.equal import Equality, Version
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.hw.config import PRESETS, MatVecConfig
from trilith.hw.engine.engine import MatVecEngine
from trilith.hw.export.verilog import component_verilog


def exported(config: MatVecConfig) -> Equality:
    """RTLIL of Amaranth against the Verilog, as yosys reads it."""
    text = rtlil.convert(MatVecEngine(config), name="unit", emit_src=False)
    original = Version({"unit.il": text}, "read_rtlil unit.il", "unit")
    verilog = component_verilog(MatVecEngine(config), "unit")
    copy = Version({"unit.v": verilog}, "read_verilog unit.v", "unit")
    return Equality(original, copy)


def _engine(*, code: str, act_bits: int = 4, tokens: int = 1, target: str = "fpga") -> MatVecConfig:
    return MatVecConfig(
        lanes=8,
        rows=2,
        tokens=tokens,
        act_bits=act_bits,
        code=code,
        k_max=16,
        n_max=8,
        target=target,
    )


_ENGINES = {
    "8x2, base3, int4": _engine(code="base3"),
    "8x2, escape, int4": _engine(code="escape"),
    "8x2, sherry, int4, ASIC": _engine(code="sherry", target="asic"),
    "8x2, tq1, int4, 2 tokens": _engine(code="tq1", tokens=2),
    "8x2, two_bit, int4, compact": _engine(code="two_bit", target="compact-fpga"),
    "8x2, binary, int8": _engine(code="binary", act_bits=8),
    "micro": PRESETS["micro"],
}


THEOREMS = [
    Theorem(
        name="exported Verilog",
        file="hw/export/verilog.py",
        statement="Take any state in which the registers and words of memories of both are equal. "
        "Then, for all inputs, the exported Verilog gives the same outputs as the RTLIL of the "
        "engine, and the same next state. They start with the same values. Registers that the "
        "export removes keep their initial value, or may have any value.",
        method=Method.STATE,
        cases={
            label: Case(build=partial(exported, config), quick=label != "micro")
            for label, config in _ENGINES.items()
        },
    ),
]
