"""The checker of AXI's rules finds each broken rule; the testbenches of the masters use it."""

import re
from dataclasses import replace

import pytest
from amaranth.hdl import Value as Signals
from amaranth.sim import Simulator
from small_core import CONFIG
from testbenches.axi_rules import AxiRules

from trilith.hw.axi import full, weight_reader
from trilith.hw.axi.memory_master import AxiMemoryMaster
from trilith.hw.axi.weight_reader import AxiWeightReader


class Value(int):
    """A value of a signal; an unknown one is not resolvable."""

    is_resolvable = True


class Unknown(Value):
    is_resolvable = False


class Handle:
    """A signal of some bits, with its value in this cycle."""

    def __init__(self, bits: int) -> None:
        self.bits, self.value = bits, Value(0)

    def __len__(self) -> int:
        return self.bits


class Bus:
    """A bus of 128 bits: every signal that is asked for exists."""

    def __init__(self) -> None:
        self.handles: dict[str, Handle] = {}

    def __getattr__(self, name: str) -> Handle:
        return self.handles.setdefault(name, Handle(128 if name.endswith("data") else 1))


def check(write: bool, *cycles: dict[str, int]) -> AxiRules:
    """Apply values, cycle by cycle; those that are not given are 0."""
    bus = Bus()
    rules = AxiRules(bus, "bus_", write=write, longest=64)
    for number, values in enumerate(cycles):
        for handle in bus.handles.values():
            handle.value = Value(0)
        for name, value in values.items():
            bus.handles[f"bus_{name}"].value = value if isinstance(value, Value) else Value(value)
        rules.sample(number)
    return rules


def address(kind: str = "ar", *, ready: int = 1, **changes: int) -> dict[str, int]:
    """A cycle with an address: two words from 0x1000 on."""
    burst = {"addr": 0x1000, "len": 1, "size": 4, "burst": 1, "cache": 3} | changes
    return {f"{kind}valid": 1, f"{kind}ready": ready} | {kind + n: v for n, v in burst.items()}


def read(last: int) -> dict[str, int]:
    return {"rvalid": 1, "rready": 1, "rlast": last}


def written(last: int, **changes: int) -> dict[str, int]:
    return {"wvalid": 1, "wready": 1, "wlast": last} | changes


ANSWER = {"bvalid": 1, "bready": 1}


def test_that_legal_bursts_pass():
    rules = check(False, address(), address(addr=0x1FE0), read(0), read(1), read(0), read(1))
    assert (len(rules.bursts), rules.words, rules.answered, rules.quiet) == (2, 4, 2, True)
    # Data may come before its address.
    rules = check(True, written(0), written(1), address("aw"), ANSWER)
    assert (len(rules.bursts), rules.words, rules.answered, rules.quiet) == (1, 2, 1, True)
    assert not check(True, written(0), written(1)).quiet


@pytest.mark.parametrize(
    ("write", "cycles", "message"),
    [
        (False, [address(addr=0x1FF0)], "bus_ar: 2 words from 0x1ff0 cross 4 KB"),
        (False, [address(len=64)], "bus_arlen must be below 64, not 64"),
        (False, [address(burst=2)], "bus_arburst must be INCR, not 2"),
        (False, [address(size=3)], "bus_arsize must be that of the bus, not 3"),
        (False, [address(addr=0x1008)], "bus_araddr must be aligned, not 0x1008"),
        (False, [address(lock=1)], "bus_arlock must be 0"),
        (False, [address(cache=4)], "bus_arcache 0b100 is reserved"),
        (False, [address(ready=0), {}], "bus_ar: valid fell in cycle 1 before its beat was taken"),
        (
            False,
            [address(ready=0), address(addr=0x2000)],
            "bus_ar: the payload changed in cycle 1, waiting",
        ),
        (False, [{"arvalid": Unknown(1)}], "bus_ar: valid must be known in cycle 0"),
        (
            False,
            [address(addr=Unknown(0))],
            "bus_ar: the payload must be known in cycle 0, where valid is high",
        ),
        (False, [read(1)], "bus_r: a word came without a burst"),
        (False, [address(), read(1)], "bus_rlast is 1 at word 1 of 2"),
        (True, [address("aw"), written(1)], "bus_wlast is 1 at word 1 of 2"),
        (True, [address("aw"), written(0), written(0)], "bus_wlast is 0 at word 2 of 2"),
        (True, [written(1), address("aw")], "bus_wlast is 1 at word 1 of 2"),
        (
            True,
            [written(0, wready=0, wdata=5), written(0, wdata=6)],
            "bus_w: the payload changed in cycle 1, waiting",
        ),
        (
            True,
            [written(0, wready=0, wstrb=5), written(0, wstrb=6)],
            "bus_w: the payload changed in cycle 1, waiting",
        ),
        (True, [address("aw", addr=0x1FF0)], "bus_aw: 2 words from 0x1ff0 cross 4 KB"),
        (True, [address("aw"), written(0), ANSWER], "bus_b: an answer came without a burst"),
    ],
)
def test_that_each_broken_rule_is_found(write, cycles, message):
    with pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
        check(write, *cycles)


def test_that_nothing_is_valid_within_a_reset():
    bus = Bus()
    rules = AxiRules(bus, "bus_", write=True)
    bus.handles["bus_wvalid"].value = Value(1)
    rules.reset_cycle()
    with pytest.raises(AssertionError, match=r"^wvalid is high in a reset"):
        rules.reset_cycle()


class Watched:
    """The bus of a component in the simulator of Amaranth, as handles for the checker."""

    def __init__(self, axi) -> None:
        self._axi, self.handles = axi, {}

    def __getattr__(self, name: str) -> Handle:
        signal = getattr(self._axi, name.removeprefix("bus_"))
        return self.handles.setdefault(name, Handle(len(Signals.cast(signal))))

    def read(self, ctx) -> None:
        """Read all signals that the checker asked for."""
        for name, handle in self.handles.items():
            signal = getattr(self._axi, name.removeprefix("bus_"))
            handle.value = Value(ctx.get(Signals.cast(signal)))


def run_reader() -> None:
    """Read beats behind a memory that is not always ready; the checker watches."""
    reader = AxiWeightReader(beat_bytes=32, bus_bits=256, longest=256, buffer_words=256)
    bus = Watched(reader.axi)
    rules = AxiRules(bus, "bus_", write=False)

    async def bench(ctx):
        owed = []
        ctx.set(reader.beats.ready, 1)
        ctx.set(reader.fetch.p.beats, 150)
        for cycle in range(900):
            ctx.set(reader.fetch.valid, cycle < 3)
            ctx.set(reader.axi.arready, cycle % 3 == 0)
            ctx.set(reader.axi.rvalid, bool(owed))
            ctx.set(reader.axi.rlast, bool(owed) and owed[0])
            bus.read(ctx)
            rules.sample(cycle)
            if owed:
                owed.pop(0)
            if ctx.get(reader.axi.arvalid) and cycle % 3 == 0:
                length = ctx.get(reader.axi.arlen)
                owed += [word == length for word in range(length + 1)]
            await ctx.tick()
        assert rules.words == 450

    simulate(reader, bench)


def run_writer() -> None:
    """Write words to a memory that is not always ready; the checker watches."""
    master = AxiMemoryMaster(replace(CONFIG, memory_width=512), longest=256)
    bus = Watched(master.write)
    rules = AxiRules(bus, "bus_", write=True)

    async def bench(ctx):
        ctx.set(master.requests.p.words, 7)
        ctx.set(master.requests.p.write, 1)
        answers = 0
        for cycle in range(300):
            ctx.set(master.requests.p.address, 4096 - 64 * (cycle % 8))
            ctx.set(master.requests.valid, cycle < 100)
            ctx.set(master.write_data.valid, 1)
            ctx.set(master.write_data.p.data, cycle)
            ctx.set(master.write.awready, cycle % 3 == 0)
            ctx.set(master.write.wready, cycle % 4 != 0)
            ctx.set(master.write.bvalid, answers > 0)
            bus.read(ctx)
            rules.sample(cycle)
            answers -= answers > 0
            if cycle % 4 and ctx.get(master.write.wvalid) and ctx.get(master.write.wlast):
                answers += 1
            await ctx.tick()
        assert rules.answered > 20

    simulate(master, bench)


def simulate(component, bench) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_that_the_masters_break_no_rule():
    run_reader()
    run_writer()


class EagerBuffer(weight_reader.BurstCutter):
    """A mutant whose burst changes while it waits."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.bursts.p.address.eq(self.bursts.p.address + 32)
        return m


@pytest.mark.parametrize(
    ("run", "where", "name", "mutant", "message"),
    [
        (run_reader, full, "PAGE_BYTES", 65536, r"bus_ar: 150 words from 0x0 cross 4 KB"),
        (run_reader, full, "_INCR", 2, r"bus_arburst must be INCR, not 2"),
        (run_reader, weight_reader, "BurstCutter", EagerBuffer, r"bus_ar: the payload changed"),
        (run_writer, full, "PAGE_BYTES", 65536, r"bus_aw: \d words from 0x\w+ cross 4 KB"),
    ],
)
def test_that_mutants_of_the_masters_are_found(monkeypatch, run, where, name, mutant, message):
    monkeypatch.setattr(where, name, mutant)
    with pytest.raises(AssertionError, match=f"^{message}"):
        run()
