"""Trees of binary files, and their bytes: safetensors and GGUF.

The writers take any tree. A count or length that is None is the right one.
"""

import struct
from typing import Any

import ml_dtypes
import numpy as np

from .mutation import Object, integer, items, pairs, text, to_json

_NAMES = {
    np.dtype(np.uint8): "U8",
    np.dtype(np.uint32): "U32",
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
}


def safetensors_tree(tensors: dict[str, np.ndarray]) -> Object:
    """Lay tensors out one after the other."""
    header, end = Object([["__metadata__", Object([["format", "pt"]])]]), 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        fields = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        header.append([name, Object.of(fields)])
    data = [array.tobytes() for array in tensors.values()]
    return Object([["length", None], ["header", header], ["data", data]])


def safetensors_bytes(tree: Any) -> bytes:
    """Write a file of ``safetensors_tree``."""
    tree = tree if isinstance(tree, Object) else Object()
    header, length = to_json(tree.get("header")).encode(), tree.get("length")
    size = len(header) if length is None else integer(length, 64)
    return struct.pack("<Q", size) + header + b"".join(map(text, items(tree.get("data"))))


#: Struct letters of the metadata's scalar types.
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_ALIGNMENT = 32


def gguf_tree(
    metadata: dict[str, tuple[int, Any]], tensors: dict[str, tuple[tuple[int, ...], int, bytes]]
) -> Object:
    """Lay tensors (shape, type, bytes) out one after the other, aligned."""
    infos, data, place = Object(), [], 0
    for name, (shape, kind, content) in tensors.items():
        content += bytes(-len(content) % _ALIGNMENT)
        fields = {"dims": list(reversed(shape)), "kind": kind, "offset": place}
        infos.append([name, Object.of(fields)])
        data.append(content)
        place += len(content)
    keys = Object([key, [kind, Object.of(value)]] for key, (kind, value) in metadata.items())
    counts = [["tensor_count", None], ["key_count", None]]
    head = [["magic", b"GGUF"], ["version", 3], *counts, ["metadata", keys], ["tensors", infos]]
    return Object([*head, ["padding", None], ["data", data]])


def gguf_bytes(tree: Any) -> bytes:
    """Write a file of ``gguf_tree``."""
    tree = tree if isinstance(tree, Object) else Object()
    metadata, infos = pairs(tree.get("metadata")), pairs(tree.get("tensors"))
    out = bytearray(text(tree.get("magic")) + struct.pack("<I", integer(tree.get("version"), 32)))
    for count, entries in (("tensor_count", infos), ("key_count", metadata)):
        number = tree.get(count)
        out += struct.pack("<Q", len(entries) if number is None else integer(number, 64))
    for key, value in metadata:
        kind, content = (*items(value), 0, 0)[:2]
        out += _string(key) + struct.pack("<I", integer(kind, 32)) + _value(kind, content)
    for name, info in infos:
        info = info if isinstance(info, Object) else Object()
        dims = [integer(one, 64) for one in items(info.get("dims"))]
        out += _string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        out += struct.pack("<IQ", integer(info.get("kind"), 32), integer(info.get("offset"), 64))
    padding = tree.get("padding")
    out += bytes(-len(out) % _ALIGNMENT if padding is None else integer(padding, 12))
    return bytes(out) + b"".join(map(text, items(tree.get("data"))))


def _string(value: Any) -> bytes:
    data = text(value)
    return struct.pack("<Q", len(data)) + data


def _value(kind: Any, value: Any) -> bytes:
    """A metadata value of a type; an unknown type has no bytes."""
    if kind == 8:
        return _string(value)
    if kind == 9:
        inner, entries = (*items(value), 0, 0)[:2]
        head = struct.pack("<IQ", integer(inner, 32), len(items(entries)))
        return head + b"".join(_value(inner, one) for one in items(entries))
    letter = _SCALARS.get(kind) if isinstance(kind, int) else None
    if letter is None:
        return b""
    if letter in "fd":
        number = float(value) if isinstance(value, int | float) and abs(value) < 1e308 else value
        try:
            return struct.pack(f"<{letter}", number)
        except (OverflowError, struct.error):
            return bytes(struct.calcsize(letter))
    size = struct.calcsize(letter)
    return integer(value, 8 * size).to_bytes(size, "little")
