"""The AXI4 masters alone: random bursts against memories of ``cocotbext-axi``, rules, mutants."""

import json
from pathlib import Path

from small_core import CONFIG

from trilith.hw.axi.memory_master import AxiMemoryMaster
from trilith.hw.axi.weight_reader import AxiWeightReader
from trilith.hw.token.memory_port import memory_request
from trilith.sim.rtl.cocotb_runner import run_testbench

#: The folder of the package ``testbenches``.
TESTS = Path(__file__).parents[2]


def run_master(master, **settings) -> int:
    settings = {"bursts": 400, "places": 12} | settings
    return run_testbench(
        master,
        "testbenches.axi_masters",
        path=[TESTS],
        variables={"TRILITH_MASTER": json.dumps(settings)},
    )


def run_weights(beat_bytes: int, bus_bits: int, longest: int = 64, bursts: int = 400) -> int:
    reader = AxiWeightReader(beat_bytes=beat_bytes, bus_bits=bus_bits, longest=longest)
    return run_master(reader, kind="weights", beat_bytes=beat_bytes, longest=longest, bursts=bursts)


def run_memory(config=CONFIG, longest: int = 64, bursts: int = 400) -> int:
    return run_master(
        AxiMemoryMaster(config, longest=longest),
        kind="memory",
        longest=longest,
        word_bytes=config.memory_width // 8,
        count_bits=memory_request(config)["words"].width,
        bursts=bursts,
    )


def test_weights():
    assert run_weights(16, 128) == 6


def test_memory():
    assert run_memory() == 6
