"""Energy of a prompt by the recipe of BitNet's papers (arXiv 2310.11453 and 2504.12285)."""

from dataclasses import dataclass

from ..tools.errors import EstimateError
from .profiles import Profile, find_profile
from .workload import ModelShape

__all__ = ["PaperEnergy", "paper_energy", "paper_ratio"]

#: Figures of the rows of BitNet's Table 1, by the bits of a weight.
_PAPER_BITS = {32: "fp32", 16: "fp16", 1: "fp16"}


@dataclass(frozen=True, kw_only=True)
class PaperEnergy:
    """Energy of a prompt as BitNet's papers count it, in J.

    Parameters
    ----------
    multiply, add : all multiplications and all additions
    attention : share of attention in both
    """

    multiply: float
    add: float
    attention: float

    @property
    def total(self) -> float:
        """Sum of multiplications and additions, in J."""
        return self.multiply + self.add


def paper_energy(
    model: ModelShape, *, bits: int, tokens: int = 512, profile: Profile | None = None
) -> PaperEnergy:
    """Return the energy of a prompt by the recipe of BitNet's Table 1 (arXiv 2310.11453).

    Every MAC of the linear layers and of attention (the full square, not causal) is a
    multiplication and an addition in the row's format. Embedding and head do not count. In the
    1-bit row a linear layer's MAC is one 8-bit addition, and attention is FP16. Each linear layer
    (n, k) takes n + k FP16 multiplications per token there, to scale.

    Parameters
    ----------
    model : the model that computes
    bits : 32, 16, or 1 for BitNet
    tokens : tokens of the prompt, 1 to 2²⁴
    profile : figures; by default ``bitnet-paper``

    Raises
    ------
    EstimateError
        If ``bits`` or ``tokens`` is not legal.
    MissingFigureError
        If the profile has no figure for the format.
    """
    if not 1 <= tokens <= 2**24:
        raise EstimateError(f"tokens must be from 1 to {2**24}, not {tokens}")
    if bits not in _PAPER_BITS:
        raise EstimateError(f"bits must be one of {', '.join(map(str, _PAPER_BITS))}, not {bits}")
    figures = profile or find_profile("bitnet-paper")
    kind = _PAPER_BITS[bits]
    multiply, add = figures.figure(f"{kind} mul").pj, figures.figure(f"{kind} add").pj
    linear = model.active_weights * tokens
    attention_layers = sum(layers for _, layers in model.windows)
    attention = 2 * tokens**2 * model.heads * model.head_size * attention_layers
    if bits == 1:
        scalings = sum((one.n + one.k) * one.active for one in model.linears) * tokens
        multiplied = (attention + scalings) * multiply
        added = attention * add + linear * figures.figure("int8 add").pj
    else:
        multiplied, added = (linear + attention) * multiply, (linear + attention) * add
    return PaperEnergy(
        multiply=multiplied * 1e-12,
        add=added * 1e-12,
        attention=attention * (multiply + add) * 1e-12,
    )


def paper_ratio(model: ModelShape, *, tokens: int = 512, profile: Profile | None = None) -> float:
    """Return the energy of FP16 over that of BitNet by the paper's recipe.

    Parameters
    ----------
    model, tokens, profile : see ``paper_energy``
    """
    fp16 = paper_energy(model, bits=16, tokens=tokens, profile=profile)
    return fp16.total / paper_energy(model, bits=1, tokens=tokens, profile=profile).total
