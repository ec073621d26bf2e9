"""A session with a token core: frames are executed, and their results are answered."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.token.core import faults_layout
from ...hw.token.passes import core_command
from ...hw.token.topk import answer_shape
from ..frames import ANSWER, CHECK, MODEL, TOKEN, DoneFlag, Kind
from .answers import AnswerScheduler
from .byte_cutter import ByteCutter
from .config import CoreTopConfig
from .memory_arbiter import client_port
from .memory_check import MemoryChecker
from .payload import PayloadGatherer
from .taking import SESSION_MEMBERS
from .timer import JobTimer

__all__ = ["CoreSession"]

#: Bytes of the payload of each kind of frame that is executed as a whole.
_SIZES = {
    Kind.HELLO: 4,
    Kind.ADDRESS: 4,
    Kind.CHECK: sum(CHECK.values()),
    Kind.MODEL: sum(MODEL.values()),
    Kind.TOKEN: sum(TOKEN.values()),
}

#: Bits of a number of weight beats in hardware.
_COUNT_BITS = 24


class CoreSession(wiring.Component):
    """Executes the frames of protocol 2, one after the other.

    ============== ===============================================================================
    part           task
    ============== ===============================================================================
    ``payload``    gathers the bytes of frames into groups: an address, a memory word, a job
    ``checker``    reads memory words and computes their CRC
    ``cutter``     cuts a CRC, or an answer of the core, into bytes
    ``queue``      holds the bytes until the line has sent those before
    ``timer``      counts the cycles of the job
    ``answers``    sends acknowledgements, results and the end of the job
    ============== ===============================================================================

    The states of the machine:

    =========== ==================================================================================
    ``idle``    wait for a group; the identity waits until the memory is tested
    ``write``   give a word to the memory
    ``judge``   compare the end of what an address or a job names with the end of the memory
    ``begin``   begin the job, or refuse it
    ``check``   the checker reads
    ``drain``   the core and its weights are reset; the arbiter drops what they asked for
    ``copy``    the weights are out of reset, and begin to copy the resident beats
    ``load``    the resident beats are copied
    ``command`` offer the command to the core
    ``accept``  the core has taken it
    ``run``     the core works
    ``finish``  wait until all bytes of the results are in the queue
    ``answer``  results and ``DONE`` are being sent
    ``refuse``  drop the rest of the frame; only ``DONE`` with the error flag answers it
    =========== ==================================================================================

    A frame is refused if its kind is unknown, if its length is wrong, if a word of ``WRITE`` before
    it is not whole, if it names bytes outside the memory, or if the core is in reset.

    - Reset: a new session resets all of this. The core stays in reset until ``MODEL``.
    - Faults: those of the core stay set until the next ``MODEL``.

    Latency: 3 cycles from a group to the begin of its job; the core's command comes a cycle later,
    and the end of a token is seen 2 cycles after it. Throughput: that of the line for ``WRITE``;
    that of the parts for jobs.

    Parameters
    ----------
    config : configuration of the top level

    Raises
    ------
    TypeError
        If ``config`` is not a ``CoreTopConfig``.

    Members
    -------
    start, kind, length, address, payload, free, received, refused, expected, line, active : see
        ``Session``
    port : Out(``client_port``); the memory
    tested : In(1); the memory is tested; it stays high
    tested_bytes : In(32); bytes that the test found, with ``tested``
    reset : Out(1); reset of the core
    clear : Out(2); reset of the core's and of the weights' use of the memory, in this order
    idle : In(2); with ``clear``: nothing that the core, or the weights, asked for is left
    program_words : Out(32); see ``TokenCore``
    commands : Out(stream of ``core_command``)
    answers : In(stream of ``answer_shape``)
    busy : In(1); the core's
    faults : In(5); the core's
    waiting : In(1); the core wants a weight beat or a memory word, and none is there
    base, count, resident, load : Out; the model, see ``WeightSource``
    loading : In(1); resident beats are copied, from the cycle after ``load`` on
    """

    def __init__(self, config: CoreTopConfig) -> None:
        if not isinstance(config, CoreTopConfig):
            raise TypeError(f"config must be a CoreTopConfig, not {config!r}")
        self._config = config
        core = config.core
        super().__init__(
            {
                **SESSION_MEMBERS,
                "port": Out(client_port(core.memory_width, core.address_bits)),
                "tested": In(1),
                "tested_bytes": In(32),
                "reset": Out(1),
                "clear": Out(2),
                "idle": In(2),
                "program_words": Out(32),
                "commands": Out(stream.Signature(core_command(core))),
                "answers": In(stream.Signature(answer_shape(core))),
                "busy": In(1),
                "faults": In(faults_layout()),
                "waiting": In(1),
                "base": Out(32),
                "count": Out(_COUNT_BITS),
                "resident": Out(_COUNT_BITS),
                "load": Out(1),
                "loading": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Make the parts, and the machine that executes groups."""
        m = Module()
        config = self._config
        m.submodules.checker = self._checker = MemoryChecker(
            word_bits=config.core.memory_width, address_bits=config.memory.address_bits
        )
        m.submodules.cutter = self._cutter = ByteCutter(sum(ANSWER.values()))
        m.submodules.timer = self._timer = JobTimer()
        # A job that is refused is ``failed``. A job is ``done`` when its results are in the queue.
        self._failed, self._done = Signal(), Signal()
        self._gather(m)
        self._answer(m)
        self._judge(m)
        self._connect_memory(m)
        # Behind registers, because what they depend on comes late in a cycle.
        self._busy, self._stopped = Signal(), Signal()
        seen, faults = Signal(faults_layout()), Signal(faults_layout())
        m.d.comb += [self._stopped.eq(seen.stopped), self._replies.flags.eq(faults)]
        m.d.sync += [
            self._busy.eq(self.busy),
            seen.eq(self.faults),
            faults.eq(Mux(self.reset, 0, faults.as_value() | seen.as_value())),
        ]
        self._execute(m)
        return m

    def _gather(self, m: Module) -> None:
        """Gather the payload of legal frames; find those that are not legal."""
        word_bytes = self._config.word_bytes
        self._payload = payload = PayloadGatherer({Kind.WRITE: word_bytes, **_SIZES})
        # ``drop`` forgets the group, and the rest of its frame.
        self._drop, self._bad = Signal(), Signal()
        m.submodules.payload = ResetInserter(self._drop)(payload)
        legal, odd = Signal(), Signal(range(word_bytes))
        with m.Switch(self.kind):
            for kind, size in _SIZES.items():
                with m.Case(kind):
                    m.d.comb += legal.eq((self.length == size) & (odd == 0))
            with m.Case(Kind.WRITE):
                m.d.comb += legal.eq(1)
        m.d.comb += [
            self.address.eq(payload.address),
            payload.start.eq(self.start & legal),
            payload.kind.eq(self.kind),
            payload.length.eq(self.length),
            payload.payload.eq(self.payload),
            self.free.eq(payload.free & ~self._bad & ~self.start),
        ]
        m.d.sync += self._drop.eq(0)
        with m.If(self.start):
            m.d.sync += [self._bad.eq(~legal), self._drop.eq(~legal)]
            # Bytes of a word that is not whole.
            m.d.sync += odd.eq(Mux(self.kind == Kind.WRITE, odd + self.length, 0))

    def _answer(self, m: Module) -> None:
        """Queue the bytes of results, and answer."""
        config, timer, cutter = self._config, self._timer, self._cutter
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=8, depth=config.queue)
        m.submodules.answers = self._replies = answers = AnswerScheduler(
            config.identity.encode(), depth=config.queue, live=4, flags=len(DoneFlag) - 1
        )
        wiring.connect(m, cutter.bytes, queue.w_stream)
        wiring.connect(m, queue.r_stream, answers.results)
        wiring.connect(m, answers.line, wiring.flipped(self.line))
        m.d.comb += [
            answers.nonce.eq(self._payload.group(Kind.HELLO)),
            answers.live.eq(self.tested_bytes),
            answers.received.eq(self.received),
            answers.refused.eq(self.refused),
            answers.expected.eq(self.expected),
            answers.level.eq(queue.r_level),
            answers.done.eq(self._done),
            answers.cycles.eq(timer.cycles),
            answers.waits.eq(timer.waits),
            answers.error.eq(self._failed),
        ]

    def _connect_memory(self, m: Module) -> None:
        """Words to be written, one by one, and the requests of the checker."""
        port, checker = self.port, self._checker.port
        width = self._config.memory.address_bits
        #: Address of the next word to be written; its highest bit says that the memory has ended.
        self._place = Signal(width + 1)
        self._asks, self._gives = Signal(), Signal()
        m.d.comb += [
            checker.requests.ready.eq(port.requests.ready),
            port.requests.valid.eq(self._asks | checker.requests.valid),
            port.requests.p.eq(checker.requests.p),
            port.write_data.valid.eq(self._gives),
            port.write_data.p.data.eq(self._payload.group(Kind.WRITE)),
            port.write_data.p.strobes.eq(~0),
        ]
        with m.If(self._asks):
            m.d.comb += [
                port.requests.p.address.eq(self._place),
                port.requests.p.words.eq(1),
                port.requests.p.write.eq(1),
            ]
        with m.If(port.requests.ready):
            m.d.sync += self._asks.eq(0)
        with m.If(port.write_data.ready):
            m.d.sync += self._gives.eq(0)
        wiring.connect(m, wiring.flipped(port.read_data), checker.read_data)

    def _judge(self, m: Module) -> None:
        """Compare what a group names with the memory, in two steps.

        A group stays until its job begins. The end of its bytes is known in state ``judge``, and in
        state ``begin`` whether it is legal.
        """
        config, payload = self._config, self._payload
        kind = payload.groups.p.kind
        model, token = payload.fields(Kind.MODEL, MODEL), payload.fields(Kind.TOKEN, TOKEN)
        check, address = payload.fields(Kind.CHECK, CHECK), payload.group(Kind.ADDRESS)
        places = (config.word_bytes - 1).bit_length()
        few = ~model["beats"][_COUNT_BITS:].any()
        weights = _times(model["beats"][:_COUNT_BITS], config.core.engine.weight_bytes)
        first, size = Signal(32), Signal(max(32, len(weights)))
        end = Signal(len(size) + 1, reset_less=True)
        aligned = Signal(reset_less=True)
        self._first = first
        with m.Switch(kind):
            with m.Case(Kind.CHECK):
                m.d.comb += [first.eq(check["address"]), size.eq(check["bytes"])]
            with m.Case(Kind.MODEL):
                m.d.comb += [first.eq(model["base"]), size.eq(weights)]
            with m.Default():
                m.d.comb += first.eq(address)
        whole = (kind == Kind.CHECK) & size[:places].any()
        m.d.sync += [end.eq(first + size), aligned.eq(~first[:places].any() & ~whole)]
        inside = aligned & _at_most(end, config.memory.address_bits)
        resident = config.identity.resident_beats
        command = core_command(config.core)
        self._legal = legal = Signal(reset_less=True)
        self._keeps = Signal()
        with m.Switch(kind):
            with m.Case(Kind.MODEL):
                m.d.sync += legal.eq(
                    (inside & few)
                    & _at_most(model["program_words"], config.memory.address_bits - places)
                    & (model["resident"] <= model["beats"])
                    & (model["resident"] <= resident)
                )
            with m.Case(Kind.TOKEN):
                cut = Cat(token[name][command[name].width :] for name in TOKEN)
                m.d.sync += legal.eq(~self.reset & ~cut.any())
            with m.Default():
                m.d.sync += legal.eq(inside)
        # Registers, because the weights use them as long as the model runs.
        kept = {
            "program_words": Signal(config.memory.address_bits - places + 1),
            "base": Signal(config.memory.address_bits),
            "beats": Signal(_COUNT_BITS),
            "resident": Signal(range(max(2, resident + 1))),
        }
        m.d.comb += [
            self._checker.address.eq(check["address"]),
            self._checker.words.eq(check["bytes"] >> places),
            *(self.commands.p[name].eq(token[name]) for name in TOKEN),
            self.program_words.eq(kept["program_words"]),
            self.base.eq(kept["base"]),
            self.count.eq(kept["beats"]),
            self.resident.eq(kept["resident"]),
        ]
        with m.If(self._keeps):
            m.d.sync += [register.eq(model[name]) for name, register in kept.items()]

    def _execute(self, m: Module) -> None:
        """Execute groups in order: a machine, whose states the class describes."""
        payload, answers, timer = self._payload, self._replies, self._timer
        groups, checker = payload.groups, self._checker
        kind, done, failed = groups.p.kind, self._done, self._failed
        held, loading = Signal(init=1), Signal()
        m.d.comb += [self.reset.eq(held), self.clear.eq(Cat(held, held & ~loading))]
        with m.FSM() as fsm:
            m.d.comb += self.active.eq(
                ~self.free | ~fsm.ongoing("idle") | answers.busy | ~self.tested
            )
            m.d.comb += timer.waiting.eq(self.waiting & fsm.ongoing("run"))
            with m.State("idle"):
                with m.If(self._bad):
                    m.next = "refuse"
                with m.Elif(groups.valid & (kind == Kind.HELLO)):
                    m.d.comb += [answers.identify.eq(self.tested), groups.ready.eq(self.tested)]
                with m.Elif(groups.valid & (kind == Kind.WRITE)):
                    m.d.sync += [self._asks.eq(~self._place[-1]), self._gives.eq(~self._place[-1])]
                    m.next = "write"
                    with m.If(self._place[-1]):
                        m.next = "refuse"
                with m.Elif(groups.valid):
                    m.next = "judge"
            with m.State("write"):
                with m.If(~self._asks & ~self._gives):
                    m.d.comb += groups.ready.eq(1)
                    m.d.sync += self._place.eq(self._place + self._config.word_bytes)
                    m.next = "idle"
            with m.State("judge"):
                m.next = "begin"
            with m.State("begin"):
                with m.If(~self._legal):
                    m.next = "refuse"
                with m.Elif(kind == Kind.ADDRESS):
                    m.d.comb += groups.ready.eq(1)
                    m.d.sync += self._place.eq(self._first)
                    m.next = "idle"
                with m.Else():
                    m.d.comb += timer.start.eq(1)
                    with m.Switch(kind):
                        with m.Case(Kind.CHECK):
                            m.d.comb += [checker.start.eq(1), groups.ready.eq(1)]
                            m.next = "check"
                        with m.Case(Kind.MODEL):
                            m.d.comb += [self._keeps.eq(1), groups.ready.eq(1)]
                            m.d.sync += [held.eq(1), loading.eq(0)]
                            m.next = "drain"
                        with m.Default():
                            m.next = "command"
            self._work(m, held, loading)
            with m.State("refuse"):
                m.d.sync += [self._drop.eq(1), self._bad.eq(0), failed.eq(1), done.eq(1)]
                m.next = "answer"
            with m.State("answer"):
                with m.If(answers.answered):
                    m.d.sync += [done.eq(0), failed.eq(0)]
                    m.next = "idle"

    def _work(self, m: Module, held: Signal, loading: Signal) -> None:
        """States of the machine in which a job runs.

        Parameters
        ----------
        m : module, within its machine
        held : reset of the core
        loading : with ``held``, the weights are not in reset
        """
        cutter, checker = self._cutter, self._checker
        with m.State("check"):
            m.d.comb += [
                cutter.values.p.value.eq(checker.crc),
                cutter.values.p.bytes.eq(4),
                cutter.values.valid.eq(checker.done),
            ]
            with m.If(checker.done):
                m.next = "finish"
        with m.State("drain"):
            with m.If(self.idle.all()):
                m.d.sync += loading.eq(1)
                m.next = "copy"
        with m.State("copy"):
            m.d.comb += self.load.eq(1)
            m.next = "load"
        with m.State("load"):
            with m.If(~self.loading):
                m.d.sync += held.eq(0)
                m.next = "finish"
        with m.State("command"):
            m.d.comb += [
                self.commands.valid.eq(1),
                self._payload.groups.ready.eq(self.commands.ready),
            ]
            with m.If(self.commands.ready):
                m.next = "accept"
        with m.State("accept"):
            m.next = "run"
        with m.State("run"):
            self._take_answer(m)
            with m.If(self._stopped):
                m.d.sync += self._failed.eq(1)
            with m.If(~self._busy):
                m.next = "finish"
        with m.State("finish"):
            with m.If(~cutter.busy):
                m.d.comb += self._timer.stop.eq(1)
                m.d.sync += self._done.eq(1)
                m.next = "answer"

    def _take_answer(self, m: Module) -> None:
        """Hand an answer of the core to the cutter, in the order of ``ANSWER``."""
        values, answer = self._cutter.values, self.answers
        fields = [
            Cat(Value.cast(answer.p[name]), Const(0, 8 * size - len(Value.cast(answer.p[name]))))
            for name, size in ANSWER.items()
        ]
        m.d.comb += [
            values.p.value.eq(Cat(*fields)),
            values.p.bytes.eq(sum(ANSWER.values())),
            values.valid.eq(answer.valid),
            answer.ready.eq(values.ready),
        ]


def _times(value: Value, constant: int) -> Value:
    """Multiply by a constant with shifts, so that no tool takes a multiplier of the device."""
    terms = [value << bit for bit in range(constant.bit_length()) if constant >> bit & 1]
    return sum(terms[1:], terms[0])


def _at_most(value: Value, bits: int) -> Value:
    """Whether a number is at most 2 ** ``bits``."""
    return ~value[bits + 1 :].any() & ~(value[bits] & value[:bits].any())
