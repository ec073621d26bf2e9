"""Language models as work: sizes of their matrices, and counts of a prompt or a generated token."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, lgamma, log, log1p, sqrt

from ..tools.errors import EstimateError
from .sizes import TransformerSizes

__all__ = ["Linear", "ModelShape", "Work", "decode", "expected_cost", "prefill", "weights_per_pass"]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Matrices of one shape, W (n, k) @ x (k,).

    Parameters
    ----------
    name : kind of the matrices, such as ``q`` or ``down``
    n, k : outputs and inputs of each
    count : matrices in the model
    active : matrices that one token passes through; fewer than ``count`` for experts
    """

    name: str
    n: int
    k: int
    count: int
    active: int

    @property
    def weights(self) -> int:
        """Weights of all matrices."""
        return self.n * self.k * self.count


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Shape of a language model, as far as its cost depends on it.

    Parameters
    ----------
    name : name of the model
    hidden : values of a token between two layers
    layers : number of layers
    vocabulary : tokens that the model knows
    linears : all linear layers but the head
    heads, kv_heads, head_size : attention heads for queries, heads for keys and values, and values
        of a head; 0 where there is no attention
    windows : pairs of the most tokens that a layer attends to (None for no limit) and the number of
        such layers
    norm_elements : values per token that pass through norms, in all layers
    gate_elements : values per token that pass through the feed-forward activation, in all layers
    tied : the embedding is the head too
    experts, active_experts : experts of each mixture, and how many of them a token takes; 0 and 0
        where there is no mixture
    sizes : sizes that the others follow from; None where the model is no transformer
    source : where the sizes are from
    """

    name: str
    hidden: int
    layers: int
    vocabulary: int
    linears: tuple[Linear, ...]
    heads: int
    kv_heads: int
    head_size: int
    windows: tuple[tuple[int | None, int], ...]
    norm_elements: int
    gate_elements: int
    tied: bool
    experts: int = 0
    active_experts: int = 0
    sizes: TransformerSizes | None = None
    source: str

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers without the head: the ternary ones of a ternary model."""
        return sum(linear.weights for linear in self.linears)

    @property
    def active_weights(self) -> int:
        """Weights of the linear layers that one token passes through."""
        return sum(linear.n * linear.k * linear.active for linear in self.linears)

    @property
    def head_weights(self) -> int:
        """Weights of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights of matrices: linear layers, embedding, and the head if it is another."""
        return self.linear_weights + self.head_weights * (1 if self.tied else 2)

    @property
    def widest_k(self) -> int:
        """Largest number of products in a sum of the linear layers."""
        return max(linear.k for linear in self.linears)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Counts of a step: a prompt, or a generated token of each sequence.

    A MAC is one multiplication with its addition.

    Parameters
    ----------
    sequences : sequences that the step serves
    tokens : tokens of all sequences that pass through the linear layers
    linear_macs, attention_macs, head_macs : multiply-accumulates
    linear_weights : distinct weights that the tokens use, each read at least once; for experts the
        expected number, each choice being equally likely
    head_weights : weights of the head, each read at least once
    kv_reads, kv_writes : values of keys and values
    vector_elements : values that pass through operations other than matrix products, see
        ``_vector_elements``
    """

    sequences: int
    tokens: int
    linear_macs: int
    attention_macs: int
    head_macs: int
    linear_weights: float
    head_weights: int
    kv_reads: int
    kv_writes: int
    vector_elements: int


def _checked(**sizes: int) -> None:
    """Refuse sizes that are not positive integers, or absurdly large."""
    for name, value in sizes.items():
        if type(value) is not int or not 1 <= value <= 2**27:
            raise EstimateError(f"{name} must be an integer from 1 to {2**27}, not {value!r}")
    tokens = sizes.get("tokens", 1) * sizes["batch"]
    if tokens > 2**24:
        raise EstimateError(f"tokens of all sequences must be at most {2**24}, not {tokens}")


def expected_cost(tokens: int, chance: float, cost: Callable[[int], float]) -> float:
    """Return the expected cost of one expert, whose number of tokens is binomially distributed.

    Parameters
    ----------
    tokens : tokens that choose experts
    chance : probability that a token chooses this expert, below 1
    cost : cost of the expert for a number of its tokens, 1 or more; without tokens it costs nothing
    """
    if tokens == 1:
        return chance * cost(1)
    # Twelve standard deviations around the mean hold all but 1e-30 of the probability.
    mean = tokens * chance
    reach = 12 * sqrt(mean) + 40
    expected = 0.0
    for count in range(max(1, int(mean - reach)), min(tokens, ceil(mean + reach)) + 1):
        logarithm = lgamma(tokens + 1) - lgamma(count + 1) - lgamma(tokens - count + 1)
        logarithm += count * log(chance) + (tokens - count) * log1p(-chance)
        expected += cost(count) * exp(logarithm)
    return expected


@lru_cache(maxsize=4096)
def _expert_passes(tokens: int, chance: float, shared_tokens: int) -> float:
    """Return the expected passes over the weights of one expert: ⌈its tokens / shared_tokens⌉."""
    if shared_tokens >= tokens:
        return 1 - (1 - chance) ** tokens
    if shared_tokens == 1:
        return tokens * chance
    return expected_cost(tokens, chance, lambda count: ceil(count / shared_tokens))


def weights_per_pass(model: ModelShape, tokens: int, shared_tokens: int) -> float:
    """Return the mean number of weights that a pass over the linear layers reads.

    A step takes ⌈tokens / shared_tokens⌉ passes. A matrix that every token takes is read in each of
    them. An expert is read only for its own tokens, ``shared_tokens`` of them at a time: with one
    token to a pass, the experts that this token chooses; in a single pass, the distinct experts of
    all tokens; never more than all weights.

    Parameters
    ----------
    model : the model; each choice of experts is equally likely
    tokens : tokens of the step
    shared_tokens : tokens that share a pass over the weights
    """
    passes = ceil(tokens / shared_tokens)
    total = 0.0
    for linear in model.linears:
        share = 1.0
        if linear.active < linear.count:
            chance = linear.active / linear.count
            share = _expert_passes(tokens, chance, shared_tokens) / passes
        total += linear.weights * share
    return total


#: Linear layers whose input is another layer's too: it is quantized once.
_SHARED = ("k", "v", "up", "f", "g")


def _vector_elements(model: ModelShape) -> int:
    """Return the values per token that pass one by one through operations between the products.

    Norms and the quantization of a linear layer's input each pass over their values twice (once
    for the sum or the maximum). Each output of a linear layer is scaled once. Gate, residual
    additions and rotary positions pass over their values once.
    """
    inputs = sum(linear.k * linear.active for linear in model.linears if linear.name not in _SHARED)
    outputs = sum(linear.n * linear.active for linear in model.linears)
    rotary = (model.heads + model.kv_heads) * model.head_size * model.layers
    residual = 2 * model.hidden * model.layers
    twice = 2 * (model.norm_elements + inputs)
    return twice + outputs + model.gate_elements + rotary + residual


def prefill(model: ModelShape, tokens: int, *, batch: int = 1) -> Work:
    """Count the work of a prompt, up to the first generated token; attention is causal.

    Parameters
    ----------
    model : the model that computes
    tokens : tokens of the prompt of each sequence
    batch : sequences

    Raises
    ------
    EstimateError
        If a size is not a positive integer, or absurdly large.
    """
    _checked(tokens=tokens, batch=batch)
    pairs = 0
    for window, layers in model.windows:
        reach = min(window or tokens, tokens)
        # Position i attends to min(i, window) positions, itself included.
        pairs += layers * (reach * (reach + 1) // 2 + (tokens - reach) * reach)
    seen = sum(layers for _, layers in model.windows) * tokens
    return _work(model, sequences=batch, tokens=tokens, pairs=pairs, reads=seen)


def decode(model: ModelShape, context: int, *, batch: int = 1) -> Work:
    """Count the work of one generated token for each sequence.

    Parameters
    ----------
    model : the model that computes
    context : tokens that each sequence attends to, the newest included
    batch : sequences that share a pass over the weights

    Raises
    ------
    EstimateError
        If a size is not a positive integer, or absurdly large.
    """
    _checked(context=context, batch=batch)
    reach = sum(layers * min(window or context, context) for window, layers in model.windows)
    return _work(model, sequences=batch, tokens=1, pairs=reach, reads=reach)


def _work(model: ModelShape, *, sequences: int, tokens: int, pairs: int, reads: int) -> Work:
    """Count the work of a step.

    Parameters
    ----------
    model : the model that computes
    sequences : sequences of the step
    tokens, pairs, reads : of each sequence the tokens, the pairs of positions that attend to each
        other, and the positions whose keys and values are read; the last two over all layers
    """
    kv = 2 * model.kv_heads * model.head_size * sequences
    all_tokens = tokens * sequences
    return Work(
        sequences=sequences,
        tokens=all_tokens,
        linear_macs=model.active_weights * all_tokens,
        attention_macs=2 * model.heads * model.head_size * pairs * sequences,
        head_macs=model.head_weights * sequences,
        linear_weights=weights_per_pass(model, all_tokens, all_tokens),
        head_weights=model.head_weights,
        kv_reads=kv * reads,
        kv_writes=kv * tokens * sum(layers for _, layers in model.windows),
        vector_elements=_vector_elements(model) * all_tokens,
    )
