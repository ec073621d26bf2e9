"""Runs jobs on an exported engine in a SoC of LiteX, simulated in Icarus Verilog."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trilith.hw import PRESETS, MatVecConfig
from trilith.hw.axi.registers import REGISTERS
from trilith.hw.axi.wrapper import BusWidths
from trilith.hw.beats import activation_beats, weight_beats
from trilith.hw.export.axi_package import export_axi
from trilith.hw.jobs import Job, golden_beats

TESTBENCHES = Path(__file__).parents[2] / "testbenches"

#: Each job: N, K, tokens, group_chunks and reuse.
Shapes = tuple[tuple[int, int, int, int, bool], ...]

needs_litex = pytest.mark.skipif(
    importlib.util.find_spec("litex") is None or shutil.which("iverilog") is None,
    reason="LiteX or Icarus Verilog is not installed: pip install 'trilith[soc]', "
    "apt-get install iverilog",
)

#: Address of the SoC's memory, and of the engine's registers. Those of LiteX are at 0.
RAM, ENGINE = 0x4000_0000, 0x9000_0000

OFFSETS = {register.name: register.offset for register in REGISTERS}

#: Word of the memory before the results are written.
BLANK = 0xDEAD_BEEF

#: N, K, tokens, group_chunks and reuse of seven jobs for the preset micro.
SHAPES = (
    (5, 8, 1, 0, False),
    (23, 40, 1, 0, False),
    (1, 40, 1, 2, True),
    (64, 9, 1, 1, False),
    (7, 130, 1, 5, False),
    (12, 130, 1, 0, True),
    (31, 64, 1, 0, False),
)

#: Beats of 3 bytes for weights, 5 for activations and 4 for results: none fills words of its bus.
ODD = MatVecConfig(lanes=9, rows=1, tokens=2, act_bits=4, code="two_bit", k_max=40, n_max=20)
ODD_SHAPES = ((3, 9, 2, 0, False), (5, 30, 1, 1, False), (1, 9, 1, 0, False), (7, 9, 1, 0, True))


def make_jobs(config: MatVecConfig, shapes: Shapes) -> list[Job]:
    rng = np.random.default_rng(3)
    high = 1 << config.act_bits - 1
    x = np.zeros((1, 1), np.int8)
    jobs = []
    for n, k, tokens, group_chunks, reuse in shapes:
        if not reuse:
            x = rng.integers(-high, high, (tokens, k), np.int8)
        trits = rng.integers(-1, 2, (n, k), np.int8)
        jobs.append(Job(trits=trits, activations=x, group_chunks=group_chunks, reuse=reuse))
    return jobs


class Memory:
    """Words of the SoC's memory."""

    def __init__(self) -> None:
        self.words: list[int] = []

    def put(self, data: bytes) -> int:
        """Append bytes at a multiple of the longest word of a DMA; return the address."""
        self.words += [BLANK] * (-len(self.words) % 32)
        address = RAM + 4 * len(self.words)
        self.words += np.frombuffer(data + bytes(-len(data) % 4), "<u4").tolist()
        return address


def make_soc(folder: Path, words: list[int]) -> dict:
    """Write the Verilog of the SoC; return LiteX's own registers."""
    (folder / "memory.json").write_text(json.dumps(words))
    command = [sys.executable, str(TESTBENCHES / "litex_soc.py"), str(folder / "ip_litex.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "build" / "csr.json").read_text())["csr_registers"]


def simulate(folder: Path, program: list[str]) -> list[str]:
    """Simulate the SoC; return what the program printed, or LIMIT if it did not end."""
    gateware = folder / "build" / "gateware"
    (gateware / "program.v").write_text("\n".join(program) + "\n")
    command = ["iverilog", "-g2005", "-DLIMIT=12000", "-o", "soc.vvp", "-s", "bench", "-I", "."]
    command += [str(TESTBENCHES / "litex_soc.v"), "soc.v", str(folder / "ip.v")]
    subprocess.run(command, cwd=gateware, check=True)
    command = ["vvp", "-N", "soc.vvp"]
    done = subprocess.run(command, cwd=gateware, capture_output=True, text=True, check=True)
    return done.stdout.split()


def arm(csr: dict, name: str, address: int, length: int) -> Iterator[str]:
    """Start a DMA, as the page of the export says."""
    for register, value in (("base", address), ("length", length), ("enable", 1)):
        # The lower word of a register of 64 bits stands last.
        where = csr[f"engine_{name}_{register}"]
        yield f"write({where['addr'] + 4 * (where['size'] - 1)}, {value});"


def disarm(csr: dict, name: str) -> Iterator[str]:
    yield f"await({csr[f'engine_{name}_done']['addr']});"
    yield f"write({csr[f'engine_{name}_enable']['addr']}, 0);"


def start(job: Job) -> Iterator[str]:
    for name in ("n", "k", "tokens", "group_chunks", "reuse"):
        yield f"write({ENGINE + OFFSETS[f'job_{name}']}, {int(getattr(job.shape, name))});"
    yield f"write({ENGINE + OFFSETS['job_start']}, 1);"


def run_jobs(folder: Path, config: MatVecConfig, results_bits: int, jobs: list[Job]) -> list[str]:
    """Run the jobs in the exported SoC; return results, errors and the number of jobs done.

    The weights of all jobs are one transfer, the activations of each job another. Up to four jobs
    are started ahead. The transfer for the results of each is armed late.
    """
    memory = Memory()
    weights = b"".join(weight_beats(config, job.trits).tobytes() for job in jobs)
    weights_at = memory.put(weights)
    inputs, outputs = [], []
    for job in jobs:
        data = b"" if job.reuse else activation_beats(config, job.activations).tobytes()
        inputs.append((memory.put(data), len(data)))
        # The DMA writes whole words.
        size = 4 * golden_beats(config, job).size
        size += -size % (results_bits // 8)
        outputs.append((memory.put(np.full(size // 4, BLANK, "<u4").tobytes()), size))
    memory.words += [BLANK] * 32
    csr = make_soc(folder, memory.words)

    program = [*start(jobs[0]), *arm(csr, "weights", weights_at, len(weights))]
    for index, (job, output) in enumerate(zip(jobs, outputs, strict=True)):
        if not index % 3:
            for later in jobs[index + 1 : index + 4]:
                program += start(later)
        if not job.reuse:
            program += arm(csr, "activations", *inputs[index])
        program.append("repeat (100) @(posedge clk);")
        program += arm(csr, "results", *output)
        program += disarm(csr, "results")
        if not job.reuse:
            program += disarm(csr, "activations")
    program += disarm(csr, "weights")
    for job, (address, _) in zip(jobs, outputs, strict=True):
        program.append(f"dump({address}, {golden_beats(config, job).size});")
    program += (f"dump({ENGINE + OFFSETS[name]}, 1);" for name in ("error", "jobs_done"))
    # The word behind the last results is not theirs.
    program.append(f"dump({sum(outputs[-1])}, 1);")
    return simulate(folder, program)


def expected(config: MatVecConfig, jobs: list[Job]) -> list[str]:
    values = [golden_beats(config, job).astype("<i4").view("<u4").ravel() for job in jobs]
    return [f"{word:08x}" for word in (*np.concatenate(values).tolist(), 0, len(jobs), BLANK)]


@needs_litex
@pytest.mark.parametrize(
    ("config", "widths", "shapes"),
    [
        (PRESETS["micro"], BusWidths.of(PRESETS["micro"]), SHAPES),
        (ODD, BusWidths(weights=64, activations=64, results=128), ODD_SHAPES),
    ],
    ids=["micro", "odd"],
)
def test_jobs_back_to_back(
    config: MatVecConfig, widths: BusWidths, shapes: Shapes, tmp_path: Path
) -> None:
    export_axi(config, tmp_path / "ip.v", widths=widths, name="ip")
    jobs = make_jobs(config, shapes)
    assert run_jobs(tmp_path, config, widths.results, jobs) == expected(config, jobs)


@pytest.mark.long
@needs_litex
def test_that_a_writer_that_is_ready_when_idle_loses_results(tmp_path: Path) -> None:
    config = PRESETS["micro"]
    export_axi(config, tmp_path / "ip.v", name="ip")
    file = tmp_path / "ip_litex.py"
    safe = file.read_text()
    assert safe.count("ready_on_idle=0") == 1
    file.write_text(safe.replace("ready_on_idle=0", "ready_on_idle=1"))
    jobs = make_jobs(config, SHAPES)
    assert run_jobs(tmp_path, config, 64, jobs) != expected(config, jobs)
