"""Instructions of the program as hardware sees them."""

from amaranth.lib import data

from .program import FIELDS, FLAGS, INSTRUCTION_BYTES, Op

__all__ = ["instruction_layout"]


def instruction_layout(op: Op) -> data.StructLayout:
    """Layout of an instruction as a number of 512 bits, for one operation.

    Layouts of all operations have ``op`` and the flags in the same place.

    Fields
    ------
    op : number of the operation, whatever ``op`` the layout is for
    flags of ``FLAGS`` : one bit each
    unused : the rest of the first word
    fields of ``FIELDS[op]`` : 32 bits each
    rest : the bits behind the fields, if any
    """
    # The first word keeps room for 24 flags.
    rest = 24 - len(FLAGS)
    head = {"op": 8, **dict.fromkeys(FLAGS, 1), "unused": rest}
    fields = FIELDS[op]
    tail = 8 * INSTRUCTION_BYTES - 32 * (1 + len(fields))
    layout = head | dict.fromkeys(fields, 32)
    return data.StructLayout(layout | ({"rest": tail} if tail else {}))
