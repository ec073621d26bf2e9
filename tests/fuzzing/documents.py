"""Targets: JSON and text that readers take: configurations, streams, MLPs, Liberty."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trilith.golden import BitNetMLP, pack_weights
from trilith.golden.checkpoint.model_config import LayerKinds, ModelConfig
from trilith.golden.files import read_json
from trilith.hw import MatVecConfig
from trilith.hw.beats import weight_beats
from trilith.hw.weight_file import read_streams
from trilith.sim.gatelevel.liberty import Group, read_liberty

from . import naive
from .binary import safetensors_bytes, safetensors_tree
from .campaign import Target
from .checkpoints import CONFIG, LLAMA, content
from .mutation import Object, items, pairs, text, to_json


def _json_file(name: str, tree: Any) -> dict[str, bytes]:
    return {name: to_json(tree).encode()}


# config.json: every value that is read is the file's.

_QWEN = LLAMA | {
    "model_type": "qwen3",
    "head_dim": 128,
    "sliding_window": 8,
    "use_sliding_window": True,
    "max_window_layers": 1,
    "num_hidden_layers": 3,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "attention_bias": False,
    "eos_token_id": [1, 2],
}
_STATED = {
    "hidden": "hidden_size",
    "ffn": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_size": "head_dim",
    "vocabulary": "vocab_size",
    "max_positions": "max_position_embeddings",
    "epsilon": "rms_norm_eps",
    "hidden_act": "hidden_act",
    "tied": "tie_word_embeddings",
    "bos": "bos_token_id",
}


#: What transformers' configuration classes have where a key is absent.
_DEFAULTS = {
    "bitnet": {
        "hidden_act": "relu2",
        "kv_heads": 5,
        "theta": 500_000.0,
        "bos": 128_000,
        "eos": 128_001,
    },
    "qwen3": {"hidden_act": "silu", "kv_heads": 32, "theta": 10_000.0},
}


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    model = ModelConfig.read(config, folder)
    kinds = LayerKinds.read(config, folder)
    assert sum(count for _, count in kinds.windows) == model.layers
    stated = {
        ours: getattr(model, ours) for ours in (*_STATED, "theta", "rope_factor", "rope_type")
    }
    return stated | {"eos": list(model.eos)}


def _naive_config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_bytes())
    config = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    values = {ours: config.get(theirs) for ours, theirs in _STATED.items()}
    heads = values["heads"]
    family = _DEFAULTS.get(config.get("model_type"), {})
    defaults = {
        "kv_heads": heads if "num_key_value_heads" in config else family.get("kv_heads", heads),
        "head_size": 128 if config.get("model_type") == "qwen3" else values["hidden"] // heads,
        "vocabulary": 0,
        "max_positions": 0,
        "tied": False,
    }
    for key, default in defaults.items():
        values[key] = default if values[key] is None else values[key]
    for ours, theirs in (("hidden_act", "hidden_act"), ("bos", "bos_token_id")):
        if theirs not in config:
            values[ours] = family.get(ours)
    theta = next(
        (one["rope_theta"] for one in (rope, config) if one.get("rope_theta") is not None),
        family.get("theta", 0),
    )
    factor = rope.get("factor")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    eos = config.get("eos_token_id", family.get("eos"))
    if isinstance(values["bos"], list):
        assert len(values["bos"]) < 2
        values["bos"] = next(iter(values["bos"]), None)
    values |= {"epsilon": float(values["epsilon"] or 0), "theta": float(theta), "rope_type": kind}
    values["rope_factor"] = 1.0 if factor is None else float(factor)
    return values | {"eos": eos if isinstance(eos, list) else [] if eos is None else [eos]}


# Weight streams.


def _stream_tree(config: MatVecConfig, trits: Iterable[np.ndarray]) -> Object:
    entries, weights, scales = [], b"", b""
    for place, matrix in enumerate(trits):
        n, k = matrix.shape
        beats = weight_beats(config, matrix)
        weights += bytes(-len(weights) % 128)
        scale = np.arange(1, 1 + (k == 8) + 1, dtype=np.float32).reshape(1, -1)
        entry = {"name": f"layers.{place}", "n": n, "k": k, "offset": len(weights)}
        places = {"beats": len(beats), "scale_offset": len(scales)}
        entries.append(entry | places | {"scale_shape": list(scale.shape)})
        weights, scales = weights + beats.tobytes(), scales + scale.tobytes()
    manifest = {
        "format": "trilith weight streams 1",
        "config": asdict(config),
        "beat_bytes": config.weight_bytes,
        "tensors": entries,
    }
    files = [["weights.bin", weights], ["scales.bin", scales]]
    return Object([["manifest.json", Object.of(manifest)], *files])


def _random_trits() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(3)
    return (rng.integers(-1, 2, shape, np.int8) for shape in [(6, 11), (3, 8)])


def _sherry_trits() -> Iterator[np.ndarray]:
    """Exactly one zero in each four weights."""
    rng = np.random.default_rng(3)
    for n, k in [(6, 12), (3, 8)]:
        trits = rng.choice(np.array([-1, 1], np.int8), (n, k // 4, 4))
        trits[np.arange(n)[:, np.newaxis], np.arange(k // 4), rng.integers(0, 4, (n, k // 4))] = 0
        yield trits.reshape(n, k)


def _dump_stream(tree: Any) -> dict[str, bytes]:
    names = {"manifest.json", "weights.bin", "scales.bin"}
    files = {name: one for name, one in pairs(tree) if name in names}
    return {
        name: to_json(one).encode() if name == "manifest.json" else text(one)
        for name, one in files.items()
    }


# A multilayer perceptron.


def _mlp() -> Object:
    rng, tensors = np.random.default_rng(4), {}
    for place, (k, n) in enumerate([(8, 12), (12, 4)]):
        tensors[f"layers.{place}.weight"] = pack_weights(rng.integers(-1, 2, (n, k), np.int8))
        tensors[f"layers.{place}.weight_scale"] = np.array([0.5], np.float32)
        tensors[f"layers.{place}.norm.weight"] = np.linspace(0.5, 1, k, dtype=np.float32)
    config = {
        "layer_sizes": [8, 12, 4],
        "hidden_act": "relu2",
        "rms_norm_eps": 1e-5,
        "input_scale": 0.0625,
        "quantization_config": CONFIG["quantization_config"],
    }
    return Object([["config.json", Object.of(config)], ["weights", safetensors_tree(tensors)]])


def _dump_mlp(tree: Any) -> dict[str, bytes]:
    files = dict(pairs(tree))
    weights = safetensors_bytes(files.get("weights"))
    return _json_file("config.json", files.get("config.json")) | {"model.safetensors": weights}


def _read_mlp(folder: Path) -> dict[str, Any]:
    network = BitNetMLP.load(folder)
    sizes = read_json(folder / "config.json")["layer_sizes"]
    logits = network.forward(np.full((2, sizes[0]), 7, np.uint8))
    assert logits.shape == (2, sizes[-1])
    assert np.isfinite(logits).all()
    return {
        "weights": [layer.weight.trits * layer.weight.multiplier for layer in network.layers],
        "gains": list(network.gains),
        "constants": [network.epsilon, network.input_scale],
    }


def _naive_mlp(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_bytes())
    tensors = naive.safetensors((folder / "model.safetensors").read_bytes())
    sizes = list(zip(config["layer_sizes"], config["layer_sizes"][1:], strict=False))
    names = [f"layers.{place}" for place in range(len(sizes))]
    weights = [
        naive.packed_weights(tensors, config, name, n)
        for name, (_, n) in zip(names, sizes, strict=True)
    ]
    assert [w.shape[::-1] for w in weights] == sizes
    used = {
        f"{name}{end}" for name in names for end in (".weight", ".weight_scale", ".norm.weight")
    }
    assert used == tensors.keys()
    gains = [tensors[f"{name}.norm.weight"].astype(np.float32) for name in names]
    constants = [float(config[key]) for key in ("rms_norm_eps", "input_scale")]
    return {"weights": weights, "gains": gains, "constants": constants}


# Liberty: kind, names, attributes (a value, or a list of values in parentheses), groups.


def _liberty() -> Object:
    def group(kind: str, names: list[str], attributes: dict[str, Any], groups: list) -> Object:
        fields = [["kind", kind], ["names", names], ["attributes", Object.of(attributes)]]
        return Object([*fields, ["groups", groups]])

    power = group("rise_power", ["t2"], {"index_1": ["0.1, 0.2"], "values": ["1, 2", "3, 4"]}, [])
    energy = group("internal_power", [], {"related_pin": "A", "when": "!A"}, [power])
    output = group("pin", ["Y"], {"direction": "output", "function": "(!A)"}, [energy])
    entry = group("pin", ["A"], {"direction": "input", "capacitance": "0.002"}, [])
    cell = group("cell", ["INV_X1"], {"area": "1.5"}, [entry, output])
    units = {"time_unit": "1ns", "capacitive_load_unit": ["1", "pf"], "nom_voltage": "1.8"}
    return group("library", ["tiny"], units, [cell])


def _liberty_text(group: Any) -> str:
    group = group if isinstance(group, Object) else Object()
    words = ", ".join(map(_word, items(group.get("names"))))
    lines = [f"{_word(group.get('kind', 'cell'))} ({words}) {{"]
    for key, value in pairs(group.get("attributes")):
        many = isinstance(value, list)
        written = f"({', '.join(map(_word, value))})" if many else f": {_word(value)}"
        lines.append(f"{_word(key)} {written};")
    lines += map(_liberty_text, items(group.get("groups")))
    return "\n".join([*lines, "}"])


def _word(value: Any) -> str:
    word = text(value).decode("latin-1")
    return word if re.fullmatch(r"[\w.+-]+", word) else f'"{word}"'


def _as_dict(group: Group) -> dict[str, Any]:
    groups = [_as_dict(one) for one in group.groups]
    fields = {"kind": group.kind, "names": group.names, "attributes": group.attributes}
    return fields | {"groups": groups}


def _naive_liberty(folder: Path) -> dict[str, Any]:
    """Word by word: a quoted text, a comment, a mark, a line's end, or a bare word."""
    written = (folder / "cells.lib").read_bytes().decode("latin-1")
    pattern = r'"(?:\\.|[^"\\])*"|/\*.*?\*/|\\\n|[(){};:]|\n|[^\s"(){};:,\\]+'
    words = re.findall(pattern, written, re.S)
    words = [word for word in reversed(words) if not word.startswith(("/*", "\\"))]
    found = _naive_group(words)
    assert not any(word != "\n" for word in words)
    return found


def _word_of(words: list[str]) -> str:
    """Take the next word, on whichever line."""
    while (word := words.pop()) == "\n":
        pass
    return word


def _naive_group(words: list[str]) -> dict[str, Any]:
    """``kind (names) { attributes, groups }``."""
    group: dict[str, Any] = {"kind": _bare(_word_of(words)), "attributes": {}, "groups": []}
    assert _word_of(words) == "("
    group["names"] = _until(")", words)
    assert _word_of(words) == "{"
    while (key := _word_of(words)) != "}":
        if key == ";":
            continue
        if (mark := _word_of(words)) == ":":
            group["attributes"][_bare(key)] = _until(";", words)
            continue
        assert mark == "("
        values = _until(")", words)
        if (end := _word_of(words)) != "{":
            group["attributes"][_bare(key)] = values
            words += [] if end == ";" else [end]
            continue
        words += ["{", ")", *(f'"{value}"' for value in reversed(values)), "(", key]
        group["groups"].append(_naive_group(words))
    return group


def _bare(word: str) -> str:
    assert word not in ("(", ")", "{", "}", ";", ":")
    return word[1:-1] if word[0] == '"' else word


def _until(mark: str, words: list[str]) -> list[str]:
    """The words up to a mark; a simple attribute may end with its line."""
    found = []
    while (word := words.pop()) != mark:
        if word in ("\n", "}") and mark == ";" and found:
            words.append(word)
            break
        if word != "\n":
            found.append(_bare(word))
    return found


TARGETS = [
    *(
        Target(
            name=f"config {name}",
            tree=Object.of(config),
            dump=partial(_json_file, "config.json"),
            read=_read_config,
            naive=_naive_config,
            share=40_000,
        )
        for name, config in (("bitnet", CONFIG), ("qwen3", CONFIG | _QWEN))
    ),
    *(
        Target(
            name=name,
            tree=_stream_tree(MatVecConfig(rows=2, k_max=64, n_max=64, **shape), trits()),
            dump=_dump_stream,
            read=lambda folder: content(read_streams(folder)[1])["ternary"],
            naive=naive.streams,
            share=share,
        )
        for name, shape, trits, share in (
            ("stream", {"lanes": 5, "code": "base3"}, _random_trits, 35_000),
            ("stream sherry", {"lanes": 8, "code": "sherry"}, _sherry_trits, 25_000),
        )
    ),
    Target(
        name="mlp",
        tree=_mlp(),
        dump=_dump_mlp,
        read=_read_mlp,
        naive=_naive_mlp,
        share=20_000,
    ),
    Target(
        name="liberty",
        tree=_liberty(),
        dump=lambda tree: {"cells.lib": _liberty_text(tree).encode("latin-1")},
        read=lambda folder: _as_dict(read_liberty(folder / "cells.lib").parse()),
        naive=_naive_liberty,
        share=30_000,
    ),
]
