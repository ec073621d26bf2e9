"""Checkpoints of ternary models, in every public format, behind one lazy view."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .huggingface import (
    CheckpointError,
    SafetensorsFile,
    check_packed,
    pack_weights,
    unpack_weights,
)
from .quantize import absmean_quantize

__all__ = ["Checkpoint", "LazyTensors", "TernaryTensor", "load_checkpoint"]

_T = TypeVar("_T")

#: The linear layers of a decoder layer, all ternary; their (N, K) in words of ``linear_shapes``.
DECODER_LINEARS = {
    "self_attn.q_proj": ("q", "hidden"),
    "self_attn.k_proj": ("kv", "hidden"),
    "self_attn.v_proj": ("kv", "hidden"),
    "self_attn.o_proj": ("hidden", "q"),
    "mlp.gate_proj": ("ffn", "hidden"),
    "mlp.up_proj": ("ffn", "hidden"),
    "mlp.down_proj": ("hidden", "ffn"),
}

_DECODER_LINEAR = re.compile(
    r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)\.weight"
)

#: A real config.json has a few kilobytes; parsing a larger one would only cost memory.
_JSON_LIMIT = 64 * 2**20

#: Fewer weights than this in one scale's group are a float matrix, not a ternary one.
_SMALLEST_GROUP = 32


class _MissingTensorError(CheckpointError, KeyError):
    """A name that a checkpoint does not have; a KeyError too, as mappings promise."""

    __str__ = Exception.__str__


@dataclass(frozen=True, kw_only=True)
class TernaryTensor:
    """A matrix of trits with its scales.

    ``W[n, k] = trits[n, k] · scale[n // (N / S), k // group_size]``: the rows are divided in S
    equal blocks, each row in groups of ``group_size``, and each has its own scale.

    Parameters
    ----------
    name : Hugging Face's name of the module: ``model.layers.0.self_attn.q_proj``
    packed : uint8[ceil(N / 4), K] as ``pack_weights`` lays it out; may be memory-mapped
    out_features : N
    scale : float32[S, K / group_size], multiplicative, finite and not negative
    group_size : K where there is one group

    Raises
    ------
    CheckpointError
        If shapes or types do not fit each other, a code is 3, or a scale is not legal.
    """

    name: str
    packed: NDArray[np.uint8]
    out_features: int
    scale: NDArray[np.float32]
    group_size: int

    def __post_init__(self) -> None:
        try:
            check_packed(self.packed, self.out_features)
        except CheckpointError as error:
            raise CheckpointError(f"{self.name}: {error}") from None
        k = self.packed.shape[1]
        if not 0 < self.group_size <= k or k % self.group_size:
            raise CheckpointError(
                f"{self.name}: group_size must divide K = {k}, not be {self.group_size}"
            )
        scale = self.scale
        if (
            scale.dtype != np.float32
            or scale.ndim != 2
            or scale.shape[1] != k // self.group_size
            or not scale.shape[0]
            or self.out_features % scale.shape[0]
        ):
            raise CheckpointError(
                f"{self.name}: scale must be float32[S, {k // self.group_size}] where S divides "
                f"N = {self.out_features}, not {scale.dtype} of shape {scale.shape}"
            )
        legal = np.isfinite(scale) & (scale >= 0)
        if not legal.all():
            raise CheckpointError(
                f"{self.name}: scales must be finite and not negative, not {scale[~legal][0]}; "
                "the file is damaged, or was written after an overflow"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return self.out_features, self.packed.shape[1]

    @property
    def trits(self) -> NDArray[np.int8]:
        """The trits int8[N, K], unpacked anew each time."""
        return unpack_weights(self.packed, self.out_features)

    @classmethod
    def from_trits(
        cls,
        name: str,
        trits: NDArray[np.int8],
        scale: NDArray[np.float32] | np.float32 | float,
        group_size: int | None = None,
    ) -> Self:
        """Pack trits int8[N, K]; a scale that is a number is the scale of the whole matrix."""
        scale = np.asarray(scale, np.float32)
        return cls(
            name=name,
            packed=pack_weights(trits),
            out_features=trits.shape[0],
            scale=scale if scale.ndim else scale.reshape(1, 1),
            group_size=trits.shape[1] if group_size is None else group_size,
        )


class LazyTensors(Mapping[str, _T]):
    """Tensors by name, each read when it is asked for, and anew each time.

    Parameters
    ----------
    where : file or folder, for messages
    readers : what reads each tensor
    """

    def __init__(self, where: Path, readers: dict[str, Callable[[], _T]]) -> None:
        self._where = where
        self._readers = readers

    def __getitem__(self, name: str) -> _T:
        if name not in self._readers:
            raise _MissingTensorError(
                f"{self._where}: must contain the tensor {name!r}; it has {len(self._readers)} "
                f"others, such as {min(self._readers, default='none')!r}"
            )
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model's configuration and tensors, as ``load_checkpoint`` reads them.

    Parameters
    ----------
    path : the file or folder
    config : ``config.json``; for GGUF the same keys, derived from the file's metadata
    format : how the ternary weights are stored, such as ``huggingface packed`` or ``gguf TQ1_0``
    scale_convention : what the stored scale means, in words
    ternary : matrices of trits by Hugging Face's module name, without ``.weight``
    stored : of each of them the type in the file and the bytes there, scales included
    tensors : all others (embeddings, norms, a separate head) by Hugging Face's name, with
        ``.weight``; in the type stored (bfloat16 as ``ml_dtypes.bfloat16``), memory-mapped
    """

    path: Path
    config: dict[str, Any]
    format: str
    scale_convention: str
    ternary: Mapping[str, TernaryTensor]
    stored: Mapping[str, tuple[str, int]]
    tensors: Mapping[str, NDArray]


def load_checkpoint(path: Path, *, quantize: str | None = None) -> Checkpoint:
    """Read a checkpoint's configuration and names; tensors follow when they are asked for.

    Formats: a Hugging Face folder or safetensors file (``config.json`` beside it; sharded files
    through ``model.safetensors.index.json``) with packed uint8 weights under either convention of
    ``weight_scale``, with ternary-valued float weights (several scales per matrix as in TriLM), or
    with float master weights; and GGUF with TQ1_0, TQ2_0 or I2_S. Nothing is unpickled.

    Whether a stored ``weight_scale`` multiplies or divides is decided from ``config.json`` alone,
    as ``transformers.integrations.bitnet`` does: it multiplies where ``linear_class`` is
    ``autobitlinear``, and divides where it is ``bitlinear`` or absent.

    Parameters
    ----------
    path : a folder, a ``.safetensors`` file or a ``.gguf`` file
    quantize : "absmean" to quantize float master weights (BitNet b1.58, one scale per matrix).
        Matrices that are ternary-valued already keep their values.

    Raises
    ------
    CheckpointError
        If the file is not such a checkpoint; the message names the file or tensor, the rule, what
        was found and what to do. What only the tensors' data shows comes when they are read.
    """
    path = Path(path)
    if quantize not in (None, "absmean"):
        raise CheckpointError(f"quantize must be None or 'absmean', not {quantize!r}")
    if path.is_dir():
        return _load_folder(path, quantize)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: must be a readable checkpoint: {error.strerror}") from None
    if magic == b"GGUF" or path.suffix == ".gguf":
        from .gguf_file import load_gguf

        if quantize:
            raise CheckpointError(
                f"{path}: quantize is for float master weights, and a GGUF file is quantized "
                "already; leave it out"
            )
        return load_gguf(path)
    if magic[:2] == b"PK" or path.suffix in (".bin", ".pt", ".pth"):
        raise CheckpointError(
            f"{path}: must be a safetensors or GGUF file, not a pickle, which can run code when it "
            "is read; convert it with save_pretrained(safe_serialization=True)"
        )
    config_file = path.with_name("config.json")
    if not config_file.is_file():
        raise CheckpointError(
            f"{path}: must have its config.json beside it, which says how the scales are meant; "
            "copy it there, or name the folder"
        )
    return _load_safetensors(path, read_json(config_file), [path], quantize)


def read_json(file: Path) -> dict[str, Any]:
    """An object from a JSON file that is not trusted."""
    try:
        if file.stat().st_size > _JSON_LIMIT:
            raise CheckpointError(f"{file}: must have at most {_JSON_LIMIT} bytes")
        value = json.loads(file.read_bytes())
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: must be readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: must hold an object, not a {type(value).__name__}")
    return value


def _load_folder(folder: Path, quantize: str | None) -> Checkpoint:
    config_file, index_file = folder / "config.json", folder / "model.safetensors.index.json"
    if index_file.is_file():
        files = _shards(index_file)
    elif (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    else:
        try:
            others = sorted(
                file.name
                for file in folder.iterdir()
                if file.suffix in (".gguf", ".bin", ".pt", ".pth", ".safetensors")
            )
        except OSError as error:
            raise CheckpointError(f"{folder}: must be readable: {error.strerror}") from None
        found = f"{others[0]}; name that file itself" if others else "neither"
        raise CheckpointError(
            f"{folder}: must be a folder with model.safetensors or model.safetensors.index.json; "
            f"found {found}"
        )
    if not config_file.is_file():
        raise CheckpointError(
            f"{folder}: must have a config.json, which says how the scales are meant; "
            "take the model's own"
        )
    return _load_safetensors(folder, read_json(config_file), files, quantize)


def _shards(index_file: Path) -> list[Path]:
    """The files that an index names, each once."""
    weight_map = read_json(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index_file}: must have an object weight_map of tensors and files")
    names = set()
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise CheckpointError(
                f"{index_file}: weight_map must name safetensors files in its own folder, "
                f"not {name!r} for {tensor!r}"
            )
        names.add(name)
    return [index_file.with_name(name) for name in sorted(names)]


def linear_shapes(config: Mapping[str, Any], where: Path) -> dict[str, tuple[int, int]]:
    """(N, K) of a decoder layer's seven linear layers, from Hugging Face's keys.

    Raises
    ------
    CheckpointError
        If a key is missing or not a positive integer.
    """

    def size(key: str, default: int | None = None) -> int:
        value = config.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 < value < 2**31:
            raise CheckpointError(
                f"{where}: config's {key} must be a positive integer below 2**31, not {value!r}"
            )
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    kv_heads = size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise CheckpointError(
            f"{where}: config's num_attention_heads must be a multiple of num_key_value_heads, "
            f"not {heads} of {kv_heads}"
        )
    if config.get("head_dim") is None and hidden % heads:
        raise CheckpointError(
            f"{where}: config's hidden_size must be a multiple of num_attention_heads, "
            f"not {hidden} of {heads}"
        )
    head_dim = size("head_dim", hidden // heads)
    sizes = {
        "hidden": hidden,
        "ffn": size("intermediate_size"),
        "q": heads * head_dim,
        "kv": kv_heads * head_dim,
    }
    return {name: (sizes[n], sizes[k]) for name, (n, k) in DECODER_LINEARS.items()}


def decoder_linears(
    config: Mapping[str, Any], where: Path, present: Collection[str]
) -> dict[str, tuple[int, int]]:
    """(N, K) of every decoder layer's linear layers by tensor name; all must be there.

    Raises
    ------
    CheckpointError
        If the configuration is not a decoder's, or a tensor of a layer is missing.
    """
    shapes = linear_shapes(config, where)
    layers = config.get("num_hidden_layers")
    if type(layers) is not int or not 0 < layers <= 10_000:
        raise CheckpointError(
            f"{where}: config's num_hidden_layers must be from 1 to 10000, not {layers!r}"
        )
    expected = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(layers)
        for name, shape in shapes.items()
    }
    there = set(present)
    missing = [name for name in expected if name not in there]
    if missing:
        raise CheckpointError(
            f"{where}: must contain the tensor {missing[0]!r} (config has {layers} layers); "
            f"{len(missing)} of {len(expected)} linear layers are missing"
        )
    extra = [name for name in present if _DECODER_LINEAR.fullmatch(name) and name not in expected]
    if extra:
        raise CheckpointError(
            f"{where}: has the tensor {extra[0]!r}, but config's num_hidden_layers is {layers}"
        )
    return expected


def _mlp_linears(config: Mapping[str, Any], present: Collection[str]) -> dict[str, tuple[int, int]]:
    """(N, K) of the layers of a network that ``trilith.golden.training`` trained."""
    sizes = config.get("layer_sizes")
    if not isinstance(sizes, list) or any(type(size) is not int for size in sizes):
        return {}
    names = (f"layers.{index}.weight" for index in range(len(sizes)))
    shapes = dict(zip(names, zip(sizes[1:], sizes[:-1], strict=True), strict=False))
    return {name: shape for name, shape in shapes.items() if name in present}


def _load_safetensors(
    where: Path, config: dict[str, Any], files: list[Path], quantize: str | None
) -> Checkpoint:
    stored: dict[str, SafetensorsFile] = {}
    for file in files:
        opened = SafetensorsFile(file)
        for name in opened:
            if name in stored:
                raise CheckpointError(
                    f"{file}: has the tensor {name!r}, which {stored[name].path.name} has too"
                )
            stored[name] = opened
    packed_names = [
        name
        for name, file in stored.items()
        if name.endswith(".weight") and file.info(name)[0] == "U8"
    ]
    is_decoder = any(_DECODER_LINEAR.fullmatch(name) for name in stored)
    if not is_decoder and not packed_names:
        raise CheckpointError(
            f"{where}: must have linear layers named model.layers.0.self_attn.q_proj.weight and so "
            f"on, or packed uint8 weights; found {len(stored)} tensors, such as "
            f"{min(stored, default='none')!r}"
        )
    shapes = decoder_linears(config, where, stored) if is_decoder else _mlp_linears(config, stored)
    # In the order of the layers; the file's own is by type and name.
    order = {name: place for place, name in enumerate(shapes)}
    packed_names.sort(key=lambda name: order.get(name, len(order)))
    if packed_names:
        if quantize:
            raise CheckpointError(
                f"{where}: quantize is for float master weights, and {packed_names[0]} is packed "
                "already; leave it out"
            )
        kind = "huggingface packed"
        multiplies = _scale_multiplies(config, where, packed_names[0])
        convention = "multiplied (autobitlinear)" if multiplies else "divided by (bitlinear)"
        readers = _packed_readers(where, stored, packed_names, shapes, multiplies)
    else:
        readers = _float_readers(where, stored, shapes, quantize)
        first = next(iter(shapes))
        if _is_ternary_valued(stored[first], first):
            kind, convention = "huggingface ternary float", "the weights' magnitudes"
        elif quantize:
            kind, convention = f"huggingface float ({quantize})", "mean |W|, multiplied (absmean)"
        else:
            raise CheckpointError(_master_message(stored[first].path, first))
    parts = ("weight", "weight_scale") if packed_names else ("weight",)
    taken = {f"{module}.{part}" for module in readers for part in parts}
    return Checkpoint(
        path=where,
        config=config,
        format=kind,
        scale_convention=convention,
        ternary=LazyTensors(where, readers),
        stored={
            module: (
                stored[f"{module}.weight"].info(f"{module}.weight")[0],
                sum(stored[x].stored_bytes(x) for x in (f"{module}.{part}" for part in parts)),
            )
            for module in readers
        },
        tensors=LazyTensors(
            where,
            {
                name: partial(file.__getitem__, name)
                for name, file in stored.items()
                if name not in taken
            },
        ),
    )


def _packed_readers(
    where: Path,
    stored: dict[str, SafetensorsFile],
    names: list[str],
    shapes: dict[str, tuple[int, int]],
    multiplies: bool,
) -> dict[str, Callable[[], TernaryTensor]]:
    """What reads each packed matrix, by module; shapes and the presence of scales are checked."""
    for name in shapes:
        if name not in names:
            raise CheckpointError(
                f"{where}: {name} must be packed uint8 as {names[0]} is, "
                f"not {stored[name].info(name)[0]}"
            )
    readers = {}
    for name in names:
        module = name.removesuffix(".weight")
        shape = _check_packed_shape(where, name, stored[name].info(name)[1], shapes.get(name))
        if f"{module}.weight_scale" not in stored:
            raise CheckpointError(
                f"{where}: {name} is packed and must have its scale {module}.weight_scale "
                "beside it; without it the weights mean nothing"
            )
        readers[module] = partial(_read_packed_tensor, stored, module, shape, multiplies)
    return readers


def _float_readers(
    where: Path,
    stored: dict[str, SafetensorsFile],
    shapes: dict[str, tuple[int, int]],
    quantize: str | None,
) -> dict[str, Callable[[], TernaryTensor]]:
    """What reads each float matrix, by module; types and shapes are checked."""
    for name, shape in shapes.items():
        dtype, found = stored[name].info(name)
        if dtype not in ("F64", "F32", "F16", "BF16"):
            raise CheckpointError(
                f"{where}: {name} must be packed uint8 or float, not {dtype}; "
                "this quantization is not known here"
            )
        if found != shape:
            raise CheckpointError(
                f"{where}: {name} must have the shape {shape} that config asks for, not {found}"
            )
    return {
        name.removesuffix(".weight"): partial(_read_float_tensor, stored[name], name, quantize)
        for name in shapes
    }


def _scale_multiplies(config: dict[str, Any], where: Path, packed_name: str) -> bool:
    """Which of the two conventions of ``weight_scale`` the configuration asks for."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        raise CheckpointError(
            f"{where}: {packed_name} is packed, so config.json must have a quantization_config, "
            "which says whether weight_scale multiplies (linear_class autobitlinear) or divides "
            "(bitlinear); take the config.json that belongs to these weights"
        )
    method, linear = quantization.get("quant_method"), quantization.get("linear_class", "bitlinear")
    if method != "bitnet":
        raise CheckpointError(
            f"{where}: quantization_config's quant_method must be 'bitnet', not {method!r}; "
            "this quantization is not known here"
        )
    if linear not in ("bitlinear", "autobitlinear"):
        raise CheckpointError(
            f"{where}: quantization_config's linear_class must be 'bitlinear' or 'autobitlinear', "
            f"not {linear!r}"
        )
    mode = quantization.get("quantization_mode", "offline")
    if mode != "offline":
        raise CheckpointError(
            f"{where}: {packed_name} is packed, so quantization_config's quantization_mode must be "
            f"'offline', not {mode!r}; the config belongs to the float weights"
        )
    return linear == "autobitlinear"


def _check_packed_shape(
    where: Path, name: str, found: tuple[int, ...], shape: tuple[int, int] | None
) -> tuple[int, int]:
    """(N, K) of a packed tensor; N is four times its rows where config does not say."""
    if len(found) != 2 or 0 in found:
        raise CheckpointError(
            f"{where}: {name} is uint8 and must have two non-empty dimensions, not shape {found}"
        )
    if shape is None:
        return 4 * found[0], found[1]
    n, k = shape
    if found != (-(-n // 4), k):
        raise CheckpointError(
            f"{where}: {name} must be packed with shape {(-(-n // 4), k)} for the {n} x {k} that "
            f"config asks for, not {found}"
        )
    return shape


def _read_packed_tensor(
    stored: dict[str, SafetensorsFile], module: str, shape: tuple[int, int], multiplies: bool
) -> TernaryTensor:
    file, name = stored[f"{module}.weight_scale"], f"{module}.weight_scale"
    value = file[name]
    if value.size != 1 or file.info(name)[0] not in ("F64", "F32", "F16", "BF16"):
        raise CheckpointError(
            f"{file.path}: {name} must be one float, not {file.info(name)[0]} of shape "
            f"{value.shape}"
        )
    # Through float32 first: transformers computes with what was stored, in float32 at most.
    scale = value.reshape(1, 1).astype(np.float32)
    if not np.isfinite(scale).all() or scale[0, 0] <= 0:
        raise CheckpointError(
            f"{file.path}: {name} must be finite and positive, not {scale[0, 0]}; "
            "the file is damaged"
        )
    if not multiplies:
        with np.errstate(over="ignore"):
            scale = np.float32(1) / scale
    weights = stored[f"{module}.weight"]
    try:
        return TernaryTensor(
            name=module,
            packed=weights[f"{module}.weight"],
            out_features=shape[0],
            scale=scale,
            group_size=shape[1],
        )
    except CheckpointError as error:
        raise CheckpointError(f"{weights.path}: {error}") from None


def _master_message(file: Path, name: str) -> str:
    return (
        f"{file}: {name} must be ternary (each scale's weights in -s, 0, +s), and holds float "
        "master weights; quantize them with --quantize absmean (quantize='absmean')"
    )


def _is_ternary_valued(file: SafetensorsFile, name: str) -> bool:
    try:
        return ternary_from_float(name, file[name]) is not None
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None


def _read_float_tensor(file: SafetensorsFile, name: str, quantize: str | None) -> TernaryTensor:
    module = name.removesuffix(".weight")
    w = file[name]
    try:
        tensor = ternary_from_float(module, w)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None
    if tensor is not None:
        return tensor
    if quantize is None:
        raise CheckpointError(_master_message(file.path, name))
    trits, scale = absmean_quantize(w.astype(np.float32))
    return TernaryTensor.from_trits(module, trits, scale)


def ternary_from_float(name: str, w: NDArray) -> TernaryTensor | None:
    """The trits and scales of float weights that are ternary-valued; None where they are not.

    Sought are the fewest scales: blocks of rows first, as tensor-parallel training leaves them
    (TriLM, arXiv 2407.12327), then groups along K as well. A block of zeros takes the scale 1.

    Parameters
    ----------
    w : float[N, K]

    Raises
    ------
    CheckpointError
        If a weight is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        w = np.ascontiguousarray(w, np.float32)
    n, k = w.shape
    magnitude = np.abs(w)
    if not np.isfinite(magnitude.max()):
        raise CheckpointError(f"{name} must be finite in float32, and holds NaN or infinity")
    for groups in (g for g in range(1, max(1, k // _SMALLEST_GROUP) + 1) if k % g == 0):
        tiles = magnitude.reshape(n, groups, k // groups)
        per_row = tiles.max(axis=2)
        # One row tells most float matrices apart, before all are looked at.
        for rows in (slice(0, 1), slice(None)):
            if not ((tiles[rows] == per_row[rows, :, None]) | (tiles[rows] == 0)).all():
                break
        else:
            break
    else:
        return None
    scale = fewest_scales(per_row, per_row == 0)
    return TernaryTensor.from_trits(name, np.sign(w).astype(np.int8), scale, k // scale.shape[1])


def fewest_scales(scale: NDArray[np.float32], free: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The same scales in as few groups and blocks of rows as hold them exactly.

    Parameters
    ----------
    scale : float32[N, G]
    free : bool[N, G]: whose scale says nothing, since only zeros are scaled. They take another's,
        or 1 where there is none.

    Returns
    -------
    float32[S, 1 or G], S dividing N
    """

    def equal(cells: NDArray[np.float32], axis: int) -> bool:
        """Whether the cells along an axis hold one scale; −1 marks the free ones."""
        largest = cells.max(axis=axis, keepdims=True)
        return bool(((cells == largest) | (cells == -1)).all())

    cells = np.where(free, np.float32(-1), scale)
    if equal(cells, 1):
        cells = cells.max(axis=1, keepdims=True)
    n = len(cells)
    for blocks in (s for s in range(1, n + 1) if n % s == 0):
        parts = cells.reshape(blocks, n // blocks, -1)
        if equal(parts, 1):
            cells = parts.max(axis=1)
            break
    return np.where(cells == -1, np.float32(1), cells)
