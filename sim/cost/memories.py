"""Memories of weights and of the key-value cache: bandwidth, energy, and the share that is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from ...golden.checks import check_number
from ..tools.errors import estimate_errors
from ..tools.records import record
from .datafiles import DATA, find, read_data

__all__ = [
    "DRAM",
    "EFFICIENCY",
    "MEMORIES",
    "Dram",
    "Efficiency",
    "Memory",
    "find_dram",
    "find_memory",
]

_FILE = DATA / "memories.toml"


@dataclass(frozen=True, kw_only=True)
class Dram:
    """Energy to move a bit out of an off-chip memory.

    Parameters
    ----------
    name : kind of memory
    pj_per_bit : energy in pJ, 0 or more
    boundary : what the figure covers; this alone explains a threefold spread
    source : publication
    label : ``published``, ``measured``, ``modelled``, or ``given`` by an option

    Raises
    ------
    TypeError
        If the energy is not a number.
    EstimateError
        If it is negative or infinite.
    """

    name: str
    pj_per_bit: float
    boundary: str
    source: str
    label: str = "published"

    def __post_init__(self) -> None:
        with estimate_errors():
            check_number("pj_per_bit", self.pj_per_bit, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory that weights and the key-value cache are read from.

    Parameters
    ----------
    name : name of the memory
    gigabytes_per_second : bandwidth at its pins, in 10⁹ bytes per second, from 0.001 to 1,000,000;
        infinite on chip
    gigabytes : capacity in 10⁹ bytes, from 0.000001 to 1,000,000; infinite where it is not limited
    dram : its energy; None where a bit costs as much as one of the largest SRAM
    hbm : readers in the fabric sustain the share of ``fabric-hbm``
    alias : a short name
    source : where the bandwidth is from

    Raises
    ------
    TypeError
        If a number is of the wrong kind.
    EstimateError
        If a number is not legal.
    """

    name: str
    gigabytes_per_second: float
    gigabytes: float = inf
    dram: Dram | None = None
    hbm: bool = False
    alias: str | None = None
    source: str

    def __post_init__(self) -> None:
        with estimate_errors():
            for name, low in (("gigabytes_per_second", 1e-3), ("gigabytes", 1e-6)):
                if getattr(self, name) != inf:
                    check_number(name, getattr(self, name), low, 1e6)


class Efficiency(NamedTuple):
    """Share of the bandwidth at the pins that a kind of reader sustains."""

    share: float
    source: str


#: Off-chip memories by name, from ``data/memories.toml``.
DRAM: dict[str, Dram] = {
    name: record(Dram, {"name": name, **values}, f"{_FILE}: dram.{name}")
    for name, values in read_data(_FILE)["dram"].items()
}


def _memory(name: str, entry: Mapping[str, Any]) -> Memory:
    """Make a memory from its entry of the data file, which names its energy."""
    values = {"name": name, **entry}
    if "dram" in values:
        values["dram"] = find_dram(values["dram"])
    return record(Memory, values, f"{_FILE}: memory.{name}")


def find_dram(name: str) -> Dram:
    """Find the energy of an off-chip memory by name.

    Raises
    ------
    EstimateError
        If there is no such memory.
    """
    return find("kind of DRAM", name, DRAM)


#: Memories by name, from ``data/memories.toml``.
MEMORIES: dict[str, Memory] = {
    name: _memory(name, entry) for name, entry in read_data(_FILE)["memory"].items()
}

#: Sustained share of the bandwidth by kind of reader, from ``data/memories.toml``. Each is measured
#: on a system that is not among the published ones that estimates are compared with.
EFFICIENCY: dict[str, Efficiency] = {
    name: Efficiency(**values) for name, values in read_data(_FILE)["reader"].items()
}

_ALIASES = {memory.alias: memory for memory in MEMORIES.values() if memory.alias}


def find_memory(name: str) -> Memory:
    """Find a memory by name or short name.

    Raises
    ------
    EstimateError
        If there is no such memory.
    """
    return find("memory", name, MEMORIES | _ALIASES)
