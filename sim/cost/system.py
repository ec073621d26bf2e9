"""Whole models on whole systems: time and energy of a token, and where the bound lies."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf

from ...hw.config import PRESETS, MatVecConfig
from ..tools.errors import EstimateError
from .cycles import matvec_cycles
from .energy import (
    DRAM,
    FORMATS,
    SRAM_KILOBYTES,
    NumberFormat,
    Parts,
    Profile,
    accumulator_bits,
    find_format,
    find_profile,
)
from .workload import ModelShape, Work, decode, prefill

__all__ = [
    "DESIGNS",
    "EFFICIENCY",
    "MEMORIES",
    "MODES",
    "Design",
    "Estimate",
    "Memory",
    "estimate",
    "find_design",
    "find_memory",
    "rival",
]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What weights and the key-value cache are read from.

    Parameters
    ----------
    name : of the memory
    gigabytes_per_second : at its pins, 10⁹ bytes per second
    dram : its energy, a key of ``DRAM``; None where reading is the activation SRAM's
    """

    name: str
    gigabytes_per_second: float
    dram: str | None


#: Memories by name: transfers per second × bits / 8.
MEMORIES: dict[str, Memory] = {
    name: Memory(name=name, gigabytes_per_second=rate, dram=dram)
    for name, rate, dram in (
        ("ddr3-1333x16", 2.667, "ddr3"),
        ("ddr4-2400x64", 19.2, "ddr4"),
        ("ddr4-3200x128", 51.2, "ddr4"),
        ("lpddr4-4266x32", 17.06, "lpddr4"),
        ("lpddr5-6400x64", 51.2, "lpddr5"),
        ("lpddr5-6400x128", 102.4, "lpddr5"),
        ("lpddr5x-8000x256", 256.0, "lpddr5x"),
        ("gddr6-15000x192", 360.0, "gddr6"),
        ("hbm2", 460.0, "hbm2"),
        ("hbm2e", 460.8, "hbm2e"),
        ("on-chip", inf, None),
    )
}


#: Short names.
_ALIASES = {
    "ddr3": "ddr3-1333x16",
    "ddr4": "ddr4-2400x64",
    "lpddr4": "lpddr4-4266x32",
    "lpddr5": "lpddr5-6400x64",
}


#: Share of the bandwidth at the pins that each kind of reader sustains. Each is measured on a
#: system that is not among the published ones that estimates are compared with.
EFFICIENCY: dict[str, tuple[float, str]] = {
    "fabric": (0.89, "ternfpga's DMA on an Arty A7: 1.42 of the 1.6 GB/s of its port"),
    "fabric-hbm": (0.92, "Shuhai (FCCM 2020) on a U280: 425 of 460 GB/s"),
    "laptop": (0.49, "llama-roofline on an i7-12700H: 37.65 of the 76.8 GB/s of DDR5-4800"),
    "desktop": (
        0.73,
        "llama.cpp issue 34, 65B in 5 bits on a Ryzen 3700X: 40.8 GB in 1.089 s of 51.2 GB/s",
    ),
    "arm": (0.63, "llama-roofline on a Raspberry Pi 5: 10.69 of the 17.07 GB/s of LPDDR4X-4267"),
    "gpu": (0.55, "llama.cpp, Llama 3.2 1B in 8 bits on an RTX 3090: 395 tokens/s of 936 GB/s"),
}


def find_memory(name: str) -> Memory:
    """A memory by name.

    Raises
    ------
    EstimateError
        If there is none of that name.
    """
    name_or_alias = _ALIASES.get(name, name)
    if name_or_alias not in MEMORIES:
        known = ", ".join([*MEMORIES, *_ALIASES])
        raise EstimateError(f"the memory must be one of {known}, not {name!r}")
    return MEMORIES[name_or_alias]


@dataclass(frozen=True, kw_only=True)
class Design:
    """What multiplies, and how fast.

    Parameters
    ----------
    name : of the design
    reader : a key of ``EFFICIENCY``
    clock_mhz : of the array
    weight_format : a key of ``FORMATS``, of the linear layers
    config : the engine whose cycles count; None for a design that is only so many MACs
    engines : such engines, which share the rows of each matrix
    macs_per_clock : of a design without ``config``, at full utilization; infinite where memory is
        known to be the bound
    pass_tokens : of a design without ``config``: activation vectors that share a pass over weights
    rows : of a design without ``config``: outputs that share one read of an activation
    head_format : of the head's weights and its arithmetic
    kv_bits : of a stored key or value
    attention_macs : per clock
    vector_elements : per clock, of what is no matrix product; infinite where it is hidden behind
        the products
    port_bytes : per clock, that the array's port to memory takes at most
    sram_kilobytes : activation buffer of a design without ``config``, one of ``SRAM_KILOBYTES``
    fixed_us : further time of each pass over the weights, in microseconds
    source : of the figures, or ``modelled``
    """

    name: str
    reader: str
    clock_mhz: float
    weight_format: str
    config: MatVecConfig | None = None
    engines: int = 1
    macs_per_clock: float = inf
    pass_tokens: int = 1
    rows: int = 1
    head_format: str = "fp16"
    kv_bits: int = 16
    attention_macs: float = inf
    vector_elements: float = inf
    port_bytes: float = inf
    sram_kilobytes: int = 8
    fixed_us: float = 0.0
    source: str

    def __post_init__(self) -> None:
        find_format(self.weight_format)
        find_format(self.head_format)
        if self.reader not in EFFICIENCY:
            raise EstimateError(
                f"reader must be one of {', '.join(EFFICIENCY)}, not {self.reader!r}"
            )
        for name in (
            "clock_mhz",
            "engines",
            "macs_per_clock",
            "pass_tokens",
            "rows",
            "kv_bits",
            "attention_macs",
            "vector_elements",
            "port_bytes",
        ):
            if not getattr(self, name) > 0:
                raise EstimateError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.clock_mhz > 100_000:
            raise EstimateError(f"clock_mhz must be at most 100000, not {self.clock_mhz}")

    @property
    def macs(self) -> float:
        """Multiply-accumulates per clock at full rate."""
        return self.config.macs_per_clock * self.engines if self.config else self.macs_per_clock

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
        """Smallest published SRAM that holds the activation buffer; the largest where none does."""
        if self.config is None:
            return self.sram_kilobytes
        one = self.config
        size = 2 * one.max_chunks * one.lanes * one.tokens * one.act_bits / 8
        return next((kb for kb in SRAM_KILOBYTES if size <= kb * 1024), SRAM_KILOBYTES[-1])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a step takes: a decoded token of each sequence, or a prompt.

    Parameters
    ----------
    model, design, memory : names
    work : what is computed and moved
    linear_compute, linear_memory : seconds of the linear layers' arithmetic and of their weights,
        which overlap
    attention, head, vector, fixed : seconds of the rest
    cycles : clocks of all matrix products of the linear layers, one after the other; exact where
        the design is ours
    weight_bytes, kv_bytes : read from memory, the head's weights included
    parts : energy in pJ of all matrix products, attention not included; None without a profile
    attention_pj : energy of attention, its key-value traffic included
    """

    model: str
    design: str
    memory: str
    work: Work
    linear_compute: float
    linear_memory: float
    attention: float
    head: float
    vector: float
    fixed: float
    cycles: float
    weight_bytes: float
    kv_bytes: float
    parts: Parts | None
    attention_pj: float

    @property
    def seconds(self) -> float:
        """Of the step."""
        linear = max(self.linear_compute, self.linear_memory)
        return linear + self.attention + self.head + self.vector + self.fixed

    @property
    def tokens_per_second(self) -> float:
        """Of all sequences together."""
        return self.work.tokens / self.seconds

    @property
    def joules_per_token(self) -> float | None:
        """Dynamic energy of products and memory; no static power, clock or host."""
        if self.parts is None:
            return None
        return (self.parts.total + self.attention_pj) * 1e-12 / self.work.tokens

    @property
    def bound(self) -> str:
        """What takes the most time."""
        shares = {
            "compute": self.linear_compute if self.linear_compute > self.linear_memory else 0.0,
            "weights": 0.0 if self.linear_compute > self.linear_memory else self.linear_memory,
            "attention and KV": self.attention,
            "head": self.head,
            "vector operations": self.vector,
            "fixed costs": self.fixed,
        }
        return max(shares, key=lambda name: shares[name])


@lru_cache(maxsize=65536)
def _cycles(config: MatVecConfig, n: int, k: int, tokens: int) -> int:
    try:
        fitting = replace(config, k_max=max(k, config.k_max), n_max=max(n, config.n_max))
    except ValueError as error:
        raise EstimateError(f"the engine must take each matrix of the model: {error}") from None
    return matvec_cycles(fitting, n, k, tokens)


def _linear_cycles(design: Design, model: ModelShape, tokens: int) -> float:
    """Clocks of the linear layers for so many tokens."""
    if design.config is None:
        return model.active_weights * tokens / design.macs_per_clock
    total = 0.0
    for linear in model.linears:
        # Tokens spread over the experts that they are expected to choose.
        touched = linear.active
        each = tokens
        if linear.active < linear.count:
            touched = linear.count * (1 - (1 - linear.active / linear.count) ** tokens)
            each = max(1, round(tokens * linear.active / touched))
        total += touched * _cycles(design.config, ceil(linear.n / design.engines), linear.k, each)
    return total


def _bandwidth(design: Design, memory: Memory, clock_hz: float) -> float:
    """Bytes per second that the design gets."""
    kind = design.reader
    if kind == "fabric" and memory.name.startswith("hbm"):
        kind = "fabric-hbm"
    port = design.port_bytes * clock_hz
    return EFFICIENCY[kind][0] * min(memory.gigabytes_per_second * 1e9, port)


def _time(amount: float, rate: float) -> float:
    return 0.0 if rate == inf else amount / rate


def estimate(
    model: ModelShape,
    design: Design,
    memory: Memory,
    *,
    context: int = 512,
    batch: int = 1,
    prompt: int | None = None,
    profile: Profile | None = None,
) -> Estimate:
    """Time and energy of decoding a token of each sequence, or of a prompt.

    A step is the sum of the linear layers, in which arithmetic and the weight stream overlap,
    attention, in which arithmetic and the key-value stream do, the head, where the same holds, and
    what does not overlap: vector operations, and fixed costs. Weights are read again for each pass
    of ``shared_tokens`` activation vectors.

    Parameters
    ----------
    model, design, memory : what computes what from where
    context : tokens that each sequence attends to
    batch : sequences
    prompt : None to decode; else tokens of the prompt of each sequence, and ``context`` is unused
    profile : figures for the energy; None for none

    Raises
    ------
    EstimateError
        If a size is not legal, the memory is too slow to be real, or the profile has no figure.
    """
    if prompt is None:
        work = decode(model, context, batch=batch)
    else:
        work = prefill(model, prompt, batch=batch)
    hertz = design.clock_mhz * 1e6
    bandwidth = _bandwidth(design, memory, hertz)
    number_format, head_format = find_format(design.weight_format), find_format(design.head_format)
    linear_passes = ceil(work.tokens / design.shared_tokens)
    head_passes = ceil(work.sequences / design.shared_tokens)
    linear_bytes = work.linear_weights * number_format.weight_bits / 8
    head_bytes = work.head_weights * head_format.weight_bits / 8
    kv_bytes = (work.kv_reads + work.kv_writes) * design.kv_bits / 8
    cycles = _linear_cycles(design, model, work.tokens)
    head_macs = design.macs if head_format.multiply is None else design.attention_macs
    attention_seconds = _time(work.attention_macs, design.attention_macs * hertz)
    parts, attention_pj = None, 0.0
    if profile is not None:
        parts, attention_pj = _energy(
            model, design, memory, work, profile, linear_passes, head_passes
        )
    return Estimate(
        model=model.name,
        design=design.name,
        memory=memory.name,
        work=work,
        linear_compute=cycles / hertz,
        linear_memory=_time(linear_bytes * linear_passes, bandwidth),
        attention=max(attention_seconds, _time(kv_bytes, bandwidth)),
        head=max(
            _time(work.head_macs, head_macs * hertz), _time(head_bytes * head_passes, bandwidth)
        ),
        vector=_time(work.vector_elements, design.vector_elements * hertz),
        fixed=design.fixed_us * 1e-6 * linear_passes,
        cycles=cycles,
        weight_bytes=linear_bytes * linear_passes + head_bytes * head_passes,
        kv_bytes=kv_bytes,
        parts=parts,
        attention_pj=attention_pj,
    )


def _energy(
    model: ModelShape,
    design: Design,
    memory: Memory,
    work: Work,
    profile: Profile,
    linear_passes: int,
    head_passes: int,
) -> tuple[Parts, float]:
    """Energy of the linear layers and the head by part, and of attention (FP16), in pJ."""
    bit = profile.sram_bit(design.buffer_kilobytes)
    moved = DRAM[memory.dram].pj_per_bit if memory.dram else profile.sram_bit(1024)
    mac = register = sram = 0.0
    number_format, head_format = find_format(design.weight_format), find_format(design.head_format)
    products: list[tuple[NumberFormat, int, int, float]] = [
        (number_format, one.n, one.k, one.active * work.tokens) for one in model.linears
    ]
    products.append((head_format, model.vocabulary, model.hidden, work.sequences))
    for kind, n, k, vectors in products:
        figures = dict(profile.mac(kind, k))
        held = figures.pop("register", None)
        macs = n * k * vectors
        mac += macs * sum(figure.pj for figure in figures.values())
        register += macs * held.pj if held else 0.0
        result = kind.act_bits if kind.add else accumulator_bits(kind, k)
        reads = kind.act_bits * k * ceil(n / design.shared_rows)
        sram += (reads + result * n) * vectors * bit
    weights = (
        work.linear_weights * linear_passes * number_format.weight_bits
        + work.head_weights * head_passes * head_format.weight_bits
    )
    attention = sum(
        figure.pj for figure in profile.mac(FORMATS["fp16"], model.head_size or 1).values()
    )
    kv = (work.kv_reads + work.kv_writes) * design.kv_bits
    return (
        Parts(mac=mac, register=register, sram=sram, dram=weights * moved),
        work.attention_macs * attention + kv * moved,
    )


#: Area of arithmetic at 45 nm in µm², as published beside the energies of ``horowitz45``.
_AREA = {
    "int8 add": 36.0,
    "int16 add": 67.0,
    "int32 add": 137.0,
    "fp16 add": 1360.0,
    "fp32 add": 4184.0,
    "int8 mul": 282.0,
    "fp16 mul": 1640.0,
    "fp32 mul": 7700.0,
}


_AREA_SOURCE = "Horowitz, ISSCC 2014, as tabled by Dally (unconfirmed): arithmetic only, 45 nm, µm²"


#: How two designs are made comparable, and what is held equal.
MODES = {
    "macs": "as many MACs per clock",
    "area": f"arithmetic of the same area ({_AREA_SOURCE}; as measured by profiles gate:LIBRARY)",
    "bandwidth": "the same memory, and arithmetic that is never the bound, on both sides",
    "power": "the same power of arithmetic at full rate, by the energy profile",
}


def mac_area(number_format: NumberFormat, k: int, profile: Profile | None = None) -> float:
    """Area of one MAC in µm²: as a profile has measured it, else its arithmetic's at 45 nm.

    Of the latter an integer adder grows with its width.

    Raises
    ------
    EstimateError
        If the format has no area.
    """
    if profile is not None and profile.areas:
        if number_format.measured not in profile.areas:
            raise EstimateError(
                f"equal area needs an area for {number_format.measured!r}, and profile "
                f"{profile.name} has one for {', '.join(profile.areas)}"
            )
        return profile.areas[number_format.measured]
    area = 0.0
    for name in (number_format.multiply, number_format.add):
        if name is None:
            continue
        if name not in _AREA:
            raise EstimateError(
                f"equal area needs an area for {name!r}, and there is one for {', '.join(_AREA)}"
            )
        area += _AREA[name]
    if number_format.add is None:
        area += _AREA["int8 add"] * accumulator_bits(number_format, k) / 8
    return area


def rival(
    design: Design, number_format: str, *, mode: str, k: int, profile: Profile | None = None
) -> tuple[Design, Design]:
    """A design, and one of another number format that is equal to it in some way.

    The rival's arithmetic is fully used, has the same clock, and shares reads and passes alike.

    Parameters
    ----------
    design : ours
    number_format : the rival's, a key of ``FORMATS``
    mode : a key of ``MODES``
    k : products in a sum, which sets the width of integer adders
    profile : for equal power, by default ``jouppi7``; for equal area if it has areas

    Returns
    -------
    The design and its rival; for equal bandwidth the first differs from ``design``.

    Raises
    ------
    EstimateError
        If a name is unknown, or no figure is published for what the mode holds equal.
    """
    if mode not in MODES:
        raise EstimateError(f"equal must be one of {', '.join(MODES)}, not {mode!r}")
    ours, theirs = find_format(design.weight_format), find_format(number_format)
    macs = design.macs
    if mode == "area":
        macs *= mac_area(ours, k, profile) / mac_area(theirs, k, profile)
    elif mode == "power":
        figures = profile or find_profile("jouppi7")
        one, other = (
            sum(figure.pj for figure in figures.mac(kind, k).values()) for kind in (ours, theirs)
        )
        macs *= one / other
    elif mode == "bandwidth":
        macs = inf
        design = replace(
            design,
            config=None,
            macs_per_clock=inf,
            pass_tokens=design.shared_tokens,
            rows=design.shared_rows,
            sram_kilobytes=design.buffer_kilobytes,
        )
    return design, Design(
        name=f"{number_format}, equal {mode}",
        reader=design.reader,
        clock_mhz=design.clock_mhz,
        weight_format=number_format,
        macs_per_clock=macs,
        pass_tokens=design.shared_tokens,
        rows=design.shared_rows,
        head_format=design.head_format,
        kv_bits=design.kv_bits,
        attention_macs=design.attention_macs,
        vector_elements=design.vector_elements,
        port_bytes=design.port_bytes,
        sram_kilobytes=design.buffer_kilobytes,
        fixed_us=design.fixed_us,
        source="modelled",
    )


def _ours(name: str, config: MatVecConfig, clock_mhz: float) -> Design:
    """Our engine, with the rest of a decoder beside it that is as wide as one group of lanes."""
    return Design(
        name=name,
        reader="fabric",
        clock_mhz=clock_mhz,
        weight_format="ternary-1.6" if config.code != "two_bit" else "ternary-2.0",
        config=config,
        head_format="int8",
        kv_bits=8,
        attention_macs=config.lanes,
        vector_elements=config.lanes,
        source="modelled: the engine's exact cycles; attention MACs and vector operations as many "
        "per clock as the engine has lanes, head in INT8, KV cache in 8 bits",
    )


_KV260 = MatVecConfig(lanes=80, rows=1, tokens=2, k_max=6912, n_max=131_072)


#: Designs by name: ours, and published ones with the figures that their publications give.
DESIGNS: dict[str, Design] = {
    design.name: design
    for design in (
        *(_ours(name, config, 250.0) for name, config in PRESETS.items()),
        _ours("array-1024", MatVecConfig(lanes=64, rows=16, k_max=6912, n_max=131_072), 1000.0),
        _ours(
            "array-1024x4",
            MatVecConfig(lanes=64, rows=16, tokens=4, k_max=6912, n_max=131_072),
            1000.0,
        ),
        Design(
            name="kv260",
            reader="fabric",
            clock_mhz=250.0,
            weight_format="ternary-1.6",
            config=_KV260,
            engines=4,
            head_format="ternary-1.6",
            kv_bits=32,
            # Four A53 at 1.333 GHz, a MAC a clock each.
            attention_macs=4 * 1333 / 250,
            vector_elements=1,
            port_bytes=64,
            fixed_us=1800,
            source="MerlijnW70/bitnet-kv260: four engines of one 16-byte beat of 80 trits, two "
            "vectors a pass, ternary head, FP32 cache, attention on four A53 at a MAC a clock "
            "each, other operations a value a clock, 1.8 ms of each pass outside the bursts",
        ),
        Design(
            name="ternfpga",
            reader="fabric",
            clock_mhz=100.0,
            weight_format="ternary-2.0",
            macs_per_clock=8,
            head_format="ternary-2.0",
            attention_macs=1,
            vector_elements=1,
            port_bytes=16,
            source="Neumann-Labs/ternfpga: 8 MACs a clock; the rest on a soft RISC-V",
        ),
        Design(
            name="tereffic-hbm",
            reader="fabric",
            clock_mhz=150.0,
            weight_format="ternary-1.6",
            source="TerEffic, arXiv 2502.16473: one U280, weights in HBM, bound by it; vector "
            "operations pipelined with the products (clock unconfirmed, without effect here)",
        ),
        Design(
            name="tellme-v2",
            reader="fabric",
            clock_mhz=250.0,
            weight_format="ternary-1.6",
            source="TeLLMe v2, arXiv 2510.15926: table look-up, vector operations hidden; its "
            "array is not among the facts at hand and taken as never the bound",
        ),
        Design(
            name="laptop-bitnet.cpp",
            reader="laptop",
            clock_mhz=1000.0,
            weight_format="ternary-2.0",
            source="bitnet.cpp, I2_S: 2 bits per weight, head in FP16; bound by memory",
        ),
        Design(
            name="desktop-bitnet.cpp",
            reader="desktop",
            clock_mhz=1000.0,
            weight_format="ternary-2.0",
            source="bitnet.cpp, I2_S: 2 bits per weight, head in FP16; bound by memory",
        ),
        Design(
            name="laptop-bf16",
            reader="laptop",
            clock_mhz=1000.0,
            weight_format="bf16",
            head_format="bf16",
            source="BF16 weights; bound by memory",
        ),
        Design(
            name="a53-bitnet.cpp",
            reader="arm",
            clock_mhz=1333.0,
            weight_format="ternary-2.0",
            # 4.49 prompt tokens a second are 9.36 GMAC/s in the linear layers.
            macs_per_clock=9.36e9 / 1333e6,
            attention_macs=9.36e9 / 1333e6,
            source="bitnet.cpp on four A53; MACs per clock from its own prompt rate, 4.49 tokens/s",
        ),
        Design(
            name="gpu-bf16",
            reader="gpu",
            clock_mhz=1000.0,
            weight_format="bf16",
            head_format="bf16",
            source="BF16 weights in transformers; bound by memory",
        ),
    )
}


def find_design(name: str) -> Design:
    """A design by name.

    Raises
    ------
    EstimateError
        If there is none of that name.
    """
    if name not in DESIGNS:
        raise EstimateError(f"the design must be one of {', '.join(DESIGNS)}, not {name!r}")
    return DESIGNS[name]
