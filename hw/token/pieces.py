"""Pieces of result beats: what they are, and the walk over those of a vector."""

from dataclasses import dataclass
from typing import Self

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from .config import TokenConfig
from .pipeline import delay
from .tokens import is_token, token_place

__all__ = ["Piece", "Place"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Integers in one stage of the lanes.

    ``ResultScaler._pieces`` describes the piece that enters the lanes. The same piece is described
    again at the adder and behind it, from registers beside the operators.

    Parameters
    ----------
    valid : there is a piece
    count : outputs in the piece; the lanes above have none
    index : number of the piece within its result beat; 0 for bytes
    token : number of its token among those of the command
    first, final : the piece belongs to the first, or to the last, group of its outputs
    last : the piece ends the vector
    """

    valid: Value
    count: Value
    index: Value
    token: Value
    first: Value
    final: Value
    last: Value

    @property
    def place(self) -> Value:
        """Place among the pieces of all tokens."""
        return token_place(self.index, self.token)

    def after(self, m: Module, cycles: int) -> "Piece":
        """Describe the same piece some cycles later.

        Parameters
        ----------
        m : module that gets the registers; they stop when it stops
        cycles : number of registers in a row
        """
        flags = vars(self)
        later = delay(m, Cat(flags.values()), cycles)
        parts, start = {}, 0
        for name, value in flags.items():
            parts[name] = later[start : start + len(value)]
            start += len(value)
        return Piece(**parts)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place of the next piece in its vector.

    Parameters
    ----------
    active : pieces are to come
    index : number of the piece within its result beat
    token : number of its token
    group : group of the result beat, from 1 on
    base : outputs from this result beat on; all groups of some rows come before the next rows
    left : outputs from this piece on; it returns to ``base`` for each group
    in_beat : rows of the beat from this piece on
    """

    active: Signal
    index: Signal
    token: Signal
    group: Signal
    base: Signal
    left: Signal
    in_beat: Signal

    @classmethod
    def of(cls, config: TokenConfig, command: data.View, indices: int) -> Self:
        """Make the registers; a result beat has at most so many pieces or cycles."""
        return cls(
            active=Signal(),
            index=Signal(range(indices)),
            token=Signal.like(command.others),
            group=Signal.like(command.groups),
            base=Signal.like(command.count),
            left=Signal.like(command.count),
            in_beat=Signal(range(config.engine.rows + 1)),
        )

    def start(self, m: Module, config: TokenConfig, count: Value) -> None:
        """Go to the first piece of a vector of ``count`` outputs."""
        m.d.sync += [
            self.active.eq(1),
            self.index.eq(0),
            self.group.eq(1),
            self.in_beat.eq(config.engine.rows),
            self.base.eq(count),
            self.left.eq(count),
        ]

    def step(
        self,
        m: Module,
        config: TokenConfig,
        taken: Value,
        others: Value,
        piece: Piece,
        *,
        beat_end: Value,
    ) -> None:
        """Go to the piece of the next token, or behind the last token to the next outputs.

        Parameters
        ----------
        m : module that gets the logic
        config : configuration of the core
        taken : the piece is taken
        others : tokens behind the first one
        piece : the piece
        beat_end : it ends its result beat
        """
        lanes, rows, in_beat = config.vector_lanes, config.engine.rows, self.in_beat
        rest = Signal.like(self.left)
        m.d.comb += rest.eq(self.left - piece.count)
        if config.tokens > 1:
            with m.If(taken):
                m.d.sync += self.token.eq(Mux(self.token == others, 0, self.token + 1))
        with m.If(is_token(taken, self.token, others)):
            m.d.sync += [self.index.eq(self.index + 1), self.left.eq(rest)]
            m.d.sync += in_beat.eq(Mux(in_beat < lanes, 0, in_beat - lanes))
            with m.If(beat_end):
                m.d.sync += [
                    self.index.eq(0),
                    in_beat.eq(rows),
                    self.group.eq(Mux(piece.final, 1, self.group + 1)),
                    self.left.eq(Mux(piece.final, rest, self.base)),
                ]
                with m.If(piece.final):
                    m.d.sync += [self.base.eq(rest), self.active.eq(rest != 0)]
