"""AXI4 masters that read weight beats side by side."""

from functools import reduce
from operator import and_, or_

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ..token.sequencer import fetch_shape
from .full import ADDRESS_BITS, BURST_WORDS, axi_read, largest_burst
from .stream import BUS_BITS
from .weight_reader import AxiWeightReader

__all__ = ["WEIGHT_PORTS", "AxiWeightReaders"]

#: Legal numbers of masters.
WEIGHT_PORTS = (1, 2, 4, 8)


class AxiWeightReaders(wiring.Component):
    """Reads weight beats over several AXI4 masters, each of which reads an equal part of each beat.

    One port of a memory system may be too narrow for the weights. Part p of all beats lies at
    ``base + p · stride``: its beat n is at byte n · ``beat_bytes / ports`` behind this address. The
    parts of a beat wait for each other.

    Latency and throughput: those of ``AxiWeightReader``, with words of all masters in each cycle.

    Example: 4 masters of 128 bits and beats of 64 bytes. Bytes 16 to 31 of each beat come through
    master 1, and a beat comes in every cycle.

    - Errors and ``clear``: those of ``AxiWeightReader``. The masters run at their own pace, and
      ``idle`` is high when all are idle.
    - Requests: all masters take a request in the same cycle, when the last one has room for it.

    Parameters
    ----------
    ports : 1, 2, 4 or 8; number of masters
    beat_bytes : a multiple of ``ports``; bytes of a weight beat
    bus_bits, longest, buffer_words : those of each master, see ``AxiWeightReader``

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    base : In(64); address of part 0, a multiple of 4,096; must not change while a request runs
    stride : In(32); bytes from one part to the next, a multiple of 4,096; likewise
    fetch : In(stream of ``fetch_shape``); depends on registers alone
    beats : Out(stream of a beat); depends on registers alone
    axi0, … : Out(``axi_read``); depends on registers alone
    clear, idle, error : see ``AxiWeightReader``
    """

    def __init__(
        self,
        *,
        ports: int,
        beat_bytes: int,
        bus_bits: int,
        longest: int = 64,
        buffer_words: int = 512,
    ) -> None:
        ports = check_choice("ports", ports, WEIGHT_PORTS)
        check_integer("beat_bytes", beat_bytes, 1)
        if beat_bytes % ports:
            raise ValueError(
                f"beat_bytes must be a multiple of the ports, {ports}, not {beat_bytes}"
            )
        largest = largest_burst(check_choice("bus_bits", bus_bits, BUS_BITS) // 8, longest)
        self._shape = {
            "beat_bytes": beat_bytes // ports,
            "bus_bits": bus_bits,
            "longest": check_choice("longest", longest, BURST_WORDS),
            "buffer_words": check_integer("buffer_words", buffer_words, largest),
        }
        self._ports = ports
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "stride": In(32),
                "fetch": In(stream.Signature(fetch_shape())),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                **{f"axi{port}": Out(axi_read(bus_bits)) for port in range(ports)},
                "clear": In(1),
                "idle": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Give each request to all masters, and join the parts of each beat."""
        m = Module()
        readers = [AxiWeightReader(**self._shape) for _ in range(self._ports)]
        there, room = Signal(), Signal()
        m.d.comb += [
            room.eq(reduce(and_, (one.fetch.ready for one in readers))),
            there.eq(reduce(and_, (one.beats.valid for one in readers))),
            self.fetch.ready.eq(room),
            self.beats.valid.eq(there),
            self.beats.p.eq(Cat(one.beats.p for one in readers)),
            self.idle.eq(reduce(and_, (one.idle for one in readers))),
            self.error.eq(reduce(or_, (one.error for one in readers))),
        ]
        for port, reader in enumerate(readers):
            m.submodules[f"reader{port}"] = reader
            wiring.connect(m, reader.axi, wiring.flipped(getattr(self, f"axi{port}")))
            # Multiples of the stride are sums of shifts, and have a cycle of their own.
            offset = sum(
                (self.stride << bit for bit in range(3) if port >> bit & 1), self.stride[:0]
            )
            base = Signal(ADDRESS_BITS, name=f"base{port}")
            m.d.sync += base.eq(self.base + offset)
            m.d.comb += [
                reader.base.eq(base),
                reader.clear.eq(self.clear),
                reader.fetch.p.eq(self.fetch.p),
                reader.fetch.valid.eq(self.fetch.valid & room),
                reader.beats.ready.eq(self.beats.ready & there),
            ]
        return m
