"""Energies of memory macros, from their Liberty files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .netlist import Group, LibertyError, names_in, parse_liberty, read_liberty, truth
from .table import Sram

__all__ = ["read_sram"]


def _pins(group: Group) -> Iterator[Group]:
    """Pins, those of buses too."""
    for one in group.groups:
        if one.kind == "bus":
            yield from one.all("pin")
        elif one.kind == "pin":
            yield one


def _energy(pin: Group, state: dict[str, int]) -> tuple[float, float]:
    """Internal energy of a rise and of a fall of a pin, where its conditions hold."""
    rise = fall = 0.0
    for group in pin.all("internal_power"):
        names = tuple(names_in(group.get("when")))
        place = sum(state.get(name, 0) << i for i, name in enumerate(names))
        if names and not truth(group.get("when"), names)[place]:
            continue
        for table in group.groups:
            value = float(table.get("values"))
            rise += value if table.kind == "rise_power" else 0.0
            fall += value if table.kind == "fall_power" else 0.0
    return rise, fall


def read_sram(file: Path) -> Sram:
    """A single-port macro's energies of a read and of a write.

    Both are the clock pin's internal energy, its enables as ``MEN``, ``WEN`` and ``REN`` say in the
    names of its conditions, and half the address bits changing; a write has half the data bits
    changing too. Wires and what the outputs drive are not in it.

    Raises
    ------
    LibertyError
        If it is not such a macro.
    """
    content = read_liberty(file)
    library = parse_liberty(content.decode("latin-1"), file.name)
    try:
        (cell,) = library.all("cell")
        (memory,) = cell.all("memory")
        pins = list(_pins(cell))
        clock = next(
            pin
            for pin in pins
            if pin.get("clock") == "true"
            and any("REN" in group.get("when") for group in pin.all("internal_power"))
        )
        port = clock.names[0].removesuffix("CLK")
        width, address = int(memory.get("word_width")), int(memory.get("address_width"))
        unit = library.attributes["capacitive_load_unit"][1].lower()
        if unit != "pf" or library.get("voltage_unit") != "1V":
            raise ValueError("units that are not pF and V")
        if library.get("leakage_power_unit") != "1nW":
            raise ValueError("a unit of leakage that is not nW")

        def access(write: int) -> float:
            state = {f"{port}MEN": 1, f"{port}WEN": write, f"{port}REN": 1 - write}
            energy = sum(_energy(clock, state))
            if energy <= 0:
                raise ValueError(f"no energy of a {'write' if write else 'read'}")
            for pin in pins:
                bits = {f"{port}ADDR": address, f"{port}DIN": width * write}
                count = bits.get(pin.names[0].partition("[")[0], 0)
                # The group of all bits: a range, whose colon the parser takes for a space.
                if len(pin.names) > 1:
                    energy += count / 2 * float(np.mean(_energy(pin, state)))
            return energy

        return Sram(
            name=cell.names[0],
            words=2**address,
            bits=width,
            read_pj=access(0),
            write_pj=access(1),
            area=float(cell.get("area")),
            leakage_nw=float(cell.get("cell_leakage_power")),
            source=f"{file.name}, SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}, "
            f"{library.get('nom_voltage')} V, {library.get('nom_temperature')} C: internal energy "
            "of the clock pin, half of the address and written bits changing",
        )
    except (IndexError, KeyError, StopIteration, ValueError) as error:
        raise LibertyError(
            f"{file.name} must describe a memory macro with the energies of a read and a write, "
            f"and has not: {error!r}"
        ) from None
