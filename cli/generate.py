"""``trilith generate``: text from a ternary language model, by NumPy or by the simulated engine."""

from enum import StrEnum
from pathlib import Path
from typing import Any

from .options import I2sOptions, OptionError, Preset, Quantize, command, new_app, option
from .output import Column, Table, print_json
from .prompts import continue_prompt

__all__ = ["app"]

app = new_app()


#: Implementations of the ternary products.
_Backend = StrEnum("_Backend", ["GOLDEN", "RTL"])
#: Quantizations of activations; ``golden.network.transformer.ACTIVATIONS`` has the same.
_Activations = StrEnum("_Activations", {"INT8": "int8", "INT4": "int4", "A4_8": "a4.8"})


class _Options(I2sOptions):
    prompt: str = option("Return a list of", "Text to continue.")
    model: Path | None = option(
        None,
        "Checkpoint: a Hugging Face folder, a safetensors file or GGUF, with tokenizer.json in "
        "the same folder. Default: the small model in the repository.",
    )
    backend: _Backend = option(_Backend.GOLDEN, "golden: NumPy; rtl: the engine under Verilator.")
    max_tokens: int = option(
        32, "Largest number of tokens to generate; the end of the text stops earlier.", min=1
    )
    temperature: float = option(
        0.0, "0: the likeliest token each time; 1: draws from the model.", min=0
    )
    seed: int = option(0, "Seed of the draws.", min=0)
    activations: _Activations = option(
        _Activations.INT8,
        "Quantization of activations: int8 (BitNet b1.58), int4 (the same with 4 bits), or a4.8 "
        "(BitNet a4.8: 4 bits by the mean, 8 bits in front of o and down).",
    )
    quantize: Quantize | None = option(None, "Quantization of float master weights.")
    preset: Preset = option(Preset.BLOCK, "Engine of the backend rtl.")


@command(app)
def generate(options: _Options) -> None:
    """Generate text; with --backend rtl, every ternary product runs in the simulated engine.

    With --backend rtl, each integer is compared with the golden model; a difference ends with
    status 1. Cycles per token and the share of each matrix are printed at the end (measured).
    Norms, attention and the head run on the host and are not counted.

    Examples:
      trilith generate --prompt "Return a list of"

      trilith generate --backend rtl --prompt "Return a list of" --max-tokens 16

      trilith generate --model bitnet-b1.58-2B-4T --prompt "The capital of France is"
    """
    from ..golden.data import PYDOC
    from ..golden.network.text import load_tokenizer

    path = options.model or PYDOC
    tokenizer = load_tokenizer(path)
    run = _golden if options.backend is _Backend.GOLDEN else _rtl
    tokens, figures = run(options, path, tokenizer)
    if options.as_json:
        print_json({"text": tokenizer.decode(tokens), "tokens": tokens, **figures})
    elif figures:
        _print_figures(figures)


def _load(options: _Options, path: Path, **product: Any) -> tuple[Any, dict[str, Any]]:
    """Load the model; return it, and the settings of its draws."""
    from ..golden.network.transformer import BitNetModel

    quantize = str(options.quantize) if options.quantize else None
    network = BitNetModel.load(
        path,
        activations=str(options.activations),
        quantize=quantize,
        i2s_layout=str(options.i2s_layout),
        **product,
    )
    return network, {"temperature": options.temperature, "seed": options.seed}


def _golden(options: _Options, path: Path, tokenizer: Any) -> tuple[list[int], dict[str, Any]]:
    """Tokens by the golden model."""
    network, draws = _load(options, path)
    return [*continue_prompt(options, network, tokenizer, **draws)[1]], {}


def _rtl(options: _Options, path: Path, tokenizer: Any) -> tuple[list[int], dict[str, Any]]:
    """Tokens by the simulated engine, and figures of its cycles."""
    from ..hw.config import PRESETS
    from ..sim.rtl.product import EngineMatmul
    from ..sim.rtl.simulator import MatVecSimulator
    from ..sim.tools.errors import SimulationError

    config = PRESETS[options.preset]
    with MatVecSimulator(config) as simulator:
        multiply = EngineMatmul(simulator)
        network, draws = _load(options, path, matmul=multiply)
        _check_size(network, config)
        prompt_tokens, stream = continue_prompt(options, network, tokenizer, **draws)
        tokens, cycles = [], []
        for token in stream:
            tokens.append(token)
            cycles.append(multiply.cycles)
            if multiply.wrong:
                raise SimulationError(
                    f"{multiply.wrong} results of the engine differ from the golden model"
                )
    decoded = len(tokens) - 1
    return tokens, {
        "engine": f"{config} {config.code}",
        "prompt_tokens": prompt_tokens,
        "prompt_cycles": cycles[0],
        "cycles_per_token": (cycles[-1] - cycles[0]) / decoded if decoded else None,
        "share_of_cycles": {
            kind: product.cycles / multiply.cycles for kind, product in multiply.products.items()
        },
        "label": "measured",
    }


def _check_size(network: Any, config: Any) -> None:
    """Refuse a model with a matrix that is larger than the engine's largest."""
    for layer in network.layers:
        for linear in layer.linears.values():
            n, k = linear.weight.shape
            if linear.weight.group_size > config.k_max or n > config.n_max:
                raise OptionError(
                    f"{linear.weight.name} must have at most the engine's {config.n_max} outputs "
                    f"and {config.k_max} inputs, not {n} and {k}: choose another --preset"
                )


def _print_figures(figures: dict[str, Any]) -> None:
    print(f"\nAll integers match the golden model. Measured on the engine {figures['engine']}:")
    print(f"prompt of {figures['prompt_tokens']} tokens: {figures['prompt_cycles']} cycles")
    if figures["cycles_per_token"] is not None:
        print(f"each token after the first: {figures['cycles_per_token']:.0f} cycles")
    Table(Column("matrix", 0, 10, "<"), Column("share of cycles", 1, form=".1%")).rows(
        figures["share_of_cycles"].items()
    )
