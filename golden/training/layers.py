"""Layers of BitNet b1.58 (arXiv 2402.17764) for quantization-aware training, in PyTorch.

The forward pass computes with quantized values. The backward pass takes rounding for the identity
(straight-through estimator, arXiv 1308.3432).
"""

import torch

__all__ = ["FORMS", "BitLinear", "RMSNorm"]

#: Forms of weights: trits by ``absmean_quantize`` or by ``sherry_quantize``, or float32.
FORMS = ("ternary", "sherry", "float")


def _round_through(x: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Round half to even and clip to [low, high], with the gradient of the identity."""
    return x + (x.round().clamp(low, high) - x).detach()


def _kept(weight: torch.Tensor) -> torch.Tensor:
    """Mark all but the smallest of each four weights of a row, as ``sherry_quantize`` does."""
    quads = weight.view(len(weight), -1, 4)
    smallest = quads.abs().argmin(dim=2, keepdim=True)
    return torch.ones_like(quads).scatter(2, smallest, 0).view_as(weight)


def _quantized_product(x: torch.Tensor, weight: torch.Tensor, form: str) -> torch.Tensor:
    """Multiply float32[..., K] as int8 by float32[N, K] as trits of a form.

    The quantizers are ``absmax_quantize``, and ``absmean_quantize`` or ``sherry_quantize``.
    Gradients are those of the exact product. Sums of integers stay far below 2²⁴ and are exact in
    float32.
    """
    act_scale = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
    activations = _round_through(x * act_scale, -128, 127)
    weight_values = weight.detach()
    kept = _kept(weight_values) if form == "sherry" else torch.ones_like(weight_values)
    mean = (weight_values.abs() * kept).sum(dtype=torch.float64) / kept.sum(dtype=torch.float64)
    weight_scale = mean.float().clamp(min=1e-5)
    scaled = weight * (1 / weight_scale)
    if form == "sherry":
        signs = torch.where(weight_values < 0, -1.0, 1.0) * kept
        trits = scaled + (signs - scaled).detach()
    else:
        trits = _round_through(scaled, -1, 1)
    return activations @ trits.T * weight_scale / act_scale


class RMSNorm(torch.nn.Module):
    """RMSNorm over the last axis, with a gain.

    Parameters
    ----------
    size : K
    epsilon : constant of the norm

    Attributes
    ----------
    weight : gain float32[K], 1 at the start
    """

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = torch.nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize x float32[..., K]."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class BitLinear(torch.nn.Module):
    """Linear layer without bias: ``y = Q(x) @ Q(W).T``, or ``x @ W.T`` in the float twin.

    Parameters
    ----------
    inputs, outputs : K and N
    form : one of ``FORMS``; with trits, activations are quantized to int8

    Attributes
    ----------
    weight : float32[N, K], normal with variance 1 / K at the start
    """

    def __init__(self, inputs: int, outputs: int, *, form: str) -> None:
        super().__init__()
        self.form = form
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x float32[..., K] to y float32[..., N]."""
        if self.form == "float":
            return x @ self.weight.T
        return _quantized_product(x, self.weight, self.form)
