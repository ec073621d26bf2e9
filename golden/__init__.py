"""The golden model: quantizers, weight codes, layers and checkpoints, in NumPy.

It is written to be obviously right and knows nothing of hardware. Everything else must match it.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .checkpoint.load import load_checkpoint
    from .checkpoint.packing import pack_weights, unpack_weights
    from .checkpoint.tensors import Checkpoint, TernaryTensor
    from .codes import CODES, Code, CodeError
    from .errors import CheckpointError
    from .matmul import check_activations, check_trits, ternary_matmul
    from .network.layers import BitLinear, packed_matmul
    from .network.mlp import BitNetMLP
    from .network.transformer import BitNetModel
    from .quantize import absmax_quantize, absmean_quantize

__all__ = [
    "CODES",
    "BitLinear",
    "BitNetMLP",
    "BitNetModel",
    "Checkpoint",
    "CheckpointError",
    "Code",
    "CodeError",
    "TernaryTensor",
    "absmax_quantize",
    "absmean_quantize",
    "check_activations",
    "check_trits",
    "load_checkpoint",
    "pack_weights",
    "packed_matmul",
    "ternary_matmul",
    "unpack_weights",
]

__getattr__ = lazy_names(
    __name__,
    {
        "BitLinear": "network.layers",
        "BitNetMLP": "network.mlp",
        "BitNetModel": "network.transformer",
        "CODES": "codes",
        "Checkpoint": "checkpoint.tensors",
        "CheckpointError": "errors",
        "Code": "codes",
        "CodeError": "codes",
        "TernaryTensor": "checkpoint.tensors",
        "absmax_quantize": "quantize",
        "absmean_quantize": "quantize",
        "check_activations": "matmul",
        "check_trits": "matmul",
        "load_checkpoint": "checkpoint.load",
        "pack_weights": "checkpoint.packing",
        "packed_matmul": "network.layers",
        "ternary_matmul": "matmul",
        "unpack_weights": "checkpoint.packing",
    },
)
