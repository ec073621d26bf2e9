"""Language models on designs: time and energy of a step, and what bounds it."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import ceil, inf

from ...hw.config import MatVecConfig
from ..tools.errors import EstimateError
from .cycles import matvec_cycles
from .designs import Design, sustained
from .energy import Parts
from .formats import NumberFormat, accumulator_bits, find_format
from .memories import Memory
from .profiles import Profile
from .workload import ModelShape, Work, decode, expected_cost, prefill, weights_per_pass

__all__ = ["Estimate", "bandwidth", "check_capacity", "estimate", "step_energy"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Time and energy of a step: a decoded token of each sequence, or a prompt.

    Parameters
    ----------
    model, design, memory : names
    work : counts of the step
    linear_compute, linear_memory : seconds of the linear layers' arithmetic, and of their weights;
        the two overlap
    attention, head, vector, calls, fixed : seconds of the rest; ``calls`` are operator calls
    cycles : cycles of all matrix products of the linear layers, one after the other; exact where
        the design has an engine
    weight_bytes, kv_bytes : bytes read from memory, the head's weights included
    parts : energy of all matrix products but attention, in pJ; None without a profile
    attention_pj : energy of attention in pJ, its key-value traffic included
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
    calls: float
    fixed: float
    cycles: float
    weight_bytes: float
    kv_bytes: float
    parts: Parts | None
    attention_pj: float

    @property
    def seconds(self) -> float:
        """Duration of the step."""
        linear = max(self.linear_compute, self.linear_memory)
        return linear + self.attention + self.head + self.vector + self.calls + self.fixed

    @property
    def tokens_per_second(self) -> float:
        """Rate of all sequences together.

        Raises
        ------
        EstimateError
            If nothing bounds the rate, because neither the arithmetic nor the memory has a limit.
        """
        if not self.seconds:
            raise EstimateError(
                f"nothing bounds the rate of design {self.design} with memory {self.memory}; "
                "choose a memory off chip, or a design whose MACs per cycle are known"
            )
        return self.work.tokens / self.seconds

    @property
    def joules_per_token(self) -> float | None:
        """Dynamic energy of products and memory, without static power, clock tree or host.

        It is a lower bound for a design that is not ours, see ``Design.energy_boundary``.
        """
        if self.parts is None:
            return None
        return (self.parts.total + self.attention_pj) * 1e-12 / self.work.tokens

    @property
    def bound(self) -> str:
        """Part of the step that takes the most time."""
        computes = self.linear_compute > self.linear_memory
        shares = {
            "compute": self.linear_compute if computes else 0.0,
            "weights": 0.0 if computes else self.linear_memory,
            "attention and KV": self.attention,
            "head": self.head,
            "vector operations": self.vector,
            "operator calls": self.calls,
            "fixed costs": self.fixed,
        }
        return max(shares, key=lambda name: shares[name])


@lru_cache(maxsize=65536)
def _cycles(config: MatVecConfig, n: int, k: int, tokens: int) -> int:
    """Return the cycles of a product on an engine that is large enough for it."""
    try:
        fitting = replace(config, k_max=max(k, config.k_max), n_max=max(n, config.n_max))
    except ValueError as error:
        raise EstimateError(f"the engine must take each matrix of the model: {error}") from None
    return matvec_cycles(fitting, n, k, tokens)


def _linear_cycles(design: Design, model: ModelShape, tokens: int) -> float:
    """Return the cycles of the linear layers; each expert takes the tokens that choose it."""
    if design.config is None:
        return model.active_weights * tokens / design.full_rate
    config, engines = design.config, design.engines
    total = 0.0
    for linear in model.linears:
        cycles = partial(_cycles, config, ceil(linear.n / engines), linear.k)
        if linear.active < linear.count:
            chance = linear.active / linear.count
            total += linear.count * expected_cost(tokens, chance, cycles)
        else:
            total += linear.active * cycles(tokens)
    return total


def bandwidth(design: Design, memory: Memory) -> float:
    """Return the bytes per second that the design gets from the memory."""
    port = design.port_bytes_per_cycle * design.clock_mhz * 1e6
    return sustained(design, memory).share * min(memory.gigabytes_per_second * 1e9, port)


def check_capacity(model: ModelShape, design: Design, memory: Memory, work: Work) -> None:
    """Refuse a model whose weights, keys and values do not fit the memory.

    Parameters
    ----------
    model, design, memory : the model, its number formats, and where its weights are
    work : counts of the step, which reads all keys and values

    Raises
    ------
    EstimateError
        If the memory is too small.
    """
    tables = (model.parameters - model.linear_weights) * design.head.weight_bits
    weights = (model.linear_weights * design.number_format.weight_bits + tables) / 8e9
    cache = work.kv_reads * design.kv_bits / 8e9
    if weights + cache > memory.gigabytes:
        raise EstimateError(
            f"{model.name} needs {weights + cache:.4g} GB on design {design.name}, {weights:.4g} "
            f"for weights and {cache:.4g} for keys and values, and memory {memory.name} has "
            f"{memory.gigabytes:g} GB; choose a larger memory or a smaller model"
        )


def _seconds(amount: float, rate: float) -> float:
    """Return the time of an amount at a rate; an infinite rate takes none."""
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
    """Estimate time and energy of decoding a token of each sequence, or of a prompt.

    A step is the sum of six parts. In the linear layers, arithmetic and the weight stream overlap.
    In attention, arithmetic and the key-value stream overlap. In the head, arithmetic and its
    weights overlap. Vector operations, operator calls and fixed costs overlap with nothing. Weights
    are read again for each pass of ``shared_tokens`` activation vectors.

    Parameters
    ----------
    model, design, memory : the model, its arithmetic, and where its weights are
    context : tokens that each sequence attends to
    batch : sequences
    prompt : None to decode; else tokens of the prompt of each sequence, and ``context`` is unused
    profile : figures for the energy; None for no energy

    Raises
    ------
    EstimateError
        If a size is not legal, the engine cannot take a matrix, the memory is too small, or the
        profile has no figure.
    """
    if prompt is None:
        work = decode(model, context, batch=batch)
    else:
        work = prefill(model, prompt, batch=batch)
    check_capacity(model, design, memory, work)
    hertz = design.clock_mhz * 1e6
    rate = bandwidth(design, memory)
    passes = ceil(work.tokens / design.shared_tokens)
    head_passes = ceil(work.sequences / design.shared_tokens)
    pass_weights = weights_per_pass(model, work.tokens, design.shared_tokens)
    linear, head = design.number_format, design.head
    linear_bytes = pass_weights * linear.weight_bits / 8 * passes
    head_bytes = work.head_weights * head.weight_bits / 8 * head_passes
    kv_bytes = (work.kv_reads + work.kv_writes) * design.kv_bits / 8
    cycles = _linear_cycles(design, model, work.tokens)
    # A head without multiplications runs on the array, another on the units of attention.
    on_array = head.multiply is None
    head_macs = design.full_rate if on_array else design.attention_rate
    attention_seconds = _seconds(work.attention_macs, design.attention_rate * hertz)
    calls = 0.0
    if design.processor is not None:
        calls = design.processor.call_seconds(model.layers, design.clock_mhz) * passes
    parts, attention_pj = None, 0.0
    if profile is not None:
        parts, attention_pj = step_energy(
            model, design, memory, work, profile, linear_bytes + head_bytes, kv_bytes
        )
    return Estimate(
        model=model.name,
        design=design.name,
        memory=memory.name,
        work=work,
        linear_compute=cycles / hertz,
        linear_memory=_seconds(linear_bytes, rate),
        attention=max(attention_seconds, _seconds(kv_bytes, rate)),
        head=max(_seconds(work.head_macs, head_macs * hertz), _seconds(head_bytes, rate)),
        vector=_seconds(work.vector_elements, design.vector_elements_per_cycle * hertz),
        calls=calls,
        fixed=design.fixed_us * 1e-6 * passes,
        cycles=cycles,
        weight_bytes=linear_bytes + head_bytes,
        kv_bytes=kv_bytes,
        parts=parts,
        attention_pj=attention_pj,
    )


def step_energy(
    model: ModelShape,
    design: Design,
    memory: Memory,
    work: Work,
    profile: Profile,
    weight_bytes: float,
    kv_bytes: float,
) -> tuple[Parts, float]:
    """Return the energy of a step: all matrix products but attention by part, and attention, in pJ.

    Parameters
    ----------
    model, design, memory, work, profile : as in ``estimate``
    weight_bytes, kv_bytes : bytes that the memory moves for the products and for attention

    Raises
    ------
    MissingFigureError
        If the profile has no figure for an operation.
    """
    moved = 8 * _moved_bit(memory, profile)
    attention = profile.mac_pj(find_format(design.attention_format), model.head_size or 1)
    parts = _product_energy(model, design, work, profile, weight_bytes * moved)
    return parts, work.attention_macs * attention + kv_bytes * moved


def _moved_bit(memory: Memory, profile: Profile) -> float:
    """Return the energy to move a bit from memory, in pJ; on chip from the largest SRAM."""
    return memory.dram.pj_per_bit if memory.dram else profile.sram_bit(1024)


def _product_energy(
    model: ModelShape, design: Design, work: Work, profile: Profile, dram: float
) -> Parts:
    """Return the energy of the linear layers and the head by part, in pJ; ``dram`` is given."""
    bit = profile.sram_bit(design.buffer_kilobytes)
    mac = register = sram = 0.0
    products: list[tuple[NumberFormat, int, int, float]] = [
        (design.number_format, one.n, one.k, one.active * work.tokens) for one in model.linears
    ]
    products.append((design.head, model.vocabulary, model.hidden, work.sequences))
    for kind, n, k, vectors in products:
        figures = profile.mac(kind, k)
        held = figures.pop("register", None)
        macs = n * k * vectors
        mac += macs * sum(figure.pj for figure in figures.values())
        register += macs * held.pj if held else 0.0
        result = kind.act_bits if kind.add else accumulator_bits(kind, k)
        reads = kind.act_bits * k * ceil(n / design.shared_rows)
        sram += (reads + result * n) * vectors * bit
    return Parts(mac=mac, register=register, sram=sram, dram=dram)
