"""The layouts of GGUF's ternary types: sizes, the place of the scales, and the repacking.

A number of a type can stand for several layouts. ``gguf_places.py`` tells them apart.

Sources: ggml-quants.c of llama.cpp (TQ1_0, TQ2_0, Q2_0) and of PrismML's fork (Q2_0 of 128, PQ2_0,
PTQ1_0); llama.cpp's pull request 22836 (STQ1_0); iqk_quantize.cpp of ik_llama.cpp (IQ2_BN);
ggml-bitnet-mad.cpp of bitnet.cpp (I2_S).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from .gguf_blocks import (
    PTQ1_PARTS,
    TQ1_PARTS,
    fields_from_packed,
    packed_from_fields,
    packed_from_sherry,
    packed_from_tq1,
    sherry_from_packed,
    tq1_from_packed,
)
from .packing import unpack_weights

__all__ = ["BY_NUMBER", "LAYOUTS", "BlockLayout"]


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """A layout of ternary weights in blocks along K.

    Parameters
    ----------
    name : the type's name, with the weights of a block where two layouts have one name
    numbers : numbers of the type in files; the writer takes the first one
    weights, size : weights and bytes of a block, the scale included
    scale_first : the float16 scale of a block is in front of its codes; None where blocks have none
    row_bytes : bytes in front of each row: 4 of a float32 scale, or 0
    tensor_bytes : bytes behind all rows: 32 whose first four are a float32 scale, or 0
    unpack : function from the codes uint8[N, K / weights, bytes] to ``pack_weights``'s layout
    pack : the inverse, from uint8[ceil(N / 4), K] and N
    transform : files of the type are of models that need a transform of the activations
    """

    name: str
    numbers: tuple[int, ...]
    weights: int
    size: int
    scale_first: bool | None
    row_bytes: int = 0
    tensor_bytes: int = 0
    unpack: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    pack: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
    transform: bool = False

    def stored_bytes(self, shape: tuple[int, ...]) -> int:
        """Count the bytes of a tensor; a part of a block counts as a whole one."""
        if not self.row_bytes:
            return -(-prod(shape) // self.weights) * self.size + self.tensor_bytes
        row = self.row_bytes + -(-shape[-1] // self.weights) * self.size
        return prod(shape[:-1]) * row

    @property
    def codes(self) -> slice:
        """Bytes of a block that are not its scale."""
        return slice(*{True: (2, None), False: (0, -2), None: (0, None)}[self.scale_first])

    def split(
        self, rows: NDArray[np.uint8], k: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Split rows in codes and scales.

        Parameters
        ----------
        rows : uint8[N, bytes], without ``tensor_bytes``
        k : K, a multiple of ``weights``

        Returns
        -------
        uint8[N, K / weights, bytes] and float32[N, K / weights or 1]; where neither a block nor a
        row has a scale, ones
        """
        n = len(rows)
        if self.row_bytes:
            d = np.ascontiguousarray(rows[:, :4]).view(np.float32)
            return rows[:, 4:].reshape(n, k // self.weights, self.size), d
        blocks = rows.reshape(n, k // self.weights, self.size)
        if self.scale_first is None:
            return blocks, np.ones((n, 1), np.float32)
        place = slice(0, 2) if self.scale_first else slice(-2, None)
        half = np.ascontiguousarray(blocks[..., place]).view(np.float16)
        return blocks[..., self.codes], half[..., 0].astype(np.float32)

    def join(self, codes: NDArray[np.uint8], scale: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Undo ``split``; the scales must be exact.

        Parameters
        ----------
        codes : uint8[N, K / weights, bytes]
        scale : float32[N, K / weights or 1]
        """
        n, blocks, size = codes.shape
        if self.row_bytes:
            front = np.ascontiguousarray(scale, np.float32).view(np.uint8)
            return np.concatenate([front, codes.reshape(n, -1)], axis=1)
        if self.scale_first is None:
            return codes.reshape(n, -1)
        out = np.empty((n, blocks, size + 2), np.uint8)
        out[..., self.codes] = codes
        place = slice(0, 2) if self.scale_first else slice(-2, None)
        out[..., place] = scale.astype(np.float16)[..., np.newaxis].view(np.uint8)
        return out.reshape(n, -1)

    def values(self, raw: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray:
        """Multiply the trits of a tensor with their scales, which float16 holds exactly.

        Parameters
        ----------
        raw : the bytes of the tensor
        shape : shape of the result, whose last size is a multiple of ``weights``

        Returns
        -------
        float16; float32 where a row has a float32 scale

        Raises
        ------
        CheckpointError
            If a code is illegal.
        """
        k = shape[-1]
        rows = raw.reshape(prod(shape[:-1]), -1)
        out = np.empty((len(rows), k), np.float32 if self.row_bytes else np.float16)
        step = max(4, 2**22 // k)
        for start in range(0, len(rows), step):
            codes, d = self.split(rows[start : start + step], k)
            trits = unpack_weights(self.unpack(codes), len(codes))
            groups = trits.reshape(len(codes), d.shape[1], -1)
            with np.errstate(all="ignore"):
                np.multiply(
                    groups,
                    d.astype(out.dtype)[..., np.newaxis],
                    out=out[start : start + step].reshape(groups.shape),
                    casting="unsafe",
                )
        # A product of 0 and a negative scale would be -0.
        return (out + out.dtype.type(0)).reshape(shape)


def _unpack_fields(
    codes: NDArray[np.uint8], *, run: int, msb_first: bool = False
) -> NDArray[np.uint8]:
    """Repack fields of two bits; see ``packed_from_fields``."""
    return packed_from_fields(codes.reshape(len(codes), -1), msb_first=msb_first, run=run)


def _pack_fields(
    packed: NDArray[np.uint8], n: int, *, weights: int, run: int, msb_first: bool = False
) -> NDArray[np.uint8]:
    """Undo ``_unpack_fields``."""
    rows = fields_from_packed(packed, n, msb_first=msb_first, run=run)
    return rows.reshape(n, -1, weights // 4)


def _fields(name: str, numbers: tuple[int, ...], weights: int, run: int, **settings) -> BlockLayout:
    """Make a layout of codes t + 1 in two bits, the first of four runs lowest."""
    scale = 0 if settings.get("scale_first") is None else 2
    return BlockLayout(
        name=name,
        numbers=numbers,
        weights=weights,
        size=weights // 4 + scale,
        unpack=partial(_unpack_fields, run=run),
        pack=partial(_pack_fields, weights=weights, run=run),
        **settings,
    )


#: The layouts by name.
LAYOUTS = {
    layout.name: layout
    for layout in (
        BlockLayout(
            name="TQ1_0",
            numbers=(34,),
            weights=256,
            size=54,
            scale_first=False,
            unpack=partial(packed_from_tq1, parts=TQ1_PARTS),
            pack=partial(tq1_from_packed, parts=TQ1_PARTS),
        ),
        _fields("TQ2_0", (35,), 256, 32, scale_first=False),
        BlockLayout(
            name="I2_S",
            numbers=(36,),
            weights=4,
            size=1,
            scale_first=None,
            tensor_bytes=32,
            unpack=partial(_unpack_fields, run=32, msb_first=True),
            pack=partial(_pack_fields, weights=4, run=32, msb_first=True),
        ),
        _fields("Q2_0_64", (42,), 64, 1, scale_first=True),
        _fields("Q2_0_128", (42,), 128, 1, scale_first=True),
        BlockLayout(
            name="STQ1_0",
            numbers=(42, 43),
            weights=256,
            size=42,
            scale_first=False,
            unpack=packed_from_sherry,
            pack=sherry_from_packed,
        ),
        _fields("IQ2_BN", (135,), 64, 16, scale_first=None, row_bytes=4),
        _fields("PQ2_0", (142,), 128, 1, scale_first=True, transform=True),
        BlockLayout(
            name="PTQ1_0",
            numbers=(143,),
            weights=128,
            size=28,
            scale_first=False,
            unpack=partial(packed_from_tq1, parts=PTQ1_PARTS),
            pack=partial(tq1_from_packed, parts=PTQ1_PARTS),
            transform=True,
        ),
    )
}


#: The layouts that a number of a type can stand for.
BY_NUMBER = {
    number: [layout for layout in LAYOUTS.values() if number in layout.numbers]
    for number in sorted({number for layout in LAYOUTS.values() for number in layout.numbers})
}
