"""``make bench``: speed and size, as ratios that are taken in one run."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ..golden.checkpoint.tokenizer import load_tokenizer
from ..golden.checkpoint.write_huggingface import write_huggingface
from ..golden.data import PYDOC
from ..golden.network import bitnet_2b4t as bitnet
from ..golden.network.text import bits_per_byte
from ..golden.network.transformer import BitNetModel, KVCache
from ..golden.scratch import scratch_folder
from ..hw.config import PRESETS
from ..hw.jobs import Job
from ..sim.rtl.harness import build_harness, write_run
from ..sim.rtl.simulator import MatVecSimulator
from ..sim.tools.cache import keep
from ..sim.tools.run import run_program
from ..sim.tools.toolchain import ToolchainError
from .area import print_bars
from .bench_core import large_core, token_core

__all__ = ["decode", "main", "make_checkpoint"]

_ROUNDS = 5
#: The command ``trilith``, with the Python that runs this.
_TRILITH = (sys.executable, "-c", "from trilith.cli.main import main; main()")


#: Command lines whose time is start-up above all.
_QUICK = (
    ["--help"],
    ["estimate", "bitnet-2b4t", "--design", "array-1024", "--memory", "lpddr5"],
)


def _start_up() -> None:
    """Print the times of two quick commands, as ratios to the start of Python.

    The commands and ``python -c pass`` take turns, and the fastest round of each counts: other
    load on the machine only adds time.
    """
    commands = [[sys.executable, "-c", "pass"], *([*_TRILITH, *quick] for quick in _QUICK)]
    rounds = [[_seconds(command) for command in commands] for _ in range(_ROUNDS)]
    seconds = [min(times) for times in zip(*rounds, strict=True)]
    print(f"Start-up, beside {seconds[0]:.3f} s of 'python -c pass' (best of {_ROUNDS} each)")
    for quick, one in zip(_QUICK, seconds[1:], strict=True):
        print(f"  trilith {quick[0]:<12} {one / seconds[0]:5.1f} times, {one:.3f} s")


def _seconds(command: list[str]) -> float:
    """Run a program; return its time."""
    start = time.perf_counter()
    run_program(command)
    return time.perf_counter() - start


def _simulation_speed() -> None:
    """Print the speed of the simulation of a BitNet layer beside a bare loop, and its weight beats.

    The seven matrices run as jobs back to back. The cocotb simulation and the bare C++ loop take
    turns on the same files, and the fastest round of each counts: other load on the machine only
    adds time.
    """
    config = PRESETS["bitnet"]
    bare = build_harness(config, main=Path(__file__).parents[1] / "sim" / "rtl" / "bare.cpp")
    with scratch_folder() as scratch:
        jobs = {
            name: Job(trits=trits, activations=bitnet.synthetic_activations(name))
            for name, trits in bitnet.read_layer(bitnet.synthetic_checkpoint()).items()
        }
        write_run(scratch, config, list(jobs.values()))
        macs = sum(job.trits.size for job in jobs.values())
        with MatVecSimulator(config) as simulator:
            print(f"Simulation of one 2B4T layer ({macs / 1e6:.1f} M weights), preset bitnet")
            for name, job in jobs.items():
                _, counters = simulator.run_jobs([job])
                print(
                    f"  {name:<18} {counters.weight_beats:>6} weight beats in "
                    f"{counters.last_weight - counters.first_weight + 1:>6} cycles: "
                    f"{counters.utilization:.2%}"
                )
            chains, bare_seconds = [], []
            for _ in range(_ROUNDS):
                chains.append(simulator.run_jobs(list(jobs.values()))[1])
                bare_seconds.append(float(run_program([bare], folder=scratch)))
    chain = chains[0]
    print(
        f"  {'all back to back':<18} {chain.weight_beats:>6} weight beats in "
        f"{chain.last_weight - chain.first_weight + 1:>6} cycles: "
        f"{chain.utilization:.2%}, with activations of 6 matrices loaded at the same time"
    )
    ours, theirs = min(chain.seconds for chain in chains), min(bare_seconds)
    print(f"  cocotb          {ours:.3f} s, {macs / ours / 1e6:.1f} MMAC/s")
    print(f"  bare C++ loop   {theirs:.3f} s, {macs / theirs / 1e6:.1f} MMAC/s")
    print(f"  cocotb / bare   {theirs / ours:.2f} of the speed (best of {_ROUNDS} rounds each)")


def make_checkpoint(folder: str, kind: str) -> None:
    """Write a synthetic model of 2B4T's size, of the kind ``free`` or ``quads`` of its zeros."""
    write_huggingface(bitnet.synthetic_checkpoint(quads=kind == "quads"), Path(folder))


def _large_checkpoint(kind: str) -> Path:
    """Make a synthetic model of 2B4T's size, once; return its folder."""
    with keep("bench-2b4t", kind) as (folder, making):
        if making is not None:
            # A child's peak memory begins with its parent's: another process makes the model.
            make = (
                "from trilith.reports.bench import make_checkpoint as f; import sys; "
                "f(*sys.argv[1:])"
            )
            run_program([sys.executable, "-c", make, making / "model", kind])
    return folder / "model"


def decode(folder: str) -> None:
    """Print the golden model's time for a token, and its peak memory."""
    model = BitNetModel.load(Path(folder))
    cache = KVCache(model.config)
    model.forward([1, 2, 3, 4], cache, last=True)
    seconds = []
    for token in range(2 * _ROUNDS):
        start = time.perf_counter()
        model.forward([token], cache, last=True)
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        f"  golden decoding      {min(seconds):5.2f} s per token (best of {len(seconds)}, "
        f"median {sorted(seconds)[_ROUNDS]:.2f}), {memory:.2f} GB"
    )


def _language_model() -> None:
    """Print the bits per byte of the stored language model on texts that it was not trained on."""
    record = json.loads((PYDOC / "training.json").read_text())
    texts = json.loads((PYDOC / "held_out.json").read_text())
    figure = bits_per_byte(BitNetModel.load(PYDOC), load_tokenizer(PYDOC), texts)
    print(f"Language model, bits per byte of {record['held_out_bytes']} held-out bytes")
    print(f"  ternary, golden      {figure:.4f} (measured now)")
    names = {
        "ternary": "ternary, PyTorch",
        "sherry": "one zero in four",
        "float": "float twin",
    }
    for form, name in names.items():
        print(f"  {name:<20} {record['bits_per_byte'][form]:.4f} (measured when it was trained)")


def _checkpoint_speed() -> None:
    """Print time and peak memory of ``trilith model`` on a checkpoint of 2B4T's size.

    The same of a token of the golden model follows. Peak memory counts the parts of mapped files
    that were read. The rate is that of the packed weights alone. The files that are written have
    the embeddings too, except for the stream.
    """
    source, quads = _large_checkpoint("free"), _large_checkpoint("quads")
    weights = sum(n * k for n, k in bitnet.LAYER_SHAPES.values()) * 30
    size = (source / "model.safetensors").stat().st_size
    print(f"Checkpoint of 2B4T's size ({weights / 4e6:.0f} of {size / 1e6:.0f} MB packed weights)")
    print(f"  inspect              {_model('inspect', str(source))[1]}")
    kinds = ("i2_s", "tq2_0", "tq1_0", "q2_0_64", "q2_0_128", "pq2_0", "ptq1_0", "iq2_bn", "mlx")
    for kind in (*kinds, "huggingface", "stream"):
        _conversion(source, kind, weights, verify=kind in ("i2_s", "stream"))
    print("The same with exactly one zero in each four weights")
    _conversion(quads, "stq1_0", weights)
    _conversion(quads, "stream", weights, "--code", "sherry")
    command = "from trilith.reports.bench import decode as f; import sys; f(sys.argv[1])"
    print(run_program([sys.executable, "-c", command, source]), end="")


def _conversion(source: Path, kind: str, weights: int, *options: str, verify: bool = False) -> None:
    """Print the speed of a conversion of a model with so many weights, and of its check."""
    target = source.with_name("bench-converted")
    arguments = ("convert", str(source), str(target), "--to", kind, *options)
    seconds, figures = _model(*arguments)
    name = " ".join([kind, *options[1:]])
    print(f"  convert {name:<12} {figures}, {weights / 4e6 / seconds:.0f} MB/s of packed weights")
    if verify:
        print(f"  verify {kind:<13} {_model('verify', str(target), str(source))[1]}")
    shutil.rmtree(target) if target.is_dir() else target.unlink()


def _model(*arguments: str) -> tuple[float, str]:
    """Run ``trilith model``; return its seconds, and a text with processor time and peak memory."""
    start = time.perf_counter()
    command = [*_TRILITH, "model", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"trilith model {' '.join(arguments)} failed")
    seconds = time.perf_counter() - start
    return seconds, (
        f"{seconds:5.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of CPU), "
        f"{usage.ru_maxrss * 1024 / 1e9:.2f} GB"
    )


def main() -> None:
    """Run all benches."""
    try:
        print_bars()
    except ToolchainError as error:
        print(f"Area: not measured: {error}")
    _start_up()
    _simulation_speed()
    _checkpoint_speed()
    _language_model()
    token_core()
    large_core()


if __name__ == "__main__":
    main()
