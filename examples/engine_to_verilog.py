"""Generate an engine of your own sizes as Verilog, and run its testbench in Icarus Verilog.

Run it with ``python examples/engine_to_verilog.py FOLDER``. The new folder gets the Verilog, its
testbench, and a description as JSON and Markdown. The simulation needs ``iverilog``.
"""

import json
import subprocess
import sys
from pathlib import Path

from trilith.hw import MatVecConfig
from trilith.hw.export.package import export_engine


def main(folder: Path) -> None:
    """Write the files, simulate them and print what they are."""
    config = MatVecConfig(lanes=20, rows=4, tokens=2, code="escape", k_max=256, n_max=256)
    folder.mkdir(parents=True)
    files = export_engine(config, folder / "own.v", name="own_engine", testbench=True)
    print(f"engine {config}: {config.macs_per_clock} MACs per cycle")
    print(f"weight beat: {config.weight_bytes} bytes; accumulator: {config.acc_width} bits")
    print("files:", *(file.name for file in files))

    text = files[0].read_text()
    code = [line for line in text.splitlines() if not line.lstrip().startswith(("//", "(*"))]
    print(f"multiplications in the Verilog: {sum(' * ' in line for line in code)}")
    description = json.loads((folder / "own.json").read_text())
    print(f"ports: {len(description['ports'])}")

    program = folder / "testbench"
    sources = [folder / "own.v", folder / "own_tb.v"]
    subprocess.run(["iverilog", "-g2005", "-o", program, *sources], check=True)
    done = subprocess.run(["vvp", program], check=True, capture_output=True, text=True)
    print(f"testbench: {done.stdout.split()[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "own_engine"))
