"""Configuration of the engine, and its presets."""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log2

from ..golden.checks import check_choice, check_integer
from ..golden.codes import CODES, Code
from ..golden.matmul import activation_range

__all__ = [
    "ACT_BITS",
    "PRESETS",
    "MatVecConfig",
    "Target",
    "WeightCode",
    "check_config",
    "check_lanes",
]

#: Legal widths of an activation, in bits. Two bits mean ternary activations.
ACT_BITS = (8, 4, 2)


class WeightCode(StrEnum):
    """Codes of packed weights, in the order of their numbers in registers and frames.

    Each value is a key of ``trilith.golden.codes.CODES``, which defines the codes.
    """

    BASE3 = "base3"
    ESCAPE = "escape"
    TQ1 = "tq1"
    TWO_BIT = "two_bit"
    BINARY = "binary"
    SHERRY = "sherry"


class Target(StrEnum):
    """Kinds of chip. The target decides which of several data paths with equal results is built.

    ``compact-fpga`` needs fewer flip-flops and look-up tables than ``fpga``, and as many cycles.
    The block RAM of activations feeds the operand registers of ``DotProduct`` without a register
    between. Its output comes late in a cycle, so that the clock may be lower.
    """

    FPGA = "fpga"
    COMPACT_FPGA = "compact-fpga"
    ASIC = "asic"


@dataclass(frozen=True, kw_only=True)
class MatVecConfig:
    """Everything that shapes a matrix–vector engine.

    The engine performs ``lanes × rows × tokens`` multiply-accumulates (MACs) per cycle.
    ``str(config)`` is ``lanes x rows x tokens``, such as ``64x5x4``.

    Parameters
    ----------
    lanes : 5 to 320; products of one output that are summed per cycle, along K; a multiple of 4
        with the code ``sherry``
    rows : 1 to 64; outputs computed at once, along N
    tokens : 1 to 8; activation vectors that share one pass over the weights
    act_bits : 8, 4 or 2; bits of an activation; 2 means ternary activations
    code : a ``WeightCode`` or its value; how weights are packed
    k_max : 1 to 65,536; the largest K of a job
    n_max : 1 to 262,144; the largest N of a job
    levels_per_stage : 1 to 4; levels of the adder tree between two pipeline registers. More levels
        save registers (area, energy) and latency, and lower the clock frequency.
    target : a ``Target`` or its value; which of equal data paths is built, see ``DotProduct``

    Raises
    ------
    TypeError
        If a number is not an integer, or ``code`` or ``target`` is not a string.
    ValueError
        If a value is not legal.
    """

    lanes: int
    rows: int
    tokens: int = 1
    act_bits: int = 8
    code: WeightCode | str = WeightCode.BASE3
    k_max: int
    n_max: int
    levels_per_stage: int = 1
    target: Target | str = Target.FPGA

    def __post_init__(self) -> None:
        for name, low, high in (
            ("lanes", 5, 320),
            ("rows", 1, 64),
            ("tokens", 1, 8),
            ("k_max", 1, 65_536),
            ("n_max", 1, 262_144),
            ("levels_per_stage", 1, 4),
        ):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low, high))
        object.__setattr__(self, "act_bits", check_choice("act_bits", self.act_bits, ACT_BITS))
        object.__setattr__(self, "code", WeightCode(check_choice("code", self.code, WeightCode)))
        check_lanes(self.lanes, CODES[self.code])
        object.__setattr__(self, "target", Target(check_choice("target", self.target, Target)))

    def __str__(self) -> str:
        return f"{self.lanes}x{self.rows}x{self.tokens}"

    @property
    def compact(self) -> bool:
        """Whether the target is a compact engine on an FPGA."""
        return self.target == Target.COMPACT_FPGA

    @property
    def macs_per_clock(self) -> int:
        """Multiply-accumulates per cycle at full rate."""
        return self.lanes * self.rows * self.tokens

    @property
    def acc_width(self) -> int:
        """Bits of an accumulator.

        The width holds every sum from ``−k_max · 2^(act_bits − 1)`` to ``k_max · 2^(act_bits − 1)``
        exactly, and from ``−k_max`` to ``k_max`` with ternary activations.
        """
        smallest, _ = activation_range(self.act_bits)
        return (self.k_max * -smallest).bit_length() + 1

    @property
    def weight_bytes(self) -> int:
        """Bytes of a beat of the ``weights`` stream."""
        return CODES[self.code].packed_bytes(self.rows * self.lanes)

    @property
    def max_chunks(self) -> int:
        """Weight beats along K at ``k_max``: the depth of one half of the activation buffer."""
        return ceil(self.k_max / self.lanes)

    @property
    def tree_levels(self) -> int:
        """Levels of the adder tree over the operands: the lanes, or three for each four of them."""
        return ceil(log2(CODES[self.code].operands(self.lanes)))

    @property
    def tree_stages(self) -> int:
        """Pipeline stages of the adder tree."""
        return ceil(self.tree_levels / self.levels_per_stage)

    @property
    def dot_latency(self) -> int:
        """Cycles from the decoded weights of a beat to their sum."""
        return (1 if self.target == Target.ASIC else 2) + self.tree_stages

    @property
    def latency(self) -> int:
        """Cycles from the last weight beat of a result group to its first result beat.

        One cycle is for the weight register and the read of the buffer, ``dot_latency`` for the dot
        product, one for the capture of the sums, and two for the result queue.
        """
        return 1 + self.dot_latency + 3

    @property
    def queue_depth(self) -> int:
        """Result beats that the engine can hold: as many as are under way at full rate."""
        return self.latency + 2 * self.tokens


def check_lanes(lanes: int, code: Code) -> None:
    """Check that whole symbols of a code that counts zeros fill the lanes of a row.

    Raises
    ------
    ValueError
        If they do not.
    """
    if lanes % code.span:
        raise ValueError(
            f"lanes must be a multiple of {code.span} with the code {code.name!r}, not {lanes}"
        )


def check_config(config: object) -> MatVecConfig:
    """Check that a component's ``config`` is a ``MatVecConfig``, and return it.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(config, MatVecConfig):
        raise TypeError(f"config must be a MatVecConfig, not {config!r}")
    return config


#: Configurations with names. Beats of base-3 weights are 8, 16, 64 and 256 bytes.
PRESETS = {
    "micro": MatVecConfig(lanes=8, rows=5, k_max=1024, n_max=1024),
    "line": MatVecConfig(lanes=80, rows=1, k_max=6912, n_max=6912),
    "block": MatVecConfig(lanes=64, rows=5, tokens=4, k_max=6912, n_max=6912),
    "bitnet": MatVecConfig(lanes=64, rows=20, k_max=6912, n_max=6912),
    "compact": MatVecConfig(
        lanes=80,
        rows=1,
        k_max=6912,
        n_max=6912,
        levels_per_stage=2,
        target=Target.COMPACT_FPGA,
    ),
}
