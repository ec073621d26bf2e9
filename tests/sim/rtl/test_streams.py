# amaranth: UnusedElaboratable=no
"""Streams of a small component, played from arrays."""

import re

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from trilith.sim.rtl.streams import run_streams
from trilith.sim.tools.errors import SimulationError


class Inverter(wiring.Component):
    """Gives each byte with all bits inverted, in the same cycle, and counts them."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        taken = Signal(8)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += taken.eq(taken + 1)
        m.d.comb += [
            self.o.payload.eq(~self.i.payload),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        return m


BEATS = np.arange(5, dtype=np.uint8)[:, np.newaxis]


def test_beats_pass_in_order():
    run = run_streams(Inverter(), {"i": BEATS}, {"o": 5})
    assert run.beats["o"].tolist() == (~BEATS).tolist()
    assert run.cycles["i"].tolist() == run.cycles["o"].tolist() == [*range(5)]


@pytest.mark.parametrize("port", ["i", "o"])
def test_pauses_come_before_their_beats(port):
    run = run_streams(Inverter(), {"i": BEATS}, {"o": 5}, pauses={port: np.array([2, 0, 1])})
    assert run.beats["o"].tolist() == (~BEATS).tolist()
    assert run.cycles["o"].tolist() == [2, 3, 5, 8, 9]


@pytest.mark.parametrize(
    ("count", "limit", "message"),
    [
        (5, 3, "i took 3 of 5 beats in 3 cycles"),
        (6, 9, "o gave 5 of 6 beats in 9 cycles"),
    ],
)
def test_streams_that_do_not_end_are_told(count, limit, message):
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        run_streams(Inverter(), {"i": BEATS}, {"o": count}, limit=limit)


def test_ports_must_be_streams():
    class Wire(wiring.Component):
        a: In(1)

    with pytest.raises(TypeError, match=r"^each port must be a stream, but a is "):
        run_streams(Wire(), {}, {})
