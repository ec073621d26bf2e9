"""GGUF files: header, list of tensors, and the layout of their types."""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from ..errors import CheckpointError, within
from ..input_files import mistaken, unreadable
from .finite import check_finite
from .gguf_layouts import LAYOUTS, BlockLayout
from .gguf_places import Space, find_layouts

__all__ = ["TABLES", "Entry", "GgufFile", "is_known", "type_name"]


#: bitnet.cpp's table formats, which are refused: their tiles depend on a configuration of its
#: kernels, and the file does not have it.
TABLES = {38: "TL1", 39: "TL2"}


_FLOATS = {0: np.float32, 1: np.float16, 30: ml_dtypes.bfloat16, 28: np.float64}


#: Weights in a block, and bytes of a block, by type.
_BLOCKS = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}


_TYPE_NAMES = (
    {int(kind): kind.name for kind in GGMLQuantizationType}
    | {number: one.name for one in LAYOUTS.values() for number in one.numbers}
    | {42: "Q2_0"}
    | TABLES
)


#: Struct letters of GGUF's value types; 8 is a string and 9 an array.
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))


_STRING, _ARRAY = 8, 9


#: Limits of a header: bytes of a string, strings of an array, and tensors. The largest vocabularies
#: have half a million merges, and models of hundreds of experts some ten thousand tensors.
_LONGEST, _MOST_STRINGS, _MOST_TENSORS = 2**24, 2**21, 2**16


@dataclass(frozen=True)
class Entry:
    """A tensor in a file.

    Parameters
    ----------
    kind : number of the type
    shape : (N, K), the reverse of GGUF's order
    place : first byte in the file
    layout : layout of a ternary type; None for others
    """

    kind: int
    shape: tuple[int, ...]
    place: int
    layout: BlockLayout | None = None

    @property
    def type_name(self) -> str:
        """The name of the layout, or that of the type."""
        return self.layout.name if self.layout else type_name(self.kind)

    @property
    def block(self) -> int:
        """Weights in a block, of which a row has a whole number; 1 for unknown types."""
        return self.layout.weights if self.layout else _BLOCKS.get(self.kind, (1, 0))[0]

    @property
    def size(self) -> int:
        """Bytes of the tensor; 0 for unknown types, whose size cannot be checked."""
        if self.layout:
            return self.layout.stored_bytes(self.shape)
        block, size = _BLOCKS.get(self.kind, (1, 0))
        return -(-prod(self.shape) // block) * size


class GgufFile:
    """The metadata and tensor list of a GGUF file; data stays memory-mapped.

    Parameters
    ----------
    path : the file
    type42, any_layout : see ``find_layouts``

    Attributes
    ----------
    metadata : values by key; for an array of strings the place of its first string in the file
    kinds : value type of each key, and the type of an array's elements
    entries : tensors by name

    Raises
    ------
    CheckpointError
        If the file is not a whole GGUF file of version 2 or 3, little-endian; or the layout of a
        ternary type is open.
    """

    def __init__(self, path: Path, type42: str | None = None, *, any_layout: bool = False) -> None:
        self.path = path
        self._type42, self._any_layout = type42, any_layout
        self.metadata: dict[str, Any] = {}
        self.kinds: dict[str, tuple[int, int | None]] = {}
        self.entries: dict[str, Entry] = {}
        if message := unreadable(path, "a GGUF file"):
            raise CheckpointError(message)
        self._data = np.asarray(np.memmap(path, np.uint8, "r"))
        self._bytes = self._data.data
        self._finite: set[str] = set()
        if self._bytes[:4] != b"GGUF":
            reason = f"it must start with GGUF, not {bytes(self._bytes[:4])!r}"
            raise CheckpointError(mistaken(path, "a GGUF file", reason))
        self._place = 0
        try:
            self._walk()
        except (struct.error, UnicodeDecodeError) as error:
            raise self._refuse(f"its header must be whole: {error}") from None

    def _refuse(self, message: str) -> CheckpointError:
        """Make the error for a wrong header, with the place in the file."""
        return CheckpointError(f"{self.path}: {message} (at byte {self._place})")

    def _take(self, letters: str) -> tuple[Any, ...]:
        """Read little-endian numbers, and step over them."""
        values = struct.unpack_from(f"<{letters}", self._bytes, self._place)
        self._place += struct.calcsize(f"<{letters}")
        return values

    def _skip(self, size: int) -> int:
        """Step over ``size`` bytes, which the file must have, and return their place."""
        place = self._place
        if size > len(self._bytes) - place:
            raise self._refuse(
                f"its header must be whole: {size} bytes are announced, "
                f"{len(self._bytes) - place} are left"
            )
        self._place += size
        return place

    def _string(self) -> str:
        """Read a string, and step over it."""
        (size,) = self._take("Q")
        place = self._skip(size)
        if size > _LONGEST:
            raise self._refuse(f"strings must have at most {_LONGEST} bytes, not {size}")
        return str(self._bytes[place : place + size], "utf-8")

    def _name(self) -> str:
        """Read a string that messages may show."""
        name = self._string()
        if not name.isprintable():
            raise self._refuse(f"names must be printable, not {name!r}")
        return name

    def strings(self, key: str) -> list[str]:
        """Read an array of strings of the metadata.

        Parameters
        ----------
        key : key of such an array; the array was checked when the file was opened
        """
        self._place, count = self.metadata[key]
        return [self._string() for _ in range(count)]

    def _value(self, key: str, kind: int) -> Any:
        """Read a value of the metadata, and step over it."""
        self.kinds[key] = kind, None
        if kind in _SCALARS:
            return self._take(_SCALARS[kind])[0]
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise self._refuse(f"metadata must be of the types 0 to 12, not {kind}")
        inner, count = self._take("IQ")
        self.kinds[key] = kind, inner
        if inner in _SCALARS:
            dtype = np.dtype(_SCALARS[inner]).newbyteorder("<")
            place = self._skip(count * dtype.itemsize)
            return self._data[place : self._place].view(dtype)
        if inner != _STRING:
            raise self._refuse(f"arrays must be of scalars or strings, not of type {inner}")
        if count > _MOST_STRINGS:
            raise self._refuse(f"{key} must have at most {_MOST_STRINGS} strings, not {count}")
        first = self._place
        for _ in range(count):
            self._string()
        return first, count

    def _walk(self) -> None:
        """Read the whole header, and check that all tensors lie in the file."""
        _, version, tensors, keys = self._take("4sIQQ")
        if version not in (2, 3):
            raise self._refuse(
                f"must be GGUF of version 2 or 3 in little-endian order, not {version:#x}; "
                "convert it with llama.cpp's tools"
            )
        if max(tensors, keys) > _MOST_TENSORS:
            raise self._refuse(
                f"must have at most {_MOST_TENSORS} tensors and as many keys, not {tensors} and "
                f"{keys}"
            )
        for _ in range(keys):
            key = self._name()
            if key in self.metadata:
                raise self._refuse(f"metadata must have each key once, not {key!r} twice")
            self.metadata[key] = self._value(key, *self._take("I"))
        found: dict[str, tuple[int, tuple[int, ...], int]] = {}
        for _ in range(tensors):
            name = self._name()
            (dims,) = self._take("I")
            if not 1 <= dims <= 4:
                raise self._refuse(f"{name} must have 1 to 4 dimensions, not {dims}")
            shape = tuple(reversed(self._take(f"{dims}Q")))
            kind, offset = self._take("IQ")
            if 0 in shape or prod(shape) >= 2**48:
                raise self._refuse(f"{name} must have a size from 1 to 2**48, not {shape}")
            if name in found:
                raise self._refuse(f"must have each tensor once, not {name!r} twice")
            found[name] = kind, shape, offset
        alignment = self.metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self._refuse(f"general.alignment must be a power of two, not {alignment!r}")
        start = -(-self._place // alignment) * alignment
        layouts = self._layouts(found, start, alignment)
        for name, (kind, shape, offset) in found.items():
            entry = Entry(kind, shape, start + offset, layouts.get(name))
            if offset % alignment or entry.place + entry.size > len(self._bytes):
                raise self._refuse(
                    f"{name} must be aligned to {alignment} bytes and lie in the file, not take "
                    f"{entry.size} bytes from {entry.place} in a file of {len(self._bytes)}; "
                    "the file is damaged or truncated"
                )
            self.entries[name] = entry

    def _layouts(
        self, found: dict[str, tuple[int, tuple[int, ...], int]], start: int, alignment: int
    ) -> dict[str, BlockLayout]:
        """Find the layouts of ternary types by the places of all tensors."""
        places = sorted({offset for _, _, offset in found.values()})
        end = len(self._bytes) - start
        after = dict(zip(places, [*places[1:], end], strict=False))
        spaces = {
            name: Space(
                kind=kind, shape=shape, size=after[offset] - offset, last=offset == places[-1]
            )
            for name, (kind, shape, offset) in found.items()
        }
        return find_layouts(self.path, spaces, alignment, self._type42, any_layout=self._any_layout)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a tensor, uint8[bytes], memory-mapped."""
        entry = self.entries[name]
        return self._data[entry.place : entry.place + entry.size]

    def array(self, name: str) -> NDArray:
        """Read a tensor as an array, dequantized if its type is not a float.

        Layouts that the library ``gguf`` does not know become float16, which holds the product of a
        trit and a float16 scale. All other types become float32.

        Raises
        ------
        CheckpointError
            If the type is not known, a row is not a whole number of blocks, or a value is NaN or
            infinite.
        """
        entry, raw = self.entries[name], self.raw(name)
        if entry.kind in _FLOATS:
            array = raw.view(_FLOATS[entry.kind]).reshape(entry.shape)
            return self._checked(name, array if array.flags.aligned else array.copy())
        if entry.shape[-1] % entry.block:
            raise CheckpointError(
                f"{self.path}: {name} must have rows of a multiple of {entry.block} values for "
                f"{entry.type_name}, not {entry.shape[-1]}"
            )
        if entry.layout and entry.kind not in _BLOCKS and not entry.layout.tensor_bytes:
            with within(f"{self.path}: {name}"):
                values = entry.layout.values(raw, entry.shape)
            return self._checked(name, values)
        try:
            rows = raw.reshape(prod(entry.shape[:-1]), -1)
            with np.errstate(all="ignore"):
                array = dequantize(rows, GGMLQuantizationType(entry.kind)).reshape(entry.shape)
        except (ValueError, NotImplementedError):  # Unknown to the library, or without dequantizer.
            raise CheckpointError(
                f"{self.path}: {name} must be of a type that can be read, not {entry.type_name}"
            ) from None
        return self._checked(name, array)

    def _checked(self, name: str, array: NDArray) -> NDArray:
        """Refuse NaN and infinity in a tensor, the first time that it is read."""
        if name not in self._finite:
            entry = self.entries[name]
            stored = (self.path, entry.place) if entry.kind in _FLOATS else None
            check_finite(f"{self.path}: {name}", array, stored)
            self._finite.add(name)
        return array


def is_known(kind: int) -> bool:
    """Tell whether a number is that of a type of llama.cpp or bitnet.cpp."""
    return kind in _TYPE_NAMES


def type_name(kind: int) -> str:
    """Return the name of a type in llama.cpp or bitnet.cpp."""
    if kind in _TYPE_NAMES:
        return _TYPE_NAMES[kind]
    known = ", ".join(str(number) for number in sorted(_TYPE_NAMES))
    return f"a type of the unknown number {kind} (known are {known})"
