"""Reader of GGUF files."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from ..errors import CheckpointError
from .gguf_blocks import TernaryType
from .gguf_names import ARCHITECTURES, CONFIG_KEYS, huggingface_name, permuted_heads, scale_name
from .gguf_ternary import read_i2s_layout, read_ternary
from .gguf_tokenizer import gguf_end_tokens
from .i2_s import I2SLayout
from .model_config import MODEL_FAMILIES, ModelConfig, transformer_linears
from .tensors import Checkpoint, LazyTensors, TernaryTensor

__all__ = ["GgufFile", "block_size", "load_gguf", "stored_bytes"]


#: bitnet.cpp's table formats, which are refused: their tiles depend on a configuration of its
#: kernels, and the file does not have it.
_TABLES = {38: "TL1", 39: "TL2"}


_FLOATS = {0: np.float32, 1: np.float16, 30: ml_dtypes.bfloat16, 28: np.float64}


#: Weights in a block, and bytes of a block, by type.
_BLOCKS = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
_BLOCKS[TernaryType.I2_S] = (4, 1)


_TYPE_NAMES = {int(kind): kind.name for kind in (*GGMLQuantizationType, *TernaryType)} | _TABLES


#: Struct letters of GGUF's value types; 8 is a string and 9 an array.
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))


_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class _Entry:
    """A tensor in a file.

    Parameters
    ----------
    kind : number of the type
    shape : (N, K), the reverse of GGUF's order
    place : first byte in the file
    """

    kind: int
    shape: tuple[int, ...]
    place: int


class GgufFile:
    """The metadata and tensor list of a GGUF file; data stays memory-mapped.

    Parameters
    ----------
    path : the file

    Attributes
    ----------
    metadata : values by key; for an array of strings the place of its first string in the file
    kinds : value type of each key, and the type of an array's elements
    entries : tensors by name

    Raises
    ------
    CheckpointError
        If the file is not a whole GGUF file of version 2 or 3, little-endian.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.kinds: dict[str, tuple[int, int | None]] = {}
        self.entries: dict[str, _Entry] = {}
        try:
            self._data = np.asarray(np.memmap(path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: must be a readable GGUF file: {error}") from None
        self._bytes = self._data.data
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
        first = self._place
        for _ in range(count):
            self._string()
        return first, count

    def _walk(self) -> None:
        """Read the whole header, and check that all tensors lie in the file."""
        magic, version, tensors, keys = self._take("4sIQQ")
        if magic != b"GGUF":
            raise self._refuse(f"must start with GGUF, not {bytes(magic)!r}")
        if version not in (2, 3):
            raise self._refuse(
                f"must be GGUF of version 2 or 3 in little-endian order, not {version:#x}; "
                "convert it with llama.cpp's tools"
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
        for name, (kind, shape, offset) in found.items():
            size = stored_bytes(kind, shape)
            if offset % alignment or start + offset + size > len(self._bytes):
                raise self._refuse(
                    f"{name} must be aligned to {alignment} bytes and lie in the file, not take "
                    f"{size} bytes from {start + offset} in a file of {len(self._bytes)}; "
                    "the file is damaged or truncated"
                )
            self.entries[name] = _Entry(kind, shape, start + offset)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a tensor, uint8[bytes], memory-mapped."""
        entry = self.entries[name]
        return self._data[entry.place : entry.place + stored_bytes(entry.kind, entry.shape)]

    def array(self, name: str) -> NDArray:
        """Read a tensor as an array, dequantized to float32 if its type is not a float.

        Raises
        ------
        CheckpointError
            If the type is not known, or a row is not a whole number of blocks.
        """
        entry, raw = self.entries[name], self.raw(name)
        if entry.kind in _FLOATS:
            array = raw.view(_FLOATS[entry.kind]).reshape(entry.shape)
            return array if array.flags.aligned else array.copy()
        block = block_size(entry.kind)
        if entry.shape[-1] % block:
            raise CheckpointError(
                f"{self.path}: {name} must have rows of a multiple of {block} values for "
                f"{_type_name(entry.kind)}, not {entry.shape[-1]}"
            )
        try:
            rows = raw.reshape(prod(entry.shape[:-1]), -1)
            # A damaged scale gives infinities, which the user of the array refuses.
            with np.errstate(all="ignore"):
                return dequantize(rows, GGMLQuantizationType(entry.kind)).reshape(entry.shape)
        except (ValueError, NotImplementedError):  # Unknown to the library, or without dequantizer.
            raise CheckpointError(
                f"{self.path}: {name} must be of a type that can be read, "
                f"not {_type_name(entry.kind)}"
            ) from None


def block_size(kind: int) -> int:
    """Count the weights in a block of a type, of which a row has a whole number.

    Parameters
    ----------
    kind : number of the type

    Returns
    -------
    The weights; 1 for unknown types
    """
    return _BLOCKS.get(kind, (1, 0))[0]


def stored_bytes(kind: int, shape: tuple[int, ...]) -> int:
    """Count the bytes of a tensor.

    Parameters
    ----------
    kind : number of the type
    shape : (N, K), or another shape

    Returns
    -------
    The bytes; 0 for unknown types, whose size cannot be checked
    """
    count = prod(shape)
    block, size = _BLOCKS.get(kind, (1, 0))
    # bitnet.cpp has the scale in 32 bytes after all blocks.
    return -(-count // block) * size + 32 * (kind == TernaryType.I2_S)


def _type_name(kind: int) -> str:
    """Return the name of a type in llama.cpp or bitnet.cpp."""
    return _TYPE_NAMES.get(kind, f"unknown type {kind}")


def load_gguf(path: Path, i2s_layout: str = "auto") -> Checkpoint:
    """Read a GGUF file as ``load_checkpoint`` does.

    Parameters
    ----------
    path : a file of one of ``ARCHITECTURES``, whose linear layers are TQ1_0, TQ2_0 or I2_S
    i2s_layout : see ``load_checkpoint``

    Returns
    -------
    The checkpoint with Hugging Face's names and order of rows.

    Raises
    ------
    CheckpointError
        If the file is not GGUF, is one part of several, or its linear layers are not ternary.
    """
    file = GgufFile(path)
    arch = file.metadata.get("general.architecture")
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise CheckpointError(
            f"{path}: general.architecture must be one of {', '.join(ARCHITECTURES)}, for which "
            f"the order of rows is known, not {arch!r}; convert the original checkpoint instead"
        )
    if file.metadata.get("split.count", 1) != 1:
        raise CheckpointError(
            f"{path}: must be a whole model, not one of {file.metadata['split.count']} parts; "
            "join them with llama-gguf-split --merge"
        )
    names: dict[str, str] = {}
    for name in file.entries:
        other = names.setdefault(huggingface_name(name), name)
        if other != name:
            raise CheckpointError(f"{path}: {name!r} and {other!r} are the same tensor")
    config = _config(file, arch, names)
    model = ModelConfig.read(config, path)
    linears = transformer_linears(config, path, names)
    heads = {ours: permuted_heads(arch, ours, model) for ours in linears}
    for ours, shape in linears.items():
        _check_ternary(file, names[ours], shape, heads[ours])
    i2_s = read_i2s_layout(file, list(linears), names, i2s_layout)
    readers: dict[str, Callable[[], TernaryTensor]] = {}
    stored: dict[str, tuple[str, int]] = {}
    taken = set()
    for ours, shape in linears.items():
        name, module = names[ours], ours.removesuffix(".weight")
        layout = i2_s.layout if i2_s else I2SLayout.BLOCK128
        readers[module] = partial(read_ternary, file, name, module, heads[ours], layout)
        scale = scale_name(name)
        kind = file.entries[name].kind
        size = stored_bytes(kind, shape) + 4 * (scale in file.entries)
        stored[module] = _type_name(kind), size
        taken |= {name, scale}
    has_scales = any(name in file.entries for name in taken if name.endswith(".scale"))
    return Checkpoint(
        path=path,
        config=config,
        format=f"gguf {', '.join(dict.fromkeys(kind for kind, _ in stored.values()))}",
        scale_convention="multiplied" + (" with a .scale tensor" if has_scales else ""),
        ternary=LazyTensors(path, readers),
        stored=stored,
        i2_s=i2_s,
        tensors=LazyTensors(
            path,
            {ours: partial(file.array, name) for ours, name in names.items() if name not in taken},
        ),
    )


def _check_ternary(file: GgufFile, name: str, shape: tuple[int, int], heads: int) -> None:
    """Refuse a linear layer whose type or shape is not as it must be."""
    entry, where = file.entries[name], f"{file.path}: {name}"
    if entry.kind not in set(TernaryType):
        detail = "; these weights are not ternary, take the original checkpoint"
        if entry.kind in _TABLES:
            also = " (or MXFP4, which has the same number)" if entry.kind == 39 else ""
            detail = (
                f"{also}, whose tiles depend on the machine it was made for; "
                "make an I2_S file (bitnet.cpp) from the original checkpoint"
            )
        raise CheckpointError(
            f"{where} must be TQ1_0, TQ2_0 or I2_S, not {_type_name(entry.kind)}{detail}"
        )
    if entry.shape != shape:
        raise CheckpointError(
            f"{where} must have the shape {shape} of the metadata, not {entry.shape}"
        )
    block = block_size(entry.kind)
    if shape[1] % block:
        raise CheckpointError(
            f"{where} must have a multiple of {block} inputs in {_type_name(entry.kind)}, "
            f"not {shape[1]}"
        )
    if heads and shape[0] % (2 * heads):
        raise CheckpointError(
            f"{where} must have an even number of outputs in each of {heads} heads, "
            f"not {shape[0]} in all"
        )


def _config(file: GgufFile, arch: str, names: dict[str, str]) -> dict[str, Any]:
    """Translate the metadata to Hugging Face's configuration keys."""
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[arch].class_name],
        "model_type": ARCHITECTURES[arch].model_type,
        "hidden_act": ARCHITECTURES[arch].hidden_act,
        "rope_theta": 10000.0,  # The default of llama.cpp and of Hugging Face.
        "tie_word_embeddings": "lm_head.weight" not in names,
    }
    for ours, theirs in CONFIG_KEYS.items():
        value = file.metadata.get(f"{arch}.{theirs}")
        if type(value) is int:
            config[ours] = value
        elif type(value) is float:
            # The shortest decimal of the float32 that GGUF holds: 1e-05 again.
            config[ours] = float(str(np.float32(value)))
    if type(bos := file.metadata.get("tokenizer.ggml.bos_token_id")) is int:
        config["bos_token_id"] = bos
    if ends := gguf_end_tokens(file):
        config["eos_token_id"] = ends if len(ends) > 1 else ends[0]
    scaling = file.metadata.get(f"{arch}.rope.scaling.type")
    factor = file.metadata.get(f"{arch}.rope.scaling.factor", 1.0)
    if isinstance(scaling, str) and (scaling, factor) not in (("none", factor), ("linear", 1.0)):
        config["rope_scaling"] = {"rope_type": scaling, "factor": factor}
    if "num_key_value_heads" not in config and "num_attention_heads" in config:
        config["num_key_value_heads"] = config["num_attention_heads"]
    if MODEL_FAMILIES[config["model_type"]].head_size is not None and "head_dim" not in config:
        # llama.cpp's default, where Hugging Face's family has another.
        hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if hidden and heads and hidden % heads == 0:
            config["head_dim"] = hidden // heads
    embedding = file.entries.get("token_embd.weight")
    if "vocab_size" not in config and embedding is not None:
        config["vocab_size"] = embedding.shape[0]
    return config
