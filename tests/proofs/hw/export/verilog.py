"""Theorem about the exported Verilog."""

from amaranth.back import rtlil
from proofs.equal import Equality, Version
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.hw.config import MatVecConfig
from trilith.hw.engine.engine import MatVecEngine
from trilith.hw.export.verilog import component_verilog


def exported(config: MatVecConfig) -> Equality:
    """RTLIL of Amaranth against the Verilog, as yosys reads it."""
    text = rtlil.convert(MatVecEngine(config), name="unit", emit_src=False)
    original = Version({"unit.il": text}, "read_rtlil unit.il", "unit")
    verilog = component_verilog(MatVecEngine(config), "unit")
    copy = Version({"unit.v": verilog}, "read_verilog unit.v", "unit")
    # The export leaves this flag out where all activations are legal.
    return Equality(original, copy, constants=["loader.bad_activation"])


_ENGINE = MatVecConfig(lanes=8, rows=2, act_bits=4, code="base3", k_max=16, n_max=8)


THEOREMS = [
    Theorem(
        name="exported Verilog",
        file="hw/export/verilog.py",
        statement="From every state that both have, and for all inputs, the exported Verilog gives "
        "the same outputs as the RTLIL of the engine, and every register and word of a memory "
        "gets the same next value. They start with the same values. Registers that the export "
        "removes keep their initial value, or may have any value.",
        method=Method.STATE,
        cases={"8x2, base3, int4": Case(build=lambda: exported(_ENGINE))},
    ),
]
