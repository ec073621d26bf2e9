# amaranth: UnusedElaboratable=no
import pytest
from amaranth.sim import Simulator

from trilith.fpga.gateware.serializer import ResultSerializer
from trilith.hw import MatVecConfig

CONFIG = MatVecConfig(lanes=5, rows=2, k_max=100, n_max=4)


def test_beats_become_bytes():
    dut = ResultSerializer(CONFIG)
    width = CONFIG.acc_width
    bits = 2 * width + 1
    size = -(-bits // 8)
    beats = [([1, -2], 0), ([-3, 4], 1)]
    words = [
        sum(
            (value % 2**CONFIG.acc_width) << index * CONFIG.acc_width
            for index, value in enumerate(v)
        )
        | last << (bits - 1)
        for v, last in beats
    ]
    expected = b"".join(word.to_bytes(size, "little") for word in words)
    got, ended, finished = [], [], []

    async def send(ctx):
        ctx.set(dut.bytes.ready, 1)
        for values, last in beats:
            ctx.set(dut.results.p, {"values": values, "last": last})
            ctx.set(dut.results.valid, 1)
            await ctx.tick().until(dut.results.ready)
        ctx.set(dut.results.valid, 0)
        await ctx.tick().repeat(size + 1)
        # While ``hold`` is set, no beat is taken.
        ctx.set(dut.hold, 1)
        ctx.set(dut.results.valid, 1)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.busy)

    async def watch(ctx):
        signals = (dut.bytes.valid, dut.bytes.p, dut.ended, dut.finished)
        async for _, _, valid, byte, end, finish in ctx.tick().sample(*signals):
            if valid:
                got.append(byte)
            ended.append(end)
            finished.append(finish)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert bytes(got) == expected
    assert sum(ended) == sum(finished) == 1
    # A beat in as many cycles as it has bytes, and one.
    assert ended.index(1) == size + 1
    assert finished.index(1) == 2 * size + 1


def test_a_configuration_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"^config must be a MatVecConfig, not 5$"):
        ResultSerializer(5)
