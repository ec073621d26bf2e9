"""Prompts and generated text, for the verbs that run a language model."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from .options import OptionError

__all__ = ["encode_prompt", "show_tokens"]


def encode_prompt(tokenizer: Any, prompt: str, network: Any) -> list[int]:
    """Encode a prompt.

    Parameters
    ----------
    tokenizer : see ``trilith.golden.network.text.load_tokenizer``
    prompt : the text
    network : the ``BitNetModel`` that continues it

    Returns
    -------
    Its token numbers, at least one.

    Raises
    ------
    OptionError
        If there is no token, or one that the model does not have.
    """
    tokens = tokenizer.encode(prompt).ids
    if not tokens:
        raise OptionError("--prompt must have at least one token, and is empty")
    if max(tokens) >= network.config.vocabulary:
        raise OptionError(
            f"tokenizer.json must be the model's own: the prompt has the token {max(tokens)}, and "
            f"the model has {network.config.vocabulary} tokens"
        )
    return tokens


def show_tokens(
    stream: Iterator[int], prompt: str, most: int, network: Any, tokenizer: Any, silent: bool
) -> Iterator[int]:
    """Print a prompt and its continuation while it is generated.

    Parameters
    ----------
    stream : generated token numbers
    prompt : the text that they continue
    most : largest number of tokens to take
    network, tokenizer : see ``encode_prompt``
    silent : print nothing

    Returns
    -------
    The token numbers that were taken, up to and including the end of the text.
    """
    if not silent:
        print(prompt, end="", flush=True)
    tokens: list[int] = []
    shown = ""
    for token in islice(stream, most):
        yield token
        if token in network.config.eos:
            break
        tokens.append(token)
        text = tokenizer.decode(tokens)
        # A character of several bytes may be unfinished.
        if not silent and not text.endswith("\N{REPLACEMENT CHARACTER}"):
            print(text[len(shown) :], end="", flush=True)
            shown = text
    if not silent:
        print()
