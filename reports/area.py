"""Tables of area: the units that they show, and the bars that the design must reach."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from ..fpga.flow.area import AreaRow, Unit, measure
from ..fpga.flow.core_area import WHOLE, CoreRow
from ..golden.codes import CODES
from ..hw.config import PRESETS, MatVecConfig
from ..hw.token.config import CORE_PRESETS, TokenConfig
from ..sim.cost.datafiles import read_data

__all__ = [
    "AREA_BARS",
    "CORE_BAR",
    "Bar",
    "CoreBar",
    "core_config",
    "print_bars",
    "quick_units",
    "stored_core",
    "sweep_units",
]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An area that a unit must not exceed.

    Parameters
    ----------
    unit : the unit
    most : most look-up tables per ``per``
    per : ``lane``, ``MAC``, ``five trits`` or ``four trits``
    least_mhz : None, or the least frequency after routing in MHz
    most_blocks : None, or most blocks of logic per MAC, such as CLBs
    """

    unit: Unit
    most: float
    per: str
    least_mhz: float | None = None
    most_blocks: float | None = None

    def value(self, row: AreaRow) -> float:
        """Look-up tables of a row, per ``per``."""
        return row.lut if self.per.endswith("trits") else row.per_mac

    def met(self, row: AreaRow) -> bool:
        """Whether a row reaches the bar, without multipliers."""
        fast = self.least_mhz is None or (row.mhz is not None and row.mhz >= self.least_mhz)
        small = self.most_blocks is None or row.blocks_per_mac <= self.most_blocks
        return self.value(row) <= self.most and small and fast and row.dsp == 0


def _config(lanes: int, rows: int, tokens: int, **others: Any) -> MatVecConfig:
    """A configuration for matrices of up to 6912 x 6912."""
    return MatVecConfig(lanes=lanes, rows=rows, tokens=tokens, k_max=6912, n_max=6912, **others)


def _bar(entry: dict[str, Any]) -> Bar:
    """Make a bar of an entry of the data file."""
    rest = {key: value for key, value in entry.items() if key not in ("shape", "source")}
    bar = {key: rest.pop(key) for key in ("most", "per", "least_mhz", "most_blocks") if key in rest}
    shaped = {key: rest.pop(key) for key in ("code", "levels_per_stage", "target") if key in rest}
    return Bar(unit=Unit(config=_config(*entry["shape"], **shaped), **rest), **bar)


@dataclass(frozen=True, kw_only=True)
class CoreBar:
    """Bars of the token core after routing.

    Parameters
    ----------
    preset : key of ``CORE_PRESETS``
    family : family of FPGAs
    most_logic : most logic cells
    most_multipliers : most multiplier blocks
    least_mhz : least frequency in MHz
    source : where the bar is set
    """

    preset: str
    family: str
    most_logic: int
    most_multipliers: int
    least_mhz: float
    source: str

    def met(self, row: CoreRow) -> bool:
        """Whether the row of a whole core reaches the bar."""
        return (
            row.lut <= self.most_logic
            and row.dsp <= self.most_multipliers
            and row.mhz is not None
            and row.mhz >= self.least_mhz
        )


_BARS = read_data(Path(__file__).with_name("area_bars.toml"))

#: Bars of the engine and its parts, and the bar of the token core, from ``area_bars.toml``.
AREA_BARS = tuple(map(_bar, _BARS["bar"]))
CORE_BAR = CoreBar(**_BARS["core"])

_STORED_CORE = Path(__file__).parent.parent / "fpga" / "data" / "token-core.json"


def core_config(family: str) -> TokenConfig:
    """Configuration of the token core that is measured in a family of FPGAs."""
    return CORE_PRESETS[CORE_BAR.preset if family == CORE_BAR.family else "pydoc"]


def stored_core() -> list[CoreRow]:
    """Rows of the core that are stored with this package: ``trilith report area --core --json``."""
    rows = json.loads(_STORED_CORE.read_text())["core"]
    # Blocks follow from the other columns.
    return [CoreRow(**{k: v for k, v in row.items() if k != "blocks"}) for row in rows]


def quick_units() -> Iterator[Unit]:
    """Yield the units of the bars, and small engines after routing."""
    yield from (bar.unit for bar in AREA_BARS)
    micro = _config(8, 1, 1, code="escape")
    for family in ("ecp5", "ice40"):
        yield Unit(kind="engine", config=micro, family=family, route=True)
    for name in ("line", "compact"):
        yield Unit(kind="engine", config=PRESETS[name], family="ecp5", route=True)


def sweep_units(family: str) -> Iterator[Unit]:
    """Yield every engine of the sweep, small ones first.

    Parameters
    ----------
    family : ``xcup``, ``ecp5`` or ``ice40``
    """
    shapes = sorted(product((8, 40, 64, 80, 160, 320), (1, 5, 20), (1, 4)), key=prod)
    for (lanes, rows, tokens), act_bits, code in product(shapes, (8, 4, 2), CODES):
        yield Unit(
            kind="engine",
            config=_config(lanes, rows, tokens, code=code, act_bits=act_bits),
            family=family,
        )


def print_bars() -> None:
    """Print each bar and whether it is met, but for the units that must be routed.

    Placing and routing a large engine takes the better part of an hour: ``trilith report area``.
    """
    print("Area (LUT6 and flip-flops of xcup), no DSP allowed")
    for bar in AREA_BARS:
        if bar.unit.route:
            print(f"  {bar.unit.name}: not measured here, but by trilith report area --family ecp5")
            continue
        row = measure(bar.unit)
        shape = f"{row.lanes}x{row.rows}x{row.tokens}"
        print(
            f"  {row.unit:<8} {shape:<8} {row.code:<8} {row.family:<5} {row.lut:>6} LUT "
            f"{row.ff:>6} FF: {bar.value(row):6.2f} LUT per {bar.per} (at most {bar.most})"
            + (
                f", {row.blocks_per_mac:.2f} blocks per MAC (at most {bar.most_blocks:g})"
                if bar.most_blocks
                else ""
            )
            + f": {'met' if bar.met(row) else 'missed'}"
            + (f" ({row.target}, {row.levels_per_stage} levels)" if row.target != "fpga" else ""),
            flush=True,
        )
    (whole,) = (row for row in stored_core() if (row.part, row.family) == (WHOLE, CORE_BAR.family))
    print(
        f"  token core {CORE_BAR.family}: {whole.lut:,} logic cells (at most "
        f"{CORE_BAR.most_logic:,}), {whole.dsp} multipliers (at most {CORE_BAR.most_multipliers}), "
        f"{whole.mhz:.1f} MHz (at least {CORE_BAR.least_mhz:g}): "
        f"{'met' if CORE_BAR.met(whole) else 'missed'}, when trilith report area --core was stored"
    )
