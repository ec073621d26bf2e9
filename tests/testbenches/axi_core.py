"""cocotb testbench of ``AxiTokenCore``: whole tokens, faults of the buses, resets.

``tests/hw/axi/test_core_wrapper.py`` runs it. The memories are those of ``cocotbext-axi``.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMasterRead,
    AxiLiteMasterWrite,
    AxiRam,
    AxiRamRead,
    AxiReadBus,
    AxiResp,
)

from trilith.hw.axi.registers import CORE_REGISTERS
from trilith.sim.rtl.testbenches.bench import Bench, Monitor, bursts, limited_test, often, rarely

from .axi_rules import AxiRules
from .waiting import Waiting

OFFSETS = {register.name: register.offset for register in CORE_REGISTERS}
FIELDS = {
    register.name: {field.name: field for field in register.fields} for register in CORE_REGISTERS
}
FOLDER = Path(os.environ["TRILITH_CORE"])
SETTINGS = json.loads((FOLDER / "settings.json").read_text())
WEIGHTS_BASE, MEMORY_BASE = 0x0000_0012_4000_0000, 0x0000_0007_8000_0000
SIZE = 1 << 24
PATTERNS: dict[str, Any] = {"none": None, "rarely": rarely, "often": often, "bursts": bursts}
PARTS = ("products", "head", "attention", "heads", "norms", "results", "sequencing")


class CoreBench(Waiting, Bench):
    """The buses of the core, its memories with a compiled model, and the checkers of AXI."""

    def __init__(self, dut: Any, pattern: str = "none") -> None:
        super().__init__(dut.aclk)
        logging.getLogger("cocotb.dut").setLevel(logging.ERROR)
        self.dut, self.cycle = dut, 0
        dut.aresetn.value = 0
        reset = (dut.aclk, dut.aresetn, False)
        control = AxiLiteBus.from_prefix(dut, "s_axi_ctrl")
        self._writes = AxiLiteMasterWrite(control.write, *reset)
        self._reads = AxiLiteMasterRead(control.read, *reset)
        self.weights = AxiRamRead(
            AxiReadBus.from_prefix(dut, "m_axi_weights"),
            dut.aclk,
            dut.aresetn,
            reset_active_level=False,
            size=SIZE,
        )
        self.memory = AxiRam(
            AxiBus.from_prefix(dut, "m_axi_memory"),
            dut.aclk,
            dut.aresetn,
            reset_active_level=False,
            size=SIZE,
        )
        self.weights.write(0, (FOLDER / "weights.bin").read_bytes())
        self.load()
        channels: list[Any] = [self.weights.ar_channel, self.weights.r_channel]
        reads, writes = self.memory.read_if, self.memory.write_if
        channels += [reads.ar_channel, reads.r_channel]
        channels += [writes.aw_channel, writes.w_channel, writes.b_channel]
        if pauses := PATTERNS[pattern]:
            for index, channel in enumerate(channels):
                channel.set_pause_generator(pauses(index))
        self.rules = [
            AxiRules(dut, "m_axi_weights_", write=False),
            AxiRules(dut, "m_axi_memory_", write=False),
            AxiRules(dut, "m_axi_memory_", write=True),
        ]
        self._monitors = [
            Monitor(
                f"s_axi_ctrl_{channel}",
                *(getattr(dut, f"s_axi_ctrl_{channel}{end}") for end in ("valid", "ready")),
                [getattr(dut, f"s_axi_ctrl_{channel}{end}") for end in payload],
            )
            for channel, payload in (("b", ("resp",)), ("r", ("data", "resp")))
        ]

    def load(self) -> None:
        """Write the memory of the model: the cache is empty."""
        self.memory.write(0, (FOLDER / "memory.bin").read_bytes())

    async def reset(self) -> None:
        """Reset everything, and write the registers that a model needs."""
        self.dut.aresetn.value = 0
        await self.start_clock()
        await self.wait(3)
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)
        await self.configure()

    async def configure(self) -> None:
        """Write the base addresses and the size of the program."""
        for name, base in (("weights", WEIGHTS_BASE), ("memory", MEMORY_BASE)):
            await self.write(f"{name}_base_low", base & 0xFFFF_FFFF)
            await self.write(f"{name}_base_high", base >> 32)
        await self.write("program_words", SETTINGS["program_words"])

    async def write(self, name: str, value: int) -> None:
        """Write a register."""
        answer: Any = await self._writes.write(OFFSETS[name], value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"write to {name}: {answer.resp}"

    async def read(self, name: str) -> int:
        """Read a register."""
        answer: Any = await self._reads.read(OFFSETS[name], 4)
        assert answer.resp == AxiResp.OKAY, f"read of {name}: {answer.resp}"
        return int.from_bytes(answer.data, "little")

    async def status(self) -> dict[str, int]:
        """Fields of the register ``status``."""
        value = await self.read("status")
        return {
            name: value >> field.lsb & ((1 << field.width) - 1)
            for name, field in FIELDS["status"].items()
        }

    async def start(self, token: int, position: int, k: int) -> None:
        """Start a command."""
        for name, value in (("token", token), ("position", position), ("k", k)):
            await self.write(f"command_{name}", value)
        await self.write("command_start", 1)

    async def idle(self) -> dict[str, int]:
        """Wait until the core is idle; return its status."""
        for _ in range(4000):
            await self.wait(40)
            if not (status := await self.status())["busy"]:
                return status
        raise AssertionError(f"the core must get on: {self.progress()}")

    async def answers(self) -> list[list[int]]:
        """Take all answers: token, bits of the logit, and whether it is the last one."""
        found = []
        for _ in range((await self.status())["answers"]):
            value = await self.read("answer_token")
            found.append([value & 0xFF_FFFF, await self.read("answer_logit"), value >> 31])
            await self.write("answer_take", 1)
        return found

    async def run(self, place: int) -> None:
        """Run a token of the text, and compare its answers with the golden model."""
        token = SETTINGS["tokens"][place]
        await self.start(token["token"], token["position"], token["k"])
        await self.idle()
        found, expected = await self.answers(), token["answers"]
        assert found == expected, f"answers at {place} must be {expected}, not {found}"

    async def errors(self, *names: str) -> None:
        """Check that these bits of ``error`` are set and no other, and clear them."""
        value = await self.read("error")
        found = {name for name, field in FIELDS["error"].items() if value & field.mask}
        assert found == set(names), f"error must be {names}, not {found}"
        await self.write("error", value)
        assert await self.read("error") == 0

    def sample(self) -> None:
        """Check the cycle that has just ended."""
        self.cycle += 1
        if not self.dut.aresetn.value:
            for rules in self.rules:
                rules.reset_cycle()
            for monitor in self._monitors:
                monitor.restart()
            return
        for watch in (*self.rules, *self._monitors):
            watch.sample(self.cycle)

    def progress(self) -> object:
        """Bursts and words so far."""
        return [(len(rules.bursts), rules.words, rules.quiet) for rules in self.rules]


class Faults:
    """Turns chosen answers of a channel into errors: the next ones, after some good ones."""

    def __init__(self, channel: Any, name: str) -> None:
        self._send, self._name = channel.send, name
        self._good, self._kind = -1, AxiResp.SLVERR
        channel.send = self._faulty

    def after(self, good: int, kind: AxiResp) -> None:
        """Fail once, after some good answers."""
        self._good, self._kind = good, kind

    @property
    def done(self) -> bool:
        """The fault was sent."""
        return self._good < 0

    async def _faulty(self, transaction: Any) -> None:
        if self._good == 0:
            setattr(transaction, self._name, self._kind)
        self._good -= self._good >= 0
        await self._send(transaction)


def inside(bench: CoreBench) -> None:
    """Every burst lies behind its base, within the image."""
    for rules, base, name in zip(
        bench.rules,
        (WEIGHTS_BASE, MEMORY_BASE, MEMORY_BASE),
        ("weights", "memory", "memory"),
        strict=True,
    ):
        size = (FOLDER / f"{name}.bin").stat().st_size
        for one in rules.bursts:
            end = one.address + one.words * rules.bytes
            assert base <= one.address
            assert end <= base + -(-size // rules.bytes) * rules.bytes


async def count_waits(bench: CoreBench) -> None:
    """Weights that come late count. A program that comes late does not: no product waits yet."""
    token, waits = SETTINGS["tokens"][0], {}
    for name, channel in (
        ("none", None),
        ("program", bench.memory.read_if.r_channel),
        ("weights", bench.weights.r_channel),
    ):
        if channel is not None:
            channel.pause = True
        await bench.start(token["token"], token["position"], token["k"])
        await bench.wait(600)
        if channel is not None:
            channel.pause = False
        await bench.idle()
        assert await bench.answers() == token["answers"]
        waits[name] = await bench.read("wait_weights")
    assert waits["program"] == waits["none"], waits
    assert waits["weights"] > waits["none"] + 200, waits


@limited_test(400_000)
@cocotb.parametrize(pattern=list(PATTERNS))
async def tokens_are_exact(dut, pattern: str) -> None:
    """A text, whatever the pauses of the memories: all answers match the golden model."""
    bench = CoreBench(dut, pattern)
    await bench.reset()
    for name, value in SETTINGS["constants"].items():
        assert await bench.read(name) == value, name
    for place in range(SETTINGS["length"][pattern]):
        await bench.run(place)
        cycles = await bench.read("cycles")
        parts = [await bench.read(f"cycles_{name}") for name in PARTS]
        assert cycles == sum(parts)
        if pattern == "none":
            streams = SETTINGS["tokens"][place]["cycles"]
            assert streams <= cycles <= 1.02 * streams, f"{cycles}, and {streams} over streams"
        assert await bench.read("commands_done") == place + 1
    if pattern == "none":
        await count_waits(bench)
    await bench.errors()
    inside(bench)
    assert all(rules.bursts and rules.quiet for rules in bench.rules)


@limited_test(400_000)
async def commands_wait_in_a_queue(dut) -> None:
    """Several commands at once; interrupts; more commands than places; numbers that do not fit."""
    bench = CoreBench(dut)
    await bench.reset()
    await bench.write("interrupt_enable", 7)
    depth = SETTINGS["constants"]["queue_depth"] & 0xFF
    assert (await bench.status())["command_room"] == depth
    text = SETTINGS["tokens"][:3]
    for token in text:
        await bench.start(token["token"], token["position"], token["k"])
    await bench.wait_until(lambda: dut.irq.value)
    assert await bench.read("interrupt_pending") & 0b010
    # The queue of answers is full, and the last command waits until there is room.
    full = SETTINGS["constants"]["queue_depth"] >> 8
    for _ in range(200):
        if (await bench.status())["answers"] == full:
            break
        await bench.wait(40)
    await bench.wait(300)
    assert (await bench.status())["busy"]
    expected = [one for token in text for one in token["answers"]]
    assert len(expected) > full
    found = []
    while len(found) < len(expected):
        found += await bench.answers()
    assert found == expected
    await bench.idle()
    assert await bench.read("interrupt_pending") == 0b011
    await bench.write("interrupt_pending", 7)
    await bench.wait(2)
    assert not dut.irq.value
    # A number that does not fit its field, or a reserved bit, never reaches the core.
    for name, value in (("token", 1 << 20), ("position", 1 << 31), ("k", 64), ("more", 1)):
        await bench.write(f"command_{name}", value)
        await bench.write("command_start", 1)
        await bench.write(f"command_{name}", 0)
        await bench.errors("command")
        assert not (await bench.status())["busy"]
    assert await bench.read("interrupt_pending") == 0b100
    await bench.start(0, 0, 0)
    for _ in range(depth + 1):
        await bench.write("command_start", 1)
    await bench.errors("command_lost")
    # A command that the core itself refuses ends without an answer, and the next one runs.
    await bench.write("control", 1)
    await bench.idle()
    await bench.start(SETTINGS["vocabulary"], 0, 1)
    assert not (await bench.idle())["failed"]
    await bench.errors("stopped")
    assert await bench.answers() == []
    await bench.run(0)
    await bench.errors()


@limited_test(1_000_000)
@cocotb.parametrize(kind=["weights", "reads", "writes"])
async def errors_of_the_buses(dut, kind: str) -> None:
    """An error in the middle of a burst: no answer, nothing hangs, and a reset mends it."""
    bench = CoreBench(dut, "rarely")
    channel, name = {
        "weights": (bench.weights.r_channel, "rresp"),
        "reads": (bench.memory.read_if.r_channel, "rresp"),
        "writes": (bench.memory.write_if.b_channel, "bresp"),
    }[kind]
    faults = Faults(channel, name)
    await bench.reset()
    rules = bench.rules[{"weights": 0, "reads": 1, "writes": 2}[kind]]
    await bench.run(0)
    answers = rules.answered if kind == "writes" else rules.words
    flags = {
        "weights": ("weights_response",),
        "reads": ("read_response", "memory", "stopped"),
        "writes": ("write_response", "memory", "stopped"),
    }[kind]
    for part, response in ((0.02, AxiResp.SLVERR), (0.5, AxiResp.DECERR), (1, AxiResp.SLVERR)):
        # The last word of a read may be one of the program behind its end.
        good = round(part * (answers - 1)) if part < 1 or kind != "reads" else answers * 9 // 10
        faults.after(good, response)
        token = SETTINGS["tokens"][0]
        await bench.start(token["token"], token["position"], token["k"])
        status = await bench.idle()
        assert faults.done
        assert status["failed"], f"{kind}, after {good} answers"
        assert not status["resetting"]
        assert await bench.answers() == []
        found = await bench.read("error")
        assert all(found & FIELDS["error"][flag].mask for flag in flags), f"{found:#x}"
        # All later commands end without an answer.
        await bench.start(token["token"], token["position"], token["k"])
        assert (await bench.idle())["failed"]
        assert await bench.answers() == []
        await bench.write("control", 1)
        assert not (await bench.idle())["failed"]
        await bench.write("error", 0xFFFF_FFFF)
        await bench.run(0)
        await bench.errors()


@limited_test(1_000_000)
async def resets_within_tokens(dut) -> None:
    """The command ``reset`` and ``aresetn`` at any time; the next text is exact."""
    bench = CoreBench(dut, "bursts")
    rng = np.random.default_rng(7)
    await bench.reset()
    token = SETTINGS["tokens"][0]
    for round_ in range(6):
        await bench.start(token["token"], token["position"], token["k"])
        await bench.wait(int(rng.integers(1, 3000)))
        if round_ % 3 == 2:
            await bench.reset()
        else:
            await bench.write("control", 1)
            await bench.wait_until(lambda: all(rules.quiet for rules in bench.rules))
        status = await bench.idle()
        assert not any(status[name] for name in ("answers", "failed", "resetting"))
        assert await bench.read("program_words") == SETTINGS["program_words"]
    await bench.run(0)
    await bench.run(1)
    await bench.errors()


@limited_test(100_000)
async def a_command_that_is_dropped_has_not_ended(dut) -> None:
    """The counter of commands stays, even if no memory delays the reset."""
    bench = CoreBench(dut)
    await bench.reset()
    token = SETTINGS["tokens"][0]
    for cycles in range(100, 400, 15):
        await bench.start(token["token"], token["position"], token["k"])
        await bench.wait(cycles)
        await bench.write("control", 1)
        await bench.idle()
        assert await bench.read("commands_done") == 0, f"after {cycles} cycles"
    await bench.run(0)
