"""MLX's affine groups of two bits, as far as they are ternary.

A weight is ``scale · q + bias`` with q from 0 to 3. The trits are q − z where the bias is
``−z · scale``. Four neighbors along K share a byte, the first one in the lowest bits. Source:
``mlx.core.dequantize`` of MLX 0.32.4, compared by hand: equal for groups of 32, 64 and 128.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks import first_place
from ..errors import CheckpointError, within
from .finite import to_finite_float32
from .gguf_blocks import fields_from_packed, packed_from_fields, zero_blocks
from .packing import pack_codes, unpack_weights
from .scales import fewest_scales
from .tensors import TernaryTensor

if TYPE_CHECKING:
    from .safetensors import SafetensorsFile

__all__ = ["mlx_group", "mlx_modules", "mlx_tensor", "mlx_values", "mlx_words", "without_mlx"]

#: Keys of the object on quantization, and their legal values.
_KEYS = {"bits": (2,), "mode": ("affine",), "group_size": (32, 64, 128)}
_PARTS = ("weight", "scales", "biases")


def mlx_modules(stored: Mapping[str, SafetensorsFile]) -> list[str]:
    """List the modules that have packed words, scales and biases."""
    return [
        module
        for module in (name.removesuffix(".scales") for name in stored if name.endswith(".scales"))
        if all(f"{module}.{part}" in stored for part in _PARTS)
        and stored[f"{module}.weight"].info(f"{module}.weight")[0] == "U32"
    ]


def without_mlx(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the keys that describe MLX's packing, after it is read."""
    return {x: y for x, y in config.items() if x not in ("quantization", "quantization_config")}


def mlx_group(config: Mapping[str, Any], where: Path) -> int:
    """Read the weights of a group.

    Parameters
    ----------
    config : content of ``config.json``
    where : file or folder, for messages

    Raises
    ------
    CheckpointError
        If the configuration is not that of affine groups of two bits, the same in all modules.
    """
    found = config.get("quantization", config.get("quantization_config"))
    if not isinstance(found, dict) or config.get("quantization_config", found) != found:
        raise CheckpointError(
            f"{where}: config's quantization must be one object with group_size and bits, the same "
            "as quantization_config; take the config.json that belongs to these weights"
        )
    for key, value in ({"mode": "affine", "bits": None, "group_size": None} | found).items():
        if key not in _KEYS or type(value) is bool or value not in _KEYS[key]:
            legal = " or ".join(map(str, _KEYS.get(key, ("absent",))))
            raise CheckpointError(
                f"{where}: quantization's {key} must be {legal} for ternary weights of MLX, not "
                f"{value!r}"
            )
    return found["group_size"]


def _parts(
    stored: Mapping[str, SafetensorsFile], module: str, shape: tuple[int, int] | None, group: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Read the bytes [N, K / 4], scales and biases [N, K / group] of a module."""
    words, scale, bias = (stored[f"{module}.{part}"][f"{module}.{part}"] for part in _PARTS)
    where = f"{stored[f'{module}.weight'].path}: {module}"
    if words.ndim != 2 or (shape and (words.shape[0], 16 * words.shape[1]) != shape):
        expected = f"({shape[0]}, {shape[1] // 16}) of config.json" if shape else "(N, K / 16)"
        raise CheckpointError(f"{where}.weight must have the shape {expected}, not {words.shape}")
    n, k = words.shape[0], 16 * words.shape[1]
    for name, one in (("scales", scale), ("biases", bias)):
        if k % group or one.shape != (n, k // group) or one.dtype.kind not in "fV":
            raise CheckpointError(
                f"{where}.{name} must be float of shape ({n}, {k} / {group}), not {one.dtype} of "
                f"shape {one.shape}"
            )
    raw = np.ascontiguousarray(words).view(np.uint8)
    return (
        raw,
        to_finite_float32(f"{where}.scales", scale),
        to_finite_float32(f"{where}.biases", bias),
    )


def mlx_tensor(
    stored: Mapping[str, SafetensorsFile], module: str, shape: tuple[int, int] | None, group: int
) -> TernaryTensor:
    """Read a ternary matrix.

    Parameters
    ----------
    stored : the file of each tensor
    module : name of the module
    shape : (N, K) of the configuration; None where it has none
    group : weights of a group

    Raises
    ------
    CheckpointError
        If a shape is wrong, or a group is not ternary; the message has the place.
    """
    raw, scale, bias = _parts(stored, module, shape, group)
    n, k = raw.shape[0], 4 * raw.shape[1]
    with within(stored[f"{module}.weight"].path):
        if (bias == -scale).all() and (scale > 0).all():
            packed = packed_from_fields(raw, msb_first=False, run=1)
        else:
            packed, scale = _centered(module, raw, scale, bias)
        scale = fewest_scales(scale, zero_blocks(packed, scale == 0))
        return TernaryTensor(
            name=module, packed=packed, out_features=n, scale=scale, group_size=k // scale.shape[1]
        )


def _centered(
    module: str, raw: NDArray[np.uint8], scale: NDArray[np.float32], bias: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Repack groups whose zero is at another code, or whose scale is negative or 0."""
    n, groups = scale.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = np.rint(-bias / scale)
        exact = -zero * scale == bias
    flat = scale == 0
    legal = flat | ((zero >= 0) & (zero <= 3) & exact)
    step = np.where(flat, 0, np.sign(scale)).astype(np.int8)
    offset = np.where(flat, np.sign(bias), -step * np.where(legal & ~flat, zero, 0))
    q = (raw[..., np.newaxis] >> np.arange(0, 8, 2, dtype=np.uint8) & np.uint8(3)).view(np.int8)
    trits = q.reshape(n, groups, -1) * step[..., np.newaxis]
    trits += offset.astype(np.int8)[..., np.newaxis]
    legal &= (np.abs(trits) <= 1).all(axis=-1)
    if not legal.all():
        row, group = first_place(~legal)
        raise CheckpointError(
            f"{module}: a group must have the weights -s, 0 and s, and that of output {row}, input "
            f"{group * trits.shape[2]} has the scale {scale[row, group]} and the bias "
            f"{bias[row, group]}; these weights are not ternary, take the original checkpoint"
        )
    packed = pack_codes((trits.reshape(n, -1) + np.int8(1)).view(np.uint8))
    return packed, np.where(flat, np.abs(bias), np.abs(scale))


def mlx_values(stored: Mapping[str, SafetensorsFile], module: str, group: int) -> NDArray:
    """Read an embedding or a head: its weights in the type of its scales.

    Parameters
    ----------
    stored, module, group : as in ``mlx_tensor``

    Raises
    ------
    CheckpointError
        If it is not ternary; only such products are exact.
    """
    tensor = mlx_tensor(stored, module, None, group)
    dtype = stored[f"{module}.scales"][f"{module}.scales"].dtype
    trits = unpack_weights(tensor.packed, tensor.out_features)
    scale = tensor.scale.astype(dtype).repeat(tensor.group_size, axis=1)
    return trits.astype(dtype) * scale + dtype.type(0)


def mlx_words(tensor: TernaryTensor, group: int) -> tuple[NDArray, NDArray, NDArray]:
    """Lay a matrix out: words, scales and biases, whose types are float16 where that is exact.

    Parameters
    ----------
    tensor : a matrix whose groups are multiples of ``group``
    group : weights of a group
    """
    n, k = tensor.shape
    raw = fields_from_packed(tensor.packed, n, msb_first=False, run=1)
    scale = tensor.multiplier.repeat(n // len(tensor.scale), axis=0)
    scale = scale.repeat(k // group // scale.shape[1], axis=1)
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    if (half == scale).all():
        scale = half
    return np.ascontiguousarray(raw).view(np.uint32), scale, -scale
