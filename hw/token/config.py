"""Configuration of the token core: its engine, its widths, and the largest model that it runs."""

from dataclasses import dataclass, fields

from ...golden.checks import check_choice, check_integer
from ..config import MatVecConfig, check_config

__all__ = ["CORE_PRESETS", "TokenConfig", "check_core_config"]

#: Legal numbers of vector lanes, and of attention lanes.
VECTOR_LANES = (1, 2, 4, 8, 16)
ATTENTION_LANES = (4, 8, 16, 32, 64, 128, 256, 512)

#: Legal widths of the memory port, in bits.
MEMORY_WIDTHS = (32, 64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class TokenConfig:
    """Everything that shapes a token core. A model runs on it if no size is above its maximum.

    Parameters
    ----------
    engine : configuration of the ternary engine, with ``act_bits`` 8 and one token; its ``k_max``
        and ``n_max`` must hold the matrices of the largest model
    vector_lanes : 1, 2, 4, 8 or 16; elements of a vector per cycle; at most ``memory_width / 32``
        and ``attention_lanes``
    attention_lanes : 4 to 512, a power of two; int8 products per cycle
    memory_width : 32, 64, 128, 256 or 512; bits of a word of the memory port
    hidden_max : elements of the residual stream, 1 to ``engine.k_max``
    ffn_max : elements between the matrices of the feed-forward layer, 1 to ``engine.k_max``
    heads_max, kv_heads_max : 1 to 256; heads of queries, and of keys and values; at most
        ``heads_max // kv_heads_max`` heads of queries may share keys and values
    head_size_max : 2 to 256, even; elements of a head
    context_max : 1 to 65,536; positions
    vocabulary_max : 2 to 262,144; tokens

    Raises
    ------
    TypeError
        If a number is not an integer, or ``engine`` is not a ``MatVecConfig``.
    ValueError
        If a value is not legal, or the engine is too small.
    """

    engine: MatVecConfig
    vector_lanes: int = 4
    attention_lanes: int = 64
    memory_width: int = 512
    hidden_max: int
    ffn_max: int
    heads_max: int
    kv_heads_max: int
    head_size_max: int
    context_max: int
    vocabulary_max: int

    def __post_init__(self) -> None:
        engine = check_config(self.engine)
        for name, choices in (
            ("vector_lanes", VECTOR_LANES),
            ("attention_lanes", ATTENTION_LANES),
            ("memory_width", MEMORY_WIDTHS),
        ):
            object.__setattr__(self, name, check_choice(name, getattr(self, name), choices))
        for name, low, high in (
            ("hidden_max", 1, engine.k_max),
            ("ffn_max", 1, engine.k_max),
            ("heads_max", 1, 256),
            ("kv_heads_max", 1, 256),
            ("head_size_max", 2, 256),
            ("context_max", 1, 65_536),
            ("vocabulary_max", 2, 262_144),
        ):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low, high))
        for name, found, legal in (
            ("engine.act_bits", engine.act_bits, 8),
            ("engine.tokens", engine.tokens, 1),
        ):
            if found != legal:
                raise ValueError(f"{name} must be {legal}, not {found}")
        if self.kv_heads_max > self.heads_max:
            raise ValueError(
                f"kv_heads_max must be at most heads_max, {self.heads_max}, not {self.kv_heads_max}"
            )
        if self.head_size_max % 2:
            raise ValueError(f"head_size_max must be even, not {self.head_size_max}")
        if 32 * self.vector_lanes > self.memory_width:
            raise ValueError(
                f"vector_lanes must be at most memory_width / 32 = {self.memory_width // 32}, "
                f"not {self.vector_lanes}"
            )
        if self.vector_lanes > self.attention_lanes:
            raise ValueError(
                f"vector_lanes must be at most attention_lanes, {self.attention_lanes}, "
                f"not {self.vector_lanes}"
            )
        for name, needed, most in (
            ("engine.k_max", self.attention_max, engine.k_max),
            ("engine.n_max", max(self.hidden_max, self.ffn_max, self.attention_max), engine.n_max),
        ):
            if needed > most:
                raise ValueError(
                    f"{name} must be at least {needed} for the largest model, not {most}"
                )

    @property
    def attention_max(self) -> int:
        """Elements of all heads of queries of the largest model."""
        return self.heads_max * self.head_size_max

    @property
    def shared_max(self) -> int:
        """Heads of queries that may share keys and values."""
        return self.heads_max // self.kv_heads_max

    @property
    def address_bits(self) -> int:
        """Bits of a byte address of the memory port."""
        return 32

    @property
    def row_bytes(self) -> int:
        """Bytes of which rows of int8 take a multiple in memory: whole words, and whole chunks.

        A chunk has a byte for each attention lane.
        """
        return max(self.memory_width // 8, self.attention_lanes)

    def row_chunks(self, elements: int) -> int:
        """Chunks of a row of int8."""
        return -(-elements // self.row_bytes) * self.row_bytes // self.attention_lanes

    @property
    def work_max(self) -> int:
        """Elements of the largest vector that is not the residual stream."""
        heads = self.heads_max + 2 * self.kv_heads_max
        return max(self.ffn_max, heads * self.head_size_max)

    @property
    def maxima(self) -> dict[str, int]:
        """Maximum of each size of a model, by the name without ``_max``."""
        return {
            field.name.removesuffix("_max"): getattr(self, field.name)
            for field in fields(self)
            if field.name.endswith("_max")
        }


def check_core_config(config: object) -> TokenConfig:
    """Check that a component's ``config`` is a ``TokenConfig``, and return it.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(config, TokenConfig):
        raise TypeError(f"config must be a TokenConfig, not {config!r}")
    return config


#: Configurations with names. ``pydoc`` runs the language model that the repository holds.
CORE_PRESETS = {
    "pydoc": TokenConfig(
        engine=MatVecConfig(lanes=64, rows=5, k_max=256, n_max=256),
        hidden_max=256,
        ffn_max=256,
        heads_max=4,
        kv_heads_max=2,
        head_size_max=64,
        context_max=256,
        vocabulary_max=1024,
    ),
}
