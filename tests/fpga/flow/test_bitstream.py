"""Files that a build of a board writes before the first tool runs."""

import json

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.fpga.boards import BOARDS
from trilith.fpga.flow import bitstream, clocks
from trilith.fpga.gateware.litedram_verilog import sdram_chip
from trilith.fpga.gateware.sdram import Sdram
from trilith.sim import ToolchainError
from trilith.sim.tools.run import TooLongError


# Amaranth deprecates ways to name pins and domains that the top level uses.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_variables_of_amaranth_change_nothing(monkeypatch, tmp_path):
    constraints = []

    def stop(board, folder, log):
        constraints.append((folder / "top.pcf").read_text())
        raise ToolchainError("no synthesis here")

    monkeypatch.setattr(bitstream, "_synthesize", stop)
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    monkeypatch.setenv("AMARANTH_add_constraints", "set_io nothing 1")
    monkeypatch.setenv("AMARANTH_debug_verilog", "perhaps")
    with pytest.raises(ToolchainError, match=r"^no synthesis here$"):
        bitstream.build_board(BOARDS["icebreaker"])
    assert "set_io " in constraints[0]
    assert "nothing" not in constraints[0]


def test_a_route_that_does_not_end_is_done_without_routing_again(monkeypatch, tmp_path):
    """With its option to route again, nextpnr does not end where a path cannot be met."""
    commands = []

    def run(command, *, timeout=None, **rest):
        commands.append((command, timeout))
        if timeout is not None:
            raise TooLongError("too long")

    monkeypatch.setattr(bitstream, "run_program", run)
    board = BOARDS["ulx3s"]
    tools = bitstream._tools(board, board.make_platform())
    bitstream._place_and_route(tools, board, 3, tmp_path, tmp_path / "log")
    (first, bound), (second, none) = commands
    assert first == [*second, "--tmg-ripup"]
    assert (bound, none) == (3600, None)
    assert "50.0" in second
    assert "--timing-allow-fail" in second


def test_builds_of_one_design_keep_the_frequencies_of_other_seeds(tmp_path):
    file = tmp_path / "summary.json"
    now = {"top": {"baud": 1}, "tools": ["a 1"], "seed": 2, "mhz_by_seed": {"2": 50.0}}
    assert bitstream._other_seeds(file, now) == {}
    for last, kept in (
        ({"mhz_by_seed": {"1": 51.0, "2": 49.0}}, {"1": 51.0}),
        ({"top": {"baud": 2}}, {}),
        ({"tools": ["a 2"]}, {}),
    ):
        file.write_text(json.dumps(now | {"mhz_by_seed": {"1": 51.0}} | last))
        assert bitstream._other_seeds(file, now) == kept
    file.write_text(json.dumps({"top": now["top"], "tools": now["tools"]}))
    assert bitstream._other_seeds(file, now) == {}


def test_the_clock_of_the_sdram_is_a_quarter_behind():
    pll = clocks._ecp5_instance(25_000_000, 50_000_000, *(Signal() for _ in range(4)))
    given = pll.parameters
    divisor = given["CLKOS_DIV"]
    assert 25 * given["CLKOP_DIV"] == 50 * divisor
    steps = [8 * given[f"{name}_CPHASE"] + given[f"{name}_FPHASE"] for name in ("CLKOS", "CLKOS2")]
    assert steps[1] - steps[0] == 8 * divisor / 4
    assert given["CLKOS2_DIV"] == divisor


class SdramAlone(wiring.Component):
    """In the place of ``CoreTop``, whose RTLIL takes long."""

    rx: In(1)
    tx: Out(1)
    active: Out(1)

    def __init__(self, config, pads):
        super().__init__()
        self.sdram = Sdram(sdram_chip(config.memory.module, config.clock_hz), pads)

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = self.sdram
        return m


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_token_core_gets_the_pins_of_the_sdram_and_its_controller(monkeypatch, tmp_path):
    pytest.importorskip("litedram")
    files = {}

    def stop(board, folder, log):
        files.update({file.name: file.read_text() for file in folder.iterdir()})
        raise ToolchainError("no synthesis here")

    monkeypatch.setattr(bitstream, "_synthesize", stop)
    monkeypatch.setattr(bitstream, "CoreTop", SdramAlone)
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"^no synthesis here$"):
        bitstream.build_board(BOARDS["ulx3s"])
    # The copy of the whole design for debugging is not read.
    assert sorted(files) == ["litedram_controller.v", "top.il", "top.lpf"]
    assert "module litedram_controller" in files["litedram_controller.v"]
    assert r"cell \litedram_controller" in files["top.il"]
    for pin, site in (("clk__io", "F19"), ("dq__io[15]", "J17"), ("a__io[12]", "G19")):
        assert f'LOCATE COMP "sdram_0__{pin}" SITE "{site}";' in files["top.lpf"]
    assert "ODDRX1F" in files["top.il"]
