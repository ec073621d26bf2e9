"""Language models on the token core: time and energy of a token, by the core's own cycle model."""

from dataclasses import dataclass

from ...golden.checkpoint.model_config import ModelConfig
from ..tools.errors import EstimateError
from .core.core import PARTS
from .core.cycles import CoreCycles
from .core.extension import extended_cycles
from .core_designs import CoreDesign
from .energy import Parts
from .memories import Memory
from .profiles import Profile
from .system import check_capacity, step_energy
from .workload import ModelShape, decode

__all__ = ["CoreEstimate", "core_sizes", "estimate_core", "part_seconds"]


@dataclass(frozen=True, kw_only=True)
class CoreEstimate:
    """Time and energy of a token on a core.

    Parameters
    ----------
    model, design, memory : names
    cycles : cycles and bytes by part, with memories that answer at once
    seconds_by_part : time of each part: its cycles or its bytes, whichever take longer
    waiting : parts whose bytes take longer than their cycles
    parts : energy of all matrix products but attention, in pJ; None without a profile
    attention_pj : energy of attention in pJ, its key-value traffic included
    """

    model: str
    design: str
    memory: str
    cycles: CoreCycles
    seconds_by_part: dict[str, float]
    waiting: tuple[str, ...]
    parts: Parts | None
    attention_pj: float

    @property
    def seconds(self) -> float:
        """Duration of the token."""
        return sum(self.seconds_by_part.values())

    @property
    def tokens_per_second(self) -> float:
        """Rate of one sequence."""
        return 1 / self.seconds

    @property
    def joules_per_token(self) -> float | None:
        """Dynamic energy of matrix products and memory; a lower bound of the core's."""
        if self.parts is None:
            return None
        return (self.parts.total + self.attention_pj) * 1e-12

    @property
    def bound(self) -> str:
        """Part of the token that takes the most time, by the names of ``Estimate.bound``."""
        seconds = self.seconds_by_part
        products = "weights" if "products" in self.waiting else "compute"
        shares = {
            products: seconds["products"],
            "attention and KV": seconds["attention"],
            "head": seconds["head"],
            "vector operations": self.seconds
            - sum(seconds[part] for part in ("products", "attention", "head")),
        }
        return max(shares, key=lambda name: shares[name])


def core_sizes(model: ModelShape, context_max: int) -> ModelConfig:
    """Return the sizes of a model as the compiler of the token core takes them.

    Parameters
    ----------
    model : the model
    context_max : its longest context, where the model's is not recorded

    Raises
    ------
    EstimateError
        If the model is not of a kind that the core runs.
    """
    sizes = model.sizes
    if sizes is None:
        raise EstimateError(
            f"the token core runs transformers, and {model.name} is none; choose another design"
        )
    wrong = {
        "layers with experts": bool(sizes.sparse_layers),
        "sliding windows": any(limit is not None for limit, _ in sizes.windows or ()),
        "feed-forward layers without a gate": not sizes.gated,
        "norms of queries and keys": sizes.head_norms,
        f"{sizes.norms_per_layer} norms per layer": sizes.norms_per_layer != 2,
        "biases": sizes.biases,
        "a norm in front of each linear layer": sizes.linear_norms,
        f"the activation {sizes.hidden_act}": sizes.hidden_act not in ("relu2", "silu"),
    }
    found = [name for name, there in wrong.items() if there]
    if found:
        raise EstimateError(
            f"the token core runs models of BitNet and of Llama, and {model.name} has "
            f"{', '.join(found)}; choose another design"
        )
    keys = {
        "model_type": "bitnet" if sizes.sub_norms else "llama",
        "hidden_act": sizes.hidden_act,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.ffn,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_size,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": sizes.context or context_max,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": sizes.tied,
    }
    return ModelConfig.read(keys, model.name)


def part_seconds(
    cycles: CoreCycles, *, hertz: float, rate: float, resident_bytes: float = 0.0
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the time of each part of a token: that of its cycles, and that of its bytes.

    Arithmetic and memory overlap, so that a part takes the longer one. Parts follow one another.

    Parameters
    ----------
    cycles : cycles and bytes by part, with memories that answer at once
    hertz : clock frequency
    rate : bytes per second that the memory delivers
    resident_bytes : bytes of ternary weights that another memory delivers, at a beat per cycle
    """
    moved: dict[str, float] = dict(cycles.bytes_by_part)
    moved["products"] = max(0.0, moved["products"] - resident_bytes)
    return (
        {part: cycles.by_part[part] / hertz for part in PARTS},
        {part: moved[part] / rate for part in PARTS},
    )


def estimate_core(
    model: ModelShape,
    core: CoreDesign,
    memory: Memory,
    *,
    context: int = 512,
    profile: Profile | None = None,
) -> CoreEstimate:
    """Estimate time and energy of a token on a token core.

    Cycles come from the core's cycle model, see ``extended_cycles``. Weights, head, cache and
    tables share one memory, see ``part_seconds``.

    Parameters
    ----------
    model, core, memory : the model, the core, and where its weights are
    context : tokens that the token attends to, itself included
    profile : figures for the energy; None for no energy

    Raises
    ------
    EstimateError
        If the core does not run this kind of model, the context is beyond the model's, the memory
        is too small, or the profile has no figure.
    CompileError
        If a size of the model is above the core's maximum, or does not fit its lanes.
    """
    config, design = core.config, core.design
    sizes = core_sizes(model, config.context_max)
    if not 1 <= context <= sizes.max_positions:
        raise EstimateError(
            f"the context must be from 1 to {sizes.max_positions}, the longest of {model.name} on "
            f"this token core, not {context}"
        )
    work = decode(model, context)
    check_capacity(model, design, memory, work)
    cycles = extended_cycles(config, sizes, position=context - 1)
    computes, moves = part_seconds(cycles, hertz=core.clock_mhz * 1e6, rate=core.bandwidth(memory))
    parts, attention_pj = None, 0.0
    if profile is not None:
        kv_bytes = cycles.bytes_by_part["attention"]
        rest = sum(cycles.bytes_by_part.values()) - kv_bytes
        parts, attention_pj = step_energy(model, design, memory, work, profile, rest, kv_bytes)
    return CoreEstimate(
        model=model.name,
        design=core.name,
        memory=memory.name,
        cycles=cycles,
        seconds_by_part={part: max(computes[part], moves[part]) for part in PARTS},
        waiting=tuple(part for part in PARTS if moves[part] > computes[part]),
        parts=parts,
        attention_pj=attention_pj,
    )
