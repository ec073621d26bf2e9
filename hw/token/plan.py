"""Plan of an image for the token core: the program of a model, and where its parts lie.

A plan needs the sizes of a model and no weight, so that the cycles of a model can be known without
its file.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.model_config import ModelConfig
from ...golden.elements import LARGEST, element_bits, round_element, score_factor
from ...golden.errors import TrilithError
from ...golden.network.core_kinds import check_core_kind
from .config import TokenConfig, check_core_config
from .program import FLAGS, INSTRUCTION_BYTES, Instruction, Op, WriteMode

__all__ = ["CompileError", "LinearScales", "Plan", "check_maxima", "plan_image", "scale_elements"]

#: Instructions of a program: those of each layer, and the others.
_PER_LAYER, _FIXED = 11, 5


class CompileError(TrilithError, ValueError):
    """A model does not fit a token core."""


def scale_elements(
    name: str, values: NDArray[np.float64], *, zero: bool = True
) -> NDArray[np.float64]:
    """Round scales or constants to elements.

    Parameters
    ----------
    name : what they are, for the message
    values : numbers that are not negative
    zero : whether 0 is legal

    Raises
    ------
    CompileError
        If a number is outside the number format.
    """
    elements = round_element(values)
    wrong = (elements >= LARGEST) | ((elements == 0) & ((values != 0) | (not zero)))
    if wrong.any():
        raise CompileError(
            f"{name}: must be from 2^-126 to {LARGEST:.3g}, the number format of the core, not "
            f"{values[wrong][0]:.3g}"
        )
    return elements


def _constant(name: str, value: float) -> int:
    """A constant as a float32 word of memory; refuse one outside the number format."""
    return int(element_bits(scale_elements(name, np.array([value])))[0]) << 8


def check_maxima(sizes: ModelConfig, maxima: Mapping[str, int], what: str) -> None:
    """Refuse a model with sizes above maxima.

    Parameters
    ----------
    sizes : those of the model
    maxima : largest sizes, by the names of ``TokenConfig.maxima``
    what : the reason in one word or a few, in front of the sizes

    Raises
    ------
    CompileError
        If a size is too large; the message names each of them with both values.
    """
    found = {
        "hidden": sizes.hidden,
        "ffn": sizes.ffn,
        "heads": sizes.heads,
        "kv_heads": sizes.kv_heads,
        "head_size": sizes.head_size,
        "context": sizes.max_positions,
        "vocabulary": sizes.vocabulary,
    }
    beyond = [
        f"its {name} must be at most {maxima[name]}, not {value}"
        for name, value in found.items()
        if value > maxima[name]
    ]
    if beyond:
        raise CompileError(f"{what}: {'; '.join(beyond)}")


@dataclass(frozen=True, kw_only=True)
class LinearScales:
    """How the scales of a matrix are given.

    Parameters
    ----------
    scale : the scale of all weights; None if a table has a scale for each output and group
    groups : groups of inputs, 1 or more; more than 1 needs a table
    """

    scale: float | None = 1.0
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Program of a model, and the places of its parts.

    Parameters
    ----------
    config : the core's configuration
    sizes : those of the model
    program : the instructions
    addresses : byte address of each part in memory, by its name: ``"norm"``, ``"angles"``,
        ``"embedding"``, ``"embedding.scale"``, the same for ``"head"``, and with ``"layers.0."`` in
        front each gain by its name, ``"cache"``, and ``"self_attn.q_proj.scale"`` for a table
    memory_bytes : size of the memory
    beats : number of the first weight beat of each matrix, ``"layers.0.self_attn.q_proj"``; of the
        rows of the head as ``"head"``, if they are weight beats; and the count of all as ``""``
    """

    config: TokenConfig
    sizes: ModelConfig
    program: tuple[Instruction, ...] = field(repr=False)
    addresses: Mapping[str, int] = field(repr=False)
    memory_bytes: int
    beats: Mapping[str, int] = field(repr=False)

    @property
    def program_words(self) -> int:
        """Memory words of the program."""
        return -(-len(self.program) * INSTRUCTION_BYTES // (self.config.memory_width // 8))


def plan_image(
    config: TokenConfig,
    sizes: ModelConfig,
    *,
    gains: Collection[str] | None = None,
    scales: Mapping[str, LinearScales] | None = None,
) -> Plan:
    """Plan the image of a model.

    Parameters
    ----------
    config : the core's configuration
    sizes : those of the model
    gains : names of the norms of a layer; by default those of the model's family
    scales : scales of matrices by name, ``"layers.0.self_attn.q_proj"``; a matrix that is not in it
        has one scale

    Raises
    ------
    CompileError
        If a size of the model is above the core's maximum, or does not fit its lanes, or a constant
        is outside the number format.
    TypeError
        If ``config`` is not a ``TokenConfig``.
    """
    _check(check_core_config(config), sizes)
    names = sizes.norm_sizes if gains is None else gains
    return _Planner(config, sizes, names, scales or {}).plan()


def _check(config: TokenConfig, sizes: ModelConfig) -> None:
    """Refuse a model that the core cannot run."""
    check_core_kind(sizes)
    check_maxima(sizes, config.maxima, "the model is too large for this token core")
    lanes = config.vector_lanes
    rules = (
        ("head_size", sizes.head_size, 2 * lanes, "twice the vector lanes"),
        ("hidden", sizes.hidden, lanes, "the vector lanes"),
        ("ffn", sizes.ffn, lanes, "the vector lanes"),
        ("heads", sizes.heads, sizes.kv_heads, "the heads of keys and values"),
    )
    for name, value, unit, text in rules:
        if value % unit:
            raise CompileError(
                f"the model's {name} must be a multiple of {text}, {unit}, not {value}"
            )
    if sizes.heads // sizes.kv_heads > config.shared_max:
        raise CompileError(
            f"the model must have at most {config.shared_max} heads for each head of keys and "
            f"values, the core's maximum, not {sizes.heads // sizes.kv_heads}"
        )


@dataclass(frozen=True)
class _Source:
    """A vector that is quantized: its first word, and the address of its norm's gains, if any."""

    place: int
    gains: int | None


@dataclass(frozen=True, kw_only=True)
class _Target:
    """The vector that a product makes.

    Parameters
    ----------
    destination : its first word
    mode : what is computed of the results
    tracked : the next instruction that loads a vector loads this one
    gains : address of its gains, if it is tracked and has a norm
    """

    destination: int
    mode: WriteMode = WriteMode.STORE
    tracked: bool = False
    gains: int | None = None


class _Planner:
    """Places the parts of a model in memory, and writes the program that uses them."""

    def __init__(
        self,
        config: TokenConfig,
        sizes: ModelConfig,
        gains: Collection[str],
        scales: Mapping[str, LinearScales],
    ) -> None:
        self._config, self._sizes, self._scales = config, sizes, scales
        self._gains = gains
        self._word = config.memory_width // 8
        self._row = config.cache_row(sizes.head_size)
        #: First words of the residual stream, and of the other vectors.
        self._stream, self._work = 0, -(-config.hidden_max // config.vector_lanes)
        self._program: list[Instruction] = []
        self._addresses: dict[str, int] = {}
        self._beats: dict[str, int] = {}
        self._beat = 0
        self._end = self._aligned((_FIXED + _PER_LAYER * sizes.layers) * INSTRUCTION_BYTES)

    def _aligned(self, address: int) -> int:
        """The next multiple of whole rows of memory."""
        unit = max(self._config.row_bytes, INSTRUCTION_BYTES)
        return -(-address // unit) * unit

    def _place(self, name: str, size: int) -> int:
        """Place a part of some bytes in memory; return its byte address."""
        address = self._addresses[name] = self._end
        self._end += self._aligned(size)
        return address

    def _place_rows(self, name: str, *, beats: bool = False) -> int:
        """Place scales, and behind them rows of int8 that are no weight beats.

        Returns
        -------
        The address of the scales
        """
        vocabulary = self._sizes.vocabulary
        address = self._place(f"{name}.scale", 4 * vocabulary)
        if not beats:
            self._place(name, vocabulary * self._row_bytes)
        return address

    @property
    def _row_bytes(self) -> int:
        """Bytes of a row of the embedding."""
        config = self._config
        return config.row_chunks(self._sizes.hidden) * config.attention_lanes

    def _emit(self, op: Op, flags: Collection[str] = (), **fields: int) -> None:
        """Append an instruction."""
        named = frozenset(flags)
        assert named <= set(FLAGS)
        self._program.append(Instruction(op=op, flags=named, fields=fields))

    def plan(self) -> Plan:
        """Plan the model."""
        sizes, lanes = self._sizes, self._config.vector_lanes
        norm_sizes = sizes.norm_sizes | {
            "self_attn.attn_sub_norm": sizes.heads * sizes.head_size,
            "mlp.ffn_sub_norm": sizes.ffn,
        }
        gains = [
            {
                name: self._place(f"layers.{index}.{name}", 4 * norm_sizes[name])
                for name in self._gains
            }
            for index in range(sizes.layers)
        ]
        final = self._place("norm", 4 * sizes.hidden)
        angle_bytes = self._aligned(4 * sizes.head_size)
        angles = self._place("angles", angle_bytes * sizes.max_positions)
        embedding = self._place_rows("embedding")
        scale_step = self._addresses["embedding"] - embedding
        on_weights = self._config.head_on_weights
        head = embedding if sizes.tied else self._place_rows("head", beats=on_weights)
        self._emit(
            Op.SETUP,
            epsilon=_constant("rms_norm_eps", sizes.epsilon),
            kappa=_constant("the factor of the scores", score_factor(sizes.head_size)),
            embedding_bytes=self._row_bytes,
            angle_bytes=angle_bytes,
            cache_bytes=self._row,
            vocabulary=sizes.vocabulary,
            context=sizes.max_positions,
        )
        self._emit(Op.ANGLES, address=angles, words=sizes.head_size // lanes)
        self._emit(
            Op.EMBED,
            ("track", "peak_gained"),
            rows=embedding + scale_step,
            row_words=self._row_bytes // self._word,
            scales=embedding,
            count=sizes.hidden,
            destination=self._stream,
            peak_gains=gains[0]["input_layernorm"],
        )
        for index, own in enumerate(gains):
            following = gains[index + 1]["input_layernorm"] if index + 1 < len(gains) else final
            self._layer(f"layers.{index}.", own, following)
        self._head(final, head, scale_step)
        self._emit(Op.END)
        assert len(self._program) == _FIXED + _PER_LAYER * sizes.layers
        return Plan(
            config=self._config,
            sizes=sizes,
            program=tuple(self._program),
            addresses=self._addresses,
            memory_bytes=self._end,
            beats=self._beats | {"": self._beat},
        )

    def _head(self, gains: int, scales: int, scale_step: int) -> None:
        """Plan the head, whose rows are the last weight beats, or lie behind their scales.

        Parameters
        ----------
        gains : address of the gains in front of it
        scales : address of the scales
        scale_step : bytes from the scales to the rows in memory
        """
        sizes, config = self._sizes, self._config
        beats = config.head_beats(sizes.hidden, sizes.vocabulary)
        self._emit(
            Op.HEAD,
            ("gained",),
            k=sizes.hidden,
            source=self._stream,
            inverse=_constant("1 / hidden", 1 / sizes.hidden),
            gains=gains,
            address=scales,
            scale_step=0 if beats else scale_step,
            scale_words=-(-4 * sizes.vocabulary // self._word),
            row_words=0 if beats else sizes.vocabulary * self._row_bytes // self._word,
            chunks=self._row_bytes // config.attention_lanes,
            vocabulary=sizes.vocabulary,
            first_beat=self._beat if beats else 0,
            beats=beats,
        )
        if beats:
            self._beats["head"] = self._beat
            self._beat += beats

    def _layer(self, prefix: str, gains: Mapping[str, int], following: int) -> None:
        """Plan a layer.

        Parameters
        ----------
        prefix : in front of the names of its parts
        gains : addresses of its gains
        following : address of the gains behind it
        """
        after = gains["post_attention_layernorm"]
        self._attention(prefix, gains)
        sub_norm = gains.get("self_attn.attn_sub_norm")
        out = _Target(destination=self._stream, mode=WriteMode.ADD, tracked=True, gains=after)
        self._product(prefix, "self_attn.o_proj", _Source(self._work, sub_norm), out)
        gate = WriteMode.RELU2 if self._sizes.hidden_act == "relu2" else WriteMode.SILU
        sub_norm = gains.get("mlp.ffn_sub_norm")
        gated = _Target(
            destination=self._work, mode=WriteMode.MULTIPLY, tracked=True, gains=sub_norm
        )
        source = _Source(self._stream, after)
        self._product(prefix, "mlp.gate_proj", source, _Target(destination=self._work, mode=gate))
        self._product(prefix, "mlp.up_proj", None, gated)
        out = _Target(destination=self._stream, mode=WriteMode.ADD, tracked=True, gains=following)
        self._product(prefix, "mlp.down_proj", _Source(self._work, sub_norm), out)

    def _attention(self, prefix: str, gains: Mapping[str, int]) -> None:
        """Plan the products, the heads and the attention of a layer, and reserve its cache.

        The cache has for each head of keys and values: pairs of a key's scale and a value's, keys,
        values; each with room for the whole context, in whole chunks.

        Parameters
        ----------
        prefix : in front of the names of the layer's parts
        gains : addresses of its gains
        """
        sizes, config = self._sizes, self._config
        size, lanes = sizes.head_size, config.vector_lanes
        positions = -(-sizes.max_positions // config.segments) * config.segments
        scale_step = self._aligned(8 * positions)
        row_step = self._aligned(self._row * positions)
        group = scale_step + 2 * row_step
        cache = self._place(f"{prefix}cache", group * sizes.kv_heads)
        heads = {"q": sizes.heads, "k": sizes.kv_heads, "v": sizes.kv_heads}
        place, places = self._work, {}
        for name, count in heads.items():
            places[name] = place
            source = _Source(self._stream, gains["input_layernorm"]) if name == "q" else None
            self._product(prefix, f"self_attn.{name}_proj", source, _Target(destination=place))
            place += count * size // lanes
        for name, count in heads.items():
            value = name == "v"
            self._emit(
                Op.HEADS,
                ("turn",) * (not value) + ("cache",) * (name != "q"),
                source=places[name],
                heads=count,
                half=size // lanes // 2,
                rows=cache + scale_step + value * row_step,
                scales=cache + 4 * value,
                step=group,
            )
        vectors, chunks = sizes.heads // sizes.kv_heads, config.cache_chunks(size)
        sub_norm = gains.get("self_attn.attn_sub_norm")
        self._emit(
            Op.ATTEND,
            ("track",) + ("peak_gained",) * (sub_norm is not None),
            groups=sizes.kv_heads,
            vectors=vectors,
            chunks=chunks,
            query_step=vectors * chunks,
            address=cache,
            scale_step=scale_step,
            row_step=row_step,
            words=size // lanes,
            destination=self._work,
            count=sizes.heads * size,
            peak_gains=sub_norm or 0,
        )

    def _table(self, name: str, scales: LinearScales, n: int) -> dict[str, int]:
        """Fields of an instruction for the scales of a matrix; a table gets its place.

        A table has a scale for each result, filled to whole words of the lanes.
        """
        if scales.scale is not None:
            scale = _constant(f"scales of {name}", scales.scale)
            return {"scale": scale, "scales": 0, "scale_words": 0, "scale_count": 0}
        rows, lanes = self._config.engine.rows, self._config.vector_lanes
        count = ceil(n / rows) * scales.groups * -(-rows // lanes)
        return {
            "scale": 0,
            "scales": self._place(f"{name}.scale", 4 * count * lanes),
            "scale_words": -(-4 * count * lanes // self._word),
            "scale_count": count,
        }

    def _product(self, prefix: str, linear: str, source: _Source | None, target: _Target) -> None:
        """Plan a product; without a source it uses the last vector.

        Parameters
        ----------
        prefix, linear : name of the matrix
        source : the vector that is quantized
        target : the vector that is made
        """
        engine, name = self._config.engine, f"{prefix}{linear}"
        n, k = self._sizes.linear_shapes[linear]
        scales = self._scales.get(name, LinearScales())
        fields = self._table(name, scales, n)
        beats = ceil(n / engine.rows) * ceil(k / engine.lanes)
        flags = {
            "load": source is not None,
            "gained": source is not None and source.gains is not None,
            "table": scales.scale is None,
            "track": target.tracked,
            "peak_gained": target.gains is not None,
            **{f"mode{bit}": bool(target.mode.value >> bit & 1) for bit in range(3)},
        }
        self._emit(
            Op.PRODUCT,
            [flag for flag, value in flags.items() if value],
            n=n,
            k=k,
            source=source.place if source is not None else 0,
            inverse=_constant("1 / k", 1 / k),
            gains=(source.gains or 0) if source is not None else 0,
            first_beat=self._beat,
            beats=beats,
            group_chunks=k // scales.groups // engine.lanes if scales.groups > 1 else 0,
            groups=scales.groups,
            destination=target.destination,
            peak_gains=target.gains or 0,
            **fields,
        )
        self._beats[name] = self._beat
        self._beat += beats
