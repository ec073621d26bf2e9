"""Beats of streams from arrays of numbers and back, and a small token core."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from trilith.golden.elements import element_bits, from_element_bits, round_element
from trilith.hw import MatVecConfig
from trilith.hw.token.config import TokenConfig

#: A small token core.
CONFIG = TokenConfig(
    engine=MatVecConfig(lanes=8, rows=5, k_max=64, n_max=64),
    vector_lanes=4,
    attention_lanes=8,
    memory_width=128,
    hidden_max=32,
    ffn_max=40,
    heads_max=4,
    kv_heads_max=2,
    head_size_max=8,
    context_max=32,
    vocabulary_max=64,
)


def bits_of(shape: Any, value: Any) -> int:
    """A value of a layout as an integer: dictionaries and lists may be nested."""
    if isinstance(shape, data.Layout) and not isinstance(value, int):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        total = 0
        for key, part in items:
            field = shape[key]
            total |= bits_of(field.shape, part) << field.offset
        return total
    width = data.Field(shape, 0).width
    return int(value) & ((1 << width) - 1)


def beats_of(shape: Any, values: list[Any]) -> NDArray[np.uint8]:
    """Beats uint8[n, bytes] of values of a layout."""
    size = -(-data.Field(shape, 0).width // 8)
    numbers = [bits_of(shape, value).to_bytes(size, "little") for value in values]
    return np.frombuffer(b"".join(numbers), np.uint8).reshape(-1, size)


def fields_of(shape: data.Layout, beats: NDArray[np.uint8], *path: Any) -> NDArray[np.int64]:
    """One field of each beat, as an unsigned number."""
    offset, inner = 0, shape
    for key in path:
        field = inner[key]
        offset, inner = offset + field.offset, field.shape
    width = data.Field(inner, 0).width
    numbers = [int.from_bytes(row.tobytes(), "little") for row in beats]
    return np.array([(number >> offset) & ((1 << width) - 1) for number in numbers], np.int64)


def element_fields(values: NDArray) -> list[int]:
    """The nearest elements of numbers, as the integers of their bits."""
    return element_bits(round_element(values)).ravel().tolist()


def elements_of(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Elements from the integers of their bits."""
    return from_element_bits(numbers.astype(np.uint32))
