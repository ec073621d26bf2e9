"""Compiler of models for the token core: program, memory image, and weight beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.model_config import ModelConfig
from ...golden.elements import LARGEST, element_bits, round_element
from ...golden.errors import TrilithError
from ...golden.network.layers import BitLinear
from ...golden.network.token_core import CoreModel, Int8Rows, rotation_table, score_factor
from ..beats import weight_beats
from ..config import MatVecConfig
from .config import LARGEST_SIZES, TokenConfig, check_core_config
from .image_file import Image
from .program import INSTRUCTION_BYTES, Op, encode
from .writer import WriteMode

__all__ = ["CompileError", "compile_image", "core_for"]


#: Instructions of a program: those of each layer, and the others.
_PER_LAYER, _FIXED = 11, 5


class CompileError(TrilithError, ValueError):
    """A model does not fit a token core."""


def core_for(sizes: ModelConfig) -> TokenConfig:
    """Configure a token core whose maxima are the sizes of a model.

    The widths are those of the preset ``pydoc``: 64 × 5 products, 4 vector lanes, 64 attention
    lanes, a memory port of 512 bits.

    Parameters
    ----------
    sizes : the model's

    Raises
    ------
    CompileError
        If a size is beyond the legal values of ``TokenConfig``.
    """
    _check_maxima(sizes, LARGEST_SIZES, "no token core can run the model")
    attention = sizes.heads * sizes.head_size
    largest = max(sizes.hidden, sizes.ffn, attention)
    try:
        return _core(sizes, largest)
    except ValueError as error:
        raise CompileError(f"no token core can run the model: {error}") from None


def _check_maxima(sizes: ModelConfig, maxima: Mapping[str, int], what: str) -> None:
    """Refuse a model with sizes above maxima; name each of them with both values."""
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


def _core(sizes: ModelConfig, largest: int) -> TokenConfig:
    """Configure a core whose engine multiplies matrices of up to ``largest`` rows and columns."""
    return TokenConfig(
        engine=MatVecConfig(lanes=64, rows=5, k_max=largest, n_max=largest),
        hidden_max=sizes.hidden,
        ffn_max=sizes.ffn,
        heads_max=sizes.heads,
        kv_heads_max=sizes.kv_heads,
        head_size_max=sizes.head_size,
        context_max=sizes.max_positions,
        vocabulary_max=sizes.vocabulary,
    )


def compile_image(model: CoreModel, config: TokenConfig, *, name: str = "") -> Image:
    """Compile a model for a token core.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    config : configuration of the core
    name : name of the model for people; by default the one in its configuration

    Raises
    ------
    CompileError
        If a size of the model is above the core's maximum, or does not fit its lanes, or a scale is
        outside the number format.
    TypeError
        If ``config`` is not a ``TokenConfig``.
    """
    name = name or model.config.name or "without a name"
    return _Compiler(model, check_core_config(config)).image(name)


def _scales(name: str, values: NDArray[np.float64], *, zero: bool = True) -> NDArray[np.float64]:
    """Round scales or constants to elements; refuse one outside the number format.

    Parameters
    ----------
    name : what they are, for the message
    values : numbers that are not negative
    zero : whether 0 is legal
    """
    elements = round_element(values)
    wrong = (elements >= LARGEST) | ((elements == 0) & ((values != 0) | (not zero)))
    if wrong.any():
        raise CompileError(
            f"{name}: must be from 2^-126 to {LARGEST:.3g}, the number format of the core, not "
            f"{values[wrong][0]:.3g}"
        )
    return elements


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


class _Compiler:
    """Places the parts of a model in memory, and writes the program that uses them."""

    def __init__(self, model: CoreModel, config: TokenConfig) -> None:
        self._model, self._config = model, config
        self._sizes = sizes = model.config
        self._check()
        self._word = config.memory_width // 8
        self._row = config.row_chunks(sizes.head_size) * config.attention_lanes
        lanes = config.vector_lanes
        #: First words of the residual stream, and of the other vectors.
        self._stream, self._work = 0, -(-config.hidden_max // lanes)
        self._program: list[tuple[Op, dict[str, bool], dict[str, int]]] = []
        self._data: list[NDArray[np.uint8]] = []
        self._beats: list[NDArray[np.uint8]] = []
        self._end = self._aligned((_FIXED + _PER_LAYER * sizes.layers) * INSTRUCTION_BYTES)
        self._program_bytes = self._end

    def _check(self) -> None:
        """Refuse a model that the core cannot run."""
        sizes, config = self._sizes, self._config
        _check_maxima(sizes, config.maxima, "the model is too large for this token core")
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

    def _aligned(self, address: int) -> int:
        """The next multiple of whole rows of memory."""
        unit = max(self._config.row_bytes, INSTRUCTION_BYTES)
        return -(-address // unit) * unit

    def _place(self, array: NDArray) -> int:
        """Place an array in memory; return its byte address."""
        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        address, size = self._end, self._aligned(len(raw))
        self._data.append(np.pad(raw, (0, size - len(raw))))
        self._end += size
        return address

    @staticmethod
    def _element(name: str, value: float) -> int:
        """A constant as a float32 of memory; refuse one outside the number format."""
        element = _scales(name, np.array([value]))
        return int(element_bits(element)[0]) << 8

    def _place_elements(self, elements: NDArray) -> int:
        """Place elements as float32."""
        return self._place(element_bits(elements).astype(np.uint32) << np.uint32(8))

    def _place_gains(self, name: str, gains: NDArray) -> int:
        """Place the gains of a norm; one below the smallest element is 0, as in golden."""
        elements = round_element(gains.astype(np.float64))
        if (np.abs(elements) == LARGEST).any():
            raise CompileError(
                f"{name}: gains must be below {LARGEST:.3g} in magnitude, not "
                f"{gains[np.abs(gains).argmax()]:.3g}"
            )
        return self._place_elements(elements)

    def _place_rows(self, name: str, rows: Int8Rows) -> tuple[int, int]:
        """Place scales, and behind them rows of int8; return the address and the scales' bytes."""
        zeros = ~rows.q.any(axis=1)
        # The rows were quantized by a scale that is 0 here if it is too small for an element.
        _scales(name, np.where(zeros, 1.0, rows.scale), zero=False)
        address = self._place_elements(rows.scale)
        step = self._end - address
        size = self._config.row_chunks(rows.q.shape[1]) * self._config.attention_lanes
        self._place(np.pad(rows.q, ((0, 0), (0, size - rows.q.shape[1]))))
        return address, step

    def _emit(self, op: Op, flags: Sequence[str] = (), **fields: int) -> None:
        """Append an instruction."""
        self._program.append((op, dict.fromkeys(flags, True), fields))

    def image(self, name: str) -> Image:
        """Compile the model, which has a name."""
        model, sizes, config = self._model, self._sizes, self._config
        layers = model.model.layers
        gains = [
            {
                name: self._place_gains(f"model.layers.{index}.{name}", gain)
                for name, gain in layer.gains.items()
            }
            for index, layer in enumerate(layers)
        ]
        final = self._place_gains("model.norm", model.model.final_norm)
        cos, sin = rotation_table(sizes.head_size, sizes.max_positions, sizes.theta)
        lanes = config.vector_lanes
        pairs = np.stack(
            [part.reshape(len(part), -1, lanes) for part in (cos, sin)], axis=2
        ).reshape(len(cos), -1)
        angle_bytes = self._aligned(4 * pairs.shape[1])
        padded = np.pad(pairs, ((0, 0), (0, angle_bytes // 4 - pairs.shape[1])))
        angles = self._place_elements(padded)
        embedding, scale_step = self._place_rows("scales of the embedding", model.embedding)
        head = (
            embedding
            if model.head is model.embedding
            else self._place_rows("scales of the head", model.head)[0]
        )
        row_bytes = config.row_chunks(sizes.hidden) * config.attention_lanes
        self._emit(
            Op.SETUP,
            epsilon=self._element("rms_norm_eps", sizes.epsilon),
            kappa=self._element("the factor of the scores", score_factor(sizes.head_size)),
            embedding_bytes=row_bytes,
            angle_bytes=angle_bytes,
            cache_bytes=self._row,
            vocabulary=sizes.vocabulary,
            context=sizes.max_positions,
        )
        self._emit(Op.ANGLES, address=angles, words=pairs.shape[1] // lanes)
        self._emit(
            Op.EMBED,
            ("track", "peak_gained"),
            rows=embedding + scale_step,
            row_words=row_bytes // self._word,
            scales=embedding,
            count=sizes.hidden,
            destination=self._stream,
            peak_gains=gains[0]["input_layernorm"],
        )
        for index, layer in enumerate(layers):
            following = gains[index + 1]["input_layernorm"] if index + 1 < len(layers) else final
            self._layer(layer.linears, gains[index], following)
        self._emit(
            Op.HEAD,
            ("gained",),
            k=sizes.hidden,
            source=self._stream,
            inverse=self._element("1 / hidden", 1 / sizes.hidden),
            gains=final,
            address=head,
            scale_step=scale_step,
            scale_words=-(-4 * sizes.vocabulary // self._word),
            row_words=sizes.vocabulary * row_bytes // self._word,
            chunks=row_bytes // config.attention_lanes,
            vocabulary=sizes.vocabulary,
        )
        self._emit(Op.END)
        return self._finish(name)

    def _layer(self, linears: dict[str, BitLinear], gains: dict[str, int], following: int) -> None:
        """Emit a layer; ``following`` is the address of the gains behind it."""
        after = gains["post_attention_layernorm"]
        self._attention(linears, gains)
        sub_norm = gains.get("self_attn.attn_sub_norm")
        out = _Target(destination=self._stream, mode=WriteMode.ADD, tracked=True, gains=after)
        self._product(linears["self_attn.o_proj"], _Source(self._work, sub_norm), out)
        gate = WriteMode.RELU2 if self._sizes.hidden_act == "relu2" else WriteMode.SILU
        sub_norm = gains.get("mlp.ffn_sub_norm")
        gated = _Target(
            destination=self._work, mode=WriteMode.MULTIPLY, tracked=True, gains=sub_norm
        )
        self._product(
            linears["mlp.gate_proj"],
            _Source(self._stream, after),
            _Target(destination=self._work, mode=gate),
        )
        self._product(linears["mlp.up_proj"], None, gated)
        out = _Target(destination=self._stream, mode=WriteMode.ADD, tracked=True, gains=following)
        self._product(linears["mlp.down_proj"], _Source(self._work, sub_norm), out)

    def _attention(self, linears: dict[str, BitLinear], gains: dict[str, int]) -> None:
        """Emit the products, the heads and the attention of a layer, and reserve its cache.

        The cache has for each head of keys and values: scales of the keys, scales of the values,
        keys, values; each with room for the whole context.
        """
        sizes, config = self._sizes, self._config
        lanes, size = config.vector_lanes, sizes.head_size
        scale_step = self._aligned(4 * sizes.max_positions)
        row_step = self._aligned(self._row * sizes.max_positions)
        group = 2 * (scale_step + row_step)
        cache = self._place(np.zeros(group * sizes.kv_heads, np.uint8))
        heads = {"q": sizes.heads, "k": sizes.kv_heads, "v": sizes.kv_heads}
        place, places = self._work, {}
        for name, count in heads.items():
            places[name] = place
            source = _Source(self._stream, gains["input_layernorm"]) if name == "q" else None
            self._product(linears[f"self_attn.{name}_proj"], source, _Target(destination=place))
            place += count * size // lanes
        for name, count in heads.items():
            value = name == "v"
            self._emit(
                Op.HEADS,
                ("turn",) * (not value) + ("cache",) * (name != "q"),
                source=places[name],
                heads=count,
                half=size // lanes // 2,
                rows=cache + 2 * scale_step + value * row_step,
                scales=cache + value * scale_step,
                step=group,
            )
        vectors, chunks = sizes.heads // sizes.kv_heads, self._row // config.attention_lanes
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

    def _scales(self, linear: BitLinear) -> tuple[int, dict[str, int]]:
        """Place the scales of a matrix; return its groups and the fields of the instruction.

        One scale stands in the instruction. Several are a table in the order of the results: group
        of rows, then group of inputs, then row, filled to whole words of the lanes.
        """
        config, weight = self._config, linear.weight
        rows, lanes = config.engine.rows, config.vector_lanes
        n, k = weight.shape
        groups = k // weight.group_size
        if groups > 1 and weight.group_size % config.engine.lanes:
            raise CompileError(
                f"{weight.name}: groups of scales must be a multiple of the engine's lanes, "
                f"{config.engine.lanes}, not {weight.group_size}"
            )
        multipliers = weight.scale.astype(np.float64)
        if weight.divides:
            multipliers = 1 / multipliers
        multipliers = _scales(f"scales of {weight.name}", multipliers)
        if multipliers.size == 1:
            scale = self._element(weight.name, float(multipliers[0, 0]))
            return 1, {"scale": scale, "scales": 0, "scale_words": 0, "scale_count": 0}
        row_groups = ceil(n / rows)
        table = np.zeros((row_groups * rows, groups))
        table[:n] = np.repeat(multipliers, n // len(multipliers), axis=0)
        tiles = table.reshape(row_groups, rows, groups).transpose(0, 2, 1)
        tiles = np.pad(tiles, ((0, 0), (0, 0), (0, -rows % lanes)))
        return groups, {
            "scale": 0,
            "scales": self._place_elements(tiles),
            "scale_words": -(-4 * tiles.size // self._word),
            "scale_count": tiles.size // lanes,
        }

    def _product(self, linear: BitLinear, source: "_Source | None", target: "_Target") -> None:
        """Emit a product, and append its weight beats; without a source it uses the last vector."""
        engine, weight = self._config.engine, linear.weight
        n, k = weight.shape
        groups, scales = self._scales(linear)
        beats = weight_beats(engine, weight.trits)
        gained = source is not None and source.gains is not None
        flags = {
            "load": source is not None,
            "gained": gained,
            "table": scales["scale_count"] > 0,
            "track": target.tracked,
            "peak_gained": target.gains is not None,
            **{f"mode{bit}": bool(target.mode.value >> bit & 1) for bit in range(3)},
        }
        self._emit(
            Op.PRODUCT,
            [name for name, value in flags.items() if value],
            n=n,
            k=k,
            source=source.place if source is not None else 0,
            inverse=self._element("1 / k", 1 / k),
            gains=(source.gains or 0) if source is not None else 0,
            first_beat=sum(map(len, self._beats)),
            beats=len(beats),
            group_chunks=weight.group_size // engine.lanes if groups > 1 else 0,
            groups=groups,
            destination=target.destination,
            peak_gains=target.gains or 0,
            **scales,
        )
        self._beats.append(beats)

    def _finish(self, name: str) -> Image:
        """Encode the program, and join all parts."""
        code = b"".join(encode(*instruction) for instruction in self._program)
        assert self._aligned(len(code)) == self._program_bytes
        program = np.frombuffer(code.ljust(self._program_bytes, b"\0"), np.uint8)
        return Image(
            config=self._config,
            memory=np.concatenate([program, *self._data]),
            weights=np.concatenate(self._beats),
            program_words=-(-len(code) // self._word),
            model=name,
            model_digest=self._model.digest,
        )
