"""Weight decoders: logic that turns packed bytes into two select lines per trit."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_flag, check_integer
from ...golden.codes import CODES
from ..config import WeightCode

__all__ = ["BeatDecoder"]

#: Lines ``zero`` and ``negative`` of the trits of a field, and whether the field is illegal.
Decoded = tuple[Sequence[Value], Sequence[Value], Value]


def _wire(m: Module, name: str, value: Value) -> Signal:
    """A named wire with a value."""
    wire = Signal(name=name)
    m.d.comb += wire.eq(value)
    return wire


def _lut(m: Module, name: str, table: int, *bits: Value) -> Signal:
    """Bit number ``Cat(bits)`` of ``table``: one look-up table of up to six inputs.

    Parameters
    ----------
    table : contents of the look-up table; bit 0 is for inputs of all zeros
    bits : inputs, the lowest address bit first
    """
    return _wire(m, name, Const(table, 2 ** len(bits)).bit_select(Cat(*bits), 1))


def _tabulate(m: Module, name: str, function: Callable[..., int], *arguments: Value) -> Signal:
    """``function(*arguments)`` as a wire, from a table over all values of the arguments.

    Parameters
    ----------
    function : called with an integer for each argument; a true result sets the bit
    arguments : values of up to six bits in total
    """
    table = 0
    for index in range(2 ** sum(len(argument) for argument in arguments)):
        values, rest = [], index
        for argument in arguments:
            values.append(rest % 2 ** len(argument))
            rest >>= len(argument)
        table |= bool(function(*values)) << index
    return _lut(m, name, table, *(bit for argument in arguments for bit in argument))


def _recode_base3(m: Module, byte: Signal) -> Value:
    """The first level of ``_base3``: w0 to w9 of byte[7:2], behind the byte.

    The recoded bits have these parts:

    - w0, w1, w2 and w4 encode 4 · byte[7:2] modulo 9, for trits 0 and 1;
    - w3, w5 and w6 encode it modulo 27, for trit 2;
    - w7 to w9 encode the place among the multiples of 27, for trits 3 and 4 and for legality.

    A SAT solver found the recoding.
    """
    b = byte
    w0 = _lut(m, "w0", 0x230DA5E916B5B708, b[2], b[4], b[5], b[7], b[6], b[3])
    w1 = _lut(m, "w1", 0x2C0FB4A9F2D05BFA, b[3], b[5], b[4], b[2], b[6], b[7])
    w2 = _lut(m, "w2", 0xCBA5D6AD77A85DAE, b[6], b[7], b[2], b[3], b[4], b[5])
    w3 = _lut(m, "w3", 0x41460D381C31E8B8, b[4], b[2], b[3], b[5], b[7], b[6])
    w4 = _lut(m, "w4", 0xAF0BD0D0A4254A52, b[6], b[2], b[4], b[5], b[7], b[3])
    w5 = _lut(m, "w5", 0x305E2BBAB5A6EB30, b[5], b[6], b[4], b[3], b[2], b[7])
    w6 = _lut(m, "w6", 0x7294706F37E19688, b[6], b[5], b[3], b[7], b[2], b[4])
    w7 = _lut(m, "w7", 0x1401B70B623950D0, b[2], b[3], b[4], b[6], b[5], b[7])
    w8 = _lut(m, "w8", 0x5F5EDADA5E5ADADA, b[7], b[6], b[5], b[2], b[4], b[3])
    w9 = _lut(m, "w9", 0x2C6F1D1A84F0057C, b[2], b[6], b[7], b[4], b[3], b[5])
    return Cat(b, w0, w1, w2, w3, w4, w5, w6, w7, w8, w9)


def _base3(m: Module, recoded: Value) -> Decoded:
    """The code ``base3``: byte = Σ (tⱼ + 1) · 3ʲ, in two levels of six-input tables.

    The first level is ``_recode_base3``. Every output is then a function of at most six bits among
    byte[1:0], w0 to w9 and byte[7:2]. Only ``zero0`` also takes ``illegal``, which makes a third
    level. Trit 4 is −1 for bytes up to 80 and +1 from 162 on, so that bit 7 is its sign.
    """
    b = recoded[:8]
    w0, w1, w2, w3, w4, w5, w6, w7, w8, w9 = recoded[8:]
    illegal = _lut(m, "illegal", 0x008000F000000000, b[0], b[1], b[6], w8, w7, b[7])
    zero = [
        _lut(m, "zero0", 0x020904F202040984, b[1], b[0], illegal, w1, w0, w2),
        _lut(m, "zero1", 0xECA83230020046D4, b[1], w1, w2, b[0], w0, w4),
        _lut(m, "zero2", 0x1C258F0010A58D20, w3, b[1], w6, w5, w4, b[0]),
        _lut(m, "zero3", 0xCCC8B3331F3F6040, b[1], w1, w7, b[0], w9, w2),
        _lut(m, "zero4", 0x3E1E1E1CC0C0E0E0, w7, w8, b[7], b[0], b[1], b[6]),
    ]
    negative = [
        _lut(m, "negative0", 0x1C219249, w2, w1, b[1], b[0], w0),
        _lut(m, "negative1", 0x078042A0F800BD15, w1, b[0], b[1], w0, w2, w4),
        _lut(m, "negative2", 0xD99CBB93DC9C9B11, w0, w5, b[2], b[1], w3, b[0]),
        _lut(m, "negative3", 0x0F0F00000E00CFFF, b[0], b[1], b[7], w7, b[6], w8),
        ~b[7],
    ]
    return zero, negative, illegal


def _escape(m: Module, byte: Value) -> Decoded:
    """The code ``escape``: four pairs of bits, of which 11 is an escape; see ``golden.codes``.

    The low bit of a pair says zero, and the high bit says negative. Each of the trits t0 to t3
    stands in its own pair or in the pair of a neighbor: t0 in p0, t1 in p1 or p0, t2 in p2 or p1,
    t3 in p3 or in the pair of t2.
    """
    z, n = byte[0::2], byte[1::2]
    e = [_wire(m, f"escape{i}", z[i] & n[i]) for i in range(4)]
    low, high = e[0] | e[1], e[2] | e[3]
    both_high = e[2] & e[3]
    illegal = _wire(m, "illegal", Mux(both_high, low, high & e[0] & e[1]))
    zero = [
        Mux(
            e[0],
            ~(e[1] | high) | (high & e[1]) | both_high,
            Mux(e[1], high & (z[0] | both_high), z[0]),
        ),
        Mux(
            e[1],
            Mux(high, e[0] | both_high, z[0]),
            Mux(e[0] & high, both_high, both_high | z[1]),
        ),
        Mux(
            e[0],
            Mux(high, z[1] | both_high, z[2]),
            Mux(high, (e[2] & ~e[3] & ~e[1]) | (e[1] & both_high), z[2]),
        ),
        Mux(e[3], Mux(e[2], z[1], z[2]), z[3]) | illegal,
        ~(low | high) | illegal,
    ]
    negative = [
        Mux(e[0], 1, n[0] & ~(e[1] & ~high)),
        Mux(e[1], Mux(high, e[3], n[0]), Mux(e[0] & high, e[3], n[1])),
        Mux(e[0], Mux(high, n[1], n[2]), Mux(high, e[1] | e[2], n[2])),
        Mux(e[3], Mux(e[2], n[1], n[2]), n[3]),
        e[0] | ~high,
    ]
    return zero, negative, illegal


def _tq1(m: Module, byte: Value) -> Decoded:
    """The code ``tq1``: byte = ceil(256 · q / 243); the first trit is the highest digit of q.

    With v = byte[7:2], Q = (972 · v + 13) // 256 is the q of the first legal byte from 4 · v on.
    Then q = Q + d. Here d is byte[1:0], less one for bytes after an illegal byte among the four.
    The digits r, s, x, y of Q, lowest first, then take the carry of r + d upwards. A digit becomes
    0, which stands for −1, exactly if it was 2 and took a carry.
    """
    upper, low = byte[2:], byte[:2]
    illegal_bytes = [value for value in range(256) if 243 * value % 256 >= 243]

    def first(v: int) -> int:
        """Q, the value of the first legal byte from 4 · v on."""
        return (972 * v + 13) // 256

    def hole(v: int) -> int:
        """Place of the illegal byte among the four, plus 4; 0 without an illegal byte."""
        return next((4 + i for i in range(4) if 4 * v + i in illegal_bytes), 0)

    def digit(name: str, power: int) -> Value:
        """Digit of Q with the weight ``power``, in two bits."""
        return Cat(
            _tabulate(m, f"{name}{i}", lambda v, i=i: first(v) // power % 3 >> i & 1, upper)
            for i in range(2)
        )

    r, s, x, y = digit("r", 1), digit("s", 3), digit("x", 9), digit("y", 27)
    at = Cat(_tabulate(m, f"hole{i}", lambda v, i=i: hole(v) >> i & 1, upper) for i in range(3))
    illegal = _tabulate(m, "illegal", lambda at, b: at == 4 + b, at, low)
    step = Cat(
        _tabulate(m, f"step{i}", lambda at, b, i=i: b - (at > 3 and b > at - 4) >> i & 1, at, low)
        for i in range(2)
    )
    n4 = _tabulate(m, "negative4", lambda r, d: (r + d) % 3 == 0, r, step)
    z4 = _tabulate(m, "zero4", lambda r, d, bad: bad or (r + d) % 3 == 1, r, step, illegal)
    n3 = _tabulate(m, "negative3", lambda r, s, d: (3 * s + r + d) // 3 % 3 == 0, r, s, step)
    z3 = _tabulate(m, "zero3", lambda r, s, d: (3 * s + r + d) // 3 % 3 == 1, r, s, step)
    n2 = _tabulate(m, "negative2", lambda x, s, n: (x + (s & n)) % 3 == 0, x, s[1], n3)
    z2 = _tabulate(
        m, "zero2", lambda x, s, n, bad: bad or (x + (s & n)) % 3 == 1, x, s[1], n3, illegal
    )
    n1 = _tabulate(
        m, "negative1", lambda y, x, s, n: (y + (x == 2 and s & n)) % 3 == 0, y, x, s[1], n3
    )
    z1 = _tabulate(
        m, "zero1", lambda y, x, n, bad: bad or (y + (x & n)) % 3 == 1, y, x[1], n2, illegal
    )

    def top(quarter: int, y: int, n: int) -> int:
        """Digit 4 of q, from byte[7:6], digit 3 of Q, and the carry out of digit 3."""
        return (0, 0 if y == 2 else 1, 2 if y == 0 else 1, 2)[quarter] + (y == 2 and n)

    z0 = _tabulate(
        m, "zero0", lambda h, y, n, bad: bad or top(h, y, n) == 1, byte[6:], y, n1, illegal
    )
    return [z0, z1, z2, z3 | illegal, z4], [~byte[7], n1, n2, n3, n4], illegal


def _two_bit(m: Module, byte: Value) -> Decoded:
    """The code ``two_bit``: t + 1 in two bits; bit 0 says zero, also of an illegal 3."""
    pairs = [byte[2 * j : 2 * j + 2] for j in range(4)]
    zero = [pair[0] for pair in pairs]
    negative = [~pair[1] for pair in pairs]
    return zero, negative, Cat(pair.all() for pair in pairs).any()


def _binary(m: Module, byte: Value) -> Decoded:
    """The code ``binary``: 1 is +1 and 0 is −1; no trit is zero and no byte is illegal."""
    return [Const(0, 1)] * 8, [~bit for bit in byte], Const(0, 1)


def _sherry(m: Module, quad: Value) -> Decoded:
    """The code ``sherry``: the place of the zero, and the signs of the three other trits.

    Bits 3:2 are the place, bit 4 is the first sign, and bits 0 and 1 say whether the second and the
    third sign differ from it. No symbol is illegal.
    """
    place, first = quad[2:4], quad[4]
    second, third = first ^ quad[0], first ^ quad[1]
    zero = [place == j for j in range(4)]
    negative = [
        first,
        Mux(zero[0], first, second),
        Mux(place[1], third, second),
        third,
    ]
    return zero, negative, Const(0, 1)


#: Logic in front of that of a code.
_RECODERS: dict[str, Callable[[Module, Signal], Value]] = {"base3": _recode_base3}

#: Logic of each code. All codes of ``WeightCode`` are here.
_DECODERS: dict[str, Callable[[Module, Value], Decoded]] = {
    "base3": _base3,
    "escape": _escape,
    "tq1": _tq1,
    "two_bit": _two_bit,
    "binary": _binary,
    "sherry": _sherry,
}


class BeatDecoder(wiring.Component):
    """Weight decoder for a beat of packed weights.

    Each field has logic of its own: a byte, or the five bits of a symbol of ``sherry``. With p
    trits per field (``field_trits`` of the code), trit i stands in field ``i // p`` of the beat, at
    place ``i % p`` of that field. Trits of the last field from ``count`` on are left out. Their
    symbols still count for ``illegal``. Bits behind the last field do not count.

    Latency: 0 cycles, combinational, or 1 with ``registered``. Throughput: one beat per cycle. A
    byte of ``base3`` passes at most three look-up tables of six inputs. With ``registered``, one of
    them stands in front of the register, which then has 18 bits for a byte.

    Parameters
    ----------
    code : a ``WeightCode`` or its value
    count : 1 or more; trits in the beat
    registered : whether the register of ``packed`` stands in the decoder; without it there is none

    Raises
    ------
    TypeError
        If ``code`` is not a string, ``count`` is not an integer, or ``registered`` not a flag.
    ValueError
        If the code is unknown, or ``count`` is less than 1.

    Members
    -------
    packed : In(8 · bytes), byte 0 lowest; ``bytes`` is ``CODES[code].packed_bytes(count)``
    zero : Out(count); the trit is 0, or belongs to an illegal symbol of the code
    negative : Out(count); the trit is −1; undefined if ``zero`` is set
    illegal : Out(fields); a symbol in the field is illegal, even one that only fills the field;
        ``fields`` is ``CODES[code].packed_fields(count)``
    """

    def __init__(self, *, code: str, count: int, registered: bool = False) -> None:
        self._code = CODES[check_choice("code", code, WeightCode)]
        self._count = count = check_integer("count", count, 1, 2**20)
        self._registered = check_flag("registered", registered)
        super().__init__(
            {
                "packed": In(8 * self._code.packed_bytes(count)),
                "zero": Out(count),
                "negative": Out(count),
                "illegal": Out(self._code.packed_fields(count)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the logic of each field from ``_RECODERS`` and ``_DECODERS``."""
        m = Module()
        zero: list[Value] = []
        negative: list[Value] = []
        illegal: list[Value] = []
        bits = self._code.field_bits
        for index in range(self._code.packed_fields(self._count)):
            # The floorplan of ECP5 boards finds the registers of weights by these names, but not
            # those of compact engines.
            field = Signal(bits, name=f"byte{index}" if bits == 8 else f"field{index}")
            m.d.comb += field.eq(self.packed[bits * index : bits * (index + 1)])
            recode = _RECODERS.get(self._code.name)
            value: Value = recode(m, field) if recode else field
            if self._registered:
                register = Signal(len(value), name=f"register{index}", reset_less=True)
                m.d.sync += register.eq(value)
                value = register
            some_zero, some_negative, some_illegal = _DECODERS[self._code.name](m, value)
            zero += some_zero
            negative += some_negative
            illegal.append(some_illegal)
        m.d.comb += [
            self.zero.eq(Cat(zero[: self._count])),
            self.negative.eq(Cat(negative[: self._count])),
            self.illegal.eq(Cat(illegal)),
        ]
        return m
