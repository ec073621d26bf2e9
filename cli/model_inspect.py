"""``trilith model inspect``: what a file of a model is, and what can be done with it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..golden.errors import TrilithError
from .inspect_network import inspect_network
from .options import (
    LayoutOptions,
    OptionError,
    Quantize,
    argument,
    check_not_read,
    option,
    reading,
)
from .output import Column, Table, print_facts, print_json, print_note, progress

if TYPE_CHECKING:
    from ..golden.checkpoint.tensors import Checkpoint

__all__ = ["ReadOptions", "inspect", "load"]


class ReadOptions(LayoutOptions):
    """Options of a command that reads any checkpoint."""

    quantize: Quantize | None = option(
        None, "Quantization of float master weights; without it, such weights are refused."
    )


def load(path: Path, options: ReadOptions) -> "Checkpoint":
    """Load a checkpoint, or a folder of an engine's streams."""
    from ..golden.checkpoint.load import load_checkpoint
    from ..golden.input_files import is_onnx
    from ..hw.weight_file import read_streams

    if (path / "manifest.json").is_file():
        if "hidden_act" in reading(options):
            raise OptionError(f"{path}: --hidden-act is for GGUF files; leave it out")
        return read_streams(path)[1]
    if is_onnx(path):
        from ..golden.network.qonnx import QonnxNetwork

        check_not_read(options, path)
        return QonnxNetwork.load(path).checkpoint
    return load_checkpoint(path, **reading(options))


class InspectOptions(ReadOptions):
    path: Path = argument(
        ..., "Folder, .safetensors, .gguf or .onnx file, or image of the token core."
    )


def inspect(options: InspectOptions) -> None:
    """Print what a checkpoint is, what its model needs, and what can be done with it here.

    Container, layout and family come first, and how the layout was told apart. Needs lists what the
    model computes beside ternary products. The lines from read to token core say yes, or why not.

    The table has one row per ternary matrix. Scales is the number of scales of a matrix, and
    shared by is what has one scale. Entropy is that of single trits. Bits per weight
    is the space that the file uses, scales included. All figures are measured.

    I2_S is the layout of such a GGUF file, and how much better the weights look in it than in
    each other layout.

    For an image that trilith model compile wrote, the command checks the whole file, and prints the
    core that it is for, its model, and its sizes.

    For a network in QONNX, a row is a product: the range of its activations, and their bits and
    offset in the engine.

    Examples:
      trilith model inspect bitnet-b1.58-2B-4T

      trilith model inspect pydoc.image

      trilith model inspect model.gguf --json
    """
    from ..golden.checkpoint.understood import not_understood
    from ..golden.input_files import is_image, is_onnx

    if is_image(options.path):
        _inspect_image(options)
        return
    if is_onnx(options.path):
        check_not_read(options, options.path)
        inspect_network(options.path, as_json=options.as_json)
        return
    checkpoint = load(options.path, options)
    rows = _read_all(checkpoint)
    total = _totals(rows, len(checkpoint.tensors))
    facts = {
        "family": _family(checkpoint),
        "format": checkpoint.format,
        "scale": checkpoint.scale_convention,
    }
    more = {
        "container": _container(checkpoint),
        "told_apart": told_apart({row.stored_type for row in rows}),
        "needs": needs(checkpoint),
        **abilities(checkpoint, rows),
    }
    i2_s, strange = checkpoint.i2_s, not_understood(checkpoint)
    config = _summary(checkpoint.config)
    if options.as_json:
        print_json(
            {
                "path": str(options.path),
                **facts,
                **more,
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
    print_facts(
        {
            name.replace("_", " "): ", ".join(text) if isinstance(text, list) else text
            for name, text in more.items()
        }
    )
    print_facts(config)
    _print_matrices(rows, total)


def _read_all(checkpoint: "Checkpoint") -> list[Any]:
    """Read all tensors; return the statistics of the ternary ones."""
    from ..golden.checkpoint.statistics import statistics

    rows: list[Any] = []
    count = len(checkpoint.ternary) + len(checkpoint.tensors)
    with progress("reading") as show:
        for name in checkpoint.ternary:
            rows.append(statistics(checkpoint, name))
            show(len(rows), count)
        # Reading refuses NaN and infinity.
        for done, _ in enumerate(checkpoint.tensors.values()):
            show(len(rows) + done + 1, count)
    return rows


def _inspect_image(options: InspectOptions) -> None:
    """Print what an image of the token core contains."""
    from ..hw.token.image_file import read_image

    check_not_read(options, options.path)
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


def _totals(rows: list[Any], others: int) -> dict[str, Any]:
    """Sum the statistics of all matrices."""
    sizes = [row.n * row.k for row in rows]
    weights, stored = sum(sizes), sum(row.stored_bytes for row in rows)
    return {
        "matrices": len(rows),
        "weights": weights,
        **{
            name: sum(getattr(row, name) * size for row, size in zip(rows, sizes, strict=True))
            / weights
            for name in ("zero_fraction", "entropy_bits_per_trit")
        },
        "stored_bits_per_weight": 8 * stored / weights,
        "stored_bytes": stored,
        "other_tensors": others,
    }


def _print_matrices(rows: list[Any], total: dict[str, Any]) -> None:
    Table(
        Column("matrix", "name", 36, "<"),
        Column("N x K", lambda row: f"{row.n} x {row.k}", 13),
        Column("stored", "stored_type", form="<"),
        Column("scales", "scales", 8),
        Column("group", "group_size"),
        Column("shared by", "granularity", 9, "<"),
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


def _container(checkpoint: "Checkpoint") -> str:
    """Name the container of a checkpoint."""
    if checkpoint.format.startswith("gguf"):
        return "GGUF"
    return "safetensors" if checkpoint.config else "streams of an engine"


def told_apart(stored_types: set[str]) -> list[str]:
    """Say how each type of a file's matrices was told apart."""
    from ..golden.checkpoint.gguf_layouts import LAYOUTS
    from ..golden.checkpoint.gguf_places import SHARED

    found = []
    for name in sorted(stored_types):
        layout = LAYOUTS.get(name)
        if layout is None:
            found.append(f"{name}: by its type and config.json")
            continue
        shared = [number for number in layout.numbers if number in SHARED]
        size = f"{layout.size} bytes per {layout.weights} weights"
        found.append(
            f"{name}: by the size of its blocks, {size}; the number {shared[0]} also stands for "
            "other layouts"
            if shared
            else f"{name}: by its number {layout.numbers[0]}"
        )
    return found


def needs(checkpoint: "Checkpoint") -> list[str]:
    """List what a model computes beside ternary products."""
    from ..golden.checkpoint.model_config import ModelConfig
    from ..golden.errors import CheckpointError

    config = checkpoint.config
    if "num_hidden_layers" not in config:
        return []
    try:
        model = ModelConfig.read(config, checkpoint.path)
    except CheckpointError as error:
        return [f"not known: {error}"]
    norms = sorted({name.rpartition(".")[2] for name in model.norm_sizes})
    found = [f"norms {' '.join(norms)}", f"activation {model.hidden_act or 'not stated'}"]
    found.append(f"rotary positions ({model.rope_type})")
    found += ["biases"] if model.biases else []
    found += ["a norm in front of each matrix"] if model.norm_before_linears else []
    found += ["experts"] if model.family.experts_key else []
    found.append(f"{'the embedding as' if model.tied else 'a separate'} head")
    if rotations := checkpoint.rotations:
        signs = "with signs, " if rotations.signs else ""
        rows = "and of the rows of the embedding, " if rotations.latent else ""
        found.append(
            f"a Hadamard transform of {rotations.size} values {signs}{rows}in front of "
            f"{len(rotations.weights)} matrices"
        )
    strange = checkpoint.strange_keys
    found += [f"not understood: {one}" for one in (*strange.unknown, *strange.other)]
    return found


def abilities(checkpoint: "Checkpoint", rows: list[Any]) -> dict[str, str]:
    """Say what can be done with a checkpoint: yes, or why not.

    Parameters
    ----------
    rows : statistics of all its matrices, which were read for them
    """
    from ..golden.checkpoint.understood import check_matrices, check_understood
    from ..golden.network.core_kinds import check_core_kind
    from ..golden.network.transformer import check_model
    from ..hw.config import PRESETS
    from ..hw.token.image import core_for

    def answer(*checks: Any) -> str:
        for check in checks:
            try:
                check()
            except (TrilithError, ValueError) as error:
                return f"no: {error}"
        return "yes"

    def engine() -> None:
        largest = {"k_max": max(row.k for row in rows), "n_max": max(row.n for row in rows)}
        replace(PRESETS["bitnet"], **largest)

    def core() -> None:
        sizes = check_model(checkpoint)
        check_core_kind(sizes, transform=checkpoint.rotations is not None)
        lanes = core_for(sizes).engine.lanes
        for row in rows:
            if row.group_size != row.k and row.group_size % lanes:
                raise OptionError(
                    f"{row.name}: groups of scales must be a multiple of the engine's lanes, "
                    f"{lanes}, not {row.group_size}"
                )

    if not checkpoint.config:
        return {"read": "yes", "verify": "yes", "engine": "yes"}
    return {
        "read": "yes",
        "verify": "yes",
        "convert": answer(lambda: check_understood(checkpoint)),
        "generate": answer(lambda: check_model(checkpoint)),
        "engine": answer(lambda: check_matrices(checkpoint), engine),
        "token_core": answer(core),
    }


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
