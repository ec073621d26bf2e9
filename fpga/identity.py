"""Identity of a board, with which it answers a host; PROTOCOL.md has its bytes."""

from dataclasses import dataclass

from ..golden.checks import check_integer, check_kind
from ..golden.codes import CODES
from ..hw.config import MatVecConfig
from ..hw.token.config import TokenConfig
from .frames import pack_fields, unpack_fields

__all__ = ["CoreIdentity", "Identity", "decode_identity"]

_MAGIC = b"TRLT"

#: Fields of an engine in an identity.
_ENGINE = {
    "act_bits": 1,
    "lanes": 2,
    "rows": 1,
    "tokens": 1,
    "code": 1,
    "levels_per_stage": 1,
    "k_max": 3,
    "n_max": 3,
}

#: Fields of a token core in an identity, behind those of its engine.
_CORE = {
    "vector_lanes": 1,
    "attention_lanes": 2,
    "memory_width": 2,
    "hidden_max": 3,
    "ffn_max": 3,
    "heads_max": 2,
    "kv_heads_max": 2,
    "head_size_max": 2,
    "context_max": 3,
    "vocabulary_max": 3,
}

#: Fields behind the configuration, by the version of the protocol.
_REST = {
    1: {"beats": 3, "clock_hz": 4},
    2: {"memory_bytes": 4, "resident_beats": 3, "clock_hz": 4, "tested_bytes": 4},
}


def _pack_engine(config: MatVecConfig) -> bytes:
    """Encode the configuration of an engine, without its target: all have the same results."""
    return pack_fields(_ENGINE, vars(config) | {"code": list(CODES).index(config.code)})


def _unpack_engine(payload: bytes) -> MatVecConfig:
    """Decode the configuration of an engine; ValueError if it is not legal."""
    fields = unpack_fields(_ENGINE, payload)
    if fields["code"] >= len(CODES):
        raise ValueError(f"the weight code must be below {len(CODES)}, not {fields['code']}")
    return MatVecConfig(**fields | {"code": list(CODES)[fields["code"]]})


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity of a board that multiplies matrices, in protocol 1.

    Parameters
    ----------
    config : configuration of its engine
    beats : size of its weight memory in beats of ``config.weight_bytes`` bytes
    clock_hz : frequency of its engine in Hz

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``, or a number is not an integer.
    ValueError
        If a number is not legal.
    """

    config: MatVecConfig
    beats: int
    clock_hz: int

    def __post_init__(self) -> None:
        check_kind("config", self.config, MatVecConfig)
        for name, size in _REST[1].items():
            number = check_integer(name, getattr(self, name), 1, 2 ** (8 * size) - 1)
            object.__setattr__(self, name, number)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weight memory."""
        return self.beats * self.config.weight_bytes

    def encode(self) -> bytes:
        """Encode the identity.

        Returns
        -------
        The payload of ``Kind.IDENTITY`` behind the host's four bytes.
        """
        return _MAGIC + bytes([1]) + _pack_engine(self.config) + pack_fields(_REST[1], vars(self))


@dataclass(frozen=True, kw_only=True)
class CoreIdentity:
    """Identity of a board with a token core, in protocol 2.

    Parameters
    ----------
    config : configuration of the core
    memory_bytes : bytes of its external memory by design
    resident_beats : weight beats that its block RAM holds; 0 if all are read from memory
    clock_hz : frequency of its core in Hz
    tested_bytes : bytes of its external memory that the test after the start found; 0 if it failed

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``, or a number is not an integer.
    ValueError
        If a number is not legal.
    """

    config: TokenConfig
    memory_bytes: int
    resident_beats: int
    clock_hz: int
    tested_bytes: int

    def __post_init__(self) -> None:
        check_kind("config", self.config, TokenConfig)
        for name, size in _REST[2].items():
            low = int(name in ("memory_bytes", "clock_hz"))
            number = check_integer(name, getattr(self, name), low, 2 ** (8 * size) - 1)
            object.__setattr__(self, name, number)

    def encode(self) -> bytes:
        """Encode the identity.

        Returns
        -------
        The payload of ``Kind.IDENTITY`` behind the host's four bytes. Its last four bytes are
        ``tested_bytes``, which a board knows only after its start.
        """
        config = self.config
        return (
            _MAGIC
            + bytes([2])
            + _pack_engine(config.engine)
            + pack_fields(_CORE, vars(config))
            + pack_fields(_REST[2], vars(self))
        )


def decode_identity(payload: bytes) -> Identity | CoreIdentity:
    """Decode an identity of either protocol.

    Parameters
    ----------
    payload : of ``Kind.IDENTITY``, behind the host's four bytes

    Returns
    -------
    The identity; its class tells the protocol.

    Raises
    ------
    ValueError
        If the bytes are no identity, or that of another version of the protocol.
    """
    try:
        return _decode(payload)
    except ValueError as error:
        raise ValueError(
            f"{error}; build the bitstream and the host from one version of trilith"
        ) from None


def _decode(payload: bytes) -> Identity | CoreIdentity:
    """Decode an identity; the messages of its errors have no remedy."""
    if payload[:4] != _MAGIC:
        raise ValueError(f"an identity must begin with {_MAGIC!r}, not {payload[:4]!r}")
    # An identity of another version may have another length.
    version = payload[4] if len(payload) > 4 else 1
    if version not in _REST:
        raise ValueError(f"the bitstream's protocol must be 1 or 2, not {version}")
    core = _CORE if version == 2 else {}
    core_at = 5 + sum(_ENGINE.values())
    rest_at = core_at + sum(core.values())
    size = rest_at + sum(_REST[version].values())
    if len(payload) != size:
        raise ValueError(f"an identity must have {size} bytes, not {len(payload)}")
    engine = _unpack_engine(payload[5:])
    rest = unpack_fields(_REST[version], payload[rest_at:])
    if version == 1:
        return Identity(config=engine, **rest)
    config = TokenConfig(engine=engine, **unpack_fields(core, payload[core_at:]))
    return CoreIdentity(config=config, **rest)
