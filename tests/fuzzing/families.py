"""Targets: families whose files say more: transforms, Qwen3's norms, 1bitLLM; and the inspector."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from trilith.cli.model_inspect import InspectOptions, inspect
from trilith.golden import CheckpointError, load_checkpoint

from .binary import gguf_bytes, gguf_tree, safetensors_tree
from .campaign import Target
from .checkpoints import (
    CONFIG,
    LLAMA,
    content,
    dump_folder,
    gguf_name,
    gguf_parts,
    model,
    naive_folder,
    naive_gguf,
    one_file,
    read,
    read_gguf,
)
from .mutation import Object
from .naive import gguf

# Models with a Hadamard transform in front of matrices.

_PREFIX = "prism.hadamard."
_SIZES = {"hidden_size": 64, "intermediate_size": 64}
_SIGNS = [1, -1, -1, 1] * 16


def _statement(names: list[str], table: str, signs: list[int]) -> dict[str, Any]:
    keys = {
        "version": 1,
        "transform": "normalized-sylvester-walsh-hadamard",
        "axis": "input-last-dimension",
        "block_size": 64,
        "sign_mode": "explicit",
        "sign_widths": [len(signs)],
        "sign_values": signs,
        "weight_names": [*names, table],
        "inverse_weight_names": [table],
    }
    return {_PREFIX + key: value for key, value in keys.items()}


def _rotated_folder() -> Object:
    names = [f"model.layers.0.{name}.weight" for name in ("self_attn.o_proj", "mlp.down_proj")]
    statement = _statement(names, "model.embed_tokens.weight", _SIGNS)
    parts = one_file("packed", CONFIG | _SIZES)
    return Object([*parts, ["hadamard.json", Object.of(statement)]])


#: GGUF's types of the values: numbers, texts, and lists of them.
_KINDS = {"version": 4, "block_size": 4}
_INNER = {"sign_widths": 4, "sign_values": 5, "weight_names": 8, "inverse_weight_names": 8}


def _rotated_gguf() -> Object:
    metadata, tensors = gguf_parts("pq2_0", 256)
    names = ["blk.0.attn_output.weight", "blk.0.ffn_down.weight"]
    for key, value in _statement(names, "token_embd.weight", _SIGNS * 4).items():
        short = key.removeprefix(_PREFIX)
        inner = [_INNER[short], value] if short in _INNER else value
        metadata[key] = (9 if short in _INNER else _KINDS.get(short, 8)), inner
    return gguf_tree(metadata, tensors)


def _rotations(values: dict[str, Any], name: Callable[[str], str] = str) -> dict[str, Any]:
    """The statement by the numbers of inputs and Hugging Face's names."""
    values = {key.removeprefix(_PREFIX): x for key, x in values.items() if _PREFIX in key}
    signs, widths = list(values.get("sign_values", [])), values.get("sign_widths", [])
    found = {}
    for width in widths:
        found[width], signs = signs[:width], signs[width:]
    assert not signs
    assert set(values.get("sign_values", [])) <= {1, -1}
    return {
        "size": values["block_size"],
        "signs": found,
        "weights": [name(one).removesuffix(".weight") for one in values["weight_names"]],
        "latent": bool(values.get("inverse_weight_names")),
    }


def _read_rotated(folder: Path, name: str = "") -> dict[str, Any]:
    checkpoint = load_checkpoint(folder / name)
    wrong = [one for one in checkpoint.strange_keys.unknown if one.startswith("prism.hadamard")]
    if wrong:
        raise CheckpointError(wrong[0])
    rotations, found = checkpoint.rotations, content(checkpoint)
    if rotations is None:
        return found
    stated = {
        "size": rotations.size,
        "signs": {width: signs.tolist() for width, signs in rotations.signs.items()},
        "weights": list(rotations.weights),
        "latent": rotations.latent,
    }
    return found | {"rotations": stated}


def _naive_rotated(folder: Path) -> dict[str, Any]:
    file = folder / "hadamard.json"
    stated = {"rotations": _rotations(json.loads(file.read_bytes()))} if file.exists() else {}
    return naive_folder(folder, "packed") | stated


def _read_rotated_gguf(folder: Path) -> dict[str, Any]:
    found = _read_rotated(folder, "model.gguf")
    return {key: found[key] for key in found if key != "config"}


def _naive_rotated_gguf(folder: Path) -> dict[str, Any]:
    metadata, _ = gguf((folder / "model.gguf").read_bytes(), "block128")
    values = {key: value for key, (_, value) in metadata.items()}
    found = naive_gguf(folder, "block128") | {"rotations": _rotations(values, gguf_name)}
    return {key: found[key] for key in found if key != "config"}


# Qwen3: norms of q and k; the embedding and the head are ternary too.


def _qwen3() -> Object:
    metadata, tensors = gguf_parts("q2_0_128", 256, "token_embd", "output")
    metadata = {key.replace("llama.", "qwen3."): x for key, x in metadata.items()}
    metadata["general.architecture"] = (8, "qwen3")
    ones = np.ones(64, np.float32).tobytes()
    for name in ("attn_q_norm", "attn_k_norm"):
        tensors[f"blk.0.{name}.weight"] = (64,), 0, ones
    return gguf_tree(metadata, tensors)


# 1bitLLM: another family than config.json says.


def _one_bit_llm() -> Object:
    tensors = model(CONFIG, "master")
    for ours, theirs in _NAMES.items():
        tensors[theirs] = tensors.pop(ours)
    config = Object.of(CONFIG | LLAMA)
    return Object([["config.json", config], ["model.safetensors", safetensors_tree(tensors)]])


_NAMES = {
    "model.layers.0.self_attn.attn_sub_norm.weight": (
        "model.layers.0.self_attn.inner_attn_ln.weight"
    ),
    "model.layers.0.mlp.ffn_sub_norm.weight": "model.layers.0.mlp.ffn_layernorm.weight",
}


def _read_one_bit_llm(folder: Path) -> dict[str, Any]:
    found = read(folder, quantize="absmean")
    return {key: found[key] for key in ("ternary", "tensors")}


def _naive_one_bit_llm(folder: Path) -> dict[str, Any]:
    found = naive_folder(folder, "master")
    names = {theirs: ours for ours, theirs in _NAMES.items()}
    tensors = {names.get(name, name): array for name, array in found["tensors"].items()}
    assert len(tensors) == len(found["tensors"])
    return {"ternary": found["ternary"], "tensors": tensors}


# The inspector: what it prints can be printed, as text and as JSON.


def _inspect(folder: Path, name: str = "") -> dict[str, Any]:
    printed = []
    for as_json in (False, True):
        with redirect_stdout(StringIO()) as out:
            inspect(InspectOptions(path=folder / name, as_json=as_json))
        printed.append(out.getvalue())
    assert all(line.isprintable() for line in printed[0].splitlines()), printed[0]
    return json.loads(printed[1])


def _gguf_file(tree: Any) -> dict[str, bytes]:
    return {"model.gguf": gguf_bytes(tree)}


_FILES: list[tuple[str, Object, Callable, Callable, Callable | None, int]] = [
    ("hadamard", _rotated_folder(), dump_folder, _read_rotated, _naive_rotated, 25_000),
    (
        *("hadamard gguf", _rotated_gguf(), _gguf_file),
        *(_read_rotated_gguf, _naive_rotated_gguf, 15_000),
    ),
    (
        *("qwen3", _qwen3(), _gguf_file, partial(read_gguf, i2_s="auto")),
        *(partial(naive_gguf, i2_s="block128"), 15_000),
    ),
    ("1bitllm", _one_bit_llm(), dump_folder, _read_one_bit_llm, _naive_one_bit_llm, 15_000),
    ("inspect", _rotated_folder(), dump_folder, _inspect, None, 20_000),
    ("inspect gguf", _qwen3(), _gguf_file, partial(_inspect, name="model.gguf"), None, 10_000),
]
TARGETS = [
    Target(name=name, tree=tree, dump=dump, read=reader, naive=naive, share=share)
    for name, tree, dump, reader, naive, share in _FILES
]
