"""Dot products of trits and integers without a multiplier."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ..config import ACT_BITS, Target

__all__ = ["DotProduct", "add_or_subtract"]


def add_or_subtract(a: Value, b: Value, subtract: Value, width: int) -> Value:
    """``a − b`` if ``subtract``, else ``a + b``, in a single carry chain.

    The sum is computed as a difference: ``a + b = a − ~b − 1``. An exclusive or in front of the
    subtractor inverts ``b``, and an extra lowest bit borrows the one. The carry chain of a
    difference takes its carries from ``a``, which has no logic in front of it. Synthesis tools may
    swap the operands of a sum, but not those of a difference.

    Parameters
    ----------
    a, b : signed values
    subtract : one bit
    width : bits of the result, 1 or more; ``a`` and ``b`` are extended or cut to it

    Returns
    -------
    A signed value of ``width`` bits.
    """
    a = a.as_signed()
    add = ~subtract
    extended = Cat(b, b[-1].replicate(max(width - len(b), 0)))[:width]
    total = Cat(Const(0, 1), a).as_signed() - Cat(add, extended ^ add.replicate(width)).as_signed()
    return total[1 : width + 1].as_signed()


class DotProduct(wiring.Component):
    """Multiplies one row of weights with several tokens of activations: a pipelined adder tree.

    No operand is negated. The sign of a weight travels up the tree beside the sum. Every node
    subtracts if its two inputs differ in sign, and adds otherwise. The sign at the top says whether
    the accumulator adds or subtracts the sum. Signs depend on the weights alone, so that all tokens
    share them. No register has a reset.

    A node over sums a and b with signs p and q holds a ± b with sign p: ``p·a + q·b`` equals
    ``p · (a + b)`` for equal signs, and ``p · (a − b)`` for different ones.

    A zero weight makes its operand zero. On an FPGA it clears the operand's register, which costs
    no logic there. On an ASIC gates in front of the first adder clear the operand. The operand
    then has no register, whose clock input would cost more energy than the gates.

    Weights that arrive in cycle 0 pass these registers. S is the number of stages of the tree.

    =============  ======================================  =====================================
    register       cycle on an FPGA                        cycle on an ASIC
    =============  ======================================  =====================================
    zero flags     1, beside ``activations``               1, beside ``activations``
    first signs    1, then 2                               1
    operands       2                                       none; logic in cycle 1
    sums, stage s  2 + s                                   1 + s
    outputs        2 + S                                   1 + S
    =============  ======================================  =====================================

    Latency: ``S = ceil(ceil(log2(lanes)) / levels_per_stage)`` cycles for the tree, plus 2 from the
    weights on an FPGA and 1 on an ASIC (registers of weights and operands); one cycle less from the
    activations. Throughput: one dot product of each token per cycle. Example: 64 lanes with one
    level per stage have S = 6, and take 8 cycles on an FPGA and 7 on an ASIC.

    There is no handshake and no enable. Every cycle starts a dot product, and the user tracks which
    of them count. With one lane there is no adder: the only operand is the sum.

    Parameters
    ----------
    lanes : 1 or more; products summed
    tokens : 1 or more; activation vectors
    act_bits : 8, 4 or 2; at two bits a value is −1, 0 or +1
    levels_per_stage : 1 or more; levels of the tree between two registers
    target : a ``Target`` or its value

    Raises
    ------
    TypeError
        If a number is not an integer, or ``target`` is not a string.
    ValueError
        If a value is not legal.

    Members
    -------
    zero, negative : In(lanes); the weights, as ``BeatDecoder`` gives them; ``negative`` has no
        effect where ``zero`` is set
    activations : In(tokens × lanes signed values); one cycle after their weights
    sums : Out(tokens signed values, as wide as the largest sum needs); the sign is in ``subtract``
    subtract : Out(1); each dot product is ``−sums[t]`` if set, else ``+sums[t]``; in the cycle of
        its sums, the same for all tokens
    """

    def __init__(
        self, *, lanes: int, tokens: int, act_bits: int, levels_per_stage: int, target: str
    ) -> None:
        self._lanes = lanes = check_integer("lanes", lanes, 1)
        self._tokens = tokens = check_integer("tokens", tokens, 1)
        self._act_bits = act_bits = check_choice("act_bits", act_bits, ACT_BITS)
        self._levels_per_stage = check_integer("levels_per_stage", levels_per_stage, 1)
        self._cleared_registers = check_choice("target", target, Target) == Target.FPGA
        super().__init__(
            {
                "zero": In(lanes),
                "negative": In(lanes),
                "activations": In(
                    data.ArrayLayout(data.ArrayLayout(signed(act_bits), lanes), tokens)
                ),
                "sums": Out(data.ArrayLayout(signed(self._width(lanes)), tokens)),
                "subtract": Out(1),
            }
        )

    def _width(self, lanes: int) -> int:
        """Bits of a node that sums ``lanes`` lanes.

        The first lane of a node enters with a plus sign. A node therefore reaches
        −lanes · 2^(b − 1) to lanes · 2^(b − 1) − 1. With ternary activations it reaches ±lanes.
        Example: a sum of 64 lanes has 14 bits at ``act_bits`` 8, and 8 bits at ``act_bits`` 2.

        Parameters
        ----------
        lanes : 1 or more
        """
        if self._act_bits == 2:
            return lanes.bit_length() + 1
        return self._act_bits + (lanes - 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        """Build the operands, then each level of the tree with the signs and sums of its nodes.

        A register follows every ``levels_per_stage`` levels, and the last level.
        """
        m = Module()

        def node(value: Value, name: str, registered: bool = True) -> Signal:
            out = Signal(value.shape(), name=name, reset_less=True)
            m.d["sync" if registered else "comb"] += out.eq(value)
            return out

        zero = Signal(self._lanes, reset_less=True)
        m.d.sync += zero.eq(self.zero)
        # Five trits share a byte. Decoding two of the first four together saves logic, so that they
        # meet at the first adder. Fifth trits come last.
        order = sorted(range(self._lanes), key=lambda lane: (lane % 5 == 4, lane))
        # A node has the number of lanes below it, its sign, and a sum for each token. With operand
        # registers, signs are one register ahead of sums, and signs of lanes two. They wait behind
        # the first exclusive or, which shares look-up tables with the weight decoder.
        ahead = self._cleared_registers
        nodes: list[tuple[int, Value, list[Value]]] = []
        for lane in order:
            operands: list[Value] = []
            for token in range(self._tokens):
                # The floorplan of ECP5 boards finds operands by these names.
                operand = Signal(signed(self._act_bits), name=f"x{token}_{lane}", reset_less=True)
                domain = m.d["sync" if self._cleared_registers else "comb"]
                with m.If(zero[lane]):
                    domain += operand.eq(0)
                with m.Else():
                    domain += operand.eq(self.activations[token][lane])
                operands.append(operand)
            sign = ~self.negative[lane]
            nodes.append((1, sign if ahead else node(sign, f"s0_{lane}"), operands))

        level = 0
        registered = ahead
        while len(nodes) > 1:
            level += 1
            # An odd node waits for one level. Reversing the order keeps it from waiting twice.
            nodes.reverse()
            pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
            nodes = []
            at_register = level % self._levels_per_stage == 0 or len(pairs) == 1
            for index, pair in enumerate(pairs):
                lanes, sign, sums = pair[0]
                if len(pair) == 2:
                    other_lanes, other_sign, other_sums = pair[1]
                    lanes += other_lanes
                    differ = node(sign ^ other_sign, f"d{level}_{index}", ahead and registered)
                    if ahead and level == 1:
                        differ = node(differ, f"d_{index}")
                    sums = [
                        add_or_subtract(a, b, differ, self._width(lanes))
                        for a, b in zip(sums, other_sums, strict=True)
                    ]
                sign = node(sign, f"s{level}_{index}", registered if ahead else at_register)
                if ahead and level == 1:
                    sign = node(sign, f"s_{index}")
                sums = [node(u, f"u{level}_{t}_{index}", at_register) for t, u in enumerate(sums)]
                nodes.append((lanes, sign, sums))
            registered = at_register

        _, sign, sums = nodes[0]
        if ahead and level == 0:
            sign = node(sign, "s_0")
        m.d.comb += self.subtract.eq(~node(sign, "sign", ahead and registered))
        m.d.comb += [self.sums[token].eq(value) for token, value in enumerate(sums)]
        return m
