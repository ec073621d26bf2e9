"""``trilith model``: inspect checkpoints, convert them, and verify the result."""

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..hw.config import MatVecConfig
from .core_options import CoreOptions, CorePreset, core_config
from .model_inspect import ReadOptions, inspect, load
from .options import (
    ModelOptions,
    OptionError,
    Preset,
    argument,
    command,
    config_fields,
    force_option,
    given_fields,
    new_app,
    option,
    reading,
)
from .output import Column, Table, print_facts, print_json, progress
from .streams import say

if TYPE_CHECKING:
    from ..golden.checkpoint.compare import Comparison
    from ..golden.checkpoint.tensors import Checkpoint

__all__ = ["app"]

app = new_app("Inspect, convert and verify checkpoints.")


#: Formats to convert to.
_Target = StrEnum(
    "_Target",
    [
        "HUGGINGFACE",
        "TQ1_0",
        "TQ2_0",
        "I2_S",
        "Q2_0_64",
        "Q2_0_128",
        "STQ1_0",
        "IQ2_BN",
        "PQ2_0",
        "PTQ1_0",
        "MLX",
        "STREAM",
    ],
)


#: Those that are folders; the others are GGUF files.
_FOLDERS = (_Target.HUGGINGFACE, _Target.MLX, _Target.STREAM)
_GGUF = tuple(f"--to {to}" for to in _Target if to not in _FOLDERS)

#: Types of floats in a GGUF file.
Embeddings = StrEnum("Embeddings", ["FLOAT16", "FLOAT32"])


command(app)(inspect)


class _Paths(ReadOptions, ModelOptions):
    source: Path = argument(..., "Folder, .safetensors, .gguf or .onnx file.")
    target: Path = argument(..., "Folder (huggingface, mlx, stream) or file to write.")
    to: _Target = option(..., "Format to write.")
    preset: Preset = option(Preset.BITNET, "Engine that reads the stream.", needs=("--to stream",))
    embeddings: Embeddings | None = option(
        None,
        "Type of the embedding and of the head in a GGUF file, for programs that do not read the "
        "source's type. Default: the source's type.",
        needs=_GGUF,
    )
    force: bool = force_option(needs=_GGUF)


_EngineOptions = config_fields(MatVecConfig, "code", "k_max", "n_max", needs=("--to stream",))


class _ConvertOptions(_EngineOptions, _Paths):  # type: ignore[misc]
    """Options of the command, those of the engine included."""


@command(app)
def convert(options: _ConvertOptions) -> None:
    """Write a checkpoint in another format; no trit changes.

    Scales keep their value, with one exception: where the source divides by its scales, GGUF, MLX
    and streams get the inverses, rounded to float32. trilith model verify counts these, and the
    values that --embeddings float16 rounds.

    A folder must not exist yet, and a file only with --force. Missing parent folders are made.
    Nothing is written over the source, or into its folder. The tokenizer is converted too; if the
    format cannot hold it, a line says why. I2_S is written in the layout block128; --i2s-layout is
    for the source.

    Examples:
      trilith model convert bitnet-b1.58-2B-4T model.gguf --to i2_s

      trilith model convert model.gguf weights --to stream --preset bitnet --code escape
    """
    from ..golden.errors import FormatError

    config = _engine(options)
    _check_target(options)
    checkpoint = load(options.source, options)
    divides = checkpoint.scale_convention.startswith("divided")
    if divides and options.to is not _Target.HUGGINGFACE:
        say(
            f"warning: {options.source} divides by its scales, and {options.to} multiplies: it "
            "gets the inverses, rounded to float32; --to huggingface keeps the scales"
        )
    try:
        reason = _write(checkpoint, options, config)
    except FormatError as error:
        others = _accepting(checkpoint, config, options.to)
        advice = f"give --to {' or '.join(others)}" if others else "no other format accepts it"
        raise FormatError(f"{error}; {advice}") from None
    if options.as_json:
        facts = {"target": str(options.target), "matrices": len(checkpoint.ternary)}
        print_json(facts | ({"no_tokenizer": reason} if reason else {}))
    else:
        print(
            f"{options.target}: {len(checkpoint.ternary)} matrices; 'trilith model verify' "
            "compares them with the source"
        )
        if reason:
            print(f"no tokenizer was written: {reason}")


def _write(checkpoint: "Checkpoint", options: _ConvertOptions, config: MatVecConfig) -> str:
    """Write the target; return why the tokenizer is not in it, or nothing."""
    from ..golden.checkpoint.write_gguf import write_gguf
    from ..golden.checkpoint.write_huggingface import write_huggingface
    from ..hw.weight_file import write_streams

    target, to = options.target, options.to
    with progress("converting") as show:
        if to in (_Target.HUGGINGFACE, _Target.MLX):
            mlx = to is _Target.MLX
            return write_huggingface(checkpoint, target, mlx=mlx, progress=show)
        if to is _Target.STREAM:
            write_streams(checkpoint, target, config, progress=show)
            return ""  # Streams have weights only.
        return write_gguf(
            checkpoint,
            target,
            str(to),
            embeddings=str(options.embeddings) if options.embeddings else None,
            force=options.force,
            progress=show,
        )


def _accepting(checkpoint: "Checkpoint", config: MatVecConfig, refused: _Target) -> list[str]:
    """List the formats that accept a checkpoint, but for the one that refused it."""
    from ..golden.checkpoint.write_gguf import check_gguf
    from ..golden.checkpoint.write_huggingface import check_huggingface
    from ..golden.errors import CheckpointError
    from ..hw.weight_file import check_streams

    found = []
    for target in _Target:
        try:
            if target in (_Target.HUGGINGFACE, _Target.MLX):
                check_huggingface(checkpoint, mlx=target is _Target.MLX)
            elif target is _Target.STREAM:
                check_streams(checkpoint, config)
            else:
                check_gguf(checkpoint, str(target))
        except CheckpointError:
            continue
        if target is not refused:
            found.append(str(target))
    return found


def _check_target(options: _ConvertOptions) -> None:
    """Refuse a target that cannot be written, before the source is read."""
    from ..golden.checkpoint.tensors import input_files
    from ..golden.errors import FormatError
    from ..golden.files import check_new_folder, check_outputs
    from ..golden.input_files import is_onnx

    if is_onnx(options.source) and options.to is not _Target.STREAM:
        raise FormatError(
            f"{options.source}: streams hold the matrices of a network in QONNX, and no format "
            "holds its other operators; give --to stream"
        )
    inputs = input_files(options.source)
    if options.to in _FOLDERS:
        check_new_folder(options.target, inputs=inputs)
    else:
        check_outputs([options.target], inputs=inputs, force=options.force)


def _engine(options: _ConvertOptions) -> MatVecConfig:
    """Configuration of the engine that reads the stream."""
    from ..hw.config import PRESETS

    given = given_fields(options, _EngineOptions)
    try:
        return replace(PRESETS[options.preset], **given)
    except ValueError as error:
        raise OptionError(str(error)) from None


class _VerifyOptions(ReadOptions):
    converted: Path = argument(..., "Checkpoint or stream folder to verify.")
    source: Path = argument(..., "Checkpoint that it was made from.")


@command(app)
def verify(options: _VerifyOptions) -> bool:
    """Compare every matrix's trits and scales, and every other tensor, with the source.

    If there are differences, the command counts them, prints those of each tensor with their first
    place, and ends with status 1. With --json, each tensor has its first three places.

    --i2s-layout and --type42 are for SOURCE, or for CONVERTED where SOURCE is not named .gguf.

    Example:
      trilith model verify model.gguf bitnet-b1.58-2B-4T
    """
    from ..golden.checkpoint.compare import compare

    quantize = replace(options, i2s_layout="auto", type42=None)
    layouts = replace(options, quantize=None)
    if options.source.suffix == ".gguf":
        theirs = load(options.source, options)
        ours = load(options.converted, replace(quantize, quantize=None))
    else:
        theirs, ours = load(options.source, quantize), load(options.converted, layouts)
    with progress("comparing") as show:
        result = compare(ours, theirs, progress=show)
    if options.as_json:
        print_json(
            {"equal": not result.differences, "difference": result.difference}
            | {"different": result.different(), **asdict(result)}
        )
    else:
        equal = not result.differences
        print(
            f"{result.matrices} matrices compared{' and equal' * equal}: {result.trits} trits and "
            f"{result.scales} scales; {result.others} other tensors{' equal' * equal}"
        )
        if result.rounded_values:
            print(f"{result.rounded_values} values of other tensors are rounded to float16")
        if result.rounded_scales:
            print(
                f"{result.rounded_scales} scales are inverses rounded to float32: one checkpoint "
                "multiplies by its scales, and the other divides"
            )
        if not equal:
            _print_differences(result)
    return bool(result.differences)


def _print_differences(result: "Comparison") -> None:
    """Print the numbers that differ, and a line for each tensor."""
    numbers = result.different()
    print(
        f"DIFFERENT: tensors {numbers['tensors']}, trits {numbers['trits']}, scales "
        f"{numbers['scales']}, other values {numbers['values']}"
    )
    Table(
        Column("tensor", "name", 36, "<"),
        Column("trits", "trits", 9),
        Column("scales", "scales"),
        Column("values", "values", 9),
        Column("first", lambda row: row.first[0], form="<"),
    ).rows(result.differences)


_CompiledEngine = config_fields(MatVecConfig, needs=("--core",))


class _CompileOptions(CoreOptions, _CompiledEngine, ReadOptions, ModelOptions):  # type: ignore[misc]
    path: Path = argument(..., "Folder, .safetensors or .gguf file.")
    out: Path = option(
        ..., "File of the image; the listing of its program gets .txt behind this name."
    )
    core: CorePreset | None = option(
        None,
        "Configuration of the core to start from. Default: a core whose maxima are the sizes of "
        "the model.",
    )
    force: bool = force_option()


@command(app, "compile")
def compile_model(options: _CompileOptions) -> None:
    """Compile a model for the token core: its program, and the image of its memory and weights.

    Without --core, the core's maxima are the sizes of the model; it has 64 x 5 products, 4 vector
    lanes, 64 attention lanes and a memory port of 512 bits. With --core, an image for the core that
    trilith verilog writes with the same options. The image is a safetensors file with the tensors
    memory and weights, and with the digest of its model. The listing has a line for each
    instruction of the program.

    The other examples use an image: the first one says what it is, and the second one runs it.

    Examples:
      trilith model compile golden/data/pydoc --out pydoc.image

      trilith model inspect pydoc.image

      trilith generate --model golden/data/pydoc --backend core --image pydoc.image

      trilith model compile golden/data/pydoc --core pydoc --context-max 512 --out pydoc512.image
    """
    from ..golden.checkpoint.tensors import input_files
    from ..golden.network.token_core import CoreModel
    from ..golden.network.transformer import BitNetModel
    from ..hw.token.image import compile_image, core_for
    from ..hw.token.image_file import write_image

    network = BitNetModel.load(options.path, **reading(options))
    # A context beyond the core's would take a large table of angles.
    config = core_config(options) if options.core else core_for(network.config)
    name = options.path.resolve().name
    image = compile_image(CoreModel(model=network), config, name=name)
    listing = write_image(image, options.out, inputs=input_files(options.path), force=options.force)
    facts = {
        "image": str(options.out),
        "listing": str(listing),
        "instructions": len(image.program),
        "memory_bytes": len(image.memory),
        "weight_beats": len(image.weights),
        "weight_bytes": image.weights.size,
    }
    if options.as_json:
        print_json(facts)
    else:
        print_facts(facts)
