# amaranth: UnusedElaboratable=no
"""An SDRAM behind LiteDRAM's controller and the arbiter, with all timing rules of the chip."""

import re
import subprocess
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import ClockSignal, Const, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.fpga.gateware.litedram_verilog import litedram_verilog, sdram_chip
from trilith.fpga.gateware.memory_arbiter import MemoryArbiter
from trilith.fpga.gateware.sdram import Sdram
from trilith.fpga.gateware.weight_source import WeightSource
from trilith.fpga.host import __file__ as host
from trilith.hw.export.verilog import component_verilog
from trilith.sim.rtl.build import build_simulation
from trilith.sim.tools.toolchain import ToolchainError

pytest.importorskip("litedram", reason="litedram is in the extras test and fpga")

CHIP, CLOCK = "MT48LC16M16", 50_000_000
CLIENTS = 3

#: Bytes of a beat, and beats of the model that streams.
BEAT_BYTES, BEATS = 64, 4096


class Bench(wiring.Component):
    """Arbiter, controller and chip; the clients' ports have short names.

    The last client is a source of weights, from which the whole model is fetched again and again.
    """

    def __init__(self, chip):
        self._chip = chip
        members = {"ready": Out(1), "command": Out(1), "refresh": Out(1)}
        members |= {"load": In(1), "come3": Out(1), "beat": Out(8 * BEAT_BYTES)}
        for client in range(CLIENTS):
            sizes = {"ask": 1, "address": 32, "words": 5, "write": 1, "give": 1, "data": 128}
            sizes |= {"strobes": 16, "take": 1}
            members |= {f"{name}{client}": In(size) for name, size in sizes.items()}
            sizes = {"asked": 1, "given": 1, "come": 1, "word": 128}
            members |= {f"{name}{client}": Out(size) for name, size in sizes.items()}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = MemoryArbiter(
            word_bits=128,
            backing_bits=16,
            address_bits=32,
            backing_address_bits=self._chip.address_bits,
            clients=CLIENTS + 1,
        )
        m.submodules.sdram = sdram = Sdram(self._chip)
        wiring.connect(m, arbiter.backing, sdram.port)
        pins = sdram.pins
        names = ("cke", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe")
        m.submodules.chip = Instance(
            "sdram_model",
            i_fill=Const(0),
            i_clk=ClockSignal(),
            o_dq_i=pins.dq_i,
            **{f"i_{name}": getattr(pins, name) for name in names},
            **{f"p_{name}": value for name, value in self._chip.parameters.items()},
        )
        m.submodules.source = source = WeightSource(
            beat_bytes=BEAT_BYTES, word_bits=128, address_bits=32
        )
        wiring.connect(m, source.memory, arbiter.clients[CLIENTS])
        m.d.comb += [
            source.load.eq(self.load),
            source.count.eq(BEATS),
            source.fetch.valid.eq(1),
            source.fetch.p.beats.eq(BEATS),
            source.beats.ready.eq(1),
            self.come3.eq(source.beats.valid),
            self.beat.eq(source.beats.p),
        ]
        commands = arbiter.backing.commands
        m.d.comb += [
            self.ready.eq(sdram.ready),
            self.command.eq(commands.valid & commands.ready),
            self.refresh.eq(~pins.ras_n & ~pins.cas_n & pins.we_n),
        ]
        for client in range(CLIENTS):
            port = arbiter.clients[client]

            def own(name, client=client):
                return getattr(self, f"{name}{client}")

            m.d.comb += [
                port.requests.valid.eq(own("ask")),
                port.requests.p.address.eq(own("address")),
                port.requests.p.words.eq(own("words")),
                port.requests.p.write.eq(own("write")),
                own("asked").eq(port.requests.ready),
                port.write_data.valid.eq(own("give")),
                port.write_data.p.data.eq(own("data")),
                port.write_data.p.strobes.eq(own("strobes")),
                own("given").eq(port.write_data.ready),
                port.read_data.ready.eq(own("take")),
                own("come").eq(port.read_data.valid),
                own("word").eq(port.read_data.p.data),
            ]
        return m


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    chip = sdram_chip(CHIP, CLOCK)
    folder = tmp_path_factory.mktemp("sdram")
    (folder / "dut.v").write_text(component_verilog(Bench(chip), "dut"))
    (folder / "dut.vlt").write_text('`verilator_config\nlint_off -rule UNOPTFLAT -file "*.v"\n')
    model = Path(host).parent / "sdram_model.sv"
    return build_simulation(
        [folder / "dut.vlt", folder / "dut.v", litedram_verilog(chip), model],
        top="dut",
        main=Path(__file__).parent / "sdram.cpp",
    )


def run(program, mode, cycles, *arguments):
    command = [program, mode, str(cycles), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_random_traffic_equals_a_memory(program):
    done = run(program, "random", 60_000)
    assert done.returncode == 0, done.stdout + done.stderr
    cycles, commands, refreshes, _ = map(int, done.stdout.split())
    assert commands > 0.2 * cycles
    assert refreshes >= cycles // 390


#: Least share of the cycles between refreshes in which a word moves. A refresh takes 5 cycles.
RATES = {"read": 0.97, "write": 0.95, "weights": 0.97, "mixed": 0.95}


@pytest.mark.parametrize("mode", RATES)
def test_bandwidth(program, mode, tmp_path):
    """The source of weights has the highest rate, and each of its beats is right."""
    (tmp_path / "image").write_bytes(np.random.default_rng(6).bytes(BEATS * BEAT_BYTES))
    image = tmp_path / "image"
    done = run(program, mode, 60_000, str(image), f"+image={image}")
    assert done.returncode == 0, done.stdout + done.stderr
    cycles, commands, refreshes, _ = map(int, done.stdout.split())
    assert commands >= RATES[mode] * (cycles - 5 * refreshes)


def test_the_start_takes_200_microseconds(program):
    done = run(program, "read", 100)
    assert 10_000 < int(done.stdout.split()[3]) < 10_400


#: Traffic and what makes a rule of the chip too strict for the controller, and the model's answer.
BROKEN = {
    ("random", "activate_to_access=3"): "activate_to_access (tRCD) is too short",
    ("random", "activate_to_precharge=100"): "activate_to_precharge (tRAS) is too short",
    ("random", "activate_to_activate=40"): "activate_to_activate (tRC) is too short",
    ("random", "precharge=3"): "precharge (tRP) is too short",
    ("write", "write_to_precharge=12"): "write_to_precharge (tWR) is too short",
    ("read", "refresh=20"): "refresh (tRFC) is too short",
    ("read", "refresh_interval=40"): "refresh_interval (tREFI) is too long",
    ("read", "refresh_interval=385"): "refresh_interval (tREFI) is too long",
    ("read", "power_up=20000"): "power_up is too short",
}


@pytest.mark.parametrize(("mode", "change"), BROKEN)
def test_broken_timing_stops_the_model(program, mode, change):
    done = run(program, mode, 400_000, f"+{change}")
    assert done.returncode != 0
    assert f"sdram: {BROKEN[mode, change]}, in cycle " in done.stdout


def test_an_image_fills_the_memory(program, tmp_path):
    content = np.random.default_rng(5).bytes(100_001)
    (tmp_path / "image").write_bytes(content)
    for address in (0, 48_000):
        done = run(program, "image", 500, str(address), f"+image={tmp_path / 'image'}")
        assert bytes.fromhex(done.stdout.strip()) == content[address : address + 64]
    done = run(program, "image", 500, "0", f"+image={tmp_path / 'none'}")
    assert done.returncode != 0
    assert f"sdram: the image {tmp_path / 'none'} cannot be read" in done.stdout


def test_figures_of_chips():
    chip = sdram_chip("AS4C32M16", CLOCK)
    assert (chip.bytes, chip.address_bits) == (1 << 26, 25)
    # LiteDRAM's table has neither tRAS nor tRRD for it: 45 and 15 ns at 20 ns.
    assert (chip.activate_to_precharge, chip.activate_to_activate, chip.activate_to_other) == (
        3,
        4,
        1,
    )
    assert chip.refresh_interval == 390


@pytest.mark.parametrize(
    ("name", "clock", "message"),
    [
        (
            "MT48LC32M8",
            CLOCK,
            "name must be AS4C16M16, AS4C32M16, AS4C4M16, IS42S16160, IS42S16320, M12L16161A, "
            "MT48LC16M16, MT48LC4M16, NDS36PT5, W9812G6JB or W9825G6KH6, not 'MT48LC32M8'",
        ),
        (CHIP, 133_000_000, "clock_hz must be from 13000000 to 100000000, not 133000000"),
    ],
)
def test_parameters_are_checked(name, clock, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sdram_chip(name, clock)


def test_the_component_needs_a_chip():
    with pytest.raises(TypeError, match=r"^chip must be a SdramChip, not 3$"):
        Sdram(3)


def test_without_litedram_the_message_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'litedram'", name="litedram")

    module = import_module("trilith.fpga.gateware.litedram_verilog")
    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(
        ToolchainError,
        match=r"^litedram is not installed, and the controller of the SDRAM is made with "
        r"it: run .* -m pip install 'trilith\[fpga\]'$",
    ):
        sdram_chip(CHIP, CLOCK)
