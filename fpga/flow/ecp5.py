"""Steps between synthesis and placement on ECP5 that yosys and nextpnr do not take.

They change the flat netlist that yosys writes as JSON.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from ...hw.config import MatVecConfig

__all__ = ["ABC9_TARGET", "floorplan", "fold_inversions", "register_products"]

#: Command of yosys that gives ABC9 a target in ps, by its own delays, which are about half of those
#: of a routed design. Without one, it makes all logic as fast as it can, and larger.
ABC9_TARGET = "scratchpad -set abc9.D 4500"

#: Block RAMs of the LFE5U-85: the columns of a row.
_COLUMNS = [
    (left + 2 * place, f"EBR{place}")
    for left in (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
    for place in range(4)
]


#: Rows with block RAM, in the order in which they are used.
_ROWS = (46, 70, 22, 82)


#: Most block RAMs in a row before the next row is used: more would lie too far apart.
_FEW = 30


#: The first row of tiles with block RAM or multipliers; every twelfth row from there on is one.
_NO_LOGIC = 10


#: First and last row, and last column, of tiles with logic.
_BOTTOM, _TOP, _LAST = 3, 93, 120


#: Height in tiles of a row of weights and a token, and the most that all of them take.
_PITCH, _HEIGHT = 3, 66


#: Width in tiles of a lane: with that height, twice as many as its operands and sums fill.
_WIDTH = 1.5


#: Bits of a product.
_PRODUCT = re.compile(r"P\d+$")


#: Parameters of a register without an enable that is clear at the start.
_PLAIN = {"CEMUX": "1 ", "CLKMUX": "CLK", "GSR": "DISABLED", "REGSET": "RESET"}


#: INIT of half a CCU2C as yosys maps adders: carry from A; with D = 1 the sum of A, B and C.
_ADD, _ADD_INVERTED = (format(init, "016b") for init in (0x96AA, 0x69AA))


def fold_inversions(module: Mapping[str, Any]) -> None:
    """Move each exclusive or in front of an adder's second operand into the adder.

    The look-up table of a carry cell sums A, B and C, and yosys leaves C constant. After this step
    an adder that subtracts on demand needs no logic beside its carry chain.

    Parameters
    ----------
    module : module of a netlist by ``synth_ecp5``; changed in place
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


def register_products(module: Mapping[str, Any]) -> None:
    """Move the registers behind each multiplier into its output registers.

    yosys leaves them in logic cells, so that a product takes a way through the fabric to reach
    them. Registers with an enable stay: the database of the device does not say which enable the
    output registers of a MULT18X18D have.

    Parameters
    ----------
    module : module of a netlist by ``synth_ecp5``; changed in place
    """
    cells = module["cells"]
    users: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    users[bit].append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            users[bit].append(("", ""))
    for multiplier in [cell for cell in cells.values() if cell["type"] == "MULT18X18D"]:
        pins = multiplier["connections"]
        products = [pin for pin, bits in pins.items() if _PRODUCT.match(pin) and users[bits[0]]]
        behind = [users[pins[product][0]] for product in products]
        if any(len(use) != 1 or use[0][1] != "DI" for use in behind):
            continue
        names = [name for ((name, _),) in behind]
        registers = [cells[name] for name in names]
        clock = registers[0]["connections"]["CLK"]
        if any(
            register["connections"]["CLK"] != clock
            or register["connections"]["LSR"] != ["0"]
            or register["parameters"] | _PLAIN != register["parameters"]
            for register in registers
        ):
            continue
        for product, name in zip(products, names, strict=True):
            pins[product] = cells.pop(name)["connections"]["Q"]
        multiplier["parameters"] |= {"REG_OUTPUT_CLK": "CLK0", "GSR": "DISABLED"}
        for pin, bits in (("CLK0", clock), ("CE0", ["1"]), ("RST0", ["0"])):
            pins[pin], multiplier["port_directions"][pin] = bits, "input"


def _parity(cell: Mapping[str, Any] | None) -> tuple[list[int], bool] | None:
    """Inputs of a table that is the parity of one or two of them, and whether it is inverted."""
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
    """Find the block RAMs of all memories of a kind.

    Returns
    -------
    Number of the memory, number in the memory, and name of each.
    """
    pattern = re.compile(rf"(?:^|\.){kind}(\d+)\.\d+\.(\d+)$")
    return [
        (int(match[1]), int(match[2]), name) for name in cells if (match := pattern.search(name))
    ]


def floorplan(module: Mapping[str, Any], config: MatVecConfig) -> None:
    """Place an engine's block RAMs, weights and operands on an LFE5U-85.

    Without places nextpnr starts from a solution in which all cells lie in one point. Spreading
    them then puts connected cells far apart. This floorplan orders lanes along x, rows of weights
    along y, and tokens within a row. The registers of jobs go into the middle, because the control
    logic follows them. An operand fills the registers of a tile, because they share a reset of
    their own, for which the placer finds no room later. If there is a weight memory in parts, its
    block RAMs take the remaining places, from the first part to the last, in the order of lanes.
    The placer places all other cells.

    Parameters
    ----------
    module : module of a netlist by ``synth_ecp5`` with one engine in it; changed in place
    config : configuration of the engine

    Raises
    ------
    ValueError
        If the device has fewer block RAMs than the netlist.
    """
    left, right, middle = _place_block_rams(module["cells"], config)
    plan = _RegisterPlan(module)
    pitch = min(_PITCH, _HEIGHT / (config.rows * config.tokens))

    def put_lane(bits: list[int], lane: float, row: float, token: float) -> None:
        """Bind the registers of a lane, a row of weights and a token."""
        above = row * config.tokens + token - (config.rows * config.tokens - 1) / 2
        plan.put(bits, left + lane / config.lanes * (right - left), middle + above * pitch)

    plan.put(plan.bits("loader.job"), (left + right) / 2, middle)
    # A byte of weights has two names, of which yosys keeps one.
    packed = plan.bits("packed")
    trits = config.rows * config.lanes
    for index in range(config.weight_bytes):
        row, lane = divmod((index + 0.5) * trits / config.weight_bytes, config.lanes)
        byte = plan.bits(f"decoder.byte{index}") or packed[8 * index : 8 * index + 8]
        put_lane(byte, lane, row, (config.tokens - 1) / 2)
    for row in range(config.rows):
        for token in range(config.tokens):
            for lane in range(config.lanes):
                put_lane(plan.bits(f"dot{row}.x{token}_{lane}"), lane, row, token)


def _place_block_rams(cells: Mapping[str, Any], config: MatVecConfig) -> tuple[int, int, float]:
    """Place the block RAMs of the engine and of a weight memory in parts.

    Returns
    -------
    The tiles at which those of the engine begin and end along x, and their middle along y.
    """
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
    return _COLUMNS[first][0], _COLUMNS[first + span - 1][0], sum(_ROWS[:rows]) / rows


class _RegisterPlan:
    """Registers of a netlist, and the tiles that are still free.

    Parameters
    ----------
    module : module of a netlist; its cells get their places
    """

    def __init__(self, module: Mapping[str, Any]) -> None:
        cells = module["cells"].values()
        self._nets = module["netnames"]
        # A register behind a look-up table moves with it; one behind a memory does not.
        logic = {
            cell["connections"][port][0]
            for cell in cells
            if cell["type"] not in ("TRELLIS_FF", "DP16KD", "TRELLIS_DPR16X4")
            for port, direction in cell["port_directions"].items()
            if direction == "output"
        }
        self._registers = {
            cell["connections"]["Q"][0]: cell
            for cell in cells
            if cell["type"] == "TRELLIS_FF" and cell["connections"]["DI"][0] not in logic
        }
        self._taken: set[tuple[int, int]] = set()

    def bits(self, name: str) -> list[int]:
        """Find the bits of a signal, wherever in the design the engine is; none without it."""
        return next(
            (
                net["bits"]
                for full, net in self._nets.items()
                if full == name or full.endswith(f".{name}")
            ),
            [],
        )

    def put(self, bits: list[int], x: float, y: float) -> None:
        """Bind registers to the tiles from a place on, to the right and then up, eight in each.

        Registers that do not fit stay unplaced.
        """
        tiles = (
            (column, row)
            for row in range(max(_BOTTOM, round(y)), _TOP + 1)
            if row % 12 != _NO_LOGIC
            for column in range(round(x), _LAST + 1)
            if (column, row) not in self._taken
        )
        for start, (column, row) in zip(range(0, len(bits), 8), tiles, strict=False):
            self._taken.add((column, row))
            for place, bit in enumerate(bits[start : start + 8]):
                if bit in self._registers:
                    bel = f"X{column}/Y{row}/SLICE{'ABCD'[place // 2]}.FF{place % 2}"
                    self._registers[bit]["attributes"]["BEL"] = bel
