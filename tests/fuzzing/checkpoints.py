"""Targets: files of models. Every tree is a small valid model, made here."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from trilith.golden import Checkpoint, load_checkpoint, pack_weights
from trilith.golden.checkpoint.statistics import statistics

from . import naive
from .binary import gguf_bytes, gguf_tree, safetensors_bytes, safetensors_tree
from .campaign import Target
from .mutation import Object, pairs, to_json

CONFIG = {
    "architectures": ["BitNetForCausalLM"],
    "model_type": "bitnet",
    "hidden_act": "relu2",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 3,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "quantization_config": {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    },
}
#: A model in MLX's groups of 32 inputs.
MLX = {key: value for key, value in CONFIG.items() if key != "quantization_config"} | {
    "hidden_size": 64,
    "intermediate_size": 64,
    "quantization": {"group_size": 32, "bits": 2},
}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}


def _matrices(config: dict[str, Any], kind: str) -> dict[str, np.ndarray]:
    """The ternary matrices of a model: packed, ternary floats, or float master weights."""
    rng, tensors = np.random.default_rng(1), {}
    for place, (module, (n, k)) in enumerate(naive.linear_shapes(config).items()):
        trits = rng.integers(-1, 2, (n, k), np.int8)
        scale = np.float32(0.5 + place / 8)
        if kind == "packed":
            tensors[f"{module}.weight"] = pack_weights(trits)
            tensors[f"{module}.weight_scale"] = np.array([scale], ml_dtypes.bfloat16)
        elif kind in ("rows", "groups"):
            tensors[f"{module}.weight"] = pack_weights(trits)
            scales = scale + rng.integers(0, 8, (n, k // 4)) / 8
            rows = scales[:, 0].astype(np.float32)
            scales = rows if kind == "rows" else scales.astype(np.float16)
            tensors[f"{module}.weight_scale"] = scales
        elif kind == "mlx":
            words = rng.integers(0, 3, (n, k // 16, 16), np.uint32) << np.arange(0, 32, 2)
            tensors[f"{module}.weight"] = words.sum(axis=2, dtype=np.uint32)
            half = np.full((n, k // 32), scale, np.float16)
            tensors[f"{module}.scales"], tensors[f"{module}.biases"] = half, -half
        elif kind == "ternary":
            # Two scales, as training on two devices leaves them.
            scales = np.repeat(np.array([[scale], [2 * scale]], np.float32), n // 2, axis=0)
            tensors[f"{module}.weight"] = (trits * scales).astype(np.float16)
        else:
            tensors[f"{module}.weight"] = rng.standard_normal((n, k)).astype(np.float32)
    return tensors


def model(config: dict[str, Any], kind: str) -> dict[str, np.ndarray]:
    """All tensors of a model."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
    if config["model_type"] == "bitnet":
        norms |= {"self_attn.attn_sub_norm": hidden, "mlp.ffn_sub_norm": ffn}
    tensors = _matrices(config, kind)
    for name, size in norms.items():
        tensors[f"model.layers.0.{name}.weight"] = np.linspace(0.5, 2, size, dtype=np.float32)
    tensors["model.norm.weight"] = np.ones(hidden, ml_dtypes.bfloat16)
    shape = config["vocab_size"], hidden
    embedding = np.arange(np.prod(shape)).reshape(shape).astype(ml_dtypes.bfloat16)
    return tensors | {"model.embed_tokens.weight": embedding}


# What is compared.


def content(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything in a checkpoint: configuration, matrices with their scales, other tensors."""
    ternary = {}
    for name in checkpoint.ternary:
        tensor = checkpoint.ternary[name]
        scale = tensor.multiplier.repeat(tensor.shape[0] // len(tensor.scale), axis=0)
        w = tensor.trits * scale.repeat(tensor.group_size, axis=1)
        ternary[name] = w
    for name in list(ternary)[:1]:
        zeros = (checkpoint.ternary[name].trits == 0).mean()
        assert statistics(checkpoint, name).zero_fraction == zeros
    return {
        "config": dict(checkpoint.config),
        "ternary": ternary,
        "tensors": {name: np.array(checkpoint.tensors[name]) for name in checkpoint.tensors},
    }


def read(folder: Path, name: str = "", **options: str | None) -> dict[str, Any]:
    return content(load_checkpoint(folder / name, **options))


def naive_folder(folder: Path, kind: str) -> dict[str, Any]:
    """A Hugging Face folder with one file, or with an index."""
    config = json.loads((folder / "config.json").read_bytes())
    index = folder / "model.safetensors.index.json"
    tensors: dict[str, np.ndarray] = {}
    if index.exists():
        places = json.loads(index.read_bytes())["weight_map"]
        for name in set(places.values()):
            found = naive.safetensors((folder / name).read_bytes())
            assert not found.keys() & tensors.keys()
            tensors |= found
    else:
        tensors = naive.safetensors((folder / "model.safetensors").read_bytes())
    ternary = {}
    for module, (n, k) in naive.linear_shapes(config).items():
        stored = tensors[f"{module}.weight"]
        if kind == "mlx":
            ternary[module] = naive.mlx_weights(tensors, module, config)
        elif kind in ("packed", "rows", "groups"):
            ternary[module] = naive.packed_weights(tensors, config, module, n)
        else:
            w = stored.astype(np.float32)
            ternary[module] = naive.absmean(w) if kind == "master" else w
        assert ternary[module].shape == (n, k)
    parts = ("weight", "weight_scale") if kind != "mlx" else ("weight", "scales", "biases")
    taken = {f"{module}.{part}" for module in ternary for part in parts}
    others = {name: one for name, one in tensors.items() if name not in taken}
    if kind == "mlx":
        config = {x: y for x, y in config.items() if not x.startswith("quantization")}
    return {"config": config, "ternary": ternary, "tensors": others}


def dump_folder(tree: Object) -> dict[str, bytes]:
    """``config.json`` and one safetensors file for each other entry, or JSON by its name."""
    files = {}
    for name, part in pairs(tree):
        if re.fullmatch(r"\w[\w.-]{,60}", name):
            json_file = name.endswith(".json")
            files[name] = to_json(part).encode() if json_file else safetensors_bytes(part)
    return files


def one_file(kind: str, config: dict[str, Any]) -> Object:
    weights = safetensors_tree(model(config, kind))
    return Object([["config.json", Object.of(config)], ["model.safetensors", weights]])


def _shards() -> Object:
    """The packed model in two files."""
    tensors = model(CONFIG, "packed")
    names = [f"model-{place}-of-2.safetensors" for place in (1, 2)]
    parts = [dict(list(tensors.items())[place::2]) for place in (0, 1)]
    places = {one: name for name, part in zip(names, parts, strict=True) for one in part}
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    trees = [[name, safetensors_tree(part)] for name, part in zip(names, parts, strict=True)]
    files = [["config.json", Object.of(CONFIG)], *trees]
    return Object([*files, ["model.safetensors.index.json", Object.of(index)]])


# GGUF.

_METADATA = {
    "general.architecture": (8, "llama"),
    "general.name": (8, "tiny"),
    "general.alignment": (4, 32),
    "llama.block_count": (4, 1),
    "llama.context_length": (4, 64),
    "llama.attention.head_count": (4, 4),
    "llama.attention.head_count_kv": (4, 1),
    "llama.attention.layer_norm_rms_epsilon": (6, 1e-5),
    "llama.rope.freq_base": (6, 10000.0),
    "llama.rope.scaling.type": (8, "linear"),
    "llama.rope.scaling.factor": (6, 2.0),
    "llama.vocab_size": (4, 2),
    "tokenizer.ggml.model": (8, "gpt2"),
    "tokenizer.ggml.tokens": (9, [8, ["a", "b"]]),
    "tokenizer.ggml.token_type": (9, [5, [1, 1]]),
    "tokenizer.ggml.bos_token_id": (4, 0),
    "tokenizer.ggml.eos_token_id": (4, 1),
}
_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_sub_norm": "self_attn.attn_sub_norm",
    "ffn_sub_norm": "mlp.ffn_sub_norm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
}
NUMBERS = {
    **{"i2_s": 36, "tq1_0": 34, "tq2_0": 35, "q2_0_64": 42, "q2_0_128": 42, "stq1_0": 42},
    **{"pq2_0": 142, "ptq1_0": 143, "iq2_bn": 135},
}


#: Metadata and tensors of a GGUF file: (type, value), and (shape, type, bytes).
Parts = tuple[dict[str, tuple[int, Any]], dict[str, tuple[tuple[int, ...], int, bytes]]]


def gguf_parts(kind: str, size: int, *tables: str) -> Parts:
    """A layer of matrices [size, size] whose legal random bytes have one scale.

    ``tables`` names further matrices [2, size], such as the embedding.
    """
    rng, tensors = np.random.default_rng(2), {}
    rows = dict.fromkeys(("blk.0.attn_k", "blk.0.attn_v"), size // 4) | dict.fromkeys(tables, 2)
    for name in [*(f"blk.0.{part}" for part in list(_LAYER)[:7]), *tables]:
        n, k = rows.get(name, size), size
        codes = rng.integers(0, 3, (n * k // 256, 256), np.uint8)
        four = codes[:, 0::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6
        d = np.full((len(codes), 1), 0.75, np.float16).view(np.uint8)
        if kind == "i2_s":
            data = four.tobytes() + np.full(8, 0.75, np.float32).tobytes()
        elif kind == "tq2_0":
            data = np.concatenate([four, d], axis=1).tobytes()
        elif kind in ("q2_0_64", "q2_0_128", "pq2_0"):
            parts = four.reshape(-1, 16 if kind == "q2_0_64" else 32)
            data = np.concatenate([d.repeat(len(parts) // len(d), axis=0), parts], axis=1).tobytes()
        elif kind == "stq1_0":
            index = rng.integers(0, 256, (len(codes), 40), np.uint8)
            data = np.concatenate([index, d], axis=1).tobytes()
        elif kind == "iq2_bn":
            scale = np.full((n, 1), 0.75, np.float32).view(np.uint8)
            data = np.concatenate([scale, four.reshape(n, -1)], axis=1).tobytes()
        elif kind == "ptq1_0":
            digits = rng.integers(0, 3, (2 * len(codes), 26), np.uint16) * 81
            digits[:, :24] += rng.integers(0, 81, (len(digits), 24), np.uint16)
            q = (-(-256 * digits.astype(int) // 243)).astype(np.uint8)
            data = np.concatenate([q, d.repeat(2, axis=0)], axis=1).tobytes()
        else:
            digits = rng.integers(0, 3, (len(codes), 48), np.uint16) * 81
            q = np.concatenate([digits + rng.integers(0, 81, digits.shape), digits[:, :4]], axis=1)
            data = np.concatenate([(-(-256 * q // 243)).astype(np.uint8), d], axis=1).tobytes()
        tensors[f"{name}.weight"] = (n, k), NUMBERS[kind], data
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        tensors[f"{name}.weight"] = (size,), 0, np.ones(size, np.float32).tobytes()
    embedding = np.arange(2 * size).astype(np.float16).tobytes()
    tensors.setdefault("token_embd.weight", ((2, size), 1, embedding))
    if kind == "tq2_0":
        tensors["blk.0.attn_q.scale"] = (1,), 0, np.float32(0.3).tobytes()
    sizes = {
        "embedding_length": size,
        "feed_forward_length": size,
        "attention.key_length": size // 4,
        "attention.value_length": size // 4,
        "rope.dimension_count": size // 4,
    }
    changed = {f"llama.{key}": (4, value) for key, value in sizes.items()}
    return _METADATA | changed, tensors


def gguf_name(name: str) -> str:
    stem, dot, end = name.rpartition(".")
    if end == "weight" and stem in _OUTER:
        return f"{_OUTER[stem]}.weight"
    block, _, part = stem.partition("blk.")[2].partition(".")
    if end == "weight" and stem.startswith("blk.") and part in _LAYER:
        return f"model.layers.{block}.{_LAYER[part]}.weight"
    return stem + dot + end


def gguf_config(metadata: dict[str, tuple[int, Any]], tensors: Any) -> dict[str, Any]:
    """The sizes that the metadata state, with llama.cpp's defaults."""
    arch = metadata["general.architecture"][1]
    config = {}
    for ours, theirs in _KEYS.items():
        if f"{arch}.{theirs}" in metadata:
            kind, value = metadata[f"{arch}.{theirs}"]
            config[ours] = float(str(np.float32(value))) if kind == 6 else value
    config.setdefault("rope_theta", 10000.0)
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    if "token_embd.weight" in tensors:
        config.setdefault("vocab_size", len(tensors["token_embd.weight"]))
    for key in ("bos_token_id", "eos_token_id"):
        config[key] = metadata.get(f"tokenizer.ggml.{key}", (4, None))[1]
    if arch == "qwen3":
        config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    scaling = metadata.get(f"{arch}.rope.scaling.type", (8, "linear"))[1]
    factor = metadata.get(f"{arch}.rope.scaling.factor", (6, 1.0))[1]
    if scaling != "none" and (scaling, factor) != ("linear", 1.0):
        config["rope_scaling"] = {"rope_type": scaling, "factor": factor}
    return config


def naive_gguf(folder: Path, i2_s: str) -> dict[str, Any]:
    metadata, tensors = naive.gguf((folder / "model.gguf").read_bytes(), i2_s)
    config = gguf_config(metadata, tensors)
    ours = naive.once([(gguf_name(name), array) for name, array in tensors.items()])
    permuted = metadata["general.architecture"][1] in ("llama", "minicpm")
    ternary, taken = {}, set()
    for module, shape in naive.linear_shapes(config).items():
        w = ours[f"{module}.weight"].astype(np.float32)
        assert w.shape == shape
        if permuted and module.endswith(("q_proj", "k_proj")):
            kind = "num_attention_heads" if module.endswith("q_proj") else "num_key_value_heads"
            w = naive.rotated_rows(w, config[kind])
        short = {ours: theirs for theirs, ours in _LAYER.items()}[module.split(".", 3)[3]]
        scale = f"blk.{module.split('.')[2]}.{short}.scale"
        if scale in ours:
            w = w * ours[scale].reshape(1, 1)
        ternary[module] = w
        taken |= {f"{module}.weight", scale}
    others = {name: array for name, array in ours.items() if name not in taken}
    return {"config": config, "ternary": ternary, "tensors": others}


def read_gguf(folder: Path, i2_s: str) -> dict[str, Any]:
    found = read(folder, "model.gguf", i2s_layout=i2_s)
    keys = {*_KEYS, "bos_token_id", "eos_token_id", "rope_scaling"} & found["config"].keys()
    return found | {"config": {key: found["config"][key] for key in keys}}


def _gguf_target(kind: str, share: int, i2_s: str = "auto") -> Target:
    return Target(
        name=kind if i2_s == "auto" else f"{kind} {i2_s}",
        tree=gguf_tree(*gguf_parts(kind, 128 if kind == "i2_s" else 256)),
        dump=lambda tree: {"model.gguf": gguf_bytes(tree)},
        read=partial(read_gguf, i2_s=i2_s),
        naive=partial(naive_gguf, i2_s="block128" if i2_s == "auto" else i2_s),
        share=share,
    )


def folder_target(name: str, tree: Object, kind: str, share: int) -> Target:
    return Target(
        name=name,
        tree=tree,
        dump=dump_folder,
        read=partial(read, quantize="absmean" if kind == "master" else None),
        naive=partial(naive_folder, kind=kind),
        share=share,
    )


#: Sizes of the matrices of files of megabytes, by kind. The look at the layout of I2_S takes up to
#: 12 MB, whatever the file.
LARGE = {"packed": 1024, "ternary": 512, "master": 512, "i2_s": 3072, "tq1_0": 1024, "tq2_0": 1024}
LARGE |= dict.fromkeys(("q2_0_64", "q2_0_128", "stq1_0", "pq2_0", "ptq1_0", "iq2_bn"), 1024)


def large_model(name: str, size: int) -> dict[str, bytes]:
    """The files of a model of one layer with matrices of about [size, size]."""
    if name in NUMBERS:
        return {"model.gguf": gguf_bytes(gguf_tree(*gguf_parts(name, size)))}
    sizes = {"hidden_size": size, "intermediate_size": 2 * size, "num_attention_heads": 4}
    family = {} if name == "packed" else LLAMA
    return dump_folder(one_file(name, CONFIG | family | sizes))


TARGETS = [
    folder_target("packed", one_file("packed", CONFIG), "packed", 30_000),
    folder_target("shards", _shards(), "packed", 20_000),
    folder_target("ternary", one_file("ternary", CONFIG | LLAMA), "ternary", 30_000),
    folder_target("master", one_file("master", CONFIG | LLAMA), "master", 30_000),
    folder_target("rows", one_file("rows", CONFIG), "rows", 20_000),
    folder_target("groups", one_file("groups", CONFIG), "groups", 20_000),
    folder_target("mlx", one_file("mlx", MLX), "mlx", 25_000),
    _gguf_target("i2_s", 25_000),
    _gguf_target("i2_s", 15_000, "block64"),
    _gguf_target("i2_s", 15_000, "rows4"),
    _gguf_target("tq1_0", 25_000),
    _gguf_target("tq2_0", 30_000),
    *(
        _gguf_target(kind, 25_000)
        for kind in ("q2_0_64", "q2_0_128", "stq1_0", "pq2_0", "ptq1_0", "iq2_bn")
    ),
]
