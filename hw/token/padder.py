"""Rows of bytes, filled with zeros to whole rows of memory."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config

__all__ = ["RowPadder", "byte_piece"]


def byte_piece(config: TokenConfig) -> data.StructLayout:
    """Layout of L signed bytes of a row, and whether they end it."""
    values = data.ArrayLayout(signed(8), config.vector_lanes)
    return data.StructLayout({"values": values, "last": 1})


class RowPadder(wiring.Component):
    """Fills each row with zeros to a multiple of ``TokenConfig.row_bytes``.

    Latency: 0. Throughput: one piece of L bytes per cycle.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    i : In(stream of ``byte_piece``)
    o : Out(stream of ``byte_piece``)
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "i": In(stream.Signature(byte_piece(config))),
                "o": Out(stream.Signature(byte_piece(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pieces = self._config.row_bytes // self._config.vector_lanes
        place, filling = Signal(range(max(2, pieces))), Signal()
        row_end = place == pieces - 1
        m.d.comb += [
            Value.cast(self.o.p.values).eq(Mux(filling, 0, Value.cast(self.i.p.values))),
            self.o.p.last.eq(row_end & (filling | self.i.p.last)),
            self.o.valid.eq(filling | self.i.valid),
            self.i.ready.eq(self.o.ready & ~filling),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                place.eq(Mux(row_end, 0, place + 1)),
                filling.eq((filling | self.i.p.last) & ~row_end),
            ]
        return m
