"""Dot products, scaled to elements: scores of attention, and logits."""

from amaranth.hdl import Cat, EnableInserter, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .dots import dot_sum
from .element import ELEMENT
from .multiplier import ElementMultiplier
from .pipeline import delay

__all__ = ["ScoreScaler", "score_shape"]


def score_shape(config: TokenConfig) -> data.StructLayout:
    """Layout of a score: ``dot_sum`` with an element instead of the integer."""
    fields = {name: field.shape for name, field in dot_sum(config)}
    return data.StructLayout(fields | {"value": ELEMENT})


class ScoreScaler(wiring.Component):
    """Scales dot products by a factor of the query and a scale of the row.

    The golden function is ``round(round(sum) · round(factor · scale))``.

    Latency: 4 cycles: 2 for the conversion and the common factor, and 2 for their product.
    Throughput: one score per cycle.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    vector : Out; number of the query of the dot product that is taken
    factor : In(element); factor of this query, in the same cycle
    sums : In(stream of ``dot_sum``)
    scales : In(stream of an element); one for each row
    scores : Out(stream of ``score_shape``)
    overflow : Out(1); a score was too large
    """

    #: Cycles from a dot product to its score.
    LATENCY = IntegerConverter.LATENCY + ElementMultiplier.LATENCY

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "vector": Out(range(config.shared_max)),
                "factor": In(ELEMENT),
                "sums": In(stream.Signature(dot_sum(config))),
                "scales": In(stream.Signature(ELEMENT)),
                "scores": Out(stream.Signature(score_shape(config))),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        width = len(self.sums.p.value)
        pipeline.submodules += [
            converter := IntegerConverter(width=width),
            factor := ElementMultiplier(),
            product := ElementMultiplier(),
        ]
        taken = Signal()
        flags = Cat(taken, self.sums.p.vector, self.sums.p.row_end, self.sums.p.last)
        later = delay(pipeline, flags, self.LATENCY)
        out = self.scores.p
        m.d.comb += [
            taken.eq(self.sums.valid & self.scales.valid),
            self.sums.ready.eq(taken & advance),
            self.scales.ready.eq(taken & advance & self.sums.p.row_end),
            converter.integer.eq(self.sums.p.value),
            self.vector.eq(self.sums.p.vector),
            factor.a.eq(self.factor),
            factor.b.eq(self.scales.p),
            product.a.eq(converter.element),
            product.b.eq(factor.product),
            out.value.eq(product.product),
            Cat(self.scores.valid, out.vector, out.row_end, out.last).eq(later),
            self.overflow.eq(product.overflow & self.scores.valid),
            advance.eq(self.scores.ready | ~self.scores.valid),
        ]
        return m
