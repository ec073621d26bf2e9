import subprocess
import sys
from pathlib import Path

import pytest

import trilith.sim.cost

MODULES = sorted(file.stem for file in Path(trilith.sim.cost.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("heavy", ["amaranth", "cocotb", "matplotlib", "ml_dtypes"])
def test_that_the_cost_model_loads_nothing_heavy(heavy):
    assert "system" in MODULES
    lines = [f"import trilith.sim.cost.{module}" for module in MODULES]
    lines.append(f"import sys; sys.exit({heavy!r} in sys.modules)")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
