"""Instructions of the token core's program: their fields, as hardware and as bytes."""

from collections.abc import Mapping
from enum import IntEnum

from amaranth.lib import data

__all__ = ["FIELDS", "FLAGS", "INSTRUCTION_BYTES", "Op", "encode", "instruction_layout"]

#: Bytes of an instruction: 16 words of 32 bits.
INSTRUCTION_BYTES = 64


class Op(IntEnum):
    """Instructions. ``FIELDS`` has their fields.

    - ``SETUP``: constants of the model, and addresses of this token and this position
    - ``ANGLES``: load the angles of the position
    - ``EMBED``: write the token's embedding to the residual stream
    - ``PRODUCT``: quantize a vector, or use the last one again, and multiply a matrix with it
    - ``HEADS``: turn and quantize heads of queries, keys or values
    - ``ATTEND``: mix the values of all positions
    - ``HEAD``: normalize and quantize the last vector, and compute the logits
    - ``END``: the token is done
    """

    END = 0
    SETUP = 1
    ANGLES = 2
    EMBED = 3
    PRODUCT = 4
    HEADS = 5
    ATTEND = 6
    HEAD = 7


#: Flags in the first word of an instruction, from bit 8 on; each means the same in all of them.
FLAGS = (
    "load",  # Quantize a vector; otherwise the engine uses its last one again.
    "gained",  # The vector that is quantized has a norm with a gain.
    "table",  # Scales of the weights come from memory.
    "track",  # The next instruction that loads wants the peaks of the result.
    "peak_gained",  # It has a norm with a gain.
    "turn",  # Turn the heads by the position.
    "cache",  # The heads are keys or values, and go to the cache.
    "mode0",  # ``WriteMode``, three bits.
    "mode1",
    "mode2",
)

#: Fields of each instruction, one word of 32 bits each, from the second word on. Addresses of
#: memory count bytes, those of vectors count words of L elements. Elements are float32.
FIELDS: Mapping[Op, tuple[str, ...]] = {
    Op.END: (),
    Op.SETUP: (
        "epsilon",
        "kappa",
        "embedding_bytes",
        "angle_bytes",
        "cache_bytes",
        "vocabulary",
        "context",
    ),
    Op.ANGLES: ("address", "words"),
    Op.EMBED: ("rows", "row_words", "scales", "count", "destination", "peak_gains"),
    Op.PRODUCT: (
        "n",
        "k",
        "source",
        "inverse",
        "gains",
        "first_beat",
        "beats",
        "group_chunks",
        "groups",
        "scale",
        "scales",
        "scale_words",
        "scale_count",
        "destination",
        "peak_gains",
    ),
    Op.HEADS: ("source", "heads", "half", "rows", "scales", "step"),
    Op.ATTEND: (
        "groups",
        "vectors",
        "chunks",
        "query_step",
        "address",
        "scale_step",
        "row_step",
        "words",
        "destination",
        "count",
        "peak_gains",
    ),
    Op.HEAD: (
        "k",
        "source",
        "inverse",
        "gains",
        "address",
        "scale_step",
        "scale_words",
        "row_words",
        "chunks",
        "vocabulary",
    ),
}


def instruction_layout(op: Op) -> data.StructLayout:
    """Layout of an instruction: ``op``, the flags, and the fields of one operation."""
    rest = 24 - len(FLAGS)
    head = {"op": 8, **dict.fromkeys(FLAGS, 1), "unused": rest}
    fields = FIELDS[op]
    tail = 8 * INSTRUCTION_BYTES - 32 * (1 + len(fields))
    layout = head | dict.fromkeys(fields, 32)
    return data.StructLayout(layout | ({"rest": tail} if tail else {}))


def encode(op: Op, flags: Mapping[str, bool], fields: Mapping[str, int]) -> bytes:
    """Encode an instruction.

    Parameters
    ----------
    op : the operation
    flags : those of ``FLAGS`` that are set
    fields : all fields of ``FIELDS[op]``, each from 0 to 2³² − 1

    Raises
    ------
    ValueError
        If a flag or a field is unknown or missing, or a value does not fit.
    """
    if set(fields) != set(FIELDS[op]) or not set(flags) <= set(FLAGS):
        raise ValueError(f"{op.name} must have the fields {FIELDS[op]}, not {tuple(fields)}")
    word = int(op) | sum(bool(flags.get(name)) << (8 + i) for i, name in enumerate(FLAGS))
    words = [word, *(fields[name] for name in FIELDS[op])]
    if any(not 0 <= value < 2**32 for value in words):
        raise ValueError(f"fields of {op.name} must be from 0 to 2³² − 1, not {dict(fields)}")
    return b"".join(value.to_bytes(4, "little") for value in words).ljust(INSTRUCTION_BYTES, b"\0")
