"""Targets: tokenizers, as files of their own and in the metadata of GGUF."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from trilith.golden.checkpoint.tokenizer import load_tokenizer

from . import naive
from .binary import gguf_bytes, gguf_tree
from .campaign import Target
from .mutation import Object, pairs, to_json

_TEXTS = ("abc d ab<end>", "", "dd aa éx \n 12")
_LETTERS = "abcdĠ"
_MERGES = [("a", "b"), ("ab", "c"), ("Ġ", "d")]
_VOCABULARY = [*_LETTERS, *("".join(pair) for pair in _MERGES)]


def _tokenizer() -> Object:
    numbers = {token: place for place, token in enumerate(_VOCABULARY)}
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=_MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return Object.of(json.loads(tokenizer.to_str()))


def _beside() -> Object:
    """The tokenizer with files that change it."""
    end = {"content": "<end>", "lstrip": False, "normalized": False, "special": True}
    config = {
        "added_tokens_decoder": {"8": end, "9": end | {"content": "<begin>"}},
        "bos_token": "<begin>",
        "eos_token": end,
        "extra_special_tokens": ["<x>"],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    older = {"eos_token": "<end>", "additional_special_tokens": ["<y>"]}
    files = {"tokenizer_config": config, "special_tokens_map": older, "added_tokens": {"<z>": 10}}
    trees = [[f"{name}.json", Object.of(one)] for name, one in files.items()]
    return Object([["tokenizer.json", _tokenizer()], *trees])


def _dump(tree: Any) -> dict[str, bytes]:
    names = {name for name, _ in _beside()}
    return {name: to_json(one).encode() for name, one in pairs(tree) if name in names}


def _read(folder: Path, name: str = "") -> list[list[int]]:
    tokenizer = load_tokenizer(folder / name)
    found = [tokenizer.encode(one).ids for one in _TEXTS]
    for ids in found:
        tokenizer.decode(ids)
    return found


def _naive(folder: Path) -> list[list[int]]:
    """Result of the library for the file without truncation, padding and dropout."""
    stored = json.loads((folder / "tokenizer.json").read_bytes())
    model = stored["model"]
    if "dropout" in model:
        model["dropout"] = None
    tokenizer = Tokenizer.from_str(json.dumps(stored | {"truncation": None, "padding": None}))
    return [tokenizer.encode(one).ids for one in _TEXTS]


# GGUF: every token has the number that the list says.

_BPE = {
    "model": (8, "gpt2"),
    "pre": (8, "qwen2"),
    "tokens": (9, [8, [*_VOCABULARY, "<end>"]]),
    "token_type": (9, [5, [1] * 8 + [3]]),
    "merges": (9, [8, [" ".join(pair) for pair in _MERGES]]),
    "add_bos_token": (7, False),
    "add_eos_token": (7, True),
    "eos_token_id": (4, 8),
}
_PIECES = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "<0x41>"]
_SENTENCEPIECE = {
    "model": (8, "llama"),
    "pre": (8, "default"),
    "tokens": (9, [8, _PIECES]),
    "scores": (9, [6, [0.0, 0.0, 0.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0]]),
    "token_type": (9, [5, [2, 3, 3, 1, 1, 1, 1, 1, 6]]),
    "unknown_token_id": (4, 0),
    "bos_token_id": (4, 1),
    "eos_token_id": (4, 2),
    "add_bos_token": (7, True),
    "add_space_prefix": (7, True),
}


def _read_gguf(folder: Path) -> list[str | None]:
    _read(folder, "model.gguf")
    tokenizer = load_tokenizer(folder / "model.gguf")
    return [tokenizer.id_to_token(place) for place in range(tokenizer.get_vocab_size())]


def _naive_gguf(folder: Path) -> list[str]:
    metadata, _ = naive.gguf((folder / "model.gguf").read_bytes(), "block128")
    kind, tokens = metadata["tokenizer.ggml.tokens"]
    assert kind == 9
    assert all(isinstance(token, str) for token in tokens)
    return tokens


def _gguf_target(keys: dict[str, tuple[int, Any]]) -> Target:
    head = {"general.architecture": (8, "llama"), "general.alignment": (4, 32)}
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    return Target(
        name=f"gguf tokenizer {keys['model'][1]}",
        tree=gguf_tree(head | metadata, {}),
        dump=lambda tree: {"model.gguf": gguf_bytes(tree)},
        read=_read_gguf,
        naive=_naive_gguf,
        share=20_000,
    )


TARGETS = [
    Target(
        name="tokenizer",
        tree=Object([["tokenizer.json", _tokenizer()]]),
        dump=_dump,
        read=_read,
        naive=_naive,
        share=35_000,
    ),
    Target(
        name="tokenizer files",
        tree=_beside(),
        dump=_dump,
        read=_read,
        naive=None,
        share=25_000,
    ),
    _gguf_target(_BPE),
    _gguf_target(_SENTENCEPIECE),
]
