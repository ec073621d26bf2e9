"""Tokens that end a text."""

from ..files import read_json
from .config_keys import ConfigKeys
from .model_config import ModelConfig
from .tensors import Checkpoint

__all__ = ["end_tokens"]


def end_tokens(checkpoint: Checkpoint, config: ModelConfig) -> dict[int, str]:
    """Gather the tokens that end a text from all files of a model.

    Parameters
    ----------
    checkpoint : the model
    config : its configuration, which has all end tokens of a GGUF file

    Returns
    -------
    The place that names each token, by the token's number: "end token in config.json"

    Raises
    ------
    CheckpointError
        If ``generation_config.json`` is wrong.
    """
    path = checkpoint.path
    gguf = checkpoint.format.startswith("gguf")
    name = f"the metadata of {path.name}" if gguf else "config.json"
    found = dict.fromkeys(config.eos, f"end token in {name}")
    beside = (path if path.is_dir() else path.parent) / "generation_config.json"
    if beside.is_file():
        for token in ConfigKeys(read_json(beside), beside).tokens("eos_token_id"):
            found.setdefault(token, f"end token in {beside.name}")
    return found
