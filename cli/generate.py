"""``trilith generate``: text from a ternary language model, by NumPy or by the simulated engine."""

from enum import StrEnum
from pathlib import Path
from typing import Any

from .options import (
    CoreTokens,
    ModelOptions,
    OptionError,
    Preset,
    Quantize,
    command,
    new_app,
    option,
    reading,
)
from .output import Column, Table, print_json
from .prompts import Continuation, DrawOptions, PromptOptions, draws, model_path

__all__ = ["app"]

app = new_app()


#: Implementations: NumPy, ternary products in simulated hardware, or whole tokens in it.
_Backend = StrEnum("_Backend", ["GOLDEN", "RTL", "CORE"])
#: Quantizations of activations; ``golden.network.transformer.ACTIVATIONS`` has the same.
_Activations = StrEnum("_Activations", {"INT8": "int8", "INT4": "int4", "A4_8": "a4.8"})


class _Options(DrawOptions, PromptOptions, ModelOptions):
    backend: _Backend = option(
        _Backend.GOLDEN,
        "golden: NumPy; rtl: ternary products in the engine under Verilator; core: whole tokens in "
        "the token core under Verilator.",
    )
    activations: _Activations = option(
        _Activations.INT8,
        "Quantization of activations: int8 (BitNet b1.58), int4 (the same with 4 bits), or a4.8 "
        "(BitNet a4.8: 4 bits by the mean, 8 bits in front of o and down).",
    )
    quantize: Quantize | None = option(None, "Quantization of float master weights.")
    preset: Preset | None = option(None, "Engine of the backend rtl. Default: block.")
    tokens: CoreTokens | None = option(
        None,
        "Most tokens of a prompt that the core runs at once, and reads the weights once for. "
        "Default: 1.",
        needs=("--backend core",),
    )
    image: Path | None = option(
        None,
        "Image of this model, which 'trilith model compile' wrote. Default: the model is compiled.",
        needs=("--backend core",),
    )


@command(app)
def generate(options: _Options) -> None:
    """Generate text, by NumPy or in simulated hardware.

    With --backend core, whole tokens run in the token core, from a token's number to the next one:
    every vector of every layer is compared with the golden model of its arithmetic. Cycles by part
    are printed at the end (measured, with a memory that answers at once). Above temperature 0, it
    draws among the 32 likeliest tokens. With --image, a stored image is the core's memory; it must
    be of the same model, and for a core whose maxima are the sizes of that model. With --tokens 4,
    a pass runs 4 tokens of the prompt, and reads the weights once for them.

    With --backend rtl, every ternary product runs in the simulated engine, and each integer is
    compared with the golden model. Cycles per token and the share of each matrix are printed at the
    end (measured). Norms, attention and the head run on the host and are not counted.

    Examples:
      trilith generate --prompt "Return a list of"

      trilith generate --backend core --prompt "Return a list of"

      trilith generate --backend core --tokens 4 --prompt "Return a list of"

      trilith generate --backend core --image pydoc.image

      trilith generate --backend rtl --prompt "Return a list of" --max-tokens 16

      trilith generate --model bitnet-b1.58-2B-4T --prompt "The capital of France is"
    """
    if options.preset and options.backend is not _Backend.RTL:
        raise OptionError("--preset must not be given without --backend rtl, which it is for")
    draws(options)
    if options.backend is _Backend.CORE:
        for name, other in (
            ("--activations", options.activations is not _Activations.INT8),
            ("--beyond-context", options.beyond_context),
        ):
            if other:
                raise OptionError(
                    f"{name} must not be given with --backend core, whose arithmetic and memory "
                    "are fixed"
                )
    run = {_Backend.GOLDEN: _golden, _Backend.RTL: _rtl, _Backend.CORE: _core}
    text, figures = run[options.backend](options)
    if options.as_json:
        print_json({"text": text.text, "tokens": text.tokens, "end": text.end, **figures})
    elif options.backend is _Backend.CORE:
        _print_core(figures)
    elif figures:
        _print_figures(figures)


def _load(options: _Options, **product: Any) -> Continuation:
    """Load the model and its tokenizer, and encode the prompt."""
    from ..golden.checkpoint.tokenizer import load_tokenizer
    from ..golden.network.transformer import BitNetModel

    path = model_path(options)
    network = BitNetModel.load(
        path,
        activations=str(options.activations),
        **reading(options),
        **product,
    )
    beyond = options.backend is not _Backend.CORE
    return Continuation(options, network, load_tokenizer(path), beyond=beyond)


def _golden(options: _Options) -> tuple[Continuation, dict[str, Any]]:
    """Continue the prompt by the golden model."""
    text = _load(options)
    for _ in text.stream(**draws(options)):
        pass
    return text, {}


def _rtl(options: _Options) -> tuple[Continuation, dict[str, Any]]:
    """Continue the prompt by the simulated engine; return figures of its cycles too."""
    from ..hw.config import PRESETS
    from ..sim.rtl.product import EngineMatmul
    from ..sim.rtl.simulator import MatVecSimulator
    from ..sim.tools.errors import SimulationError

    config = PRESETS[options.preset or Preset.BLOCK]
    # The simulator is built when the model and the prompt are known to be right.
    products: list[EngineMatmul] = []
    text = _load(options, matmul=lambda weight, q: products[0](weight, q))
    _check_size(text.network, config)
    with MatVecSimulator(config) as simulator:
        multiply = EngineMatmul(simulator)
        products.append(multiply)
        cycles = []
        for _ in text.stream(**draws(options)):
            cycles.append(multiply.cycles)
            if multiply.wrong:
                raise SimulationError(
                    f"{multiply.wrong} results of the engine differ from the golden model"
                )
    decoded = len(cycles) - 1
    return text, {
        "engine": f"{config} {config.code}",
        "prompt_tokens": len(text.prompt),
        "prompt_cycles": cycles[0],
        "cycles_per_token": (cycles[-1] - cycles[0]) / decoded if decoded else None,
        "share_of_cycles": {
            kind: product.cycles / multiply.cycles for kind, product in multiply.products.items()
        },
        "label": "measured",
    }


def _core(options: _Options) -> tuple[Continuation, dict[str, Any]]:
    """Continue the prompt by the simulated token core; return figures of its cycles too."""
    from ..golden.network.token_core import CoreModel
    from ..hw.token.image import compile_image, core_for
    from ..hw.token.image_file import check_model, read_image
    from ..sim.rtl.core_text import CoreNetwork
    from ..sim.rtl.token_core import TokenCoreSimulator

    text = _load(options)
    # A context beyond the core's would take a large table of angles.
    config = core_for(text.network.config, tokens=int(options.tokens or 1))
    model = CoreModel(model=text.network)
    if options.image is None:
        image = compile_image(model, config)
    else:
        image = read_image(options.image, config)
        check_model(image, model, options.image)
    with TokenCoreSimulator(image) as simulator:
        text.network = network = CoreNetwork(model, simulator)
        for _ in text.stream(**draws(options)):
            pass
    runs = network.runs
    # The prompt ends with the first answer.
    prompt = runs[: 1 + next(place for place, run in enumerate(runs) if run.tokens)]
    last = next(run for run in reversed(runs) if run.tokens)
    tokens = sum(run.count for run in runs)
    return text, {
        "core": str(config),
        "tokens_run": tokens,
        "vectors": sum(len(run.vectors) for run in runs),
        "prompt_tokens": sum(run.count for run in prompt),
        "prompt_passes": len(prompt),
        "prompt_cycles": sum(run.cycles for run in prompt),
        "context": tokens,
        "cycles": last.cycles,
        "cycles_by_part": last.by_part,
        "label": "measured",
    }


def _print_core(figures: dict[str, Any]) -> None:
    print(
        f"\nAll {figures['vectors']} vectors of {figures['tokens_run']} tokens equal those of the "
        f"golden model. Measured on the token core {figures['core']}:"
    )
    if figures["prompt_passes"] < figures["prompt_tokens"]:
        passes = "1 pass" if figures["prompt_passes"] == 1 else f"{figures['prompt_passes']} passes"
        print(
            f"the prompt of {figures['prompt_tokens']} tokens, in {passes}: "
            f"{figures['prompt_cycles']} cycles"
        )
    print(f"the last token, at a context of {figures['context']}: {figures['cycles']} cycles")
    cycles = figures["cycles"]
    Table(Column("part", 0, 10, "<"), Column("cycles", 1, 8), Column("share", 2, form=".1%")).rows(
        (part, count, count / cycles) for part, count in figures["cycles_by_part"].items()
    )


def _check_size(network: Any, config: Any) -> None:
    """Refuse a model with a matrix that is larger than the engine's largest."""
    from ..hw.config import PRESETS

    for layer in network.layers:
        for linear in layer.linears.values():
            n, k = linear.weight.shape
            if linear.weight.group_size > config.k_max or n > config.n_max:
                presets = [
                    name
                    for name, other in PRESETS.items()
                    if linear.weight.group_size <= other.k_max and n <= other.n_max
                ]
                raise OptionError(
                    f"{linear.weight.name} must have at most the engine's {config.n_max} outputs "
                    f"and {config.k_max} inputs, not {n} and {k}; "
                    + (f"give --preset {' or '.join(presets)}" if presets else "no preset has more")
                )


def _print_figures(figures: dict[str, Any]) -> None:
    print(f"\nAll integers match the golden model. Measured on the engine {figures['engine']}:")
    print(f"prompt of {figures['prompt_tokens']} tokens: {figures['prompt_cycles']} cycles")
    if figures["cycles_per_token"] is not None:
        print(f"each token after the first: {figures['cycles_per_token']:.0f} cycles")
    Table(Column("matrix", 0, 10, "<"), Column("share of cycles", 1, form=".1%")).rows(
        figures["share_of_cycles"].items()
    )
