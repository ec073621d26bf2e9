"""Token cores as designs: their widths, clock frequencies and ports."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self

from ...hw.token.config import CORE_PRESETS, TokenConfig
from ..tools.errors import estimate_errors
from ..tools.records import record
from .datafiles import DATA, find, read_data
from .designs import Design, own_design
from .memories import Memory
from .system import bandwidth

__all__ = ["CORE_DESIGNS", "CoreDesign", "PublishedToken"]

_FILE = DATA / "designs.toml"


@dataclass(frozen=True, kw_only=True)
class PublishedToken:
    """Rate that others measured on a system of the same memory.

    Parameters
    ----------
    rate : tokens per second
    context : tokens that the last token attends to
    conditions : how the system differs from the core
    source : publication
    """

    rate: float
    context: int
    conditions: str
    source: str


@dataclass(frozen=True, kw_only=True)
class CoreDesign:
    """A token core, and its speed.

    Parameters
    ----------
    name : name of the design
    config : configuration of the core
    clock_mhz : clock frequency, from 0.001 to 100,000 MHz
    port_gigabytes_per_second : most that its ports get from memory together, in 10⁹ bytes per
        second
    published : rates that others measured with such a memory
    source : where the widths, the clock and the ports are from

    Raises
    ------
    EstimateError
        If a number is not legal.
    """

    name: str
    config: TokenConfig
    clock_mhz: float
    port_gigabytes_per_second: float = inf
    published: tuple[PublishedToken, ...] = ()
    source: str

    def __post_init__(self) -> None:
        _ = self.design

    @property
    def design(self) -> Design:
        """The design of its engine, with a head, a cache and an attention of int8."""
        design = own_design(self.name, self.config.engine, self.clock_mhz)
        return replace(design, attention_format="int8")

    def with_widths(self, core: Mapping[str, Any], engine: Mapping[str, Any]) -> Self:
        """Return a core of other widths.

        Parameters
        ----------
        core, engine : fields of ``TokenConfig`` and of ``MatVecConfig``

        Raises
        ------
        EstimateError
            If a width is not legal.
        """
        with estimate_errors():
            changed = replace(self.config.engine, **engine)
            return replace(self, config=replace(self.config, **core, engine=changed))

    def bandwidth(self, memory: Memory) -> float:
        """Return the bytes per second that the core gets from the memory."""
        return min(bandwidth(self.design, memory), self.port_gigabytes_per_second * 1e9)


def _core_design(name: str, entry: Mapping[str, Any]) -> CoreDesign:
    """Make a design from its entry of the data file."""
    values, where = {"name": name, **entry}, f"{_FILE}: core.{name}"
    values["config"] = find("preset of a token core", values.pop("preset"), CORE_PRESETS)
    values["published"] = tuple(
        record(PublishedToken, one, f"{where}.published") for one in values.get("published", ())
    )
    return record(CoreDesign, values, where)


#: Token cores by name, from ``data/designs.toml``.
CORE_DESIGNS: dict[str, CoreDesign] = {
    name: _core_design(name, entry) for name, entry in read_data(_FILE)["core"].items()
}
