"""Conversion of a stream of pieces of one size to pieces of another size."""

from math import gcd

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..golden.checks import check_integer

__all__ = ["Gearbox"]


class Gearbox(wiring.Component):
    """Gearbox: turns pieces of ``in_bytes`` bytes into pieces of ``out_bytes`` bytes.

    Bytes move in units of ``unit_bytes``, by default the greatest common divisor of both sizes. An
    input piece carries ``count`` units in its lowest bytes. All output pieces are full, except for
    the one that ends a packet. A packet ends with ``last``; the next packet begins a new output
    piece. An input piece without units only ends its packet. If no unit waits then, no output piece
    has ``last``.

    With I units in an input piece and O units in an output piece, the gearbox holds up to
    I + O − 1 units. It accepts a piece if fewer than O units stay after the output of the cycle.
    After the end of a packet it accepts the next one only if no unit stays. Example: 8 to 20 bytes
    have units of 4 bytes, so that I = 2 and O = 5. Pieces that are accepted in cycles 0 to 2 give
    an output piece in cycle 3.

    Latency: 1 cycle from the last byte of an output piece to its offer. Throughput: one input piece
    per cycle if ``in_bytes <= out_bytes``, else one output piece per cycle, if the other side has
    no gaps.

    Parameters
    ----------
    in_bytes, out_bytes : 1 or more; sizes of a piece
    unit_bytes : bytes that always stay together; must divide both sizes

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is less than 1, or ``unit_bytes`` does not divide both.

    Members
    -------
    i : In(stream of ``data``, ``count`` and ``last``); ready depends on ``clear`` and on the ready
        of ``o`` in the same cycle
    o : Out(stream of ``data``, ``count`` and ``last``); depends on registers alone; units from
        ``count`` on are undefined
    clear : In(1); drop everything except for a piece that is offered; ``i`` is not ready meanwhile
    empty : Out(1); the gearbox holds no byte
    """

    def __init__(self, *, in_bytes: int, out_bytes: int, unit_bytes: int | None = None) -> None:
        in_bytes = check_integer("in_bytes", in_bytes, 1)
        out_bytes = check_integer("out_bytes", out_bytes, 1)
        common = gcd(in_bytes, out_bytes)
        self._unit = check_integer("unit_bytes", common if unit_bytes is None else unit_bytes, 1)
        if common % self._unit:
            raise ValueError(
                f"unit_bytes must divide in_bytes and out_bytes, {in_bytes} and {out_bytes}, "
                f"not be {unit_bytes}"
            )
        self._in = in_bytes // self._unit
        self._out = out_bytes // self._unit
        super().__init__(
            {
                "i": In(stream.Signature(self._shape(self._in))),
                "o": Out(stream.Signature(self._shape(self._out))),
                "clear": In(1),
                "empty": Out(1),
            }
        )

    @property
    def unit_bytes(self) -> int:
        """Number of bytes that always stay together."""
        return self._unit

    def _shape(self, units: int) -> data.StructLayout:
        """Layout of a piece of ``units`` units."""
        return data.StructLayout(
            {
                "data": data.ArrayLayout(8 * self._unit, units),
                "count": range(units + 1),
                "last": 1,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # An input piece always fits if the gearbox holds less than an output piece.
        places = self._in + self._out - 1
        held = [Signal(8 * self._unit, name=f"held{i}", reset_less=True) for i in range(places)]
        level = Signal(range(places + 1))
        ended = Signal()  # The bytes held are the end of a packet.
        full = Signal()
        pop = Signal()
        push = Signal()
        # Units that stay if there is an output, and units that are held after the output of this
        # cycle, before its input. Whether a piece fits is known for both cases before it is known
        # which one it is: the ready of ``o`` comes late.
        rest, after = Signal.like(level), Signal.like(level)

        def fits(units: Signal) -> Value:
            return Mux(ended, units == 0, units < self._out)

        m.d.comb += [
            full.eq(level >= self._out),
            rest.eq(Mux(full, (level - self._out)[: len(level)], 0)),
            self.o.valid.eq(full | (ended & (level != 0))),
            self.o.p.data.eq(Cat(held[: self._out])),
            self.o.p.count.eq(Mux(full, self._out, level)),
            self.o.p.last.eq(ended & (level <= self._out)),
            pop.eq(self.o.valid & self.o.ready),
            after.eq(Mux(pop, rest, level)),
            self.i.ready.eq(Mux(pop, fits(rest), fits(level)) & ~self.clear),
            push.eq(self.i.valid & self.i.ready),
            self.empty.eq(level == 0),
        ]
        with m.If(pop):
            for place in range(places - self._out):
                m.d.sync += held[place].eq(held[place + self._out])
        # New units follow those that stay: one multiplexer input for each place they may start at.
        with m.If(push):
            with m.Switch(after):
                for first in range(self._out):
                    with m.Case(first) if first < self._out - 1 else m.Default():
                        m.d.sync += Cat(held[first : first + self._in]).eq(self.i.p.data)
        m.d.sync += level.eq(after + Mux(push, self.i.p.count, 0))
        with m.If(push):
            m.d.sync += ended.eq(self.i.p.last)
        with m.If(self.clear):
            # An offered piece must stay as it is. Only the bytes behind it are dropped, and a piece
            # that ends a packet still ends it.
            m.d.sync += level.eq(Mux(pop | ~self.o.valid, 0, self.o.p.count))
            with m.If(~self.o.p.last):
                m.d.sync += ended.eq(0)
        return m
