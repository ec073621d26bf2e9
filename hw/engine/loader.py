"""Loader of jobs and of their activations."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import MatVecConfig, check_config
from ..jobs import job_fields

__all__ = ["JobLoader", "above", "activations_shape", "job_layout"]


def job_layout(config: MatVecConfig) -> data.StructLayout:
    """Layout of a beat of the ``jobs`` stream: the fields of ``trilith.hw.jobs.JobShape``."""
    return data.StructLayout(job_fields(config))


def activations_shape(config: MatVecConfig) -> data.ArrayLayout:
    """Layout of a beat of the ``activations`` stream: ``lanes`` signed values of one token."""
    return data.ArrayLayout(signed(config.act_bits), config.lanes)


def above(value: Value, limit: int) -> Value:
    """``value > limit``, in a few look-up tables instead of a carry chain as long as ``value``.

    Parameters
    ----------
    value : an unsigned value
    limit : a constant, 0 or more
    """
    greater: Value = Const(0, 1)
    for index, bit in enumerate(value):
        greater = bit & greater if limit >> index & 1 else bit | greater
    return greater if limit < 2 ** len(value) else Const(0, 1)


class JobLoader(wiring.Component):
    """Accepts a job, writes its activations into half of the buffer, and offers it for computing.

    The loader writes the half that the job offered before does not use. It accepts a job only after
    the handover of the job before, so that no job reads this half any more. Loading therefore
    overlaps with computing the job before. A job with ``reuse`` is offered with the half as it is.

    Lanes from K on are written as 0. At ``act_bits`` 2 the illegal value −2 is written as 0 and
    raises ``bad_activation``. A job that is out of range raises ``bad_job`` and is dropped: it
    takes no activations. A job is out of range if

    - ``n``, ``k`` or ``tokens`` is 0 or above the maximum of the configuration,
    - ``group_chunks`` is above ``max_chunks``, or
    - it has ``reuse``, and nothing is loaded, or the loaded job has another ``k`` or fewer tokens.

    A job with T tokens and C = ceil(k / lanes) chunks is accepted in cycle 0. If its activations
    have no gaps, it passes these states in these cycles:

    ==========  ==============================  =============================  ================
    state       loads activations               with ``reuse``                 out of range
    ==========  ==============================  =============================  ================
    ``take``    0                               0                              0
    ``check``   1                               1                              1
    ``load``    2 to 1 + T · C                  never                          never
    ``offer``   from 2 + T · C until taken      from 2 until taken             never
    ``take``    the cycle after the handover    the cycle after the handover   2
    ==========  ==============================  =============================  ================

    Latency: 2 cycles from the acceptance of a job to its first activation beat, or to its offer
    with ``reuse``; 1 cycle from the last activation beat to the offer. Throughput: one activation
    beat per cycle. Example: 2 tokens of 3 chunks arrive in cycles 2 to 7. The offer follows in
    cycle 8, and the next job is accepted in cycle 9 at the earliest.

    A dropped job and a job with ``reuse`` leave the buffer as it is. Later jobs can therefore reuse
    all tokens that were loaded, even after a job that reused fewer of them. A reset returns to
    ``take`` and forgets the loaded job, so that the next job cannot have ``reuse``. No output
    depends on an input of the same cycle.

    Parameters
    ----------
    config : the configuration of the engine

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``.

    Members
    -------
    jobs : In(stream of ``job_layout``); ready in the state ``take``
    activations : In(stream of ``activations_shape``); by token, then by chunk; ready in the state
        ``load``
    offer : Out(stream); a job whose activations are loaded: its ``n``, ``tokens`` and
        ``group_chunks``; ``bank``, its half of the buffer; ``before_last``, the number of the
        chunk before its last one, or −1; valid in the state ``offer``
    write_address : Out(an address per token); twice the number of the chunk, plus the half
    write_data : Out(``activations_shape``); the beat that was accepted in the cycle before
    write_enable : Out(tokens); at most one bit is set, in the cycle after an activation beat
    bad_job : Out(1); high for one cycle, 2 cycles after the acceptance of the job
    bad_activation : Out(1); high for one cycle, in the cycle after the activation beat
    busy : Out(1); a job is checked, loaded or offered
    """

    def __init__(self, config: MatVecConfig) -> None:
        self._config = config = check_config(config)
        job = job_layout(config)
        super().__init__(
            {
                "jobs": In(stream.Signature(job)),
                "activations": In(stream.Signature(activations_shape(config))),
                "offer": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "n": range(config.n_max + 1),
                                "tokens": range(config.tokens + 1),
                                "group_chunks": range(config.max_chunks + 1),
                                "bank": 1,
                                "before_last": range(-1, config.max_chunks),
                            }
                        )
                    )
                ),
                "write_address": Out(data.ArrayLayout(range(2 * config.max_chunks), config.tokens)),
                "write_data": Out(activations_shape(config)),
                "write_enable": Out(config.tokens),
                "bad_job": Out(1),
                "bad_activation": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the state machine, the counters of the next beat, and the write registers.

        The state ``check`` prepares the counters for the first beat, and each beat for the next
        one. The accepted beat then needs no arithmetic before its lanes are cleared.
        """
        m = Module()
        config = self._config
        job = Signal(job_layout(config), reset_less=True)
        loaded_k = Signal.like(job.k)
        loaded_tokens = Signal.like(job.tokens)
        # Each token has the half and the chunk that came last, −1 before the first, of its own: the
        # wires of a common address would be long. Each counts from its own value, so that tools do
        # not merge them again.
        banks = [Signal(name=f"bank{token}") for token in range(config.tokens)]
        chunks = [
            Signal(range(-1, config.max_chunks), name=f"chunk{token}", reset_less=True)
            for token in range(config.tokens)
        ]
        before_last = Signal.like(chunks[0], reset_less=True)
        # The next activation beat: its token, whether it is the last beat of that token, and the
        # inputs from it on. They are inverted: counting up takes no logic in front of the carries.
        token_select = Signal(config.tokens, reset_less=True)
        tokens_left = Signal.like(job.tokens, reset_less=True)
        left_inverted = Signal.like(job.k, reset_less=True)
        final = Signal(reset_less=True)
        next_left_inverted = Signal.like(job.k)
        step = Signal()
        bad = Signal(reset_less=True)

        m.d.comb += [
            self.offer.p.n.eq(job.n),
            self.offer.p.tokens.eq(job.tokens),
            self.offer.p.group_chunks.eq(job.group_chunks),
            self.offer.p.bank.eq(banks[0]),
            self.offer.p.before_last.eq(before_last),
        ]
        asked = self.jobs.p
        out_of_range = self._out_of_range(asked)
        other = (job.k != loaded_k) | (job.tokens > loaded_tokens)

        illegal_activation = Signal()
        accepted = Signal()
        m.d.sync += [self.bad_activation.eq(illegal_activation), self.bad_job.eq(0)]
        m.d.sync += self.write_enable.eq(0)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("take"))
            with m.State("take"):
                m.d.comb += self.jobs.ready.eq(1)
                with m.If(self.jobs.valid):
                    m.d.sync += [job.eq(asked), bad.eq(out_of_range)]
                    m.next = "check"
            with m.State("check"):
                m.d.sync += [
                    token_select.eq(1),
                    tokens_left.eq(job.tokens),
                ]
                m.d.comb += [next_left_inverted.eq(~job.k), step.eq(1)]
                with m.If(bad | (job.reuse & other)):
                    m.d.sync += self.bad_job.eq(1)
                    m.next = "take"
                with m.Elif(job.reuse):
                    m.next = "offer"
                with m.Else():
                    m.d.sync += [
                        *(bank.eq(~bank) for bank in banks),
                        *(chunk.eq(-1) for chunk in chunks),
                    ]
                    m.next = "load"
            with m.State("load"):
                m.d.sync += [loaded_k.eq(job.k), loaded_tokens.eq(job.tokens)]
                m.d.comb += [
                    self.activations.ready.eq(1),
                    next_left_inverted.eq(left_inverted + config.lanes),
                ]
                with m.If(self.activations.valid):
                    m.d.comb += [accepted.eq(1), step.eq(1)]
                    m.d.sync += self.write_enable.eq(token_select)
                    for token, chunk in enumerate(chunks):
                        with m.If(token_select[token]):
                            m.d.sync += chunk.eq(chunk + 1)
                            if not token:
                                m.d.sync += before_last.eq(chunk)
                    with m.If(final):
                        if config.tokens > 1:
                            m.d.comb += next_left_inverted.eq(~job.k)
                            m.d.sync += [
                                token_select.eq(token_select << 1),
                                tokens_left.eq(tokens_left - 1),
                            ]
                        with m.If(tokens_left == 1):
                            m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.offer.valid.eq(1)
                with m.If(self.offer.ready):
                    m.next = "take"

        next_left = ~next_left_inverted
        past, updates = ([], []) if config.compact else self._past_k(next_left)
        with m.If(step):
            m.d.sync += [
                left_inverted.eq(next_left_inverted),
                final.eq(~above(next_left, config.lanes)),
                *(register.eq(value) for register, value in updates),
            ]
        if config.compact:
            past = self._past_lanes(m, step, next_left, fsm.ongoing("take"))
        m.d.comb += [
            self.write_address[token].eq(Cat(banks[token], chunks[token][:-1]))
            for token in range(config.tokens)
        ]
        illegal_lanes = self._write_lanes(m, past)
        if illegal_lanes:
            m.d.comb += illegal_activation.eq(accepted & Cat(illegal_lanes).any())
        return m

    def _write_lanes(self, m: Module, past: list[Value]) -> list[Value]:
        """Store a beat in the write register, with 0 in lanes that are past K or illegal.

        Returns
        -------
        For each lane, whether its value is illegal; empty if all values are legal
        """
        config = self._config
        # In a compact engine the reset of a register clears its lane, and takes no further logic.
        write_data = Signal(activations_shape(config), reset_less=config.compact)
        m.d.comb += self.write_data.eq(write_data)
        illegal_lanes = []
        for lane in range(config.lanes):
            value = self.activations.p[lane]
            clear = past[lane]
            if config.act_bits == 2:
                illegal_lanes.append((value == -2) & ~clear)
                clear |= value == -2
            with m.If(clear):
                m.d.sync += write_data[lane].eq(0)
            with m.Else():
                m.d.sync += write_data[lane].eq(value)
        return illegal_lanes

    def _out_of_range(self, job: data.View) -> Value:
        """Whether a size of a job is illegal.

        The loader evaluates this as the job arrives, which leaves little logic for the cycle that
        checks the job. The result covers all rules of the class but the one about ``reuse``. A
        maximum that fills its field costs no logic.

        Parameters
        ----------
        job : the payload of ``jobs``
        """
        config = self._config
        out_of_range: Value = Const(0, 1)
        for value, low, high in (
            (job.n, 1, config.n_max),
            (job.k, 1, config.k_max),
            (job.tokens, 1, config.tokens),
            (job.group_chunks, 0, config.max_chunks),
        ):
            if low:
                out_of_range |= value == 0
            out_of_range |= above(value, high)
        return out_of_range

    def _past_k(self, next_left: Value) -> tuple[list[Value], list[tuple[Signal, Value]]]:
        """For each lane of the next activation beat, whether it lies at or beyond K.

        The registers are ready before the beat arrives. They hold the end of K in groups of eight
        lanes. A lane is beyond K if its group is. It also is if the next group is, and its place
        within a group is beyond the place of K. Three registers thus decide about a lane.

        Parameters
        ----------
        next_left : the inputs from the next beat on, as a step begins

        Returns
        -------
        The values of the lanes; and the registers, each with its value after a step
        """
        config = self._config
        eights = -(-config.lanes // 8)
        past_eight = Signal(eights + 1, reset_less=True)
        past_place = Signal(8, reset_less=True)
        past = [
            past_eight[lane // 8] | (past_eight[lane // 8 + 1] & past_place[lane % 8])
            for lane in range(config.lanes)
        ]
        ends = Cat(Const(0, 1), (~above(next_left[3:], eight) for eight in range(eights)))
        places = Cat(next_left[:3] <= place for place in range(8))
        return past, [(past_eight, ends), (past_place, places)]

    def _past_lanes(self, m: Module, step: Signal, next_left: Value, idle: Value) -> list[Value]:
        """The lanes of ``_past_k`` from a register each, with no logic behind it.

        The registers of eight lanes share their enable and their set. In the state ``take`` all
        become 0, and so they do with a beat of ``lanes`` inputs or more. With a shorter beat, all
        registers of a group beyond K are set, and the group that K ends in gets the value of each
        place. A group in front of that one keeps its zeros: the beat before was a whole one, or
        ended at the same place, or there was none. After the last beat of a job the registers have
        no meaning until ``take`` clears them.

        Parameters
        ----------
        step : the registers take the values of the next beat
        next_left : see ``_past_k``
        idle : the state is ``take``
        """
        config = self._config
        whole = Signal()
        m.d.comb += whole.eq(idle | above(next_left, config.lanes - 1))
        lanes: list[Value] = []
        for first in range(0, config.lanes, 8):
            group = Signal(min(8, config.lanes - first), name=f"past{first}", reset_less=True)
            beyond = ~above(next_left[3:], first // 8 - 1) if first else Const(0, 1)
            ends = ~above(next_left[3:], first // 8)
            with m.If(step & beyond):
                m.d.sync += group.eq(-1)
            with m.Elif(idle | (step & (whole | ends))):
                places = (~whole & (next_left[:3] <= place) for place in range(len(group)))
                m.d.sync += group.eq(Cat(places))
            lanes += list(group)
        return lanes
