"""The memory port: requests that follow one another, errors, and requests without words."""

import pytest
from amaranth.sim import Simulator

from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.memory_port import BURST, MemoryPort


def run_port(requests, fails=(), cycles=200, latency=0, pause=1, times=None):
    """Ask the second of two channels for words; a word is its address, and ``fails`` have errors.

    Memory answers ``latency`` cycles late, and the channel takes a word every ``pause`` cycles. The
    list ``times`` gets their cycles. Returns the words that the channel gets, and whether ``error``
    is set.
    """
    port = MemoryPort(CORE_PRESETS["small"], channels=2)
    words, errors = [], []

    async def bench(ctx):
        asked, owed = list(requests), []
        channel, given = port.channel_requests[1], port.channel_words[1]
        ctx.set(port.requests.ready, 1)
        for cycle in range(cycles):
            ready = cycle % pause == 0
            ctx.set(given.ready, ready)
            ctx.set(channel.valid, bool(asked))
            if asked:
                ctx.set(channel.p.address, asked[0][0])
                ctx.set(channel.p.words, asked[0][1])
            answers = bool(owed) and cycle >= owed[0][1]
            ctx.set(port.read_data.valid, answers)
            if answers:
                ctx.set(port.read_data.p.data, owed[0][0])
                ctx.set(port.read_data.p.error, owed[0][0] in fails)
            if ctx.get(port.error):
                errors.append(cycle)
            if ctx.get(given.valid) and ready:
                words.append((ctx.get(given.p.data), ctx.get(given.p.last)))
                if times is not None:
                    times.append(cycle)
            if asked and ctx.get(channel.ready):
                asked.pop(0)
            taken = answers and ctx.get(port.read_data.ready)
            if ctx.get(port.requests.valid):
                address, count = ctx.get(port.requests.p.address), ctx.get(port.requests.p.words)
                assert 1 <= count <= BURST
                from_cycle = cycle + 1 + latency
                owed += [(address + 8 * index, from_cycle) for index in range(count)]
            if taken:
                owed.pop(0)
            await ctx.tick()

    simulator = Simulator(port)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert not errors or errors == list(range(errors[0], cycles))
    return words, bool(errors)


def expected(*requests):
    """Words of requests."""
    return [
        (address + 8 * index, index == count - 1)
        for address, count in requests
        for index in range(count)
    ]


def test_requests():
    requests = [(0, 1), (800, 40)]
    assert run_port(requests) == (expected(*requests), False)


@pytest.mark.parametrize("place", [0, 20, 39])
def test_a_word_with_an_error_counts_like_any_other(place):
    requests = [(800, 40), (16, 2)]
    assert run_port(requests, fails=[800 + 8 * place]) == (expected(*requests), True)


def test_a_request_without_words_is_dropped():
    assert run_port([(64, 0), (8, 3), (8, 0), (0, 1)]) == (expected((8, 3), (0, 1)), True)


@pytest.mark.parametrize("pause", [1, 3])
@pytest.mark.parametrize("sizes", [(40, 50, 30), (1, 1, 1, 1), (16, 1, 17, 2)])
def test_words_of_requests_that_follow(sizes, pause):
    requests = [(800 * index, size) for index, size in enumerate(sizes)]
    found = run_port(requests, cycles=500, latency=5, pause=pause)
    assert found == (expected(*requests), False)


def test_a_request_that_waits_hides_the_latency_of_memory():
    times = []
    run_port([(0, 100), (1600, 100)], cycles=400, latency=30, times=times)
    assert times == list(range(times[0], times[0] + 200))
