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
    kind = config["quantization_config"].get("linear_class", "bitlinear")
    assert kind in ("autobitlinear", "bitlinear")
    factor = scale if kind == "autobitlinear" else np.float32(1) / scale
    trits = unpack(tensors[f"{module}.weight"], n)
    if factor.size == 1:
        return trits * factor.reshape(1, 1)
    factor = factor.reshape(n, -1) if factor.ndim == 1 else factor
    assert factor.ndim == 2
    assert len(factor) == n
    return trits * factor.repeat(trits.shape[1] // factor.shape[1], axis=1)


def mlx_weights(tensors: dict[str, np.ndarray], module: str, config: dict) -> np.ndarray:
    """MLX's scale · q + bias, with sixteen q in a word, the first one lowest."""
    words, scale, bias = (tensors[f"{module}.{part}"] for part in ("weight", "scales", "biases"))
    settings = config.get("quantization", config.get("quantization_config"))
    q = words[..., np.newaxis] >> np.arange(0, 32, 2, dtype=np.uint32) & np.uint32(3)
    q = q.reshape(len(words), -1, settings["group_size"]).astype(np.float32)
    with np.errstate(all="ignore"):
        w = q * scale.astype(np.float32)[..., np.newaxis] + bias.astype(np.float32)[..., np.newaxis]
    return w.reshape(len(words), -1)


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
    infos = once(infos)
    layout = _layout_of_42(infos, len(data) - start, alignment)
    tensors = {}
    for name, (shape, kind, offset) in infos.items():
        kind = layout if kind == 42 else kind
        piece = _gguf_slice(data, start + offset, shape, kind)
        tensors[name] = _gguf_tensor(piece, tuple(shape), kind, i2_s)
    return found, tensors


def _layout_of_42(infos: dict[str, Any], size: int, alignment: int) -> int:
    """The only layout of which all tensors of the type 42 fill the space up to the next one."""
    offsets = [*sorted({offset for _, _, offset in infos.values()}), size]

    def fits(layout: int) -> bool:
        weights, block = BLOCKS[layout]
        spaces = [
            (shape, offsets[offsets.index(offset) + 1] - offset)
            for shape, kind, offset in infos.values()
            if kind == 42
        ]
        return all(
            shape[-1] % weights == 0 and 0 <= space - prod(shape) // weights * block < alignment
            for shape, space in spaces
        )

    if not any(kind == 42 for _, kind, _ in infos.values()):
        return 42
    (layout,) = filter(fits, (420, 421, 43))
    return layout


#: Weights and bytes of a block of types that the library does not know; 420 and 421 are of 42.
BLOCKS = {420: (64, 18), 421: (128, 34), 43: (256, 42), 142: (128, 34), 143: (128, 28)}
#: STQ1_0's four codes of each index, the first one in the lowest bits.
SHERRY = bytes.fromhex("A9892909A68626069A921A126A624A42012181A1042484A41018909840486068")


def _block(kind: int, block: np.ndarray) -> np.ndarray:
    """Weights of one block, without any check but that of the codes."""
    if kind in (420, 421, 142):
        codes = [block[2 + j // 4] >> j % 4 * 2 & 3 for j in range(BLOCKS[kind][0])]
        d = block[:2]
    elif kind == 43:
        index = [
            block[g // 2] >> g % 2 * 4 & 15 | (block[32 + g // 8] >> g % 8 & 1) << 4
            for g in range(64)
        ]
        codes = [SHERRY[index[w // 64 * 16 + w % 16]] >> w % 64 // 16 * 2 & 3 for w in range(256)]
        d = block[40:]
    else:
        digits = {-(-256 * q // 243): q for q in range(243)}
        codes = [0] * 128
        for first, size, place, count in ((0, 16, 0, 5), (16, 8, 80, 5), (24, 2, 120, 4)):
            for m in range(size):
                q = digits[int(block[first + m])]
                for n in range(5):
                    digit = q // 3 ** (4 - n) % 3
                    if n < count:
                        codes[place + m + n * size] = digit
                    else:
                        assert digit == 0
        d = block[26:]
    assert max(map(int, codes)) < 3
    return (np.array(codes, np.float32) - 1) * d.copy().view("<f2").astype(np.float32)


def _iq2_bn_row(row: np.ndarray) -> np.ndarray:
    """A float32 scale, and weights of 64 in 16 bytes."""
    codes = row[4:].reshape(-1, 1, 16) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    assert codes.max() < 3
    return (codes.reshape(-1).astype(np.float32) - 1) * row[:4].copy().view("<f4")


_FLOATS = {0: "<f4", 1: "<f2", 28: "<f8", 30: ml_dtypes.bfloat16}


def _gguf_slice(data: bytes, start: int, shape: list[int], kind: int) -> bytes:
    """The bytes of a tensor."""
    count = prod(shape)
    if kind == 36:
        size = count // 4 + 32
    elif kind == 135:
        assert shape[-1] % 64 == 0
        size = count // 4 + 4 * (count // shape[-1])
    elif kind in BLOCKS:
        assert shape[-1] % BLOCKS[kind][0] == 0
        size = count // BLOCKS[kind][0] * BLOCKS[kind][1]
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
    if kind == 135:
        return np.stack([_iq2_bn_row(row) for row in rows]).reshape(shape)
    if kind in BLOCKS:
        blocks = rows.reshape(-1, BLOCKS[kind][1])
        # A trit times a float16 is one.
        values = np.concatenate([_block(kind, block) for block in blocks])
        return values.astype(np.float16).reshape(shape)
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
    tuples = product((-1, 0, 1), repeat=code.symbol_trits)
    symbols = {code.encode(t): t for t in tuples if code.zeros in (None, t.count(0))}
    size, mask = code.symbol_bits, 2**code.symbol_bits - 1
    beat_bytes = -(-(-(-rows * lanes // code.symbol_trits) * size) // 8)
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
                word = int.from_bytes(beat, "little")
                parts = [word >> at & mask for at in range(0, 8 * beat_bytes - size + 1, size)]
                flat = [trit for part in parts for trit in symbols[part]][: rows * lanes]
                w[group : group + rows, chunk : chunk + lanes] = np.reshape(flat, (rows, lanes))
        shape = entry["scale_shape"]
        scale = np.frombuffer(scales[entry["scale_offset"] :][: 4 * prod(shape)], "<f4")
        whole = scale.reshape(shape).repeat(n // shape[0], axis=0).repeat(k // shape[1], axis=1)
        found.append((entry["name"], w[:n, :k] * whole))
    return once(found)
