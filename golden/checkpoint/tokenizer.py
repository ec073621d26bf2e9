"""Reader of tokenizers: ``tokenizer.json`` with the files beside it, or the metadata of GGUF."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, MissingTokenizerError
from ..files import read_json
from ..input_files import mistaken, unreadable

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

__all__ = ["load_tokenizer", "tokenizer_errors"]


#: Keys of ``tokenizer_config.json`` that name a token.
_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


#: Fields of an added token in ``tokenizer_config.json``, and the types of their values.
_FIELDS = {"content": str, "special": bool} | dict.fromkeys(
    ("lstrip", "rstrip", "normalized", "single_word"), bool
)


#: Replacements of ``clean_up_tokenization_spaces``. Source: transformers, clean_up_tokenization.
_CLEAN_UP = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {end}", end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)


@contextmanager
def tokenizer_errors(message: Callable[[str], str]) -> Iterator[None]:
    """Turn errors of the library ``tokenizers`` into errors of a checkpoint.

    The library is written in Rust. It checks only some of a tokenizer when it reads one, and a
    failed check ends in a panic, which is no ``Exception`` and prints lines of its own. They are
    kept from the standard error output.

    Parameters
    ----------
    message : writes the error's message, with the library's reason in it

    Raises
    ------
    CheckpointError
        If the library fails.
    """
    try:
        with _no_standard_error():
            yield
    except CheckpointError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(message(" ".join(str(error).split()))) from None


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Throw away what a library writes to the standard error output, past Python."""
    try:
        kept = os.dup(2)
    except OSError:  # There is none.
        yield
        return
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read the tokenizer of a model as ``transformers.PreTrainedTokenizerFast`` reads it.

    ``tokenizer.json`` has the tokenizer. Truncation, padding and dropout in it come from a training
    script, and are switched off. ``tokenizer_config.json`` and the older files
    ``special_tokens_map.json`` and ``added_tokens.json`` add tokens, and can split special tokens
    in a text. ``add_bos_token`` and ``add_eos_token`` change nothing: the post-processor in
    ``tokenizer.json`` adds tokens.

    Parameters
    ----------
    path : the folder, or a file in it. A GGUF file's own tokenizer is used where its folder has no
        ``tokenizer.json``

    Raises
    ------
    MissingTokenizerError
        If there is no tokenizer.
    CheckpointError
        If it is wrong, or does what is not known here.
    """
    from tokenizers import Tokenizer

    file = (path if path.is_dir() else path.parent) / "tokenizer.json"
    if not file.exists():
        if _is_gguf(path):
            from .gguf_file import GgufFile
            from .gguf_tokenizer import read_gguf_tokenizer

            return read_gguf_tokenizer(GgufFile(path, any_layout=True))
        raise MissingTokenizerError(f"{file}: the model's tokenizer is missing; copy it there")
    if message := unreadable(file, "a tokenizer"):
        raise CheckpointError(message)
    with tokenizer_errors(partial(mistaken, file, "a tokenizer")):
        tokenizer = Tokenizer.from_file(str(file))
        unknown = getattr(tokenizer.model, "unk_token", None)
        if unknown is not None and tokenizer.model.token_to_id(unknown) is None:
            raise CheckpointError(
                f"{file}: unk_token must be a token of the vocabulary, not {unknown!r}; take the "
                "model's own file"
            )
        if getattr(tokenizer.model, "dropout", None):
            tokenizer.model.dropout = None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        beside = file.with_name("tokenizer_config.json")
        _configure(tokenizer, read_json(beside) if beside.is_file() else {}, beside)
    return tokenizer


def _is_gguf(path: Path) -> bool:
    """Find out whether a path is a GGUF file, as ``load_checkpoint`` does."""
    if not path.is_file() or path.suffix == ".gguf":
        return path.suffix == ".gguf"
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _configure(tokenizer: Tokenizer, config: dict[str, Any], where: Path) -> None:
    """Change a tokenizer as ``tokenizer_config.json`` and older files say."""
    versions = config.get("fast_tokenizer_files")
    if versions not in (None, ["tokenizer.json"]):
        raise CheckpointError(
            f"{where}: fast_tokenizer_files must name tokenizer.json only, not {versions!r}; "
            "remove the key, and call the right file tokenizer.json"
        )
    for number, token in _added_tokens(config, where):
        present = tokenizer.get_added_tokens_decoder().values()
        if token.content not in [one.content for one in present]:
            tokenizer.add_tokens([token])
        found = tokenizer.token_to_id(token.content)
        if number is not None and found != number:
            raise CheckpointError(
                f"{where}: the token {token.content!r} must have the number {number}, but is "
                f"{found} in tokenizer.json; take the model's own files"
            )
    if _boolean(config, "split_special_tokens", where):
        tokenizer.encode_special_tokens = True
    forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
    if _boolean(config, "clean_up_tokenization_spaces", where) and (
        type(tokenizer.model).__name__ != "BPE" or _boolean(config, forced, where)
    ):
        _clean_up(tokenizer, where)


def _boolean(config: dict[str, Any], key: str, where: Path) -> bool:
    """Read a key that is true, false or absent."""
    value = config.get(key)
    if value not in (None, False, True):
        raise CheckpointError(f"{where}: {key} must be true or false, not {value!r}")
    return bool(value)


def _clean_up(tokenizer: Tokenizer, where: Path) -> None:
    """Remove spaces in front of punctuation from decoded text, as transformers does."""
    from tokenizers import decoders

    if tokenizer.decoder is None:
        raise CheckpointError(
            f"{where}: clean_up_tokenization_spaces must be false for a tokenizer without a "
            "decoder; Trilith computes nothing else"
        )
    steps = [decoders.Replace(old, new) for old, new in _CLEAN_UP]
    tokenizer.decoder = decoders.Sequence([tokenizer.decoder, decoders.Fuse(), *steps])


def _added_tokens(config: dict[str, Any], where: Path) -> Iterator[tuple[int | None, AddedToken]]:
    """Yield the tokens that a configuration adds, in the order of their numbers, then the named.

    ``added_tokens_decoder`` takes the place of the two older files.
    """
    numbered: list[tuple[int, AddedToken]] = []
    listed = config.get("added_tokens_decoder")
    if listed is None:
        older = where.with_name("special_tokens_map.json")
        config = config | (read_json(older) if older.is_file() else {})
    named = [config.get(f"{name}_token") for name in _NAMED]
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(extra, dict):
        # Tokens of several media, by names of their own.
        extra = [*extra.values()]
    if not isinstance(extra, list):
        raise CheckpointError(f"{where}: extra_special_tokens must be a list, not {extra!r}")
    special = [_token(one, where, special=True) for one in (*named, *extra) if one is not None]
    if listed is None:
        older = where.with_name("added_tokens.json")
        names = [one.content for one in special]
        numbers = read_json(older) if older.is_file() else {}
        if not all(type(number) is int and number >= 0 for number in numbers.values()):
            raise CheckpointError(f"{older}: must map tokens to numbers")
        listed = {
            str(number): {
                "content": text,
                "special": text in names,
                "normalized": text not in names,
            }
            for text, number in numbers.items()
        }
    if not isinstance(listed, dict) or not all(key.isdecimal() for key in listed):
        raise CheckpointError(f"{where}: added_tokens_decoder must map numbers to tokens")
    for key, fields in listed.items():
        numbered.append((int(key), _token(fields, where)))
    yield from sorted(numbered, key=lambda one: one[0])
    yield from ((None, token) for token in special)


def _token(value: Any, where: Path, *, special: bool = False) -> AddedToken:
    """Make an added token of its text, or of an object of its fields."""
    from tokenizers import AddedToken

    fields: dict[str, Any] | Any = {"content": value} if isinstance(value, str) else value
    if isinstance(fields, dict):
        fields = {key: one for key, one in fields.items() if key not in ("__type", "id")}
    if not isinstance(fields, dict) or not all(
        key in _FIELDS and type(one) is _FIELDS[key] for key, one in fields.items()
    ):
        raise CheckpointError(f"{where}: must describe an added token, not {value!r}")
    if not fields.get("content"):
        raise CheckpointError(f"{where}: an added token must have a text, not {value!r}")
    if special:
        fields["special"] = True
    return AddedToken(**fields)
