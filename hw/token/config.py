"""Configuration of the token core: its engine, its widths, and the largest model that it runs."""

from dataclasses import dataclass, fields, replace

from ...golden.checks import check_choice, check_integer
from ..config import MatVecConfig, check_config

__all__ = ["CORE_PRESETS", "K_MAX", "LARGEST_SIZES", "TokenConfig", "check_core_config"]

#: Most logits that a core answers with.
K_MAX = 32

#: Legal numbers of vector lanes, and of attention lanes.
VECTOR_LANES = (1, 2, 4, 8, 16)
ATTENTION_LANES = (4, 8, 16, 32, 64, 128, 256, 512)

#: Legal widths of the memory port, in bits.
MEMORY_WIDTHS = (32, 64, 128, 256, 512)

#: Legal numbers of tokens of a pass. The number of a token is the lowest bits of its places in the
#: memories, so that a core for 3 tokens would have the memories of one for 4.
TOKENS = (1, 2, 4, 8)

#: Largest legal value of each maximum, by its name without ``_max``.
LARGEST_SIZES = {
    "hidden": 65_536,
    "ffn": 65_536,
    "heads": 256,
    "kv_heads": 256,
    "head_size": 256,
    "context": 65_536,
    "vocabulary": 262_144,
}


@dataclass(frozen=True, kw_only=True)
class TokenConfig:
    """Everything that shapes a token core. A model runs on it if no size is above its maximum.

    A core is generated for the largest model. The program in memory has the sizes of the model that
    runs, so that a smaller model needs no new build. L is ``vector_lanes``, A is
    ``attention_lanes``, and W is ``memory_width``.

    ===================  ===========================================================================
    parameter            what grows with it
    ===================  ===========================================================================
    ``vector_lanes``     14 multipliers per lane: 2 in ``ResultScaler``, 4 in ``VectorWriter``, 1 in
                         ``PeakTracker``, 3 each in ``Normalizer`` and ``HeadUnit``, 1 in ``Mixer``
    ``attention_lanes``  2 multipliers of int8 per lane: one for scores and logits, one for mixtures
    ``memory_width``     bytes per cycle of the cache, the head, gains and scales
    ``hidden_max``       words of the vector memory: the residual stream
    ``ffn_max``, heads   words of the vector memory behind it: ``work_max`` elements
    ``context_max``      the score buffers: two of ``context_max · shared_max`` elements
    ``vocabulary_max``   counters of tokens
    ``engine.tokens``    the vector memory, angles and queries, each so many times; a gearbox and a
                         result beat for each token in ``ResultScaler``
    ===================  ===========================================================================

    The maxima need not be multiples of L. The compiler ``trilith.hw.token.image`` demands that of a
    model: its hidden and ffn sizes must be multiples of L, and its head size one of 2 · L.

    Example: ``CORE_PRESETS["pydoc"]`` has L = 4, A = 64 and W = 512. Its 4 heads of 64 give an
    ``attention_max`` of 256. Queries, keys and values of a token are 512 elements, which is
    ``work_max``. The vector memory has 256 / 4 + 512 / 4 = 192 words of 96 bits.

    Parameters
    ----------
    engine : configuration of the ternary engine, with ``act_bits`` 8; its ``k_max`` and ``n_max``
        must hold the matrices of the largest model; its ``tokens``, 1, 2, 4 or 8, are the most
        tokens of a prompt that read the weights once
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
        If a value is not legal, two values contradict each other, or the engine is too small.
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
        """Check each number on its own, and then the rules that join several of them."""
        engine = check_config(self.engine)
        for name, choices in (
            ("vector_lanes", VECTOR_LANES),
            ("attention_lanes", ATTENTION_LANES),
            ("memory_width", MEMORY_WIDTHS),
        ):
            object.__setattr__(self, name, check_choice(name, getattr(self, name), choices))
        for name, largest in LARGEST_SIZES.items():
            field_name, low = f"{name}_max", {"head_size": 2, "vocabulary": 2}.get(name, 1)
            high = engine.k_max if name in ("hidden", "ffn") else largest
            value = check_integer(field_name, getattr(self, field_name), low, high)
            object.__setattr__(self, field_name, value)
        # Quantizers deliver 8 bits.
        if engine.act_bits != 8:
            raise ValueError(f"engine.act_bits must be 8, not {engine.act_bits}")
        check_choice("engine.tokens", engine.tokens, TOKENS)
        if self.kv_heads_max > self.heads_max:
            raise ValueError(
                f"kv_heads_max must be at most heads_max, {self.heads_max}, not {self.kv_heads_max}"
            )
        # A rotation pairs each element of a head's first half with one of its second half.
        if self.head_size_max % 2:
            raise ValueError(f"head_size_max must be even, not {self.head_size_max}")
        # An element takes 32 bits in memory, and the L elements of a cycle come from one word.
        if 32 * self.vector_lanes > self.memory_width:
            raise ValueError(
                f"vector_lanes must be at most memory_width / 32 = {self.memory_width // 32}, "
                f"not {self.vector_lanes}"
            )
        # A chunk of a row is filled by whole pieces of L bytes.
        if self.vector_lanes > self.attention_lanes:
            raise ValueError(
                f"vector_lanes must be at most attention_lanes, {self.attention_lanes}, "
                f"not {self.vector_lanes}"
            )
        # The heads of queries are outputs of one product. Their mixture is the input of another.
        for name, needed, most in (
            ("engine.k_max", self.attention_max, engine.k_max),
            ("engine.n_max", max(self.hidden_max, self.ffn_max, self.attention_max), engine.n_max),
        ):
            if needed > most:
                raise ValueError(
                    f"{name} must be at least {needed} for the largest model, not {most}"
                )

    def __str__(self) -> str:
        return (
            f"{self.engine} {self.engine.code}, {self.vector_lanes} vector lanes, "
            f"{self.attention_lanes} attention lanes, {self.memory_width} bits of memory"
        )

    @property
    def tokens(self) -> int:
        """Most tokens of a pass, ``engine.tokens``: T in the descriptions of the parts."""
        return self.engine.tokens

    @property
    def attention_max(self) -> int:
        """Elements of all heads of queries of the largest model: ``heads_max · head_size_max``."""
        return self.heads_max * self.head_size_max

    @property
    def shared_max(self) -> int:
        """Heads of queries that may share keys and values, rounded down.

        Example: 8 heads of queries and 3 of keys and values give 2.
        """
        return self.heads_max // self.kv_heads_max

    @property
    def address_bits(self) -> int:
        """Bits of a byte address of the memory port."""
        return 32

    @property
    def segments(self) -> int:
        """Segments G of the attention lanes: positions of the cache that a chunk of rows has.

        A segment has as many lanes as the largest head, rounded up to a power of two, and at least
        a memory word. Longer heads than A, or longer words, leave one segment of A lanes.

        Example: A = 256, W = 512 and heads of 100 have 2 segments of 128 lanes.
        """
        lanes = max(1 << (self.head_size_max - 1).bit_length(), self.memory_width // 8)
        return max(1, self.attention_lanes // lanes)

    @property
    def segment_bytes(self) -> int:
        """Lanes of a segment: ``attention_lanes / segments``."""
        return self.attention_lanes // self.segments

    @property
    def row_bytes(self) -> int:
        """Bytes of which rows of the embedding and of the head take a multiple in memory.

        These are whole words, and whole chunks. A chunk has a byte for each attention lane. Both
        sizes are powers of two, so that the larger one is a multiple of the other.
        """
        return max(self.memory_width // 8, self.attention_lanes)

    @property
    def cache_row_bytes(self) -> int:
        """Bytes of which rows of the cache take a multiple: whole words, and whole segments."""
        return max(self.memory_width // 8, self.segment_bytes)

    @property
    def head_on_weights(self) -> bool:
        """Whether the rows of the head come as weight beats, and not through the memory port.

        This is so if a weight beat and the attention's lanes both have more bytes than a memory
        word. The head then takes ``min(engine.weight_bytes, attention_lanes)`` bytes per cycle.

        Example: an engine of 64 × 20 has beats of 256 bytes. With A = 256 and W = 512 the rows of
        the head are weight beats, and take a quarter of the cycles.
        """
        return min(self.engine.weight_bytes, self.attention_lanes) > self.memory_width // 8

    def head_beats(self, elements: int, vocabulary: int) -> int:
        """Weight beats of the rows of the head: 0 if they lie in memory.

        Rows follow one another, and zeros fill the last beat.

        Parameters
        ----------
        elements : 1 or more; bytes of a row without the zeros that fill it
        vocabulary : rows
        """
        size = vocabulary * self.row_chunks(elements) * self.attention_lanes
        return -(-size // self.engine.weight_bytes) if self.head_on_weights else 0

    def row_chunks(self, elements: int) -> int:
        """Chunks of a row of int8, with the zeros that fill it to a multiple of ``row_bytes``.

        Example: with A = 8 and W = 128 a row of 20 bytes takes 32 bytes, which are 4 chunks.

        Parameters
        ----------
        elements : 1 or more; bytes of the row without the zeros
        """
        return -(-elements // self.row_bytes) * self.row_bytes // self.attention_lanes

    def cache_row(self, elements: int) -> int:
        """Bytes of a row of the cache, with the zeros that fill it.

        Example: with A = 256 and W = 512 a head of 100 bytes takes 128 bytes in a core for heads of
        up to 128, and 256 bytes in one for larger heads.

        Parameters
        ----------
        elements : 1 or more; elements of a head
        """
        return -(-elements // self.cache_row_bytes) * self.cache_row_bytes

    def cache_chunks(self, elements: int) -> int:
        """Chunks of a row of the cache; 1 if a chunk has several rows.

        Parameters
        ----------
        elements : 1 or more; elements of a head
        """
        return max(1, self.cache_row(elements) // self.attention_lanes)

    @property
    def work_max(self) -> int:
        """Elements of the largest vector that is not the residual stream.

        Queries, keys and values of a token lie behind each other, and count as one vector.
        """
        heads = self.heads_max + 2 * self.kv_heads_max
        return max(self.ffn_max, heads * self.head_size_max)

    @property
    def multipliers(self) -> int:
        """Multipliers of the core: 14 · L + 2 · A + 5 · G + 5, with G ``segments``.

        Each segment has 2 in ``ScoreScaler`` and 3 in ``Softmax``. The last 5 serve scalars: 2 each
        in ``Normalizer`` and ``HeadUnit``, 1 for the factors of the queries. The ternary engine has
        none.

        Example: with L = 2, A = 16 and G = 1 it is 70.
        """
        return 14 * self.vector_lanes + 2 * self.attention_lanes + 5 * self.segments + 5

    @property
    def maxima(self) -> dict[str, int]:
        """Maximum of each size of a model, by the name without ``_max``.

        Example: ``maxima["kv_heads"]`` is ``kv_heads_max``.
        """
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


#: Core for the language model that the repository holds.
_PYDOC = TokenConfig(
    engine=MatVecConfig(lanes=64, rows=5, k_max=256, n_max=256),
    hidden_max=256,
    ffn_max=256,
    heads_max=4,
    kv_heads_max=2,
    head_size_max=64,
    context_max=256,
    vocabulary_max=1024,
)

#: Core for BitNet b1.58 2B4T.
_2B4T = TokenConfig(
    engine=MatVecConfig(lanes=64, rows=20, k_max=6912, n_max=6912),
    vector_lanes=8,
    attention_lanes=256,
    memory_width=512,
    hidden_max=2560,
    ffn_max=6912,
    heads_max=20,
    kv_heads_max=5,
    head_size_max=128,
    context_max=4096,
    vocabulary_max=128_256,
)

#: The core ``pydoc`` with lanes and a memory port for an LFE5U-85.
_PYDOC_ECP5 = replace(_PYDOC, vector_lanes=2, attention_lanes=16, memory_width=128)

#: Configurations with names. ``pydoc`` runs the language model that the repository holds, and so
#: does ``pydoc-ecp5``, which fits an LFE5U-85. ``ulx3s`` has the same widths, and maxima for a
#: model of 20 million ternary weights: hidden 512, ffn 1536, 6 layers. ``2b4t`` runs BitNet b1.58
#: 2B4T. ``small`` is for simulations of corner cases: rows of memory have several words, and heads
#: times their size are not the hidden size.
CORE_PRESETS = {
    "pydoc": _PYDOC,
    "pydoc-ecp5": _PYDOC_ECP5,
    "ulx3s": replace(
        _PYDOC_ECP5,
        engine=replace(_PYDOC.engine, k_max=1536, n_max=1536),
        hidden_max=512,
        ffn_max=1536,
        heads_max=8,
        kv_heads_max=4,
        context_max=512,
        vocabulary_max=16_384,
    ),
    "2b4t": _2B4T,
    "kv260": replace(
        _2B4T,
        engine=replace(_2B4T.engine, lanes=80, rows=4, code="escape"),
        vector_lanes=4,
        attention_lanes=64,
        memory_width=128,
    ),
    "small": TokenConfig(
        engine=MatVecConfig(lanes=16, rows=5, k_max=128, n_max=160),
        vector_lanes=2,
        attention_lanes=8,
        memory_width=64,
        hidden_max=64,
        ffn_max=96,
        heads_max=4,
        kv_heads_max=2,
        head_size_max=24,
        context_max=32,
        vocabulary_max=160,
    ),
}
