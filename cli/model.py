"""``trilith model``: inspect checkpoints, convert them, and verify the result."""

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hw.config import MatVecConfig
from .core_options import CoreOptions, CorePreset, core_config
from .options import (
    HiddenAct,
    I2sLayout,
    I2sOptions,
    OptionError,
    Preset,
    Quantize,
    argument,
    command,
    config_fields,
    force_option,
    given_fields,
    new_app,
    option,
)
from .output import Column, Table, print_facts, print_json, print_note, progress

if TYPE_CHECKING:
    from ..golden.checkpoint.tensors import Checkpoint

__all__ = ["app"]

app = new_app("Inspect, convert and verify checkpoints.")


#: Formats to convert to.
_Target = StrEnum("_Target", ["HUGGINGFACE", "TQ1_0", "TQ2_0", "I2_S", "STREAM"])


class _QuantizeOptions(I2sOptions):
    quantize: Quantize | None = option(
        None, "Quantization of float master weights; without it, such weights are refused."
    )


def _load(
    path: Path,
    quantize: str | None = None,
    i2s_layout: str = I2sLayout.AUTO,
    hidden_act: str | None = None,
) -> "Checkpoint":
    """Load a checkpoint, or a folder of an engine's streams."""
    from ..golden.checkpoint.load import load_checkpoint
    from ..hw.weight_file import read_streams

    if (path / "manifest.json").is_file():
        if hidden_act:
            raise OptionError(f"{path}: --hidden-act is for GGUF files; leave it out")
        return read_streams(path)[1]
    return load_checkpoint(
        path, quantize=quantize, i2s_layout=str(i2s_layout), hidden_act=hidden_act
    )


class _InspectOptions(_QuantizeOptions):
    path: Path = argument(..., "Folder, .safetensors or .gguf file, or image of the token core.")


@command(app)
def inspect(options: _InspectOptions) -> None:
    """Print what a checkpoint contains: family, format, and one row per ternary matrix.

    Scales is the number of scales of a matrix. Entropy is that of single trits. Bits per weight
    is the space that the file uses, scales included. All figures are measured.

    I2_S is the layout of such a GGUF file, and how much better the weights look in it than in
    each other layout.

    For an image that trilith model compile wrote, the command checks the whole file, and prints the
    core that it is for, its model, and its sizes.

    Examples:
      trilith model inspect bitnet-b1.58-2B-4T

      trilith model inspect pydoc.image

      trilith model inspect model.gguf --json
    """
    from ..golden.checkpoint.statistics import statistics
    from ..golden.checkpoint.understood import not_understood
    from ..golden.input_files import is_image

    if is_image(options.path):
        _inspect_image(options)
        return
    checkpoint = _load(options.path, options.quantize, options.i2s_layout)
    rows = []
    count = len(checkpoint.ternary) + len(checkpoint.tensors)
    with progress("reading") as show:
        for name in checkpoint.ternary:
            rows.append(statistics(checkpoint, name))
            show(len(rows), count)
        # Reading refuses NaN and infinity.
        for done, _ in enumerate(checkpoint.tensors.values()):
            show(len(rows) + done + 1, count)
    sizes = [row.n * row.k for row in rows]
    weights, stored = sum(sizes), sum(row.stored_bytes for row in rows)
    total = {
        "matrices": len(rows),
        "weights": weights,
        **{
            name: sum(getattr(row, name) * size for row, size in zip(rows, sizes, strict=True))
            / weights
            for name in ("zero_fraction", "entropy_bits_per_trit")
        },
        "stored_bits_per_weight": 8 * stored / weights,
        "stored_bytes": stored,
        "other_tensors": len(checkpoint.tensors),
    }
    facts = {
        "family": _family(checkpoint),
        "format": checkpoint.format,
        "scale": checkpoint.scale_convention,
    }
    i2_s, strange = checkpoint.i2_s, not_understood(checkpoint)
    config = _summary(checkpoint.config)
    if options.as_json:
        print_json(
            {
                "path": str(options.path),
                **facts,
                "i2s_layout": i2_s and i2_s.as_dict(),
                "not_understood": strange,
                "config": config,
                "tensors": [row.as_dict() for row in rows],
                "total": total,
            }
        )
        return
    facts |= {"I2_S": str(i2_s)} if i2_s else {}
    print_facts(facts | ({"not understood": ", ".join(strange)} if strange else {}))
    print_facts(config)
    _print_matrices(rows, total)


def _inspect_image(options: _InspectOptions) -> None:
    """Print what an image of the token core contains."""
    from ..hw.token.image_file import read_image

    if options.quantize or options.i2s_layout != I2sLayout.AUTO:
        raise OptionError(
            f"{options.path}: --quantize and --i2s-layout are for checkpoints; leave them out"
        )
    image = read_image(options.path)
    facts = {
        "format": "image of the token core",
        "model": image.model,
        "model_digest": image.model_digest,
        "core": str(image.config),
        "instructions": len(image.program),
        "memory_bytes": len(image.memory),
        "weight_beats": len(image.weights),
        "weight_bytes": image.weights.size,
    }
    if options.as_json:
        config = asdict(image.config)
        print_json({"path": str(options.path), **facts, "sizes": image.sizes, "config": config})
    else:
        print_facts(facts)
        print_facts(image.sizes)


def _print_matrices(rows: list[Any], total: dict[str, Any]) -> None:
    Table(
        Column("matrix", "name", 36, "<"),
        Column("N x K", lambda row: f"{row.n} x {row.k}", 13),
        Column("stored", "stored_type", form="<"),
        Column("scales", "scales", 8),
        Column("group", "group_size"),
        Column("zeros", "zero_fraction", 6, ".2%"),
        Column("entropy, bits/trit", "entropy_bits_per_trit", form=".4f"),
        Column("bits/weight", "stored_bits_per_weight", form=".4f"),
    ).rows(rows)
    print_note(
        f"{total['matrices']} matrices, {total['weights']} weights, "
        f"{total['stored_bytes'] / 1e6:.1f} MB: {total['zero_fraction']:.2%} zeros, "
        f"{total['entropy_bits_per_trit']:.4f} bits of entropy per trit, "
        f"{total['stored_bits_per_weight']:.4f} bits per weight as stored; "
        f"{total['other_tensors']} other tensors"
    )


def _family(checkpoint: "Checkpoint") -> str:
    """Name of the model's class, with the properties that distinguish it from similar classes."""
    config = checkpoint.config
    kind = config.get("model_type", "no model, streams" if not config else "unknown")
    sub_norms = any(name.endswith("sub_norm.weight") for name in checkpoint.tensors)
    act = config.get("hidden_act") or ("activation not stated" if "hidden_act" in config else "")
    parts = [str(kind), str(act), "sub-norms" if sub_norms else ""]
    return ", ".join(part for part in parts if part)


def _summary(config: dict[str, Any]) -> dict[str, Any]:
    """Sizes in a checkpoint's configuration."""
    keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "layer_sizes",
        "rms_norm_eps",
        "rope_theta",
        "tie_word_embeddings",
    )
    return {key: config[key] for key in keys if config.get(key) is not None}


class _Paths(_QuantizeOptions):
    source: Path = argument(..., "Folder, .safetensors or .gguf file.")
    target: Path = argument(..., "Folder (huggingface, stream) or file to write.")
    to: _Target = option(..., "Format to write.")
    hidden_act: HiddenAct | None = option(
        None, "Activation of a GGUF file that states none; without it, such a file is refused."
    )
    preset: Preset = option(Preset.BITNET, "Engine that reads the stream.", needs=("--to stream",))
    force: bool = force_option(needs=("--to tq1_0", "--to tq2_0", "--to i2_s"))


_EngineOptions = config_fields(MatVecConfig, "code", "k_max", "n_max", needs=("--to stream",))


class _ConvertOptions(_EngineOptions, _Paths):  # type: ignore[misc]
    """Options of the command, those of the engine included."""


@command(app)
def convert(options: _ConvertOptions) -> None:
    """Write a checkpoint in another format; no trit changes.

    Scales keep their value, with one exception: where the source divides by its scales, GGUF and
    streams get the inverses, rounded to float32. trilith model verify counts these.

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
    hidden_act = str(options.hidden_act) if options.hidden_act else None
    checkpoint = _load(options.source, options.quantize, options.i2s_layout, hidden_act)
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
        if to is _Target.HUGGINGFACE:
            return write_huggingface(checkpoint, target, progress=show)
        if to is _Target.STREAM:
            write_streams(checkpoint, target, config, progress=show)
            return ""  # Streams have weights only.
        return write_gguf(checkpoint, target, str(to), force=options.force, progress=show)


def _accepting(checkpoint: "Checkpoint", config: MatVecConfig, refused: _Target) -> list[str]:
    """List the formats that accept a checkpoint, but for the one that refused it."""
    from ..golden.checkpoint.write_gguf import check_gguf
    from ..golden.checkpoint.write_huggingface import check_huggingface
    from ..golden.errors import CheckpointError
    from ..hw.weight_file import check_streams

    found = []
    for target in _Target:
        try:
            if target is _Target.HUGGINGFACE:
                check_huggingface(checkpoint)
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
    from ..golden.files import check_new_folder, check_outputs

    inputs = input_files(options.source)
    if options.to in (_Target.HUGGINGFACE, _Target.STREAM):
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


class _VerifyOptions(_QuantizeOptions):
    converted: Path = argument(..., "Checkpoint or stream folder to verify.")
    source: Path = argument(..., "Checkpoint that it was made from.")


@command(app)
def verify(options: _VerifyOptions) -> bool:
    """Compare every matrix's trits and scales, and every other tensor, with the source.

    If there is a difference, the command prints the first one and ends with status 1.

    --i2s-layout is for SOURCE, or for CONVERTED where SOURCE is not named .gguf.

    Example:
      trilith model verify model.gguf bitnet-b1.58-2B-4T
    """
    from ..golden.checkpoint.compare import compare

    auto, layout = I2sLayout.AUTO, options.i2s_layout
    source_is_gguf = options.source.suffix == ".gguf"
    theirs = _load(options.source, options.quantize, layout if source_is_gguf else auto)
    ours = _load(options.converted, i2s_layout=auto if source_is_gguf else layout)
    with progress("comparing") as show:
        result = compare(ours, theirs, progress=show)
    if options.as_json:
        print_json({"equal": not result.difference} | asdict(result))
    else:
        print(
            f"{result.matrices} matrices compared and equal: {result.trits} trits and "
            f"{result.scales} scales; {result.others} other tensors equal"
        )
        if result.rounded_scales:
            print(
                f"{result.rounded_scales} scales are inverses rounded to float32: one checkpoint "
                "multiplies by its scales, and the other divides"
            )
        if result.difference:
            print(f"DIFFERENT: {result.difference}")
    return bool(result.difference)


_CompiledEngine = config_fields(MatVecConfig, needs=("--core",))


class _CompileOptions(CoreOptions, _CompiledEngine, _QuantizeOptions):  # type: ignore[misc]
    path: Path = argument(..., "Folder, .safetensors or .gguf file.")
    out: Path = option(
        ..., "File of the image; the listing of its program gets .txt behind this name."
    )
    hidden_act: HiddenAct | None = option(
        None, "Activation of a GGUF file that states none; without it, such a file is refused."
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

    network = BitNetModel.load(
        options.path,
        quantize=str(options.quantize) if options.quantize else None,
        i2s_layout=str(options.i2s_layout),
        hidden_act=str(options.hidden_act) if options.hidden_act else None,
    )
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
