"""Dot products of trits and integers without a multiplier."""

from collections.abc import Collection
from enum import StrEnum
from typing import Self

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ...golden.codes import CODES
from ..config import ACT_BITS, MatVecConfig, Target

__all__ = ["DotProduct", "Operands", "add_or_subtract"]

#: Input of the tree: its first lane, whether its weight is −1, a condition one cycle later, and the
#: values of each token if the condition is met, and otherwise.
_Operand = tuple[int, Value, Value, list[tuple[Value | int, Value]]]

#: Node of the tree: the number of lanes or operands below it, its sign, and a sum for each token.
_Node = tuple[int, Value, list[Value]]


class Operands(StrEnum):
    """Operands of the tree of adders in ``DotProduct``.

    ``lanes``: one for each lane. ``quads``: three for each four lanes, of which one has a zero
    weight. ``pairs``: one for each two lanes, which replaces the first level of adders.
    """

    LANES = "lanes"
    QUADS = "quads"
    PAIRS = "pairs"

    @classmethod
    def of(cls, config: MatVecConfig) -> Self:
        """Operands of an engine: pairs on an ASIC, if four rows or more share their sums."""
        if CODES[config.code].quads:
            return cls.QUADS
        return cls.PAIRS if config.target == Target.ASIC and config.rows >= 4 else cls.LANES


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

    With ``pairs``, the sum and the difference of each two neighboring activations are computed
    beside the weight decoder. The two weights choose the operand of the pair: zero, one of the
    activations, their sum, or their difference. Dot products with the same activations share these
    sums. The choice stands in the place of the first level of adders, so that the latency is the
    same. An FPGA does not have this form.

    With ``quads``, each four lanes have three operands, because one of their weights is zero.
    Operand i of a quad comes from lane i + 1 if the zero stands in a lane up to i, else from lane
    i. No operand is cleared, and the tree has three quarters of the inputs. On an FPGA the second
    operand of each adder is chosen behind the registers of both lanes.

    Weights that arrive in cycle 0 pass these registers. S is the number of stages of the tree.

    =============  ======================================  =====================================
    register       cycle on an FPGA                        cycle on an ASIC
    =============  ======================================  =====================================
    zero flags     1, beside ``activations``               1, beside ``activations``
    or choices
    first signs    1, then 2                               1
    operands       2                                       none; logic in cycle 1
    sums, stage s  2 + s                                   1 + s
    outputs        2 + S                                   1 + S
    =============  ======================================  =====================================

    A compact dot product has no register of first signs. It registers for two cycles whether the
    signs at each adder of the first stage differ, and the signs that leave this stage. Later signs
    are one cycle ahead of their sums, as in other dot products for FPGAs.

    Latency: ``S = ceil(ceil(log2(operands)) / levels_per_stage)`` cycles for the tree, plus 2 from
    the weights on an FPGA and 1 on an ASIC (registers of weights and operands); one cycle less from
    the activations. Throughput: one dot product of each token per cycle. Example: 64 lanes with one
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
    operands : an ``Operands`` or its value; with ``quads``, each four lanes have exactly one zero
        weight, and ``lanes`` is a multiple of 4
    without : registers that an ASIC does without: ``weights``, those of flags and signs, so that
        weights come in the cycle of their activations; ``sum``, that of the last level
    place : 0 to 4; place of the first lane's trit among the five of its byte, by which a compact
        dot product orders its lanes

    Raises
    ------
    TypeError
        If a number is not an integer, or ``target`` or ``operands`` is not a string.
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
        self,
        *,
        lanes: int,
        tokens: int,
        act_bits: int,
        levels_per_stage: int,
        target: str,
        operands: str = Operands.LANES,
        without: Collection[str] = (),
        place: int = 0,
    ) -> None:
        self._lanes = lanes = check_integer("lanes", lanes, 1)
        operands = check_choice("operands", operands, Operands)
        self._quads, self._pairs = operands == Operands.QUADS, operands == Operands.PAIRS
        if self._quads and lanes % 4:
            raise ValueError(f"lanes must be a multiple of 4 with quads, not {lanes}")
        self._tokens = tokens = check_integer("tokens", tokens, 1)
        self._act_bits = act_bits = check_choice("act_bits", act_bits, ACT_BITS)
        self._levels_per_stage = check_integer("levels_per_stage", levels_per_stage, 1)
        target = check_choice("target", target, Target)
        self._operand_registers = target != Target.ASIC
        self._compact = target == Target.COMPACT_FPGA
        for one in without:
            check_choice("a register to do without", one, ("weights", "sum"))
        if self._operand_registers and without:
            raise ValueError(f"without must be empty for an FPGA, not {without!r}")
        if self._operand_registers and self._pairs:
            raise ValueError("operands must be lanes or quads for an FPGA, not 'pairs'")
        self._sum_register = "sum" not in without
        self._place = check_integer("place", place, 0, 4)
        self._weight_registers = "weights" not in without
        self._weight_domain = "sync" if self._weight_registers else "comb"
        super().__init__(
            {
                "zero": In(lanes),
                "negative": In(lanes),
                "activations": In(
                    data.ArrayLayout(data.ArrayLayout(signed(act_bits), lanes), tokens)
                ),
                "sums": Out(data.ArrayLayout(signed(self._width(self._operands)), tokens)),
                "subtract": Out(1),
            }
        )

    @property
    def _operands(self) -> int:
        """Inputs of the tree: the lanes, or three for each four of them."""
        return self._lanes * 3 // 4 if self._quads else self._lanes

    def _width(self, operands: int) -> int:
        """Bits of a node that sums some operands.

        The first operand of a node enters with a plus sign. A node of n operands therefore reaches
        −n · 2^(b − 1) to n · 2^(b − 1) − 1. With ternary activations it reaches ±n. Example: a sum
        of 64 operands has 14 bits at ``act_bits`` 8, and 8 bits at ``act_bits`` 2.

        Parameters
        ----------
        operands : 1 or more
        """
        if self._act_bits == 2:
            return operands.bit_length() + 1
        return self._act_bits + (operands - 1).bit_length()

    def _order(self) -> list[int]:
        """Lanes in an order in which neighbors meet at the first adder.

        Five trits share a byte. Decoding two of the first four together saves logic. Fifth trits
        come last. A compact dot product compares the signs of a byte with the least logic if its
        first four trits are in descending order. Bytes that have fewer of them come last, too.
        """

        def key(lane: int) -> tuple[bool, int, int]:
            if not self._compact:
                return lane % 5 == 4, lane // 5, lane % 5
            byte, trit = divmod(self._place + lane, 5)
            start = 5 * byte - self._place
            return trit == 4 or not 0 <= start <= self._lanes - 4, byte, -trit

        return sorted(range(self._lanes), key=key)

    def _cleared(self, m: Module) -> list[_Operand]:
        """Make an operand of each lane, which is zero where the weight is."""
        zero = Signal(self._lanes, reset_less=True)
        m.d[self._weight_domain] += zero.eq(self.zero)
        return [
            (lane, self.negative[lane], zero[lane], [(0, x[lane]) for x in self.activations])
            for lane in self._order()
        ]

    def _chosen(self, m: Module) -> list[_Operand]:
        """Make three operands of each four lanes, of which one has a zero weight."""
        later = Signal(self._operands, reset_less=True)

        def operand(index: int) -> _Operand:
            quad, place = divmod(index, 3)
            lane = 4 * quad + place
            shift = self.zero[4 * quad : lane + 1].any()
            m.d[self._weight_domain] += later[index].eq(shift)
            negative = Mux(shift, self.negative[lane + 1], self.negative[lane])
            choices = [(x[lane + 1], x[lane]) for x in self.activations]
            return lane, negative, later[index], choices

        # The first two operands of a quad meet at the first adder: a bit of the code says whether
        # their signs differ.
        return [operand(i) for i in sorted(range(self._operands), key=lambda i: (i % 3 == 2, i))]

    def _choose_late(self, m: Module, lane: int, condition: Value) -> list[Value]:
        """Make an operand of a quad for each token, chosen behind the registers of both lanes.

        The choice then fits into the look-up tables of the adder.
        """
        late = Signal(name=f"late_{lane}", reset_less=True)
        m.d.sync += late.eq(condition)
        operands: list[Value] = []
        for token, x in enumerate(self.activations):
            pair = []
            for place in (lane + 1, lane):
                raw = Signal(
                    signed(self._act_bits), name=f"raw{token}_{lane}_{place}", reset_less=True
                )
                m.d.sync += raw.eq(x[place])
                pair.append(raw)
            operands.append(Mux(late, *pair))
        return operands

    def _keep(self, m: Module, value: Value, name: str, registered: bool = True) -> Signal:
        """A named register with a value one cycle later, or a wire with it."""
        out = Signal(value.shape(), name=name, reset_less=True)
        m.d["sync" if registered else "comb"] += out.eq(value)
        return out

    def _single_nodes(self, m: Module) -> list[_Node]:
        """Make a node of each operand, with its sign and its value for each token."""
        ahead = self._operand_registers
        nodes: list[_Node] = []
        inputs = self._chosen(m) if self._quads else self._cleared(m)
        for index, (lane, negative, condition, choices) in enumerate(inputs):
            # The second operand of an adder, in the order of the pairs of ``elaborate``.
            second = (len(inputs) - index) % 2 == 0
            if self._quads and ahead and second:
                operands = self._choose_late(m, lane, condition)
            else:
                operands = []
                for token, (value, otherwise) in enumerate(choices):
                    # The floorplan of ECP5 boards finds operands by these names.
                    name = f"x{token}_{lane}"
                    operand = Signal(signed(self._act_bits), name=name, reset_less=True)
                    domain = m.d["sync" if ahead else "comb"]
                    with m.If(condition):
                        domain += operand.eq(value)
                    with m.Else():
                        domain += operand.eq(otherwise)
                    operands.append(operand)
            # A compact dot product says minus instead of plus, which saves an inverter at the end.
            sign = negative if self._compact else ~negative
            if not ahead:
                sign = self._keep(m, sign, f"s0_{lane}", self._weight_registers)
            nodes.append((1, sign, operands))
        return nodes

    def _pair_nodes(self, m: Module) -> list[_Node]:
        """Make a node of each two lanes; a lane that is left over makes one of its own.

        The node's sign is that of the first of its weights that is not zero.
        """
        lanes = self._order()
        # The register of the first level; a single lane has no level.
        registered = self._levels_per_stage == 1 if len(lanes) > 2 else self._sum_register
        registered = registered and len(lanes) > 1
        nodes: list[_Node] = []
        for a, *others in (lanes[i : i + 2] for i in range(0, len(lanes), 2)):
            sign, takes = self.negative[a], [~self.zero[a]]
            for b in others:
                differ = sign ^ self.negative[b]
                takes = [~self.zero[a] & self.zero[b], self.zero[a] & ~self.zero[b]]
                takes += [~self.zero[a] & ~self.zero[b] & one for one in (~differ, differ)]
                sign = Mux(self.zero[a], self.negative[b], sign)
            sign = self._keep(m, ~sign, f"s0_{a}", self._weight_registers)
            take = self._keep(m, Cat(takes), f"take_{a}", self._weight_registers)
            width = self._width(1 + len(others))
            values: list[Value] = []
            for token, x in enumerate(self.activations):
                choices = [x[a]]
                for b in others:
                    choices += [x[b], x[a] + x[b], x[a] - x[b]]
                value: Value = Const(0, width)
                for one, choice in zip(take, choices, strict=True):
                    wide = Signal(width, name=f"choice{token}_{a}")
                    m.d.comb += wide.eq(choice)
                    value |= wide & one.replicate(width)
                values.append(self._keep(m, value.as_signed(), f"u1_{token}_{a}", registered))
            sign = self._keep(m, sign, f"s1_{a}", registered)
            nodes.append((1 + len(others), sign, values))
        return nodes

    def elaborate(self, platform: object) -> Module:
        """Build the operands, then each level of the tree with the signs and sums of its nodes.

        A register follows every ``levels_per_stage`` levels, and the last level.
        """
        m = Module()

        # A node has the number of operands below it, its sign, and a sum for each token. With
        # operand registers, signs are one register ahead of sums, and signs of operands two. They
        # wait behind the first exclusive or, which shares look-up tables with the weight decoder.
        # Compact ones wait behind all exclusive ors of a stage.
        ahead, compact = self._operand_registers, self._compact
        first = True
        nodes = self._pair_nodes(m) if self._pairs else self._single_nodes(m)
        # The choice of a pair's operand is the first level.
        level = int(self._pairs and self._lanes > 1)
        registered, waits = ahead, ahead and not compact
        while len(nodes) > 1:
            level += 1
            # An odd node waits for one level. Reversing the order keeps it from waiting twice.
            nodes.reverse()
            pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
            nodes = []
            at_register = level % self._levels_per_stage == 0
            if len(pairs) == 1:
                at_register = self._sum_register
            for index, pair in enumerate(pairs):
                count, sign, sums = pair[0]
                if len(pair) == 2:
                    other_count, other_sign, other_sums = pair[1]
                    count += other_count
                    differ = self._keep(
                        m,
                        sign ^ other_sign,
                        f"d{level}_{index}",
                        ahead and (compact or registered),
                    )
                    if ahead and (first if compact else level == 1):
                        differ = self._keep(m, differ, f"d_{index}")
                    sums = [
                        add_or_subtract(a, b, differ, self._width(count))
                        for a, b in zip(sums, other_sums, strict=True)
                    ]
                sign = self._keep(
                    m, sign, f"s{level}_{index}", registered if waits else at_register
                )
                if ahead and (first and at_register if compact else level == 1):
                    sign = self._keep(m, sign, f"s_{index}")
                sums = [
                    self._keep(m, u, f"u{level}_{t}_{index}", at_register)
                    for t, u in enumerate(sums)
                ]
                nodes.append((count, sign, sums))
            registered = at_register
            first = first and not at_register

        _, sign, sums = nodes[0]
        if ahead and level == 0:
            sign = self._keep(m, sign, "s_0")
        last = self._keep(m, sign, "sign", ahead and registered)
        m.d.comb += self.subtract.eq(last if compact else ~last)
        m.d.comb += [self.sums[token].eq(value) for token, value in enumerate(sums)]
        return m
