"""Tokenizers and end tokens in the metadata of GGUF files."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CheckpointError, MissingTokenizerError
from .tokenizer import tokenizer_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .gguf_file import GgufFile

__all__ = ["gguf_begin_token", "gguf_end_tokens", "read_gguf_tokenizer", "tokenizer_metadata"]


_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


#: Ways to split a text in front of byte-level BPE, by each of their names.
_SPLITS: dict[str, dict[str, Any]] = {
    name: entry for entry in _DATA["pre"].values() for name in entry["names"]
}


#: Types of tokens. Source: llama.cpp, enum llama_token_type.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6


#: Texts whose tokens a written tokenizer must keep.
_PROBES = (
    "",
    "Return a list of 3 names.",
    "  two spaces, 12345 and \t\n\r\n lines\n\n",
    "naïve café, it's 你好 🙂 Ω≈ç √∫",
)


def _vocabulary(file: GgufFile) -> tuple[list[str], list[int]]:
    """Read the tokens of a file, and their types."""
    key = "tokenizer.ggml.tokens"
    if file.kinds.get(key) != (9, 8):
        raise CheckpointError(f"{file.path}: {key} must be an array of strings")
    tokens = file.strings(key)
    if len(set(tokens)) < len(tokens):
        twice = next(token for place, token in enumerate(tokens) if token in tokens[:place])
        raise CheckpointError(f"{file.path}: {key} must have each token once, not {twice!r} twice")
    types = _numbers(file, "tokenizer.ggml.token_type", len(tokens))
    return tokens, [_NORMAL] * len(tokens) if types is None else [int(one) for one in types]


def _numbers(file: GgufFile, key: str, count: int) -> np.ndarray | None:
    """Read an array that has a number for each token; None where the key is absent."""
    value = file.metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, np.ndarray) or len(value) != count:
        raise CheckpointError(f"{file.path}: {key} must have a number for each of {count} tokens")
    return value


def _value(file: GgufFile, key: str, kind: type, default: Any) -> Any:
    """Read a key of ``tokenizer.ggml`` that has one value."""
    value = file.metadata.get(f"tokenizer.ggml.{key}")
    if value is None:
        return default
    if type(value) is not kind:
        noun = {int: "a number", bool: "true or false", str: "a text"}[kind]
        raise CheckpointError(f"{file.path}: tokenizer.ggml.{key} must be {noun}, not {value!r}")
    return value


def _token(file: GgufFile, key: str, count: int, default: int | None) -> int:
    """Read the number of a token."""
    number = _value(file, key, int, default)
    if number is None or not 0 <= number < count:
        raise CheckpointError(
            f"{file.path}: tokenizer.ggml.{key} must be the number of one of {count} tokens, not "
            f"{'absent' if number is None else number}"
        )
    return number


def gguf_begin_token(file: GgufFile) -> int | None:
    """Read the token that begins a text; None where the key is absent.

    Raises
    ------
    CheckpointError
        If the key has another value than a number.
    """
    return _value(file, "bos_token_id", int, None)


def gguf_end_tokens(file: GgufFile) -> list[int]:
    """Find the tokens that end a text, as llama.cpp finds them: by keys, and by their texts.

    Parameters
    ----------
    file : opened file; its tokens may be absent

    Returns
    -------
    Numbers of tokens, each once; that of ``tokenizer.ggml.eos_token_id`` first

    Raises
    ------
    CheckpointError
        If a key has another value than a number.
    """
    ends = [_value(file, f"{key}_token_id", int, None) for key in _DATA["ends"]["keys"]]
    if "tokenizer.ggml.token_type" in file.metadata:
        tokens, types = _vocabulary(file)
        named = set(_DATA["ends"]["texts"])
        ends += [
            place
            for place, token in enumerate(tokens)
            if token in named and types[place] != _NORMAL
        ]
    return list(dict.fromkeys(end for end in ends if end is not None))


def read_gguf_tokenizer(file: GgufFile) -> Tokenizer:
    """Make the tokenizer that a file's metadata describe, as llama.cpp understands them.

    Byte-level BPE (``gpt2``) with a known ``tokenizer.ggml.pre``, and SentencePiece's BPE with
    scores and bytes (``llama``) are known. The second one's merges are all ways to cut a token into
    two others, the highest score first.

    Parameters
    ----------
    file : opened file

    Raises
    ------
    MissingTokenizerError
        If there is no tokenizer.
    CheckpointError
        If it is wrong, or of another kind.
    """
    where, model = file.path, _value(file, "model", str, None)
    makers = {"gpt2": _byte_level, "llama": _sentencepiece}
    if model in (None, "none"):
        raise MissingTokenizerError(
            f"{where}: the model's tokenizer is missing: the file has none, and tokenizer.json is "
            "not beside it; copy it there"
        )
    if model not in makers:
        raise CheckpointError(
            f"{where}: tokenizer.ggml.model must be {' or '.join(makers)}, not {model!r}; copy the "
            "model's tokenizer.json beside the file"
        )
    for key, value in file.metadata.items():
        _, mine, name = key.partition("tokenizer.ggml.")
        known = name in _DATA["keys"]["known"] or name.endswith("_token_id")
        if mine and not known and np.size(value) and np.any(value):
            raise CheckpointError(
                f"{where}: {key} is not understood, and may change tokens; copy the model's "
                "tokenizer.json beside the file"
            )
    tokens, types = _vocabulary(file)
    embedding = file.entries.get("token_embd.weight")
    if embedding is not None and embedding.shape[0] != len(tokens):
        raise CheckpointError(
            f"{where}: tokenizer.ggml.tokens must have a token for each of the "
            f"{embedding.shape[0]} rows of token_embd.weight, not {len(tokens)}"
        )
    numbers = {token: place for place, token in enumerate(tokens)}
    with tokenizer_errors(lambda reason: f"{where}: must have a legal tokenizer: {reason}"):
        tokenizer: Tokenizer = makers[model](file, numbers, types)
        _add_tokens(tokenizer, tokens, types)
        _surround(file, tokenizer, tokens, model)
    return tokenizer


def _byte_level(file: GgufFile, numbers: dict[str, int], types: list[int]) -> Tokenizer:
    """Read a byte-level BPE tokenizer."""
    pre = _value(file, "pre", str, None)
    if pre not in _SPLITS:
        raise CheckpointError(
            f"{file.path}: tokenizer.ggml.pre must be one of {', '.join(_SPLITS)}, not "
            f"{'absent' if pre is None else repr(pre)}; copy the model's tokenizer.json beside the "
            "file"
        )
    key = "tokenizer.ggml.merges"
    if file.kinds.get(key) != (9, 8):
        raise CheckpointError(f"{file.path}: {key} must be an array of strings")
    merges = []
    for merge in file.strings(key):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            raise CheckpointError(f"{file.path}: {key} must be pairs of tokens, not {merge!r}")
        merges.append((left, right))
    return _make_byte_level(numbers, merges, _SPLITS[pre])


def _make_byte_level(
    numbers: dict[str, int], merges: list[tuple[str, str]], entry: Mapping[str, Any]
) -> Tokenizer:
    """Make a byte-level BPE tokenizer that splits texts as an entry of ``_SPLITS`` says."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    ignore_merges = entry.get("ignore_merges", False)
    tokenizer = Tokenizer(models.BPE(numbers, merges, ignore_merges=ignore_merges))
    steps: list[Any] = []
    if "split" in entry:
        steps.append(pre_tokenizers.Split(Regex(entry["split"]), behavior="isolated"))
    if entry.get("digits"):
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex="split" not in entry)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, level]) if steps else level
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(file: GgufFile, numbers: dict[str, int], types: list[int]) -> Tokenizer:
    """Read a BPE tokenizer with scores."""
    scores = _numbers(file, "tokenizer.ggml.scores", len(numbers))
    if scores is None:
        raise CheckpointError(f"{file.path}: tokenizer.ggml.scores is missing")
    unknown = _token(file, "unknown_token_id", len(numbers), 0)
    prefix = _value(file, "add_space_prefix", bool, True)
    return _make_sentencepiece(numbers, scores.tolist(), types, unknown, prefix)


def _make_sentencepiece(
    numbers: dict[str, int], scores: list[float], types: list[int], unknown: int, prefix: bool
) -> Tokenizer:
    """Make a BPE tokenizer with scores, and with a token for each byte of unknown characters.

    Parameters
    ----------
    numbers, scores, types : of each token
    unknown : number of the token for what has none
    prefix : a text begins with a space, which decoding removes
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    found = []
    # Without them a token of 70,000 letters would be cut 70,000 times.
    lengths = {len(token) for token in numbers}
    for token, number in numbers.items():
        if types[number] not in (_NORMAL, _USER_DEFINED, _UNUSED):
            continue
        for cut in lengths:
            if len(token) - cut not in lengths:
                continue
            left, right = token[:cut], token[cut:]
            if left in numbers and right in numbers:
                # Among equal scores transformers prefers long left tokens.
                found.append(((-scores[number], -cut, cut - len(token), number), (left, right)))
    tokenizer = Tokenizer(
        models.BPE(
            numbers,
            [pair for _, pair in sorted(found)],
            unk_token=[*numbers][unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    steps: list[Any] = [normalizers.Replace(" ", "▁")]
    pieces: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        steps.insert(0, normalizers.Prepend("▁"))
        pieces.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(pieces)
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    """Keep control tokens and the user's tokens whole in a text."""
    from tokenizers import AddedToken

    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == _CONTROL)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )


def _surround(file: GgufFile, tokenizer: Tokenizer, tokens: list[str], model: str) -> None:
    """Put the tokens of begin and end around each text, where the file says so."""
    from tokenizers import processors

    spm = model == "llama"
    begins = spm or _SPLITS.get(_value(file, "pre", str, ""), {}).get("add_bos", False)
    template, special = ["$A"], []
    for name, added, default in (("bos", begins, 1), ("eos", False, 2)):
        if not _value(file, f"add_{name}_token", bool, added):
            continue
        number = _token(file, f"{name}_token_id", len(tokens), default if spm else None)
        template.insert(len(template) if name == "eos" else 0, name)
        special.append({"id": name, "ids": [number], "tokens": [tokens[number]]})
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=special
        )


def tokenizer_metadata(
    tokenizer: Tokenizer, vocabulary: int, *, bos: int | None, ends: Sequence[int]
) -> dict[str, Any]:
    """Describe a tokenizer by the keys of GGUF, of which the reader makes the same tokenizer.

    Parameters
    ----------
    tokenizer : see ``load_tokenizer``
    vocabulary : tokens of the model; numbers without a token get names as llama.cpp gives them
    bos, ends : tokens that begin and end a text, of which the first can be put behind a prompt

    Returns
    -------
    Values by keys, without ``tokenizer.ggml.`` in front

    Raises
    ------
    CheckpointError
        If GGUF has no keys for such a tokenizer.
    """
    state = json.loads(tokenizer.to_str())
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    if max(numbers.values(), default=-1) >= vocabulary:
        raise CheckpointError(
            f"the tokenizer has {len(numbers)} tokens, and the model {vocabulary}"
        )
    tokens = [f"[PAD{place}]" for place in range(vocabulary)]
    types = [_UNUSED] * vocabulary
    for token, number in numbers.items():
        byte = re.fullmatch("<0x[0-9A-F]{2}>", token) and state["model"].get("byte_fallback")
        tokens[number], types[number] = token, _BYTE if byte else _NORMAL
    for added in state["added_tokens"]:
        types[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    whole = {token: place for place, token in enumerate(tokens)}
    if len(whole) < vocabulary:
        raise CheckpointError("the tokenizer has tokens named as those without a name, [PAD…]")
    found = _described(state, tokenizer, whole, types)
    around = _added_around(tokenizer, bos, ends[0] if ends else None)
    return found | around | {"tokens": tokens, "token_type": types}


def _described(
    state: dict[str, Any], tokenizer: Tokenizer, numbers: dict[str, int], types: list[int]
) -> dict[str, Any]:
    """Find the kind of a tokenizer: the one whose reader makes the same."""
    merges = [tuple(one) for one in state["model"].get("merges") or ()]
    tokens, wanted = [*numbers], _shape(tokenizer)

    def same(made: Tokenizer) -> bool:
        _add_tokens(made, tokens, types)
        unused = {token for token, kind in zip(tokens, types, strict=True) if kind == _UNUSED}
        return _shape(made, unused) == wanted

    if state["model"].get("type") == "BPE" and not state["model"].get("byte_fallback"):
        for entry in _DATA["pre"].values():
            if same(_make_byte_level(numbers, merges, entry)):
                return {
                    "model": "gpt2",
                    "pre": entry["names"][0],
                    "merges": [" ".join(merge) for merge in merges],
                }
    unknown = state["model"].get("unk_token")
    if state["model"].get("type") == "BPE" and unknown in numbers:
        types[numbers[unknown]] = _CONTROL if types[numbers[unknown]] == _CONTROL else _UNKNOWN
        scores = [0.0] * len(numbers)
        for rank, (left, right) in reversed([*enumerate(merges)]):
            scores[numbers[left + right]] = -float(rank)
        for prefix in (True, False):
            made = _make_sentencepiece(numbers, scores, types, numbers[unknown], prefix)
            if same(made):
                return {
                    "model": "llama",
                    "pre": "default",
                    "scores": scores,
                    "unknown_token_id": numbers[unknown],
                    "add_space_prefix": prefix,
                }
    raise CheckpointError(
        "the tokenizer is neither byte-level BPE of a splitting that GGUF has a name for, nor "
        "SentencePiece's BPE"
    )


def _shape(tokenizer: Tokenizer, unused: Collection[str] = ()) -> dict[str, Any]:
    """List what decides the tokens and the text of a tokenizer, in a form that can be compared."""
    state = json.loads(tokenizer.to_str())

    def plain(value: Any) -> Any:
        """Leave out where a token lies in the text, which nothing here reads."""
        if isinstance(value, list):
            return [plain(one) for one in value]
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key != "trim_offsets"}
        return value

    decoder = state["decoder"] or {}
    level = decoder.get("type") == "ByteLevel"
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return {
        "tokens": {key: value for key, value in vocabulary.items() if key not in unused},
        "model": {key: one for key, one in state["model"].items() if key != "vocab"},
        "added": sorted(state["added_tokens"], key=lambda one: one["id"]),
        "split": tokenizer.encode_special_tokens,
        "normalizer": plain(state["normalizer"]),
        "pre_tokenizer": plain(state["pre_tokenizer"]),
        "decoder": "ByteLevel" if level else plain(decoder),
    }


def _added_around(tokenizer: Tokenizer, bos: int | None, eos: int | None) -> dict[str, Any]:
    """Find out which tokens a tokenizer puts around a text."""
    for begin in ([], [bos]):
        for end in ([], [eos]):
            if all(
                tokenizer.encode(text).ids
                == [*begin, *tokenizer.encode(text, add_special_tokens=False).ids, *end]
                for text in _PROBES
            ):
                return {"add_bos_token": bool(begin), "add_eos_token": bool(end)}
    raise CheckpointError(
        "the tokenizer puts other tokens around a text than those that begin and end one"
    )
