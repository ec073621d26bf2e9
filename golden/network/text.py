"""Bits per byte of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .token_core import CoreModel
from .transformer import BitNetModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["bits_per_byte"]


def bits_per_byte(
    model: BitNetModel | CoreModel, tokenizer: Tokenizer, texts: Sequence[str]
) -> float:
    """Measure the bits that each byte of texts costs a model.

    Each text stands alone between two end-of-text tokens, and the second one counts. A text that is
    longer than the context is cut into windows, and each window starts without a context.

    Parameters
    ----------
    model : model with one token that ends a text
    tokenizer : its tokenizer
    texts : not empty

    Returns
    -------
    Bits per byte of UTF-8
    """
    (end,) = model.config.eos
    context = model.config.max_positions
    nats = 0.0
    for text in texts:
        tokens = np.array([end, *tokenizer.encode(text, add_special_tokens=False).ids, end])
        for start in range(0, len(tokens) - 1, context):
            window = tokens[start : start + context + 1]
            logits = model.forward(window[:-1]).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            chosen = logits[np.arange(len(logits)), window[1:]]
            nats += float((np.log(np.exp(logits).sum(axis=1)) - chosen).sum())
    return nats / np.log(2) / sum(len(text.encode()) for text in texts)
