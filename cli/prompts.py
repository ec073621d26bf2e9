"""Prompts and generated text, for the verbs that run a language model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .options import OptionError, Options, option

__all__ = ["Continuation", "DrawOptions", "PromptOptions", "draws", "model_path"]


class PromptOptions(Options):
    """Options of a verb that continues a text."""

    model: Path | None = option(
        None,
        "Checkpoint: a Hugging Face folder, a safetensors file or GGUF. tokenizer.json is in the "
        "same folder; a GGUF file may have its tokenizer inside. Default: the small model in the "
        "repository.",
    )
    prompt: str = option("Return a list of", "Text to continue.")
    max_tokens: int = option(
        32,
        "Largest number of tokens to generate; the end of the text stops earlier.",
        min=1,
    )
    beyond_context: bool = option(
        False,
        "Allow more tokens than the model's context has. The model was not trained for these.",
        "--beyond-context",
    )


class DrawOptions(Options):
    """Options of a verb that may draw the next token."""

    temperature: float = option(
        0.0, "0: the likeliest token each time; 1: draws from the model.", min=0
    )
    seed: int | None = option(
        None, "Seed of the draws, with a --temperature above 0. Default: 0.", min=0
    )


def draws(options: Any) -> dict[str, Any]:
    """Return the arguments of ``BitNetModel.generate`` that ``DrawOptions`` stand for."""
    if options.seed is not None and not options.temperature:
        raise OptionError(
            "--seed must not be given with --temperature 0, which draws nothing: give "
            "--temperature 1, or leave --seed out"
        )
    return {"temperature": options.temperature, "seed": options.seed or 0}


def model_path(options: Any) -> Path:
    """Return the checkpoint that ``PromptOptions`` name, which must exist."""
    from ..golden.data import PYDOC

    if options.model is not None and not options.model.exists():
        raise OptionError(
            "--model must be a Hugging Face folder, a safetensors file or a GGUF file, and "
            f"{str(options.model)!r} does not exist; without --model, the small model in the "
            "repository is used"
        )
    return options.model or PYDOC


def _decoded(prompt: str) -> str:
    """Read the bytes of a prompt as UTF-8, where Python took them for another encoding."""
    raw = prompt.encode(errors="surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise OptionError(
            f"--prompt must be text in UTF-8, and its byte {error.start} is {raw[error.start]:#04x}"
        ) from None


class Continuation:
    """A prompt, and the text by which a language model continues it.

    Parameters
    ----------
    options : ``PromptOptions``, and ``as_json``, with which nothing is printed
    network : the ``BitNetModel`` that continues the prompt
    tokenizer : see ``trilith.golden.checkpoint.tokenizer.load_tokenizer``
    beyond : whether ``--beyond-context`` can be given

    Attributes
    ----------
    network : the model
    prompt : token numbers of the prompt, at least one
    tokens : token numbers that follow, up to and including the end of the text

    Raises
    ------
    OptionError
        If the prompt is not a text, has no token or one that the model does not have, or is longer
        than the context, the tokens to generate included.
    """

    def __init__(self, options: Any, network: Any, tokenizer: Any, *, beyond: bool = True) -> None:
        self._options, self.network, self._tokenizer = options, network, tokenizer
        self._beyond = beyond
        self._text = _decoded(options.prompt)
        self.prompt: list[int] = self._encode()
        self.tokens: list[int] = []
        # The first token of a text loses its space, so that tokens are decoded behind the prompt.
        self._start = len(self._decode(self.prompt))

    def _encode(self) -> list[int]:
        """Encode the prompt."""
        options, config = self._options, self.network.config
        from ..golden.checkpoint.tokenizer import tokenizer_errors

        with tokenizer_errors(lambda reason: f"the tokenizer cannot encode --prompt: {reason}"):
            tokens: list[int] = self._tokenizer.encode(self._text).ids
        if not tokens:
            raise OptionError(
                "--prompt must have at least one token for the tokenizer, and has none"
            )
        if max(tokens) >= config.vocabulary:
            raise OptionError(
                f"the tokenizer must be the model's own: the prompt has the token {max(tokens)}, "
                f"and the model has {config.vocabulary} tokens"
            )
        if len(tokens) + options.max_tokens > config.max_positions and not options.beyond_context:
            left = config.max_positions - len(tokens)
            raise OptionError(
                f"--prompt and --max-tokens must fit into the model's context of "
                f"{config.max_positions} tokens, and have {len(tokens)} and {options.max_tokens}: "
                + (f"give --max-tokens {left}" if left > 0 else "give a shorter prompt")
                + ", or allow it with --beyond-context" * self._beyond
            )
        return tokens

    def _decode(self, tokens: list[int]) -> str:
        """Decode tokens."""
        from ..golden.checkpoint.tokenizer import tokenizer_errors

        with tokenizer_errors(lambda reason: f"the tokenizer cannot decode tokens: {reason}"):
            return self._tokenizer.decode(tokens)

    def stream(self, **draws: Any) -> Iterator[int]:
        """Generate the tokens that follow, and print their text behind the prompt.

        A character is printed when all of its bytes are there.

        Parameters
        ----------
        draws : further arguments of ``BitNetModel.generate``
        """
        silent, shown = self._options.as_json, ""
        if not silent:
            print(self._text, end="", flush=True)
        for token in self.network.generate(self.prompt, **draws):
            self.tokens.append(token)
            yield token
            over = token in self.network.ends or len(self.tokens) == self._options.max_tokens
            if not silent:
                text = self.text
                # Bytes of a character that is not whole yet.
                ready = text if over else text.rstrip("\N{REPLACEMENT CHARACTER}")
                print(ready[len(shown) :], end="\n" if over else "", flush=True)
                shown = ready if len(ready) > len(shown) else shown
            if over:
                return

    @property
    def text(self) -> str:
        """Text that the tokens stand for, without the end."""
        ended = bool(self.tokens) and self.tokens[-1] in self.network.ends
        tokens = self.tokens[:-1] if ended else self.tokens
        return self._decode([*self.prompt, *tokens])[self._start :]

    @property
    def end(self) -> dict[str, Any]:
        """Token that ended the text, None where none did, and the reason."""
        last = self.tokens[-1] if self.tokens else None
        if last in self.network.ends:
            return {"token": last, "reason": self.network.ends[last]}
        full = len(self.tokens) == self._options.max_tokens
        return {"token": None, "reason": "--max-tokens" if full else "stopped"}
