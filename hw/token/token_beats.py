"""Result beats of the tokens of a pass, kept until they are used up."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.results import results_shape
from .config import TokenConfig, check_core_config
from .tokens import token_number

__all__ = ["TokenBeats"]


class TokenBeats(wiring.Component):
    """Keeps a result beat of each token, so that its user can take parts of them in turn.

    The engine delivers the results of some rows as a beat for each token. The user wants the first
    rows of all tokens, then the next rows of all tokens.

    Latency: 1 cycle from a beat to its offer. Throughput: a beat per cycle, if the user is done
    with the beat of its token; a place is free in the cycle after ``o`` is taken.

    Example: 4 tokens, whose beats come in cycles 0 to 3, with two pieces each. The pieces of token
    0 are used in cycles 1 and 5, where its beat is taken, and those of token 3 in cycles 4 and 8.
    The next beat of token 0 is accepted in cycle 6.

    - Stall: beats wait as long as the user does not take them.
    - Fewer tokens: with ``others`` below T − 1 the last places stay empty.
    - Reset: all beats are dropped.

    Parameters
    ----------
    config : configuration of the core, with T > 1

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    i : In(stream of ``results_shape``); beats of tokens 0 to ``others``, again and again
    enable : In(1); ``others`` counts, and beats are accepted
    others : In; tokens behind the first one; it changes only while no beat is kept
    token : In; token whose beat is wanted
    o : Out(stream of ``results_shape``); the beat of ``token``; valid and data depend on ``token``
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        results, token = stream.Signature(results_shape(config.engine)), token_number(config)
        super().__init__(
            {
                "i": In(results),
                "enable": In(1),
                "others": In(token),
                "token": In(token),
                "o": Out(results),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tokens = self._config.tokens
        beats = Array(
            Signal(self.i.p.shape(), name=f"beat{token}", reset_less=True)
            for token in range(tokens)
        )
        kept, place = Signal(tokens), Signal.like(self.token)
        m.d.comb += [
            self.i.ready.eq(self.enable & ~kept.bit_select(place, 1)),
            self.o.p.eq(beats[self.token].as_value()),
            self.o.valid.eq(kept.bit_select(self.token, 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += kept.bit_select(self.token, 1).eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                kept.bit_select(place, 1).eq(1),
                place.eq(Mux(place == self.others, 0, place + 1)),
            ]
            for token in range(tokens):
                with m.If(place == token):
                    m.d.sync += beats[token].eq(self.i.p)
        return m
