"""The largest models of BitNet's shape that a board holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ..fpga.boards import image_bytes
from ..golden.checkpoint.model_config import ModelConfig
from ..hw.token.config import TokenConfig
from ..hw.token.plan import CompileError, plan_image

__all__ = ["MADE", "LargestModel", "largest_image", "largest_weights"]

#: Elements of a head, and of whose multiples hidden and ffn sizes are here.
_HEAD = 64

#: Ratio of the ffn size to the hidden size in BitNet b1.58 2B4T, 6912 to 2560, and the heads of
#: queries that share keys and values there.
_FFN, _SHARED = 2.7, 4


@dataclass(frozen=True, kw_only=True)
class LargestModel:
    """The largest model that a board holds, and its speed.

    Parameters
    ----------
    hidden, ffn, layers, heads, kv_heads : its sizes
    context, vocabulary : likewise; None where both are the host's business
    weights : ternary weights
    tokens : tokens per second
    label : ``modelled``
    """

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    context: int | None
    vocabulary: int | None
    weights: int
    tokens: float
    label: str = "modelled"

    @classmethod
    def of(cls, sizes: ModelConfig, tokens: float, *, whole: bool) -> Self:
        """Describe a model of known speed; with ``whole`` its tokens are on the board, too."""
        names = ("hidden", "ffn", "layers", "heads", "kv_heads")
        return cls(
            **{name: getattr(sizes, name) for name in names},
            context=sizes.max_positions if whole else None,
            vocabulary=sizes.vocabulary if whole else None,
            weights=_weights(sizes),
            tokens=tokens,
        )

    def __str__(self) -> str:
        layers = "1 layer" if self.layers == 1 else f"{self.layers} layers"
        rest = "" if self.vocabulary is None else f", {self.vocabulary:,} tokens"
        rate = f"{self.tokens:,.0f}" if self.tokens >= 100 else f"{self.tokens:.1f}"
        return (
            f"{self.weights:,} ternary weights: hidden {self.hidden}, ffn {self.ffn}, "
            f"{layers}{rest}; {rate} tokens/s"
        )


def _weights(sizes: ModelConfig) -> int:
    """Ternary weights of a model."""
    return sizes.layers * sum(n * k for n, k in sizes.linear_shapes.values())


def _sizes(
    hidden: int, ffn: int, shared: int, *, layers: int = 1, context: int = 512, vocabulary: int = 2
) -> ModelConfig:
    """Make the sizes of a model: heads of 64, of which up to ``shared`` share keys and values."""
    heads = hidden // _HEAD
    divisors = [one for one in range(1, heads + 1) if heads % one == 0]
    kv_heads = next(one for one in divisors if heads // one <= shared)
    keys = {
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": _HEAD,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": True,
    }
    return ModelConfig.read(keys, "a model of BitNet's shape")


#: A made model of 19 million ternary weights, with as many tokens as the trained one.
MADE = _sizes(512, 1536, 2, layers=6, vocabulary=1024)


def _ffn(hidden: int) -> int:
    """The ffn size that goes with a hidden size."""
    return round(_FFN * hidden / _HEAD) * _HEAD


def largest_weights(
    k_max: int, fits: Callable[[Sequence[tuple[int, int]]], bool]
) -> ModelConfig | None:
    """Find the model with the most ternary weights that fit; the host does all the rest.

    Parameters
    ----------
    k_max : largest legal size of a matrix
    fits : tells whether matrices of given (N, K) fit

    Returns
    -------
    Its sizes; None if no model fits
    """
    best = None
    for hidden in range(_HEAD, k_max + 1, _HEAD):
        sizes = _sizes(hidden, _ffn(hidden), _SHARED)
        if sizes.ffn > k_max or not fits(list(sizes.linear_shapes.values())):
            break
        while fits(list(sizes.linear_shapes.values()) * (sizes.layers + 1)):
            sizes = replace(sizes, layers=sizes.layers + 1)
        if best is None or _weights(sizes) >= _weights(best):
            best = sizes
    return best


def largest_image(core: TokenConfig, memory_bytes: int) -> ModelConfig | None:
    """Find the model with the most ternary weights whose image fits a core and its memory.

    The vocabulary is the core's maximum, halved until its rows take at most a quarter of the
    memory. The context is the core's maximum, halved until a layer fits.

    Parameters
    ----------
    core : configuration of the core
    memory_bytes : size of its memory, which also holds the weights

    Returns
    -------
    Its sizes; None if no model fits
    """

    def size(sizes: ModelConfig) -> int:
        try:
            return image_bytes(plan_image(core, sizes))
        except CompileError:
            return memory_bytes + 1

    best = None
    for hidden in range(_HEAD, core.hidden_max + 1, _HEAD):
        vocabulary, context = core.vocabulary_max, core.context_max
        while vocabulary * hidden > memory_bytes // 4:
            vocabulary //= 2
        one = _sizes(
            hidden, min(_ffn(hidden), core.ffn_max), core.shared_max, vocabulary=vocabulary
        )
        while context > 1 and size(replace(one, max_positions=context)) > memory_bytes:
            context //= 2
        one = replace(one, max_positions=context)
        first, second = size(one), size(replace(one, layers=2))
        if first > memory_bytes:
            continue
        # Layers are alike, but for the program, which fills whole words.
        found = replace(one, layers=1 + max(0, memory_bytes - first) // max(1, second - first))
        while found.layers > 1 and size(found) > memory_bytes:
            found = replace(found, layers=found.layers - 1)
        if best is None or _weights(found) >= _weights(best):
            best = found
    return best
