# amaranth: UnusedElaboratable=no
"""The prover itself, the quickest theorems, and the page of all."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from proofs.bench import Bench
from proofs.equal import Equality, Version
from proofs.model import build_model
from proofs.page import PAGE, proofs_page
from proofs.prover import Method, Prover
from proofs.registry import THEOREMS
from proofs.theorem import LEAST_KILLED, Case, Theorem, check, kill


class _Counter(wiring.Component):
    """Counts to a limit, and starts again."""

    def __init__(self, limit):
        self.limit = limit
        super().__init__({"step": In(1), "count": Out(4)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.step):
            m.d.sync += self.count.eq(self.count + 1)
            with m.If(self.count == self.limit):
                m.d.sync += self.count.eq(0)
        return m


def _bench(limit, most):
    """Bench of a counter, with the claim that it does not pass ``most``."""
    counter = _Counter(limit)
    bench = Bench(counter)
    bench.claim("range", counter.count <= most)
    bench.cover("top", counter.count == limit)
    bench.reach = limit + 1
    return bench


def _below(limit, most):
    """Prover of the bench of a counter."""
    bench = _bench(limit, most)
    return Prover(bench, build_model(bench))


def test_a_claim_that_is_inductive_holds_in_all_cycles():
    prover = _below(5, 5)
    assert prover.prove(Method.INDUCTION, 1).holds


def test_a_claim_that_a_run_breaks_fails_in_the_cycle_in_which_it_does():
    prover = _below(5, 4)
    assert prover.prove(Method.BOUNDED, 5).holds
    outcome = prover.prove(Method.BOUNDED, 9)
    assert (outcome.failure, outcome.claims) == ("cycle 6 after a reset", ("claim_range",))
    # The first cycle is the reset; five steps follow.
    assert outcome.trace["count"][1:] == ["0", "1", "2", "3", "4", "5"]
    assert outcome.trace["step"][1:6] == ["1"] * 5


def test_a_claim_that_is_true_but_not_inductive_fails_in_the_step():
    # From 7 on the counter runs to 15; no reset leads there.
    prover = _below(5, 8)
    outcome = prover.prove(Method.INDUCTION, 1)
    assert outcome.failure == "induction step, cycle 1"
    assert outcome.trace["count"] == ["8", "9"]


def test_a_fault_of_the_component_is_found():
    counter = _Counter(5)
    bench = Bench(counter)
    bench.claim("range", counter.count <= 5)
    prover = Prover(bench, build_model(bench, faults=20))
    assert prover.prove(Method.INDUCTION, 1).holds
    outcomes = [prover.prove(Method.INDUCTION, 1, fault=fault + 1) for fault in range(20)]
    assert sum(not outcome.holds for outcome in outcomes) >= 3


def test_a_situation_that_cannot_come_is_named():
    counter = _Counter(5)
    bench = Bench(counter)
    bench.assume("still", ~counter.step)
    bench.cover("one", counter.count == 1)
    prover = Prover(bench, build_model(bench))
    found = dict(prover.covers(8, reset=True))
    assert found == {"cover_one": False, "assumptions": True}


def test_no_claim_is_proven_from_assumptions_that_contradict_each_other():
    counter = _Counter(5)
    bench = Bench(counter)
    bench.assume("contradiction", counter.step & ~counter.step)
    bench.claim("wrong", counter.count == 9)
    prover = Prover(bench, build_model(bench))
    assert prover.prove(Method.STATE, 0).holds
    assert dict(prover.covers(1, reset=False)) == {"assumptions": False}


@pytest.mark.parametrize(("limit", "failed"), [(5, ()), (6, ("claim_next_count",))])
def test_versions_are_equal_only_if_every_next_value_is(limit, failed):
    texts = [rtlil.convert(_Counter(one), name="top", emit_src=False) for one in (5, limit)]
    versions = [Version({"top.il": text}, "read_rtlil top.il", "top") for text in texts]
    bench = Equality(*versions)
    outcome = Prover(bench, build_model(bench)).prove(Method.STATE, 0)
    assert outcome.claims == failed
    # The register is matched whole; nothing else is left to be free.
    assert bench.shared == 4


#: A module with two equal registers and a third one, which stays 0.
_ORIGINAL = """
module top(input clk, input other, input d, output y, output z);
  reg a = 0, b = 0, c = 0;
  always @(posedge clk) begin a <= d; b <= d; c <= c & d; end
  assign y = a;
  assign z = b | c;
endmodule
"""
_MERGED = """
module top(input clk, input other, input d, output y, output z);
  reg a = 0;
  always @(posedge clk) a <= d;
  assign y = a;
  assign z = a;
endmodule
"""


def _equality(original, copy):
    versions = [Version({"top.v": text}, "read_verilog top.v", "top") for text in (original, copy)]
    return Equality(*versions, constants=["c"])


@pytest.mark.parametrize(
    ("original", "copy", "failed"),
    [
        ({}, {}, ""),
        ({}, {"a = 0": "a = 1"}, "claim_initial_"),
        ({}, {"a <= d": "a <= ~d"}, "claim_next_"),
        ({}, {"z = a": "z = ~a"}, "claim_output_z"),
        # A register that does not stay as it starts.
        ({"c & d": "c | d"}, {}, "claim_constant"),
    ],
)
def test_a_register_may_stand_for_several_and_a_constant_may_be_absent(original, copy, failed):
    texts = [_ORIGINAL, _MERGED]
    for index, changes in enumerate((original, copy)):
        for old, new in changes.items():
            assert old in texts[index]
            texts[index] = texts[index].replace(old, new)
    bench = _equality(*texts)
    outcome = Prover(bench, build_model(bench)).prove(Method.STATE, 0)
    assert outcome.holds == (not failed)
    assert any(name.startswith(failed) for name in outcome.claims) or not failed
    assert bench.unmatched == []


@pytest.mark.parametrize("edge", ["negedge clk", "posedge other"])
def test_that_registers_of_another_clock_edge_are_refused(edge):
    with pytest.raises(ValueError, match="must be a register of the rising edge of clk"):
        _equality(_ORIGINAL, _MERGED.replace("posedge clk", edge))


def test_that_ports_have_the_same_widths():
    with pytest.raises(AssertionError):
        _equality(_ORIGINAL, _MERGED.replace("output z", "output [1:0] z"))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("decoder: trits", "sherry"),
        ("decoder: illegal codes", "two_bit"),
        ("dot product: sum", "8 lanes, ternary"),
        ("dot product: quads", "8 lanes, int2, fpga"),
        ("dot product: pair sums", "5 lanes, ternary"),
        ("engine: weight beats", "5x2x2"),
        ("engine: credits", "5x1x2"),
        ("result queue: order", "2 rows, 2 tokens, depth 6"),
        ("result queue: collisions", "1 row, 1 token, depth 5"),
        ("gearbox: order", "2 to 3 bytes"),
        ("engine: progress", "5x1x1: 250 cycles"),
        ("AXI4-Lite: registers", "engine"),
        ("AXI4-Lite: acceptance", "token core"),
        ("adder: rounding", "all elements"),
        ("special functions: values and errors", "1/x"),
        ("exported Verilog", "8x2, base3, int4"),
        ("sequencer: progress", "1 token in a pass"),
        ("memory port: words of a channel", "queue of 4, bursts of 2"),
        ("memory port: grants", "2 channels, queues of 4, bursts of 2"),
        ("link: CRC", "all bytes"),
    ],
)
def test_quick_theorems_hold(name, label):
    outcome, _ = check(THEOREMS[name], label)
    assert outcome.holds, (outcome.failure, outcome.claims, outcome.trace)


def test_an_input_that_breaks_a_golden_claim_is_told():
    case = Case(build=lambda: _bench(5, 5), depth=1, exhaustive=lambda: False)
    theorem = Theorem(name="counter", file="", statement="", cases={"5": case})
    outcome, _ = check(theorem, "5")
    assert outcome.failure == "an input breaks what is claimed of the golden function"


def test_seeded_faults_break_a_theorem():
    killed, faults, _ = kill(THEOREMS["comparison by a carry"])
    assert LEAST_KILLED <= killed <= faults


def test_the_stored_page_has_all_theorems():
    assert PAGE.read_text() == proofs_page(), "write it again: make docs"
