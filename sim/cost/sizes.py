"""Sizes of a transformer."""

from dataclasses import dataclass

__all__ = ["TransformerSizes"]


@dataclass(frozen=True, kw_only=True)
class TransformerSizes:
    """Sizes of a transformer, as a ``config.json`` has them.

    Parameters
    ----------
    hidden : values of a token between two layers
    ffn : inner values of a dense feed-forward layer
    layers : layers, each of attention and feed-forward
    heads : attention heads for queries
    kv_heads : heads for keys and values; None for as many as ``heads``
    head_size : values of a head; None for ``hidden // heads``
    vocabulary : tokens that the model knows
    tied : the embedding is the head too
    gated : the feed-forward layer has a gate beside its input matrix
    sub_norms : BitNet's further norms, before the output of attention and of feed-forward
    norms_per_layer : norms of ``hidden`` values in a layer
    head_norms : queries and keys pass through norms, as in Qwen3
    windows : pairs of a limit and the number of layers that attend to at most so many tokens; None
        in a pair is no limit, and None for all is no limit in any layer
    sparse_layers : layers with experts instead of the dense feed-forward layer
    experts, active_experts : experts of such a layer, and how many of them a token takes
    expert_ffn : inner values of an expert
    shared_ffn : inner values of the expert that every token takes; 0 where there is none
    hidden_act : activation of the feed-forward layer; None where it is not known
    biases : linear layers of attention or of feed-forward have biases
    linear_norms : each linear layer has a norm of its own in front
    context : longest context that the model was made for; None where it is not recorded
    """

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int | None = None
    head_size: int | None = None
    vocabulary: int
    tied: bool
    gated: bool = True
    sub_norms: bool = False
    norms_per_layer: int = 2
    head_norms: bool = False
    windows: tuple[tuple[int | None, int], ...] | None = None
    sparse_layers: int = 0
    experts: int = 0
    active_experts: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    hidden_act: str | None = "silu"
    biases: bool = False
    linear_norms: bool = False
    context: int | None = None

    @property
    def query_width(self) -> int:
        """Values of all queries of a token."""
        return self.heads * self._head_size

    @property
    def kv_width(self) -> int:
        """Values of all keys of a token, and as many of its values."""
        return (self.kv_heads or self.heads) * self._head_size

    @property
    def _head_size(self) -> int:
        return self.head_size or self.hidden // self.heads

    @property
    def gate_elements(self) -> int:
        """Values that pass through the feed-forward activation per token, in all layers."""
        sparse = self.expert_ffn * self.active_experts + self.shared_ffn
        return self.ffn * (self.layers - self.sparse_layers) + sparse * self.sparse_layers

    @property
    def norm_elements(self) -> int:
        """Values that pass through norms per token, in all layers and before the head."""
        elements = self.hidden * (self.norms_per_layer * self.layers + 1)
        if self.sub_norms:
            elements += self.query_width * self.layers + self.gate_elements
        if self.head_norms:
            elements += (self.query_width + self.kv_width) * self.layers
        return elements
