"""Channels of AXI4, and the cutting of requests into bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer

__all__ = [
    "BURST_WORDS",
    "BurstCutter",
    "axi_read",
    "axi_write",
    "burst_shape",
    "burst_signals",
    "largest_burst",
]

#: Bits of an address.
ADDRESS_BITS = 64

#: No burst crosses a multiple of so many bytes (ARM IHI 0022, A3.4.1).
PAGE_BYTES = 4096
_PAGE_BITS = 12

#: Legal values for the longest burst, in words.
BURST_WORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

#: Values that never change: bursts of ascending addresses, whole words, normal memory that may be
#: buffered and not cached, data, secure and unprivileged, no exclusive access.
_INCR, _NORMAL_BUFFERABLE = 1, 0b0011


def _address(prefix: str) -> dict[str, wiring.Member]:
    """Members of an address channel, from the manager's side."""
    return {
        f"{prefix}id": Out(1),
        f"{prefix}addr": Out(ADDRESS_BITS),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}lock": Out(1),
        f"{prefix}cache": Out(4),
        f"{prefix}prot": Out(3),
        f"{prefix}qos": Out(4),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def axi_read(bits: int) -> wiring.Signature:
    """Signature of the read channels of AXI4, from the manager's side.

    The names are those of AMBA AXI4 (ARM IHI 0022), in lower case.

    Parameters
    ----------
    bits : width of RDATA, a multiple of 8
    """
    return wiring.Signature(
        {
            **_address("ar"),
            "rid": In(1),
            "rdata": In(bits),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi_write(bits: int) -> wiring.Signature:
    """Signature of the write channels of AXI4, from the manager's side; see ``axi_read``.

    Parameters
    ----------
    bits : width of WDATA, a multiple of 8; WSTRB has one bit for each byte
    """
    return wiring.Signature(
        {
            **_address("aw"),
            "wdata": Out(bits),
            "wstrb": Out(bits // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )


def burst_signals(prefix: str, word_bytes: int) -> dict[str, int]:
    """Signals of an address channel that have the same value in all bursts.

    Parameters
    ----------
    prefix : ``ar`` or ``aw``
    word_bytes : bytes of a bus word
    """
    return {
        f"{prefix}size": word_bytes.bit_length() - 1,
        f"{prefix}burst": _INCR,
        f"{prefix}cache": _NORMAL_BUFFERABLE,
    }


def largest_burst(word_bytes: int, longest: int) -> int:
    """Words of the largest burst: the longest one, or the words of a page of 4 KB if that is less.

    Parameters
    ----------
    word_bytes : bytes of a bus word
    longest : one of ``BURST_WORDS``
    """
    return min(longest, PAGE_BYTES // word_bytes)


def burst_shape(offset_bits: int) -> data.StructLayout:
    """Layout of a burst.

    Fields
    ------
    address : byte address, a multiple of the bytes of a bus word
    length : words, less one: AxLEN
    page : number of the page of 4 KB in which it lies, counted from the base
    write : it writes
    """
    return data.StructLayout(
        {"address": ADDRESS_BITS, "length": 8, "page": offset_bits - _PAGE_BITS, "write": 1}
    )


class BurstCutter(wiring.Component):
    """Cuts requests into bursts that AXI4 allows: no burst crosses a page of 4 KB.

    A burst ends at a multiple of the largest burst's bytes, or where its request ends. The largest
    burst is a power of two and lies within a page, so that this rule is the only one.

    A request is accepted in cycle 0, and its first burst is offered in cycle 2. The others follow
    in each cycle. The next request is accepted when the last burst is offered.

    Latency: 2 cycles. Throughput: one burst per cycle, and one more cycle for each request.
    Example: words of 64 bytes, bursts of 64 words at most, and a request of 70 words at offset
    4,032. Its bursts have 1, 64 and 5 words.

    - No words: a request of 0 words has no burst.
    - ``clear``: it drops requests, and bursts that are not offered. An offered burst stays until it
      is taken, as AXI demands.

    Parameters
    ----------
    word_bytes : 4 to 128, a power of two; bytes of a bus word
    longest : one of ``BURST_WORDS``; words of the longest burst
    offset_bits : 13 to 64; bits of an offset, in bytes
    count_bits : 1 or more; bits of a count of words

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    base : In(64); address of offset 0, a multiple of 4,096; its lowest 12 bits are ignored
    requests : In(stream of ``offset``, ``words`` and ``write``); an offset is a multiple of the
        bytes of a word; ready depends on registers and ``clear``
    bursts : Out(stream of ``burst_shape``); depends on registers alone
    clear : In(1); drop everything that is not offered
    busy : Out(1); a request or a burst is left
    """

    def __init__(self, *, word_bytes: int, longest: int, offset_bits: int, count_bits: int) -> None:
        word_bytes = check_choice("word_bytes", word_bytes, (4, 8, 16, 32, 64, 128))
        longest = check_choice("longest", longest, BURST_WORDS)
        self._offset_bits = check_integer("offset_bits", offset_bits, 13, ADDRESS_BITS)
        self._word_bits = word_bytes.bit_length() - 1
        self._largest = largest_burst(word_bytes, longest)
        count_bits = check_integer("count_bits", count_bits, 1)
        request = data.StructLayout({"offset": offset_bits, "words": count_bits, "write": 1})
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "requests": In(stream.Signature(request)),
                "bursts": Out(stream.Signature(burst_shape(offset_bits))),
                "clear": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        requests, bursts, largest = self.requests, self.bursts, self._largest
        inner_bits = largest.bit_length() - 1  # Bits of a word's number within a largest burst.
        word = Signal(self._offset_bits - self._word_bits)
        left = Signal.like(requests.p.words)
        write, active = Signal(), Signal()
        room, words = Signal(range(largest + 1)), Signal(range(largest + 1))
        ends, cut = Signal(), Signal()
        offset = Signal(self._offset_bits)
        m.d.comb += [
            requests.ready.eq(~active & ~self.clear),
            room.eq(largest - word[:inner_bits]),
            ends.eq(left <= room),
            words.eq(Mux(ends, left, room)),
            cut.eq(active & (~bursts.valid | bursts.ready)),
            offset.eq(word << self._word_bits),
            self.busy.eq(active | bursts.valid),
        ]
        with m.If(bursts.ready):
            m.d.sync += bursts.valid.eq(0)
        with m.If(requests.valid & requests.ready):
            m.d.sync += [
                word.eq(requests.p.offset[self._word_bits :]),
                left.eq(requests.p.words),
                write.eq(requests.p.write),
                active.eq(requests.p.words != 0),
            ]
        with m.If(cut & ~self.clear):
            m.d.sync += [
                bursts.valid.eq(1),
                # The base begins a page, so that the place in a page is that of the offset.
                bursts.p.address.eq(
                    Cat(offset[:_PAGE_BITS], self.base[_PAGE_BITS:] + offset[_PAGE_BITS:])
                ),
                bursts.p.length.eq(words - 1),
                bursts.p.page.eq(offset[_PAGE_BITS:]),
                bursts.p.write.eq(write),
                left.eq(left - words),
                word.eq(word + words),
                active.eq(~ends),
            ]
        with m.If(self.clear):
            m.d.sync += active.eq(0)
        return m
