"""The token core as an AXI peripheral with two memory masters."""

from dataclasses import dataclass
from typing import Self

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ..config import WeightCode
from ..token.config import TokenConfig, check_core_config
from ..token.core import TRACE_PARTS, TokenCore
from ..token.passes import core_command
from ..token.topk import answer_shape
from .full import BURST_WORDS, axi_read, axi_write, largest_burst
from .lite import RegisterBank, axi_lite
from .memory_master import AxiMemoryMaster
from .registers import CORE_MAGIC, CORE_MAP_VERSION, CORE_REGISTERS
from .stream import BUS_BITS
from .weight_readers import WEIGHT_PORTS, AxiWeightReaders

__all__ = ["ANSWER_QUEUE_DEPTH", "COMMAND_QUEUE_DEPTH", "AxiTokenCore", "CoreBuses"]

#: Commands in the queue in front of the core: those of the largest pass over a prompt.
COMMAND_QUEUE_DEPTH = 8

#: Answers in the queue behind the core: those of a command.
ANSWER_QUEUE_DEPTH = 32


@dataclass(frozen=True, kw_only=True)
class CoreBuses:
    """Shapes of the AXI4 masters of a token core. The bus of the memory is as wide as its port.

    Parameters
    ----------
    weights : width of a weight bus in bits: 32, 64, 128, 256, 512 or 1024
    ports : 1, 2, 4 or 8; weight buses, see ``AxiWeightReaders``
    burst : words of the longest burst on both buses: a power of two from 1 to 256; no burst is
        longer than 4 KB
    buffer : words of weights that are kept or under way, at least the largest burst; full rate
        takes as many as a burst has, and one for each cycle of latency

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.
    """

    weights: int
    ports: int = 1
    burst: int = 64
    buffer: int = 512

    def __post_init__(self) -> None:
        for name, value in (
            ("weights", check_choice("weights", self.weights, BUS_BITS)),
            ("ports", check_choice("ports", self.ports, WEIGHT_PORTS)),
            ("burst", check_choice("burst", self.burst, BURST_WORDS)),
        ):
            object.__setattr__(self, name, value)
        least = largest_burst(self.weights // 8, self.burst)
        object.__setattr__(self, "buffer", check_integer("buffer", self.buffer, least, 65_536))

    @classmethod
    def of(cls, config: TokenConfig, *, ports: int = 1) -> Self:
        """Default shapes: the narrowest buses that carry a weight beat per cycle, at most 1024."""
        enough = (bits for bits in BUS_BITS if bits * ports >= 8 * config.engine.weight_bytes)
        return cls(weights=next(enough, BUS_BITS[-1]), ports=ports)

    @property
    def weight_buses(self) -> tuple[str, ...]:
        """Names of the weight buses: one without a number, or several with numbers from 0 on."""
        if self.ports == 1:
            return ("m_axi_weights",)
        return tuple(f"m_axi_weights{port}" for port in range(self.ports))


class AxiTokenCore(wiring.Component):
    """``TokenCore`` behind AXI4-Lite, with an AXI4 master for weights and one for memory.

    - ``s_axi_ctrl`` (AXI4-Lite) reaches the registers of ``CORE_REGISTERS``: commands, answers,
      status, errors by cause, counters, base addresses, and the configuration of the core.
    - ``m_axi_weights`` (AXI4, read only) reads weight beats, see ``AxiWeightReader``. With several
      ports, ``m_axi_weights0`` and so on read parts of each beat, see ``AxiWeightReaders``.
    - ``m_axi_memory`` (AXI4) reads and writes the memory, see ``AxiMemoryMaster``.

    ``irq`` is high while an enabled interrupt is pending. No output but ``m_axi_memory_rready``
    depends on an input of the same cycle. All ports are synchronous to ``aclk``, and so is
    ``aresetn``.

    A command starts with a write of 1 to ``command_start``. It takes the values that the registers
    ``command_token`` to ``command_more`` have in the cycle after that write. Up to
    ``COMMAND_QUEUE_DEPTH`` commands wait in a queue. Answers come to a queue of
    ``ANSWER_QUEUE_DEPTH``. A write to ``answer_take`` removes the oldest one.

    Faults: the rules of ``TokenCore`` hold. The buses add these:

    ===================================  ==========================================================
    fault                                command
    ===================================  ==========================================================
    error response to a read of memory   ends without an answer, as a word with an error
    error response to a write            ends without an answer: words that are read later have
                                         errors
    error response to weights            its beats are delivered, and its answers are dropped
    number that does not fit its field   never reaches the core, and sets ``error.command``
    start without room in the queue      never reaches the core, and sets ``error.command_lost``
    ===================================  ==========================================================

    After the first three, ``status.failed`` is set, and all later commands end without an answer
    until the command ``reset`` or ``aresetn``. After a reset the next command runs. It begins a new
    text at position 0, unless the cache of the positions before it is whole.

    The command ``reset`` takes as long as the memories take to answer what they were asked for.
    ``status.resetting`` is high meanwhile.

    Latency: the core is offered a command 2 cycles after the write to ``command_start`` is
    accepted, if the queue was empty. The parts state their own. Throughput: one token at a time; a
    bus word per cycle at each port.

    Example: a write of 5 to ``command_token``, of 0 to ``command_position``, of 1 to ``command_k``
    and of 1 to ``command_start`` runs token 5. When ``status.answers`` is 1, ``answer_token`` has
    the next token.

    Parameters
    ----------
    config : configuration of the core
    buses : shapes of the masters; by default ``CoreBuses.of(config)``

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``, or ``buses`` is not a ``CoreBuses``.
    ValueError
        If the bytes of a weight beat are no multiple of the ports of the weights.

    Members
    -------
    aclk : In(1); clock
    aresetn : In(1); synchronous reset, active low; it resets the registers and the counters too;
        the memories must be reset with it
    s_axi_ctrl_… : In(``axi_lite``), one port for each signal; see ``RegisterBank``
    m_axi_weights_… : Out(``axi_read``), one port for each signal
    m_axi_memory_… : Out(``axi_read`` and ``axi_write``), one port for each signal
    irq : Out(1); interrupt request; rises one cycle after its event, and stays until a write clears
        the bit in ``interrupt_pending`` or in ``interrupt_enable``
    """

    def __init__(self, config: TokenConfig, buses: CoreBuses | None = None) -> None:
        self._config = check_core_config(config)
        self._shapes = CoreBuses.of(config) if buses is None else buses
        if not isinstance(self._shapes, CoreBuses):
            raise TypeError(f"buses must be a CoreBuses, not {buses!r}")
        members = {"aclk": In(1), "aresetn": In(1)}
        for bus, flow, signature in self._ports():
            for name, member in signature.members.items():
                members[f"{bus}_{name}"] = member if flow == Out else member.flip()
        members["irq"] = Out(1)
        super().__init__(members)

    def _ports(self) -> list[tuple[str, wiring.Flow, wiring.Signature]]:
        """Prefix of the ports, direction and signature of each bus, see ``AxiMatVec``."""
        memory = self._config.memory_width
        return [
            ("s_axi_ctrl", In, axi_lite()),
            *((bus, Out, axi_read(self._shapes.weights)) for bus in self._shapes.weight_buses),
            ("m_axi_memory", Out, axi_read(memory)),
            ("m_axi_memory", Out, axi_write(memory)),
        ]

    @property
    def config(self) -> TokenConfig:
        """The configuration of the core."""
        return self._config

    @property
    def buses(self) -> CoreBuses:
        """Shapes of the masters."""
        return self._shapes

    @property
    def register_values(self) -> dict[str, int]:
        """Values of the constant registers, by name.

        Software compares them with the configuration of an image. ``code`` is the number of the
        code in ``WeightCode``. ``version`` has the major version of the map in its upper 16 bits.
        """
        config, engine = self._config, self._config.engine
        major, minor = CORE_MAP_VERSION
        return {
            "magic": CORE_MAGIC,
            "version": major << 16 | minor,
            **{name: getattr(engine, name) for name in ("lanes", "rows", "tokens")},
            "code": list(WeightCode).index(WeightCode(engine.code)),
            **{name: getattr(engine, name) for name in ("k_max", "n_max", "weight_bytes")},
            "vector_lanes": config.vector_lanes,
            "attention_lanes": config.attention_lanes,
            **{f"{name}_max": size for name, size in config.maxima.items()},
            "bus_bytes": self._shapes.weights // 8
            | config.memory_width // 8 << 8
            | self._shapes.ports << 16,
            "queue_depth": COMMAND_QUEUE_DEPTH | ANSWER_QUEUE_DEPTH << 8,
        }

    def elaborate(self, platform: object) -> Module:
        """Connect the core to its masters, queues, register bank and counters.

        The domain ``sync`` is local, because its clock and its reset are ports.
        """
        m = Module()
        config, shapes = self._config, self._shapes
        m.domains.sync = ClockDomain(local=True)
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.bank = self._bank = bank = RegisterBank(CORE_REGISTERS)
        self._core = core = TokenCore(config, trace=True)
        m.submodules.weights = self._weights = weights = AxiWeightReaders(
            ports=shapes.ports,
            beat_bytes=config.engine.weight_bytes,
            bus_bits=shapes.weights,
            longest=shapes.burst,
            buffer_words=shapes.buffer,
        )
        m.submodules.memory = self._memory = memory = AxiMemoryMaster(config, longest=shapes.burst)
        readers = (getattr(weights, f"axi{port}") for port in range(shapes.ports))
        ends = (bank.axi, *readers, memory.read, memory.write)
        for (bus, flow, signature), end in zip(self._ports(), ends, strict=True):
            for name, member in signature.members.items():
                port, inner = getattr(self, f"{bus}_{name}"), getattr(end, name)
                m.d.comb += port.eq(inner) if member.flow == flow else inner.eq(port)
        for name in ("requests", "write_data"):
            wiring.connect(m, getattr(core, name), getattr(memory, name))
        wiring.connect(m, memory.read_data, core.read_data)
        wiring.connect(m, core.fetch, weights.fetch)
        wiring.connect(m, weights.beats, core.weights)

        # The core stays in reset until the memories have answered: AXI takes nothing back.
        self._resetting = resetting = Signal()
        m.submodules.core = ResetInserter(resetting)(core)
        with m.If(bank.control[0]):
            m.d.sync += resetting.eq(1)
        with m.Elif(weights.idle & memory.idle):
            m.d.sync += resetting.eq(0)
        # Weights have no error flag, and a write has no word that could carry one. From here on all
        # words that are read have errors, and no answer counts.
        self._broken = broken = Signal()
        with m.If(resetting):
            m.d.sync += broken.eq(0)
        with m.Elif(weights.error | memory.write_error):
            m.d.sync += broken.eq(1)
        m.d.comb += [
            weights.base.eq(Cat(bank.weights_base_low, bank.weights_base_high)),
            weights.stride.eq(bank.weights_stride),
            memory.base.eq(Cat(bank.memory_base_low, bank.memory_base_high)),
            core.program_words.eq(bank.program_words),
            weights.clear.eq(resetting),
            memory.clear.eq(resetting),
            memory.failed.eq(broken),
            core.trace.ready.eq(1),
        ]
        for name, value in self.register_values.items():
            m.d.comb += getattr(bank, name).eq(value)
        start = self._commands(m)
        answered = self._answers(m)
        self._state(m, start, answered)
        return m

    def _commands(self, m: Module) -> Signal:
        """Queue of the commands; return the errors of a start: its numbers, or its place."""
        bank, core, resetting = self._bank, self._core, self._resetting
        shape = core_command(self._config)
        queue = fifo.SyncFIFO(width=shape.size, depth=COMMAND_QUEUE_DEPTH)
        m.submodules.commands = ResetInserter(resetting)(queue)
        command = Signal(shape)
        given = {
            name: getattr(bank, f"command_{name}") for name in ("token", "position", "k", "more")
        }
        # A number that does not fit its field is refused. The core would see the lower bits.
        too_large = []
        for name, value in given.items():
            width = shape[name].width if name in shape.members else 0
            too_large.append(value[width:].any())
            if width:
                m.d.comb += command[name].eq(value)
        errors, start = Signal(2), bank.command_start[0]
        m.d.comb += [
            errors[0].eq(start & Cat(too_large).any()),
            errors[1].eq(start & ~errors[0] & (~queue.w_rdy | resetting)),
            queue.w_data.eq(command),
            queue.w_en.eq(start & ~errors[0] & ~resetting),
            core.commands.p.eq(queue.r_data),
            core.commands.valid.eq(queue.r_rdy),
            queue.r_en.eq(core.commands.ready),
        ]
        self._queued, self._room = queue.r_rdy, COMMAND_QUEUE_DEPTH - queue.level
        return errors

    def _answers(self, m: Module) -> Signal:
        """Queue of the answers; return whether the last one of a command enters it."""
        bank, core = self._bank, self._core
        shape = answer_shape(self._config)
        queue = fifo.SyncFIFO(width=shape.size, depth=ANSWER_QUEUE_DEPTH)
        m.submodules.answers = ResetInserter(self._resetting)(queue)
        oldest, enters = data.View(shape, queue.r_data), Signal()
        m.d.comb += [
            queue.w_data.eq(core.answers.p),
            enters.eq(core.answers.valid & queue.w_rdy & ~self._broken),
            queue.w_en.eq(enters),
            core.answers.ready.eq(queue.w_rdy | self._broken),
            queue.r_en.eq(bank.answer_take[0]),
            bank.answer_token.eq(oldest.token),
            bank.answer_token[31].eq(oldest.last),
            # An element is the upper 24 bits of a float32.
            bank.answer_logit.eq(Cat(Const(0, 8), Value.cast(oldest.logit))),
        ]
        self._level = queue.level
        return enters & core.answers.p.last

    def _state(self, m: Module, start: Signal, answered: Value) -> None:
        """Status, errors, interrupts, and the counters of the last command."""
        bank, core, weights, memory = self._bank, self._core, self._weights, self._memory
        was_busy, had_failed, done, busy, failed = (Signal() for _ in range(5))
        m.d.sync += [
            was_busy.eq(core.busy & ~self._resetting),
            had_failed.eq(core.faults.memory),
        ]
        accepted = core.commands.valid & core.commands.ready
        m.d.comb += [
            done.eq(was_busy & ~core.busy),
            busy.eq(self._queued | core.busy | ~weights.idle | ~memory.idle | self._resetting),
            failed.eq(self._broken | core.faults.memory),
            bank.status.eq(Cat(busy, self._resetting, failed)),
            bank.status[8:16].eq(self._room),
            bank.status[16:24].eq(self._level),
            bank.error_set.eq(
                Cat(
                    core.faults.stopped,
                    core.faults.large,
                    core.faults.weight,
                    core.faults.job,
                    core.faults.memory & ~had_failed,
                    weights.error,
                    memory.read_error,
                    memory.write_error,
                    start,
                )
            ),
            bank.interrupt_pending_set.eq(Cat(done, answered, bank.error_set.any())),
            self.irq.eq((bank.interrupt_pending & bank.interrupt_enable).any()),
        ]
        # A cycle counts for the first part that works.
        parts = core.trace.p.parts
        events = {"cycles": Const(1)}
        earlier: Value = Const(0, 1)
        for index, name in enumerate(TRACE_PARTS):
            events[f"cycles_{name}"] = parts[index] & ~earlier
            earlier = earlier | parts[index]
        events["cycles_sequencing"] = ~earlier
        events["wait_weights"] = core.weights.ready & ~core.weights.valid
        for name, event in events.items():
            count = Signal(32, name=name)
            with m.If(accepted):
                m.d.sync += count.eq(event)
            with m.Elif(core.busy):
                m.d.sync += count.eq(count + event)
            m.d.comb += getattr(bank, name).eq(count)
        ended = Signal(32)
        m.d.sync += ended.eq(ended + done)
        m.d.comb += bank.commands_done.eq(ended)
