"""All theorems, in the order of the rooms."""

from .fpga.flow import netlists
from .fpga.gateware import link, parts, uart
from .hw import gearbox
from .hw.axi import acceptance, lite, stream, wrapper
from .hw.engine import (
    collisions,
    dot,
    engine,
    loader,
    progress,
    results,
    scoreboard,
    weight_decoder,
)
from .hw.export import verilog
from .hw.token import functions, memory_port, numbers, sequencer, topk
from .theorem import Theorem

_MODULES = (
    *(weight_decoder, dot, engine, loader, results, collisions, scoreboard, progress),
    *(gearbox, stream, lite, acceptance, wrapper),
    *(numbers, functions, sequencer, memory_port, topk, verilog, netlists),
    *(link, uart, parts),
)

#: Theorems by name.
THEOREMS: dict[str, Theorem] = {
    theorem.name: theorem for module in _MODULES for theorem in module.THEOREMS
}
