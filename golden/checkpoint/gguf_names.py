"""Names of architectures, tensors and configuration keys in GGUF and Hugging Face."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, FormatError
from .model_config import MODEL_FAMILIES, ModelConfig
from .tensors import Checkpoint

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "CONFIG_KEYS",
    "HIDDEN_ACT",
    "TRANSFORM",
    "architecture_of",
    "gguf_name",
    "huggingface_name",
    "permuted_heads",
    "scale_name",
]


@dataclass(frozen=True, kw_only=True)
class _Architecture:
    """Hugging Face's words for an architecture of GGUF.

    Parameters
    ----------
    model_type, class_name : values of these keys (the second is in ``architectures``)
    hidden_act : activation of a file that states none; None where such files have different ones
    written_act : activation of the models for which ``write_gguf`` chooses this architecture; None
        where it chooses it for no model
    source : the program that writes it
    permuted : GGUF has the rows of the query and key matrices in another order
    """

    model_type: str
    class_name: str
    source: str
    hidden_act: str | None = None
    written_act: str | None = None
    permuted: bool = False


_DATA = tomllib.loads((Path(__file__).parent / "gguf.toml").read_text(encoding="utf-8"))


#: Architectures by GGUF's ``general.architecture``.
ARCHITECTURES = {name: _Architecture(**entry) for name, entry in _DATA["architectures"].items()}


#: GGUF's names of tensors outside the layers by Hugging Face's, without ``.weight``.
_NAMES: dict[str, str] = _DATA["tensors"]["names"]


#: GGUF's names of a layer's tensors by Hugging Face's, without ``blk.N.`` and ``.weight``.
_LAYER_NAMES: dict[str, str] = _DATA["layer_tensors"]["names"]


#: GGUF's metadata keys, without the architecture in front, by Hugging Face's configuration keys.
CONFIG_KEYS: dict[str, str] = _DATA["config"]["names"]


#: GGUF's key of the activation, without the architecture in front, and the values that have the
#: same meaning in Hugging Face's ``hidden_act``.
HIDDEN_ACT: str = _DATA["activation"]["key"]
ACTIVATIONS: list[str] = _DATA["activation"]["values"]


#: Trilith's key of the transform of activations, with the value none, in files of types that models
#: with a transform use.
TRANSFORM = "trilith.activation_transform"


#: Hugging Face's names of tensors by GGUF's, of both kinds.
_OURS = {theirs: ours for ours, theirs in _NAMES.items()}
_LAYER_OURS = {theirs: ours for ours, theirs in _LAYER_NAMES.items()}


def huggingface_name(name: str) -> str:
    """Translate a tensor's name from GGUF to Hugging Face; unknown names stay."""
    stem = name.removesuffix(".weight")
    layer = re.fullmatch(r"blk\.([^.]*)\.(.+)", stem)
    if stem != name and layer and layer[2] in _LAYER_OURS:
        return f"model.layers.{layer[1]}.{_LAYER_OURS[layer[2]]}.weight"
    if stem == name or stem not in _OURS:
        return name
    return f"{_OURS[stem]}.weight"


def gguf_name(name: str) -> str:
    """Translate a tensor's name from Hugging Face to GGUF.

    Raises
    ------
    FormatError
        If GGUF has no name for the tensor.
    """
    stem = name.removesuffix(".weight")
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    if stem != name and layer and layer[2] in _LAYER_NAMES:
        return f"blk.{layer[1]}.{_LAYER_NAMES[layer[2]]}.weight"
    if stem == name or stem not in _NAMES:
        raise FormatError(f"{name} has no name in GGUF")
    return f"{_NAMES[stem]}.weight"


def scale_name(name: str) -> str:
    """Name the float32 tensor that multiplies a matrix, as llama.cpp's ``BitnetModel`` does.

    Parameters
    ----------
    name : GGUF's name of the matrix
    """
    return f"{name.removesuffix('.weight')}.scale"


def permuted_heads(arch: str, name: str, config: ModelConfig) -> int:
    """Count the heads of a matrix whose rows GGUF has in another order than Hugging Face.

    Parameters
    ----------
    arch : key of ``ARCHITECTURES``
    name : Hugging Face's tensor name
    config : with the numbers of heads

    Returns
    -------
    The number of heads; 0 for a matrix whose rows have the same order
    """
    if not ARCHITECTURES[arch].permuted or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return 0
    return config.heads if "q_proj" in name else config.kv_heads


def check_activation(checkpoint: Checkpoint) -> None:
    """Refuse a GGUF file that leaves open which activation its model has.

    Parameters
    ----------
    checkpoint : source, before a run or a conversion to a format that states the activation

    Raises
    ------
    CheckpointError
        If neither the file nor its architecture nor the caller of ``load_checkpoint`` names it.
    """
    if checkpoint.format.startswith("gguf") and checkpoint.config.get("hidden_act") is None:
        raise CheckpointError(
            f"{checkpoint.path}: the metadata key {HIDDEN_ACT} is missing, and files of this "
            f"architecture have one of the activations {', '.join(ACTIVATIONS)} (1bitLLM's models "
            "silu, BitNet 2B4T relu2); name the model's own with --hidden-act (hidden_act=)"
        )


def architecture_of(checkpoint: Checkpoint) -> str:
    """Find GGUF's name for a model, by which readers know its norms, activation and row order.

    Raises
    ------
    FormatError
        If GGUF has no name for such a model.
    CheckpointError
        If the activation is not known, see ``check_activation``.
    """
    check_activation(checkpoint)
    config = checkpoint.config
    sub_norms = any(name.endswith("attn_sub_norm.weight") for name in checkpoint.tensors)
    kind = str(config.get("model_type"))
    default = MODEL_FAMILIES[kind].hidden_act if kind in MODEL_FAMILIES else None
    found = kind, str(config.get("hidden_act", default)), sub_norms
    for name, arch in ARCHITECTURES.items():
        has_sub_norms = MODEL_FAMILIES[arch.model_type].sub_norms
        if found == (arch.model_type, arch.written_act, has_sub_norms):
            return name
    raise FormatError(
        f"{checkpoint.path}: GGUF must have a name for the model, and none is known for "
        f"model_type {found[0]!r} with hidden_act {found[1]!r} and "
        f"{'' if sub_norms else 'no '}sub-norms"
    )
