"""Energy of a cell of a systolic array, as measured, and the formats that have one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tools.errors import EstimateError
from .rivals import RIVALS

__all__ = ["SYSTOLIC_FORMATS", "TERNARY_SYSTOLIC", "SystolicEnergy", "check_systolic"]

#: The cell of ternary weights. A weight takes two bits in it whatever its code: a decoder stands
#: outside the array.
TERNARY_SYSTOLIC = "ternary two_bit"

#: Formats of the comparison that have a cell, keys of ``RIVALS``. All floating-point cells add in
#: FP32.
SYSTOLIC_FORMATS = tuple(
    name
    for name in RIVALS
    if name == TERNARY_SYSTOLIC or (not name.startswith("ternary") and name != "FP16 to FP16")
)


@dataclass(frozen=True, kw_only=True)
class SystolicEnergy:
    """Cell of an array with stationary weights; energies in fJ per MAC, each cell always busy.

    Parameters
    ----------
    format : one of ``SYSTOLIC_FORMATS``
    size : rows and columns of the array
    sum_bits, sum_cycles : bits of a partial sum, and cycles of its addition, see ``SystolicArray``
    tiles, vectors : tiles of weights that were used, and vectors of activations for each
    clock_ghz, met, max_ghz, energy_fj, internal_fj, switching_fj, leakage_fj, ports_fj : see
        ``Characterization``
    opensta_internal_fj, refused, parts_fj, area, cells, flip_flops : see ``Characterization``;
        area and numbers are those of the whole array
    results : sums of columns that were compared with the golden model; all matched
    zero_weights, zero_activations : shares of zeros
    provenance : see ``Characterization``
    label : origin of the figures
    """

    format: str
    size: int
    sum_bits: int
    sum_cycles: int
    tiles: int
    vectors: int
    clock_ghz: float
    met: bool
    max_ghz: float
    energy_fj: float
    internal_fj: float
    switching_fj: float
    leakage_fj: float
    ports_fj: float
    opensta_internal_fj: float
    refused: float
    parts_fj: dict[str, float]
    area: float
    cells: int
    flip_flops: int
    results: int
    zero_weights: float
    zero_activations: float
    provenance: dict[str, Any]
    label: str = "measured"

    @property
    def with_ports_fj(self) -> float:
        """The energy plus the charge of the pins that ports drive, in fJ per MAC."""
        return self.energy_fj + self.ports_fj

    @property
    def flip_flops_per_mac(self) -> float:
        """Flip-flops of a cell of the array."""
        return self.flip_flops / self.size**2

    @property
    def area_per_mac(self) -> float:
        """Area of a cell of the array in the library's unit, mostly µm²."""
        return self.area / self.size**2


def check_systolic(cells: tuple[SystolicEnergy, ...], file: Path) -> tuple[SystolicEnergy, ...]:
    """Refuse stored cells that cannot be compared.

    Parameters
    ----------
    cells : the cells
    file : the table that has them, for errors

    Raises
    ------
    EstimateError
        If a format has no cell, or two; or a size or an energy is not positive.
    """
    formats = [cell.format for cell in cells]
    for place, cell in enumerate(cells):
        where = f"{file}: systolic: {place}"
        if cell.format not in SYSTOLIC_FORMATS:
            legal = ", ".join(SYSTOLIC_FORMATS)
            raise EstimateError(
                f"{where}: the key 'format' must be one of {legal}, not {cell.format!r}"
            )
        if cell.format in formats[:place]:
            raise EstimateError(f"{where}: {cell.format!r} must be there once; it is there before")
        if cell.size < 1 or cell.energy_fj <= 0 or cell.ports_fj < 0:
            raise EstimateError(
                f"{where}: size and energy_fj must be above 0, and ports_fj 0 or more; measure it "
                "again"
            )
    return cells
