"""Options of the commands that take energies: a profile by name, or a file of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING

from .options import Options, option

if TYPE_CHECKING:
    from ..sim.cost.technology import Technology

__all__ = ["TechnologyOptions", "chosen_technology"]


class TechnologyOptions(Options):
    """Options of a command that takes energies."""

    profile: str = option(
        "jouppi7",
        "Energy figures: horowitz45, jouppi7, bitnet-paper, gate:LIBRARY.",
        excludes=("--technology",),
    )
    technology: Path | None = option(
        None, "File of energies, memories and prices; --write-technology of estimate makes one."
    )


def chosen_technology(options: TechnologyOptions) -> "Technology":
    """Return the figures that the options choose."""
    from ..sim.cost.technology import named_technology, read_technology

    if options.technology is not None:
        return read_technology(options.technology)
    return named_technology(options.profile)
