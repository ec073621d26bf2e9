"""Between synthesis and placement on ECP5: what yosys and nextpnr do not find by themselves.

Both steps change the netlist that yosys writes as JSON. Modules are flat.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...hw.config import MatVecConfig

__all__ = ["floorplan", "fold_inversions"]

#: Block RAMs of the LFE5U-85: columns of a row, and the rows in the order in which they are used.
_COLUMNS = [
    (left + 2 * place, f"EBR{place}")
    for left in (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
    for place in range(4)
]


_ROWS = (46, 70, 22, 82)


#: Block RAMs that a row takes before the next is used: more than that lie too far apart.
_FEW = 30


#: Every twelfth row of tiles holds block RAM or multipliers, from this one on.
_NO_LOGIC = 10


#: Tiles with logic on this side of the pins: from this row on, and the last row and column.
_BOTTOM, _TOP, _LAST = 3, 93, 120


#: Tiles in height that belong to a row of weights and a token, and the most that all of them take.
_PITCH, _HEIGHT = 3, 66


#: Tiles in width that belong to a lane: with that height, twice what its operands and sums fill.
_WIDTH = 1.5


#: INIT of half a CCU2C as yosys maps adders: carry from A; with D = 1 the sum of A, B and C.
_ADD, _ADD_INVERTED = (format(init, "016b") for init in (0x96AA, 0x69AA))


def fold_inversions(module: Mapping[str, Any]) -> None:
    """Move each exclusive or in front of an adder's second operand into the adder.

    The look-up table of a carry cell sums A, B and C, where yosys ties C. An adder that subtracts
    on demand then takes no logic beside its carry chain.

    Parameters
    ----------
    module : of a netlist by ``synth_ecp5``; changed in place
    """
    cells = module["cells"]
    drivers: dict[int, dict[str, Any]] = {}
    uses: Counter[int] = Counter()
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                uses.update(bits)
            else:
                drivers |= dict.fromkeys(bits, cell)
    for port in module["ports"].values():
        uses.update(port["bits"])
    for cell in cells.values():
        if cell["type"] != "CCU2C":
            continue
        pins, parameters = cell["connections"], cell["parameters"]
        for half in "01":
            (b,), (c,) = pins[f"B{half}"], pins[f"C{half}"]
            if (
                parameters[f"INIT{half}"] != _ADD
                or c not in ("0", "1")
                or pins[f"D{half}"] != ["1"]
            ):
                continue
            parity = _parity(drivers.get(b))
            if parity is None:
                continue
            inputs, inverted = parity
            pins[f"B{half}"], pins[f"C{half}"] = ([bit] for bit in (*inputs, "0")[:2])
            parameters[f"INIT{half}"] = _ADD_INVERTED if inverted ^ (c == "1") else _ADD
            uses[b] -= 1
            uses.update(inputs)
    unused = [
        name
        for name, cell in cells.items()
        if cell["type"] == "LUT4" and not uses[cell["connections"]["Z"][0]]
    ]
    for name in unused:
        del cells[name]


def _parity(cell: Mapping[str, Any] | None) -> tuple[list[int], bool] | None:
    """Inputs of a look-up table that is the parity of one or two, and whether it is inverted."""
    if cell is None or cell["type"] != "LUT4":
        return None
    table = int(cell["parameters"]["INIT"], 2)
    pins = [cell["connections"][pin][0] for pin in "ABCD"]
    inputs = [(bit, 1 << index) for index, bit in enumerate(pins) if isinstance(bit, int)]
    if not 1 <= len(inputs) <= 2:
        return None
    index = sum(1 << index for index, bit in enumerate(pins) if bit == "1")
    inverted = table >> index & 1
    for chosen in range(1, 2 ** len(inputs)):
        flips = [weight for place, (_, weight) in enumerate(inputs) if chosen >> place & 1]
        if table >> (index + sum(flips)) & 1 != inverted ^ len(flips) & 1:
            return None
    return [bit for bit, _ in inputs], bool(inverted)


def _block_rams(cells: Mapping[str, Any], kind: str) -> list[tuple[int, int, str]]:
    """Number of the memory, number in it, and name of the block RAMs of memories of a kind."""
    pattern = re.compile(rf"(?:^|\.){kind}(\d+)\.\d+\.(\d+)$")
    return [
        (int(match[1]), int(match[2]), name) for name in cells if (match := pattern.search(name))
    ]


def floorplan(module: Mapping[str, Any], config: MatVecConfig) -> None:
    """Give an engine's block RAMs, weights and operands their places on an LFE5U-85.

    Without them nextpnr has little to start from: its first solution is a point, and the spreading
    that follows puts what belongs together far apart. Lanes go along x, rows of weights along y,
    tokens in each of them, and the registers of jobs, which stand for the control logic, into the
    middle. An operand fills the registers of a tile: they share a reset of their own, for which the
    placer finds no room later. The block RAMs of a weight memory in parts, where there is one, take
    what is left, from the first part to the last as the lanes. The placer does the rest.

    Parameters
    ----------
    module : of a netlist by ``synth_ecp5`` with one engine in it; changed in place
    config : of the engine

    Raises
    ------
    ValueError
        If there are more block RAMs than in the device.
    """
    cells, nets = module["cells"], module["netnames"]
    blocks = sorted((index, token, name) for token, index, name in _block_rams(cells, "buffer"))
    words = sorted(_block_rams(cells, "words"))
    capacity = len(_ROWS) * len(_COLUMNS)
    if len(blocks) + len(words) > capacity:
        raise ValueError(
            f"block RAMs must be at most {capacity} on this device, not {len(blocks) + len(words)}"
        )
    rows = next((n for n in (1, 2, 4) if len(blocks) <= n * _FEW), 4)
    columns = -(-len(blocks) // rows)
    tiles = _COLUMNS[-1][0] - _COLUMNS[0][0]
    span = max(columns, min(len(_COLUMNS), round(config.lanes * _WIDTH / tiles * len(_COLUMNS))))
    first = (len(_COLUMNS) - span) // 2
    free = [(column, row) for column in range(len(_COLUMNS)) for row in _ROWS]
    places = []
    for place, (_, _, name) in enumerate(blocks):
        column = first + place // rows * span // columns
        places.append((name, (column, _ROWS[place % rows])))
        free.remove(places[-1][1])
    places += [
        (name, free[place * len(free) // len(words)]) for place, (_, _, name) in enumerate(words)
    ]
    for name, (column, row) in places:
        x, bel = _COLUMNS[column]
        cells[name]["attributes"]["BEL"] = f"X{x}/Y{row}/{bel}"

    left, right = _COLUMNS[first][0], _COLUMNS[first + span - 1][0]
    middle = sum(_ROWS[:rows]) / rows
    # A register behind a look-up table moves with it; one behind a memory does not.
    logic = {
        cell["connections"][port][0]
        for cell in cells.values()
        if cell["type"] not in ("TRELLIS_FF", "DP16KD", "TRELLIS_DPR16X4")
        for port, direction in cell["port_directions"].items()
        if direction == "output"
    }
    registers = {
        cell["connections"]["Q"][0]: cell
        for cell in cells.values()
        if cell["type"] == "TRELLIS_FF" and cell["connections"]["DI"][0] not in logic
    }
    taken: set[tuple[int, int]] = set()

    def bits(name: str) -> list[int] | None:
        """Of a signal, wherever in the design the engine is."""
        return next(
            (
                net["bits"]
                for full, net in nets.items()
                if full == name or full.endswith(f".{name}")
            ),
            None,
        )

    def put(bits: list[int], x: float, y: float) -> None:
        """Bind registers to the tiles from a place on, to the right and then up, eight in each.

        What finds no tile up to the top of the device is left to the placer.
        """
        tiles = (
            (column, row)
            for row in range(max(_BOTTOM, round(y)), _TOP + 1)
            if row % 12 != _NO_LOGIC
            for column in range(round(x), _LAST + 1)
            if (column, row) not in taken
        )
        for start, (column, row) in zip(range(0, len(bits), 8), tiles, strict=False):
            taken.add((column, row))
            for place, bit in enumerate(bits[start : start + 8]):
                if bit in registers:
                    bel = f"X{column}/Y{row}/SLICE{'ABCD'[place // 2]}.FF{place % 2}"
                    registers[bit]["attributes"]["BEL"] = bel

    pitch = min(_PITCH, _HEIGHT / (config.rows * config.tokens))

    def put_lane(bits: list[int], lane: float, row: float, token: float) -> None:
        """Bind what belongs to a lane of a row of weights and a token, or to the middle of all."""
        above = row * config.tokens + token - (config.rows * config.tokens - 1) / 2
        put(bits, left + lane / config.lanes * (right - left), middle + above * pitch)

    put(bits("loader.job") or [], (left + right) / 2, middle)
    # yosys keeps one of the names that the weights have.
    packed = bits("packed") or []
    trits = config.rows * config.lanes
    for index in range(config.weight_bytes):
        row, lane = divmod((index + 0.5) * trits / config.weight_bytes, config.lanes)
        byte = bits(f"decoder.byte{index}") or packed[8 * index : 8 * index + 8]
        put_lane(byte, lane, row, (config.tokens - 1) / 2)
    for row in range(config.rows):
        for token in range(config.tokens):
            for lane in range(config.lanes):
                put_lane(bits(f"dot{row}.x{token}_{lane}") or [], lane, row, token)
