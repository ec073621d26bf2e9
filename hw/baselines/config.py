"""Configuration of the dot products that the ternary one is compared with."""

from dataclasses import dataclass

from ...golden.checks import check_choice, check_integer
from ..config import Target

__all__ = ["DotConfig", "check_config"]


@dataclass(frozen=True, kw_only=True)
class DotConfig:
    """Shape of a dot product, whatever its number formats.

    A unit performs ``lanes × rows`` multiply-accumulates per cycle.

    Parameters
    ----------
    lanes : 2 to 320; products per cycle and row
    k_max : 1 to 65,536; the largest number of products in a dot product
    rows : 1 to 64; dot products side by side that share their activations, see ``DotRows``
    levels_per_stage : 1 to 4; levels of a tree of integer adders between two registers. Trees of
        floating-point adders ignore it.
    target : a ``Target`` or its value, see ``DotProduct`` and ``multiply``

    Raises
    ------
    TypeError
        If a number is not an integer, or ``target`` is not a string.
    ValueError
        If a value is not legal.
    """

    lanes: int
    k_max: int
    rows: int = 1
    levels_per_stage: int = 1
    target: Target | str = Target.ASIC

    def __post_init__(self) -> None:
        for name, high in (
            ("lanes", 320),
            ("k_max", 65_536),
            ("rows", 64),
            ("levels_per_stage", 4),
        ):
            low = 2 if name == "lanes" else 1
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low, high))
        object.__setattr__(self, "target", check_choice("target", self.target, Target))

    @property
    def tree_levels(self) -> int:
        """Levels of a tree of adders over the lanes: ``ceil(log2(lanes))``."""
        return (self.lanes - 1).bit_length()

    def tree_cycles(self, values: int) -> int:
        """Count the pipeline stages of a tree of integer adders.

        Parameters
        ----------
        values : numbers to add; one for each lane in most units

        Returns
        -------
        ``ceil(ceil(log2(values)) / levels_per_stage)``.
        """
        return -(-(values - 1).bit_length() // self.levels_per_stage)


def check_config(config: DotConfig) -> None:
    """Raise ``TypeError`` unless a unit got a ``DotConfig``."""
    if not isinstance(config, DotConfig):
        raise TypeError(f"config must be a DotConfig, not {config!r}")
