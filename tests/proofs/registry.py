"""All theorems, in the order of the rooms."""

from .fpga.gateware import link, parts, uart
from .hw import gearbox
from .hw.axi import lite, stream, wrapper
from .hw.engine import dot, engine, loader, results, scoreboard, weight_decoder
from .hw.token import numbers
from .theorem import Theorem

_MODULES = (
    *(weight_decoder, dot, engine, loader, results, scoreboard),
    *(gearbox, stream, lite, wrapper, numbers),
    *(link, uart, parts),
)

#: Theorems by name.
THEOREMS: dict[str, Theorem] = {
    theorem.name: theorem for module in _MODULES for theorem in module.THEOREMS
}
