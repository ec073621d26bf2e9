"""Norm and quantizer of a vector: integers for the engine, and the factor of its results."""

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import BIAS, SIGNIFICAND_BITS
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .element import ELEMENT, constant, significand
from .multiplier import ElementMultiplier
from .peak import PEAKS
from .pipeline import delay
from .quantizer import ElementQuantizer
from .scaler import vector_word
from .special import Function, SpecialFunction
from .tokens import token_number, token_place
from .writer import vector_depth, vector_place

__all__ = ["Normalizer", "normalizer_command"]


def normalizer_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``Normalizer``.

    Fields
    ------
    source : address of the first word
    words : words of the vector, 1 or more; elements behind its end must be 0
    gained : the vector has a norm with a gain; otherwise it is quantized as it is
    inverse : ``round(1 / K)`` of a vector of K elements; used only with ``gained``
    epsilon : constant of the norm, an element; used only with ``gained``
    token : number of the token whose vector it is
    """
    depth = vector_depth(config)
    return data.StructLayout(
        {
            "source": range(depth),
            "words": range(depth + 1),
            "gained": 1,
            "inverse": ELEMENT,
            "epsilon": ELEMENT,
            "token": token_number(config),
        }
    )


class _Step(enum.Enum, shape=4):
    """Steps of a vector, in order; each scalar step lasts as long as its operator.

    - ``RECIPROCAL``: ``1 / largest``, and beside it ``scale = round(largest · round(1 / 127))``
    - ``FACTOR``: ``r = round(127 / largest)``
    - ``PASS``: all words are read, quantized and squared
    - ``TOTAL``: the sum of squares as an element; this step and the next four need ``gained``
    - ``MEAN``: ``round(total · inverse)``
    - ``EPSILON``: ``round(mean + epsilon)``
    - ``ROOT``: its reciprocal root
    - ``SCALE``: ``round(root · scale)``, the factor
    - ``DONE``: the factor is offered, from the second cycle of the step on
    """

    IDLE = 0
    RECIPROCAL = 1
    FACTOR = 2
    PASS = 3
    TOTAL = 4
    MEAN = 5
    EPSILON = 6
    ROOT = 7
    SCALE = 8
    DONE = 9


#: Cycles of the scalar steps: the latencies of their operators.
_CYCLES = {
    _Step.RECIPROCAL: SpecialFunction.LATENCY,
    _Step.FACTOR: ElementMultiplier.LATENCY,
    _Step.TOTAL: IntegerConverter.LATENCY,
    _Step.MEAN: ElementMultiplier.LATENCY,
    _Step.EPSILON: ElementAdder.LATENCY,
    _Step.ROOT: SpecialFunction.LATENCY,
    _Step.SCALE: ElementMultiplier.LATENCY,
}


class Normalizer(wiring.Component):
    """Quantizes a vector to signed bytes, with the norm in front of it.

    The golden function is ``normalize_and_quantize``. The largest magnitude comes from
    ``PeakTracker``, so that the vector is read once: ``q = rint(round(x · g) · r)`` with
    ``r = round(127 · reciprocal(largest))``. Meanwhile the squares of 16-bit integers are summed.
    The norm's root is computed after the pass, while the engine works: it joins the factor.

    Command and peaks are accepted in cycle 0, and the vector has W words. Gains are there, and no
    stage stalls.

    ================  ===========================================================================
    cycle             step
    ================  ===========================================================================
    1 to 4            ``RECIPROCAL``
    5 and 6           ``FACTOR``
    7                 ``address`` has the first word; its gains are accepted
    8                 ``stored`` has the first word; ``r`` is there
    9 and 10          product with the gain; integer and square of the element
    11                the sum of squares has the first word; the product with ``r``
    12                ``bytes`` has the first word
    11 + W            ``bytes`` has the last word, with ``last``
    12 + W, 13 + W    ``TOTAL``
    14 + W, 15 + W    ``MEAN``
    16 + W to 18 + W  ``EPSILON``
    19 + W to 22 + W  ``ROOT``
    23 + W, 24 + W    ``SCALE``
    26 + W            ``factor``
    ================  ===========================================================================

    Latency: 7 cycles from command and peaks to the first address, and 5 more to its bytes; 15
    cycles from the last bytes to the factor, or 2 without a norm. Throughput: one word per cycle in
    the pass. The next vector is accepted one cycle after the factor. Vectors of W words are
    therefore ``W + 27`` cycles apart, or ``W + 14`` without a norm.

    - **Sum of squares.** An element becomes ``round(|x| · 2^(15 − e))``, of 16 bits, where e is the
      exponent of the largest element. The sum of the squares is exact.
    - **Without a norm.** The gain is 1, and no gains are accepted. The factor is ``scale``.
    - **Zero vector.** The bytes and the factor are 0, since the reciprocal of 0 is 0.
    - **Small elements.** An element below ``2^(e − 16)`` adds nothing to the sum of squares.
    - **Small vectors.** Below a largest magnitude of about 2⁻¹¹⁹ the factor is 0. Below 2⁻¹²¹, r is
      too large, and the bytes do not reach 127.
    - **Large vectors.** Above a largest magnitude of 2¹²⁶ its reciprocal and all bytes are 0.
    - **Overflow.** It is raised by small and by large vectors, and by a product with a gain, a sum
      of squares, its sum with the constant, or a factor that is too large.
    - **Stall.** The pass stops while ``bytes`` are not taken, and ``enable`` is low. While a word
      of ``gains`` is missing, no word is read. The words that were read before go on.
    - **Reset.** The vector is dropped.

    Example: x = (3, −4, 0, 1) with the gains (1, 0.5, 2, 1) gives the products (3, −2, 0, 1). Their
    largest magnitude is 3, r is 42.334, and the bytes are (127, −85, 0, 42). The integers are
    (24576, 32768, 0, 8192), so that the sum of squares is 26 and the mean 6.5. The factor is
    3 / 127 / √6.5, about 0.009265. With 4 lanes the byte word comes in cycle 12, and the factor in
    cycle 27. Without a norm the bytes are (95, −127, 0, 32), and the factor is 4 / 127 in cycle 14.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``normalizer_command``)
    peaks : In(stream of ``PEAKS``); those of the vector, which is in the memory then; accepted with
        the command
    gains : In(stream of ``vector_word``); one for each word, with ``gained``
    address : Out; place of the word to read
    stored : In(``vector_word``); one cycle after its address; it must stay while ``enable`` is low
    enable : Out(1); enable of the read port
    bytes : Out(stream of L signed ``values`` and ``last``); values are from −127 to 127
    factor : Out(stream of an element); the vector is about the bytes times the factor
    busy : Out(1); a vector is not finished; low one cycle after the factor is taken
    overflow : Out(1); a value was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        word = vector_word(config)
        values = data.ArrayLayout(signed(8), config.vector_lanes)
        super().__init__(
            {
                "commands": In(stream.Signature(normalizer_command(config))),
                "peaks": In(stream.Signature(PEAKS)),
                "gains": In(stream.Signature(word)),
                "address": Out(vector_place(config)),
                "stored": In(word),
                "enable": Out(1),
                "bytes": Out(stream.Signature(data.StructLayout({"values": values, "last": 1}))),
                "factor": Out(stream.Signature(ELEMENT)),
                "busy": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read the vector in the pass; the scalar steps are in ``_scalars`` and ``_order``.

        The pipeline of the pass has one enable, ``advance``. The scalar steps never stall.
        """
        m = Module()
        lanes = self._config.vector_lanes
        command = Signal(normalizer_command(self._config), reset_less=True)
        peaks = Signal(PEAKS, reset_less=True)
        step = Signal(_Step)
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        first, left = Signal(), Signal.like(command.words)
        start, reading, passed = Signal(), Signal(), Signal()
        m.d.comb += [
            start.eq((step == _Step.IDLE) & self.commands.valid & self.peaks.valid),
            self.commands.ready.eq(start),
            self.busy.eq(step != _Step.IDLE),
            self.peaks.ready.eq(start),
            reading.eq((step == _Step.PASS) & (left != 0) & (self.gains.valid | ~command.gained)),
            self.gains.ready.eq(reading & advance & command.gained),
            self.address.eq(token_place(command.source, command.token)),
            self.enable.eq(advance),
        ]
        with m.If(start):
            m.d.sync += [
                command.eq(self.commands.p),
                peaks.eq(self.peaks.p),
                left.eq(self.commands.p.words),
                first.eq(1),
            ]
        with m.Elif(reading & advance):
            m.d.sync += [
                command.source.eq(command.source + 1),
                left.eq(left - 1),
                first.eq(0),
            ]

        # The sum is exact: a square of 16-bit integers takes 32 bits, and the rest counts elements.
        squares = Signal(2 * SIGNIFICAND_BITS + (lanes * vector_depth(self._config)).bit_length())
        r, overflow = self._scalars(m, step, command, peaks, squares)
        self._order(m, step, start=start, passed=passed, gained=command.gained)
        stored = delay(pipeline, Cat(reading, left == 1, first), 1)
        out = delay(pipeline, stored, ElementMultiplier.LATENCY + ElementQuantizer.LATENCY)
        # The integers of a word, their squares and the sum take a cycle each.
        added = delay(pipeline, stored, 2)
        gains = delay(pipeline, self.gains.p, 1, reset_less=True)
        squared, overflows = [], [overflow]
        for lane in range(lanes):
            pipeline.submodules += [
                multiplier := ElementMultiplier(),
                quantizer := ElementQuantizer(),
            ]
            gain = gains[lane * ELEMENT.size : (lane + 1) * ELEMENT.size]
            m.d.comb += [
                multiplier.a.eq(self.stored[lane]),
                Value.cast(multiplier.b).eq(Mux(command.gained, gain, constant(1.0))),
                quantizer.a.eq(multiplier.product),
                quantizer.b.eq(r),
                self.bytes.p.values[lane].eq(quantizer.integer),
            ]
            # The sum of squares is that of x, not of x · g.
            integer = _aligned(pipeline, self.stored[lane], peaks.exponent)
            square = Signal(2 * SIGNIFICAND_BITS)
            pipeline.d.sync += square.eq(integer * integer)
            squared.append(square)
            overflows.append(added[0] & multiplier.overflow)
        with pipeline.If(added[0]):
            pipeline.d.sync += squares.eq(Mux(added[2], 0, squares) + sum(squared))
        m.d.comb += [
            self.bytes.valid.eq(out[0]),
            self.bytes.p.last.eq(out[1]),
            advance.eq(self.bytes.ready | ~out[0]),
            # The sum of squares is complete one cycle before the last bytes.
            passed.eq(out[0] & out[1] & self.bytes.ready),
            self.overflow.eq(Cat(overflows).any()),
        ]
        return m

    def _scalars(
        self, m: Module, step: Signal, command: data.View, peaks: data.View, squares: Signal
    ) -> tuple[data.View, Value]:
        """Operators of the scalar steps, each of which feeds the operator of the next step.

        The operators are pipelines. Their operands count in the first cycle of a step, which is the
        cycle of the result of the step before.

        Parameters
        ----------
        step : the present step
        command, peaks : those of the vector; they stay until the factor is taken
        squares : the sum of squares, complete from the step ``TOTAL`` on

        Returns
        -------
        The quantizer's factor r, valid from the second cycle of the step ``PASS`` on; and whether a
        result of this cycle was too large
        """
        m.submodules += [
            special := SpecialFunction(),
            multiplier := ElementMultiplier(),
            adder := ElementAdder(),
            converter := IntegerConverter(width=len(squares) + 1),
        ]
        r, scale = Signal(ELEMENT, reset_less=True), Signal(ELEMENT, reset_less=True)
        a, b = Value.cast(multiplier.a), Value.cast(multiplier.b)
        m.d.comb += [
            special.function.eq(Mux(step == _Step.ROOT, Function.ROOT, Function.RECIPROCAL)),
            special.x.eq(Mux(step == _Step.ROOT, Value.cast(adder.total), peaks.largest)),
            adder.a.eq(multiplier.product),
            adder.b.eq(command.epsilon),
            converter.integer.eq(squares),
            # The integers have SIGNIFICAND_BITS − 1 bits below the largest element's leading one.
            converter.exponent.eq(2 * peaks.exponent - 2 * (BIAS + SIGNIFICAND_BITS - 1)),
            self.factor.p.eq(scale),
        ]
        # A result is there in the first cycle of the next step.
        first, before = Signal(), Signal(_Step)
        m.d.sync += before.eq(step)
        m.d.comb += [first.eq(before != step), self.factor.valid.eq((step == _Step.DONE) & ~first)]
        with m.If(first & (before == _Step.FACTOR)):
            m.d.sync += r.eq(multiplier.product)
        # ``scale`` is first largest / 127. Without a norm it stays so; otherwise the root joins it.
        with m.If(first & ((before == _Step.RECIPROCAL) | (before == _Step.SCALE))):
            m.d.sync += scale.eq(multiplier.product)
        with m.Switch(step):
            with m.Case(_Step.RECIPROCAL):
                # The multiplier is free while the reciprocal is computed.
                m.d.comb += [a.eq(peaks.largest), b.eq(constant(1 / 127))]
            with m.Case(_Step.FACTOR):
                m.d.comb += [a.eq(special.value), b.eq(constant(127.0))]
            with m.Case(_Step.MEAN):
                m.d.comb += [a.eq(converter.element), b.eq(command.inverse)]
            with m.Case(_Step.SCALE):
                m.d.comb += [a.eq(special.value), b.eq(scale)]
        # Each step by the operator of its result. A vector too large for 127 / largest has r = 0.
        lost = (multiplier.product.exponent == 0) & (peaks.largest.exponent != 0)
        too_large = {
            _Step.FACTOR: multiplier.overflow | lost,
            _Step.TOTAL: converter.overflow,
            _Step.EPSILON: adder.overflow,
            _Step.SCALE: multiplier.overflow,
        }
        overflow = Cat((before == step) & flag for step, flag in too_large.items()).any()
        return r, first & overflow

    def _order(
        self, m: Module, step: Signal, *, start: Value, passed: Value, gained: Value
    ) -> None:
        """Order of the steps: a timer ends the scalar steps, and events end the others.

        Parameters
        ----------
        step : gets the step
        start : command and peaks are accepted
        passed : the last bytes of the vector are taken
        gained : the vector has a norm
        """
        timer, end = Signal(range(max(_CYCLES.values()))), Signal()
        m.d.comb += end.eq(timer == 0)

        def enter(following: _Step) -> None:
            m.d.sync += [step.eq(following), timer.eq(_CYCLES.get(following, 1) - 1)]

        with m.If(~end):
            m.d.sync += timer.eq(timer - 1)
        with m.Switch(step):
            with m.Case(_Step.IDLE):
                with m.If(start):
                    enter(_Step.RECIPROCAL)
            with m.Case(_Step.PASS):
                with m.If(passed & gained):
                    enter(_Step.TOTAL)
                with m.Elif(passed):
                    enter(_Step.DONE)
            with m.Case(_Step.DONE):
                with m.If(self.factor.valid & self.factor.ready):
                    enter(_Step.IDLE)
            for now in _CYCLES:
                with m.Case(now), m.If(end):
                    enter(_Step(now.value + 1))


def _aligned(m: Module, element: data.View, exponent: Value) -> Signal:
    """Magnitude of an element as an integer of 16 bits under a common exponent, a cycle later.

    The registers are in front of the rounding, since the word comes late from the vector memory.

    The golden function is ``scaled_integers``. The sign is left out, since the integer is squared.

    Parameters
    ----------
    m : module that gets the logic and the register
    element : an element whose stored exponent is at most ``exponent``
    exponent : stored exponent of the largest element of the vector

    Returns
    -------
    ``|x|`` in units of the lowest bit of the largest element, rounded half to even. Example: with
    the exponent of 4, which is 129, the element 3 is 24,576.
    """
    distance = Signal(8)
    shifted = Signal(2 * SIGNIFICAND_BITS)
    # At a distance of 16 the integer is 0 or 1. Beyond it, it is less than a half, and so 0.
    far = (distance > SIGNIFICAND_BITS) | (element.exponent == 0)
    m.d.comb += [
        distance.eq(exponent - element.exponent),
        shifted.eq(Cat(Const(0, SIGNIFICAND_BITS), significand(element)) >> distance[:5]),
    ]
    # SIGNIFICAND_BITS bits below the integer decide how it is rounded. It cannot round up to 2^16:
    # only a significand that is not shifted has 16 bits, and it is exact.
    held, lost = Signal(2 * SIGNIFICAND_BITS, reset_less=True), Signal(reset_less=True)
    m.d.sync += [held.eq(shifted), lost.eq(far)]
    whole, round_bit = held[SIGNIFICAND_BITS:], held[SIGNIFICAND_BITS - 1]
    sticky = held[: SIGNIFICAND_BITS - 1].any()
    integer = Signal(SIGNIFICAND_BITS)
    m.d.comb += integer.eq(Mux(lost, 0, whole + (round_bit & (sticky | whole[0]))))
    return integer
