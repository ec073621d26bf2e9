"""Energy of a systolic array, as measured here or published."""

from dataclasses import dataclass

__all__ = ["ArrayEnergy"]


@dataclass(frozen=True, kw_only=True)
class ArrayEnergy:
    """Energy of a systolic array of INT8 with a clock tree and wires, in pJ per MAC.

    Parameters
    ----------
    size : rows and columns of elements
    period_ps : period of the clock in ps
    activity : what changes how often, in transitions per cycle
    sequential_pj, combinational_pj, clock_pj : energy of flip-flops, of other cells, and of the
        clock tree with the pins that it drives; their sum is all of it
    internal_pj, switching_pj, leakage_pj : the same energy by kind
    cells, flip_flops, clock_buffers : numbers of them
    area_um2 : area of the cells in µm²; None if it is not published
    wire_um, clock_wire_um : length of all wires, and of the clock's, in µm
    max_ghz : clock that the worst path allows, in GHz; None if it is not published
    source : where published figures come from
    label : origin of the figures
    """

    size: int
    period_ps: float
    activity: str
    sequential_pj: float
    combinational_pj: float
    clock_pj: float
    internal_pj: float
    switching_pj: float
    leakage_pj: float
    cells: int
    flip_flops: int
    clock_buffers: int
    area_um2: float | None
    wire_um: float
    clock_wire_um: float
    max_ghz: float | None
    source: str
    label: str

    @property
    def energy_pj(self) -> float:
        """All of the energy, in pJ per MAC."""
        return self.sequential_pj + self.combinational_pj + self.clock_pj
