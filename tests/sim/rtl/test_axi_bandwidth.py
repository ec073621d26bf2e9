"""Bandwidth of the AXI4 masters behind a memory with a latency of 40 cycles."""

import pytest
from small_core import CONFIG

from trilith.sim.rtl.axi_bandwidth import memory_bandwidth, weight_bandwidth


@pytest.mark.parametrize(("beat_bytes", "bus_bits"), [(64, 512), (64, 128), (20, 64)])
def test_weights_come_at_the_rate_of_the_bus(beat_bytes, bus_bits):
    found = weight_bandwidth(beat_bytes=beat_bytes, bus_bits=bus_bits, latency=40, words=700)
    assert found.words >= 700
    assert found.share >= 0.98


def test_words_of_the_memory_come_at_the_rate_of_the_bus():
    assert memory_bandwidth(CONFIG, latency=40, words=700).share >= 0.98


def test_a_latency_beyond_the_buffer_costs_bandwidth():
    assert memory_bandwidth(CONFIG, latency=100, words=500).share < 0.8
