"""The AXI4 masters alone: 10,000 random bursts of each one, and the rules of AXI.

The memories are those of ``cocotbext-axi``, which check pages and WLAST on their own.
``test_core_wrapper.py`` has a faster test, with the core.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_core import CONFIG

from trilith.hw.axi.memory_master import AxiMemoryMaster
from trilith.hw.axi.weight_reader import AxiWeightReader
from trilith.hw.token.memory_port import memory_request
from trilith.sim.rtl.cocotb_runner import run_testbench

#: The folder of the package ``testbenches``.
TESTS = Path(__file__).parents[2]


def run_master(master, **settings) -> int:
    settings = {"bursts": 400, "places": 40} | settings
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


#: Bytes of a beat, bits of the bus, and words of the longest burst.
SHAPES = (
    (64, 512, 64),
    (64, 128, 256),
    (256, 512, 64),
    (12, 64, 16),
    (5, 32, 8),
    (128, 1024, 1),
    (16, 256, 256),
)


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_weights(shape):
    assert run_weights(*shape, bursts=1500) == 6


@pytest.mark.long
@pytest.mark.parametrize(("width", "longest"), [(32, 256), (512, 64)])
def test_memory(width, longest):
    config = replace(CONFIG, memory_width=width, vector_lanes=1)
    assert run_memory(config, longest, bursts=5000) == 6
