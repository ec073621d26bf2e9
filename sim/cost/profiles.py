"""Energy profiles: figures per operation, published or measured.

Energies are in pJ per operation unless a name says otherwise. Nothing is scaled from one process
node to another: a profile has one node, and refuses a figure that its sources do not have.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

from ..gatelevel.table import Characterization, Table, library_names, load_table
from ..tools.errors import EstimateError
from ..tools.records import record
from .datafiles import DATA, read_data
from .formats import FORMATS, NumberFormat, accumulator_bits

__all__ = [
    "SRAM_KILOBYTES",
    "Figure",
    "MissingFigureError",
    "Profile",
    "find_profile",
    "measured_profile",
    "profile_names",
    "read_profile",
]

_FOLDER = DATA / "technology"
_SRAM_FILE = DATA / "library_sram.toml"

#: Sizes of SRAM, in KB, that the published figures have.
SRAM_KILOBYTES = (8, 32, 1024)


#: Published profiles, each a file of the folder.
_PUBLISHED = ("horowitz45", "jouppi7", "bitnet-paper")

#: Origins of a figure.
_LABELS = ("published", "measured", "modelled")


class MissingFigureError(EstimateError):
    """The sources of a profile do not have a figure."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An energy and its origin.

    Parameters
    ----------
    pj : energy per operation, in pJ
    source : publication, or how it was measured or modelled
    label : ``published``, ``measured`` or ``modelled``
    """

    pj: float
    source: str
    label: str = "published"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Figures of one process node.

    Parameters
    ----------
    name : name of the profile
    node : process node and voltage
    boundary : what the figures leave out
    figures : figures by name, such as ``fp16 mul`` or ``sram 8 KB`` (a read of 64 bits); a measured
        profile has ``… mac`` and ``… register`` of whole units instead of arithmetic
    adder_bits : width that every integer addition is taken to have; None for the accumulator's
    measured : units were measured as a whole, so that the width of their adders is fixed
    areas : areas in µm², of an operation or, by the name of a measured unit, of a MAC
    area_source : where the areas are from
    zeros : by measured unit, pairs of a share of zeros among the weights, ascending, and the energy
        of ``… mac`` over that of the profile
    """

    name: str
    node: str
    boundary: str
    figures: Mapping[str, Figure]
    adder_bits: int | None = None
    measured: bool = False
    areas: Mapping[str, float] = field(default_factory=dict)
    area_source: str = ""
    zeros: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def figure(self, name: str) -> Figure:
        """Return the figure of a name.

        Raises
        ------
        MissingFigureError
            If the profile does not have it.
        """
        if name not in self.figures:
            own = [key for key in self.figures if not key.endswith(" register")]
            raise MissingFigureError(
                f"profile {self.name} has no figure for {name!r}; it has {', '.join(own)}; "
                "add it to a technology file, or choose another profile or number format"
            )
        return self.figures[name]

    def integer_add(self, bits: int) -> Figure:
        """Return the figure of an integer addition.

        A published width has its published figure. Another width is in proportion to the 8-bit
        figure, as adders grow at gate level, within the published figures of the nearest widths.

        Parameters
        ----------
        bits : width of the addition, 1 or more
        """
        exact = self.figures.get(f"int{bits} add")
        if exact is not None:
            return exact
        base = self.figure("int8 add")
        pj = base.pj * bits / 8
        for width in (16, 32):
            other = self.figures.get(f"int{width} add")
            if other is not None:
                pj = min(pj, other.pj) if bits < width else max(pj, other.pj)
        return Figure(pj=pj, source=f"{bits}/8 of the 8-bit add ({base.source})", label="modelled")

    def mac(
        self, number_format: NumberFormat, k: int, adder_bits: int | None = None
    ) -> dict[str, Figure]:
        """Return the figures of one MAC by part.

        The parts are ``multiply`` and ``add``, or those of a measured unit: ``mac``, and
        ``register``, which is the energy inside flip-flops at their clock pins and the charge of
        all pins that no cell drives.

        Parameters
        ----------
        number_format : format of the operands
        k : products in a sum, which sets the accumulator's width
        adder_bits : width of an integer addition; None for the profile's or the accumulator's

        Raises
        ------
        MissingFigureError
            If the profile has no figure for the format.
        EstimateError
            If ``adder_bits`` is given for a measured profile.
        """
        if self.measured and adder_bits is not None:
            raise EstimateError(
                f"adder_bits must not be given with profile {self.name}, not {adder_bits}: its "
                "units were measured with adders as wide as their sums; leave it out, or choose a "
                "published profile"
            )
        if f"{number_format.measured} mac" in self.figures:
            return {
                part: self.figures[f"{number_format.measured} {part}"]
                for part in ("mac", "register")
            }
        parts = {}
        if number_format.multiply is not None:
            parts["multiply"] = self.figure(number_format.multiply)
        if number_format.add is not None:
            parts["add"] = self.figure(number_format.add)
        else:
            width = adder_bits or self.adder_bits or accumulator_bits(number_format, k)
            parts["add"] = self.integer_add(width)
        return parts

    def with_zeros(self, share: float) -> "Profile":
        """Return the profile for weights with another share of zeros.

        The energy is interpolated between measured shares; beyond them it is that of the nearest.

        Parameters
        ----------
        share : zeros among the weights, 0 to 1
        """
        figures = dict(self.figures)
        for unit, pairs in self.zeros.items():
            name = f"{unit} mac"
            factor = pairs[0][1] if share < pairs[0][0] else pairs[-1][1]
            for (low, below), (high, above) in pairwise(pairs):
                if low <= share <= high:
                    factor = below + (above - below) * (share - low) / (high - low)
            figures[name] = Figure(
                pj=figures[name].pj * factor,
                source=f"{figures[name].source}; times {factor:.3f} for {share:.1%} zeros",
                label="modelled",
            )
        return replace(self, figures=figures)

    def mac_pj(self, number_format: NumberFormat, k: int) -> float:
        """Return the energy of one MAC in pJ, all parts together; see ``mac``."""
        return sum(figure.pj for figure in self.mac(number_format, k).values())

    def sram_bit(self, kilobytes: int) -> float:
        """Return the energy to read one bit of an SRAM, in pJ.

        Parameters
        ----------
        kilobytes : one of ``SRAM_KILOBYTES``

        Raises
        ------
        MissingFigureError
            If the profile has no figure for that size.
        """
        return self.figure(f"sram {kilobytes} KB").pj / 64


@dataclass(frozen=True, kw_only=True)
class _Energy:
    """Energies of one source, as a file has them."""

    source: str
    pj: dict[str, Any]
    label: str = "published"


@dataclass(frozen=True, kw_only=True)
class _Area:
    """Areas of one source."""

    source: str
    um2: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Zeros:
    """Energies of a measured unit by the share of zeros among its weights."""

    source: str
    unit: str
    share: list[float]
    factor: list[float]


@dataclass(frozen=True, kw_only=True)
class _Entries:
    """The tables of a profile in a file."""

    name: str
    node: str
    boundary: str
    based_on: str | None = None
    adder_bits: int | None = None
    measured: bool = False
    energy: list[Any] = field(default_factory=list)
    area: list[Any] = field(default_factory=list)
    zeros: list[Any] = field(default_factory=list)


#: Legal names of energies, beside those of the formats.
_NAMES = re.compile(r"int[1-9]\d* (add|mul)|sram [\d.]+ KB|[a-z0-9]+x[a-z0-9_-]+ (mac|register)")


def _known(name: str) -> bool:
    """Tell whether a figure of this name is used."""
    named = any(name in (one.multiply, one.add) for one in FORMATS.values())
    return named or _NAMES.fullmatch(name) is not None


def _checked(values: Mapping[str, Any], what: str, where: str) -> dict[str, float]:
    """Check the names and values of energies or areas."""
    for name, value in values.items():
        if not _known(name) and not (what == "um2" and _known(f"{name} mac")):
            legal = {one.multiply for one in FORMATS.values()} | {
                one.add for one in FORMATS.values()
            }
            raise EstimateError(
                f"{where}: the key {name!r} of {what} is unknown; legal keys are "
                f"{', '.join(sorted(filter(None, legal)))}, int8 add of any width, sram 8 KB, sram "
                "32 KB, sram 1024 KB, and mac and register of a measured unit"
            )
        number = type(value) in (int, float)
        if not number or not 0 <= value <= 1e9:
            raise EstimateError(
                f"{where}: the key {name!r} of {what} must be a number from 0 to 1e9, not {value!r}"
            )
    return dict(values)


def read_profile(values: Mapping[str, Any], where: str) -> Profile:
    """Make a profile from its entries of a file, see docs/estimates.md.

    Parameters
    ----------
    values : the entries
    where : the file, for errors

    Raises
    ------
    EstimateError
        If a key is unknown or missing, or a value is not legal.
    """
    entries = record(_Entries, values, where)
    base = None
    if entries.based_on is not None:
        try:
            base = find_profile(entries.based_on)
        except EstimateError as error:
            raise EstimateError(f"{where}: based_on: {error}") from None
    figures = dict(base.figures) if base else {}
    areas, sources = dict(base.areas) if base else {}, []
    for place, entry in enumerate(entries.energy, 1):
        here = f"{where}: energy {place}"
        group = record(_Energy, entry, here)
        if group.label not in _LABELS:
            raise EstimateError(
                f"{here}: the label must be {', '.join(_LABELS)}, not {group.label!r}"
            )
        for name, pj in _checked(group.pj, "pj", here).items():
            figures[name] = Figure(pj=pj, source=group.source, label=group.label)
    for place, entry in enumerate(entries.area, 1):
        area = record(_Area, entry, f"{where}: area {place}")
        areas |= _checked(area.um2, "um2", f"{where}: area {place}")
        sources.append(area.source)
    if entries.adder_bits is not None and not 1 <= entries.adder_bits <= 64:
        raise EstimateError(f"{where}: adder_bits must be from 1 to 64, not {entries.adder_bits}")
    if not figures:
        raise EstimateError(f"{where}: a table [[energy]] with source and pj is missing; add it")
    return Profile(
        name=entries.name,
        node=entries.node,
        boundary=entries.boundary,
        figures=figures,
        adder_bits=entries.adder_bits or (base.adder_bits if base else None),
        measured=entries.measured or (base is not None and base.measured),
        areas=areas,
        area_source="; ".join(sources) or (base.area_source if base else ""),
        zeros={**(base.zeros if base else {}), **_read_zeros(entries.zeros, figures, where)},
    )


def _read_zeros(
    entries: list[Any], figures: Mapping[str, Figure], where: str
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Read the energies by share of zeros."""
    found = {}
    for place, entry in enumerate(entries, 1):
        here = f"{where}: zeros {place}"
        one = record(_Zeros, entry, here)
        if f"{one.unit} mac" not in figures:
            raise EstimateError(f"{here}: the energy {one.unit + ' mac'!r} is missing; add it")
        shares = one.share
        ascending = all(low < high for low, high in pairwise(shares))
        if not shares or not ascending or not 0 <= shares[0] <= shares[-1] <= 1:
            raise EstimateError(f"{here}: share must ascend from 0 to 1 at most, not {shares}")
        if len(one.factor) != len(shares) or not all(0 <= x <= 1e6 for x in one.factor):
            raise EstimateError(
                f"{here}: factor must have a number from 0 on for each share, not {one.factor}"
            )
        found[one.unit] = tuple(zip(shares, one.factor, strict=True))
    return found


@cache
def _published_profile(name: str) -> Profile:
    """Read a profile of the folder of technology files."""
    file = _FOLDER / f"{name}.toml"
    return read_profile(read_data(file), str(file))


def profile_names() -> list[str]:
    """List the names that ``find_profile`` knows."""
    return [*_PUBLISHED, *(f"gate:{library}" for library in library_names())]


def find_profile(name: str) -> Profile:
    """Find a profile by name.

    Parameters
    ----------
    name : a published profile of ``data/technology``, or ``gate:LIBRARY`` for the units that were
        measured with a cell library

    Raises
    ------
    EstimateError
        If there is no such profile, or its table is damaged.
    """
    if name in _PUBLISHED:
        return _published_profile(name)
    if name not in (known := profile_names()):
        hint = ""
        if name.startswith("gate:"):
            hint = f"; no file sim/gatelevel/data/gate-{name[5:]}.json has measured figures for it"
        raise EstimateError(
            f"the energy profile must be one of {', '.join(known)}, not {name!r}{hint}"
        )
    return measured_profile(load_table(name[5:]))


def _measured_sram(table: Table) -> tuple[dict[str, Figure], str]:
    """Return the figures of a library's memories, and their label."""
    words = [macro for macro in table.sram if macro.bits == 64]
    figures = {
        f"sram {macro.kilobytes:g} KB": Figure(
            pj=macro.read_pj, source=f"read of {macro.name}, its Liberty file", label="measured"
        )
        for macro in words
    }
    largest = max(words, key=lambda macro: macro.words, default=None)
    if largest:
        figures["sram 32 KB"] = Figure(
            pj=largest.read_pj,
            source=f"read of one of {32 / largest.kilobytes:g} banks {largest.name}, its Liberty "
            "file; without selecting the bank",
            label="modelled",
        )
    if table.sram:
        return figures, "measured"
    if table.library not in (others := read_data(_SRAM_FILE)):
        return figures, "none"
    other = record(_Energy, others[table.library], f"{_SRAM_FILE}: {table.library}")
    sources = {name: Figure(pj=pj, source=other.source) for name, pj in other.pj.items()}
    return sources, "published"


def _zero_curve(table: Table, best: Characterization) -> tuple[tuple[float, float], ...]:
    """Return the energy by share of zeros, over that of a unit's best variant.

    The plain variant of the unit was measured with several shares, at the table's common clock.
    """
    rows = [
        row
        for row in table.rows
        if row.operands.startswith("2b4t:") and row == table.row(best.unit, operands=row.operands)
    ]
    rows.sort(key=lambda row: row.zero_weights)
    energies = [row.energy_fj - row.parts_fj["clock"] for row in rows]
    pairs = [*zip((row.zero_weights for row in rows), energies, strict=True)]
    for (low, below), (high, above) in pairwise(pairs):
        if low <= best.zero_weights <= high:
            own = below + (above - below) * (best.zero_weights - low) / (high - low)
            return tuple((share, energy / own) for share, energy in pairs)
    return ()


def measured_profile(table: Table) -> Profile:
    """Make the profile of a library's table.

    Its units have 16 lanes and multiply the operands of the trained network, at the table's common
    clock frequency. Each is the best measured variant. A unit that does not meet that clock has
    the figures of the slowest one.

    Parameters
    ----------
    table : measured units; a library without memories takes published ones of the same node
    """
    figures, areas, zeros = {}, {}, {}
    for unit in dict.fromkeys(row.unit for row in table.rows):
        row = table.best(unit) or table.best(unit, clock_ghz=table.clocks[0])
        if row is None:
            continue
        source = (
            f"{row.unit}, {row.lanes} lanes, {row.levels_per_stage} adder levels per stage, "
            + (f"{row.variant}, " if row.variant else "")
            + f"{table.library} at {row.clock_ghz:g} GHz"
            + (", by an earlier method (docs/energy.md)" if row.stale else "")
        )
        if row.refused:
            source += "; a lower bound, the library's internal energies being incomplete"
        clocked = row.parts_fj["clock"]
        for part, fj in (("mac", row.energy_fj - clocked), ("register", clocked + row.ports_fj)):
            figures[f"{row.unit} {part}"] = Figure(pj=fj / 1e3, source=source, label="measured")
        areas[row.unit] = row.area_per_mac
        if curve := _zero_curve(table, row):
            zeros[row.unit] = curve
    sram, label = _measured_sram(table)
    stale = ""
    if table.stale:
        stale = f"; {table.stale} of {len(table.rows)} units are of an earlier method"
    return Profile(
        name=f"gate:{table.library}",
        node=table.node,
        boundary="cells with decoder, operand and pipeline registers, clock and input pins "
        f"charged, zero-delay activity: no wires, clock tree or glitches; SRAM: {label}{stale}",
        figures=figures | sram,
        measured=True,
        areas=areas,
        area_source=f"cells of the units, as measured for {table.library}",
        zeros=zeros,
    )
