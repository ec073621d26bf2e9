"""Ternary matrices of GGUF files: the layout of I2_S, and the repacking of all types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CheckpointError, within
from .gguf_blocks import zero_blocks
from .gguf_layouts import LAYOUTS
from .gguf_names import scale_name
from .i2_s import I2SLayout, I2SMatrix, I2SReading, choose_layout, unpack_codes
from .packing import pack_codes
from .scales import check_legal_scales, fewest_scales
from .tensors import TernaryTensor

if TYPE_CHECKING:
    from .gguf_file import GgufFile

__all__ = ["read_i2s_layout", "read_ternary"]

#: The norm in front of each matrix, by the ends of Hugging Face's names.
_NORMS = {
    "self_attn.q_proj": "input_layernorm",
    "self_attn.k_proj": "input_layernorm",
    "self_attn.v_proj": "input_layernorm",
    "self_attn.o_proj": "self_attn.attn_sub_norm",
    "mlp.gate_proj": "post_attention_layernorm",
    "mlp.up_proj": "post_attention_layernorm",
    "mlp.down_proj": "mlp.ffn_sub_norm",
}


def _norm_in_front(name: str) -> str:
    """Name the gain of the norm whose results a matrix multiplies, by Hugging Face's names."""
    _, _, layer, linear = name.removesuffix(".weight").split(".", 3)
    return f"model.layers.{layer}.{_NORMS[linear]}.weight"


def read_i2s_layout(
    file: GgufFile, linears: Collection[str], names: Mapping[str, str], asked: str
) -> I2SReading | None:
    """Choose the layout of the matrices in I2_S.

    Parameters
    ----------
    file : the file
    linears : Hugging Face's names of the tensors of all linear layers
    names : names in the file by Hugging Face's
    asked : see ``choose_layout``

    Returns
    -------
    The layout and how sure it is; None where no matrix is I2_S

    Raises
    ------
    CheckpointError
        If ``choose_layout`` does, or a layout is given and no matrix is I2_S.
    """
    matrices = []
    for ours in linears:
        name = names[ours]
        entry = file.entries[name]
        if entry.layout is LAYOUTS["I2_S"]:
            n, k = entry.shape
            norm = names.get(_norm_in_front(ours))
            gain = file.array(norm) if norm and file.entries[norm].shape == (k,) else None
            raw = file.raw(name)[: n * k // 4]
            matrices.append(I2SMatrix(name=name, shape=(n, k), raw=raw, gain=gain))
    if matrices:
        return choose_layout(file.path, matrices, asked)
    if asked != "auto":
        raise CheckpointError(
            f"{file.path}: the layout of I2_S must not be given, because no matrix is I2_S; "
            "leave out --i2s-layout (i2s_layout)"
        )
    return None


def read_ternary(
    file: GgufFile, name: str, module: str, heads: int, layout: I2SLayout
) -> TernaryTensor:
    """Repack a matrix.

    Parameters
    ----------
    file : the file
    name, module : name of the tensor in the file, and of the module in Hugging Face
    heads : heads whose rows llama.cpp interleaves for rotary positions; 0 for the order of Hugging
        Face
    layout : layout of I2_S

    Raises
    ------
    CheckpointError
        If the weights or scales are not legal.
    """
    entry = file.entries[name]
    n, k = entry.shape
    raw, kind = file.raw(name), entry.layout
    assert kind is not None
    scale = np.ones((1, 1), np.float32)
    extra = scale_name(name)
    factor = file.array(extra) if extra in file.entries else None
    with within(f"{file.path}: {name}"):
        if kind.tensor_bytes:
            scale = raw[n * k // 4 : n * k // 4 + 4].view(np.float32).reshape(1, 1).copy()
            check_legal_scales("the scale after the weights", scale, zero=True)
            raw = raw[: n * k // 4]
            if layout is not I2SLayout.BLOCK128:
                raw = unpack_codes(raw, k, layout)
        rows = raw.reshape(n, -1)
        if heads:
            # Row 2j + i of a head is row i·(half) + j of Hugging Face's.
            halves = rows.reshape(heads, n // heads // 2, 2, -1).swapaxes(1, 2)
            rows = np.ascontiguousarray(halves).reshape(n, -1)
        if kind.tensor_bytes:
            plain = layout is I2SLayout.BLOCK128
            packed = kind.unpack(rows) if plain else pack_codes(rows)
        else:
            codes, d = kind.split(rows, k)
            check_legal_scales("scales", d, zero=True)
            packed = kind.unpack(codes)
            # llama.cpp gives a block of zeros the scale 0, which is not the scale of the tensor.
            scale = fewest_scales(d, zero_blocks(packed, d == 0))
        if factor is not None:
            if factor.size != 1 or factor.dtype != np.float32:
                raise CheckpointError(
                    f"{extra} must be one float32, not {factor.dtype} of shape {factor.shape}"
                )
            check_legal_scales(extra, factor, zero=False)
            with np.errstate(over="ignore"):
                scale = scale * factor.reshape(1, 1)
        return TernaryTensor(
            name=module,
            packed=packed,
            out_features=n,
            scale=scale,
            group_size=k // scale.shape[1],
        )
