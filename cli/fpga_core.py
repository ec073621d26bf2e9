"""Models on boards with a token core: loading them, and generating text."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import OptionError, reading
from .output import print_json, print_note, progress
from .prompts import Continuation, draws, model_path

if TYPE_CHECKING:
    from ..fpga.host.core_board import CoreBoard, Loaded
    from ..golden.network.token_core import CoreModel
    from ..hw.token.config import TokenConfig
    from ..hw.token.image_file import Image

__all__ = ["CoreRun", "compiled_image", "load_image", "print_loaded"]


def compiled_image(model: "CoreModel", config: "TokenConfig", path: Path) -> "Image":
    """Compile a model for the core of a board; a refusal names the boards that it fits."""
    from ..fpga.host.core_image import fitting_boards_text
    from ..hw.token.image import CompileError, compile_image

    try:
        return compile_image(model, config)
    except CompileError as error:
        raise OptionError(f"{path}: {error}; {fitting_boards_text(model.config)}") from None


def load_image(board: "CoreBoard", image: "Image", name: Path) -> "Loaded":
    """Load an image into a board's memory, behind a bar of progress."""
    with progress(f"loading {name}") as show:
        return board.load(image, name=name, show=show)


def print_loaded(loaded: "Loaded") -> None:
    """Print the bytes of an image that a board has verified."""
    rate = f", {loaded.sent / loaded.seconds:.0f} bytes per second" if loaded.sent else ""
    print_note(
        f"{loaded.bytes} bytes are in the board's memory, verified by its checksums; "
        f"{loaded.sent} of them were sent in {loaded.seconds:.1f} s{rate}"
    )


class CoreRun:
    """A model, its image and a prompt, which a board with a token core continues.

    Parameters
    ----------
    options : of ``trilith fpga generate``
    config : configuration of the board's core

    Attributes
    ----------
    image : the image, from ``--image`` or compiled
    """

    def __init__(self, options: Any, config: "TokenConfig") -> None:
        from ..golden.checkpoint.tokenizer import load_tokenizer
        from ..golden.network.token_core import CoreModel
        from ..golden.network.transformer import BitNetModel
        from ..hw.token.image_file import check_model, read_image

        if options.beyond_context:
            raise OptionError(
                "--beyond-context must not be given for a board with a token core, whose memory "
                "has room for the context alone"
            )
        self._options, path = options, model_path(options)
        network = BitNetModel.load(path, **reading(options))
        self._text = Continuation(options, network, load_tokenizer(path), beyond=False)
        self._model, self._name = CoreModel(model=network), options.image or path
        if options.image is None:
            self.image = compiled_image(self._model, config, path)
        else:
            self.image = read_image(options.image)
            check_model(self.image, self._model, options.image)

    def generate(self, board: "CoreBoard", *, load: bool) -> bool:
        """Generate the text, and print it and its figures; return whether an answer is wrong.

        Parameters
        ----------
        board : the board
        load : load the image first; without it, the board's memory has it
        """
        from ..fpga.host.core_text import BoardText

        options, text = self._options, self._text
        board.check(self.image, self._name)
        loaded = load_image(board, self.image, self._name) if load else None
        board.begin_model(self.image, stream=options.stream)
        text.network = network = BoardText(self._model, board)
        begin = time.monotonic()
        for _ in text.stream(**draws(options)):
            if network.difference:
                break
        answers, clock = network.answers, board.identity.clock_hz
        prompt, last = answers[: len(text.prompt)], answers[-1]
        facts = {
            "core": str(board.config),
            "clock_hz": clock,
            "loaded_bytes": loaded and loaded.bytes,
            "sent_bytes": loaded and loaded.sent,
            "difference": network.difference,
            "prompt_tokens": len(prompt),
            "prompt_cycles": sum(answer.cycles for answer in prompt),
            "context": len(answers),
            "cycles": last.cycles,
            "waits": last.waits,
            "tokens_per_second": clock / last.cycles,
            "seconds_per_token": (time.monotonic() - begin) / len(answers),
            "sessions": board.link.sessions,
            "frames_repeated": board.link.repeated,
            "frames_rejected": board.link.rejected,
            "label": "measured",
        }
        if options.as_json:
            print_json({"text": text.text, "tokens": text.tokens, "end": text.end, **facts})
        else:
            _print_run(facts, len(text.tokens))
            if loaded:
                print_loaded(loaded)
        return network.difference is not None


def _print_run(facts: dict[str, Any], count: int) -> None:
    """Print the figures of a text."""
    if facts["difference"]:
        print(f"\nThe board differs from the golden model: {facts['difference']}")
        return
    print(
        f"\nAll {count} answers match the golden model. Measured on the token core "
        f"{facts['core']}, at {facts['clock_hz'] / 1e6:g} MHz:"
    )
    print(f"the prompt of {facts['prompt_tokens']} tokens: {facts['prompt_cycles']} cycles")
    print(
        f"the last token, at a context of {facts['context']}: {facts['cycles']} cycles, "
        f"{facts['waits']} of them waiting for the memory; "
        f"{facts['tokens_per_second']:.1f} tokens per second"
    )
    print(f"with the link and the golden model: {facts['seconds_per_token']:.2f} s per token")
