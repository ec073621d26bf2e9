"""Estimate speed and energy with the figures of your own process and memory.

Run it with ``python examples/own_technology.py``. The figures below are made up: write yours, with
their sources. ``trilith estimate --write-technology own.toml`` writes a file to begin with, and
``trilith estimate --technology own.toml`` reads it.
"""

import tempfile
from pathlib import Path

from trilith.sim.cost.designs import DESIGNS
from trilith.sim.cost.memories import find_memory
from trilith.sim.cost.model_shapes import find_model
from trilith.sim.cost.profiles import find_profile
from trilith.sim.cost.system import Estimate, estimate
from trilith.sim.cost.technology import read_technology

OWN = """
name = "own"
node = "12 nm"
boundary = "arithmetic and SRAM only"
based_on = "jouppi7" # Its figures count where there are none below.

[[energy]]
source = "made up for this example"
label = "modelled"
[energy.pj]
"int8 add" = 0.009
"int32 add" = 0.04
"int8 mul" = 0.09
"sram 32 KB" = 9.2

[memory.stacked]
gb_s = 120
gb = 8
pj_per_bit = 2.5
source = "made up for this example"
"""


def show(name: str, result: Estimate) -> None:
    """Print a row."""
    millijoules = (result.joules_per_token or 0.0) * 1e3
    print(f"{name:<14} {result.tokens_per_second:8.1f} {millijoules:9.2f}  {result.bound}")


def main() -> None:
    """Estimate with a published technology and with your own, and print both."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "own.toml"
        file.write_text(OWN)
        own = read_technology(file)
    model, design = find_model("bitnet-2b4t"), DESIGNS["array-1024"]
    known = find_profile("jouppi7")
    print(f"{model.name} on {design.name}, batch 1, context 512; modelled")
    print("technology     tokens/s  mJ/token  bound")
    show("7 nm, LPDDR5", estimate(model, design, find_memory("lpddr5"), profile=known))
    show("own", estimate(model, design, own.memory("stacked"), profile=own.profile))


if __name__ == "__main__":
    main()
