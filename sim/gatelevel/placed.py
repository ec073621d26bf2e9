"""Energy and speed of placed units: with wires and a clock tree, before routing."""

from dataclasses import dataclass

from .clock_tree import ClockTree, grow_clock_tree
from .netlist import Activity, Net, Netlist
from .placement import Placement, place, placer_version
from .power import measure_power
from .table import Placed
from .wires import steiner_length, wire_technology

__all__ = ["Layout", "check_layout", "lay_out", "measure_placed"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A placed netlist.

    Parameters
    ----------
    netlist : with wires and clock tree
    placement : places of the cells, without those of the clock tree
    tree : the clock tree
    lengths : length of the wire of each signal net in µm
    """

    netlist: Netlist
    placement: Placement
    tree: ClockTree
    lengths: dict[Net, float]


def check_layout(library: str) -> None:
    """Check that units of a library can be placed, before the work begins.

    Parameters
    ----------
    library : name of the library, see ``wire_technology``

    Raises
    ------
    EstimateError
        If the wires of the library are not known.
    ToolchainError
        If Coloquinte is missing.
    """
    wire_technology(library)
    placer_version()


def lay_out(netlist: Netlist, library: str) -> Layout:
    """Place a netlist, estimate its wires, and grow its clock tree.

    Parameters
    ----------
    netlist : the netlist, without wires
    library : name of the library, see ``wire_technology``

    Returns
    -------
    The layout

    Raises
    ------
    EstimateError
        If the wires of the library are not known, or it lacks areas or the clock buffer.
    ToolchainError
        If Coloquinte is missing or fails.
    """
    technology = wire_technology(library)
    placement = place(netlist, technology.row_height_um)
    tree = grow_clock_tree(netlist, placement, technology)
    lengths = {net: steiner_length(pins) for net, pins in placement.pins(netlist).items()}
    unit = netlist.library.corner.farads * 1e15
    wires = {net: length * technology.signal_ff_per_um / unit for net, length in lengths.items()}
    wires |= {
        net: length * technology.clock_ff_per_um / unit for net, length in tree.lengths.items()
    }
    return Layout(
        netlist=netlist.placed(tree.buffers, tree.leaves, wires),
        placement=placement,
        tree=tree,
        lengths=lengths,
    )


def measure_placed(layout: Layout, activity: Activity, *, macs: int, clock_ghz: float) -> Placed:
    """Measure a layout at a clock, which may be slower than the one it is mapped for.

    Parameters
    ----------
    layout : the layout
    activity : activity of all nets of the unplaced netlist
    macs : multiply-accumulates per cycle
    clock_ghz : the clock in GHz

    Returns
    -------
    Energies in fJ per MAC

    Raises
    ------
    ToolchainError
        If ``sta`` is missing or fails.
    """
    netlist, placement, tree = layout.netlist, layout.placement, layout.tree
    power = measure_power(netlist, activity)
    fj = netlist.period_ps * 1e3 / macs  # W · ps = 1e-12 J.
    slower = 1000 / clock_ghz / netlist.period_ps
    more = power.leakage * fj * (slower - 1)
    charge = netlist.library.corner.farads * netlist.library.corner.voltage**2 / 2 * 1e15 / macs
    wires = sum(netlist.wires[net] * activity.changes[net] for net in layout.lengths) * charge
    clock_wires = sum(2 * netlist.wires[net] for net in tree.lengths) * charge
    pins = sum(sum(one.cell.loads.values()) for one in tree.buffers.values())
    inner = sum(power.cells[name][0] + power.cells[name][2] for name in tree.buffers)
    return Placed(
        energy_fj=(power.total + power.ports) * fj + more,
        wires_fj=wires,
        clock_wires_fj=clock_wires,
        clock_buffers_fj=inner * fj + 2 * pins * charge,
        met=power.slack_ps + netlist.period_ps * (slower - 1) >= 0,
        max_ghz=1000 / (netlist.period_ps - power.slack_ps),
        wire_um=sum(layout.lengths.values()) / macs,
        clock_wire_um=sum(tree.lengths.values()) / macs,
        clock_buffers=len(tree.buffers),
        utilization=netlist.area / (placement.width * placement.height),
        core_um2=placement.width * placement.height,
        placer=f"coloquinte {placer_version()}",
    )
