"""The engine's configuration and its presets."""

from dataclasses import dataclass, fields
from math import ceil, log2

from ..golden.codes import CODES

__all__ = ["PRESETS", "MatVecConfig"]


@dataclass(frozen=True, kw_only=True)
class MatVecConfig:
    """Everything that shapes a matrix–vector engine.

    The engine performs ``lanes × rows × tokens`` MACs per clock.

    Parameters
    ----------
    lanes : 5 to 320; products of one output summed per clock, along K
    rows : 1 to 64; outputs computed at once, along N
    tokens : 1 to 8; activation vectors served by one pass over the weights
    act_bits : 8, 4 or 2; 2 means ternary activations
    code : a key of ``trilith.golden.codes.CODES``; how weights are packed
    k_max : 1 to 65,536; the largest K of a job
    n_max : 1 to 262,144; the largest N of a job
    levels_per_stage : 1 to 4; levels of the adder tree between two pipeline registers. More save
        registers (area, energy) and latency, and lower the clock frequency.
    target : ``fpga`` or ``asic``; which of two equal dot products is built, see ``DotProduct``

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If a value is not legal.
    """

    lanes: int
    rows: int
    tokens: int = 1
    act_bits: int = 8
    code: str = "base3"
    k_max: int
    n_max: int
    levels_per_stage: int = 1
    target: str = "fpga"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = str if field.name in ("code", "target") else int
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{field.name} must be of type {kind.__name__}, not {value!r}")
        for name, low, high in (
            ("lanes", 5, 320),
            ("rows", 1, 64),
            ("tokens", 1, 8),
            ("k_max", 1, 65_536),
            ("n_max", 1, 262_144),
            ("levels_per_stage", 1, 4),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value}")
        if self.act_bits not in (8, 4, 2):
            raise ValueError(f"act_bits must be 8, 4 or 2, not {self.act_bits}")
        if self.code not in CODES:
            raise ValueError(f"code must be one of {', '.join(CODES)}, not {self.code!r}")
        if self.target not in ("fpga", "asic"):
            raise ValueError(f"target must be fpga or asic, not {self.target!r}")

    @property
    def macs_per_clock(self) -> int:
        """Multiply-accumulates per clock at full rate."""
        return self.lanes * self.rows * self.tokens

    @property
    def acc_width(self) -> int:
        """Bits of an accumulator: holds −k_max·2^(act_bits−1) to +k_max·2^(act_bits−1) exactly."""
        largest = 1 if self.act_bits == 2 else 2 ** (self.act_bits - 1)
        return (self.k_max * largest).bit_length() + 1

    @property
    def weight_bytes(self) -> int:
        """Bytes of a beat of the ``weights`` stream."""
        return CODES[self.code].packed_bytes(self.rows * self.lanes)

    @property
    def max_chunks(self) -> int:
        """Weight beats along K at k_max; the depth of one half of the activation buffer."""
        return ceil(self.k_max / self.lanes)

    @property
    def tree_levels(self) -> int:
        """Levels of the adder tree over the lanes."""
        return ceil(log2(self.lanes))

    @property
    def tree_stages(self) -> int:
        """Pipeline stages of the adder tree."""
        return ceil(self.tree_levels / self.levels_per_stage)

    @property
    def dot_latency(self) -> int:
        """Clocks from a beat's decoded weights to their sum."""
        return (2 if self.target == "fpga" else 1) + self.tree_stages


#: Configurations with names. Beats of base-3 weights are 8, 16, 64 and 256 bytes.
PRESETS = {
    "micro": MatVecConfig(lanes=8, rows=5, k_max=1024, n_max=1024),
    "line": MatVecConfig(lanes=80, rows=1, k_max=6912, n_max=6912),
    "block": MatVecConfig(lanes=64, rows=5, tokens=4, k_max=6912, n_max=6912),
    "bitnet": MatVecConfig(lanes=64, rows=20, k_max=6912, n_max=6912),
}
