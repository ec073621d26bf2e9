"""Energies of memory macros, from their Liberty files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .liberty import (
    Group,
    LibertyError,
    LibertyFile,
    names_in,
    read_liberty,
    read_units,
    truth_table,
)
from .table import Sram

__all__ = ["read_sram"]


def read_sram(file: Path) -> Sram:
    """Read the energies of a read and of a write of a single-port macro.

    Both have the internal energy of the clock pin, under the condition that the pins ``MEN``,
    ``WEN`` and ``REN`` enable the access, and of half the address bits, which change. A write also
    has the energy of half the data bits. Wires and the loads of the outputs are not in it.

    Parameters
    ----------
    file : Liberty file of one macro, whose ``leakage_power_unit`` is 1 nW

    Returns
    -------
    Size, energies in pJ, area and leakage

    Raises
    ------
    LibertyError
        If the file cannot be read, or does not describe such a macro.
    """
    content = read_liberty(file)
    library = content.parse()
    picojoules = read_units(library, content.name)[1] * 1e12
    try:
        return _sram(library, picojoules, content)
    except (IndexError, KeyError, StopIteration, ValueError) as error:
        raise LibertyError(
            f"{content.name}: the file must describe one memory macro with the energies of a read "
            f"and a write: {error!r}"
        ) from None


def _sram(library: Group, picojoules: float, file: LibertyFile) -> Sram:
    """Read the macro of a library whose unit of energy has so many pJ."""
    (cell,) = library.all("cell")
    (memory,) = cell.all("memory")
    clock = next(
        pin
        for pin in _pins(cell)
        if pin.get("clock") == "true"
        and any("REN" in group.get("when") for group in pin.all("internal_power"))
    )
    if library.get("leakage_power_unit") != "1nW":
        raise ValueError("leakage_power_unit is not 1nW")
    words = 2 ** int(memory.get("address_width"))
    return Sram(
        name=cell.names[0],
        words=words,
        bits=int(memory.get("word_width")),
        read_pj=_access(cell, clock, write=0) * picojoules,
        write_pj=_access(cell, clock, write=1) * picojoules,
        area=float(cell.get("area")),
        leakage_nw=float(cell.get("cell_leakage_power")),
        source=f"{file.name}, SHA-256 {file.sha256}, "
        f"{library.get('nom_voltage')} V, {library.get('nom_temperature')} C: internal energy "
        "of the clock pin, half of the address and written bits changing",
    )


def _access(cell: Group, clock: Group, *, write: int) -> float:
    """Sum the energy of a read (0) or a write (1), in the library's unit."""
    (memory,) = cell.all("memory")
    port = clock.names[0].removesuffix("CLK")
    bits = {
        f"{port}ADDR": int(memory.get("address_width")),
        f"{port}DIN": int(memory.get("word_width")) * write,
    }
    state = {f"{port}MEN": 1, f"{port}WEN": write, f"{port}REN": 1 - write}
    energy = sum(_energy(clock, state))
    if energy <= 0:
        raise ValueError(f"the energy of a {'write' if write else 'read'} is missing")
    for pin in _pins(cell):
        # A group of all bits has the name of a range, whose colon the parser reads as a space.
        if len(pin.names) > 1:
            count = bits.get(pin.names[0].partition("[")[0], 0)
            energy += count / 2 * float(np.mean(_energy(pin, state)))
    return energy


def _pins(cell: Group) -> Iterator[Group]:
    """Iterate over the pins of a cell, and those of its buses."""
    for one in cell.groups:
        if one.kind == "bus":
            yield from one.all("pin")
        elif one.kind == "pin":
            yield one


def _energy(pin: Group, state: Mapping[str, int]) -> tuple[float, float]:
    """Sum the internal energies of a rise and of a fall of a pin over the conditions that hold.

    Pins that are not in ``state`` are zero.
    """
    rise = fall = 0.0
    for group in pin.all("internal_power"):
        names = tuple(names_in(group.get("when")))
        place = sum(state.get(name, 0) << i for i, name in enumerate(names))
        if names and not truth_table(group.get("when"), names)[place]:
            continue
        for table in group.groups:
            value = float(table.get("values"))
            rise += value if table.kind == "rise_power" else 0.0
            fall += value if table.kind == "fall_power" else 0.0
    return rise, fall
