"""Largest magnitudes of a vector, as it is written."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT, constant
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scaler import vector_word
from .tree import larger, tree, tree_latency
from .writer import vector_write

__all__ = ["PEAKS", "PeakTracker"]

#: Largest magnitude of the vector times its gain, and the stored exponent of the largest element.
PEAKS = data.StructLayout({"largest": ELEMENT, "exponent": 8})


class PeakTracker(wiring.Component):
    """Finds the largest magnitude of a vector times the gain of the norm that follows it.

    The norm and the quantizer need it before they read the vector. It is found while the vector is
    written, so that it costs no pass. The golden functions are ``max|round(v · g)|``, and the
    exponent that ``scaled_integers`` takes from ``max|v|``. Without a gain g is 1.

    A word that is accepted in cycle 0 passes these registers. T is ``log2(L)``, the levels of the
    tree over the lanes.

    =========  =================================================================================
    cycle      what holds the word
    =========  =================================================================================
    2          ``product`` of each multiplier, and the delayed exponents
    3          ``largest`` and ``highest`` of each lane, over all words so far
    3 + T      the root of the tree
    4 + T      ``peaks`` is valid, if the word was the last one
    =========  =================================================================================

    Latency: 4 + T cycles from the last word to the offer of the peaks. Throughput: one word per
    cycle. If the peaks are taken at once, the next vector's ``gained`` is accepted a cycle later,
    and its first word a cycle after that. A vector of n words thus takes n + 5 + T cycles.

    Magnitudes compare as integers of 23 bits, because the exponent stands above the fraction. The
    peak of the exponents ignores the gain: the sum of squares is that of the vector itself.

    Example: with 4 lanes the word (1, −3, 0.5, 2) and the gains (2, 0.5, 1, 1) have the products
    2, −1.5, 0.5 and 2. The largest magnitude is 2. The largest stored exponent is that of −3, 128.

    Corner cases:

    - A vector of zeros has the peaks 0 and 0.
    - Lanes behind the end of the vector must hold zeros, because they count like the others.
    - A word waits for its gain. A pause in either stream only delays the peaks.
    - Peaks that are not taken hold up the next vector.
    - A product that is too large counts as the largest element. The normalizer computes it again,
      and raises its ``overflow``.
    - A reset drops the vector and its peaks.

    Parameters
    ----------
    config : configuration of the core; L is ``vector_lanes``

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    gained : In(stream of 1 bit); whether the vector has a gain, for each vector that is tracked;
        accepted after the peaks of the vector before
    words : In(stream of ``vector_write``); ready depends on the valid of ``gains``; only
        ``elements`` and ``last`` are used
    gains : In(stream of ``vector_word``); one word for each of ``words``, for vectors with a gain;
        ready only while a word is accepted
    peaks : Out(stream of ``PEAKS``)
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "gained": In(stream.Signature(1)),
                "words": In(stream.Signature(vector_write(config))),
                "gains": In(stream.Signature(vector_word(config))),
                "peaks": Out(stream.Signature(PEAKS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._config.vector_lanes
        active, gained, ending = Signal(), Signal(), Signal()
        taken = Signal()
        m.d.comb += [
            self.gained.ready.eq(~active),
            self.words.ready.eq(active & ~ending & (self.gains.valid | ~gained)),
            taken.eq(self.words.valid & self.words.ready),
            self.gains.ready.eq(taken & gained),
        ]
        with m.If(self.gained.valid & self.gained.ready):
            m.d.sync += [active.eq(1), gained.eq(self.gained.p)]
        # Behind the last word, nothing is accepted until the peaks are taken.
        with m.If(taken):
            m.d.sync += ending.eq(self.words.p.last)
        multiplied = delay(m, Cat(taken, taken & self.words.p.last), ElementMultiplier.LATENCY)
        peaks = []
        for lane in range(lanes):
            m.submodules[f"multiplier{lane}"] = multiplier = ElementMultiplier()
            element = self.words.p.elements[lane]
            m.d.comb += [
                multiplier.a.eq(element),
                Value.cast(multiplier.b).eq(
                    Mux(gained, Value.cast(self.gains.p[lane]), constant(1.0))
                ),
            ]
            exponent = delay(m, element.exponent, ElementMultiplier.LATENCY, reset_less=True)
            # |v · g| without its sign bit: exponent and fraction, which compare as one number.
            magnitude = Value.cast(multiplier.product)[:-1]
            largest, highest = Signal(len(magnitude)), Signal(8)
            with m.If(multiplied[0]):
                m.d.sync += [
                    largest.eq(larger(magnitude, largest)),
                    highest.eq(larger(exponent, highest)),
                ]
            with m.If(self.peaks.valid & self.peaks.ready):
                m.d.sync += [largest.eq(0), highest.eq(0)]
            peaks.append((largest, highest))
        largest, exponent = (tree(m, lane, larger) for lane in zip(*peaks, strict=True))
        # The end of the vector takes the path of its last word: a lane's register, then the tree.
        ended = delay(m, multiplied[1], 1 + tree_latency(lanes))
        m.d.comb += [
            Value.cast(self.peaks.p.largest).eq(largest),
            self.peaks.p.exponent.eq(exponent),
        ]
        with m.If(ended[0]):
            m.d.sync += self.peaks.valid.eq(1)
        with m.Elif(self.peaks.ready):
            m.d.sync += self.peaks.valid.eq(0)
            with m.If(self.peaks.valid):
                m.d.sync += [active.eq(0), ending.eq(0)]
        return m
