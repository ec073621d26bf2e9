"""Rows of bytes, filled with zeros to whole rows of memory."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config

__all__ = ["RowPadder", "byte_piece"]


def byte_piece(config: TokenConfig) -> data.StructLayout:
    """Layout of L signed bytes of a row.

    Fields
    ------
    values : the bytes, the first one lowest
    last : they end the row
    """
    values = data.ArrayLayout(signed(8), config.vector_lanes)
    return data.StructLayout({"values": values, "last": 1})


class RowPadder(wiring.Component):
    """Fills each row with zeros to a multiple of ``TokenConfig.cache_row_bytes``.

    Rows of the cache take whole words, and the dot products read them in whole segments. Zeros add
    nothing to a dot product.

    Latency: 0; data and handshake pass in the same cycle. Throughput: one piece of L bytes per
    cycle. With U = ``cache_row_bytes / L``, a row of n pieces leaves as ``ceil(n / U) · U`` pieces.

    Example: L = 4 and rows of 64 bytes have U = 16. A row of 40 bytes is 10 pieces. The next 6
    cycles give pieces of zeros, and no input is taken. The last one has ``last``.

    Corner cases:

    - A row of n · U pieces passes unchanged, without a cycle between it and the next one.
    - A row is at least one piece. A row without bytes does not exist.
    - Pieces of zeros wait like others while the output is not ready.
    - A reset in the middle of a row forgets the place: the next piece begins a new row.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    i : In(stream of ``byte_piece``); ready depends on the ready of ``o``; not ready during zeros
    o : Out(stream of ``byte_piece``); ``last`` ends the row with its zeros
    filling : Out(1); zeros are offered; depends on registers alone
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "i": In(stream.Signature(byte_piece(config))),
                "o": Out(stream.Signature(byte_piece(config))),
                "filling": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pieces = self._config.cache_row_bytes // self._config.vector_lanes
        place, filling = Signal(range(pieces)), self.filling
        # U is 4 or more, because a word of memory has at least 4 bytes for each vector lane.
        row_end = place == pieces - 1
        m.d.comb += [
            Value.cast(self.o.p.values).eq(Mux(filling, 0, Value.cast(self.i.p.values))),
            self.o.p.last.eq(row_end & (filling | self.i.p.last)),
            self.o.valid.eq(filling | self.i.valid),
            self.i.ready.eq(self.o.ready & ~filling),
        ]
        # Zeros follow the last piece unless it falls on the last place.
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                place.eq(Mux(row_end, 0, place + 1)),
                filling.eq((filling | self.i.p.last) & ~row_end),
            ]
        return m
