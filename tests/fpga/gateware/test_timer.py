from amaranth.sim import Simulator

from trilith.fpga.gateware.timer import JobTimer


def test_a_job_is_counted_with_its_first_and_last_cycle():
    dut = JobTimer()

    async def testbench(ctx):
        for length, waits in ((1, 0), (10, 3), (5, 4)):
            for cycle in range(length + 1):
                ctx.set(dut.start, cycle == 0)
                ctx.set(dut.stop, cycle == length)
                ctx.set(dut.waiting, 0 < cycle <= waits)
                await ctx.tick()
            ctx.set(dut.stop, 0)
            await ctx.tick().repeat(3)
            assert (ctx.get(dut.cycles), ctx.get(dut.waits)) == (length + 1, waits)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
