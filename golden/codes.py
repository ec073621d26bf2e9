"""Weight codes: how trits are packed into bytes.

A code maps a symbol of some bits to a fixed number of trits and back. It is defined by a function
from a tuple of trits to a symbol; packing, unpacking and the set of legal symbols follow from it.
The weight decoders in hardware, ``trilith.hw.engine.weight_decoder``, are tested against this
definition symbol by symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import lcm
from typing import TYPE_CHECKING

from .checks import check_integer, first_place
from .errors import TrilithError
from .matmul import check_trits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CODES", "Code", "CodeError", "look_up"]


#: In a table of fields: the code does not hold these trits.
_NONE = 255


class CodeError(TrilithError, ValueError):
    """A packed byte or a trit is not legal in a code; the message names the first place."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A code of symbols: each stands for some trits, and symbols follow each other without gaps.

    A field is a byte if whole symbols fill it, else one symbol. Bytes are packed from fields, the
    first field in the lowest bits; up to seven bits that are left at the end do not count.

    Parameters
    ----------
    name : key in ``CODES``
    symbol_bits : 1 to 8; the first symbol of a byte is in its lowest bits
    symbol_trits : trits of a symbol
    zeros : number of zeros in each symbol; None where trits are free
    encode : function from a tuple of ``symbol_trits`` trits, the first trit first, to the symbol
    """

    name: str
    symbol_bits: int
    symbol_trits: int
    zeros: int | None = None
    encode: Callable[[tuple[int, ...]], int] = field(repr=False)

    @cached_property
    def _tables(self) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.uint8]]:
        """The three arrays of the properties below, made at the first use."""
        import numpy as np

        symbols = np.zeros((2**self.symbol_bits, self.symbol_trits), np.int8)
        legal_symbols = np.zeros(2**self.symbol_bits, np.bool_)
        for trits in product((-1, 0, 1), repeat=self.symbol_trits):
            if self.zeros not in (None, trits.count(0)):
                continue
            symbol = self.encode(trits)
            assert not legal_symbols[symbol], f"{self.name}: {symbol} stands for two tuples"
            symbols[symbol] = trits
            legal_symbols[symbol] = True
        shifts = np.arange(0, self.field_bits, self.symbol_bits)
        fields = np.arange(2**self.field_bits)
        parts = fields[:, np.newaxis] >> shifts & (2**self.symbol_bits - 1)
        table = symbols[parts].reshape(-1, self.field_trits)
        legal = np.asarray(legal_symbols[parts].all(axis=1))
        places = 3 ** np.arange(self.field_trits)
        # Fields of fewer than eight bits leave a byte for tuples that the code does not hold.
        by_tuple = np.full(3**self.field_trits, _NONE if self.field_bits < 8 else 0, np.uint8)
        by_tuple[(table[legal] + 1) @ places] = np.flatnonzero(legal)
        for array in (table, legal, by_tuple):
            array.setflags(write=False)
        return table, legal, by_tuple

    @property
    def table(self) -> NDArray[np.int8]:
        """Trits of each field, int8[2**field_bits, field_trits]; those of illegal symbols are 0."""
        return self._tables[0]

    @property
    def legal(self) -> NDArray[np.bool_]:
        """Legal fields, bool[2**field_bits]: True for fields of legal symbols only."""
        return self._tables[1]

    @property
    def _fields(self) -> NDArray[np.uint8]:
        """Field of each tuple of trits, uint8[3**field_trits], at Σ (tⱼ + 1)·3ʲ; or ``_NONE``."""
        return self._tables[2]

    @property
    def field_bits(self) -> int:
        """Bits of a field: 8, or 5 for ``sherry``."""
        return self.symbol_bits if 8 % self.symbol_bits else 8

    @property
    def field_trits(self) -> int:
        """Trits of a field: 4, 5 or 8."""
        return self.field_bits // self.symbol_bits * self.symbol_trits

    @property
    def bits_per_trit(self) -> float:
        """Bits per trit, without fillers."""
        return self.symbol_bits / self.symbol_trits

    @property
    def span(self) -> int:
        """Trits that depend on each other: those of a symbol with a number of zeros, else 1."""
        return 1 if self.zeros is None else self.symbol_trits

    @property
    def quads(self) -> bool:
        """Whether each four trits have exactly one zero."""
        return self.zeros == 1 and self.symbol_trits == 4

    def operands(self, count: int) -> int:
        """Count the trits that can be other than zero, among ``count``, a multiple of ``span``."""
        return count - count // self.span * (self.zeros or 0)

    def packed_fields(self, count: int) -> int:
        """Count the fields of ``count`` trits, fillers included.

        Raises
        ------
        TypeError, ValueError
            If ``count`` is not an integer from 0 to 2⁶³ − 1.
        """
        return -(-check_integer("count", count, 0, 2**63 - 1) // self.field_trits)

    def packed_bytes(self, count: int) -> int:
        """Count the bytes of ``count`` trits, fillers included.

        Raises
        ------
        TypeError, ValueError
            If ``count`` is not an integer from 0 to 2⁶³ − 1.
        """
        return -(-self.packed_fields(count) * self.field_bits // 8)

    def lowest(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Make trits with the lowest sum that the code holds: −1, with zeros only where it must."""
        import numpy as np

        trits = np.full(shape, -1, np.int8)
        if self.zeros:
            trits[..., :: self.span] = 0
        return trits

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Make random trits that the code holds, int8 of a shape."""
        import numpy as np

        if not self.zeros:
            values = (-1, 0, 1) if self.zeros is None else (-1, 1)
            return rng.choice(np.array(values, np.int8), shape)
        *outer, count = shape
        fields = rng.choice(np.flatnonzero(self.legal), (*outer, self.packed_fields(count)))
        return self.table[fields].reshape(*outer, -1)[..., :count]

    def fill(self, trits: NDArray[np.int8], size: int) -> NDArray[np.int8]:
        """Extend the last axis with trits that the code holds: 0, or −1 where zeros are counted.

        With a number of zeros, a symbol that trits end in gets its zero from the fillers if it has
        none.

        Parameters
        ----------
        trits : int8[..., count]
        size : ``count`` or more; a multiple of ``span``

        Returns
        -------
        int8[..., size]; ``trits`` itself if nothing is to be filled
        """
        import numpy as np

        count = trits.shape[-1]
        if size == count and trits.dtype == np.int8:
            return trits
        filled = np.empty((*trits.shape[:-1], size), np.int8)
        filled[..., :count] = trits
        filled[..., count:] = 0 if self.zeros is None else self.lowest((size - count,))
        if self.zeros and count % self.span:
            whole = count + -count % self.span
            begun = trits[..., count - count % self.span :]
            filled[..., count:whole] = -1
            filled[..., count] = np.where(begun.all(axis=-1), 0, -1)
            filled[..., whole:] = self.lowest((size - whole,))
        return filled

    def check(self, trits: NDArray[np.int8]) -> None:
        """Refuse trits that the code does not hold; the message has the place.

        Parameters
        ----------
        trits : int8[..., count], ``count`` a multiple of ``span``

        Raises
        ------
        CodeError
            If a symbol has not the code's number of zeros.
        """
        import numpy as np

        if self.zeros is None:
            return
        if self.zeros == 0:
            if not trits.all():
                place = [*first_place(trits == 0)]
                raise CodeError(f"code {self.name!r} holds -1 and +1 only, not 0 at {place}")
            return
        zero = (trits == 0).view(np.uint8)
        zeros = zero[..., :: self.span].copy()
        for j in range(1, self.span):
            zeros += zero[..., j :: self.span]
        wrong = zeros != self.zeros
        if wrong.any():
            *outer, symbol = first_place(wrong)
            raise CodeError(
                f"code {self.name!r} must have exactly one zero in each {self.span} trits "
                f"of a row, not {zeros[*outer, symbol]} at {[*outer, symbol * self.span]}"
            )

    def pack(self, trits: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Pack along the last axis; the last field is filled, see ``fill``.

        Parameters
        ----------
        trits : int8[..., count]

        Returns
        -------
        uint8[..., packed_bytes(count)]; bits that are left in the last byte are zero

        Raises
        ------
        TypeError
            If ``trits`` is not an integer array.
        ValueError
            If a value is not a trit.
        CodeError
            If the code has no such trits; the message has the place.
        """
        import numpy as np

        trits = np.asarray(trits)
        check_trits(trits.reshape(-1, trits.shape[-1]) if trits.ndim else trits)
        groups = self.packed_fields(trits.shape[-1])
        digits = self.fill(trits, groups * self.field_trits)
        if self.field_bits == 8:
            self.check(digits)
        digits = digits.reshape(*trits.shape[:-1], groups, self.field_trits)
        # Σ tⱼ·3ʲ + half is Σ (tⱼ + 1)·3ʲ; the sums fit in eight bits, or in 16 for eight trits.
        half = (3**self.field_trits - 1) // 2
        kind = np.int8 if half < 128 else np.int16
        index = digits[..., -1].astype(kind)
        for j in reversed(range(self.field_trits - 1)):
            index *= kind(3)
            index += digits[..., j]
        if kind is np.int16:
            return self._fields[index + kind(half)]
        fields = look_up(self._fields, index.view(np.uint8) + np.uint8(half))
        if self.field_bits == 8:
            return fields
        if fields.max(initial=0) == _NONE:
            self.check(digits.reshape(*trits.shape[:-1], -1))
        return self._join(fields)

    def _join(self, fields: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pack fields, uint8[..., fields], into bytes, uint8[..., bytes]."""
        import numpy as np

        *outer, count = fields.shape
        per_word, word_bytes = self._word
        padded = fields
        if count % per_word:
            padded = np.zeros((*outer, count + -count % per_word), np.uint8)
            padded[..., :count] = fields
        # A field in each byte of a word of 64 bits. Fields, then pairs, then fours move together.
        words = padded.view("<u8")
        for joined in (1, 2, 4):
            bits, gap = joined * self.field_bits, joined * (8 - self.field_bits)
            lower = np.uint64(sum((2**bits - 1) << place for place in range(0, 64, 16 * joined)))
            upper = words >> np.uint64(gap)
            upper &= lower << np.uint64(bits)
            words = words & lower
            words |= upper
        data = words[..., np.newaxis].view(np.uint8)[..., :word_bytes].reshape(*outer, -1)
        return data[..., : -(-count * self.field_bits // 8)]

    def _split(self, packed: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
        """Undo ``_join`` for ``count`` fields."""
        import numpy as np

        *outer, size = packed.shape
        per_word, word_bytes = self._word
        words = np.zeros((*outer, -(-size // word_bytes), 8), np.uint8)
        padded = np.zeros((*outer, words.shape[-2] * word_bytes), np.uint8)
        padded[..., :size] = packed
        words[..., :word_bytes] = padded.reshape(*words.shape[:-1], word_bytes)
        fields = np.empty((*outer, words.shape[-2], per_word), np.uint8)
        for i in range(per_word):
            shifted = words.view("<u8")[..., 0] >> np.uint64(i * self.field_bits)
            fields[..., i] = shifted & np.uint64(2**self.field_bits - 1)
        return fields.reshape(*outer, -1)[..., :count]

    @property
    def _word(self) -> tuple[int, int]:
        """Fields and bytes of the shortest run of whole fields that fills whole bytes."""
        bits = lcm(self.field_bits, 8)
        return bits // self.field_bits, bits // 8

    def unpack(self, packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
        """Undo ``pack``.

        Parameters
        ----------
        packed : uint8[..., packed_bytes(count)]
        count : trits to return along the last axis

        Returns
        -------
        int8[..., count]

        Raises
        ------
        TypeError
            If ``packed`` is not uint8.
        CodeError
            If the last axis does not hold ``count`` trits, or a byte is illegal.
        """
        import numpy as np

        count = check_integer("count", count, 0)
        packed = np.asarray(packed)
        if packed.dtype != np.uint8:
            raise TypeError(f"packed must be uint8, not {packed.dtype}")
        if packed.ndim == 0 or packed.shape[-1] != self.packed_bytes(count):
            raise CodeError(
                f"{count} trits in code {self.name!r} must take {self.packed_bytes(count)} bytes, "
                f"not {packed.shape[-1] if packed.ndim else 0}"
            )
        fields = packed
        if self.field_bits != 8:
            fields = self._split(packed, self.packed_fields(count))
        legal = look_up(self.legal.view(np.uint8), fields)
        if not legal.all():
            place = first_place(legal == 0)
            raise CodeError(
                f"byte {fields[place]:#04x} at {list(place)} is illegal in code {self.name!r}"
            )
        return self.table.take(fields, axis=0).reshape(*packed.shape[:-1], -1)[..., :count]


def look_up(table: NDArray[np.uint8], index: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``table[index]`` of bytes, three times as fast as NumPy, which widens the index first."""
    import numpy as np

    found = index.tobytes().translate(table.tobytes().ljust(256, b"\0"))
    return np.frombuffer(found, np.uint8).reshape(index.shape)


def _base3(trits: tuple[int, ...]) -> int:
    """Encode Σ (tⱼ + 1)·3ʲ, the first trit lowest."""
    return sum((t + 1) * 3**j for j, t in enumerate(trits))


#: Rule of the code ``escape``. Key: the set of escaped pairs. Value: the fifth trit, and for t0 to
#: t3 the pair that holds the trit, or its value where its pair is an escape.
_ESCAPE_RULE: dict[tuple[int, ...], tuple[int, tuple[str | int, ...]]] = {
    (): (0, ("p0", "p1", "p2", "p3")),
    (0,): (-1, (0, "p1", "p2", "p3")),
    (1,): (-1, (+1, "p0", "p2", "p3")),
    (0, 1): (-1, (-1, 0, "p2", "p3")),
    (0, 2): (-1, (-1, +1, "p1", "p3")),
    (0, 3): (-1, (-1, -1, "p1", "p2")),
    (2,): (+1, ("p0", "p1", 0, "p3")),
    (3,): (+1, ("p0", "p1", +1, "p2")),
    (2, 3): (+1, ("p0", 0, -1, "p1")),
    (1, 2): (+1, ("p0", +1, -1, "p3")),
    (1, 3): (+1, ("p0", -1, -1, "p2")),
}


def _escape(trits: tuple[int, ...]) -> int:
    """Encode four pairs of bits, the first lowest: 00 is +1, 01 is 0, 10 is −1 and 11 escapes.

    A pair's low bit means zero, and its high bit means negative. Without an escape the pairs are t0
    to t3, and t4 is 0. The places of one or two escapes give t4 and move trits to other pairs, by
    ``_ESCAPE_RULE``. Three or four escapes are illegal.
    """
    for escaped, (t4, places) in _ESCAPE_RULE.items():
        pairs = dict.fromkeys(escaped, 3)
        for trit, place in zip(trits[:4], places, strict=True):
            if isinstance(place, str):
                pairs[int(place[1])] = 1 - trit
            elif trit != place:
                break
        else:
            if trits[4] == t4:
                return sum(pairs[i] << 2 * i for i in range(4))
    raise AssertionError(f"no rule for {trits}")


def _tq1(trits: tuple[int, ...]) -> int:
    """Encode as GGUF's TQ1_0: ceil(256·q / 243), the first trit the highest digit of q."""
    q = sum((t + 1) * 3 ** (4 - j) for j, t in enumerate(trits))
    return -(-256 * q // 243)


def _two_bit(trits: tuple[int, ...]) -> int:
    """Encode t + 1; 3 is illegal."""
    return trits[0] + 1


def _binary(trits: tuple[int, ...]) -> int:
    """Encode +1 as 1 and −1 as 0."""
    return int(trits[0] == 1)


def _sherry(trits: tuple[int, ...]) -> int:
    """Encode four trits of which one is zero as the index of GGUF's STQ1_0.

    Bits 3:2 are the place of the zero. Bit 4 is set where the first nonzero trit is −1; bit 0 where
    the second one has another sign than the first, and bit 1 where the third one has. The form is
    that of Sherry, arXiv 2601.07892.
    """
    first, second, third = (trit for trit in trits if trit)
    return (second != first) | (third != first) << 1 | trits.index(0) << 2 | (first < 0) << 4


#: The codes by name.
CODES = {
    code.name: code
    for code in (
        Code(name="base3", symbol_bits=8, symbol_trits=5, encode=_base3),
        Code(name="escape", symbol_bits=8, symbol_trits=5, encode=_escape),
        Code(name="tq1", symbol_bits=8, symbol_trits=5, encode=_tq1),
        Code(name="two_bit", symbol_bits=2, symbol_trits=1, encode=_two_bit),
        Code(name="binary", symbol_bits=1, symbol_trits=1, zeros=0, encode=_binary),
        Code(name="sherry", symbol_bits=5, symbol_trits=4, zeros=1, encode=_sherry),
    )
}
