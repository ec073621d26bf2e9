"""Number formats: how weights and activations are stored, and the arithmetic of their products."""

from dataclasses import dataclass, replace

from ...hw.config import MatVecConfig
from ..tools.errors import EstimateError
from ..tools.records import record
from .datafiles import DATA, find, read_data

__all__ = ["FORMATS", "NumberFormat", "accumulator_bits", "engine_format", "find_format"]

_FORMATS_FILE = DATA / "formats.toml"


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """Storage of weights and activations, and the arithmetic of their products.

    Parameters
    ----------
    name : name of the format
    weight_bits, act_bits : stored bits of a weight (without scales) and of an activation
    multiply : name of the multiplication's figure; None where nothing multiplies
    add : name of the addition's figure; None for an integer as wide as the accumulator
    product_bits : bits of an integer product, from which the accumulator grows; 0 with ``add``
    measured : unit of the gate-level tables that computes in this format
    codes : weight codes (``trilith.golden.codes``) that store a weight in ``weight_bits``
    stored : types of safetensors and GGUF that hold such numbers
    head : number format of the head of a machine of this format; None for this one
    attention : number format of its attention; None for that of the design it is compared with
    source : definition of the format
    """

    name: str
    weight_bits: float
    act_bits: int
    multiply: str | None = None
    add: str | None = None
    product_bits: int = 0
    measured: str
    codes: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    head: str | None = None
    attention: str | None = None
    source: str


#: Number formats by name, from ``data/formats.toml``.
FORMATS: dict[str, NumberFormat] = {
    name: record(
        NumberFormat,
        {"name": name} | {key: tuple(x) if type(x) is list else x for key, x in entry.items()},
        f"{_FORMATS_FILE}: {name}",
    )
    for name, entry in read_data(_FORMATS_FILE).items()
}


def find_format(name: str) -> NumberFormat:
    """Find a number format by name.

    Raises
    ------
    EstimateError
        If there is no such format.
    """
    return find("number format", name, FORMATS)


def engine_format(config: MatVecConfig) -> NumberFormat:
    """Return the number format of an engine: its weight code sets the bits of a weight.

    Parameters
    ----------
    config : the engine; ``act_bits`` sets the bits of an activation and of a product

    Raises
    ------
    EstimateError
        If no format has the engine's weight code.
    """
    for one in FORMATS.values():
        if config.code in one.codes:
            break
    else:
        raise EstimateError(f"{_FORMATS_FILE}: no format has the weight code {config.code!r}")
    if config.act_bits == one.act_bits:
        return one
    # Ternary activations are -1, 0 and 1: a product has one bit beside its sign.
    ternary = config.act_bits == 2
    unit = "ternary" if ternary else f"int{config.act_bits}"
    return replace(
        one,
        act_bits=config.act_bits,
        product_bits=1 if ternary else config.act_bits,
        measured=one.measured.replace("int8", unit),
    )


def accumulator_bits(number_format: NumberFormat, k: int) -> int:
    """Return the bits that hold a sum of integer products exactly.

    Parameters
    ----------
    number_format : format with integer products
    k : products in the sum; 20 bits for 8-bit activations and K = 2560
    """
    return (k << (number_format.product_bits - 1)).bit_length() + 1
