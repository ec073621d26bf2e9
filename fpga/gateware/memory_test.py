"""Test of the external memory after power-up: data lines, address lines, capacity."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import Out

from ...golden.checks import check_choice, check_integer
from .memory_arbiter import client_port

__all__ = ["MemoryTester"]


class _State(enum.Enum, shape=2):
    """States of the tester: it asks, gives or takes a word, and is done."""

    ASK = 0
    GIVE = 1
    TAKE = 2
    DONE = 3


class MemoryTester(wiring.Component):
    """Tests a memory once after a reset, through a client's port.

    A pass writes a pattern to each test place, and then reads all of them back. Test places are the
    word 0 and the words whose number is a power of two. An address line that is stuck, missing or
    joined to another makes two of them share a word. Each pattern has a second pass, in which it is
    inverted, so that each data line carries both levels at each place.

    ========  ====================================================================================
    pattern   a word
    ========  ====================================================================================
    0         the number of the place plus 1 in each byte: all places differ
    1 + n     bit j of the word is bit n of j: two data lines that are joined differ in one pattern
    ========  ====================================================================================

    Latency: 2 · (log2(W) + 1) · B times a write and a read, with W bits of a word and B test
    places. Example: 2 million words of 128 bits in an SDRAM with 16 data bits have 22 places, and
    take about 15,000 cycles. Throughput: one test for each reset.

    - Capacity: a memory with fewer words than by design has fewer address lines, so that the test
      fails.

    Parameters
    ----------
    word_bits : 32, 64, 128, 256 or 512; bits of a word
    address_bits : bits of a byte address, up to 64
    words : 2 or more, a power of two; words of the memory by design

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    memory : Out(``client_port``); no request is left when ``done`` is high
    done : Out(1); the test is over
    tested : Out; with ``done``, bytes of the memory, or 0 if a word was wrong
    """

    def __init__(self, *, word_bits: int, address_bits: int, words: int) -> None:
        self._word_bits = check_choice("word_bits", word_bits, (32, 64, 128, 256, 512))
        self._places = (word_bits // 8).bit_length() - 1
        check_integer("address_bits", address_bits, self._places + 1, 64)
        self._words = check_integer("words", words, 2, 1 << address_bits - self._places)
        if words & (words - 1):
            raise ValueError(f"words must be a power of two, not {words}")
        super().__init__(
            {
                "memory": Out(client_port(word_bits, address_bits)),
                "done": Out(1),
                "tested": Out(range(word_bits // 8 * words + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        requests, given, taken = self.memory.requests, self.memory.write_data, self.memory.read_data
        state, writes, failed = Signal(_State), Signal(init=1), Signal()
        place = Signal(range(self._words.bit_length()))
        number = Signal(range(self._words))  # Number of the word: 0, 1, 2, 4 and so on.
        index_bits = self._word_bits.bit_length() - 1
        inverted, pattern = Signal(), Signal(range(index_bits + 1))
        word, moves = Signal(self._word_bits), Signal()
        with m.Switch(pattern):
            for bit in range(index_bits):
                with m.Case(1 + bit):
                    lines = (line >> bit & 1 for line in range(self._word_bits))
                    m.d.comb += word.eq(Cat(Const(line, 1) for line in lines))
            with m.Default():
                m.d.comb += word.eq((place + 1)[:8].replicate(self._word_bits // 8))
        expected = word ^ inverted.replicate(self._word_bits)
        m.d.comb += [
            requests.valid.eq(state == _State.ASK),
            requests.p.address.eq(number << self._places),
            requests.p.words.eq(1),
            requests.p.write.eq(writes),
            given.valid.eq(state == _State.GIVE),
            given.p.data.eq(expected),
            given.p.strobes.eq(~0),
            taken.ready.eq(state == _State.TAKE),
            moves.eq((given.valid & given.ready) | (taken.ready & taken.valid)),
            self.done.eq(state == _State.DONE),
            self.tested.eq(Mux(self.done & ~failed, self._word_bits // 8 * self._words, 0)),
        ]
        with m.If(requests.valid & requests.ready):
            m.d.sync += state.eq(Mux(writes, _State.GIVE, _State.TAKE))
        with m.If(taken.ready & taken.valid & ((taken.p.data != expected) | taken.p.error)):
            m.d.sync += failed.eq(1)
        with m.If(moves):
            m.d.sync += [
                state.eq(_State.ASK),
                place.eq(place + 1),
                number.eq(Mux(place == 0, 1, number << 1)),
            ]
            with m.If(place == self._words.bit_length() - 1):
                m.d.sync += [place.eq(0), number.eq(0), writes.eq(~writes)]
                with m.If(~writes):
                    m.d.sync += [inverted.eq(~inverted), pattern.eq(pattern + inverted)]
                    with m.If(inverted & (pattern == index_bits)):
                        m.d.sync += state.eq(_State.DONE)
        return m
