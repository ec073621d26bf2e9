"""Kinds of models that the token core computes. Estimates import this module without NumPy."""

from ..checkpoint.model_config import ModelConfig
from ..errors import TrilithError

__all__ = ["CoreKindError", "check_core_kind"]


class CoreKindError(TrilithError, ValueError):
    """The token core does not compute a kind of model."""


def check_core_kind(config: ModelConfig, *, transform: bool = False) -> None:
    """Refuse a model with a step that the token core does not have.

    Parameters
    ----------
    config : of a model that ``BitNetModel`` runs
    transform : whether a matrix has a Hadamard transform in front

    Raises
    ------
    CoreKindError
        If its queries and keys have norms, or a matrix has such a transform.
    """
    if transform:
        raise CoreKindError(
            "no token core can run the model: its matrices have a Hadamard transform in front; run "
            "it in --backend golden or rtl"
        )
    if config.family.head_norms:
        raise CoreKindError(
            f"no token core can run the model: its model_type {config.model_type!r} has norms of "
            "queries and keys (q_norm, k_norm); run it in --backend golden or rtl"
        )
