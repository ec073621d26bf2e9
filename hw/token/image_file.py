"""Images of models for the token core: what they hold, and their files."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ...golden.checkpoint.safetensors import SafetensorsFile
from ...golden.errors import CheckpointError
from ...golden.files import new_files
from ...golden.input_files import IMAGE_FORMAT, is_image, mistaken, shown, unreadable
from ...golden.network.token_core import CoreModel
from ..config import MatVecConfig
from .config import TokenConfig
from .program import INSTRUCTION_BYTES, Instruction, Op, WriteMode, decode
from .program_check import check_program

__all__ = ["Image", "check_model", "config_differences", "read_image", "write_image"]

#: Version that ``write_image`` writes.
_VERSION = "4"

#: Texts in the metadata of a file.
_KEYS = ("format", "version", "config", "model", "model_digest", "program_words", "content_digest")

_WANTED = "an image of the token core"


@dataclass(frozen=True, kw_only=True)
class Image:
    """Program, memory and weights of a model for a token core.

    Parameters
    ----------
    config : the core's configuration
    memory : uint8[bytes], the whole memory behind the port, with room for the cache
    weights : uint8[beats, weight_bytes]; those of the engine, then those of the head's rows, if any
    program_words : memory words of the program, which starts at byte 0
    model : name of the model, for people
    model_digest : ``CoreModel.digest`` of the model
    """

    config: TokenConfig
    memory: NDArray[np.uint8] = field(repr=False)
    weights: NDArray[np.uint8] = field(repr=False)
    program_words: int
    model: str
    model_digest: str

    @cached_property
    def program(self) -> tuple[Instruction, ...]:
        """The decoded program.

        Raises
        ------
        ValueError
            If an instruction cannot be decoded, or follows ``END``; the message has its place.
        """
        size = self.program_words * self.config.memory_width // 8
        if size % INSTRUCTION_BYTES or size > len(self.memory):
            raise ValueError(
                f"the program must be whole instructions of {INSTRUCTION_BYTES} bytes within the "
                f"memory of {len(self.memory)} bytes, not {size} bytes"
            )
        found: list[Instruction] = []
        for index in range(size // INSTRUCTION_BYTES):
            start = index * INSTRUCTION_BYTES
            try:
                if found and found[-1].op is Op.END:
                    raise ValueError("no instruction must follow END")
                found.append(decode(self.memory[start : start + INSTRUCTION_BYTES].tobytes()))
            except ValueError as error:
                raise ValueError(f"instruction {index}: {error}") from None
        return tuple(found)

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes of the model, and the activation of its gates, as the program has them."""
        setup, _, embedding, *layers, _, _ = self.program
        attend = next(one.fields for one in layers if one.op is Op.ATTEND)
        gates = {WriteMode.RELU2.value: "relu2", WriteMode.SILU.value: "silu"}
        gate = next(one for one in layers if one.mode in gates)
        lanes = self.config.vector_lanes
        return {
            "layers": sum(one.op is Op.ATTEND for one in layers),
            "hidden": embedding.fields["count"],
            "ffn": gate.fields["n"],
            "activation": gates[gate.mode],
            "heads": attend["groups"] * attend["vectors"],
            "kv_heads": attend["groups"],
            "head_size": attend["words"] * lanes,
            "context": setup.fields["context"],
            "vocabulary": setup.fields["vocabulary"],
        }

    @property
    def listing(self) -> Iterator[str]:
        """The program for people, one line for each instruction."""
        return (f"{index:>4}  {one}" for index, one in enumerate(self.program))


def check_model(image: Image, model: CoreModel, where: Path | str = "the image") -> None:
    """Check that an image was compiled from a model.

    Parameters
    ----------
    image : the image
    model : the model that is expected
    where : its file, for the message

    Raises
    ------
    CheckpointError
        If it was compiled from another model.
    """
    if image.model_digest != model.digest:
        raise CheckpointError(
            f"{where}: must be compiled from this model, whose digest is {model.digest[:12]}; it "
            f"is of the model {image.model}, whose digest is {image.model_digest[:12]}"
            + _again(where)
        )


def _again(where: Path | str) -> str:
    """The remedy for an image that cannot be used."""
    out = where if isinstance(where, Path) else "IMAGE"
    return f"; compile it again: 'trilith model compile MODEL --out {out} --force'"


def _digest(config: str, memory: NDArray[np.uint8], weights: NDArray[np.uint8]) -> str:
    """Digest of what a core reads of an image."""
    found = hashlib.sha256(config.encode())
    for array in (memory, weights):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def write_image(
    image: Image, file: Path, *, inputs: Sequence[Path] = (), force: bool = False
) -> Path:
    """Write an image as a safetensors file, and its listing beside it.

    The file has the tensors ``memory`` and ``weights``, both uint8. Its metadata are texts:

    ==================  ============================================================================
    key                 text
    ==================  ============================================================================
    format, version     name and version of the format
    config              fields of ``TokenConfig`` and of its engine, as JSON
    model               name of the model
    model_digest        ``CoreModel.digest``
    program_words       memory words of the program
    content_digest      SHA-256 of the text ``config`` and both tensors, as hexadecimal
    ==================  ============================================================================

    Parameters
    ----------
    image : the image
    file : name of the file; the listing has the same name with ``.txt`` behind it
    inputs, force : see ``trilith.golden.files.new_files``

    Returns
    -------
    The file of the listing

    Raises
    ------
    OutputError
        If a name is refused, see ``trilith.golden.files.check_outputs``.
    """
    listing = file.with_name(f"{file.name}.txt")
    config = json.dumps(asdict(image.config))
    metadata = {
        "format": IMAGE_FORMAT,
        "version": _VERSION,
        "config": config,
        "model": image.model,
        "model_digest": image.model_digest,
        "program_words": str(image.program_words),
        "content_digest": _digest(config, image.memory, image.weights),
    }
    with new_files([file, listing], inputs=inputs, force=force) as making:
        tensors = {"memory": image.memory, "weights": image.weights}
        (making / file.name).write_bytes(save(tensors, metadata=metadata))
        text = "\n".join(image.listing) + "\n"
        (making / listing.name).write_text(text, encoding="utf-8")
    return listing


def read_image(path: Path, config: TokenConfig | None = None) -> Image:
    """Read an image that ``write_image`` wrote, and check all that a core relies on.

    Parameters
    ----------
    path : the file
    config : None, or the configuration of the core that will run it

    Returns
    -------
    The image; its arrays are memory-mapped and read-only.

    Raises
    ------
    CheckpointError
        If the file is cut, damaged, of another format or version, or for another configuration; if
        a tensor, the program or the number of weight beats is wrong, see ``check_program``.
    """
    if message := unreadable(path, _WANTED):
        raise CheckpointError(message)
    if not is_image(path):
        reason = "it does not say so; write one: 'trilith model compile MODEL --out IMAGE'"
        raise CheckpointError(mistaken(path, _WANTED, reason))
    file = SafetensorsFile(path)
    try:
        image = _read(file)
        check_program(image.config, image.program, len(image.memory), len(image.weights))
        if config is not None:
            _check_config(image.config, config)
    except (TypeError, ValueError) as error:
        again = "" if isinstance(error, CheckpointError) else _again(path)
        raise CheckpointError(f"{path}: {error}{again}") from None
    return image


def _read(file: SafetensorsFile) -> Image:
    """Read the parts of a file; an error of any part is a TypeError or a ValueError."""
    texts = file.metadata
    for key, legal in (("format", IMAGE_FORMAT), ("version", _VERSION)):
        if texts.get(key) != legal:
            raise ValueError(f"the image's {key} must be {legal!r}, not {shown(texts.get(key))}")
    for key in (*_KEYS, *texts):
        if key not in texts:
            raise ValueError(f"the text {key!r} of the metadata is missing")
        if key not in _KEYS:
            raise ValueError(f"the metadata must be {', '.join(_KEYS)}, and not {shown(key)}")
    config = _config(texts["config"])
    if not texts["model"].isprintable() or not texts["model"]:
        raise ValueError(f"the name of the model must be printable, not {shown(texts['model'])}")
    for key, pattern in (
        ("program_words", r"[1-9][0-9]{0,9}"),
        ("model_digest", r"[0-9a-f]{64}"),
        ("content_digest", r"[0-9a-f]{64}"),
    ):
        if not re.fullmatch(pattern, texts[key], re.ASCII):
            raise ValueError(f"{key} must match {pattern}, not {shown(texts[key])}")
    beat = config.engine.weight_bytes
    for name, rule in (("memory", "of one dimension"), ("weights", f"of beats of {beat} bytes")):
        if name not in file:
            raise ValueError(f"the tensor {name!r} is missing")
        dtype, shape = file.info(name)
        right = len(shape) == 1 if name == "memory" else shape[1:] == (beat,) and len(shape) == 2
        if dtype != "U8" or not right:
            raise ValueError(
                f"the tensor {name} must be U8 {rule}, not {dtype} of shape {shown(shape)}"
            )
    if len(file) != 2:
        raise ValueError(f"the tensors must be memory and weights, not {len(file)} tensors")
    memory, weights = file["memory"], file["weights"]
    if _digest(texts["config"], memory, weights) != texts["content_digest"]:
        raise ValueError("the content must have the digest that the file says; it is damaged")
    return Image(
        config=config,
        memory=memory,
        weights=weights,
        program_words=int(texts["program_words"]),
        model=texts["model"],
        model_digest=texts["model_digest"],
    )


def _config(text: str) -> TokenConfig:
    """Read a configuration from JSON."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config must be JSON: {error}") from None
    values = _object("config", stored, TokenConfig)
    engine = _object("config's engine", values["engine"], MatVecConfig)
    return TokenConfig(**values | {"engine": MatVecConfig(**engine)})


def _object(name: str, value: Any, kind: Any) -> dict[str, Any]:
    """Check that a value of JSON has exactly the fields of a dataclass."""
    keys = [one.name for one in fields(kind)]
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ValueError(f"{name} must be an object with {', '.join(keys)}, not {shown(value)}")
    return value


def config_differences(found: TokenConfig, wanted: TokenConfig) -> str:
    """Name each field in which a configuration differs from another one; empty if none does."""
    mine, theirs = (_flat(asdict(config)) for config in (found, wanted))
    return "; ".join(
        f"{key} {mine[key]}, not {theirs[key]}" for key in mine if mine[key] != theirs[key]
    )


def _check_config(found: TokenConfig, wanted: TokenConfig) -> None:
    """Refuse an image for another core."""
    if differences := config_differences(found, wanted):
        raise ValueError(f"must be for the core's configuration, and has {differences}")


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a configuration, those of its engine as ``engine.lanes`` and so on."""
    engine = {f"engine.{key}": value for key, value in values["engine"].items()}
    return engine | {key: value for key, value in values.items() if key != "engine"}
