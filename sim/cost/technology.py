"""Technology files: the energies, memories and prices of a user's own machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps
from math import inf, isfinite
from pathlib import Path
from typing import Any

from ...golden.checks import check_number
from ...golden.input_files import unreadable
from ...golden.templates import render
from ..tools.errors import EstimateError, estimate_errors
from ..tools.records import record
from .datafiles import find, read_toml
from .memories import MEMORIES, Dram, Memory, find_memory
from .profiles import Figure, Profile, find_profile, read_profile

__all__ = ["Price", "Technology", "named_technology", "read_technology", "technology_text"]

#: Largest file in bytes; one with all figures of a cell library has 50 KB.
_LARGEST = 2**22


@dataclass(frozen=True, kw_only=True)
class Price:
    """Prices of a machine and of electricity.

    Parameters
    ----------
    usd_per_machine : price of the machine in USD, above 0; None where it is not known
    usd_per_kwh : price of a kWh in USD, above 0; None where it is not known
    source : where the prices are from

    Raises
    ------
    TypeError
        If a price is not a number.
    EstimateError
        If a price is not legal.
    """

    usd_per_machine: float | None = None
    usd_per_kwh: float | None = None
    source: str

    def __post_init__(self) -> None:
        with estimate_errors():
            for name in ("usd_per_machine", "usd_per_kwh"):
                if getattr(self, name) is not None:
                    check_number(name, getattr(self, name), 1e-6, 1e9)


@dataclass(frozen=True, kw_only=True)
class Technology:
    """Figures that an estimate takes from outside of its model and its design.

    Parameters
    ----------
    profile : energies and areas
    memories : memories by name; all others are those of ``MEMORIES``
    price : prices; None without
    file : the file that has them; None for a profile that is known by name
    """

    profile: Profile
    memories: Mapping[str, Memory] = field(default_factory=dict)
    price: Price | None = None
    file: Path | None = None

    @property
    def default_memory(self) -> str:
        """Name of the first memory of the file; LPDDR5 where it has none."""
        return next(iter(self.memories), "lpddr5")

    def memory(self, name: str | None) -> Memory:
        """Find a memory.

        Parameters
        ----------
        name : its name; None for ``default_memory``

        Raises
        ------
        EstimateError
            If there is no such memory.
        """
        name = name or self.default_memory
        if name in self.memories or not self.memories:
            return self.memories.get(name) or find_memory(name)
        try:
            return find_memory(name)
        except EstimateError:
            return find("memory", name, {**self.memories, **MEMORIES})

    @property
    def text(self) -> str:
        """Name, node and boundary of the energies."""
        file = f" of {self.file}" if self.file else ""
        return f"{self.profile.name}{file}: {self.profile.node}; {self.profile.boundary}"


@dataclass(frozen=True, kw_only=True)
class _Memory:
    """A memory as a file has it."""

    gb_s: float
    pj_per_bit: float | None = None
    on_chip: bool = False
    gb: float = inf
    hbm: bool = False
    boundary: str = "not stated"
    label: str = "published"
    source: str


def named_technology(profile: str) -> Technology:
    """Return the technology of a profile that is known by name.

    Raises
    ------
    EstimateError
        If there is no such profile.
    """
    return Technology(profile=find_profile(profile))


def read_technology(file: Path) -> Technology:
    """Read a technology file, whose keys docs/estimates.md describes.

    Raises
    ------
    EstimateError
        If the file cannot be read, is not TOML, has an unknown key or lacks one, or a value is not
        legal. The message has the file, the key, the rule and the value.
    """
    if message := unreadable(file, "a technology file"):
        raise EstimateError(message)
    if (size := file.stat().st_size) > _LARGEST:
        raise EstimateError(
            f"{file}: must be a technology file of at most {_LARGEST} bytes, not {size}"
        )
    entries = read_toml(file)
    memories, price = entries.pop("memory", {}), entries.pop("price", None)
    for key, value in (("memory", memories), ("price", price or {})):
        if not isinstance(value, dict):
            raise EstimateError(f"{file}: the key {key!r} must be a table, not {value!r}")
    return Technology(
        profile=read_profile(entries, str(file)),
        memories={
            name: _read_memory(name, entry, f"{file}: memory.{name}")
            for name, entry in memories.items()
        },
        price=_made(Price, price, f"{file}: price") if price is not None else None,
        file=file,
    )


def _read_memory(name: str, entry: Any, where: str) -> Memory:
    """Make a memory from its entry."""
    if not isinstance(entry, dict):
        raise EstimateError(f"{where}: must be a table with gb_s and source, not {entry!r}")
    one = record(_Memory, entry, where)
    if one.pj_per_bit is None and not one.on_chip:
        raise EstimateError(
            f"{where}: the key pj_per_bit is missing; add the energy to move a bit, or "
            "on_chip = true if a bit costs as much as one of the largest SRAM"
        )
    if one.pj_per_bit is not None and one.on_chip:
        raise EstimateError(
            f"{where}: on_chip must not be true with pj_per_bit = {one.pj_per_bit!r}; leave one out"
        )
    dram = None
    if one.pj_per_bit is not None:
        values = {"name": name, "pj_per_bit": one.pj_per_bit}
        values |= {"boundary": one.boundary, "label": one.label, "source": one.source}
        dram = _made(Dram, values, where)
    for key, value, low in (("gb_s", one.gb_s, 1e-3), ("gb", one.gb, 1e-6)):
        if value != inf and not low <= value <= 1e6:
            raise EstimateError(f"{where}: {key} must be from {low} to 1e6, not {value!r}")
    return Memory(
        name=name,
        gigabytes_per_second=one.gb_s,
        gigabytes=one.gb,
        dram=dram,
        hbm=one.hbm,
        source=one.source,
    )


def _made(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """Make a checked dataclass from an entry; its errors name the file and the entry."""
    try:
        return record(kind, values, where)
    except EstimateError as error:
        text = str(error)
        raise EstimateError(text if text.startswith(where) else f"{where}: {text}") from None


def _source(memory: Memory) -> str:
    """Return the sources of a memory's bandwidth and of its energy."""
    dram = memory.dram
    if dram is None or dram.source == memory.source:
        return memory.source
    return f"{memory.source}; energy: {dram.source}"


def technology_text(technology: Technology) -> str:
    """Write a technology as the text of a file that ``read_technology`` reads.

    Parameters
    ----------
    technology : figures; every one is written, also those of a profile that it is based on
    """
    profile = technology.profile
    groups: dict[tuple[str, str], dict[str, Figure]] = {}
    for name, figure in profile.figures.items():
        groups.setdefault((figure.source, figure.label), {})[name] = figure
    return render(
        "trilith.sim.cost",
        "technology.toml.jinja",
        profile=profile,
        groups=[
            (source, label, {name: figure.pj for name, figure in figures.items()})
            for (source, label), figures in groups.items()
        ],
        memories=technology.memories,
        price=technology.price,
        source=_source,
        text=lambda value: dumps(value, ensure_ascii=False),
        number=lambda value: repr(value) if isfinite(value) else "inf",
        inf=inf,
    )
