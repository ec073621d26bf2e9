"""Top level of a board with a token core: core, weights, memory and host link."""

from typing import Any

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...hw.token.core import TokenCore
from .backing import BlockMemory
from .config import CoreTopConfig
from .core_session import CoreSession
from .litedram_verilog import DATA_BITS, sdram_chip
from .memory_arbiter import MemoryArbiter
from .memory_test import MemoryTester
from .sdram import Sdram, sdram_pins
from .taking import connect_session
from .weight_source import WeightSource

__all__ = ["CoreTop"]


class CoreTop(wiring.Component):
    """A token core, its memory, and a link to a host; PROTOCOL.md defines the link.

    ``connect_session`` decides which frames are taken. ``CoreSession`` executes them.

    ======  =============  ======================================================================
    client  user           reset
    ======  =============  ======================================================================
    0       session        with a new session
    1       core           with a new session, and with ``MODEL``
    2       weights        likewise; they are released first, to copy the resident beats
    ======  =============  ======================================================================

    The arbiter and the memory are never reset: they drop what a client in reset has asked for. An
    SDRAM is tested after its start, through client 0. The test overwrites some words, see
    ``MemoryTester``.

    Latency and throughput: those of the parts.

    Parameters
    ----------
    config : configuration of the top level
    pads : pins of the SDRAM on a platform, see ``Sdram``; None for the members ``pins``

    Members
    -------
    rx, tx, active : see ``BoardTop``
    pins : Out(``sdram_pins``); those of an SDRAM, without ``pads``

    Raises
    ------
    TypeError
        If ``config`` is not a ``CoreTopConfig``.
    ValueError
        If the memory does not have the bytes of its chip, or a part refuses its configuration.
    ToolchainError
        If the memory is an SDRAM, and LiteDRAM is not installed.
    """

    def __init__(self, config: CoreTopConfig, pads: Any = None) -> None:
        if not isinstance(config, CoreTopConfig):
            raise TypeError(f"config must be a CoreTopConfig, not {config!r}")
        self._config, self._sdram = config, None
        members = {"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1)}
        if config.memory.kind == "sdram":
            chip = sdram_chip(config.memory.module, config.clock_hz)
            if config.memory.bytes != chip.bytes:
                raise ValueError(
                    f"memory.bytes must be those of {chip.name}, {chip.bytes}, "
                    f"not {config.memory.bytes}"
                )
            self._sdram = Sdram(chip, pads)
            if pads is None:
                members["pins"] = Out(sdram_pins(chip))
        super().__init__(members)

    @property
    def config(self) -> CoreTopConfig:
        """Configuration of the top level."""
        return self._config

    def elaborate(self, platform: object) -> Module:
        """Connect the parts: who asks the memory, and who resets whom."""
        m = Module()
        config = self._config
        word_bits, engine = config.core.memory_width, config.core.engine
        session, held = CoreSession(config), Signal(init=1)
        begin = connect_session(m, self, session, divisor=config.divisor)
        core = TokenCore(config.core)
        m.submodules.core = DomainRenamer("core")(core)
        # The core has a domain for its reset: one register is its source, with no gate behind it.
        m.domains.core = ClockDomain(local=True)
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), ResetSignal("core").eq(held)]
        m.d.sync += held.eq(session.reset)
        weights = WeightSource(
            beat_bytes=engine.weight_bytes,
            word_bits=word_bits,
            address_bits=config.core.address_bits,
            resident=config.resident,
            rows=engine.rows,
        )
        m.submodules.weights = ResetInserter(session.clear[1])(weights)
        backing_bits = word_bits if self._sdram is None else DATA_BITS
        places = config.memory.address_bits - (backing_bits // 8 - 1).bit_length()
        m.submodules.arbiter = arbiter = MemoryArbiter(
            word_bits=word_bits,
            backing_bits=backing_bits,
            address_bits=config.core.address_bits,
            backing_address_bits=places,
            clients=3,
        )
        self._memory(m, session, arbiter, places)
        for name in ("requests", "write_data", "read_data"):
            wiring.connect(m, getattr(core, name), getattr(arbiter.clients[1], name))
        wiring.connect(m, weights.memory, arbiter.clients[2])
        wiring.connect(m, core.fetch, weights.fetch)
        wiring.connect(m, weights.beats, core.weights)
        wiring.connect(m, session.commands, core.commands)
        wiring.connect(m, core.answers, session.answers)
        # The test of the memory goes on.
        dropping = Signal()
        with m.If(begin & session.tested):
            m.d.sync += dropping.eq(1)
        with m.Elif(arbiter.idle[0]):
            m.d.sync += dropping.eq(0)
        m.d.comb += [
            arbiter.clear.eq(Cat(dropping, session.clear)),
            session.idle.eq(arbiter.idle[1:]),
            core.program_words.eq(session.program_words),
            session.busy.eq(core.busy),
            session.faults.eq(core.faults),
            *(getattr(weights, name).eq(getattr(session, name)) for name in _MODEL),
            session.loading.eq(weights.loading),
        ]
        # A register, because what it depends on comes late in a cycle.
        m.d.sync += session.waiting.eq(
            (core.weights.ready & ~core.weights.valid)
            | (core.read_data.ready & ~core.read_data.valid)
        )
        return m

    def _memory(self, m: Module, session: CoreSession, arbiter: MemoryArbiter, places: int) -> None:
        """Make the memory; a test of an SDRAM has client 0 until it is over.

        Parameters
        ----------
        m : the module
        session : the session, which learns what the test has found
        arbiter : the arbiter
        places : bits of an address in backing words
        """
        config, client = self._config, arbiter.clients[0]
        if self._sdram is None:
            memory = BlockMemory(width=config.core.memory_width, address_bits=places)
            m.submodules.memory = memory
            wiring.connect(m, arbiter.backing, memory.port)
            wiring.connect(m, session.port, client)
            m.d.comb += [session.tested.eq(1), session.tested_bytes.eq(config.memory.bytes)]
            return
        m.submodules.memory = sdram = self._sdram
        wiring.connect(m, arbiter.backing, sdram.port)
        if "pins" in self.signature.members:
            wiring.connect(m, sdram.pins, wiring.flipped(self.pins))
        m.submodules.tester = tester = MemoryTester(
            word_bits=config.core.memory_width,
            address_bits=config.core.address_bits,
            words=config.memory.bytes // config.word_bytes,
        )
        m.d.sync += session.tested.eq(tester.done)
        m.d.comb += session.tested_bytes.eq(tester.tested)
        for user, condition in ((tester.memory, ~session.tested), (session.port, session.tested)):
            with m.If(condition):
                m.d.comb += [
                    client.requests.p.eq(user.requests.p),
                    client.requests.valid.eq(user.requests.valid),
                    user.requests.ready.eq(client.requests.ready),
                    client.write_data.p.eq(user.write_data.p),
                    client.write_data.valid.eq(user.write_data.valid),
                    user.write_data.ready.eq(client.write_data.ready),
                    user.read_data.valid.eq(client.read_data.valid),
                    client.read_data.ready.eq(user.read_data.ready),
                ]
            m.d.comb += user.read_data.p.eq(client.read_data.p)


#: Members of the session and of ``WeightSource`` that describe the model.
_MODEL = ("base", "count", "resident", "load")
