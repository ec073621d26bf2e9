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

__all__ = ["ScoreScaler", "logit_shape", "score_shape", "segment_elements"]


def segment_elements(config: TokenConfig) -> data.ArrayLayout:
    """Layout of an element for each segment: scores or scales of positions that follow."""
    return data.ArrayLayout(ELEMENT, config.segments)


def score_shape(config: TokenConfig) -> data.StructLayout:
    """Layout of scores: ``dot_sum`` with elements instead of the integers."""
    fields = {name: field.shape for name, field in dot_sum(config)}
    return data.StructLayout(fields | {"values": segment_elements(config)})


def logit_shape() -> data.StructLayout:
    """Layout of a logit: its value, an element, and whether it is the last one."""
    return data.StructLayout({"value": ELEMENT, "last": 1})


class ScoreScaler(wiring.Component):
    """Scales dot products by a factor of the query and a scale of each row.

    The golden function is ``round(round(sum) · round(factor · scale))``, as in ``attend`` and for
    the logits of ``CoreModel.forward``. The G segments of a chunk are scaled side by side.

    Dot products and the scales of their rows are used in cycle 0.

    ==========  ==================================================================================
    cycle       registers
    ==========  ==================================================================================
    1           magnitudes of the sums; exact products of factor and scales
    2           ``round(sum)``; ``round(factor · scale)``
    3           exact products of both
    4           rounded products, offered at ``scores``
    ==========  ==================================================================================

    Latency: ``LATENCY`` = 4 cycles. Throughput: scores of a chunk for one query per cycle.

    Example: the sum 12,000, the factor 2⁻⁷ and the scale 0.5 give the common factor 2⁻⁸ and the
    score 46.875, without a rounding.

    - Zero: a sum or a scale of 0 gives a score of +0.
    - Largest values: a score that is too large becomes the largest element, and sets ``overflow``.
      So does a common factor that is too large.
    - Segments without a row: their scores are undefined, and set no ``overflow``.
    - Stalls: while scores are not taken, all stages keep their state. Dot products without the
      scales of their rows wait. Scales without dot products wait too.
    - Shared rows: all queries of a chunk use its scales, which the dot products with ``row_end``
      take.
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
    vector : Out; number of the query of the dot products at ``sums``
    factor : In(element); factor of this query, in the same cycle
    sums : In(stream of ``dot_sum``); ready depends on its valid and that of ``scales``
    scales : In(stream of ``segment_elements``); for each chunk; ready depends on ``sums``, and not
        on its valid
    scores : Out(stream of ``score_shape``); in the order of ``sums``
    overflow : Out(1); a score that is offered, or a factor on its way, was too large; high until
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
                "scales": In(stream.Signature(segment_elements(config))),
                "scores": Out(stream.Signature(score_shape(config))),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Join both streams, convert and multiply; the flags of dot products travel beside them."""
        m = Module()
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        taken = Signal()
        sums, out = self.sums.p, self.scores.p
        flags = Cat(taken, sums.others, sums.vector, sums.row_end, sums.last)
        later = delay(pipeline, flags, self.LATENCY)
        # Fields in the order of ``flags``: the lowest one is ``valid``, which a reset clears.
        m.d.comb += [
            taken.eq(self.sums.valid & self.scales.valid),
            self.sums.ready.eq(taken & advance),
            # It does not depend on their valid: the path from there to the memory port is long.
            self.scales.ready.eq(self.sums.valid & advance & sums.row_end),
            self.vector.eq(sums.vector),
            Cat(self.scores.valid, out.others, out.vector, out.row_end, out.last).eq(later),
            advance.eq(self.scores.ready | ~self.scores.valid),
        ]
        multiplied = delay(pipeline, Cat(taken, sums.others), ElementMultiplier.LATENCY)
        overflows = []
        for segment in range(self._config.segments):
            # A sum of int8 products is far below the largest element: its conversion never
            # overflows. round(factor · scale) takes its two cycles, so that neither one waits.
            value = sums.values[segment]
            pipeline.submodules += [
                converter := IntegerConverter(width=len(value)),
                factor := ElementMultiplier(),
                product := ElementMultiplier(),
            ]
            m.d.comb += [
                converter.integer.eq(value),
                factor.a.eq(self.factor),
                factor.b.eq(self.scales.p[segment]),
                product.a.eq(converter.element),
                product.b.eq(factor.product),
                out.values[segment].eq(product.product),
            ]
            offered, way = self.scores.valid, multiplied[0]
            if segment:
                offered, way = offered & out.others[segment - 1], way & multiplied[segment]
            overflows += [product.overflow & offered, factor.overflow & way]
        m.d.comb += self.overflow.eq(Cat(overflows).any())
        return m
