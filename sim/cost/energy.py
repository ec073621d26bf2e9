"""The energy model: published and measured figures per operation, and what products cost by them.

Energies are in pJ per operation unless a name says otherwise. Nothing is scaled from one process
node to another: a profile has one node, and what it has no figure for it refuses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from ..gatelevel.table import HEADLINES, Table, load_table, tables
from ..tools.errors import EstimateError
from .workload import ModelShape

__all__ = [
    "DRAM",
    "FORMATS",
    "SRAM_KILOBYTES",
    "Buffered",
    "Dram",
    "Figure",
    "MissingFigureError",
    "NumberFormat",
    "PaperEnergy",
    "Parts",
    "Profile",
    "accumulator_bits",
    "buffered",
    "find_profile",
    "matmul_energy",
    "paper_energy",
    "paper_ratio",
    "profiles",
    "ternary_ratios",
]


class MissingFigureError(EstimateError):
    """A figure that the sources of a profile do not have."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An energy and where it comes from.

    Parameters
    ----------
    pj : per operation
    source : publication, or how it was measured or modelled
    label : ``published``, ``measured`` or ``modelled``
    """

    pj: float
    source: str
    label: str = "published"


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """How weights and activations are stored, and what multiplies them.

    Parameters
    ----------
    name : of the format
    weight_bits, act_bits : stored bits of a weight (scales not included) and of an activation
    multiply : name of the figure of the multiplication, None where there is none
    add : name of the figure of the addition, None for an integer of the accumulator's width
    product_bits : of an integer product, without sign growth: the accumulator grows from it
    measured : the unit that gate-level tables have for it
    """

    name: str
    weight_bits: float
    act_bits: int
    multiply: str | None
    add: str | None
    product_bits: int
    measured: str


def _format(
    name: str,
    weight_bits: float,
    act_bits: int,
    multiply: str | None,
    add: str | None = None,
    product_bits: int = 0,
    *,
    measured: str,
) -> NumberFormat:
    return NumberFormat(
        name=name,
        weight_bits=weight_bits,
        act_bits=act_bits,
        multiply=multiply,
        add=add,
        product_bits=product_bits,
        measured=measured,
    )


#: Number formats by name. ``w4a16`` has 4-bit weights that become FP16 before they multiply.
FORMATS: dict[str, NumberFormat] = {
    one.name: one
    for one in (
        _format("fp32", 32, 32, "fp32 mul", "fp32 add", measured="fp32xfp32-fp32-fused"),
        _format("fp16", 16, 16, "fp16 mul", "fp16 add", measured="fp16xfp16-fp32-fused"),
        _format("bf16", 16, 16, "bf16 mul", "bf16 add", measured="bf16xbf16-fp32-fused"),
        _format("fp8", 8, 8, "fp8 mul", "fp16 add", measured="e4m3xe4m3-fp32-fused"),
        _format("int8", 8, 8, "int8 mul", product_bits=15, measured="int8xint8"),
        _format("int4", 4, 8, "int8 x int4 mul", product_bits=11, measured="int4xint8"),
        _format("w4a16", 4, 16, "fp16 mul", "fp16 add", measured="int4xfp16-fp32-fused"),
        _format("ternary-2.0", 2.0, 8, None, product_bits=8, measured="ternaryxint8-two_bit"),
        _format("ternary-1.6", 1.6, 8, None, product_bits=8, measured="ternaryxint8-escape"),
        _format("binary", 1.0, 8, None, product_bits=8, measured="binaryxint8"),
    )
}


def find_format(name: str) -> NumberFormat:
    """A number format by name.

    Raises
    ------
    EstimateError
        If there is none of that name.
    """
    if name not in FORMATS:
        raise EstimateError(f"the number format must be one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name]


def accumulator_bits(number_format: NumberFormat, k: int) -> int:
    """Bits that hold the sum of k integer products exactly: 20 for int8 activations, K = 2560."""
    return (k << (number_format.product_bits - 1)).bit_length() + 1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Figures of one process node.

    Parameters
    ----------
    name : of the profile
    node : process node and voltage
    boundary : what the figures leave out
    figures : by name, such as ``fp16 mul`` or ``sram 8 KB`` (a read of 64 bits); a measured one
        has ``… mac`` and ``… register`` of units instead of arithmetic
    adder_bits : width that every integer addition is taken to have; None for the accumulator's
    areas : in µm² per MAC, of measured units
    """

    name: str
    node: str
    boundary: str
    figures: dict[str, Figure]
    adder_bits: int | None = None
    areas: Mapping[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> Figure:
        """The figure of that name.

        Raises
        ------
        MissingFigureError
            If there is none.
        """
        if name not in self.figures:
            own = [key for key in self.figures if not key.endswith(" register")]
            raise MissingFigureError(
                f"profile {self.name} must have a figure for {name!r} and its source has none; it "
                f"has {', '.join(own)}"
            )
        return self.figures[name]

    def integer_add(self, bits: int) -> Figure:
        """An integer addition of a width.

        As published for that width, or in proportion to the width from the 8-bit figure, as gate
        level adders grow, though not past what is published for another width.
        """
        exact = self.figures.get(f"int{bits} add")
        if exact is not None:
            return exact
        base = self.figure("int8 add")
        pj = base.pj * bits / 8
        for width in (16, 32):
            other = self.figures.get(f"int{width} add")
            if other is not None:
                pj = min(pj, other.pj) if bits < width else max(pj, other.pj)
        return Figure(pj=pj, source=f"{bits}/8 of the 8-bit add ({base.source})", label="modelled")

    def mac(
        self, number_format: NumberFormat, k: int, adder_bits: int | None = None
    ) -> dict[str, Figure]:
        """What one MAC costs, by part: ``multiply``, ``add``, or a measured ``mac``, ``register``.

        The measured register is what flip-flops' clock pins take, and the charge of them and of
        the other pins that no cell drives.

        Parameters
        ----------
        number_format : of the operands
        k : products in a sum, which sets the accumulator's width
        adder_bits : width of an integer addition; by default the profile's or the accumulator's

        Raises
        ------
        MissingFigureError
            If the profile has no figure for it.
        """
        if f"{number_format.measured} mac" in self.figures:
            return {
                part: self.figures[f"{number_format.measured} {part}"]
                for part in ("mac", "register")
            }
        parts = {}
        if number_format.multiply is not None:
            parts["multiply"] = self.figure(number_format.multiply)
        if number_format.add is not None:
            parts["add"] = self.figure(number_format.add)
        else:
            width = adder_bits or self.adder_bits or accumulator_bits(number_format, k)
            parts["add"] = self.integer_add(width)
        return parts

    def sram_bit(self, kilobytes: int) -> float:
        """Energy to read one bit, in pJ, of an SRAM of a size in ``SRAM_KILOBYTES``."""
        return self.figure(f"sram {kilobytes} KB").pj / 64


#: Sizes of SRAM that the published figures know.
SRAM_KILOBYTES = (8, 32, 1024)


_HOROWITZ = "Horowitz, ISSCC 2014"


_JOUPPI = "Jouppi et al., ISCA 2021"


_EVOAPPROX = "EvoApproxLib's exact 8 x 4 multiplier, 45 nm, gate level, mW at 1 GHz"


_BARE = "arithmetic only: no registers, clock, operand selection, weight decoding or wires"


def _published(source: str, **pj: float) -> dict[str, Figure]:
    return {name.replace("_", " "): Figure(pj=value, source=source) for name, value in pj.items()}


def _sram(source: str, *pj: float) -> dict[str, Figure]:
    return {
        f"sram {size} KB": Figure(pj=value, source=f"{source}, 64-bit read")
        for size, value in zip(SRAM_KILOBYTES, pj, strict=True)
    }


_HOROWITZ45 = _published(
    _HOROWITZ,
    int8_add=0.03,
    int16_add=0.05,
    int32_add=0.1,
    fp16_add=0.4,
    fp32_add=0.9,
    int8_mul=0.2,
    int32_mul=3.1,
    fp16_mul=1.1,
    fp32_mul=3.7,
) | _sram(_HOROWITZ, 10, 20, 100)


_JOUPPI7 = (
    _published(
        _JOUPPI,
        int8_add=0.007,
        bf16_add=0.11,
        fp16_add=0.16,
        fp32_add=0.38,
        int8_mul=0.07,
        bf16_mul=0.21,
        fp16_mul=0.34,
        fp32_mul=1.31,
    )
    | _published(f"{_JOUPPI} (unconfirmed)", int32_add=0.03, int32_mul=1.48)
    | _sram(_JOUPPI, 7.5, 8.5, 14)
)


_PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="horowitz45",
            node="45 nm, 0.9 V",
            boundary=_BARE,
            figures=_HOROWITZ45 | {"int8 x int4 mul": Figure(pj=0.137, source=_EVOAPPROX)},
        ),
        Profile(name="jouppi7", node="7 nm", boundary=_BARE, figures=_JOUPPI7),
        Profile(
            name="bitnet-paper",
            node="7 nm",
            boundary=f"{_BARE}; every accumulation is one 8-bit add, however wide the sum",
            figures=_JOUPPI7,
            adder_bits=8,
        ),
    )
}


def profiles() -> list[str]:
    """Names of the profiles that there are, the measured ones too."""
    return [*_PROFILES, *(f"gate:{name}" for name in tables())]


def find_profile(name: str) -> Profile:
    """A profile by name: published, or ``gate:<library>`` as measured at gate level.

    Raises
    ------
    EstimateError
        If there is no such profile, or its table is damaged.
    """
    if name in _PROFILES:
        return _PROFILES[name]
    if name not in profiles():
        hint = ""
        if name.startswith("gate:"):
            hint = f": this version has no table of measured figures sim/data/gate-{name[5:]}.json"
        raise EstimateError(
            f"the energy profile must be one of {', '.join(profiles())}, not {name!r}{hint}"
        )
    return _measured(load_table(name[5:]))


#: Libraries of which no memory is at hand, and the published figures of the same node.
_PUBLISHED_SRAM = {"asap7": _sram(f"{_JOUPPI}, another 7 nm process", 7.5, 8.5, 14)}


def _measured(table: Table) -> Profile:
    """A profile of a library's table: units of 16 lanes on the trained network's operands."""
    figures, areas = {}, {}
    clock = table.common_clock
    for row in table.rows:
        if row != table.row(row.unit):
            continue
        source = f"{row.unit}, {row.lanes} lanes, {table.library} at {clock:g} GHz"
        if row.refused:
            source += "; a lower bound, the library's internal energies being incomplete"
        clocked = row.parts_fj["clock"]
        for part, fj in (("mac", row.energy_fj - clocked), ("register", clocked + row.ports_fj)):
            figures[f"{row.unit} {part}"] = Figure(pj=fj / 1e3, source=source, label="measured")
        areas[row.unit] = row.area_per_mac
    words = [macro for macro in table.sram if macro.bits == 64]
    for macro in words:
        figures[f"sram {macro.kilobytes:g} KB"] = Figure(
            pj=macro.read_pj, source=f"read of {macro.name}, its Liberty file", label="measured"
        )
    largest = max(words, key=lambda macro: macro.words, default=None)
    if largest:
        figures["sram 32 KB"] = Figure(
            pj=largest.read_pj,
            source=f"read of one of {32 / largest.kilobytes:g} banks {largest.name}, its Liberty "
            "file; without selecting the bank",
            label="modelled",
        )
    if not table.sram:
        figures |= _PUBLISHED_SRAM.get(table.library, {})
    memory = "measured" if table.sram else "published" if "sram 8 KB" in figures else "none"
    return Profile(
        name=f"gate:{table.library}",
        node=table.node,
        boundary="cells with decoder, operand and pipeline registers, clock and input pins "
        f"charged, zero-delay activity: no wires, clock tree or glitches; SRAM: {memory}",
        figures=figures,
        areas=areas,
    )


@dataclass(frozen=True, kw_only=True)
class Buffered:
    """What an activation buffer of 8 KB adds to a MAC.

    Parameters
    ----------
    unit : of ``HEADLINES``
    rows : outputs that share a read
    mac_fj : the unit, ports included
    buffer_fj : the buffer
    source, label : of the buffer's energies
    """

    unit: str
    rows: int
    mac_fj: float
    buffer_fj: float
    source: str
    label: str


def buffered(table: Table, rows: Sequence[int], *, n: int) -> list[Buffered]:
    """Energy per MAC with an activation buffer, of the units of ``HEADLINES``.

    An activation is written once and serves ``n`` outputs, ``rows`` of them by each read. Where no
    energy of a write is known, it counts as a read.

    Returns
    -------
    A value for each unit that was measured and each of ``rows``; none where no memory of the same
    node is known
    """
    read = _measured(table).figures.get("sram 8 KB")
    if read is None:
        return []
    macro = table.buffer(8)
    write = macro.write_pj if macro else read.pj
    found = []
    for unit, bits in HEADLINES.items():
        row = table.row(unit)
        for count in rows if row else ():
            reads = ceil(n / count)
            found.append(
                Buffered(
                    unit=unit,
                    rows=count,
                    mac_fj=row.with_ports_fj if row else 0.0,
                    buffer_fj=1000 * bits / 64 * (read.pj * reads + write) / n,
                    source=read.source + ("" if macro else "; a write counted as a read"),
                    label=read.label,
                )
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Dram:
    """Energy to move a bit out of a memory.

    Parameters
    ----------
    pj_per_bit : as published
    boundary : what the figure covers; this alone explains a threefold spread
    source : of it
    """

    pj_per_bit: float
    boundary: str
    source: str


#: Off-chip memories by name.
DRAM: dict[str, Dram] = {
    "ddr3": Dram(
        pj_per_bit=1950 / 64,
        boundary="device and I/O; middle of 1300 to 2600 pJ for 64 bits",
        source=_HOROWITZ,
    ),
    "ddr4": Dram(pj_per_bit=20, boundary="full system, secondary source", source="DDR4-3200"),
    "ddr5": Dram(pj_per_bit=14, boundary="full system, secondary source", source="DDR5-4800"),
    "lpddr4": Dram(
        pj_per_bit=11, boundary="device and I/O; middle of 8 to 14", source="LPDDR4, secondary"
    ),
    "lpddr5": Dram(pj_per_bit=9, boundary="full system, secondary source", source="LPDDR5-6400"),
    "lpddr5x": Dram(
        pj_per_bit=7.5, boundary="full system, secondary source", source="LPDDR5X-8533"
    ),
    "gddr5": Dram(pj_per_bit=14, boundary="device and I/O", source="O'Connor et al., MICRO 2017"),
    "gddr6": Dram(
        pj_per_bit=415 / 64, boundary="I/O; middle of 350 to 480 pJ for 64 bits", source=_JOUPPI
    ),
    "hbm2": Dram(
        pj_per_bit=3.97,
        boundary="device: activation, on-die movement, I/O, ECC",
        source="O'Connor et al., MICRO 2017",
    ),
    "hbm2-a100": Dram(
        pj_per_bit=13.1, boundary="as measured at the pins of an A100", source="measured by others"
    ),
    "hbm2e": Dram(pj_per_bit=4.3, boundary="device", source="SK hynix, IEDM 2023"),
}


def find_dram(name: str) -> Dram:
    """A memory's energy by name.

    Raises
    ------
    EstimateError
        If there is none of that name.
    """
    if name not in DRAM:
        raise EstimateError(f"the kind of DRAM must be one of {', '.join(DRAM)}, not {name!r}")
    return DRAM[name]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Energy by where it is spent, in pJ.

    Parameters
    ----------
    mac : arithmetic
    register : flip-flops' clock pins, and what it takes to charge them and the inputs; 0 where the
        profile has no figure
    sram : activations from their buffer and results into it
    dram : weights
    """

    mac: float
    register: float
    sram: float
    dram: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.mac + self.register + self.sram + self.dram


def matmul_energy(
    n: int,
    k: int,
    tokens: int,
    *,
    number_format: NumberFormat,
    profile: Profile,
    dram: Dram | None,
    rows: int = 1,
    pass_tokens: int = 1,
    sram_kilobytes: int = 8,
    adder_bits: int | None = None,
) -> Parts:
    """Energy of W (n, k) @ x (tokens, k), in pJ.

    Parameters
    ----------
    n, k, tokens : 1 or more
    number_format : of weights and activations
    profile : figures of arithmetic and SRAM
    dram : where weights come from; None for weights that never move
    rows : outputs that share one read of an activation from its buffer
    pass_tokens : activation vectors that share one pass over the weights
    sram_kilobytes : size of the activation buffer, one of ``SRAM_KILOBYTES``
    adder_bits : see ``Profile.mac``

    Raises
    ------
    EstimateError
        If a size is not legal, or the profile has no figure for the format.
    """
    for name, value in {
        "n": n,
        "k": k,
        "tokens": tokens,
        "rows": rows,
        "pass_tokens": pass_tokens,
    }.items():
        if type(value) is not int or not 1 <= value <= 2**31:
            raise EstimateError(f"{name} must be an integer from 1 to 2**31, not {value!r}")
    if adder_bits is not None and not 1 <= adder_bits <= 64:
        raise EstimateError(f"adder_bits must be from 1 to 64, not {adder_bits}")
    if sram_kilobytes not in SRAM_KILOBYTES:
        raise EstimateError(
            f"sram_kilobytes must be one of {', '.join(map(str, SRAM_KILOBYTES))}, "
            f"not {sram_kilobytes}"
        )
    parts = profile.mac(number_format, k, adder_bits)
    macs = n * k * tokens
    register = parts.pop("register", None)
    read_bits = number_format.act_bits * k * tokens * ceil(n / rows)
    result_bits = (
        number_format.act_bits if number_format.add else accumulator_bits(number_format, k)
    ) * (n * tokens)
    weight_bits = number_format.weight_bits * n * k * ceil(tokens / pass_tokens)
    return Parts(
        mac=macs * sum(part.pj for part in parts.values()),
        register=macs * register.pj if register else 0.0,
        sram=(read_bits + result_bits) * profile.sram_bit(sram_kilobytes),
        dram=weight_bits * dram.pj_per_bit if dram else 0.0,
    )


@dataclass(frozen=True, kw_only=True)
class PaperEnergy:
    """Energy of a prompt as BitNet's papers count it, in J.

    Parameters
    ----------
    multiply, add : all multiplications and all additions
    attention : what of both is attention
    """

    multiply: float
    add: float
    attention: float

    @property
    def total(self) -> float:
        """Both."""
        return self.multiply + self.add


#: Formats of BitNet's Table 1 by their bits.
_PAPER_BITS = {32: "fp32", 16: "fp16", 1: "fp16"}


def paper_energy(
    model: ModelShape, *, bits: int, tokens: int = 512, profile: Profile | None = None
) -> PaperEnergy:
    """Energy of a prompt by the recipe of BitNet's Table 1 (arXiv 2310.11453).

    Every MAC of the linear layers and of attention (the full square, not causal) is a
    multiplication and an addition of the row's format; without embedding and head. In the 1-bit row
    a linear layer's MAC is one 8-bit addition, attention is FP16, and each linear layer of (n, k)
    takes n + k multiplications per token in FP16, to scale.

    Parameters
    ----------
    model : what computes
    bits : 32, 16, or 1 for BitNet
    tokens : of the prompt
    profile : figures; by default ``bitnet-paper``
    """
    if bits not in _PAPER_BITS:
        raise EstimateError(f"bits must be one of {', '.join(map(str, _PAPER_BITS))}, not {bits}")
    figures = profile or _PROFILES["bitnet-paper"]
    kind = _PAPER_BITS[bits]
    multiply, add = figures.figure(f"{kind} mul").pj, figures.figure(f"{kind} add").pj
    linear = model.active_weights * tokens
    attention_layers = sum(layers for _, layers in model.windows)
    attention = 2 * tokens**2 * model.heads * model.head_size * attention_layers
    if bits == 1:
        scalings = sum((one.n + one.k) * one.active for one in model.linears) * tokens
        multiplied = (attention + scalings) * multiply
        added = attention * add + linear * figures.figure("int8 add").pj
    else:
        multiplied, added = (linear + attention) * multiply, (linear + attention) * add
    return PaperEnergy(
        multiply=multiplied * 1e-12,
        add=added * 1e-12,
        attention=attention * (multiply + add) * 1e-12,
    )


def paper_ratio(model: ModelShape, *, tokens: int = 512, profile: Profile | None = None) -> float:
    """FP16 over BitNet by the paper's recipe."""
    fp16 = paper_energy(model, bits=16, tokens=tokens, profile=profile)
    return fp16.total / paper_energy(model, bits=1, tokens=tokens, profile=profile).total


def ternary_ratios(profile: Profile, adder_bits: Sequence[int]) -> dict[int, float]:
    """An FP16 MAC over one ternary accumulate, by the width its addition is taken to have."""
    fp16 = profile.figure("fp16 mul").pj + profile.figure("fp16 add").pj
    return {bits: fp16 / profile.integer_add(bits).pj for bits in adder_bits}
