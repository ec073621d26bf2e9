"""An engine as a core for ZigZag and Stream, with the figures of the stored tables.

Both programs explore mappings of networks on accelerators that YAML files describe. The format
here is that of ZigZag 3.9 (``zigzag-dse`` on PyPI, ``parser/accelerator_validator.py``). Stream 2.1
(``stream-dse``, ``parser/core_validator.py``) reads it as a core. The spatial mapping is not in the
file: each program has its own names of the loops, and both find that of the engine. Energies are in
pJ, sizes and bandwidths in bits, bandwidths per cycle. One access moves as many bits as the port is
wide.
"""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from ...golden.errors import printable
from ...golden.templates import render
from ...hw.config import MatVecConfig
from ..gatelevel.table import LANES, Table, load_table
from ..tools.errors import EstimateError
from .designs import Design, own_design, sustained
from .memories import Memory, find_memory
from .profiles import Profile, measured_profile

__all__ = ["ZigzagCore", "zigzag_core"]

#: Bits of a weight and of a result in the file. Widths of both programs are those of a workload's
#: element types, and Stream has none below 8 bits and no odd ones: int8 and int32. Energies and
#: rates are those of the weight code and of the engine's results.
_WEIGHT_BITS, _RESULT_BITS = 8, 32


@dataclass(frozen=True, kw_only=True)
class _Number:
    """A number of the file.

    Parameters
    ----------
    value : the number
    label : ``measured``, ``published`` or ``modelled``
    source : where it is from, in one line
    """

    value: float
    label: str
    source: str

    def __str__(self) -> str:
        """Write the number and its origin as YAML; no exponent, which YAML reads as a string."""
        text = f"{self.value:.9f}".rstrip("0").rstrip(".")
        return f"{text}  # {self.label}: {printable(self.source)}"


@dataclass(frozen=True, kw_only=True)
class ZigzagCore:
    """A core for ZigZag.

    Parameters
    ----------
    name : name of the core
    clock_ghz : clock frequency that the energies and bandwidths are for
    numbers : each number of the file by its place
    text : the file
    """

    name: str
    clock_ghz: float
    numbers: dict[str, _Number]
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers with label and source."""
        numbers = {name: asdict(number) for name, number in self.numbers.items()}
        return {"name": self.name, "clock_ghz": self.clock_ghz, "numbers": numbers}


def zigzag_core(config: MatVecConfig, *, library: str, memory: str) -> ZigzagCore:
    """Describe an engine as a core for ZigZag.

    The array has the dimensions D1 (lanes), D2 (rows) and D3 (tokens). Registers and the adder tree
    are in the energy of a MAC. The activation buffer serves the whole array. Weights, inputs and
    results go to the memory.

    Parameters
    ----------
    config : the engine
    library : cell library, one of ``library_names()``; the clock is its ``common_clock``
    memory : memory outside, a key of ``MEMORIES`` or its short name

    Raises
    ------
    EstimateError
        If a name is not known, or a figure that the file needs was not measured or published.
    """
    table = load_table(library)
    clock = table.common_clock
    design = own_design("engine", config, clock * 1000)
    profile, form = measured_profile(table), design.number_format
    outside = find_memory(memory)
    if outside.dram is None:
        raise EstimateError(
            f"the memory must be one outside the chip, such as ddr4, not {memory!r}"
        )
    # A format holds all codes of as many bits; each code has a unit of its own.
    unit = form.measured.partition("-")[0] + f"-{config.code}" * ("-" in form.measured)
    mac, register = (profile.figure(f"{unit} {part}") for part in ("mac", "register"))
    widths = {
        "activation_read": config.lanes * config.tokens * config.act_bits,
        "activation_write": config.lanes * config.act_bits,
        "result": config.rows * _RESULT_BITS,
    }
    numbers = {
        "unit_energy": _energy(
            mac.pj + register.pj,
            mac.label,
            f"per MAC, clock and input pins included; {mac.source}",
        ),
        "unit_area": _Number(
            value=profile.areas[unit],
            label="measured",
            source=f"um2 per MAC; cells of {unit}, {LANES} lanes, {library}",
        ),
        **_buffer(design, table, profile, widths),
        **_outside(design, outside, widths),
    }
    name = f"trilith_{config}_{config.code}_{library}".replace("-", "_")
    text = render(
        "trilith.sim.cost",
        "zigzag.yaml.jinja",
        core=name,
        config=config,
        library=library,
        node=printable(table.node),
        boundary=profile.boundary,
        clock=f"{clock:g}",
        weight_bits=_WEIGHT_BITS,
        result_bits=_RESULT_BITS,
        stored_bits=f"{form.weight_bits:g}",
        widths=widths,
        number=numbers,
    )
    return ZigzagCore(name=name, clock_ghz=clock, numbers=numbers, text=text)


def _shape(value: float, source: str) -> _Number:
    """Make a number that follows from the engine's shape."""
    return _Number(value=value, label="modelled", source=source)


def _energy(value: float, label: str, source: str) -> _Number:
    """Make an energy in pJ."""
    return _Number(value=value, label=label, source=f"pJ; {source}")


def _buffer(
    design: Design, table: Table, profile: Profile, widths: dict[str, int]
) -> dict[str, _Number]:
    """Describe the activation buffer: macros of 64 bits side by side, as wide as a read.

    The macro is the smallest measured one that is deep enough, or the largest. A library without
    macros has published energies of a memory as large as the buffer.
    """
    config = design.config
    assert config is not None
    depth = 2 * config.max_chunks
    read, write = widths["activation_read"] / 64, widths["activation_write"] / 64
    size = _shape(depth * widths["activation_read"], "bits; two halves of k_max for each token")
    macros = sorted((one for one in table.sram if one.bits == 64), key=lambda one: one.words)
    if not macros:
        name = f"sram {design.buffer_kilobytes} KB"
        if name not in profile.figures:
            raise EstimateError(
                f"the library {table.library} has no figures of an SRAM; give ihp-sg13g2 or asap7"
            )
        figure = profile.figure(name)
        words = f"{read:g} words of 64 bits; {figure.source}"
        area = _Number(value=0, label="not known", source="um2; the sources have no area of SRAM")
        return {
            "buffer_size": size,
            "buffer_read_cost": _energy(figure.pj * read, figure.label, words),
            "buffer_write_cost": _energy(
                figure.pj * write,
                figure.label,
                f"{write:g} words of 64 bits, a write counted as a read; {figure.source}",
            ),
            "buffer_area": area,
        }
    macro = next((one for one in macros if one.words >= depth), macros[-1])
    count = ceil(read) * ceil(depth / macro.words)
    return {
        "buffer_size": size,
        "buffer_read_cost": _energy(
            macro.read_pj * read, "measured", f"{read:g} reads of {macro.name}, its Liberty file"
        ),
        "buffer_write_cost": _energy(
            macro.write_pj * write,
            "measured",
            f"{write:g} writes of {macro.name}, its Liberty file",
        ),
        "buffer_area": _Number(
            value=macro.area * count,
            label="measured",
            source=f"um2; {count} macros {macro.name}, their Liberty file",
        ),
    }


def _outside(design: Design, outside: Memory, widths: dict[str, int]) -> dict[str, _Number]:
    """Describe the memory outside: what it delivers of the weights, inputs and results."""
    config, form, clock = design.config, design.number_format, design.clock_mhz / 1000
    assert config is not None
    assert outside.dram is not None
    dram, share = outside.dram, sustained(design, outside)
    dram_source = f"{dram.name}, {dram.source} ({dram.boundary})"
    bits = outside.gigabytes_per_second * 8 * share.share / clock
    beat = config.rows * config.lanes
    weights = min(beat, int(bits / form.weight_bits))
    if not weights:
        raise EstimateError(
            f"the memory {outside.name} must deliver a weight per cycle at {clock:g} GHz, not "
            f"{bits:.2g} bits; give a faster one"
        )
    return {
        "weight_width": _shape(
            weights * _WEIGHT_BITS,
            f"{weights} weights per cycle of {_WEIGHT_BITS} bits in the file; the engine takes "
            f"{beat} of {form.weight_bits:g} bits, {outside.name} delivers {bits:.6g} bits: "
            f"{outside.gigabytes_per_second:g} GB/s ({outside.source}), {share.share:g} of them "
            f"({share.source}), at {clock:g} GHz",
        ),
        "weight_cost": _energy(
            dram.pj_per_bit * form.weight_bits * weights,
            "published",
            f"{weights} weights of {form.weight_bits:g} bits; {dram_source}",
        ),
        "input_width": _shape(widths["activation_write"], "bits; a beat of the activations stream"),
        "input_cost": _energy(
            dram.pj_per_bit * widths["activation_write"],
            "published",
            f"{widths['activation_write']} bits; {dram_source}",
        ),
        "result_width": _shape(
            widths["result"],
            f"bits; a beat of the results stream, {config.rows} results of {_RESULT_BITS} bits in "
            f"the file and {config.acc_width} in the engine",
        ),
        "result_cost": _energy(
            dram.pj_per_bit * config.rows * config.acc_width,
            "published",
            f"{config.rows * config.acc_width} bits; {dram_source}",
        ),
    }
