"""Cycles of the register bank; the testbench of the wrapper covers the rest."""

from amaranth.sim import Simulator

from trilith.hw.axi.lite import RegisterBank
from trilith.hw.axi.registers import Field, Register

MAP = (
    Register(name="value", offset=0x0, access="rw", meaning="a number"),
    Register(
        name="seen",
        offset=0x4,
        access="flags",
        meaning="events",
        fields=(Field(name="a", lsb=0, meaning="one"), Field(name="b", lsb=1, meaning="another")),
    ),
    Register(
        name="go",
        offset=0x8,
        access="command",
        meaning="commands",
        fields=(Field(name="now", lsb=3, meaning="pulse"),),
    ),
    Register(name="fixed", offset=0xC, access="ro", meaning="a number"),
)


def simulate(bench) -> None:
    bank = RegisterBank(MAP)
    simulator = Simulator(bank)
    simulator.add_clock(1)

    async def run(ctx):
        await bench(ctx, bank)

    simulator.add_testbench(run)
    simulator.run()


async def write(ctx, axi, address: int, data: int, strobe: int = 15) -> int:
    """Offer a write until it is taken; return clocks to there. The response is not awaited."""
    for name, value in (("awaddr", address), ("wdata", data), ("wstrb", strobe)):
        ctx.set(getattr(axi, name), value)
    ctx.set(axi.awvalid, 1)
    ctx.set(axi.wvalid, 1)
    clocks = 0
    while not ctx.get(axi.awready):
        await ctx.tick()
        clocks += 1
        assert clocks < 20
    return clocks


async def end_write(ctx, axi) -> None:
    await ctx.tick()
    ctx.set(axi.awvalid, 0)
    ctx.set(axi.wvalid, 0)
    assert ctx.get(axi.bvalid)
    ctx.set(axi.bready, 1)
    await ctx.tick()
    ctx.set(axi.bready, 0)
    assert not ctx.get(axi.bvalid)


def test_that_an_event_in_the_clock_of_its_clearing_stays() -> None:
    async def bench(ctx, bank):
        axi = bank.axi
        ctx.set(bank.seen_set, 3)
        await ctx.tick()
        ctx.set(bank.seen_set, 0)
        assert ctx.get(bank.seen) == 3
        await write(ctx, axi, 0x4, 3)
        ctx.set(bank.seen_set, 1)
        await end_write(ctx, axi)
        ctx.set(bank.seen_set, 0)
        assert ctx.get(bank.seen) == 1
        await write(ctx, axi, 0x4, 3)
        await end_write(ctx, axi)
        assert ctx.get(bank.seen) == 0

    simulate(bench)


def test_that_a_command_lasts_a_clock() -> None:
    async def bench(ctx, bank):
        axi = bank.axi
        assert await write(ctx, axi, 0x8, 0xFFFF_FFFF) == 1
        ctx.set(axi.bready, 0)
        high = []
        for _ in range(5):
            await ctx.tick()
            ctx.set(axi.awvalid, 0)
            ctx.set(axi.wvalid, 0)
            high.append(ctx.get(bank.go) >> 3)
        assert high == [1, 0, 0, 0, 0]

    simulate(bench)


def test_that_no_write_is_taken_before_the_last_was_answered() -> None:
    async def bench(ctx, bank):
        axi = bank.axi
        await write(ctx, axi, 0x0, 5)
        await ctx.tick()
        # The next is offered at once, and the response not taken.
        ctx.set(axi.wdata, 6)
        for _ in range(10):
            await ctx.tick()
            assert ctx.get(axi.bvalid)
            assert not ctx.get(axi.awready)
            assert ctx.get(bank.value) == 5
        ctx.set(axi.bready, 1)
        await ctx.tick()
        await ctx.tick()
        assert ctx.get(axi.awready)
        await ctx.tick()
        assert ctx.get(bank.value) == 6

    simulate(bench)


def test_that_half_a_write_does_nothing() -> None:
    async def bench(ctx, bank):
        axi = bank.axi
        for half in ("awvalid", "wvalid"):
            ctx.set(getattr(axi, half), 1)
            ctx.set(axi.wdata, 7)
            ctx.set(axi.wstrb, 15)
            for _ in range(5):
                await ctx.tick()
                assert not ctx.get(axi.awready)
                assert not ctx.get(axi.wready)
            ctx.set(getattr(axi, half), 0)
        assert ctx.get(bank.value) == 0

    simulate(bench)


def test_that_a_read_takes_three_clocks() -> None:
    async def bench(ctx, bank):
        axi = bank.axi
        ctx.set(bank.fixed, 0x1234_5678)
        ctx.set(axi.araddr, 0xC)
        ctx.set(axi.arvalid, 1)
        seen = []
        for _ in range(4):
            await ctx.tick()
            seen.append((ctx.get(axi.arready), ctx.get(axi.rvalid)))
            if seen[-1][0]:
                continue
            ctx.set(axi.arvalid, 0)
        assert seen == [(1, 0), (0, 0), (0, 1), (0, 1)]
        assert (ctx.get(axi.rdata), ctx.get(axi.rresp)) == (0x1234_5678, 0)

    simulate(bench)
