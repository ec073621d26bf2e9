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
from .writer import vector_depth

__all__ = ["Normalizer", "normalizer_command"]


def normalizer_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``Normalizer``.

    Fields
    ------
    source : address of the first word
    words : words of the vector, 1 or more
    gained : the vector has a norm with a gain; otherwise it is quantized as it is
    inverse : 1 / K, an element
    epsilon : constant of the norm, an element
    """
    depth = vector_depth(config)
    return data.StructLayout(
        {
            "source": range(depth),
            "words": range(depth + 1),
            "gained": 1,
            "inverse": ELEMENT,
            "epsilon": ELEMENT,
        }
    )


class _Step(enum.Enum, shape=4):
    """Steps of a vector, in order; each scalar step lasts as long as its operator."""

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


class Normalizer(wiring.Component):
    """Quantizes a vector to signed bytes, with the norm in front of it.

    The golden function is ``CoreModel._quantize``. The largest magnitude comes from
    ``PeakTracker``, so that the vector is read once: ``q = rint(round(x · g) · r)`` with
    ``r = round(127 · reciprocal(largest))``. Meanwhile the squares of 16-bit integers are summed.
    The norm's root is computed after the pass, while the engine works: it joins the factor.

    Latency: 8 cycles from the peaks to the first address, and 6 more to its bytes; 16 cycles from
    the last bytes to the factor, or 1 without a norm. Throughput: one word per cycle.

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
    peaks : In(stream of ``PEAKS``); the vector's
    gains : In(stream of ``vector_word``); one for each word, with ``gained``
    address : Out; address of the word to read
    stored : In(``vector_word``); one cycle after its address; it must stay while ``enable`` is low
    enable : Out(1); enable of the read port
    bytes : Out(stream of L signed ``values`` and ``last``)
    factor : Out(stream of an element)
    busy : Out(1); a vector is not finished
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
                "address": Out(range(vector_depth(config))),
                "stored": In(word),
                "enable": Out(1),
                "bytes": Out(stream.Signature(data.StructLayout({"values": values, "last": 1}))),
                "factor": Out(stream.Signature(ELEMENT)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read the vector in the pass; the scalar steps before and after it are in ``_steps``."""
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
            self.address.eq(command.source),
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

        # The squares' integers, squares and sum take a cycle each.
        squares = Signal(2 * SIGNIFICAND_BITS + (lanes * vector_depth(self._config)).bit_length())
        r = self._steps(m, step, start, passed, command, peaks, squares)
        stored = delay(pipeline, Cat(reading, left == 1, first), 1)
        out = delay(pipeline, stored, ElementMultiplier.LATENCY + ElementQuantizer.LATENCY)
        added = delay(pipeline, stored, 2)
        gains = delay(pipeline, self.gains.p, 1)
        squared = []
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
            integer = _aligned(pipeline, self.stored[lane], peaks.exponent)
            square = Signal(2 * SIGNIFICAND_BITS)
            pipeline.d.sync += square.eq(integer * integer)
            squared.append(square)
        with pipeline.If(added[0]):
            pipeline.d.sync += squares.eq(Mux(added[2], 0, squares) + sum(squared))
        m.d.comb += [
            self.bytes.valid.eq(out[0]),
            self.bytes.p.last.eq(out[1]),
            advance.eq(self.bytes.ready | ~out[0]),
            passed.eq(out[0] & out[1] & self.bytes.ready),
        ]
        return m

    def _steps(
        self,
        m: Module,
        step: Signal,
        start: Signal,
        passed: Signal,
        command: data.View,
        peaks: data.View,
        squares: Signal,
    ) -> data.View:
        """Scalar steps, each of which feeds the next one's operator; return the quantizer's factor.

        The operators are pipelines. Their operands count in the first cycle of a step, which is the
        cycle of the result of the step before.
        """
        m.submodules += [
            special := SpecialFunction(),
            multiplier := ElementMultiplier(),
            adder := ElementAdder(),
            converter := IntegerConverter(width=len(squares) + 1),
        ]
        cycles = {
            _Step.RECIPROCAL: SpecialFunction.LATENCY,
            _Step.FACTOR: ElementMultiplier.LATENCY,
            _Step.TOTAL: IntegerConverter.LATENCY,
            _Step.MEAN: ElementMultiplier.LATENCY,
            _Step.EPSILON: ElementAdder.LATENCY,
            _Step.ROOT: SpecialFunction.LATENCY,
            _Step.SCALE: ElementMultiplier.LATENCY,
        }
        r, scale = Signal(ELEMENT, reset_less=True), Signal(ELEMENT, reset_less=True)
        a, b = Value.cast(multiplier.a), Value.cast(multiplier.b)
        timer, end = Signal(range(max(cycles.values()))), Signal()
        m.d.comb += [
            end.eq(timer == 0),
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
        with m.If(first & ((before == _Step.RECIPROCAL) | (before == _Step.SCALE))):
            m.d.sync += scale.eq(multiplier.product)
        with m.Switch(step):
            with m.Case(_Step.RECIPROCAL):
                m.d.comb += [a.eq(peaks.largest), b.eq(constant(1 / 127))]
            with m.Case(_Step.FACTOR):
                m.d.comb += [a.eq(special.value), b.eq(constant(127.0))]
            with m.Case(_Step.MEAN):
                m.d.comb += [a.eq(converter.element), b.eq(command.inverse)]
            with m.Case(_Step.SCALE):
                m.d.comb += [a.eq(special.value), b.eq(scale)]

        def enter(following: _Step) -> None:
            m.d.sync += [step.eq(following), timer.eq(cycles.get(following, 1) - 1)]

        with m.If(~end):
            m.d.sync += timer.eq(timer - 1)
        with m.Switch(step):
            with m.Case(_Step.IDLE):
                with m.If(start):
                    enter(_Step.RECIPROCAL)
            with m.Case(_Step.PASS):
                with m.If(passed & command.gained):
                    enter(_Step.TOTAL)
                with m.Elif(passed):
                    enter(_Step.DONE)
            with m.Case(_Step.DONE):
                with m.If(self.factor.valid & self.factor.ready):
                    enter(_Step.IDLE)
            for now in cycles:
                with m.Case(now), m.If(end):
                    enter(_Step(now.value + 1))
        return r


def _aligned(m: Module, element: data.View, exponent: Value) -> Signal:
    """Magnitude of an element as an integer of 16 bits under a common exponent, a cycle later."""
    distance = Signal(8)
    shifted = Signal(2 * SIGNIFICAND_BITS)
    far = (distance > SIGNIFICAND_BITS) | (element.exponent == 0)
    m.d.comb += [
        distance.eq(exponent - element.exponent),
        shifted.eq(Cat(Const(0, SIGNIFICAND_BITS), significand(element)) >> distance[:5]),
    ]
    whole, round_bit = shifted[SIGNIFICAND_BITS:], shifted[SIGNIFICAND_BITS - 1]
    sticky = shifted[: SIGNIFICAND_BITS - 1].any()
    integer = Signal(SIGNIFICAND_BITS)
    m.d.sync += integer.eq(Mux(far, 0, whole + (round_bit & (sticky | whole[0]))))
    return integer
