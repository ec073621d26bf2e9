"""What language models compute and move: sizes, counted for prefill and decode."""

from dataclasses import dataclass

from ..tools.errors import EstimateError

__all__ = ["Linear", "ModelShape", "Work", "decode", "prefill"]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Matrices of one shape, W (n, k) @ x (k).

    Parameters
    ----------
    name : what they are
    n, k : outputs and inputs
    count : how many there are in the model
    active : how many of them a token passes through
    """

    name: str
    n: int
    k: int
    count: int
    active: int

    @property
    def weights(self) -> int:
        """Weights of all of them."""
        return self.n * self.k * self.count


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder, as far as its cost goes.

    Parameters
    ----------
    name : of the model
    hidden, layers, vocabulary : sizes
    linears : all linear layers but the head
    heads, kv_heads, head_size : of attention; 0 where there is none
    windows : tokens that a layer attends to at most, and how many layers do; None is no limit
    norm_elements : values that a token passes through norms, in all layers
    gate_elements : values that a token passes through the feed-forward activation, in all layers
    tied : the embedding is the head too
    experts, active_experts : of each mixture; 0 and 0 where there is none
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
    source: str

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers without the head: the ternary ones of a ternary model."""
        return sum(linear.weights for linear in self.linears)

    @property
    def active_weights(self) -> int:
        """Those that one token passes through."""
        return sum(linear.n * linear.k * linear.active for linear in self.linears)

    @property
    def head_weights(self) -> int:
        """Weights of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights of matrices: linear layers, embedding, and the head where it is another."""
        return self.linear_weights + self.head_weights * (1 if self.tied else 2)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step computes and moves. A MAC is one multiplication with its addition.

    Parameters
    ----------
    sequences : that the step serves
    tokens : that pass through the linear layers, of all sequences
    linear_macs, attention_macs, head_macs : multiply-accumulates
    linear_weights : read at least once; of a mixture the experts that the tokens are expected to
        choose, each choice being equally likely
    head_weights : read at least once
    kv_reads, kv_writes : values of keys and values
    vector_elements : values that pass through what is not a matrix product, see ``_vector``
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

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return self.linear_macs + self.attention_macs + self.head_macs


def _checked(**sizes: int) -> None:
    for name, value in sizes.items():
        if type(value) is not int or not 1 <= value <= 2**27:
            raise EstimateError(f"{name} must be an integer from 1 to {2**27}, not {value!r}")
    tokens = sizes.get("tokens", 1) * sizes["batch"]
    if tokens > 2**24:
        raise EstimateError(f"tokens of all sequences must be at most {2**24}, not {tokens}")


def _weights_read(model: ModelShape, tokens: int) -> float:
    """Weights that some tokens touch."""
    total = 0.0
    for linear in model.linears:
        share = 1.0
        if linear.active < linear.count:
            # Of e experts each token takes a: one is left out by t tokens with (1 − a/e)^t.
            share = 1 - (1 - linear.active / linear.count) ** tokens
        total += linear.weights * share
    return total


def _vector(model: ModelShape) -> int:
    """Values per token that pass one by one through what stands between matrix products.

    Norms and the quantization of a linear layer's input each pass over their values twice (once
    for the sum or the maximum); each output of a linear layer is scaled once; gate, residual
    additions and rotary positions pass over theirs once.
    """
    inputs = sum(linear.k * linear.active for linear in model.linears if linear.name not in _SHARED)
    outputs = sum(linear.n * linear.active for linear in model.linears)
    rotary = (model.heads + model.kv_heads) * model.head_size * model.layers
    residual = 2 * model.hidden * model.layers
    twice = 2 * (model.norm_elements + inputs)
    return twice + outputs + model.gate_elements + rotary + residual


#: Linear layers whose input is another's too: it is quantized once.
_SHARED = ("k", "v", "up", "f", "g")


def prefill(model: ModelShape, tokens: int, *, batch: int = 1) -> Work:
    """A prompt of so many tokens, causal, up to the first generated token.

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
    width = model.heads * model.head_size
    kv = 2 * model.kv_heads * model.head_size
    attention_layers = sum(layers for _, layers in model.windows)
    return Work(
        sequences=batch,
        tokens=tokens * batch,
        linear_macs=model.active_weights * tokens * batch,
        attention_macs=2 * width * pairs * batch,
        head_macs=model.head_weights * batch,
        linear_weights=_weights_read(model, tokens * batch),
        head_weights=model.head_weights,
        kv_reads=kv * attention_layers * tokens * batch,
        kv_writes=kv * attention_layers * tokens * batch,
        vector_elements=_vector(model) * tokens * batch,
    )


def decode(model: ModelShape, context: int, *, batch: int = 1) -> Work:
    """One generated token for each sequence.

    Parameters
    ----------
    model : what computes
    context : tokens that each sequence attends to, the newest included
    batch : sequences that share a pass over the weights

    Raises
    ------
    EstimateError
        If a size is not a positive integer, or absurdly large.
    """
    _checked(context=context, batch=batch)
    reach = sum(layers * min(window or context, context) for window, layers in model.windows)
    kv = 2 * model.kv_heads * model.head_size
    return Work(
        sequences=batch,
        tokens=batch,
        linear_macs=model.active_weights * batch,
        attention_macs=2 * model.heads * model.head_size * reach * batch,
        head_macs=model.head_weights * batch,
        linear_weights=_weights_read(model, batch),
        head_weights=model.head_weights,
        kv_reads=kv * reach * batch,
        kv_writes=kv * sum(layers for _, layers in model.windows) * batch,
        vector_elements=_vector(model) * batch,
    )
