"""Files with the weight streams of a model: packed beats, scales, and a manifest in JSON."""

import json
from collections.abc import Collection
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.checkpoint.tensors import Checkpoint, LazyTensors, TernaryTensor, input_files
from ..golden.checkpoint.understood import check_matrices
from ..golden.codes import CODES, CodeError
from ..golden.errors import CheckpointError, FormatError
from ..golden.files import Progress, ignore_progress, new_folder, read_json
from .beats import weight_beats, weights_from_beats
from .config import MatVecConfig

__all__ = ["check_streams", "read_streams", "write_streams"]

#: Name and version of the format, in the manifest.
_FORMAT = "trilith weight streams 1"

#: Every matrix starts at a multiple of this, in bytes: the widest bus word.
_ALIGNMENT = 128


def check_streams(checkpoint: Checkpoint, config: MatVecConfig) -> None:
    """Check that ``write_streams`` accepts a checkpoint, for an engine whose code has zeros.

    Parameters
    ----------
    checkpoint : the model; all its matrices are read
    config : the configuration of the engine

    Raises
    ------
    CheckpointError
        If it does not, see ``write_streams``.
    """
    _check_source(checkpoint)
    for tensor in checkpoint.ternary.values():
        _check_size(tensor, config)


def _check_source(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that streams would change the meaning of."""
    check_matrices(checkpoint)
    if checkpoint.rotations:
        raise FormatError(
            f"{checkpoint.path}: streams have no place for the Hadamard transform in front of the "
            "matrices"
        )


def _check_size(tensor: TernaryTensor, config: MatVecConfig) -> None:
    """Refuse a matrix that is larger than the engine's largest, or than any engine's."""
    n, k = tensor.shape
    try:
        replace(config, n_max=n, k_max=k)
    except ValueError as error:
        raise FormatError(f"{tensor.name} is too large for every engine: {error}") from None
    for size, letter, largest in ((n, "N", config.n_max), (k, "K", config.k_max)):
        if size > largest:
            raise CheckpointError(
                f"{tensor.name}: {letter} must be at most the engine's {letter.lower()}_max "
                f"{largest}, not {size}; give --{letter.lower()}-max"
            )


def write_streams(
    checkpoint: Checkpoint,
    folder: Path,
    config: MatVecConfig,
    *,
    progress: Progress = ignore_progress,
) -> None:
    """Write the ``weights`` stream of every matrix, for one engine.

    The folder holds three files:

    - ``weights.bin``: the beats of each matrix in the order of the stream (by group of rows, then
      by chunk), byte 0 of a beat first;
    - ``scales.bin``: the scales of each matrix, float32 [S, groups], little endian;
    - ``manifest.json``: the configuration, and for each matrix its name, N, K, number of beats, and
      places in both files in bytes.

    Embeddings and norms are not written.

    Parameters
    ----------
    checkpoint : the model; its matrices are read one at a time
    folder : a folder that does not exist or is empty; it appears when it is complete
    config : the configuration of the engine
    progress : a function that is called after each matrix

    Raises
    ------
    CheckpointError
        If the source is refused, or a matrix does not fit the engine or its code. It is a
        FormatError if a matrix does not fit any engine.
    OutputError, OSError
        If a file cannot be written.
    """
    _check_source(checkpoint)
    tensors: list[dict[str, Any]] = []
    with new_folder(folder, inputs=input_files(checkpoint.path)) as partial_folder:
        with (
            (partial_folder / "weights.bin").open("wb") as weights,
            (partial_folder / "scales.bin").open("wb") as scales,
        ):
            for done, name in enumerate(checkpoint.ternary):
                tensor = checkpoint.ternary[name]
                n, k = tensor.shape
                _check_size(tensor, config)
                try:
                    beats = weight_beats(config, tensor.trits)
                except CodeError as error:
                    # Only zeros that a code cannot hold are refused; these codes hold all of them.
                    *codes, last = (one for one in CODES if CODES[one].zeros is None)
                    raise CheckpointError(
                        f"{name}: {error}; give --code {', '.join(codes)} or {last}"
                    ) from None
                weights.seek(-(-weights.tell() // _ALIGNMENT) * _ALIGNMENT)
                tensors.append(
                    {
                        "name": name,
                        "n": n,
                        "k": k,
                        "offset": weights.tell(),
                        "beats": len(beats),
                        "scale_offset": scales.tell(),
                        "scale_shape": list(tensor.scale.shape),
                    }
                )
                beats.tofile(weights)
                np.ascontiguousarray(tensor.multiplier).tofile(scales)
                progress(done + 1, len(checkpoint.ternary))
        manifest = {
            "format": _FORMAT,
            "config": asdict(config),
            "beat_bytes": config.weight_bytes,
            "tensors": tensors,
        }
        (partial_folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def read_streams(folder: Path) -> tuple[MatVecConfig, Checkpoint]:
    """Read a folder that ``write_streams`` wrote. Matrices are read when they are used.

    Parameters
    ----------
    folder : the folder with the three files

    Returns
    -------
    The configuration of the engine, and a checkpoint with the ternary matrices only.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged or truncated.
    """
    file = folder / "manifest.json"
    manifest = read_json(file)
    if manifest.get("format") != _FORMAT:
        raise CheckpointError(f"{file}: format must be {_FORMAT!r}, not {manifest.get('format')!r}")
    values, entries = manifest.get("config"), manifest.get("tensors")
    names = {field.name for field in fields(MatVecConfig)}
    if not isinstance(values, dict) or set(values) != names or not isinstance(entries, list):
        raise CheckpointError(
            f"{file}: config must be an object with {', '.join(sorted(names))}, and tensors must "
            "be an array"
        )
    try:
        config = MatVecConfig(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: config: {error}") from None
    _check_keys(file, manifest, ("format", "config", "beat_bytes", "tensors"))
    if type(size := manifest["beat_bytes"]) is not int or size != config.weight_bytes:
        raise CheckpointError(
            f"{file}: beat_bytes must be {config.weight_bytes}, the bytes of a beat of this "
            f"config, not {size!r}"
        )
    weights, scales = _map(folder / "weights.bin"), _map(folder / "scales.bin")
    readers, stored = {}, {}
    for entry in entries:
        name, shape, parts = _entry(file, entry, config, len(weights), len(scales))
        if name in readers:
            raise CheckpointError(f"{file}: every matrix must be listed once, not {name!r} twice")
        beats = weights[parts[0]].reshape(-1, config.weight_bytes)
        scale = scales[parts[1]].view(np.float32).reshape(entry["scale_shape"])
        readers[name] = partial(_read, folder, config, name, shape, beats, scale)
        stored[name] = config.code, beats.size + scale.nbytes
    return config, Checkpoint(
        path=folder,
        config={},
        format=f"streams, {config.code}, {config.lanes} lanes x {config.rows} rows",
        scale_convention="multiplied",
        ternary=LazyTensors(folder, readers),
        stored=stored,
        tensors=LazyTensors(folder, {}),
    )


def _map(file: Path) -> NDArray[np.uint8]:
    """Bytes of a file, mapped into memory; NumPy cannot map an empty file."""
    try:
        if file.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(file, np.uint8, "r")
    except OSError as error:
        raise CheckpointError(f"{file}: the file is not readable: {error.strerror}") from None


def _check_keys(where: Path | str, values: dict[str, Any], known: Collection[str]) -> None:
    """Refuse an object that has other keys than the format knows."""
    for key in (*known, *values):
        if key not in values:
            raise CheckpointError(f"{where}: the key {key!r} is missing; export the streams again")
        if key not in known:
            raise CheckpointError(
                f"{where}: the keys must be {', '.join(known)}, and {key!r} is not one of them; "
                "another version of trilith may have written it"
            )


def _entry(
    file: Path, entry: Any, config: MatVecConfig, weight_bytes: int, scale_bytes: int
) -> tuple[str, tuple[int, int], tuple[slice, slice]]:
    """Checked entry of the manifest: name, (N, K), and places of the beats and of the scales."""
    keys = ("n", "k", "offset", "beats", "scale_offset")
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("name"), str)
        or any(type(entry.get(key)) is not int or entry[key] < 0 for key in keys)
        or not isinstance(shape := entry.get("scale_shape"), list)
        or len(shape) != 2
        or any(type(size) is not int or not 0 < size < 2**31 for size in shape)
    ):
        raise CheckpointError(
            f"{file}: the entry of a matrix must have name, {', '.join(keys)} and scale_shape, not "
            f"{entry!r}"
        )
    _check_keys(f"{file}: {entry['name']}", entry, ("name", *keys, "scale_shape"))
    name, n, k = entry["name"], entry["n"], entry["k"]
    if not (0 < n <= config.n_max and 0 < k <= config.k_max):
        raise CheckpointError(
            f"{file}: {name} must be at most {config.n_max} x {config.k_max}, the engine's "
            f"maximum, not {n} x {k}"
        )
    beats = -(-n // config.rows) * -(-k // config.lanes)
    weights = slice(entry["offset"], entry["offset"] + beats * config.weight_bytes)
    scales = slice(entry["scale_offset"], entry["scale_offset"] + 4 * shape[0] * shape[1])
    if entry["beats"] != beats or weights.stop > weight_bytes or scales.stop > scale_bytes:
        raise CheckpointError(
            f"{file}: {name} must have {beats} beats within weights.bin, and its scales must lie "
            f"within scales.bin; the manifest says {entry['beats']} beats, weights.bin has "
            f"{weight_bytes} bytes, and scales.bin has {scale_bytes} bytes"
        )
    if k % shape[1]:
        raise CheckpointError(
            f"{file}: the number of scale groups of {name} must divide {k}, not be {shape[1]}"
        )
    return name, (n, k), (weights, scales)


def _read(
    folder: Path,
    config: MatVecConfig,
    name: str,
    shape: tuple[int, int],
    beats: NDArray[np.uint8],
    scale: NDArray[np.float32],
) -> TernaryTensor:
    """Matrix from its mapped beats and scales."""
    try:
        trits = weights_from_beats(config, beats, *shape)
        return TernaryTensor.from_trits(name, trits, scale, shape[1] // scale.shape[1])
    except (CheckpointError, CodeError) as error:
        raise CheckpointError(f"{folder}: {name}: {error}") from None
