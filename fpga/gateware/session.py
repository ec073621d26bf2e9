"""A session: frames are executed, and their results are answered."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered

from ...hw.engine.engine import MatVecEngine
from ...hw.engine.loader import job_layout
from ..frames import JOB, Kind
from .answers import AnswerScheduler
from .config import TopConfig
from .payload import PayloadGatherer
from .serializer import ResultSerializer
from .taking import SESSION_MEMBERS
from .timer import JobTimer
from .weight_memory import WeightMemory

__all__ = ["Session"]


class Session(wiring.Component):
    """Everything that a new session resets: the engine, and what executes and answers frames.

    The parts and the way of a job through them:

    ============== ===============================================================================
    ``payload``    gathers the bytes of frames into groups: an address, a word, a job, a beat
    ``memory``     holds the weights; a job makes it read ``count`` beats from ``address`` on
    ``engine``     multiplies
    ``serializer`` cuts result beats into bytes
    ``queue``      holds the bytes until the line has sent those before
    ``timer``      counts the cycles of the job
    ``answers``    sends acknowledgements, results and the end of the job
    ============== ===============================================================================

    From the acceptance of a job until its ``DONE`` is on its way, the next job waits, because both
    would share the counts and the queue. Frames with weights wait while the memory is read.

    The weight memory keeps its content over a reset. A job whose numbers do not fit the engine is
    refused like one that the engine finds out of range: it is answered without results, with the
    error flag set. After an error only a new session runs jobs again.

    Latency: a job is accepted ``2 · 16 + 1`` cycles after ``start`` if the engine is idle. Then
    the latencies of ``MatVecEngine`` and ``WeightMemory`` follow. Throughput: that of the link;
    where no result waits for the link, that of the engine and the weight memory.

    Parameters
    ----------
    config : configuration of the top level

    Members
    -------
    start : In(1); execute the frame that was taken
    kind : In(8); its kind
    length : In(8); bytes of its payload
    address : Out(8); place of a byte in its payload
    payload : In(8); that byte, a cycle later
    free : Out(1); no frame is being executed
    received : In(1); a frame must be acknowledged
    refused : In(1); with ``received``: that frame was not taken
    expected : In(8); number of the frame that is expected next
    line : Out(stream of bytes); the answers
    active : Out(1); something moves that does not wait for the host

    Raises
    ------
    TypeError
        If ``config`` is not a ``TopConfig``.
    ValueError
        If the weight memory does not fit the engine's beats, see ``WeightMemory``.
    """

    def __init__(self, config: TopConfig) -> None:
        if not isinstance(config, TopConfig):
            raise TypeError(f"config must be a TopConfig, not {config!r}")
        self._config = config
        engine = config.engine
        self._weights = WeightMemory(
            config.memory, beat_bytes=engine.weight_bytes, rows=engine.rows
        )
        super().__init__(SESSION_MEMBERS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.engine = engine = MatVecEngine(config.engine)
        m.submodules.memory = weights = self._weights
        m.submodules.payload = payload = PayloadGatherer(
            {
                Kind.HELLO: 4,
                Kind.ADDRESS: 3,
                Kind.WRITE: weights.word // 8,
                Kind.JOB: sum(JOB.values()),
                Kind.ACTIVATIONS: -(-config.engine.lanes * config.engine.act_bits // 8),
            }
        )
        m.submodules.serializer = serializer = ResultSerializer(config.engine)
        m.submodules.queue = queue = SyncFIFOBuffered(width=8, depth=config.queue)
        m.submodules.timer = timer = JobTimer()
        m.submodules.answers = answers = AnswerScheduler(
            config.identity.encode(), depth=config.queue
        )
        wiring.connect(m, weights.beats, engine.weights)
        wiring.connect(m, engine.results, serializer.results)
        wiring.connect(m, serializer.bytes, queue.w_stream)
        wiring.connect(m, queue.r_stream, answers.results)
        wiring.connect(m, answers.line, wiring.flipped(self.line))

        # ``running`` lasts from a job's acceptance until its answer is on its way.
        running, done, failed = Signal(), Signal(), Signal()
        accepted, too_large = self._execute(m, payload, engine, running | weights.reading)
        dropped = Signal()
        m.d.comb += [
            dropped.eq(too_large | engine.faults.job),
            serializer.hold.eq(done),
        ]
        with m.If(accepted):
            m.d.sync += running.eq(1)
        with m.If(too_large):
            m.d.sync += failed.eq(1)
        # A job that is dropped has no results to wait for.
        with m.If(serializer.finished | dropped):
            m.d.sync += done.eq(1)
        with m.If(answers.answered):
            m.d.sync += [done.eq(0), running.eq(0)]

        # The engine waits for the link if it has no activations, or a result that nobody takes
        # while no weights move.
        hungry, stuck, starving = Signal(), Signal(), Signal()
        m.d.comb += [
            hungry.eq(engine.activations.ready & ~engine.activations.valid),
            stuck.eq(
                engine.results.valid
                & ~engine.results.ready
                & ~(weights.reading & (~weights.beats.valid | weights.beats.ready))
            ),
            starving.eq(engine.weights.ready & ~engine.weights.valid & ~weights.reading),
            timer.start.eq(accepted),
            timer.stop.eq(serializer.ended | dropped),
            timer.waiting.eq(hungry | stuck),
            answers.identify.eq(payload.groups.valid & (payload.groups.p.kind == Kind.HELLO)),
            answers.nonce.eq(payload.group(Kind.HELLO)),
            answers.received.eq(self.received),
            answers.refused.eq(self.refused),
            answers.expected.eq(self.expected),
            answers.level.eq(queue.r_level),
            answers.done.eq(done),
            answers.cycles.eq(timer.cycles),
            answers.waits.eq(timer.waits),
            answers.error.eq(engine.error | failed),
            self.active.eq(
                ~self.free
                | answers.busy
                | done
                | serializer.busy
                | weights.reading
                | (engine.busy & ~hungry & ~starving)
            ),
        ]
        return m

    def _execute(
        self, m: Module, payload: PayloadGatherer, engine: MatVecEngine, busy: Value
    ) -> tuple[Signal, Signal]:
        """Pass each group of bytes to the part that its kind of frame is for.

        ============== ================================== =========================================
        kind           goes to                            waits while
        ============== ================================== =========================================
        ``HELLO``      the answers, as the nonce          never
        ``ADDRESS``    the weight memory                  the memory is read
        ``WRITE``      the weight memory                  the memory is read, or a word is stored
        ``JOB``        the engine and the weight memory   ``busy``, or the engine loads
        others         the engine, as activations         the engine does not take them
        ============== ================================== =========================================

        Parameters
        ----------
        m : the module
        payload : the gatherer, which offers the groups
        engine : the engine
        busy : a job is running, or its weights are being read

        Returns
        -------
        Two strobes: a job is accepted, and, a cycle later, that job was too large for the engine.
        """
        weights = self._weights
        groups = payload.groups
        kind, ready = groups.p.kind, groups.ready
        m.d.comb += [
            self.address.eq(payload.address),
            payload.start.eq(self.start),
            payload.kind.eq(self.kind),
            payload.length.eq(self.length),
            payload.payload.eq(self.payload),
            self.free.eq(payload.free),
        ]
        fields = payload.fields(Kind.JOB, JOB)
        # The job's fields are wider than the engine's: a number that does not fit must not be cut.
        job = Signal(job_layout(self._config.engine))
        fits, accepted, too_large = Signal(), Signal(), Signal()
        sizes = [name for name in job_layout(self._config.engine).members if name != "reuse"]
        m.d.comb += [
            *(job[name].eq(fields[name]) for name in job.shape().members),
            fits.eq(~Cat(fields[name][len(Value.cast(job[name])) :] for name in sizes).any()),
            accepted.eq(groups.valid & ready & (kind == Kind.JOB)),
        ]
        m.d.sync += too_large.eq(accepted & ~fits)
        with m.Switch(kind):
            with m.Case(Kind.HELLO):
                m.d.comb += ready.eq(1)
            with m.Case(Kind.ADDRESS):
                m.d.comb += ready.eq(~weights.reading)
            with m.Case(Kind.WRITE):
                m.d.comb += [weights.write.valid.eq(groups.valid), ready.eq(weights.write.ready)]
            with m.Case(Kind.JOB):
                m.d.comb += [
                    engine.jobs.valid.eq(groups.valid & ~busy & fits),
                    ready.eq((engine.jobs.ready | ~fits) & ~busy),
                    weights.count.eq(fields["count"]),
                ]
            with m.Default():
                m.d.comb += [
                    engine.activations.valid.eq(groups.valid),
                    ready.eq(engine.activations.ready),
                ]
        m.d.comb += [
            weights.load.eq((groups.valid & ready & (kind == Kind.ADDRESS)) | (accepted & fits)),
            weights.address.eq(
                Mux(kind == Kind.JOB, fields["address"], payload.group(Kind.ADDRESS))
            ),
            weights.write.p.eq(payload.group(Kind.WRITE)),
            engine.jobs.p.eq(job),
            engine.activations.p.eq(payload.group(Kind.ACTIVATIONS)),
        ]
        return accepted, too_large
