"""Energy of matrix products by part: arithmetic, registers, activation buffer and weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from ...golden.checks import check_choice, check_integer
from ..gatelevel.table import COMPARED_UNITS, Table
from ..tools.errors import estimate_errors
from .formats import NumberFormat, accumulator_bits
from .memories import Dram
from .profiles import SRAM_KILOBYTES, Profile, measured_profile

__all__ = ["Buffered", "Parts", "Product", "buffered", "matmul_energy", "ternary_ratios"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Energy by where it is spent, in pJ.

    Parameters
    ----------
    mac : arithmetic
    register : flip-flops at their clock pins, and the charge of these pins and of the inputs; 0
        where the profile has no figure
    sram : activations read from their buffer, and results written into it
    dram : weights
    """

    mac: float
    register: float
    sram: float
    dram: float

    @property
    def total(self) -> float:
        """Sum of the parts, in pJ."""
        return self.mac + self.register + self.sram + self.dram


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product W (n, k) @ x (tokens, k), and how its operands are shared.

    Parameters
    ----------
    n, k, tokens : outputs, inputs and activation vectors, each 1 to 2³¹
    rows : outputs that share one read of an activation from its buffer, 1 to 2³¹
    pass_tokens : activation vectors that share one pass over the weights, 1 to 2³¹
    sram_kilobytes : size of the activation buffer, one of ``SRAM_KILOBYTES``
    adder_bits : width of an integer addition, 1 to 64; None for the profile's or the accumulator's

    Raises
    ------
    TypeError
        If a value is not an integer.
    EstimateError
        If a value is not legal.
    """

    n: int
    k: int
    tokens: int
    rows: int = 1
    pass_tokens: int = 1
    sram_kilobytes: int = 8
    adder_bits: int | None = None

    def __post_init__(self) -> None:
        for name in ("n", "k", "tokens", "rows", "pass_tokens"):
            self._check_integer(name, 1, 2**31)
        if self.adder_bits is not None:
            self._check_integer("adder_bits", 1, 64)
        with estimate_errors():
            check_choice("sram_kilobytes", self.sram_kilobytes, SRAM_KILOBYTES)

    def _check_integer(self, name: str, low: int, high: int) -> None:
        with estimate_errors():
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low, high))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the product."""
        return self.n * self.k * self.tokens


def matmul_energy(
    product: Product, number_format: NumberFormat, profile: Profile, dram: Dram | None
) -> Parts:
    """Return the energy of a matrix product by part, in pJ.

    Parameters
    ----------
    product : its sizes, and how operands are shared
    number_format : format of weights and activations
    profile : figures of arithmetic and SRAM
    dram : memory of the weights; None for weights that never move

    Raises
    ------
    MissingFigureError
        If the profile has no figure for the format or the buffer.
    EstimateError
        If the product gives the adders' width and the profile is measured.
    """
    n, k, tokens = product.n, product.k, product.tokens
    parts = profile.mac(number_format, k, product.adder_bits)
    register = parts.pop("register", None)
    read_bits = number_format.act_bits * k * tokens * ceil(n / product.rows)
    result_bits = (
        number_format.act_bits if number_format.add else accumulator_bits(number_format, k)
    ) * (n * tokens)
    weight_bits = number_format.weight_bits * n * k * ceil(tokens / product.pass_tokens)
    return Parts(
        mac=product.macs * sum(part.pj for part in parts.values()),
        register=product.macs * register.pj if register else 0.0,
        sram=(read_bits + result_bits) * profile.sram_bit(product.sram_kilobytes),
        dram=weight_bits * dram.pj_per_bit if dram else 0.0,
    )


@dataclass(frozen=True, kw_only=True)
class Buffered:
    """Energy that an activation buffer of 8 KB adds to a MAC.

    Parameters
    ----------
    unit : a unit of ``COMPARED_UNITS``
    rows : outputs that share a read
    mac_fj : energy of the unit's best variant in fJ per MAC, ports included
    buffer_fj : energy of the buffer in fJ per MAC
    source, label : origin of the buffer's energies
    """

    unit: str
    rows: int
    mac_fj: float
    buffer_fj: float
    source: str
    label: str


def buffered(table: Table, rows: Sequence[int], *, n: int) -> list[Buffered]:
    """Return the energy per MAC with an activation buffer, for the units of ``COMPARED_UNITS``.

    An activation is written once and serves ``n`` outputs. Each read serves ``rows`` of them. A
    write counts as a read where its energy is not known.

    Parameters
    ----------
    table : measured units of a library
    rows : numbers of outputs that share a read
    n : outputs of the product

    Returns
    -------
    A value for each measured unit and each of ``rows``; none where no memory of the same node is
    known
    """
    read = measured_profile(table).figures.get("sram 8 KB")
    if read is None:
        return []
    macro = table.buffer(8)
    write = macro.write_pj if macro else read.pj
    found = []
    for unit, bits in COMPARED_UNITS.items():
        row = table.best(unit)
        if row is None:
            continue
        for count in rows:
            reads = ceil(n / count)
            found.append(
                Buffered(
                    unit=unit,
                    rows=count,
                    mac_fj=row.with_ports_fj,
                    buffer_fj=1000 * bits / 64 * (read.pj * reads + write) / n,
                    source=read.source + ("" if macro else "; a write counted as a read"),
                    label=read.label,
                )
            )
    return found


def ternary_ratios(profile: Profile, adder_bits: Sequence[int]) -> dict[int, float]:
    """Return the energy of an FP16 MAC over that of one ternary accumulate.

    Parameters
    ----------
    profile : figures per operation
    adder_bits : widths that the ternary addition is taken to have

    Returns
    -------
    The ratio by width
    """
    fp16 = profile.figure("fp16 mul").pj + profile.figure("fp16 add").pj
    return {bits: fp16 / profile.integer_add(bits).pj for bits in adder_bits}
