"""Legal counts of instructions, checked in hardware.

``program_check`` checks a whole program on the host. The hardware refuses what would leave a unit
without an end: an unknown operation, a count of 0, or a count above the core's maximum.
"""

from collections.abc import Iterator

from amaranth.hdl import Value, ValueLike
from amaranth.lib import data

from ..engine.loader import above
from .config import TokenConfig
from .dots import query_words
from .heads import half_words
from .instruction import instruction_layout
from .program import Op

__all__ = ["field_limits", "illegal_instruction"]

#: Largest value of a field.
_ANY = 2**32 - 1


def field_limits(config: TokenConfig) -> Iterator[tuple[Op, str, int, int, str | None]]:
    """Yield the limits of the counts of instructions.

    A limit has the operation, the field, its smallest and its largest value. Behind them is the
    flag of the instructions that have this limit, or None for all. Example: ``PRODUCT`` has ``n``
    from 1 to ``engine.n_max``. With the flag ``table`` it has ``scale_words`` from 1 on.

    Parameters
    ----------
    config : configuration of the core
    """
    engine = config.engine
    most: dict[Op, dict[str, int]] = {
        Op.SETUP: {"vocabulary": config.vocabulary_max, "context": config.context_max},
        Op.ANGLES: {"words": 2 * half_words(config)},
        Op.EMBED: {"row_words": _ANY, "count": config.hidden_max},
        Op.PRODUCT: {
            "n": engine.n_max, "k": engine.k_max, "beats": _ANY, "groups": engine.max_chunks,
        },
        Op.HEADS: {"heads": config.heads_max, "half": half_words(config)},
        Op.ATTEND: {
            "groups": config.kv_heads_max,
            "vectors": config.shared_max,
            "chunks": config.cache_chunks(config.head_size_max),
            "query_step": query_words(config),
            "words": 2 * half_words(config),
            "count": config.attention_max,
        },
        Op.HEAD: {
            "k": config.hidden_max,
            "scale_words": _ANY,
            "beats" if config.head_on_weights else "row_words": _ANY,
            "chunks": config.row_chunks(config.hidden_max),
            "vocabulary": config.vocabulary_max,
        },
    }  # fmt: skip
    for op, fields in most.items():
        for field, high in fields.items():
            yield op, field, 1, high, None
    yield Op.PRODUCT, "group_chunks", 0, engine.max_chunks, None
    # The attention reads whole words of the rows so far.
    yield Op.SETUP, "cache_bytes", config.memory_width // 8, _ANY, None
    for field in ("scale_words", "scale_count"):
        yield Op.PRODUCT, field, 1, _ANY, "table"
    yield Op.HEADS, "heads", 1, config.kv_heads_max, "cache"


def illegal_instruction(config: TokenConfig, instruction: ValueLike) -> Value:
    """Whether an instruction is unknown, or a count is out of its range.

    Parameters
    ----------
    config : configuration of the core
    instruction : its 512 bits
    """
    now = {op: data.View(instruction_layout(op), instruction) for op in Op}
    number = now[Op.END].op
    illegal = number > max(Op)
    for op, field, low, high, flag in field_limits(config):
        value = now[op][field]
        wrong = above(value, high) if high < _ANY else Value.cast(0)
        if low:
            wrong |= ~above(value, low - 1)
        if flag is not None:
            wrong &= now[op][flag]
        illegal |= (number == op) & wrong
    return illegal
