"""Transformers as shapes: the matrices and counts that follow from a model's sizes."""

from collections.abc import Iterator

from .sizes import TransformerSizes
from .workload import Linear, ModelShape

__all__ = ["transformer_shape"]


def _feed_forward(sizes: TransformerSizes, inner: int, count: int, active: int) -> Iterator[Linear]:
    """Yield the matrices of feed-forward layers with so many inner values."""
    if not inner or not count:
        return
    names = ("gate", "up") if sizes.gated else ("in",)
    for name in names:
        yield Linear(name=name, n=inner, k=sizes.hidden, count=count, active=active)
    yield Linear(name="down", n=sizes.hidden, k=inner, count=count, active=active)


def transformer_shape(name: str, sizes: TransformerSizes, *, source: str) -> ModelShape:
    """Derive a model's shape from its sizes.

    Parameters
    ----------
    name : name of the model
    sizes : its sizes
    source : where the sizes are from
    """
    hidden, layers, sparse = sizes.hidden, sizes.layers, sizes.sparse_layers
    attention = {
        "q": (sizes.query_width, hidden),
        "k": (sizes.kv_width, hidden),
        "v": (sizes.kv_width, hidden),
        "o": (hidden, sizes.query_width),
    }
    linears = [
        Linear(name=kind, n=n, k=k, count=layers, active=layers)
        for kind, (n, k) in attention.items()
    ]
    linears += _feed_forward(sizes, sizes.ffn, layers - sparse, layers - sparse)
    linears += _feed_forward(
        sizes, sizes.expert_ffn, sparse * sizes.experts, sparse * sizes.active_experts
    )
    linears += _feed_forward(sizes, sizes.shared_ffn, sparse, sparse)
    if sparse:
        linears.append(
            Linear(name="router", n=sizes.experts, k=hidden, count=sparse, active=sparse)
        )
    return ModelShape(
        name=name,
        hidden=hidden,
        layers=layers,
        vocabulary=sizes.vocabulary,
        linears=tuple(linears),
        heads=sizes.heads,
        kv_heads=sizes.kv_heads or sizes.heads,
        head_size=sizes.query_width // sizes.heads,
        windows=sizes.windows or ((None, layers),),
        norm_elements=sizes.norm_elements,
        gate_elements=sizes.gate_elements,
        tied=sizes.tied,
        experts=sizes.experts,
        active_experts=sizes.active_experts,
        sizes=sizes,
        source=source,
    )
