"""Files that a build of a board writes before the first tool runs."""

import pytest

from trilith.fpga.boards import BOARDS
from trilith.fpga.flow import bitstream
from trilith.sim import ToolchainError


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
