"""Models on boards that multiply: every product of a checkpoint, and text."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .fpga_ports import board_facts
from .options import OptionError, reading
from .output import print_json
from .prompts import Continuation, draws, model_path

if TYPE_CHECKING:
    from ..fpga.host.board import Board
    from ..fpga.host.matmul import BoardMatmul

__all__ = ["check_size", "generate_products", "multiply_all"]


def check_size(path: Path, shapes: list[tuple[int, int]], board: "Board", stream: bool) -> None:
    """Refuse a checkpoint that does not fit, unless it may be streamed."""
    from ..fpga.boards import fitting_boards, memory_bytes
    from ..fpga.host.link import BoardError

    config = board.config
    for n, k in shapes:
        board.check(f"{path}: a matrix", n, k)
    need, have = memory_bytes(config, shapes), board.identity.memory_bytes
    if need <= have or stream:
        return
    others = fitting_boards(shapes)
    where = f"it fits {', '.join(others)}" if others else "it fits no board"
    seconds = (need - have) * 10 / board.link.baud
    raise BoardError(
        f"{path} must fit the {have} bytes of the board's weight memory and takes {need}, "
        f"{need - have} too many; {where}; --stream sends the rest with each product, which takes "
        f"{seconds:.2g} s or more per token at {board.link.baud} baud"
    )


def multiply_all(
    multiply: "BoardMatmul", board: "Board", tensors: Any, seed: int
) -> Iterator[dict[str, Any]]:
    """Multiply each matrix by random activations; yield JSON objects of the products."""
    import numpy as np

    rng = np.random.default_rng(seed)
    limit = 2 ** (board.config.act_bits - 1)
    for name in tensors:
        tensor = tensors[name]
        x = rng.integers(1 - limit, limit, (board.config.tokens, tensor.shape[1])).astype(np.int8)
        before = (multiply.wrong, board.cycles, board.waits, time.monotonic())
        multiply(tensor, x)
        after = (multiply.wrong, board.cycles, board.waits, time.monotonic())
        counts = (b - a for a, b in zip(before, after, strict=True))
        yield {
            "name": name,
            "shape": [*tensor.shape, len(x)],
            **dict(zip(("wrong", "clocks", "waits", "seconds"), counts, strict=True)),
        }


def generate_products(options: Any, board: "Board") -> bool:
    """Generate text with every ternary product on a board; return whether one is wrong."""
    from ..fpga.host.matmul import BoardMatmul
    from ..golden.checkpoint.tokenizer import load_tokenizer
    from ..golden.network.transformer import BitNetModel

    if options.image is not None:
        raise OptionError(
            "--image must not be given for a board that multiplies, which takes --model"
        )
    path = model_path(options)
    # The layers of the model give the matrices that its product loads.
    products: list[BoardMatmul] = []
    network = BitNetModel.load(
        path,
        **reading(options),
        matmul=lambda weight, q: products[0](weight, q),
    )
    text = Continuation(options, network, load_tokenizer(path))
    shapes = [
        (linear.weight.out_features, linear.weight.group_size)
        for layer in network.layers
        for linear in layer.linears.values()
        for _ in range(linear.weight.shape[1] // linear.weight.group_size)
    ]
    check_size(path, shapes, board, options.stream)
    products.append(BoardMatmul(board, shapes))
    counts = [(0, 0, time.monotonic())]
    for _ in text.stream(**draws(options)):
        counts.append((board.cycles, board.waits, time.monotonic()))
        if products[0].wrong:
            break
    wrong = products[0].wrong
    facts = board_facts(board) | {"wrong": wrong, "prompt_tokens": len(text.prompt)}
    facts |= _per_token(counts)
    if options.as_json:
        print_json({"text": text.text, "tokens": text.tokens, "end": text.end, **facts})
    else:
        _print_generated(facts)
    return wrong > 0


def _per_token(counts: list[tuple[int, int, float]]) -> dict[str, Any]:
    """Cycles, waits and seconds of each token after the first, from counts at each token's end."""
    names = ("clocks_per_token", "waits_per_token", "seconds_per_token")
    decoded = len(counts) - 2
    return {
        name: (counts[-1][place] - counts[1][place]) / decoded if decoded else None
        for place, name in enumerate(names)
    } | {"label": "measured"}


def _print_generated(facts: dict[str, Any]) -> None:
    if facts["wrong"]:
        print(f"\n{facts['wrong']} results of the board differ from the golden model")
        return
    print(f"\nAll integers match the golden model. Measured on the engine {facts['engine']}:")
    if facts["clocks_per_token"] is not None:
        work = facts["clocks_per_token"] - facts["waits_per_token"]
        print(
            f"each token after the first: {work:.0f} cycles, and {facts['waits_per_token']:.0f} "
            f"cycles of waiting for the link; {facts['seconds_per_token']:.2f} s"
        )
