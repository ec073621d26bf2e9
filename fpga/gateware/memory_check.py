"""Checksum of memory words, computed on the board."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ...hw.token.memory_port import BURST
from .memory_arbiter import client_port

__all__ = ["MemoryChecker"]


class MemoryChecker(wiring.Component):
    """Reads memory words, and computes the CRC-32 of their bytes, which equals that of zlib.

    One burst of up to 16 words is under way at a time. A word is taken while the last byte of the
    word before enters the CRC.

    Latency: for w words of b bytes ``w · b + 4`` cycles from ``start`` to ``done``, if a word comes
    in the cycle after its request; 1 cycle without words. A later word of a burst delays the end,
    and so does a first word that comes more than b cycles late. Throughput: a byte per cycle. A
    UART is slower by far, so that the CRC has a small circuit.

    Example: 4 words of 16 bytes take 68 cycles.

    Parameters
    ----------
    word_bits : 32, 64, 128, 256 or 512; bits of a word
    address_bits : 12 to 31; bits of a byte address: the memory has 2 ** ``address_bits`` bytes

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    start : In(1); begin; not while ``done`` is low
    address : In; byte address of the first word, a multiple of a word's bytes; with ``start``
    words : In; words to read, 0 or more, all of them within the memory; with ``start``
    port : Out(``client_port``); it only reads
    crc : Out(32); the CRC of all words, with ``done``; 0 for none
    done : Out(1); all words have been read
    """

    def __init__(self, *, word_bits: int, address_bits: int) -> None:
        word_bits = check_choice("word_bits", word_bits, (32, 64, 128, 256, 512))
        self._address_bits = check_integer("address_bits", address_bits, 12, 31)
        self._places = (word_bits // 8 - 1).bit_length()
        super().__init__(
            {
                "start": In(1),
                "address": In(address_bits),
                "words": In(address_bits - self._places + 1),
                "port": Out(client_port(word_bits, 32)),
                "crc": Out(32),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Ask for bursts, count their words, and feed the bytes of a word to the CRC."""
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        requests, words = self.port.requests, self.port.read_data
        number = Signal(self._address_bits - self._places, reset_less=True)
        left = Signal.like(self.words)  # Words that are still to come, of all bursts.
        asked = Signal(range(BURST + 1))  # Words that are still to come of the burst.
        size = Signal.like(asked)
        word = Signal.like(words.p.data, reset_less=True)
        bytes_left = Signal(range(len(word) // 8 + 1))
        taken, wants = Signal(), Signal()
        m.d.comb += [
            size.eq(Mux(left < BURST, left, BURST)),
            wants.eq((left != 0) & (asked == 0) & ~requests.valid),
            words.ready.eq((bytes_left <= 1) & (asked != 0)),
            taken.eq(words.valid & words.ready),
            crc.start.eq(self.start),
            crc.data.eq(word[:8]),
            crc.valid.eq(bytes_left != 0),
            self.crc.eq(crc.crc),
            self.done.eq((left == 0) & (bytes_left == 0)),
        ]
        with m.If(self.start):
            m.d.sync += [number.eq(self.address[self._places :]), left.eq(self.words)]
        with m.If(wants):
            m.d.sync += [
                requests.valid.eq(1),
                requests.p.address.eq(Cat(Const(0, self._places), number)),
                requests.p.words.eq(size),
            ]
        with m.If(requests.valid & requests.ready):
            m.d.sync += [
                requests.valid.eq(0),
                asked.eq(requests.p.words),
                number.eq(number + requests.p.words),
            ]
        with m.If(taken):
            m.d.sync += [
                word.eq(words.p.data),
                bytes_left.eq(len(word) // 8),
                left.eq(left - 1),
                asked.eq(asked - 1),
            ]
        with m.Elif(bytes_left != 0):
            m.d.sync += [word.eq(word >> 8), bytes_left.eq(bytes_left - 1)]
        return m
