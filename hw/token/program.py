"""Instructions of the token core's program: their fields, as hardware and as bytes.

An instruction is 16 words of 32 bits, little-endian. The first word has the operation in bits 0 to
7, and the flags from bit 8 on. The fields follow, one word each. The rest is zero.

Addresses of memory count bytes. Addresses of vectors count words of L elements, where L is
``vector_lanes``. Constants are float32 words, whose lowest 8 bits are ignored. A chunk is a byte
for each attention lane.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "FIELDS",
    "FLAGS",
    "INSTRUCTION_BYTES",
    "Instruction",
    "Op",
    "WriteMode",
    "decode",
    "encode",
]

#: Bytes of an instruction: 16 words of 32 bits.
INSTRUCTION_BYTES = 64


class Op(IntEnum):
    """Instructions of a program, which runs once for each pass.

    - ``SETUP``: constants of the model, and addresses of each token and its position
    - ``ANGLES``: load the angles of the position
    - ``EMBED``: write the token's embedding to the residual stream
    - ``PRODUCT``: quantize a vector, or use the last one again, and multiply a matrix with it
    - ``HEADS``: turn and quantize heads of queries, keys or values
    - ``ATTEND``: mix the values of all positions
    - ``HEAD``: normalize and quantize the last vector, and compute the logits; if the command asks
      for none, it only ends the token
    - ``END``: the token is done

    ``FIELDS`` has the names of their fields. These have the same meaning wherever they occur:

    ==============  ==============================================================================
    field           meaning
    ==============  ==============================================================================
    source          first word of the vector that is read
    destination     first word that is written; a residual or a gate is read from the same place
    n, k            outputs and inputs of the matrix; ``HEAD`` has k alone
    inverse         1 / k, for the mean of the squares
    gains           address of the gains of the norm in front of the quantizer
    peak_gains      address of the gains of the norm that follows the result
    count           elements of the result
    scales          address of scales: of the weights, of token 0, or of position 0 in the cache
                    (a value's are 4 bytes behind a key's)
    rows            address of rows of int8: of token 0, or of position 0 in the cache
    row_words       memory words of a row, or of all rows of the head
    scale_words     memory words of all scales
    scale_step      bytes that a list of scales takes in memory; in the cache, of pairs of scales
    chunks          chunks of a row
    first_beat      number of the first weight beat: of the matrix, or of the rows of the head
    beats           count of weight beats
    ==============  ==============================================================================

    The others belong to one instruction:

    - ``SETUP``: constants ``epsilon`` of the norms and ``kappa`` of the scores. The three strides
      lead from one token's embedding, position's angles and cached row to the next. Token and
      position must be below ``vocabulary`` and ``context``.
    - ``ANGLES``: ``address`` of position 0, and ``words`` of L elements of a position.
    - ``PRODUCT``: the engine's job has ``group_chunks``, and the weights have ``groups`` of scales.
      All weights have ``scale``, or a table has ``scale_count`` words of L elements.
    - ``HEADS``: ``heads`` that follow one another, each of 2 · ``half`` words. They lie ``step``
      bytes apart in the cache.
    - ``ATTEND``: ``groups`` of keys and values, each shared by ``vectors`` of queries with
      ``query_step`` chunks in all. The cache begins at ``address``. The keys of a group, and its
      values, take ``row_step`` bytes each. A head has ``words`` in the vector memory.
    - ``HEAD``: ``address`` of the scales, and ``vocabulary``, the count of the rows. Rows in memory
      lie behind the scales. With ``TokenConfig.head_on_weights`` they are weight beats, and
      ``scale_step`` and ``row_words`` are 0. Otherwise ``first_beat`` and ``beats`` are 0.
    """

    END = 0
    SETUP = 1
    ANGLES = 2
    EMBED = 3
    PRODUCT = 4
    HEADS = 5
    ATTEND = 6
    HEAD = 7


class WriteMode(IntEnum):
    """Functions of ``VectorWriter``, of each element w of a word and s of the stored word.

    - ``STORE``: w
    - ``ADD``: ``round(w + s)``, the residual stream
    - ``RELU2``: ``round(max(w, 0)²)``, a gate
    - ``SILU``: ``round(w · sigmoid(w))``, a gate
    - ``MULTIPLY``: ``round(w · s)``, a gated vector
    """

    STORE = 0
    ADD = 1
    RELU2 = 2
    SILU = 3
    MULTIPLY = 4


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

#: Fields of each instruction, in the order of their words from the second word on. ``PRODUCT`` has
#: the most, 15, and fills its instruction.
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
        "first_beat",
        "beats",
    ),
}


def encode(op: Op, flags: Mapping[str, bool], fields: Mapping[str, int]) -> bytes:
    """Encode an instruction.

    Example: ``HEADS`` with the flags ``turn`` and ``cache`` begins with the bytes 05 60 00 00. Its
    operation is 5, and the flags are bits 13 and 14.

    Parameters
    ----------
    op : the operation
    flags : values of flags by their names; others are not set
    fields : all fields of ``FIELDS[op]`` by their names, in any order; each from 0 to 2³² − 1

    Returns
    -------
    ``INSTRUCTION_BYTES`` bytes

    Raises
    ------
    ValueError
        If a flag is unknown, a field is unknown or missing, or a value does not fit.
    """
    if set(fields) != set(FIELDS[op]) or not set(flags) <= set(FLAGS):
        raise ValueError(f"{op.name} must have the fields {FIELDS[op]}, not {tuple(fields)}")
    word = int(op) | sum(bool(flags.get(name)) << (8 + i) for i, name in enumerate(FLAGS))
    words = [word, *(fields[name] for name in FIELDS[op])]
    if any(not 0 <= value < 2**32 for value in words):
        raise ValueError(f"fields of {op.name} must be from 0 to 2³² − 1, not {dict(fields)}")
    return b"".join(value.to_bytes(4, "little") for value in words).ljust(INSTRUCTION_BYTES, b"\0")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """A decoded instruction.

    Parameters
    ----------
    op : the operation
    flags : names of the flags that are set
    fields : values of ``FIELDS[op]`` by their names
    """

    op: Op
    flags: frozenset[str]
    fields: Mapping[str, int]

    @property
    def mode(self) -> int:
        """Value of ``WriteMode`` in the flags."""
        return sum(1 << bit for bit in range(3) if f"mode{bit}" in self.flags)

    def __str__(self) -> str:
        flags = " ".join(name for name in FLAGS if name in self.flags)
        fields = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.op.name:<8}{flags:<40} {fields}".rstrip()


def decode(code: bytes) -> Instruction:
    """Decode an instruction, the inverse of ``encode``.

    Parameters
    ----------
    code : ``INSTRUCTION_BYTES`` bytes

    Raises
    ------
    ValueError
        If the operation is unknown, or a bit that has no meaning is set.
    """
    head, *words = struct.unpack(f"<{INSTRUCTION_BYTES // 4}I", code)
    number, bits = head & 0xFF, head >> 8
    if number not in tuple(Op):
        raise ValueError(f"the operation must be from 0 to {max(Op)}, not {number}")
    op = Op(number)
    names = FIELDS[op]
    if bits >> len(FLAGS) or any(words[len(names) :]):
        raise ValueError(f"bits of {op.name} that have no meaning must be 0")
    flags = frozenset(name for bit, name in enumerate(FLAGS) if bits >> bit & 1)
    return Instruction(op=op, flags=flags, fields=dict(zip(names, words, strict=False)))
