"""Power of a netlist from the activity of its nets.

OpenSTA gives slews, leakage and slack. Switching power is summed here over nets, and internal power
over the library's tables. OpenSTA 2.0.17 adds the energies of rise and fall for each transition of
a pin, although a transition is one of the two. Only placed netlists have wires and a clock tree.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...golden.scratch import scratch_folder
from ...golden.templates import render
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError
from .conditions import leave_rest
from .energies import EnergyGroup
from .liberty import names_in, truth_table
from .library import Cell
from .netlist import Activity, Instance, Net, Netlist

__all__ = ["Power", "measure_power"]

_Floats = NDArray[np.float64]

_SLACK = re.compile(r"worst slack\s+(\S+)")


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power of a netlist at its clock, in W.

    Parameters
    ----------
    internal, switching, leakage : kinds of the power that cells take; their sum is all of it
    ports : power to charge the pins on nets that ports drive, the clock's above all; no cell
        delivers it, so that it is not in ``total``
    opensta_internal : OpenSTA's own internal power, for comparison
    parts : ``total`` by purpose: ``clock`` is the internal power of clock pins, the others are the
        parts of ``Netlist.owners``, the buffers of a clock tree among them
    leakage_parts : the leakage in ``parts``
    clock_parts : the internal power of clock pins, by the part of the flip-flop
    cells : internal power, switching power and leakage of each cell
    slack_ps : worst slack in ps, with wires and clock tree if the netlist has them
    refused : share of the transitions of outputs for which the library's internal energy is so
        negative that the cell would give energy back; it counts as zero
    """

    internal: float
    switching: float
    leakage: float
    ports: float
    opensta_internal: float
    parts: dict[str, float]
    leakage_parts: dict[str, float]
    clock_parts: dict[str, float]
    cells: dict[str, tuple[float, float, float]]
    slack_ps: float
    refused: float

    @property
    def total(self) -> float:
        """Power that cells take: all but ``ports``, in W."""
        return self.internal + self.switching + self.leakage


def measure_power(netlist: Netlist, activity: Activity) -> Power:
    """Measure power and slack of a netlist.

    Parameters
    ----------
    netlist : the netlist, with the period of its clock
    activity : activity of all its nets

    Returns
    -------
    The power for this activity.

    Raises
    ------
    ToolchainError
        If ``sta`` is missing, fails, or does not see the activity.
    """
    activity = _with_clock(netlist, activity)
    report = _run_opensta(netlist, activity)
    if sum(row[1] for row in report.power.values()) <= 0 < sum(activity.changes.values()):
        raise ToolchainError(
            "sta reports no switching power; it must see the activity and the voltage"
        )
    inner, refused = _internal(netlist, activity, report.slews)
    switching = _switching(netlist, activity)
    leakage = {name: row[2] for name, row in report.power.items()}
    parts, leakage_parts = {"clock": 0.0}, {"clock": 0.0}
    clock_parts: dict[str, float] = {}
    for name, part in netlist.owners().items():
        clock, rest = inner[name]
        parts["clock"] += clock
        parts[part] = parts.get(part, 0.0) + rest + switching[name] + leakage[name]
        leakage_parts[part] = leakage_parts.get(part, 0.0) + leakage[name]
        clock_parts[part] = clock_parts.get(part, 0.0) + clock
    return Power(
        internal=sum(map(sum, inner.values())),
        switching=sum(switching.values()),
        leakage=sum(leakage.values()),
        ports=_ports(netlist, activity),
        opensta_internal=sum(row[0] for row in report.power.values()),
        parts=parts,
        leakage_parts=leakage_parts,
        clock_parts=clock_parts,
        cells={name: (sum(one), switching[name], leakage[name]) for name, one in inner.items()},
        slack_ps=report.slack_ps,
        refused=refused,
    )


def _with_clock(netlist: Netlist, activity: Activity) -> Activity:
    """Add the nets of a clock tree to an activity: they change twice in each cycle."""
    buffers = [netlist.instances[name] for name in netlist.buffers]
    nets = [net for buffer in buffers for net in buffer.nets.values()]
    shares = dict(activity.shares)
    for kind, number in Counter(buffer.cell.name for buffer in buffers).items():
        if kind in shares:
            # The tree's buffers stand behind the counted ones.
            shares[kind] = np.pad(shares[kind], ((0, number), (0, 0)), constant_values=np.nan)
    return replace(
        activity,
        changes=activity.changes | dict.fromkeys(nets, 2.0),
        ones=activity.ones | dict.fromkeys(nets, 0.5),
        shares=shares,
    )


@dataclass(frozen=True, kw_only=True)
class _Report:
    """OpenSTA's report.

    Parameters
    ----------
    power : internal, switching, leakage and total power of each instance, in W
    slews : mean of the transition times of rise and fall at each instance and pin, in the library's
        unit
    slack_ps : worst slack in ps
    """

    power: dict[str, list[float]]
    slews: dict[tuple[str, str], float]
    slack_ps: float


def _run_opensta(netlist: Netlist, activity: Activity) -> _Report:
    """Run OpenSTA in a folder of its own, so that runs on one netlist do not share files."""
    unit = netlist.library.corner.time_ps
    script = render(
        "trilith.sim.gatelevel",
        "power.tcl.jinja",
        liberty=[file.name for file in netlist.library.files],
        period=netlist.period_ps / unit,
        conditions=netlist.library.corner.conditions,
        activities=list(_activities(netlist, activity)),
        propagated=bool(netlist.buffers),
        wires=[
            (f"{name}/{pin}", netlist.wires.get(net, 0.0))
            for name, instance in netlist.instances.items()
            for pin, _, net in instance.outputs()
        ],
    )
    with scratch_folder() as work:
        for file in netlist.library.files:  # Tcl reads braces in the name of a folder.
            (work / file.name).symlink_to(file)
        (work / "structure.v").write_text(_structure(netlist))
        (work / "power.tcl").write_text(script)
        text = run_program(
            ["sta", "power.tcl"], folder=work, lacks=lambda text: _lacks(text, netlist)
        )
    slews = {
        (match[1], match[2]): (float(match[3]) + float(match[4])) / 2 * 1e12 / unit
        for match in re.finditer(r"^slew (\w+)/(\w+) (\S+) (\S+)$", text, re.M)
    }
    slack = _SLACK.findall(text)[0]
    return _Report(power=_powers(text), slews=slews, slack_ps=float(slack) * unit)


def _powers(text: str) -> dict[str, list[float]]:
    """Powers of each instance in OpenSTA's output, in W."""
    return {
        match[2]: [float(value) for value in match[1].split()]
        for match in re.finditer(r"^((?: *[-+.e\d]+){4}) +(c\d+)$", text, re.M)
    }


def _lacks(text: str, netlist: Netlist) -> str:
    """Find what is missing in OpenSTA's output, which ends with status 0 after an error too."""
    if "Error" in text:
        return "a report without an error"
    if set(_powers(text)) != set(netlist.instances):
        return "the power of each cell"
    return "" if _SLACK.search(text) else "the worst slack"


def _activities(netlist: Netlist, activity: Activity) -> Iterator[tuple[str, float, float]]:
    """Iterate over pins: OpenSTA's name, transitions per cycle, and share of time at one."""
    for name, instance in netlist.instances.items():
        cell = instance.cell
        for pin in (*cell.inputs, *(pin for pin, _ in cell.outputs)):
            net = instance.nets.get(pin)
            # OpenSTA knows the activity of the clock; constants have none.
            clocked = name in netlist.buffers or (cell.flip_flop and pin == cell.flip_flop.clock)
            if isinstance(net, int) and not clocked:
                yield f"{name}/{pin}", activity.changes[net], activity.ones[net]


def _structure(netlist: Netlist) -> str:
    """Write the netlist for OpenSTA, which reads no concatenations: nets of single bits."""
    names: dict[Net, str] = {"0": "1'b0", "1": "1'b1", "x": "1'b0"}
    same: list[tuple[str, str]] = []
    ports = netlist.ports | netlist.memory_ports
    for name, port in ports.items():
        bits = port["bits"]
        for index, bit in enumerate(bits):
            place = f"{name}[{index}]" if len(bits) > 1 else name
            if names.setdefault(bit, place) != place:
                same.append((place, names[bit]))
    return render(
        "trilith.sim.gatelevel",
        "structure.v.jinja",
        ports=ports,
        instances=netlist.instances,
        names=names,
        same=same,
    )


def _watts_per_energy(netlist: Netlist) -> float:
    """Power in W of one of the library's units of energy in each cycle."""
    return netlist.library.corner.farads / (netlist.period_ps * 1e-12)


def _switching(netlist: Netlist, activity: Activity) -> dict[str, float]:
    """Power in W that each cell takes to charge the nets that it drives.

    OpenSTA 2.0.17 takes the upper end of ``rise_capacitance_range`` instead of ``capacitance``.
    """
    loads = netlist.loads()
    half = _watts_per_energy(netlist) * netlist.library.corner.voltage**2 / 2
    return {
        name: half * sum(loads.get(n, 0.0) * activity.changes[n] for _, _, n in instance.outputs())
        for name, instance in netlist.instances.items()
    }


def _ports(netlist: Netlist, activity: Activity) -> float:
    """Power in W to charge the pins on all nets that ports drive; the clock changes twice."""
    loads = netlist.loads()
    changes: dict[Net, float] = {netlist.clock: 2.0}
    memories = [memory.outputs for memory in netlist.memories]
    for bits in (*(bits for _, bits in netlist.bits("input")), *memories):
        changes |= {bit: activity.changes[bit] for bit in bits}
    charged = sum(loads.get(bit, 0.0) * times for bit, times in changes.items())
    return charged * _watts_per_energy(netlist) * netlist.library.corner.voltage**2 / 2


def _internal(
    netlist: Netlist, activity: Activity, slews: Mapping[tuple[str, str], float]
) -> tuple[dict[str, tuple[float, float]], float]:
    """Compute the internal power of each cell.

    A transition of a pin takes the mean of its rise and fall energies. If several groups describe
    a pin, each takes the share of the transitions that the simulation counted for it. Transitions
    that were not counted, such as those of a net with glitches alone, are shared in proportion to
    the probability of each condition times the transitions of the related pin, as if pins were
    independent. If a table would let a cell give back more energy than its load takes, it counts
    as zero.

    Parameters
    ----------
    netlist : the netlist
    activity : activity of all nets
    slews : transition time at each instance and pin, in the library's unit

    Returns
    -------
    powers : power of each instance in W, by its clock pin and by all other pins
    refused : share of the transitions of outputs whose tables counted as zero
    """
    loads = netlist.loads()
    kinds: dict[str, list[str]] = {}
    for name, instance in netlist.instances.items():
        kinds.setdefault(instance.cell.name, []).append(name)
    power: dict[str, tuple[float, float]] = {}
    refused = counted = 0.0
    for kind, names in kinds.items():
        cells = _Cells(netlist, names, activity, loads)
        groups = netlist.library.energies(kind)
        for group, share in cells.shared(groups, activity.shares.get(kind)):
            slew = np.array([slews[name, group.related or group.pin] for name in names])
            one, other = cells.add(group, share, slew)
            refused += one
            counted += other
        power |= dict(zip(names, zip(cells.clock, cells.rest, strict=True), strict=True))
    return power, refused / max(counted, 1e-30)


class _Cells:
    """Internal power of all instances of one cell.

    Parameters
    ----------
    netlist : the netlist
    names : the instances
    activity : activity of all nets
    loads : capacitance of all nets

    Attributes
    ----------
    clock, rest : float64[instances], power in W by the clock pin and by all other pins
    """

    def __init__(
        self, netlist: Netlist, names: list[str], activity: Activity, loads: Mapping[Net, float]
    ) -> None:
        self._instances: list[Instance] = [netlist.instances[name] for name in names]
        self._voltage = netlist.library.corner.voltage
        self._unit = _watts_per_energy(netlist)
        self._loads = loads
        cell: Cell = self._instances[0].cell
        self._clock_pin = cell.flip_flop.clock if cell.flip_flop else None
        pins = (*cell.inputs, *(pin for pin, _ in cell.outputs))
        self._changes = {pin: self._at(pin, activity.changes) for pin in pins}
        self._ones = {pin: self._at(pin, activity.ones) for pin in pins if pin != self._clock_pin}
        if self._clock_pin:
            self._changes[self._clock_pin] = np.full(len(names), 2.0)
        self.clock = np.zeros(len(names))
        self.rest = np.zeros(len(names))

    def _at(self, pin: str, values: Mapping[Net, float]) -> _Floats:
        """Values of the nets at a pin; 0 where the pin is not connected."""
        nets = (instance.nets.get(pin) for instance in self._instances)
        return np.array([0.0 if net is None else values.get(net, 0.0) for net in nets])

    def shared(
        self, groups: list[EnergyGroup], counted: _Floats | None
    ) -> Iterator[tuple[EnergyGroup, _Floats]]:
        """Iterate over the groups of pins, each with its share of the pin's transitions."""
        shares = self._independent(groups)
        if counted is not None:
            shares = np.where(np.isnan(counted), shares, counted)
        for place, group in enumerate(groups):
            if group.pin in self._changes:
                yield group, shares[:, place]

    def _independent(self, groups: list[EnergyGroup]) -> _Floats:
        """Compute shares, float64[instances, groups], as if pins were independent."""
        count = len(self._instances)
        shares = np.zeros((count, len(groups)))
        for place, group in enumerate(groups):
            times = self._changes.get(group.related, np.ones(count))
            shares[:, place] = _probability(group.when, self._ones, count) * times
        leave_rest(groups, shares)
        for pin in {group.pin for group in groups if group.related}:
            mine = [g for g, one in enumerate(groups) if one.related and one.pin == pin]
            # Where no related pin changed, no group has a share.
            total = shares[:, mine].sum(axis=1, keepdims=True)
            shares[:, mine] = np.divide(
                shares[:, mine], total, out=np.zeros((count, len(mine))), where=total > 0
            )
        return shares

    def add(self, group: EnergyGroup, share: _Floats, slew: _Floats) -> tuple[float, float]:
        """Add the power of a group; return its transitions that count as zero, and all."""
        load = self._at(group.pin, self._loads) if group.related else np.zeros(len(slew))
        energy = np.mean([table.at(slew, load) for table in group.tables], axis=0)
        times = share * self._changes[group.pin]
        refused = counted = 0.0
        if group.related:
            gives = energy + load * self._voltage**2 / 2 < 0
            energy = np.where(gives, 0.0, energy)
            refused, counted = float(times[gives].sum()), float(times.sum())
        if group.pin == self._clock_pin:
            self.clock += energy * times * self._unit
        else:
            self.rest += energy * times * self._unit
        return refused, counted


def _probability(when: str, ones: Mapping[str, _Floats], count: int) -> _Floats:
    """Compute the probability of a condition from the share of time at which each pin is one.

    Parameters
    ----------
    when : the condition in Liberty's notation; empty if it always holds
    ones : float64[count] of each pin; a pin that is not there is one half of the time
    count : number of instances

    Returns
    -------
    float64[count]

    Raises
    ------
    LibertyError
        If the condition is not an expression of at most 12 pins.
    """
    if not when:
        return np.ones(count)
    names = tuple(names_in(when))
    half = np.full(count, 0.5)
    shares = [ones.get(name, half) for name in names]
    total = np.zeros(count)
    for place, value in enumerate(truth_table(when, names)):
        if value:
            each = [s if place >> i & 1 else 1 - s for i, s in enumerate(shares)]
            total += np.prod(each, axis=0)
    return total
