"""Dot products of trits and integers without a multiplier."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DotProduct", "add_or_subtract"]


def add_or_subtract(a: Value, b: Value, subtract: Value, width: int) -> Value:
    """``a − b`` if ``subtract`` else ``a + b``, as signed ``width`` bits, in a single carry chain.

    ``a + b = a − ~b − 1``: the inversion is an exclusive or in front of the subtractor, and the one
    is borrowed by an extra lowest bit. As a difference and not a sum, the carry chain takes its
    carries from ``a``, which has no logic in front of it, whatever order a tool prefers.
    """
    a = a.as_signed()
    add = ~subtract
    extended = Cat(b, b[-1].replicate(max(width - len(b), 0)))[:width]
    total = Cat(Const(0, 1), a).as_signed() - Cat(add, extended ^ add.replicate(width)).as_signed()
    return total[1 : width + 1].as_signed()


class DotProduct(wiring.Component):
    """One row of weights times several tokens of activations: a pipelined tree of adders.

    A negative weight is not applied to its operand: its sign travels up the tree beside the sum,
    and every node adds or subtracts by whether its two inputs differ in sign. The sign that arrives
    at the top says whether to add or subtract the sum. Signs depend on the weights alone and are
    shared by all tokens. No register has a reset.

    A zero weight, taken in a register, makes its operand zero: for an FPGA it clears the operand's
    own register, which costs no logic there; for an ASIC gates in front of the first adder do, and
    the operand needs no register, whose clock would cost more energy than they.

    Latency: ``1 + ceil(ceil(log2(lanes)) / levels_per_stage)`` clocks from the weights, one for the
    weights' registers and the rest for the tree, and for an FPGA one more for the operands'; one
    less from the activations. Throughput: a dot product of each token per clock.

    Parameters
    ----------
    lanes : products summed
    tokens : activation vectors
    act_bits : 8, 4 or 2; at two bits a value is −1, 0 or +1
    levels_per_stage : levels of the tree between two registers
    target : ``fpga`` or ``asic``

    Members
    -------
    zero, negative : In(lanes); the weights, see ``BeatDecoder``
    activations : In(tokens × lanes signed values); a clock after their weights
    sums : Out(tokens signed values, as wide as the largest sum needs)
    subtract : Out(1); each dot product is ``−sums[t]`` if set, else ``+sums[t]``
    """

    def __init__(
        self, *, lanes: int, tokens: int, act_bits: int, levels_per_stage: int, target: str
    ) -> None:
        self._lanes = lanes
        self._tokens = tokens
        self._act_bits = act_bits
        self._levels_per_stage = levels_per_stage
        self._cleared_registers = target == "fpga"
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
        """Bits of a node over so many lanes.

        The first lane of a node enters with a plus sign, so that a node reaches
        −lanes·2^(b−1) to lanes·2^(b−1) − 1; ternary activations reach ±lanes.
        """
        if self._act_bits == 2:
            return lanes.bit_length() + 1
        return self._act_bits + (lanes - 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def node(value: Value, name: str, registered: bool = True) -> Signal:
            out = Signal(value.shape(), name=name, reset_less=True)
            m.d["sync" if registered else "comb"] += out.eq(value)
            return out

        zero = Signal(self._lanes, reset_less=True)
        m.d.sync += zero.eq(self.zero)
        # Five trits share a byte, and two of its first four are worth decoding together.
        order = sorted(range(self._lanes), key=lambda lane: (lane % 5 == 4, lane))
        # A node: lanes below it, its sign, and a sum for each token. Where operands have registers,
        # signs are one register ahead of sums, and those of lanes two: they wait behind the first
        # exclusive or and not before it, because it shares look-up tables with the decoder.
        ahead = self._cleared_registers
        nodes: list[tuple[int, Value, list[Value]]] = []
        for lane in order:
            operands: list[Value] = []
            for token in range(self._tokens):
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
            # From the other end each time: an odd node does not wait twice.
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
