"""What goes on a board: engine, weight memory and host link, behind two wires."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ...hw.config import MatVecConfig
from ...hw.engine.engine import MatVecEngine
from ...hw.engine.loader import job_layout
from ...hw.engine.results import results_shape
from ..frames import DONE, IDENTITY_BYTES, JOB, MAX_PAYLOAD, Identity, Kind
from .link import FrameReceiver, FrameTransmitter
from .uart import UartReceiver, UartTransmitter
from .weight_memory import MemoryShape, WeightMemory

__all__ = ["BoardTop", "TopConfig"]


@dataclass(frozen=True, kw_only=True)
class TopConfig:
    """Everything that shapes what goes on a board.

    Parameters
    ----------
    engine : its configuration
    memory : for weights
    clock_hz : of everything
    baud : of the link
    queue : bytes that wait for the link in a block RAM, a power of two

    Raises
    ------
    ValueError
        If there are less than four clocks in a bit, or a bit's length is more than 2 % off.
    """

    engine: MatVecConfig
    memory: MemoryShape
    clock_hz: int
    baud: int
    queue: int = 512

    def __post_init__(self) -> None:
        divisor = self.divisor
        if divisor < 4 or abs(self.clock_hz / divisor / self.baud - 1) > 0.02:
            raise ValueError(
                f"baud must be a whole part of {self.clock_hz} Hz, 4 or more, within 2 %, not "
                f"{self.baud}"
            )

    @property
    def divisor(self) -> int:
        """Clocks in a bit on the line."""
        return round(self.clock_hz / self.baud)

    @property
    def identity(self) -> Identity:
        """What the board answers to a host."""
        return Identity(config=self.engine, beats=self.memory.beats, clock_hz=self.clock_hz)


class _Answer(Enum, shape=2):
    IDENTITY = 0
    RESULTS = 1
    DONE = 2


class _Session(wiring.Component):
    """Everything that a new session resets: what executes frames, and what answers.

    Members
    -------
    start : In(1); execute the frame that was taken
    kind, length : In; of it
    address, payload : the bytes of it, read a clock after the address
    free : Out(1); nothing is being executed
    received, refused : In(1); a frame must be acknowledged, and was not taken
    expected : In(8); the next frame's number
    line : Out(stream of bytes)
    active : Out(1); something moves, and not only at the pace of the host
    """

    def __init__(self, config: TopConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "kind": In(8),
                "length": In(8),
                "address": Out(8),
                "payload": In(8),
                "free": Out(1),
                "received": In(1),
                "refused": In(1),
                "expected": In(8),
                "line": Out(stream.Signature(8)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, engine_config = self._config, self._config.engine
        m.submodules.engine = engine = MatVecEngine(engine_config)
        m.submodules.memory = weights = WeightMemory(
            config.memory, beat_bytes=engine_config.weight_bytes, rows=engine_config.rows
        )
        m.submodules.sender = sender = FrameTransmitter()
        m.submodules.queue = queue = SyncFIFOBuffered(width=8, depth=config.queue)
        wiring.connect(m, weights.beats, engine.weights)
        wiring.connect(m, sender.line, wiring.flipped(self.line))

        # Bytes of a payload gather at the top of a register until they are what the kind asks for.
        activation_bytes = -(-engine_config.lanes * engine_config.act_bits // 8)
        groups = {
            Kind.HELLO: 4,
            Kind.ADDRESS: 3,
            Kind.WRITE: weights.word // 8,
            Kind.JOB: sum(JOB.values()),
            Kind.ACTIVATIONS: activation_bytes,
        }
        gathered = Signal(8 * max(groups.values()), reset_less=True)
        kind = Signal(3, reset_less=True)
        left = Signal(8, reset_less=True)
        place = Signal(8, reset_less=True)
        wanted = Signal(range(max(groups.values())), reset_less=True)
        count = Signal.like(wanted)
        deliver = Signal()
        delivered = Signal()

        def group(of: Kind) -> Value:
            return gathered[len(gathered) - 8 * groups[of] :]

        m.d.comb += self.address.eq(place)
        with m.FSM() as fsm:
            m.d.comb += self.free.eq(fsm.ongoing("idle") & ~self.start)
            with m.State("idle"):
                m.d.sync += [kind.eq(self.kind), left.eq(self.length), place.eq(0)]
                with m.If(self.start & (self.length != 0)):
                    m.next = "fetch"
            with m.State("fetch"):
                m.d.sync += place.eq(place + 1)
                with m.Switch(kind):
                    for value, size in groups.items():
                        with m.Case(value):
                            m.d.sync += wanted.eq(size - 1)
                m.next = "take"
            with m.State("take"):
                m.d.sync += [
                    gathered.eq(Cat(gathered[8:], self.payload)),
                    left.eq(left - 1),
                    count.eq(count + 1),
                ]
                with m.If(count == wanted):
                    m.d.sync += count.eq(0)
                    m.next = "deliver"
                with m.Elif(left == 1):
                    m.next = "idle"
                with m.Else():
                    m.next = "fetch"
            with m.State("deliver"):
                m.d.comb += deliver.eq(1)
                with m.If(delivered & (left == 0)):
                    m.next = "idle"
                with m.Elif(delivered):
                    m.next = "fetch"

        fields, low = {}, 0
        for name, size in JOB.items():
            fields[name] = group(Kind.JOB)[low : low + 8 * size]
            low += 8 * size
        job = Signal(job_layout(engine_config))
        m.d.comb += [job[name].eq(fields[name]) for name in job_layout(engine_config).members]
        #: From a job's acceptance until its last answer is on its way.
        running = Signal()
        busy = Signal()
        m.d.comb += busy.eq(running | weights.reading)
        with m.Switch(kind):
            with m.Case(Kind.HELLO):
                m.d.comb += delivered.eq(1)
            with m.Case(Kind.ADDRESS):
                m.d.comb += delivered.eq(~weights.reading)
            with m.Case(Kind.WRITE):
                m.d.comb += [weights.write.valid.eq(deliver), delivered.eq(weights.write.ready)]
            with m.Case(Kind.JOB):
                m.d.comb += [
                    engine.jobs.valid.eq(deliver & ~busy),
                    delivered.eq(engine.jobs.ready & ~busy),
                    weights.count.eq(fields["count"]),
                ]
            with m.Default():
                m.d.comb += [
                    engine.activations.valid.eq(deliver),
                    delivered.eq(engine.activations.ready),
                ]
        m.d.comb += [
            weights.load.eq(
                deliver & delivered & ((kind == Kind.ADDRESS) | (kind == Kind.JOB)),
            ),
            weights.address.eq(
                Mux(kind == Kind.JOB, fields["address"], group(Kind.ADDRESS)),
            ),
            weights.write.p.eq(group(Kind.WRITE)),
            engine.jobs.p.eq(job),
            engine.activations.p.eq(group(Kind.ACTIVATIONS)),
        ]

        # Result beats go to the queue byte by byte.
        beat_bytes = -(-results_shape(engine_config).size // 8)
        beat = Signal(8 * beat_bytes, reset_less=True)
        beat_left = Signal(range(beat_bytes + 1))
        last = Signal(reset_less=True)
        done = Signal()
        m.d.comb += [
            queue.w_data.eq(beat[:8]),
            queue.w_en.eq(beat_left != 0),
            engine.results.ready.eq((beat_left == 0) & ~done),
        ]
        counting = Signal()
        with m.If(engine.results.valid & engine.results.ready):
            m.d.sync += [
                beat.eq(engine.results.p),
                beat_left.eq(beat_bytes),
                last.eq(engine.results.p.last),
            ]
            with m.If(engine.results.p.last):
                m.d.sync += counting.eq(0)
        with m.Elif(queue.w_en & queue.w_rdy):
            m.d.sync += [beat.eq(beat >> 8), beat_left.eq(beat_left - 1)]
            with m.If((beat_left == 1) & last):
                m.d.sync += done.eq(1)

        # Clocks from the job's acceptance to its last result, and those of them in which the engine
        # waited for the link: for activations, or with a result while no weights moved.
        clocks, waits = Signal(32, reset_less=True), Signal(32, reset_less=True)
        hungry = Signal()
        stuck = Signal()
        waited = Signal()
        m.d.comb += [
            hungry.eq(engine.activations.ready & ~engine.activations.valid),
            stuck.eq(
                engine.results.valid
                & ~engine.results.ready
                & ~(weights.reading & (~weights.beats.valid | weights.beats.ready))
            ),
        ]
        with m.If(engine.jobs.valid & engine.jobs.ready):
            m.d.sync += [running.eq(1), counting.eq(1), clocks.eq(1), waits.eq(0)]
        with m.Else():
            m.d.sync += [clocks.eq(clocks + counting), waits.eq(waits + waited)]
        # A clock late: what the engine waits for is known late in a clock.
        m.d.sync += waited.eq(counting & (hungry | stuck))

        # Answers, the most urgent first. What a frame holds does not change once it has started.
        identify, acknowledge, refuse = Signal(), Signal(), Signal()
        number = Signal(8)
        answer = Signal(_Answer, reset_less=True)
        index = Signal(range(IDENTITY_BYTES), reset_less=True)
        level = queue.r_level
        full = level >= MAX_PAYLOAD
        moved = Signal()
        m.d.comb += [
            sender.sequence.eq(number),
            moved.eq(sender.payload.valid & sender.payload.ready),
        ]
        with m.If(moved):
            m.d.sync += index.eq(index + 1)
        with m.If(sender.ready):
            m.d.sync += index.eq(0)
            with m.If(identify):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Kind.IDENTITY),
                    sender.length.eq(IDENTITY_BYTES),
                ]
                m.d.sync += [identify.eq(0), answer.eq(_Answer.IDENTITY)]
            with m.Elif(acknowledge):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Mux(refuse, Kind.REFUSAL, Kind.ACK)),
                    sender.sequence.eq(self.expected),
                ]
                m.d.sync += acknowledge.eq(0)
            with m.Elif(full | (done & (level != 0))):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Kind.RESULTS),
                    sender.length.eq(Mux(full, MAX_PAYLOAD, level)),
                ]
                m.d.sync += [number.eq(number + 1), answer.eq(_Answer.RESULTS)]
            with m.Elif(done):
                m.d.comb += [
                    sender.start.eq(1),
                    sender.kind.eq(Kind.DONE),
                    sender.length.eq(DONE.size),
                ]
                m.d.sync += [number.eq(number + 1), answer.eq(_Answer.DONE)]
        with m.If(self.received):
            m.d.sync += [acknowledge.eq(1), refuse.eq(self.refused)]
        with m.If(deliver & (kind == Kind.HELLO)):
            m.d.sync += identify.eq(1)
        identity = Array(
            [
                *(group(Kind.HELLO)[8 * byte : 8 * byte + 8] for byte in range(4)),
                *(Const(byte, 8) for byte in config.identity.encode()),
            ]
        )
        counters = Array(
            [
                *(word[8 * byte : 8 * byte + 8] for word in (clocks, waits) for byte in range(4)),
                Cat(engine.error, Const(0, 7)),
            ]
        )
        with m.Switch(answer):
            with m.Case(_Answer.IDENTITY):
                m.d.comb += [sender.payload.valid.eq(1), sender.payload.p.eq(identity[index])]
            with m.Case(_Answer.RESULTS):
                m.d.comb += [
                    sender.payload.valid.eq(queue.r_rdy),
                    sender.payload.p.eq(queue.r_data),
                    queue.r_en.eq(sender.payload.ready),
                ]
            with m.Default():
                m.d.comb += [sender.payload.valid.eq(1), sender.payload.p.eq(counters[index[:4]])]
        with m.If((answer == _Answer.DONE) & moved & (index == DONE.size - 1)):
            m.d.sync += [done.eq(0), running.eq(0)]

        starving = engine.weights.ready & ~engine.weights.valid & ~weights.reading
        m.d.comb += self.active.eq(
            ~self.free
            | ~sender.ready
            | identify
            | acknowledge
            | done
            | (beat_left != 0)
            | weights.reading
            | (engine.busy & ~hungry & ~starving)
        )
        return m


class BoardTop(wiring.Component):
    """A matrix–vector engine, its weights, and a link to a host: see PROTOCOL.md.

    Throughput: the link moves up to 0.95 bytes of payload in the time of a byte, in both directions
    at once. A job's results wait in a queue until they are sent; the engine waits when it is full.

    Parameters
    ----------
    config : all there is to say

    Members
    -------
    rx, tx : In(1), Out(1); the lines of the UART, high when idle
    active : Out(1); something moves, and not only at the pace of the host: for a lamp
    """

    def __init__(self, config: TopConfig) -> None:
        self._config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1)})

    @property
    def config(self) -> TopConfig:
        """The configuration."""
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor = self._config.divisor
        m.submodules.uart_receiver = from_line = UartReceiver(divisor=divisor)
        m.submodules.uart_transmitter = to_line = UartTransmitter(divisor=divisor)
        m.submodules.receiver = receiver = FrameReceiver()
        session = _Session(self._config)
        # A clock late, because it reaches far.
        begin = Signal()
        m.submodules.session = ResetInserter(begin)(session)
        wiring.connect(m, session.line, to_line.data)
        expected = Signal(8)
        hello, in_order = Signal(), Signal()
        ahead = Signal(8)
        m.d.comb += [
            from_line.rx.eq(self.rx),
            self.tx.eq(to_line.tx),
            receiver.data.eq(from_line.data),
            receiver.strobe.eq(from_line.strobe),
            hello.eq(receiver.frame & (receiver.kind == Kind.HELLO)),
            in_order.eq(receiver.frame & ~hello & (receiver.sequence == expected) & session.free),
            receiver.take.eq(hello | in_order),
            receiver.address.eq(session.address),
            session.received.eq(receiver.frame & ~hello),
            # Not what was taken before: that is sent again if its acknowledgement was lost.
            ahead.eq(receiver.sequence - expected),
            session.refused.eq(~in_order & ~ahead[-1]),
            session.payload.eq(receiver.payload),
            session.kind.eq(receiver.kind),
            session.length.eq(receiver.length),
            session.expected.eq(expected),
            self.active.eq(session.active | to_line.busy),
        ]
        # After the reset that a new session begins with.
        taken = Signal()
        m.d.sync += [begin.eq(hello), taken.eq(receiver.take), session.start.eq(taken)]
        with m.If(hello):
            m.d.sync += expected.eq(0)
        with m.Elif(in_order):
            m.d.sync += expected.eq(expected + 1)
        return m
