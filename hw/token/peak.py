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

    Latency: ``3 + log2(L)`` cycles from the last word to the peaks: 2 for the product, 1 for the
    largest in each lane, and 1 for each level of the tree over the lanes. Throughput: one word per
    cycle.

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
    words : In(stream of ``vector_write``)
    gains : In(stream of ``vector_word``); one word for each of ``words``, for vectors with a gain
    peaks : Out(stream of ``PEAKS``)
    overflow : Out(1); a product was too large
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "gained": In(stream.Signature(1)),
                "words": In(stream.Signature(vector_write(config))),
                "gains": In(stream.Signature(vector_word(config))),
                "peaks": Out(stream.Signature(PEAKS)),
                "overflow": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last word to the peaks."""
        return 3 + tree_latency(self._config.vector_lanes)

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
        with m.If(taken):
            m.d.sync += ending.eq(self.words.p.last)
        multiplied = delay(m, Cat(taken, taken & self.words.p.last), ElementMultiplier.LATENCY)
        peaks, overflows = [], []
        for lane in range(lanes):
            m.submodules[f"multiplier{lane}"] = multiplier = ElementMultiplier()
            element = self.words.p.elements[lane]
            m.d.comb += [
                multiplier.a.eq(element),
                Value.cast(multiplier.b).eq(
                    Mux(gained, Value.cast(self.gains.p[lane]), constant(1.0))
                ),
            ]
            exponent = delay(m, element.exponent, ElementMultiplier.LATENCY)
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
            overflows.append(multiplier.overflow & multiplied[0])
        largest, exponent = (tree(m, lane, larger) for lane in zip(*peaks, strict=True))
        ended = delay(m, multiplied[1], 1 + tree_latency(lanes))
        m.d.comb += [
            Value.cast(self.peaks.p.largest).eq(largest),
            self.peaks.p.exponent.eq(exponent),
            self.overflow.eq(Cat(overflows).any()),
        ]
        with m.If(ended[0]):
            m.d.sync += self.peaks.valid.eq(1)
        with m.Elif(self.peaks.ready):
            m.d.sync += self.peaks.valid.eq(0)
            with m.If(self.peaks.valid):
                m.d.sync += [active.eq(0), ending.eq(0)]
        return m
