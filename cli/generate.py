"""``trilith generate``: text from a ternary language model, by golden or through the RTL."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["encode_prompt", "generate", "show_tokens"]


def generate(
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "Return a list of",
    model: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint: a Hugging Face folder or safetensors file, or GGUF, with "
            "tokenizer.json beside it. Default: the small model in the repository.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="golden: NumPy; rtl: the engine under Verilator.")
    ] = "golden",
    max_tokens: Annotated[
        int, typer.Option(help="Tokens to generate at most; the end of a text ends it earlier.")
    ] = 32,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token each time; 1 draws from the model.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    activations: Annotated[
        str,
        typer.Option(
            help="How activations are quantized: int8 (BitNet b1.58), int4 (the same with 4 bits) "
            "or a4.8 (BitNet a4.8: 4 bits by the mean, 8 in front of o and down)."
        ),
    ] = "int8",
    quantize: Annotated[
        str | None,
        typer.Option(help="absmean: quantize float master weights.", show_default=False),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Engine of the backend rtl: micro, line, block or bitnet.")
    ] = "block",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object, at the end.")
    ] = False,
) -> None:
    """Generate text; with --backend rtl every ternary matrix product runs in the simulated engine.

    Through the RTL each integer is held to golden's, and a difference ends with status 1. At the
    end come clocks per token and each matrix' share of them (measured): what stands between the
    products (norms, attention, the head) runs on the host and is not counted.

    Examples:
      trilith generate --prompt "Return a list of"

      trilith generate --backend rtl --prompt "Return a list of" --max-tokens 16

      trilith generate --model bitnet-b1.58-2B-4T --prompt "The capital of France is"
    """
    from ..golden.data import PYDOC
    from ..golden.network.text import load_tokenizer
    from ..golden.network.transformer import ACTIVATIONS, BitNetModel
    from ..hw.config import PRESETS

    for option, value, legal in (
        ("backend", backend, ("golden", "rtl")),
        ("activations", activations, ACTIVATIONS),
        ("preset", preset, PRESETS),
    ):
        if value not in legal:
            raise typer.BadParameter(f"--{option} must be one of {', '.join(legal)}, not {value!r}")
    if max_tokens < 1:
        raise typer.BadParameter(f"--max-tokens must be at least 1, not {max_tokens}")
    if not 0 <= temperature < float("inf"):
        raise typer.BadParameter(f"--temperature must be 0 or more, not {temperature}")
    if seed < 0:
        raise typer.BadParameter(f"--seed must be 0 or more, not {seed}")
    path = model or PYDOC
    tokenizer = load_tokenizer(path)
    options: dict[str, Any] = {"activations": activations, "quantize": quantize}
    draws: dict[str, Any] = {"temperature": temperature, "seed": seed}
    if backend == "golden":
        network = BitNetModel.load(path, **options)
        prompt_tokens = encode_prompt(tokenizer, prompt, network)
        tokens = list(
            show_tokens(
                network.generate(prompt_tokens, **draws),
                prompt,
                max_tokens,
                network,
                tokenizer,
                as_json,
            )
        )
        if as_json:
            print(json.dumps({"text": tokenizer.decode(tokens), "tokens": tokens}, indent=2))
        return

    from ..sim.rtl.product import EngineMatmul
    from ..sim.rtl.simulator import MatVecSimulator
    from ..sim.tools.errors import SimulationError

    config = PRESETS[preset]
    with MatVecSimulator(config) as simulator:
        multiply = EngineMatmul(simulator)
        network = BitNetModel.load(path, matmul=multiply, **options)
        for layer in network.layers:
            for linear in layer.linears.values():
                n, k = linear.weight.shape
                if linear.weight.group_size > config.k_max or n > config.n_max:
                    raise typer.BadParameter(
                        f"{linear.weight.name} must fit the engine's {config.n_max} outputs and "
                        f"{config.k_max} inputs, and has {n} and {k}; choose another --preset"
                    )
        prompt_tokens = encode_prompt(tokenizer, prompt, network)
        tokens, cycles = [], []
        stream = network.generate(prompt_tokens, **draws)
        for token in show_tokens(stream, prompt, max_tokens, network, tokenizer, as_json):
            tokens.append(token)
            cycles.append(multiply.cycles)
            if multiply.wrong:
                raise SimulationError(f"{multiply.wrong} results of the engine differ from golden")
    decoded = len(tokens) - 1
    figures = {
        "engine": f"{config} {config.code}",
        "prompt_tokens": len(prompt_tokens),
        "prompt_cycles": cycles[0],
        "cycles_per_token": (cycles[-1] - cycles[0]) / decoded if decoded else None,
        "share_of_cycles": {
            kind: product.cycles / multiply.cycles for kind, product in multiply.products.items()
        },
        "label": "measured",
    }
    if as_json:
        text = tokenizer.decode(tokens)
        print(json.dumps({"text": text, "tokens": tokens, **figures}, indent=2))
        return
    print(f"\nEvery integer equals golden's. Measured on the engine {figures['engine']}:")
    print(f"  prompt of {len(prompt_tokens)} tokens: {cycles[0]} clocks")
    if decoded:
        print(f"  each token after the first: {figures['cycles_per_token']:.0f} clocks")
    for kind, share in figures["share_of_cycles"].items():
        print(f"  {kind:<10} {share:6.1%} of all clocks")


def encode_prompt(tokenizer, prompt: str, network) -> list[int]:
    """Token numbers of a prompt, if it has any and the model has them."""
    tokens = tokenizer.encode(prompt).ids
    if not tokens:
        raise typer.BadParameter("--prompt must have at least one token, and is empty")
    if max(tokens) >= network.config.vocabulary:
        raise typer.BadParameter(
            f"tokenizer.json must be the model's own: it has the token {max(tokens)}, and the "
            f"model {network.config.vocabulary} of them"
        )
    return tokens


def show_tokens(
    stream: Iterator[int], prompt: str, most: int, network, tokenizer, silent: bool
) -> Iterator[int]:
    """Pass the tokens on; print the prompt, and what follows it as it comes."""
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
