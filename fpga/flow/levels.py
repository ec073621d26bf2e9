"""Logic levels of a synthesized netlist."""

from collections.abc import Iterator, Mapping
from typing import Any

from .cells import CARRY, LUT, WIDE_MUX

__all__ = ["logic_levels"]


def _edges(cell: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Paths through a cell: the net behind, the net in front, and the levels between.

    A run of carry cells counts as one level with its first cell: what enters by the carry is free.
    """
    kind, pins = cell["type"], cell["connections"]
    carry, wide = CARRY.fullmatch(kind), WIDE_MUX.fullmatch(kind)
    if not (carry or wide or LUT.fullmatch(kind)):
        return
    directions = cell["port_directions"]
    ins = [(pin, bit) for pin in pins if directions[pin] == "input" for bit in pins[pin]]
    for pin in pins:
        if directions[pin] == "input":
            continue
        for index, out in enumerate(pins[pin]):
            for name, bit in ins:
                if not isinstance(bit, int):
                    continue
                # A bit of the sum does not depend on the operands' higher bits.
                if kind == "CARRY4" and name in ("S", "DI") and bit not in pins[name][: index + 1]:
                    continue
                if kind == "CCU2C" and pin == "S0" and name.endswith("1"):
                    continue
                # The LUT in front of a Xilinx or iCE40 carry cell is a cell of its own.
                free = wide or name in ("CI", "CIN") or (carry and kind != "CCU2C")
                yield out, bit, 0 if free else 1


def logic_levels(module: Mapping[str, Any]) -> int:
    """Count the look-up tables in the longest path of combinational logic.

    Parameters
    ----------
    module : flat module of a netlist that yosys wrote as JSON

    Returns
    -------
    The largest number of look-up tables between two registers, memories or ports. A carry chain
    counts as one; multiplexers that join look-up tables count as none.

    Raises
    ------
    ValueError
        If the netlist has a combinational loop.
    """
    drivers: dict[int, list[tuple[int, int]]] = {}
    for cell in module["cells"].values():
        for out, bit, weight in _edges(cell):
            drivers.setdefault(out, []).append((bit, weight))
    depth: dict[int, int] = {}
    # Depth first without recursion, because a carry chain is longer than Python's stack.
    for start in drivers:
        stack = [start]
        while stack:
            net = stack[-1]
            if net in depth:
                stack.pop()
                continue
            missing = [bit for bit, _ in drivers[net] if bit in drivers and bit not in depth]
            if missing:
                stack += missing
                if len(stack) > 1_000_000:
                    raise ValueError("the netlist must have no combinational loop, but has one")
                continue
            depth[net] = max((depth.get(bit, 0) + w for bit, w in drivers[net]), default=0)
            stack.pop()
    return max(depth.values(), default=0)
