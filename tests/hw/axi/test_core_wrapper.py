# amaranth: UnusedElaboratable=no
"""The token core behind AXI: tokens end to end, errors of the buses, resets."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_core import CONFIG, small_model

from trilith.golden.elements import element_bits
from trilith.golden.environment import child_environment
from trilith.golden.network.token_core import CoreCache
from trilith.hw import MatVecConfig
from trilith.hw.axi.core_wrapper import AxiTokenCore, CoreBuses
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.image import compile_image
from trilith.sim.cost.core.cycles import core_cycles
from trilith.sim.rtl.cocotb_runner import run_testbench
from trilith.sim.rtl.memory_model import MemoryModel
from trilith.sim.rtl.token_core import GoldenTrace
from trilith.sim.tools.verilator import find_verilator
from trilith.sim.tools.verilog import keep_verilog

#: The folder of the package ``testbenches``.
TESTS = Path(__file__).parents[2]

#: Cycles from a request of the core to its first word behind the masters, without pauses.
_LATENCY = 6


def write_case(folder: Path, model, hardware: AxiTokenCore, text: list[int]) -> None:
    """Write the image of a model, and the golden answers to each token of a text."""
    image, cache = compile_image(model, hardware.config), CoreCache(model.config)
    image.memory.tofile(folder / "memory.bin")
    image.weights.tofile(folder / "weights.bin")
    tokens = []
    for position, token in enumerate(text):
        logits, k = GoldenTrace(model, token, cache).logits, (3, 1, 32)[position % 3]
        best = np.argsort(-logits, kind="stable")[:k]
        bits = element_bits(logits[best]).tolist()
        answers = [
            [number, logit << 8, int(number == best[-1])]
            for number, logit in zip(best.tolist(), bits, strict=True)
        ]
        # The same token over streams, behind a memory that answers as late as that of the test.
        cycles = core_cycles(
            image.config,
            image.program,
            token=token,
            position=position,
            k=k,
            memory=MemoryModel(latency=_LATENCY),
        ).cycles
        tokens.append(
            {"token": token, "position": position, "k": k, "answers": answers, "cycles": cycles}
        )
    settings = {
        "program_words": image.program_words,
        "constants": hardware.register_values,
        "vocabulary": image.program[0].fields["vocabulary"],
        "tokens": tokens,
        "length": {"none": len(text), "rarely": 3, "often": 2, "bursts": 2},
    }
    (folder / "settings.json").write_text(json.dumps(settings))


#: A core whose token takes 2,000 cycles: two weight beats in a bus word, the head in them.
TINY = TokenConfig(
    engine=MatVecConfig(lanes=8, rows=5, k_max=32, n_max=48),
    vector_lanes=1,
    attention_lanes=4,
    memory_width=32,
    hidden_max=16,
    ffn_max=24,
    heads_max=2,
    kv_heads_max=1,
    head_size_max=8,
    context_max=16,
    vocabulary_max=64,
)
TINY_MODEL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 40,
    "max_position_embeddings": 16,
}


TINY_BUSES = CoreBuses(weights=128, burst=16, buffer=64)


def verilog(config: TokenConfig, buses: CoreBuses | None) -> Path:
    """The Verilog of a core, which several tests share."""
    return keep_verilog(lambda: AxiTokenCore(config, buses), "dut", f"{config!r} {buses!r}")


@pytest.mark.parametrize(
    ("config", "buses", "sizes"),
    [
        pytest.param(TINY, TINY_BUSES, TINY_MODEL, id="tiny"),
        pytest.param(CONFIG, None, {}, marks=pytest.mark.long, id="small"),
    ],
)
def test_tokens(random_model, tmp_path, config, buses, sizes):
    hardware = AxiTokenCore(config, buses)
    write_case(tmp_path, small_model(random_model, **sizes), hardware, [5, 3, 9, 33])
    passed = run_testbench(
        hardware,
        "testbenches.axi_core",
        path=[TESTS],
        variables={"TRILITH_CORE": str(tmp_path)},
        verilog=verilog(config, buses),
    )
    assert passed == 10


def test_lint(tmp_path):
    file = verilog(TINY, TINY_BUSES)
    # The waivers are those of an exported engine: fields that nothing reads, all modules in a file.
    waivers = tmp_path / "dut.vlt"
    rules = ("UNUSEDSIGNAL", "UNDRIVEN", "DECLFILENAME")
    lines = ["`verilator_config", *(f'lint_off -rule {rule} -file "*/dut.v"' for rule in rules)]
    waivers.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [find_verilator().program, "--lint-only", "-Wall", "--top-module", "dut", waivers, file],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
