"""Naive readers: the formats read in the plainest way, to compare the product's readers with.

They accept more than the product, and raise any exception where a file has no meaning.
"""

import json
import struct
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from trilith.golden.codes import CODES

SAFETENSORS_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "BOOL": "?"},
    **{f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (8, 16, 32, 64)},
}
LINEARS = {
    "self_attn.q_proj": ("q", "hidden"),
    "self_attn.k_proj": ("kv", "hidden"),
    "self_attn.v_proj": ("kv", "hidden"),
    "self_attn.o_proj": ("hidden", "q"),
    "mlp.gate_proj": ("ffn", "hidden"),
    "mlp.up_proj": ("ffn", "hidden"),
    "mlp.down_proj": ("hidden", "ffn"),
}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which a key stands once."""
    found = dict(pairs)
    assert len(found) == len(pairs), "a key stands twice"
    return found


def safetensors(data: bytes) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size], object_pairs_hook=once)
    header.pop("__metadata__", None)
    body, found, end = data[8 + size :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end, "a gap or an overlap"
        end = stop
        dtype = np.dtype(SAFETENSORS_TYPES[entry["dtype"]])
        found[name] = np.frombuffer(body[begin:stop], dtype).reshape(entry["shape"])
    assert end == len(body), "bytes that belong to no tensor"
    return found


def linear_shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(N, K) of the ternary matrices of a transformer."""
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    size = config.get("head_dim") or config["hidden_size"] // heads
    sizes = {"hidden": config["hidden_size"], "ffn": config["intermediate_size"]}
    sizes |= {"q": heads * size, "kv": kv_heads * size}
    return {
        f"model.layers.{layer}.{name}": (sizes[n], sizes[k])
        for layer in range(config["num_hidden_layers"])
        for name, (n, k) in LINEARS.items()
    }


def unpack(packed: np.ndarray, n: int) -> np.ndarray:
    """Trits of transformers' packing: rows a quarter of the matrix apart share a byte."""
    assert packed.dtype == np.uint8
    rows = np.concatenate([packed >> shift & 3 for shift in (0, 2, 4, 6)])[:n]
    assert len(rows) == n
    assert rows.max() < 3
    return rows.astype(np.float32) - 1


def packed_weights(tensors: dict[str, np.ndarray], config: dict, module: str, n: int) -> np.ndarray:
    """A matrix of packed trits times its scale, in float32."""
    scale = tensors[f"{module}.weight_scale"].astype(np.float32)
    assert scale.size == 1
    kind = config["quantization_config"].get("linear_class", "bitlinear")
    assert kind in ("autobitlinear", "bitlinear")
    factor = scale if kind == "autobitlinear" else np.float32(1) / scale
    return unpack(tensors[f"{module}.weight"], n) * factor.reshape(1, 1)


def absmean(w: np.ndarray) -> np.ndarray:
    """BitNet b1.58's quantized weights (arXiv 2402.17764)."""
    w = w.astype(np.float32)
    scale = max(np.float32(np.abs(w).mean(dtype=np.float64)), np.float32(1e-5))
    return np.clip(np.rint(w * (np.float32(1) / scale)), -1, 1) * scale


class Cursor:
    """Reads little-endian values one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, letters: str) -> Any:
        values = struct.unpack_from(f"<{letters}", self.data, self.place)
        self.place += struct.calcsize(f"<{letters}")
        return values[0] if len(values) == 1 else values

    def string(self) -> str:
        size = self.take("Q")
        text = self.data[self.place : self.place + size]
        assert len(text) == size
        self.place += size
        return text.decode()

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, count = self.take("IQ")
            return [self.value(inner) for _ in range(count)]
        return self.take("BbHhIif?\0\0Qqd"[kind])


def gguf(data: bytes, i2_s: str) -> tuple[dict[str, tuple[int, Any]], dict[str, np.ndarray]]:
    """Metadata as (type, value), and tensors: floats as they are, all else as float32.

    ``i2_s`` is the layout of I2_S, which no file names.
    """
    cursor = Cursor(data)
    magic, version, tensors, keys = cursor.take("4sIQQ")
    assert magic == b"GGUF"
    assert version in (2, 3)
    metadata, infos = [], []
    for _ in range(keys):
        key, kind = cursor.string(), cursor.take("I")
        metadata.append((key, (kind, cursor.value(kind))))
    for _ in range(tensors):
        name, dims = cursor.string(), cursor.take("I")
        shape = [cursor.take("Q") for _ in range(dims)][::-1]
        infos.append((name, (shape, cursor.take("I"), cursor.take("Q"))))
    found = once(metadata)
    alignment = found.get("general.alignment", (4, 32))[1]
    start = -(-cursor.place // alignment) * alignment
    return found, {
        name: _gguf_tensor(_gguf_slice(data, start + offset, shape, kind), tuple(shape), kind, i2_s)
        for name, (shape, kind, offset) in once(infos).items()
    }


_FLOATS = {0: "<f4", 1: "<f2", 28: "<f8", 30: ml_dtypes.bfloat16}


def _gguf_slice(data: bytes, start: int, shape: list[int], kind: int) -> bytes:
    """The bytes of a tensor."""
    count = prod(shape)
    if kind == 36:
        size = count // 4 + 32
    elif kind in _FLOATS:
        size = count * np.dtype(_FLOATS[kind]).itemsize
    else:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        assert shape[-1] % block == 0
        size = count // block * block_bytes
    assert start + size <= len(data)
    return data[start : start + size]


@lru_cache(64)
def _gguf_tensor(data: bytes, shape: tuple[int, ...], kind: int, i2_s: str) -> np.ndarray:
    """A tensor; most are those of the valid file, which need not be computed again."""
    if kind == 36:
        run = {"block128": 32, "block64": 16, "rows4": shape[-1]}[i2_s]
        return _i2_s(np.frombuffer(data, np.uint8), prod(shape), run).reshape(shape)
    if kind in _FLOATS:
        return np.frombuffer(data, _FLOATS[kind]).reshape(shape)
    rows = np.frombuffer(data, np.uint8).reshape(prod(shape[:-1]), -1)
    with np.errstate(all="ignore"):
        return dequantize(rows, GGMLQuantizationType(kind)).reshape(shape)


def _i2_s(data: np.ndarray, count: int, run: int) -> np.ndarray:
    """bitnet.cpp's I2_S: byte p of a block has weight p of each of four runs."""
    assert count % (4 * run) == 0
    blocks = data[: count // 4].reshape(-1, 1, run)
    codes = blocks >> np.array([6, 4, 2, 0], np.uint8)[:, None] & 3
    assert codes.max() < 3
    assert codes.size == count
    return (codes.reshape(-1).astype(np.float32) - 1) * data[count // 4 :][:4].view("<f4")


def rotated_rows(w: np.ndarray, heads: int) -> np.ndarray:
    """Rows in Hugging Face's order, of a matrix whose halves of a head llama.cpp interleaves."""
    n = len(w)
    assert n % (2 * heads) == 0
    half = n // heads // 2
    places = [h * 2 * half + 2 * j + i for h in range(heads) for i in range(2) for j in range(half)]
    return w[places]


def streams(folder: Path) -> dict[str, Any]:
    """Matrices of a folder of weight streams, by the description of ``write_streams``."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    weights, scales = ((folder / f"{name}.bin").read_bytes() for name in ("weights", "scales"))
    config = manifest["config"]
    rows, lanes = config["rows"], config["lanes"]
    code = CODES[config["code"]]
    symbols = {code.encode(t): t for t in product(code.values, repeat=code.symbol_trits)}
    per_byte, mask = 8 // code.symbol_bits, 2**code.symbol_bits - 1
    beat_bytes = -(-rows * lanes // (per_byte * code.symbol_trits))
    assert manifest["beat_bytes"] == beat_bytes
    assert manifest.keys() == {"format", "config", "beat_bytes", "tensors"}
    found = []
    keys = {"name", "n", "k", "offset", "beats", "scale_offset", "scale_shape"}
    for entry in manifest["tensors"]:
        assert entry.keys() == keys
        n, k = entry["n"], entry["k"]
        w = np.zeros((-(-n // rows) * rows, -(-k // lanes) * lanes), np.float32)
        place = entry["offset"]
        for group in range(0, n, rows):
            for chunk in range(0, k, lanes):
                beat = weights[place : place + beat_bytes]
                place += beat_bytes
                parts = [b >> s * code.symbol_bits & mask for b in beat for s in range(per_byte)]
                flat = [trit for part in parts for trit in symbols[part]][: rows * lanes]
                w[group : group + rows, chunk : chunk + lanes] = np.reshape(flat, (rows, lanes))
        shape = entry["scale_shape"]
        scale = np.frombuffer(scales[entry["scale_offset"] :][: 4 * prod(shape)], "<f4")
        whole = scale.reshape(shape).repeat(n // shape[0], axis=0).repeat(k // shape[1], axis=1)
        found.append((entry["name"], w[:n, :k] * whole))
    return once(found)
