"""Configuration of the dot products that the ternary one is compared with."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from ...golden.checks import check_choice, check_integer
from ..config import Target

__all__ = ["Choice", "DotConfig", "check_config"]


class Choice(StrEnum):
    """Choice that makes a variant of a unit: a register that it lacks, or another form of logic.

    Results are the same with every choice. Each kind of unit refuses choices that it does not
    have.

    ==================  =========================================================================
    choice              meaning
    ==================  =========================================================================
    ``no-product``      no register behind the multipliers; in ``TernaryDot``, none behind the
                        weight decoder
    ``no-packed``       ``TernaryDot``: no register in front of the weight decoder
    ``no-sum``          no register between the tree of integer adders and the accumulator
    ``pair-sums``       ``TernaryDot``: sum and difference of each two activations are computed
                        once for all rows, and each row's tree adds one number of each pair
    ``carry-save``      signed integers are added: no signs travel beside the tree, so that
                        synthesis merges the adders between two registers to carry-save adders
    ``array``           multipliers are arrays of AND gates instead of Booth's; not with
                        ``no-product``
    ``early-maximum``   ``FusedDot``: the largest exponent is found in the cycle of the products,
                        so that products and exponents do not wait for it
    ``no-align``        ``FusedDot``: no register behind the alignment
    ``no-normalized``   ``FusedDot``: no register between normalization and rounding
    ``fast-adders``     ``TreeDot``: adders take one cycle instead of two
    ==================  =========================================================================
    """

    NO_PRODUCT = "no-product"
    NO_PACKED = "no-packed"
    NO_SUM = "no-sum"
    PAIR_SUMS = "pair-sums"
    CARRY_SAVE = "carry-save"
    ARRAY = "array"
    EARLY_MAXIMUM = "early-maximum"
    NO_ALIGN = "no-align"
    NO_NORMALIZED = "no-normalized"
    FAST_ADDERS = "fast-adders"


@dataclass(frozen=True, kw_only=True)
class DotConfig:
    """Shape of a dot product, whatever its number formats.

    A unit performs ``lanes × rows`` multiply-accumulates per cycle.

    Parameters
    ----------
    lanes : 2 to 320; products per cycle and row
    k_max : 1 to 65,536; the largest number of products in a dot product
    rows : 1 to 64; dot products side by side that share their activations, see ``DotRows``
    levels_per_stage : 1 to 9; levels of a tree of integer adders between two registers. Trees of
        floating-point adders ignore it.
    target : a ``Target`` or its value, see ``DotProduct`` and ``multiply``
    choices : ``Choice``s or their values, see there; kept in the order of ``Choice``

    Raises
    ------
    TypeError
        If a number is not an integer, or ``target`` or a choice is not a string.
    ValueError
        If a value is not legal, or a choice is given twice.
    """

    lanes: int
    k_max: int
    rows: int = 1
    levels_per_stage: int = 1
    target: Target | str = Target.ASIC
    choices: Collection[Choice | str] = ()

    def __post_init__(self) -> None:
        for name, high in (
            ("lanes", 320),
            ("k_max", 65_536),
            ("rows", 64),
            ("levels_per_stage", 9),
        ):
            low = 2 if name == "lanes" else 1
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low, high))
        object.__setattr__(self, "target", check_choice("target", self.target, Target))
        object.__setattr__(self, "choices", _check_choices(self.choices))

    @property
    def variant(self) -> str:
        """Name of the variant: its choices, such as ``no-sum+array``; empty without any."""
        return "+".join(self.choices)

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


def _check_choices(choices: Collection[Choice | str]) -> tuple[Choice, ...]:
    """Check choices, and bring them into order."""
    found = [check_choice("choices", one, Choice) for one in choices]
    for one in found:
        if found.count(one) > 1:
            raise ValueError(f"choices must be different, not {one.value!r} twice")
    return tuple(one for one in Choice if one in found)
