"""Systolic cells as measurements make them."""

from dataclasses import replace

from trilith.sim.gatelevel.systolic_energy import SystolicEnergy
from trilith.sim.gatelevel.table import METHOD


def made_systolic(name, energy=40.0, **changes):
    """Make a cell with an energy, and with changes of other fields."""
    some = SystolicEnergy(
        format=name,
        size=4,
        sum_bits=21,
        sum_cycles=1,
        tiles=27,
        vectors=64,
        clock_ghz=0.5,
        met=True,
        max_ghz=1.5,
        energy_fj=energy,
        internal_fj=energy - 3,
        switching_fj=2.0,
        leakage_fj=1.0,
        ports_fj=10.0,
        opensta_internal_fj=30.0,
        refused=0.0,
        parts_fj={"clock": energy},
        area=320.0,
        cells=2000,
        flip_flops=496,
        results=6880,
        zero_weights=0.3,
        zero_activations=0.5,
        provenance={"files": [], "method": METHOD},
    )
    return replace(some, **changes)
