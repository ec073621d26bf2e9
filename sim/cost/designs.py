"""Designs: the arithmetic that runs a language model, ours and published ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from ...golden.checks import check_choice, check_integer, check_kind, check_number
from ...hw.config import PRESETS, MatVecConfig
from ..tools.errors import EstimateError, estimate_errors
from ..tools.records import record
from .datafiles import DATA, find, read_data
from .formats import NumberFormat, engine_format, find_format
from .memories import EFFICIENCY, Efficiency, Memory
from .processors import Processor
from .profiles import SRAM_KILOBYTES

__all__ = ["DESIGNS", "LOWER_BOUND", "Design", "find_design", "own_design", "sustained"]

_FILE = DATA / "designs.toml"

#: Name of the energy of a machine that is not ours, wherever it is printed.
LOWER_BOUND = "arithmetic and memory, lower bound"

#: Numbers of a design that are above 0 and may be infinite.
_RATES = (
    "macs_per_cycle",
    "attention_macs_per_cycle",
    "vector_elements_per_cycle",
    "port_bytes_per_cycle",
)


@dataclass(frozen=True, kw_only=True)
class Design:
    """Arithmetic of a system, and its speed.

    Exactly one of ``config`` and ``weight_format`` is given: the weight code of an engine decides
    how many bits a weight has.

    Parameters
    ----------
    name : name of the design
    reader : kind of reader of the memory, a key of ``EFFICIENCY``
    clock_mhz : clock frequency of the array, above 0 and at most 100,000 MHz
    config : engine whose cycles count; None for a design that is only a number of MACs per cycle
    weight_format : number format of the linear layers, a key of ``FORMATS``, without ``config``
    engines : engines of that configuration, which share the rows of each matrix
    macs_per_cycle : of a design without ``config``, at full utilization; infinite where memory is
        known to be the bound
    pass_tokens : of a design without ``config``: activation vectors that share a pass over weights
    rows : of a design without ``config``: outputs that share one read of an activation
    sram_kilobytes : of a design without ``config``: activation buffer, one of ``SRAM_KILOBYTES``
    head_format : number format of the head, a key of ``FORMATS``
    stored_head : number format of the head as a file stores it, instead of ``head_format``
    kv_bits : bits of a stored key or value
    attention_format : number format of attention, a key of ``FORMATS``
    attention_macs_per_cycle : multiply-accumulates of attention
    vector_elements_per_cycle : values outside of matrix products; infinite where these operations
        overlap with the products
    port_bytes_per_cycle : most bytes that the array's port to memory takes
    fixed_us : further time of each pass over the weights, in µs
    processor : CPU or GPU that computes; its kernels give the MACs per cycle of products, attention
        and head
    ours : an engine of this project; the energy of another design is a lower bound
    source : publication, or ``modelled``

    Raises
    ------
    TypeError
        If a value is of the wrong kind.
    EstimateError
        If a name is unknown or a value is not legal.
    """

    name: str
    reader: str
    clock_mhz: float
    config: MatVecConfig | None = None
    weight_format: str | None = None
    engines: int = 1
    macs_per_cycle: float = inf
    pass_tokens: int = 1
    rows: int = 1
    sram_kilobytes: int = 8
    head_format: str = "fp16"
    stored_head: NumberFormat | None = None
    kv_bits: int = 16
    attention_format: str = "fp16"
    attention_macs_per_cycle: float = inf
    vector_elements_per_cycle: float = inf
    port_bytes_per_cycle: float = inf
    fixed_us: float = 0.0
    processor: Processor | None = None
    ours: bool = False
    source: str

    def __post_init__(self) -> None:
        if (self.config is None) == (self.weight_format is None):
            raise EstimateError(
                f"{self.name}: exactly one of config and weight_format must be given, not "
                f"{'none' if self.config is None else 'both'}"
            )
        if self.config is not None:
            check_kind("config", self.config, MatVecConfig)
        if self.processor is not None:
            check_kind("processor", self.processor, Processor)
        if self.weight_format is not None:
            find_format(self.weight_format)
        find_format(self.head_format)
        find_format(self.attention_format)
        if self.reader not in EFFICIENCY:
            raise EstimateError(
                f"reader must be one of {', '.join(EFFICIENCY)}, not {self.reader!r}"
            )
        with estimate_errors():
            for name in ("engines", "pass_tokens", "rows", "kv_bits"):
                object.__setattr__(self, name, check_integer(name, getattr(self, name), 1, 2**31))
            check_choice("sram_kilobytes", self.sram_kilobytes, SRAM_KILOBYTES)
            check_number("clock_mhz", self.clock_mhz, 0.001, 100_000)
            check_number("fixed_us", self.fixed_us, 0, 1e9)
            for name in _RATES:
                check_number(name, getattr(self, name), 0)
                if not getattr(self, name):
                    raise EstimateError(f"{name} must be above 0, not 0")

    @property
    def number_format(self) -> NumberFormat:
        """Number format of the linear layers; that of the engine's weight code, where there is one.

        Every count of bytes, energy and area takes the bits of a weight from here.
        """
        if self.config is not None:
            return engine_format(self.config)
        return find_format(self.weight_format or "")

    @property
    def head(self) -> NumberFormat:
        """Number format of the head."""
        return self.stored_head or find_format(self.head_format)

    @property
    def full_rate(self) -> float:
        """Multiply-accumulates per cycle at full utilization."""
        if self.config is not None:
            return self.config.macs_per_clock * self.engines
        if self.processor is not None:
            return min(self.macs_per_cycle, self.processor.macs_per_cycle)
        return self.macs_per_cycle

    @property
    def attention_rate(self) -> float:
        """Multiply-accumulates of attention, and of a head with multiplications, per cycle."""
        if self.processor is not None:
            return min(self.attention_macs_per_cycle, self.processor.head_macs_per_cycle)
        return self.attention_macs_per_cycle

    @property
    def shared_tokens(self) -> int:
        """Activation vectors that share a pass over the weights."""
        return self.config.tokens if self.config else self.pass_tokens

    @property
    def shared_rows(self) -> int:
        """Outputs that share one read of an activation from its buffer."""
        return self.config.rows if self.config else self.rows

    @property
    def buffer_kilobytes(self) -> int:
        """Smallest published SRAM that holds the activation buffer; the largest where none does.

        An engine's buffer has two halves, each of all activations of a job.
        """
        if self.config is None:
            return self.sram_kilobytes
        one = self.config
        size = 2 * one.max_chunks * one.lanes * one.tokens * one.act_bits / 8
        return next((kb for kb in SRAM_KILOBYTES if size <= kb * 1024), SRAM_KILOBYTES[-1])

    @property
    def energy_boundary(self) -> str:
        """Extent of the estimated energy of a token, in words.

        The figures of a profile cover arithmetic and memory. Other machines spend further energy on
        instructions, caches, control and wires.
        """
        if self.ours:
            return "dynamic only"
        return f"for {self.name} {LOWER_BOUND}, dynamic only"


def sustained(design: Design, memory: Memory) -> Efficiency:
    """Return the share of a memory's bandwidth that a design sustains, and its source.

    Parameters
    ----------
    design : the reader; the fabric sustains another share of HBM than of other memories
    memory : where it reads from
    """
    hbm = design.reader == "fabric" and memory.hbm
    return EFFICIENCY["fabric-hbm" if hbm else design.reader]


def own_design(name: str, config: MatVecConfig, clock_mhz: float) -> Design:
    """Make the design of an engine of this project.

    The rest of a transformer beside the engine is as wide as one group of lanes: attention and
    vector operations do ``lanes`` values per cycle. The head is in INT8, the cache in 8 bits.

    Parameters
    ----------
    name : name of the design
    config : the engine
    clock_mhz : its clock frequency, from 0.001 to 100,000 MHz

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``, or the frequency is not a number.
    EstimateError
        If the frequency is not legal.
    """
    check_kind("config", config, MatVecConfig)
    return Design(
        name=name,
        reader="fabric",
        clock_mhz=clock_mhz,
        config=config,
        head_format="int8",
        kv_bits=8,
        attention_macs_per_cycle=config.lanes,
        vector_elements_per_cycle=config.lanes,
        ours=True,
        source=read_data(_FILE)["own"]["source"],
    )


def _published(name: str, entry: Mapping[str, Any]) -> Design:
    """Make the design of a published system from its entry of the data file."""
    values = {"name": name, **entry}
    if "engine" in values:
        values["config"] = MatVecConfig(**values.pop("engine"))
    for rate in ("macs", "attention_macs"):
        if f"{rate}_per_second" in values:
            hertz = values["clock_mhz"] * 1e6
            values[f"{rate}_per_cycle"] = values.pop(f"{rate}_per_second") / hertz
    if "processor" in values:
        values["processor"] = record(Processor, values["processor"], f"{_FILE}: {name}.processor")
    return record(Design, values, f"{_FILE}: {name}")


def _designs() -> dict[str, Design]:
    """Make all designs: each preset, and the entries of the data file.

    A compact preset has the rate of the preset of its shape, and is no design of its own.
    """
    data = read_data(_FILE)
    own = data["own"]
    found = [
        own_design(name, config, own["preset_clock_mhz"])
        for name, config in PRESETS.items()
        if not config.compact
    ]
    found += [
        own_design(name, MatVecConfig(**entry["engine"]), entry["clock_mhz"])
        for name, entry in own["arrays"].items()
    ]
    found += [_published(name, entry) for name, entry in data["published"].items()]
    return {design.name: design for design in found}


#: Designs by name: ours, and published ones with the figures of their publications.
DESIGNS: dict[str, Design] = _designs()


def find_design(name: str) -> Design:
    """Find a design by name.

    Raises
    ------
    EstimateError
        If there is no such design.
    """
    return find("design", name, DESIGNS)
