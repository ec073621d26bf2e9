"""Number formats, and energy profiles: figures per operation, published or measured.

Energies are in pJ per operation unless a name says otherwise. Nothing is scaled from one process
node to another: a profile has one node, and refuses a figure that its sources do not have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ...hw.config import MatVecConfig
from ..gatelevel.table import Table, library_names, load_table
from ..tools.errors import EstimateError
from ..tools.records import record
from .datafiles import DATA, find, read_data

__all__ = [
    "FORMATS",
    "SRAM_KILOBYTES",
    "Figure",
    "MissingFigureError",
    "NumberFormat",
    "Profile",
    "accumulator_bits",
    "engine_format",
    "find_format",
    "find_profile",
    "measured_profile",
]

_PROFILES_FILE = DATA / "profiles.toml"
_FORMATS_FILE = DATA / "formats.toml"

#: Sizes of SRAM, in KB, that the published figures have.
SRAM_KILOBYTES = (8, 32, 1024)


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
class NumberFormat:
    """Storage of weights and activations, and the arithmetic of their products.

    Parameters
    ----------
    name : name of the format
    weight_bits, act_bits : stored bits of a weight (without scales) and of an activation
    multiply : name of the multiplication's figure; None where nothing multiplies
    add : name of the addition's figure; None for an integer as wide as the accumulator
    product_bits : bits of an integer product, from which the accumulator grows; 0 with ``add``
    measured : unit of the gate-level tables that computes in this format
    codes : weight codes (``trilith.golden.codes``) that store a weight in ``weight_bits``
    stored : types of safetensors and GGUF that hold such numbers
    source : definition of the format
    """

    name: str
    weight_bits: float
    act_bits: int
    multiply: str | None = None
    add: str | None = None
    product_bits: int = 0
    measured: str
    codes: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    source: str


#: Number formats by name, from ``data/formats.toml``.
FORMATS: dict[str, NumberFormat] = {
    name: record(
        NumberFormat,
        {"name": name} | {key: tuple(x) if type(x) is list else x for key, x in entry.items()},
        f"{_FORMATS_FILE}: {name}",
    )
    for name, entry in read_data(_FORMATS_FILE).items()
}


def find_format(name: str) -> NumberFormat:
    """Find a number format by name.

    Raises
    ------
    EstimateError
        If there is no such format.
    """
    return find("number format", name, FORMATS)


def engine_format(config: MatVecConfig) -> NumberFormat:
    """Return the number format of an engine: its weight code sets the bits of a weight.

    Parameters
    ----------
    config : the engine; ``act_bits`` sets the bits of an activation and of a product

    Raises
    ------
    EstimateError
        If no format has the engine's weight code.
    """
    for one in FORMATS.values():
        if config.code in one.codes:
            break
    else:
        raise EstimateError(f"{_FORMATS_FILE}: no format has the weight code {config.code!r}")
    if config.act_bits == one.act_bits:
        return one
    # Ternary activations are -1, 0 and 1: a product has one bit beside its sign.
    ternary = config.act_bits == 2
    unit = "ternary" if ternary else f"int{config.act_bits}"
    return replace(
        one,
        act_bits=config.act_bits,
        product_bits=1 if ternary else config.act_bits,
        measured=one.measured.replace("int8", unit),
    )


def accumulator_bits(number_format: NumberFormat, k: int) -> int:
    """Return the bits that hold a sum of integer products exactly.

    Parameters
    ----------
    number_format : format with integer products
    k : products in the sum; 20 bits for 8-bit activations and K = 2560
    """
    return (k << (number_format.product_bits - 1)).bit_length() + 1


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
    areas : areas of measured units, in µm² per MAC
    """

    name: str
    node: str
    boundary: str
    figures: Mapping[str, Figure]
    adder_bits: int | None = None
    measured: bool = False
    areas: Mapping[str, float] = field(default_factory=dict)

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
                f"profile {self.name} has no figure for {name!r}; it has {', '.join(own)}"
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
class _Figures:
    """Figures of one source, as the data file has them."""

    source: str
    pj: dict[str, float]


def _figures(entries: Iterable[Mapping[str, Any]], where: str) -> dict[str, Figure]:
    """Make the figures of some sources from their entries of the data file."""
    groups = [record(_Figures, entry, where) for entry in entries]
    return {
        name: Figure(pj=pj, source=group.source)
        for group in groups
        for name, pj in group.pj.items()
    }


@cache
def _published_profiles() -> dict[str, Profile]:
    """Read the published profiles of the data file, by name."""
    found: dict[str, Profile] = {}
    for name, values in read_data(_PROFILES_FILE)["profile"].items():
        where = f"{_PROFILES_FILE}: {name}"
        entry = {"name": name, "figures": [], **values}
        own = _figures(entry["figures"], where)
        other = entry.pop("figures_of", None)
        entry["figures"] = found[other].figures if other else own
        found[name] = record(Profile, entry, where)
    return found


def find_profile(name: str) -> Profile:
    """Find a profile by name.

    Parameters
    ----------
    name : a published profile of ``data/profiles.toml``, or ``gate:LIBRARY`` for the units that
        were measured with a cell library

    Raises
    ------
    EstimateError
        If there is no such profile, or its table is damaged.
    """
    published = _published_profiles()
    if name in published:
        return published[name]
    known = [*published, *(f"gate:{library}" for library in library_names())]
    if name not in known:
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
    other = read_data(_PROFILES_FILE)["library_sram"].get(table.library)
    if other is None:
        return figures, "none"
    return _figures([other], f"{_PROFILES_FILE}: {table.library}"), "published"


def measured_profile(table: Table) -> Profile:
    """Make the profile of a library's table.

    Its units have 16 lanes and multiply the operands of the trained network, at the table's common
    clock frequency. Each is the best measured variant. A unit that does not meet that clock has
    the figures of the slowest one.

    Parameters
    ----------
    table : measured units; a library without memories takes published ones of the same node
    """
    figures, areas = {}, {}
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
    )
