"""Tables of area: the units that they show, and the bars that the design must reach."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from ..fpga.flow.area import AreaRow, Unit, measure
from ..golden.codes import CODES
from ..hw.config import MatVecConfig

__all__ = ["AREA_BARS", "Bar", "print_bars", "quick_units", "sweep_units"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An area that a unit must not exceed.

    Parameters
    ----------
    unit : the unit
    most : most look-up tables per ``per``
    per : ``lane``, ``MAC`` or ``five trits``
    least_mhz : None, or the least frequency after routing in MHz
    """

    unit: Unit
    most: float
    per: str
    least_mhz: float | None = None

    def value(self, row: AreaRow) -> float:
        """Look-up tables of a row, per ``per``."""
        return row.lut if self.per == "five trits" else row.per_mac

    def met(self, row: AreaRow) -> bool:
        """Whether a row reaches the bar, without multipliers."""
        fast = self.least_mhz is None or (row.mhz is not None and row.mhz >= self.least_mhz)
        return self.value(row) <= self.most and fast and row.dsp == 0


def _config(lanes: int, rows: int, tokens: int, code: str, act_bits: int = 8) -> MatVecConfig:
    """A configuration for matrices of up to 6912 x 6912."""
    return MatVecConfig(
        lanes=lanes,
        rows=rows,
        tokens=tokens,
        act_bits=act_bits,
        code=code,
        k_max=6912,
        n_max=6912,
    )


_LINE = _config(80, 1, 1, "escape")
_LINE_BASE3 = _config(80, 1, 1, "base3")

#: Bars of the design.
AREA_BARS = (
    Bar(
        unit=Unit(kind="dot", config=_config(80, 1, 1, "two_bit")),
        most=10.5,
        per="lane",
    ),
    Bar(unit=Unit(kind="decoder", config=_LINE_BASE3), most=30, per="five trits"),
    Bar(unit=Unit(kind="decoder", config=_LINE), most=22, per="five trits"),
    Bar(unit=Unit(kind="engine", config=_LINE), most=16, per="lane"),
    Bar(unit=Unit(kind="engine", config=_LINE_BASE3), most=18, per="lane"),
    Bar(unit=Unit(kind="engine", config=_config(64, 20, 1, "escape")), most=15, per="MAC"),
    Bar(
        unit=Unit(kind="engine", config=_config(64, 5, 4, "escape"), family="ecp5", route=True),
        most=30,
        per="MAC",
        least_mhz=100,
    ),
    Bar(
        unit=Unit(kind="engine", config=_config(64, 5, 4, "base3"), family="ecp5", route=True),
        most=30,
        per="MAC",
    ),
)


def quick_units() -> Iterator[Unit]:
    """Yield the units of the bars, and small engines after routing."""
    yield from (bar.unit for bar in AREA_BARS)
    micro = _config(8, 1, 1, "escape")
    for family in ("ecp5", "ice40"):
        yield Unit(kind="engine", config=micro, family=family, route=True)


def sweep_units(family: str) -> Iterator[Unit]:
    """Yield every engine of the sweep, small ones first.

    Parameters
    ----------
    family : ``xcup``, ``ecp5`` or ``ice40``
    """
    shapes = sorted(product((8, 40, 64, 80, 160, 320), (1, 5, 20), (1, 4)), key=_macs)
    for (lanes, rows, tokens), act_bits, code in product(shapes, (8, 4, 2), CODES):
        yield Unit(
            kind="engine", config=_config(lanes, rows, tokens, code, act_bits), family=family
        )


def _macs(shape: tuple[int, int, int]) -> int:
    """MACs per cycle of lanes, rows and tokens."""
    lanes, rows, tokens = shape
    return lanes * rows * tokens


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
            f"{row.ff:>6} FF: {bar.value(row):6.2f} LUT per {bar.per} (at most {bar.most}): "
            f"{'met' if bar.met(row) else 'missed'}",
            flush=True,
        )
