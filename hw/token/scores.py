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

    The golden function is ``round(round(sum) · round(factor · scale))``, as in ``attend`` and for
    the logits of ``CoreModel.forward``.

    A dot product and the scale of its row are used in cycle 0.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    1           magnitude of the sum; exact product of factor and scale
    2           ``round(sum)``; ``round(factor · scale)``
    3           exact product of both
    4           rounded product, offered at ``scores``
    ==========  ==================================================================================

    Latency: ``LATENCY`` = 4 cycles. Throughput: one score per cycle.

    Example: the sum 12,000, the factor 2⁻⁷ and the scale 0.5 give the common factor 2⁻⁸ and the
    score 46.875, without a rounding.

    - Zero: a sum or a scale of 0 gives a score of +0.
    - Largest values: a score that is too large becomes the largest element, and sets ``overflow``.
      A common factor that is too large is saturated too, but sets nothing by itself.
    - Stalls: while a score is not taken, all stages keep their state. A dot product without the
      scale of its row waits. A scale without a dot product waits too.
    - Shared rows: all queries of a row use one scale, which the dot product with ``row_end`` takes.
    - Reset: it drops the scores under way.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    vector : Out; number of the query of the dot product at ``sums``
    factor : In(element); factor of this query, in the same cycle
    sums : In(stream of ``dot_sum``); ready depends on its valid and that of ``scales``
    scales : In(stream of an element); one for each row
    scores : Out(stream of ``score_shape``); in the order of ``sums``
    overflow : Out(1); the score that is offered, or a factor on its way, was too large; high until
        the pipeline moves on
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
        """Join both streams, convert and multiply; the flags of a dot product travel beside it."""
        m = Module()
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        # A sum of int8 products is far below the largest element: its conversion never overflows.
        width = len(self.sums.p.value)
        pipeline.submodules += [
            converter := IntegerConverter(width=width),
            factor := ElementMultiplier(),
            product := ElementMultiplier(),
        ]
        # round(factor · scale) takes the two cycles of the conversion, so that neither one waits.
        taken = Signal()
        flags = Cat(taken, self.sums.p.vector, self.sums.p.row_end, self.sums.p.last)
        later = delay(pipeline, flags, self.LATENCY)
        multiplied = delay(pipeline, taken, ElementMultiplier.LATENCY)
        # Fields in the order of ``flags``: the lowest one is ``valid``, which a reset clears.
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
            self.overflow.eq(
                (factor.overflow & multiplied) | (product.overflow & self.scores.valid)
            ),
            advance.eq(self.scores.ready | ~self.scores.valid),
        ]
        return m
