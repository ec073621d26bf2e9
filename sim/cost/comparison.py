"""Designs of other number formats that are equal to a given one in area, power, or another way."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from math import inf

from ..tools.errors import EstimateError
from .datafiles import DATA, read_data
from .designs import Design
from .formats import NumberFormat, accumulator_bits, find_format
from .profiles import Profile, find_profile

__all__ = ["Equal", "mac_area", "rival"]

_AREAS = read_data(DATA / "areas.toml")["arithmetic"]


class Equal(StrEnum):
    """Quantity that two compared designs have in common."""

    MACS = "macs"
    AREA = "area"
    BANDWIDTH = "bandwidth"
    POWER = "power"

    def meaning(self, profile: Profile) -> str:
        """Say what the quantity is, with the source of its figures.

        Parameters
        ----------
        profile : the figures
        """
        areas = profile.area_source if profile.areas else _AREAS["source"]
        return {
            Equal.MACS: "as many MACs per cycle",
            Equal.AREA: f"arithmetic of the same area ({areas})",
            Equal.BANDWIDTH: "the same memory, and arithmetic that is never the bound, on both "
            "sides",
            Equal.POWER: "the same power of arithmetic at full rate, by the energy profile",
        }[self]


def mac_area(number_format: NumberFormat, k: int, profile: Profile | None = None) -> float:
    """Return the area of one MAC in µm².

    Parameters
    ----------
    number_format : format of the operands
    k : products in a sum; an integer adder's area is in proportion to the accumulator's width
    profile : a profile with measured areas; without it, published arithmetic at 45 nm counts

    Raises
    ------
    EstimateError
        If there is no area for the format.
    """
    areas, where = _AREAS["um2"], _AREAS["node"]
    if profile is not None and profile.areas:
        areas, where = profile.areas, f"profile {profile.name}"
        if profile.measured:
            return _area(number_format.measured, areas, where)
    units = [name for name in (number_format.multiply, number_format.add) if name is not None]
    area = sum((_area(name, areas, where) for name in units), 0.0)
    if number_format.add is None:
        area += _area("int8 add", areas, where) * accumulator_bits(number_format, k) / 8
    return area


def _area(unit: str, areas: Mapping[str, float], where: str) -> float:
    """Return a unit's area, or refuse."""
    if unit not in areas:
        raise EstimateError(
            f"equal area needs the area of {unit!r}, which is unknown for {where}; known are "
            f"{', '.join(areas)}"
        )
    return areas[unit]


def rival(
    design: Design, number_format: str, *, mode: str, k: int, profile: Profile | None = None
) -> tuple[Design, Design]:
    """Make a design of another number format that is equal to a given one.

    The rival's arithmetic is fully used, has the same clock, and shares reads and passes alike. Its
    head, cache and attention are in its own format, see ``NumberFormat``.

    Parameters
    ----------
    design : the given design
    number_format : the rival's, a key of ``FORMATS``
    mode : a value of ``Equal``
    k : products in a sum, which sets the width of integer adders
    profile : figures for equal power, by default ``jouppi7``; for equal area if it has areas

    Returns
    -------
    The design and its rival; for equal bandwidth the first differs from ``design``.

    Raises
    ------
    EstimateError
        If a name is unknown, or no figure is known for the common quantity.
    """
    if mode not in [*Equal]:
        raise EstimateError(f"equal must be one of {', '.join(Equal)}, not {mode!r}")
    ours, theirs = design.number_format, find_format(number_format)
    macs = design.full_rate
    if mode == Equal.AREA:
        macs *= mac_area(ours, k, profile) / mac_area(theirs, k, profile)
    elif mode == Equal.POWER:
        figures = profile or find_profile("jouppi7")
        macs *= figures.mac_pj(ours, k) / figures.mac_pj(theirs, k)
    elif mode == Equal.BANDWIDTH:
        macs = inf
        design = _without_engine(design, ours.name)
    return design, replace(
        _without_engine(design, number_format),
        name=f"{number_format}, equal {mode}",
        macs_per_cycle=macs,
        head_format=theirs.head or number_format,
        stored_head=None,
        kv_bits=theirs.act_bits,
        attention_format=theirs.attention or design.attention_format,
        source="modelled",
    )


def _without_engine(design: Design, weight_format: str) -> Design:
    """Make a design with the same buffers and passes whose arithmetic is never the bound.

    Parameters
    ----------
    design : the design to follow
    weight_format : number format of the linear layers
    """
    processor = design.processor and replace(design.processor, kernel=None)
    return replace(
        design,
        config=None,
        processor=processor,
        weight_format=weight_format,
        engines=1,
        macs_per_cycle=inf,
        pass_tokens=design.shared_tokens,
        rows=design.shared_rows,
        sram_kilobytes=design.buffer_kilobytes,
    )
