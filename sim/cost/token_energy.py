"""Energy of a generated token by part, for machines that differ in their number formats alone.

Every machine has the parts of the token core. Logic is measured at gate level: products by the unit
of the machine's format, and all other parts by the netlist of a whole core. Buffers and DRAM have
published energies per bit. Wires, clock tree and the leakage of memories are not included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from ...golden.checkpoint.model_config import ModelConfig
from ...hw.token.config import CORE_PRESETS
from ..gatelevel.core_table import CoreTable, operations
from ..gatelevel.table import Characterization, Table
from ..tools.errors import EstimateError
from ..tools.records import record
from .core.extension import extended_cycles
from .core_system import core_sizes
from .datafiles import DATA, read_data
from .formats import find_format
from .memories import Dram
from .model_shapes import MODELS
from .profiles import measured_profile
from .workload import decode

__all__ = [
    "ASSUMPTIONS",
    "CORE",
    "DRAM_PARTS",
    "LOGIC_PARTS",
    "MACHINES",
    "MODEL",
    "Assumption",
    "Machine",
    "TokenEnergy",
    "best_units",
    "idle_clock",
    "token_energy",
]

_FILE = DATA / "token_machines.toml"

#: The model, and the preset of the token core that the machines are like.
MODEL, CORE = "bitnet-2b4t", "2b4t"

#: Parts of the logic. ``buffers`` has the reads and writes of all memories on chip; ``control`` the
#: sequencer and the memory port.
LOGIC_PARTS = ("products", "buffers", "glue", "attention", "head", "control")

#: Kinds of data in the DRAM.
DRAM_PARTS = ("weights", "head weights", "cache", "gains")

#: Parts of the core between the products.
_GLUE = ("scaler", "writer", "peak", "normalizer", "heads", "cache")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine: number formats of its products, head and attention.

    Parameters
    ----------
    name, label : key, and name for tables
    unit : of the gate-level tables, for the products of the linear layers
    number_format : its bits, a key of ``FORMATS``
    scale_bits : bits of scales per weight
    head, attention : ``int8`` or ``fp16``
    source : where such machines are described
    """

    name: str
    label: str
    unit: str
    number_format: str
    scale_bits: float
    head: str
    attention: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """A figure that no netlist gives.

    Parameters
    ----------
    value, unit : the figure
    label : ``published`` or ``modelled``
    source : what it stands for
    """

    value: float
    unit: str
    label: str
    source: str


_DATA = read_data(_FILE)

#: Machines by name, from ``data/token_machines.toml``.
MACHINES: dict[str, Machine] = {
    name: record(Machine, {"name": name, **entry}, f"{_FILE}: machine.{name}")
    for name, entry in _DATA["machine"].items()
}

#: Assumptions by name, from the same file.
ASSUMPTIONS: dict[str, Assumption] = {
    name: record(Assumption, entry, f"{_FILE}: assumption.{name}")
    for name, entry in _DATA["assumption"].items()
}

_BITS = {"int8": 8, "fp16": 16}


@dataclass(frozen=True, kw_only=True)
class TokenEnergy:
    """Energy of a token on a machine.

    Parameters
    ----------
    machine : the machine
    unit : measured unit of its products
    logic : J of each of ``LOGIC_PARTS``
    dram : J of each of ``DRAM_PARTS``
    dram_bytes : bytes of each of ``DRAM_PARTS``
    head_buffer : J of ``buffers`` that reads of the last vector for the head take
    """

    machine: Machine
    unit: Characterization
    logic: dict[str, float]
    dram: dict[str, float]
    dram_bytes: dict[str, float]
    head_buffer: float

    @property
    def logic_total(self) -> float:
        """J without DRAM."""
        return sum(self.logic.values())

    @property
    def total(self) -> float:
        """J of all parts."""
        return self.logic_total + sum(self.dram.values())


def best_units(table: Table) -> dict[str, Characterization]:
    """Find the best unit of each machine, all in the same shape.

    Of the shapes in which all of them were measured, the one with the most rows counts, because
    rows share activations in every machine, and then the one with the most lanes. The unit with the
    least energy counts, ports included, at the table's common clock.

    Parameters
    ----------
    table : table of a library

    Returns
    -------
    A row by name of the unit

    Raises
    ------
    EstimateError
        If no shape has all units.
    """
    names = {machine.unit for machine in MACHINES.values()}
    names |= {_DATA["mac"][name] for name in _BITS}
    shapes: dict[tuple[int, int], dict[str, Characterization]] = {}
    for row in table.rows:
        fits = row.operands == "trained" and row.met and row.clock_ghz == table.common_clock
        if not fits or row.unit not in names:
            continue
        found = shapes.setdefault((row.lanes, row.rows), {})
        if row.unit not in found or row.with_ports_fj < found[row.unit].with_ports_fj:
            found[row.unit] = row
    whole = [((rows, lanes), found) for (lanes, rows), found in shapes.items() if names <= {*found}]
    if not whole:
        raise EstimateError(
            f"the table of {table.library} must have {', '.join(sorted(names))} in one shape: "
            "'trilith characterize --all' measures them"
        )
    return max(whole, key=lambda one: one[0])[1]


def _sizes() -> ModelConfig:
    """Sizes of the model, as the compiler of the core takes them."""
    return core_sizes(MODELS[MODEL], CORE_PRESETS[CORE].context_max)


def _bytes(machine: Machine, counts: Mapping[str, int], context: int) -> dict[str, float]:
    """Bytes that a token moves from DRAM, by ``DRAM_PARTS``."""
    model = MODELS[MODEL]
    work, bits = decode(model, context), find_format(machine.number_format).weight_bits
    scale = ASSUMPTIONS["scale_bytes"].value
    vectors = (work.kv_reads + work.kv_writes) / model.head_size
    return {
        "weights": work.linear_weights * (bits + machine.scale_bits) / 8,
        "head weights": work.head_weights * _BITS[machine.head] / 8
        + (model.vocabulary * scale if machine.head == "int8" else 0),
        "cache": (work.kv_reads + work.kv_writes) * _BITS[machine.attention] / 8
        + (vectors * scale if machine.attention == "int8" else 0),
        "gains": counts["normalizer"] * ASSUMPTIONS["gain_bytes"].value,
    }


def token_energy(
    machine: Machine, core: CoreTable, table: Table, dram: Dram, *, context: int
) -> TokenEnergy:
    """Compute the energy of a token of BitNet b1.58 2B4T on a machine.

    A part of the core has a clock while it is busy, and takes its measured energy per operation.

    Parameters
    ----------
    machine : the machine
    core, table : measured parts of a token core, and measured units, of one library
    dram : memory of weights, head and cache
    context : positions that the token attends to, itself included, 1 to 4,096

    Raises
    ------
    EstimateError
        If the context is not legal, or a figure is missing.
    """
    sizes = _sizes()
    if not 1 <= context <= sizes.max_positions:
        raise EstimateError(f"the context must be from 1 to {sizes.max_positions}, not {context}")
    model, units = MODELS[MODEL], best_units(table)
    work, counts = decode(model, context), operations(sizes, context)
    each = {part.part: part.gated_fj for part in core.parts}
    moved = {part.part: part.moved_bits for part in core.parts}
    unit = units[machine.unit]
    # A MAC of a wider format takes the difference of the two units more than that of the core.
    wider = {
        name: units[_DATA["mac"][name]].with_ports_fj - units[_DATA["mac"]["int8"]].with_ports_fj
        for name in _BITS
    }
    half, scores, logits = work.attention_macs // 2, counts["softmax"], counts["topk"]
    moves = _bytes(machine, counts, context)
    ported, rows = moves["cache"] + moves["gains"], moves["head weights"]
    bit = measured_profile(table).sram_bit(int(ASSUMPTIONS["sram"].value)) * 1e3
    reads = sum(
        one.k * ceil(one.n / CORE_PRESETS[CORE].engine.rows) * one.active for one in model.linears
    )
    head_bits = work.head_macs * moved["dots"] * _BITS[machine.head] / 8
    bits = (
        reads * find_format(machine.number_format).act_bits
        + head_bits
        + half * (moved["dots"] + moved["mixer"]) * _BITS[machine.attention] / 8
        + ported * moved["memory"]
        + sum(counts[part] * moved[part] for part in (*_GLUE, "softmax", "scores", "topk"))
    )
    logic = {
        "products": work.linear_macs * unit.with_ports_fj,
        "buffers": bits * bit,
        "glue": sum(counts[part] * each[part] for part in _GLUE),
        "attention": half * (each["dots"] + each["mixer"] + 2 * wider[machine.attention])
        + scores * (each["softmax"] + each["scores"]),
        "head": work.head_macs * (each["dots"] + wider[machine.head])
        + rows * each["head rows"]
        + logits * (each["scores"] + each["topk"]),
        "control": ported * each["memory"] + counts["sequencer"] * each["sequencer"],
    }
    return TokenEnergy(
        machine=machine,
        unit=unit,
        logic={part: fj * 1e-15 for part, fj in logic.items()},
        dram={part: 8 * size * dram.pj_per_bit * 1e-12 for part, size in moves.items()},
        dram_bytes=moves,
        head_buffer=head_bits * bit * 1e-15,
    )


def idle_clock(core: CoreTable, *, context: int) -> tuple[int, float]:
    """Compute what the clock of idle parts takes where nothing gates it.

    Clock pins grow with the lanes of each part.

    Parameters
    ----------
    core : measured parts of a token core
    context : positions that the token attends to

    Returns
    -------
    Cycles of a token on the token core, and J
    """
    config, sizes = CORE_PRESETS[CORE], _sizes()
    cycles = extended_cycles(config, sizes, position=context - 1).cycles
    counts, total = operations(sizes, context), 0.0
    wide = {"dots", "mixer", "memory", "head rows"}
    for part in core.parts:
        if part.part == "engine":
            continue
        lanes = config.attention_lanes / core.attention_lanes
        times = lanes if part.part in wide else config.vector_lanes / core.vector_lanes
        times = 1.0 if part.part in ("softmax", "scores", "topk", "sequencer") else times
        busy = part.busy * counts[part.part] / part.operations / times
        total += part.clock_fj * times * max(0.0, cycles - busy)
    return cycles, total * 1e-15
