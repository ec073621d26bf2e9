"""Figures of a checkpoint's matrices: how many zeros, how much information, how many bits."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .packing import count_trits
from .tensors import Checkpoint

__all__ = ["TensorStatistics", "statistics"]


@dataclass(frozen=True, kw_only=True)
class TensorStatistics:
    """What one matrix holds.

    Parameters
    ----------
    name, n, k : its module, outputs and inputs
    stored_type, stored_bytes : in the file, scales included
    scales : how many
    group_size : weights of a row that share one
    zero_fraction : of the trits
    entropy_bits_per_trit : of the trits taken one by one, at most log2(3) = 1.585
    """

    name: str
    n: int
    k: int
    stored_type: str
    stored_bytes: int
    scales: int
    group_size: int
    zero_fraction: float
    entropy_bits_per_trit: float

    @property
    def stored_bits_per_weight(self) -> float:
        """Bits that the file spends on a weight, scales included."""
        return 8 * self.stored_bytes / (self.n * self.k)

    def as_dict(self) -> dict[str, Any]:
        """All figures by name."""
        return asdict(self) | {"stored_bits_per_weight": self.stored_bits_per_weight}


def statistics(checkpoint: Checkpoint, name: str) -> TensorStatistics:
    """Read one matrix and count its trits.

    Raises
    ------
    CheckpointError
        If it is refused.
    """
    tensor = checkpoint.ternary[name]
    n, k = tensor.shape
    p = count_trits(tensor.packed, n) / (n * k)
    p_positive = p[p > 0]
    stored_type, stored_bytes = checkpoint.stored[name]
    return TensorStatistics(
        name=name,
        n=n,
        k=k,
        stored_type=stored_type,
        stored_bytes=stored_bytes,
        scales=tensor.scale.size,
        group_size=tensor.group_size,
        zero_fraction=float(p[1]),
        entropy_bits_per_trit=float(-(p_positive * np.log2(p_positive)).sum()) + 0.0,
    )
