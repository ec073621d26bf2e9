"""Weight codes: how trits are packed into bytes.

A code maps a byte to a fixed number of trits and back. It is defined by a function from a tuple of
trits to a symbol; packing, unpacking and the set of legal bytes follow from it. The weight decoders
in hardware, ``trilith.hw.engine.weight_decoder``, are tested against this definition byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from .checks import check_integer
from .errors import TrilithError
from .matmul import check_trits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CODES", "Code", "CodeError", "look_up"]


class CodeError(TrilithError, ValueError):
    """A packed byte or a trit is not legal in a code; the message names the first place."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A code of symbols: each stands for some trits, and whole symbols fill a byte.

    Parameters
    ----------
    name : key in ``CODES``
    symbol_bits : 8, 2 or 1; the first symbol of a byte is in its lowest bits
    symbol_trits : trits of a symbol
    values : legal trits: −1, 0, +1, or −1, +1 for ``binary``
    encode : function from a tuple of ``symbol_trits`` trits, the first trit first, to the symbol
    """

    name: str
    symbol_bits: int
    symbol_trits: int
    values: tuple[int, ...]
    encode: Callable[[tuple[int, ...]], int] = field(repr=False)

    @cached_property
    def _tables(self) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.uint8]]:
        """The three arrays of the properties below, made at the first use."""
        import numpy as np

        symbols = np.zeros((2**self.symbol_bits, self.symbol_trits), np.int8)
        legal_symbols = np.zeros(2**self.symbol_bits, np.bool_)
        for trits in product(self.values, repeat=self.symbol_trits):
            symbol = self.encode(trits)
            assert not legal_symbols[symbol], f"{self.name}: {symbol} stands for two tuples"
            symbols[symbol] = trits
            legal_symbols[symbol] = True
        shifts = np.arange(0, 8, self.symbol_bits)
        parts = np.arange(256)[:, np.newaxis] >> shifts & (2**self.symbol_bits - 1)
        table = symbols[parts].reshape(256, self.trits_per_byte)
        legal = np.asarray(legal_symbols[parts].all(axis=1))
        places = 3 ** np.arange(self.trits_per_byte)
        by_tuple = np.zeros(3**self.trits_per_byte, np.uint8)
        by_tuple[(table[legal] + 1) @ places] = np.flatnonzero(legal)
        for array in (table, legal, by_tuple):
            array.setflags(write=False)
        return table, legal, by_tuple

    @property
    def table(self) -> NDArray[np.int8]:
        """Trits of each byte, int8[256, trits_per_byte]; those of illegal symbols are zero."""
        return self._tables[0]

    @property
    def legal(self) -> NDArray[np.bool_]:
        """Legal bytes, bool[256]: True for bytes of legal symbols only."""
        return self._tables[1]

    @property
    def _bytes(self) -> NDArray[np.uint8]:
        """Byte of each tuple of trits, uint8[3**trits_per_byte], at Σ (tⱼ + 1)·3ʲ."""
        return self._tables[2]

    @property
    def trits_per_byte(self) -> int:
        """Trits in a byte: 4, 5 or 8."""
        return 8 // self.symbol_bits * self.symbol_trits

    @property
    def bits_per_trit(self) -> float:
        """Bits per trit, without fillers."""
        return 8 / self.trits_per_byte

    @property
    def filler(self) -> int:
        """Trit that fills the last byte: 0, or −1 where the code has no zero."""
        return 0 if 0 in self.values else -1

    def packed_bytes(self, count: int) -> int:
        """Count the bytes of ``count`` trits, fillers included.

        Raises
        ------
        TypeError, ValueError
            If ``count`` is not an integer from 0 to 2⁶³ − 1.
        """
        return -(-check_integer("count", count, 0, 2**63 - 1) // self.trits_per_byte)

    def pack(self, trits: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Pack along the last axis; the last byte is filled with ``filler``.

        Parameters
        ----------
        trits : int8[..., count]

        Returns
        -------
        uint8[..., ceil(count / trits_per_byte)]

        Raises
        ------
        TypeError
            If ``trits`` is not an integer array.
        ValueError
            If a value is not a trit.
        CodeError
            If the code has no such trit.
        """
        import numpy as np

        trits = np.asarray(trits)
        check_trits(trits.reshape(-1, trits.shape[-1]) if trits.ndim else trits)
        if self.filler and not trits.all():
            place = [int(i) for i in np.argwhere(trits == 0)[0]]
            raise CodeError(f"code {self.name!r} holds -1 and +1 only, not 0 at {place}")
        count = trits.shape[-1]
        groups = self.packed_bytes(count)
        size = groups * self.trits_per_byte
        if size == count and trits.dtype == np.int8:
            digits = trits
        else:
            digits = np.full((*trits.shape[:-1], size), self.filler, np.int8)
            digits[..., :count] = trits
        digits = digits.reshape(*trits.shape[:-1], groups, self.trits_per_byte)
        # Σ tⱼ·3ʲ + half is Σ (tⱼ + 1)·3ʲ; the sums fit in eight bits, or in 16 for eight trits.
        half = (3**self.trits_per_byte - 1) // 2
        kind = np.int8 if half < 128 else np.int16
        index = digits[..., -1].astype(kind)
        for j in reversed(range(self.trits_per_byte - 1)):
            index *= kind(3)
            index += digits[..., j]
        if kind is np.int8:
            return look_up(self._bytes, index.view(np.uint8) + np.uint8(half))
        return self._bytes[index + kind(half)]

    def unpack(self, packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
        """Undo ``pack``.

        Parameters
        ----------
        packed : uint8[..., ceil(count / trits_per_byte)]
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
        legal = self.legal[packed]
        if not legal.all():
            place = tuple(int(i) for i in np.argwhere(~legal)[0])
            raise CodeError(
                f"byte {packed[place]:#04x} at {list(place)} is illegal in code {self.name!r}"
            )
        return self.table[packed].reshape(*packed.shape[:-1], -1)[..., :count]


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


#: The codes by name.
CODES = {
    code.name: code
    for code in (
        Code(name="base3", symbol_bits=8, symbol_trits=5, values=(-1, 0, 1), encode=_base3),
        Code(name="escape", symbol_bits=8, symbol_trits=5, values=(-1, 0, 1), encode=_escape),
        Code(name="tq1", symbol_bits=8, symbol_trits=5, values=(-1, 0, 1), encode=_tq1),
        Code(name="two_bit", symbol_bits=2, symbol_trits=1, values=(-1, 0, 1), encode=_two_bit),
        Code(name="binary", symbol_bits=1, symbol_trits=1, values=(-1, 1), encode=_binary),
    )
}
