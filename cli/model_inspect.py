"""``trilith model inspect``: what a file of a model is, and what can be done with it."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import I2sLayout, I2sOptions, OptionError, Quantize, argument, option
from .output import Column, Table, print_facts, print_json, print_note, progress

if TYPE_CHECKING:
    from ..golden.checkpoint.tensors import Checkpoint

__all__ = ["QuantizeOptions", "ReadOptions", "inspect", "load"]


class QuantizeOptions(I2sOptions):
    """Options of a command that reads a checkpoint."""

    quantize: Quantize | None = option(
        None, "Quantization of float master weights; without it, such weights are refused."
    )


#: Layouts of the type 42, as ``golden.checkpoint.gguf_places`` has them.
Type42 = StrEnum("Type42", ["Q2_0_64", "Q2_0_128", "STQ1_0"])


class ReadOptions(QuantizeOptions):
    """Options of a command that reads any checkpoint, its layouts too."""

    type42: Type42 | None = option(
        None,
        "Layout of the tensors of a GGUF file whose type has the number 42; without it, the sizes "
        "of the tensors must show the layout.",
    )


def load(path: Path, options: ReadOptions, *, hidden_act: str | None = None) -> "Checkpoint":
    """Load a checkpoint, or a folder of an engine's streams."""
    from ..golden.checkpoint.load import load_checkpoint
    from ..hw.weight_file import read_streams

    if (path / "manifest.json").is_file():
        if hidden_act:
            raise OptionError(f"{path}: --hidden-act is for GGUF files; leave it out")
        return read_streams(path)[1]
    return load_checkpoint(
        path,
        quantize=options.quantize,
        i2s_layout=str(options.i2s_layout),
        type42=str(options.type42) if options.type42 else None,
        hidden_act=hidden_act,
    )


class InspectOptions(ReadOptions):
    path: Path = argument(..., "Folder, .safetensors or .gguf file, or image of the token core.")


def inspect(options: InspectOptions) -> None:
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
    checkpoint = load(options.path, options)
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


def _inspect_image(options: InspectOptions) -> None:
    """Print what an image of the token core contains."""
    from ..hw.token.image_file import read_image

    if options.quantize or options.type42 or options.i2s_layout != I2sLayout.AUTO:
        raise OptionError(
            f"{options.path}: --quantize, --i2s-layout and --type42 are for checkpoints; leave "
            "them out"
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
