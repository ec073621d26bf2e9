import subprocess
import sys
from pathlib import Path

import pytest

import trilith.sim.cost

ROOM = Path(trilith.sim.cost.__file__).parent
MODULES = sorted(file.stem for file in ROOM.glob("[a-z]*.py"))
#: All but the comparison with the RTL.
MODULES += sorted(
    f"core.{file.stem}" for file in ROOM.glob("core/[a-z]*.py") if file.stem != "validate"
)


@pytest.mark.parametrize("heavy", ["amaranth", "cocotb", "matplotlib", "ml_dtypes"])
def test_that_the_cost_model_loads_nothing_heavy(heavy):
    assert {"core_system", "core.extension"} <= set(MODULES)
    lines = [f"import trilith.sim.cost.{module}" for module in MODULES]
    lines.append(f"import sys; sys.exit({heavy!r} in sys.modules)")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
