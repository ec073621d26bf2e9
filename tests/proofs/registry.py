"""All theorems, in the order of the rooms."""

from .hw.engine import dot, weight_decoder
from .theorem import Theorem

_MODULES = (weight_decoder, dot)

#: Theorems by name.
THEOREMS: dict[str, Theorem] = {
    theorem.name: theorem for module in _MODULES for theorem in module.THEOREMS
}
