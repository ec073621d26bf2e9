"""Figures behind an estimated energy, each with its origin."""

from collections.abc import Iterable

from .designs import Design
from .formats import find_format
from .memories import Memory
from .profiles import Figure, Profile
from .workload import ModelShape

__all__ = ["used_figures"]


def used_figures(
    model: ModelShape, designs: Iterable[Design], memory: Memory, profile: Profile
) -> dict[str, Figure]:
    """Return the figures that the energy of a step consists of.

    Parameters
    ----------
    model, memory, profile : as in ``estimate``
    designs : the designs that are compared

    Returns
    -------
    The figures by a name that says what they are for. The addition of integers is that of the
    widest sum of the linear layers.

    Raises
    ------
    MissingFigureError
        If the profile has no figure for an operation.
    """
    found: dict[str, Figure] = {}
    for design in designs:
        uses = (
            (design.number_format, model.widest_k),
            (design.head, model.hidden),
            (find_format(design.attention_format), model.head_size or 1),
        )
        for number_format, k in uses:
            for part, figure in profile.mac(number_format, k).items():
                found.setdefault(f"{number_format.name}, {part}", figure)
        kilobytes = design.buffer_kilobytes
        found[f"64 bits of SRAM, {kilobytes} KB"] = profile.figure(f"sram {kilobytes} KB")
    if memory.dram:
        dram = memory.dram
        found["bit of memory"] = Figure(
            pj=dram.pj_per_bit, source=f"{dram.source}; {dram.boundary}", label=dram.label
        )
    else:
        found["64 bits of SRAM, 1024 KB"] = profile.figure("sram 1024 KB")
    return found
