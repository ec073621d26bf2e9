"""The record of a simulated core's ports."""

from types import SimpleNamespace

import numpy as np

from trilith.sim.rtl.token_core import TokenCoreSimulator


def test_a_record_is_cut_by_cycle_and_port(tmp_path):
    file = tmp_path / "record"
    np.arange(8, dtype=np.uint8).tofile(file)
    # Ports of 3, 9 and 1 bits take 1, 2 and 1 bytes of a cycle.
    core = SimpleNamespace(_record=file, _ports={"a": 3, "b": 9, "c": 1})
    found = {name: rows.tolist() for name, rows in TokenCoreSimulator.recorded(core).items()}
    assert found == {"a": [[0], [4]], "b": [[1, 2], [5, 6]], "c": [[3], [7]]}
