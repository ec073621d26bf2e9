"""Rows of the head that come as weight beats: chunks for the attention, apart from the engine's."""

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..gearbox import Gearbox
from .config import TokenConfig, check_core_config
from .dots import byte_row

__all__ = ["HeadRows"]


class HeadRows(wiring.Component):
    """Cuts the weight beats of the head into chunks, and passes all other beats and chunks.

    The stream of weights has the beats of all products, then those of the head. With ``on`` beats
    are bytes of the head's rows, and become chunks of A = ``attention_lanes`` bytes. Without it
    beats go to the engine, and chunks come from memory.

    Latency: 1 cycle from the beat with the last byte of a chunk to the chunk; none for what is
    passed. Throughput: with ``on`` a chunk per cycle if a beat has at least A bytes, else a beat
    per cycle.

    Example: beats of 20 bytes and A = 64. Beats that come in cycles 0 to 3 give a chunk in cycle 4,
    and 16 of their bytes stay for the next one. 157 rows of a chunk are 10,048 bytes in 503 beats,
    whose last 12 bytes are zeros.

    - Last beat: bytes behind the last row stay until ``on`` falls, and are dropped then. A chunk of
      them may be offered; the attention takes none.
    - Change of ``on``: it must not rise before the engine has taken its last beat, nor fall before
      the attention has taken the last row.
    - Stalls: if ``rows`` waits, less than a chunk and a beat are kept.
    - Reset: bytes that are kept are dropped.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    on : In(1); beats are rows of the head
    weights : In(stream of beats of ``weight_bytes``); ready depends on the ready of ``rows`` and of
        ``engine``
    memory : In(stream of ``byte_row``); chunks from memory
    engine : Out(stream of beats); those of the products
    rows : Out(stream of ``byte_row``)
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        beats = stream.Signature(8 * config.engine.weight_bytes)
        rows = stream.Signature(byte_row(config))
        super().__init__(
            {
                "on": In(1),
                "weights": In(beats),
                "memory": In(rows),
                "engine": Out(beats),
                "rows": Out(rows),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chunks = chunks = Gearbox(
            in_bytes=self._config.engine.weight_bytes, out_bytes=self._config.attention_lanes
        )
        m.d.comb += [
            self.engine.p.eq(self.weights.p),
            self.engine.valid.eq(self.weights.valid & ~self.on),
            self.weights.ready.eq(Mux(self.on, chunks.i.ready, self.engine.ready)),
            Value.cast(chunks.i.p.data).eq(self.weights.p),
            chunks.i.p.count.eq(self._config.engine.weight_bytes // chunks.unit_bytes),
            chunks.i.valid.eq(self.weights.valid & self.on),
            # A piece that is offered is not cleared: it leaves.
            chunks.clear.eq(~self.on),
            chunks.o.ready.eq(self.rows.ready | ~self.on),
            Value.cast(self.rows.p).eq(
                Mux(self.on, Value.cast(chunks.o.p.data), Value.cast(self.memory.p))
            ),
            self.rows.valid.eq(Mux(self.on, chunks.o.valid, self.memory.valid)),
            self.memory.ready.eq(self.rows.ready & ~self.on),
        ]
        return m
