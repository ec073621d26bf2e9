"""The loader of templates."""

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from trilith.golden.templates import render


def test_that_a_template_is_filled() -> None:
    text = render("trilith.hw.export", "clock.sdc.jinja", clock="clk", period_ns=2.5)
    lines = text.splitlines(keepends=True)
    assert lines[-1] == "create_clock -name clk -period 2.5 [get_ports clk]\n"
    assert "400 MHz" in lines[1]


def test_that_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match=r"^'period_ns' is undefined$"):
        render("trilith.hw.export", "clock.sdc.jinja", clock="clk")


def test_that_a_missing_template_is_an_error() -> None:
    with pytest.raises(TemplateNotFound, match=r"^none\.jinja$"):
        render("trilith.hw.export", "none.jinja")
