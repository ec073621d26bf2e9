"""Layers of BitNet b1.58 (arXiv 2402.17764) for quantization-aware training, in PyTorch.

The forward pass computes with quantized values. The backward pass takes rounding for the identity
(straight-through estimator, arXiv 1308.3432).
"""

import torch

__all__ = ["BitLinear", "RMSNorm"]


def _round_through(x: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Round half to even and clip to [low, high], with the gradient of the identity."""
    return x + (x.round().clamp(low, high) - x).detach()


def _quantized_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply float32[..., K] as int8 by float32[N, K] as trits.

    The quantizers are ``absmax_quantize`` and ``absmean_quantize``; gradients are those of the
    exact product. Sums of integers stay far below 2²⁴ and are exact in float32.
    """
    act_scale = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
    weight_scale = weight.detach().abs().mean(dtype=torch.float64).float().clamp(min=1e-5)
    activations = _round_through(x * act_scale, -128, 127)
    trits = _round_through(weight * (1 / weight_scale), -1, 1)
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
    ternary : weights are quantized to trits and activations to int8

    Attributes
    ----------
    weight : float32[N, K], normal with variance 1 / K at the start
    """

    def __init__(self, inputs: int, outputs: int, *, ternary: bool) -> None:
        super().__init__()
        self.ternary = ternary
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x float32[..., K] to y float32[..., N]."""
        return _quantized_product(x, self.weight) if self.ternary else x @ self.weight.T
