"""Register maps of the AXI wrappers: the one source of their logic, pages and constants."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ...golden.checks import check_choice

__all__ = [
    "ACCESS",
    "ADDRESS_BITS",
    "CORE_MAGIC",
    "CORE_MAP_VERSION",
    "CORE_REGISTERS",
    "MAGIC",
    "MAP_VERSION",
    "REGISTERS",
    "Field",
    "Register",
]

#: Byte-address width, in bits; unmapped addresses return SLVERR.
ADDRESS_BITS = 12


#: Value of the register ``magic``: ``TRIL`` in ASCII, T in the highest byte.
MAGIC = 0x5452494C


#: Major and minor version of this map. A new minor version adds registers; a new major version
#: changes existing ones.
MAP_VERSION = (1, 0)


#: The same of the token core: ``TRIC`` in ASCII, and the version of its map.
CORE_MAGIC, CORE_MAP_VERSION = 0x54524943, (1, 0)


#: Kinds of access, and their meanings.
ACCESS = {
    "ro": "read only; a write returns SLVERR",
    "rw": "read and write; WSTRB selects the bytes that a write changes",
    "flags": "events set bits; writing 1 clears a bit, unless its event comes in the same cycle",
    "command": "writing 1 starts the command; reads return 0",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """Named bits of a register.

    Parameters
    ----------
    name : in lower case
    lsb : lowest bit, 0 to 31
    width : number of bits, 1 or more; the highest bit is at most 31
    meaning : a noun phrase, for the page of the map and the constants
    """

    name: str
    lsb: int = 0
    width: int = 1
    meaning: str

    @property
    def mask(self) -> int:
        """Number with ones in the places of the field."""
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True, kw_only=True)
class Register:
    """Thirty-two bits at an address.

    Parameters
    ----------
    name : in lower case
    offset : byte address, a multiple of 4
    access : a key of ``ACCESS``
    meaning : a noun phrase that describes the whole register
    fields : named bits, lowest first; empty for one number of 32 bits

    Raises
    ------
    ValueError
        If ``access`` is unknown, or ``offset`` is not a legal address.
    """

    name: str
    offset: int
    access: str
    meaning: str
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        check_choice("access", self.access, ACCESS)
        if self.offset % 4 or not 0 <= self.offset < 2**ADDRESS_BITS:
            raise ValueError(
                f"offset must be a multiple of 4 below {2**ADDRESS_BITS}, not {self.offset}"
            )

    @property
    def width(self) -> int:
        """Number of bits up to the highest named one; 32 without fields."""
        return max((field.lsb + field.width for field in self.fields), default=32)


def _registers(name: str) -> tuple[Register, ...]:
    """Registers of a file of this folder, checked."""
    table = tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return tuple(
        Register(**row | {"fields": tuple(Field(**field) for field in row.get("fields", ()))})
        for row in table["register"]
    )


#: Registers of ``AxiMatVec`` in the order of their addresses.
REGISTERS = _registers("registers.toml")

#: Registers of ``AxiTokenCore`` in the order of their addresses.
CORE_REGISTERS = _registers("core_registers.toml")
