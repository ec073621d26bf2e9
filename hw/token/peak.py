"""Largest magnitudes of a vector, as it is written."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT, constant
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scaler import vector_word
from .tokens import is_token, of_token, token_number
from .tree import larger, tree, tree_latency
from .writer import vector_write

__all__ = ["PEAKS", "PeakTracker", "peak_command"]

#: Largest magnitude of the vector times its gain, and the stored exponent of the largest element.
PEAKS = data.StructLayout({"largest": ELEMENT, "exponent": 8})


def peak_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``PeakTracker``.

    Fields
    ------
    gained : the vector has a gain
    first, final : numbers of the first and of the last token that has such a vector
    """
    token = token_number(config)
    return data.StructLayout({"gained": 1, "first": token, "final": token})


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

    With several tokens each has peaks of its own. Words of one place come for all tokens of a
    command in turn, and share a word of gains. The tree then comes before the registers, so that
    the peaks are valid in cycle 3 + T. They wait until all words of the command have come.

    Corner cases:

    - A vector of zeros has the peaks 0 and 0.
    - Lanes behind the end of the vector must hold zeros, because they count like the others.
    - A word waits for its gain. A pause in either stream only delays the peaks.
    - Peaks that are not taken hold up the next vector of the same token.
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
    commands : In(stream of ``peak_command``); for each vector that is tracked; accepted after the
        peaks of the vector before
    token : In; number of the token whose peaks are offered
    drop : In(1); with several tokens: drop the peaks of all vectors that have come as a whole
    words : In(stream of ``vector_write``); ready depends on the valid of ``gains``; only
        ``elements``, ``last`` and the token's number in ``address`` are used
    gains : In(stream of ``vector_word``); one word for each of ``words``, for vectors with a gain;
        ready only while a word is accepted
    peaks : Out(stream of ``PEAKS``)
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "commands": In(stream.Signature(peak_command(config))),
                "token": In(token_number(config)),
                "drop": In(1),
                "words": In(stream.Signature(vector_write(config))),
                "gains": In(stream.Signature(vector_word(config))),
                "peaks": Out(stream.Signature(PEAKS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Accept words with their gains, and multiply them; the other methods find the largest."""
        m = Module()
        tokens = self._config.tokens
        active, ending = Signal(), Signal()
        command = Signal(peak_command(self._config))
        taken = Signal()
        token = self.words.p.address[: len(self.token)]
        m.d.comb += [
            self.words.ready.eq(active & ~ending & (self.gains.valid | ~command.gained)),
            taken.eq(self.words.valid & self.words.ready),
            self.gains.ready.eq(is_token(taken & command.gained, token, command.final)),
        ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [active.eq(1), command.eq(self.commands.p)]
        last = taken & self.words.p.last
        multiplied = delay(m, Cat(taken, last, token), ElementMultiplier.LATENCY)
        lanes = []
        for lane in range(self._config.vector_lanes):
            m.submodules[f"multiplier{lane}"] = multiplier = ElementMultiplier()
            element = self.words.p.elements[lane]
            m.d.comb += [
                multiplier.a.eq(element),
                Value.cast(multiplier.b).eq(
                    Mux(command.gained, Value.cast(self.gains.p[lane]), constant(1.0))
                ),
            ]
            exponent = delay(m, element.exponent, ElementMultiplier.LATENCY, reset_less=True)
            # |v · g| without its sign bit: exponent and fraction, which compare as one number.
            lanes.append((Value.cast(multiplier.product)[:-1], exponent))
        if tokens == 1:
            self._of_one(m, multiplied, lanes)
            m.d.comb += self.commands.ready.eq(~active)
            # Behind the last word, nothing is accepted until the peaks are taken.
            with m.If(taken):
                m.d.sync += ending.eq(self.words.p.last)
            with m.If(self.peaks.valid & self.peaks.ready):
                m.d.sync += [active.eq(0), ending.eq(0)]
        else:
            waits = self._of_several(m, multiplied, lanes, active)
            m.d.comb += self.commands.ready.eq(~active & ~waits)
            with m.If(is_token(last, token, command.final)):
                m.d.sync += active.eq(0)
        return m

    def _of_one(self, m: Module, words: Value, lanes: list[tuple[Value, Value]]) -> None:
        """Find the peaks of a vector in each lane, and then those of all lanes.

        Parameters
        ----------
        m : module that gets the logic
        words : whether there are products of a word, and whether it is the last one
        lanes : magnitude and exponent of each lane
        """
        given = self.peaks.valid & self.peaks.ready
        peaks = []
        for magnitude, exponent in lanes:
            largest, highest = Signal(len(magnitude)), Signal(8)
            with m.If(words[0]):
                m.d.sync += [
                    largest.eq(larger(magnitude, largest)),
                    highest.eq(larger(exponent, highest)),
                ]
            with m.If(given):
                m.d.sync += [largest.eq(0), highest.eq(0)]
            peaks.append((largest, highest))
        largest, exponent = (tree(m, lane, larger) for lane in zip(*peaks, strict=True))
        # The end of the vector takes the path of its last word: a lane's register, then the tree.
        ended = delay(m, words[1], 1 + tree_latency(len(lanes)))
        m.d.comb += [
            Value.cast(self.peaks.p.largest).eq(largest),
            self.peaks.p.exponent.eq(exponent),
        ]
        with m.If(ended[0]):
            m.d.sync += self.peaks.valid.eq(1)
        with m.Elif(self.peaks.ready):
            m.d.sync += self.peaks.valid.eq(0)

    def _of_several(
        self, m: Module, words: Value, lanes: list[tuple[Value, Value]], active: Value
    ) -> Value:
        """Find the peaks of each word over the lanes, and keep those of each token.

        Parameters
        ----------
        m : module that gets the logic
        words : whether there are products of a word, whether it is the last one, and its token
        lanes : magnitude and exponent of each lane
        active : words are to come

        Returns
        -------
        Whether the command that is offered has a token whose peaks are not taken
        """
        magnitude, exponent = (tree(m, lane, larger) for lane in zip(*lanes, strict=True))
        now = delay(m, words, tree_latency(len(lanes)))
        peaks, done, waits = [], [], []
        for token in range(self._config.tokens):
            mine = Signal(PEAKS, name=f"peaks{token}")
            # ``begun`` lasts from the command, and ``whole`` from the last word.
            begun, whole = Signal(name=f"begun{token}"), Signal(name=f"whole{token}")
            chosen = (self.commands.p.first <= token) & (self.commands.p.final >= token)
            with m.If(self.commands.valid & self.commands.ready & chosen):
                m.d.sync += begun.eq(1)
            with m.If(now[0] & (now[2:] == token)):
                m.d.sync += [
                    Value.cast(mine.largest).eq(larger(magnitude, Value.cast(mine.largest))),
                    mine.exponent.eq(larger(exponent, mine.exponent)),
                    whole.eq(now[1]),
                ]
            taken = self.peaks.valid & self.peaks.ready & (self.token == token)
            with m.If(whole & (self.drop | taken)):
                m.d.sync += [mine.eq(0), begun.eq(0), whole.eq(0)]
            peaks.append(mine)
            done.append(whole)
            waits.append(begun & chosen)
        m.d.comb += [
            self.peaks.p.eq(of_token(peaks, self.token)),
            # The vector of the first token may be whole while the others are written.
            self.peaks.valid.eq(of_token(done, self.token) & ~active),
        ]
        return Cat(waits).any()
