"""Configuration of what goes on a board."""

from dataclasses import dataclass

from ...golden.checks import check_choice, check_integer, check_kind
from ...hw.config import MatVecConfig
from ...hw.token.config import TokenConfig
from ..frames import MAX_PAYLOAD
from ..identity import CoreIdentity, Identity
from .weight_memory import MemoryShape

__all__ = ["CoreTopConfig", "ExternalMemory", "TopConfig"]


def _check_line(config: "TopConfig | CoreTopConfig") -> None:
    """Check clock, rate and queue of a top level, and make them of type int."""
    for name in ("clock_hz", "baud", "queue"):
        object.__setattr__(config, name, check_integer(name, getattr(config, name), 1))
    if config.queue <= MAX_PAYLOAD or config.queue & (config.queue - 1):
        raise ValueError(f"queue must be a power of two above {MAX_PAYLOAD}, not {config.queue}")
    divisor = config.divisor
    if divisor < 4 or abs(config.clock_hz / divisor / config.baud - 1) > 0.02:
        raise ValueError(
            f"baud must be {config.clock_hz} Hz divided by an integer of 4 or more, within 2 %, "
            f"not {config.baud}"
        )


@dataclass(frozen=True, kw_only=True)
class TopConfig:
    """Configuration of a board's top level.

    Parameters
    ----------
    engine : configuration of the engine
    memory : shape of the weight memory; a beat has ``engine.weight_bytes`` bytes
    clock_hz : frequency of the one clock, in Hz
    baud : rate of the link, in bits per second
    queue : depth of the result queue in bytes; a power of two, larger than a frame's payload

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If a number is not positive, if the queue's depth is not legal, if a bit takes less
        than four cycles, or if the length of a bit is more than 2 % off.
    """

    engine: MatVecConfig
    memory: MemoryShape
    clock_hz: int
    baud: int
    queue: int = 512

    def __post_init__(self) -> None:
        for name, kind in (("engine", MatVecConfig), ("memory", MemoryShape)):
            check_kind(name, getattr(self, name), kind)
        _check_line(self)

    @property
    def divisor(self) -> int:
        """Cycles per bit on the line."""
        return round(self.clock_hz / self.baud)

    @property
    def identity(self) -> Identity:
        """Identity with which the board answers a host."""
        return Identity(config=self.engine, beats=self.memory.beats, clock_hz=self.clock_hz)


@dataclass(frozen=True, kw_only=True)
class ExternalMemory:
    """Memory of a token core: a chip on the board, or block RAM.

    Parameters
    ----------
    kind : ``sdram`` or ``block_ram``
    module : name of the SDRAM's class in ``litedram.modules``, such as ``MT48LC16M16``; empty for
        block RAM
    bytes : its size, a power of two from 4,096 to 2³¹

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If a value is not legal, an SDRAM has no module, or block RAM has one.
    """

    kind: str
    module: str = ""
    bytes: int

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("sdram", "block_ram"))
        check_kind("module", self.module, str)
        size = check_integer("bytes", self.bytes, 4096, 2**31)
        object.__setattr__(self, "bytes", size)
        if size & (size - 1):
            raise ValueError(f"bytes must be a power of two, not {size}")
        if (self.kind == "sdram") != bool(self.module):
            rule = "name a class of litedram.modules" if self.kind == "sdram" else "be empty"
            raise ValueError(f"module must {rule} for {self.kind}, not {self.module!r}")

    @property
    def address_bits(self) -> int:
        """Bits of a byte address."""
        return self.bytes.bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class CoreTopConfig:
    """Configuration of a top level with a token core.

    Parameters
    ----------
    core : configuration of the token core, with ``engine.tokens`` 1
    memory : external memory, which holds everything but the resident weights
    resident : shape of the block RAM for weight beats, the first ones of a model; None: all beats
        are read from the external memory
    clock_hz, baud, queue : see ``TopConfig``

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If ``core`` has passes, or a number is not legal, see ``TopConfig``.
    """

    core: TokenConfig
    memory: ExternalMemory
    resident: MemoryShape | None = None
    clock_hz: int
    baud: int
    queue: int = 512

    def __post_init__(self) -> None:
        check_kind("core", self.core, TokenConfig)
        check_kind("memory", self.memory, ExternalMemory)
        if self.resident is not None:
            check_kind("resident", self.resident, MemoryShape)
        if self.core.tokens != 1:
            raise ValueError(f"core.engine.tokens must be 1 on a board, not {self.core.tokens}")
        _check_line(self)

    @property
    def divisor(self) -> int:
        """Cycles per bit on the line."""
        return round(self.clock_hz / self.baud)

    @property
    def word_bytes(self) -> int:
        """Bytes of a memory word."""
        return self.core.memory_width // 8

    @property
    def identity(self) -> CoreIdentity:
        """Identity with which the board answers a host, if its memory passes the test."""
        return CoreIdentity(
            config=self.core,
            memory_bytes=self.memory.bytes,
            resident_beats=self.resident.beats if self.resident is not None else 0,
            clock_hz=self.clock_hz,
            tested_bytes=self.memory.bytes,
        )
