"""``trilith model``: look at checkpoints, convert them, and prove that nothing changed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..golden.checkpoint.tensors import Checkpoint
    from ..hw.config import MatVecConfig

__all__ = ["model"]

model = typer.Typer(no_args_is_help=True, help="Inspect, convert and verify checkpoints.")

_TARGETS = ("huggingface", "tq1_0", "tq2_0", "i2_s", "stream")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object.")]
_Quantize = Annotated[
    str | None,
    typer.Option(
        help="Quantize float master weights: absmean. Without it they are refused.",
        show_default=False,
    ),
]


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the error output where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _load(path: Path, quantize: str | None = None) -> "Checkpoint":
    """A checkpoint, or a folder of an engine's streams."""
    from ..golden.checkpoint.load import load_checkpoint
    from ..hw.weight_file import read_streams

    if (path / "manifest.json").is_file():
        return read_streams(path)[1]
    return load_checkpoint(path, quantize=quantize)


@model.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Folder, .safetensors or .gguf file.")],
    quantize: _Quantize = None,
    as_json: _Json = False,
) -> None:
    """Print what a checkpoint holds: family, format, and a line per ternary matrix.

    Scales is how many a matrix has. Entropy is that of its trits taken one by one, in bits per
    trit; bits per weight is what the file spends, scales included. All figures are measured.

    Examples:
      trilith model inspect bitnet-b1.58-2B-4T

      trilith model inspect model.gguf --json
    """
    from ..golden.checkpoint.statistics import statistics

    checkpoint = _load(path, quantize)
    rows = []
    with _progress("reading") as progress:
        for done, name in enumerate(checkpoint.ternary):
            rows.append(statistics(checkpoint, name))
            progress(done + 1, len(checkpoint.ternary))
    weights = sum(row.n * row.k for row in rows)
    total = {
        "matrices": len(rows),
        "weights": weights,
        "zero_fraction": sum(row.zero_fraction * row.n * row.k for row in rows) / weights,
        "entropy_bits_per_trit": sum(row.entropy_bits_per_trit * row.n * row.k for row in rows)
        / weights,
        "stored_bits_per_weight": 8 * sum(row.stored_bytes for row in rows) / weights,
        "stored_bytes": sum(row.stored_bytes for row in rows),
        "other_tensors": len(checkpoint.tensors),
    }
    config = _summary(checkpoint.config)
    if as_json:
        report: dict[str, Any] = {
            "path": str(path),
            "family": _family(checkpoint),
            "format": checkpoint.format,
            "scale": checkpoint.scale_convention,
            "config": config,
            "tensors": [row.as_dict() for row in rows],
            "total": total,
        }
        print(json.dumps(report, indent=2))
        return
    print(f"family  {_family(checkpoint)}")
    print(f"format  {checkpoint.format}")
    print(f"scale   {checkpoint.scale_convention}")
    for key, value in config.items():
        print(f"        {key} {value}")
    print(_INSPECT_HEAD)
    for row in rows:
        print(
            f"{row.name:<36} {f'{row.n} x {row.k}':>14}  {row.stored_type:<6} {row.scales:>8} "
            f"{row.group_size:>6} {row.zero_fraction:>7.2%} {row.entropy_bits_per_trit:>8.4f} "
            f"{row.stored_bits_per_weight:>12.4f}"
        )
    print(
        f"{len(rows)} matrices, {weights} weights, {total['stored_bytes'] / 1e6:.1f} MB: "
        f"{total['zero_fraction']:.2%} zeros, {total['entropy_bits_per_trit']:.4f} bits of entropy "
        f"per trit, {total['stored_bits_per_weight']:.4f} bits per weight as stored; "
        f"{len(checkpoint.tensors)} other tensors"
    )


_INSPECT_HEAD = (
    f"{'matrix':<36} {'N x K':>14}  {'stored':<6} {'scales':>8} {'group':>6} {'zeros':>7} "
    f"{'entropy':>8} {'bits/weight':>12}"
)


def _family(checkpoint: "Checkpoint") -> str:
    """The model's class and what tells it from its neighbors."""
    config = checkpoint.config
    kind = config.get("model_type", "no model, streams" if not config else "unknown")
    sub_norms = any(name.endswith("sub_norm.weight") for name in checkpoint.tensors)
    parts = [str(kind), str(config.get("hidden_act", "")), "sub-norms" if sub_norms else ""]
    return ", ".join(part for part in parts if part)


def _summary(config: dict[str, Any]) -> dict[str, Any]:
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


@model.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder, .safetensors or .gguf file.")],
    target: Annotated[Path, typer.Argument(help="Folder (huggingface, stream) or file to write.")],
    to: Annotated[
        str,
        typer.Option(help=f"Format to write: {', '.join(_TARGETS)}.", show_default=False),
    ],
    quantize: _Quantize = None,
    preset: Annotated[
        str,
        typer.Option(help="Engine that the stream is for: micro, line, block or bitnet."),
    ] = "bitnet",
    code: Annotated[
        str | None,
        typer.Option(help="Weight code of the stream: base3, escape, tq1, two_bit or binary."),
    ] = None,
    k_max: Annotated[int | None, typer.Option(help="Largest K of that engine.")] = None,
    n_max: Annotated[int | None, typer.Option(help="Largest N of that engine.")] = None,
    as_json: _Json = False,
) -> None:
    """Write a checkpoint in another format; no trit changes, and no scale is rounded.

    A folder must not exist yet; a file is replaced when the new one is complete. GGUF is written
    without a tokenizer unless the source is GGUF.

    Examples:
      trilith model convert bitnet-b1.58-2B-4T model.gguf --to i2_s

      trilith model convert model.gguf weights --to stream --preset bitnet --code escape
    """
    from ..golden.checkpoint.write_gguf import write_gguf
    from ..golden.checkpoint.write_huggingface import write_huggingface
    from ..hw.weight_file import write_streams

    if to not in _TARGETS:
        raise typer.BadParameter(f"--to must be one of {', '.join(_TARGETS)}, not {to!r}")
    if to != "stream" and (code, k_max, n_max) != (None, None, None):
        raise typer.BadParameter("--code, --k-max and --n-max are for --to stream only")
    if not target.absolute().parent.is_dir():
        raise typer.BadParameter(f"{target.parent} must be a folder, and is none; make it first")
    config = _engine(preset, code, k_max, n_max)
    checkpoint = _load(source, quantize)
    with _progress("converting") as progress:
        if to == "huggingface":
            write_huggingface(checkpoint, target, progress=progress)
        elif to == "stream":
            write_streams(checkpoint, target, config, progress=progress)
        else:
            write_gguf(checkpoint, target, to, progress=progress)
    if as_json:
        print(json.dumps({"target": str(target), "matrices": len(checkpoint.ternary)}, indent=2))
    else:
        print(f"{target}: {len(checkpoint.ternary)} matrices; trilith model verify proves them")


def _engine(preset: str, code: str | None, k_max: int | None, n_max: int | None) -> "MatVecConfig":
    from dataclasses import replace

    from ..hw.config import PRESETS

    if preset not in PRESETS:
        raise typer.BadParameter(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    given: dict[str, Any] = {"code": code, "k_max": k_max, "n_max": n_max}
    try:
        return replace(PRESETS[preset], **{k: v for k, v in given.items() if v is not None})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@model.command()
def verify(
    converted: Annotated[Path, typer.Argument(help="Checkpoint or stream folder to prove.")],
    source: Annotated[Path, typer.Argument(help="Checkpoint that it was made from.")],
    quantize: _Quantize = None,
    as_json: _Json = False,
) -> None:
    """Compare every matrix's trits and scales, and every other tensor, with the source.

    Ends with status 1 at the first difference, and names it.

    Examples:
      trilith model verify model.gguf bitnet-b1.58-2B-4T
    """
    from dataclasses import asdict

    from ..golden.checkpoint.compare import compare

    theirs = _load(source, quantize)
    ours = _load(converted)
    with _progress("comparing") as progress:
        result = compare(ours, theirs, progress=progress)
    if as_json:
        print(json.dumps({"equal": not result.difference} | asdict(result), indent=2))
    else:
        print(
            f"{result.matrices} matrices compared and equal: {result.trits} trits and "
            f"{result.scales} scales; {result.others} other tensors equal"
        )
        if result.difference:
            print(f"DIFFERENT: {result.difference}")
    if result.difference:
        raise typer.Exit(1)
