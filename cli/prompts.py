"""Prompts and generated text, for the verbs that run a language model."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from .options import OptionError

__all__ = ["continue_prompt"]


def _encode(tokenizer: Any, prompt: str, network: Any) -> list[int]:
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


def continue_prompt(
    options: Any, network: Any, tokenizer: Any, **draws: Any
) -> tuple[int, Iterator[int]]:
    """Continue a prompt with a language model.

    Parameters
    ----------
    options : ``prompt``, ``max_tokens``, and ``as_json``, with which nothing is printed
    network, tokenizer : see ``_encode``
    draws : further arguments of ``BitNetModel.generate``

    Returns
    -------
    The number of the prompt's tokens, and the token numbers that follow, up to and including the
    end of the text. They are generated, and printed behind the prompt, while they are taken.
    """
    prompt_tokens = _encode(tokenizer, options.prompt, network)

    def show() -> Iterator[int]:
        silent = options.as_json
        if not silent:
            print(options.prompt, end="", flush=True)
        tokens: list[int] = []
        shown = ""
        for token in islice(network.generate(prompt_tokens, **draws), options.max_tokens):
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

    return len(prompt_tokens), show()
