"""Products of integers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ..engine.dot import add_or_subtract

__all__ = ["multiply"]


def multiply(m: Module, a: Value, b: Value, name: str, target: str) -> Value:
    """``a · b``, of two signed or two unsigned values.

    For an ASIC it is left to synthesis, which knows how, and so is that of less than four bits. For
    an FPGA it is a row of adders for each two bits of the shorter operand (Booth's recoding, radix
    4): a digit from −2 to 2 takes three bits, so that a look-up table of six inputs selects a bit
    of the other operand's multiple and adds it to the row before. Tests hold it to less than half
    of the look-up tables that yosys makes of the same product of 8 or 11 bits.

    Latency: combinational.

    Parameters
    ----------
    name : of the rows
    target : ``fpga`` or ``asic``
    """
    assert a.shape().signed == b.shape().signed
    product = a * b
    if target == "asic" or min(len(a), len(b)) < 4:
        return product
    if len(a) > len(b):
        a, b = b, a
    if not product.shape().signed:
        a, b = Cat(a, Const(0, 1)).as_unsigned(), Cat(b, Const(0, 1)).as_unsigned()
    # With a bit below the lowest, and the sign once more if the number of bits is odd.
    recoded = Cat(Const(0, 1), a, a[-1])
    low: list[Value] = []
    row: Value = Const(0, signed(len(b)))
    for place in range(0, len(a), 2):
        below, middle, high = recoded[place], recoded[place + 1], recoded[place + 2]
        twice = Mux(high, ~middle & ~below, middle & below)
        once = middle ^ below
        multiple = Mux(twice, Cat(Const(0, 1), b), Mux(once, Cat(b, b[-1]), 0))[: len(b) + 1]
        total = Signal(signed(len(b) + 2), name=f"{name}_row{place}")
        m.d.comb += total.eq(add_or_subtract(row, multiple, high, len(total)))
        low.append(total[:2])
        row = total[2:].as_signed()
    found = Cat(*low, row)[: len(product)]
    return found.as_signed() if product.shape().signed else found
