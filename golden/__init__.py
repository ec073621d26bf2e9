"""The golden model: quantizers, weight codes, layers and checkpoints, in NumPy.

It is written to be obviously right, knows nothing of hardware, and everything else is held to it.
"""

from .checkpoint import Checkpoint, TernaryTensor, load_checkpoint
from .codes import CODES, Code, CodeError
from .decoder import BitNetModel
from .huggingface import CheckpointError, pack_weights, unpack_weights
from .layers import BitLinear, packed_matmul
from .linear import check_activations, check_trits, ternary_matmul
from .mlp import BitNetMLP
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
