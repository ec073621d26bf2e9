"""Compiler of models for the token core: what a plan places, as memory and weight beats."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.model_config import ModelConfig
from ...golden.checkpoint.tensors import TernaryTensor
from ...golden.elements import LARGEST, element_bits, round_element
from ...golden.errors import printable
from ...golden.network.core_kinds import check_core_kind
from ...golden.network.token_core import CoreCache, CoreModel, Int8Rows, rotation_table
from ..beats import weight_beats
from ..config import MatVecConfig
from .config import LARGEST_SIZES, TokenConfig, check_core_config
from .image_file import Image
from .plan import CompileError, LinearScales, Plan, check_maxima, plan_image, scale_elements
from .program import INSTRUCTION_BYTES, Op, encode

__all__ = ["CompileError", "blank_image", "compile_image", "core_for", "with_cache"]


def core_for(sizes: ModelConfig, *, tokens: int = 1) -> TokenConfig:
    """Configure a token core whose maxima are the sizes of a model.

    The widths are those of the preset ``pydoc``: 64 × 5 products, 4 vector lanes, 64 attention
    lanes, a memory port of 512 bits.

    Parameters
    ----------
    sizes : the model's
    tokens : most tokens of a pass

    Raises
    ------
    CompileError
        If a size or ``tokens`` is beyond the legal values of ``TokenConfig``.
    CoreKindError
        If the core does not have a step of the model.
    """
    check_core_kind(sizes)
    check_maxima(sizes, LARGEST_SIZES, "no token core can run the model")
    attention = sizes.heads * sizes.head_size
    largest = max(sizes.hidden, sizes.ffn, attention)
    try:
        return _core(sizes, largest, tokens)
    except ValueError as error:
        raise CompileError(f"no token core can run the model: {error}") from None


def _core(sizes: ModelConfig, largest: int, tokens: int) -> TokenConfig:
    """Configure a core whose engine multiplies matrices of up to ``largest`` rows and columns."""
    return TokenConfig(
        engine=MatVecConfig(lanes=64, rows=5, tokens=tokens, k_max=largest, n_max=largest),
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
    name : name of the model for people; by default the one in its configuration. Characters that
        cannot be printed are escaped.

    Raises
    ------
    CompileError
        If a size of the model is above the core's maximum, or does not fit its lanes, or a scale is
        outside the number format.
    TypeError
        If ``config`` is not a ``TokenConfig``.
    """
    check_core_config(config)
    weights = {
        f"layers.{index}.{linear}": one.weight
        for index, layer in enumerate(model.model.layers)
        for linear, one in layer.linears.items()
    }
    plan = plan_image(
        config,
        model.config,
        gains=list(model.model.layers[0].gains),
        scales={name: _scales(config, one) for name, one in weights.items()},
    )
    filler = _Filler(plan)
    filler.fill(model, weights)
    beats = np.empty((plan.beats[""], config.engine.weight_bytes), np.uint8)
    for matrix, one in weights.items():
        own, first = weight_beats(config.engine, one.trits), plan.beats[matrix]
        beats[first : first + len(own)] = own
    if "head" in plan.beats:
        _fill_head(plan, model.head, beats[plan.beats["head"] :])
    return Image(
        config=config,
        memory=filler.memory,
        weights=beats,
        program_words=plan.program_words,
        model=printable(name or model.config.name or "without a name"),
        model_digest=model.digest,
    )


def blank_image(plan: Plan) -> Image:
    """Make an image of zeros, for a model whose sizes alone are known.

    Its program is that of the plan, so that a core takes the cycles of the model. The cycles do not
    depend on data.

    Parameters
    ----------
    plan : the plan
    """
    engine = plan.config.engine
    beat = weight_beats(engine, np.zeros((engine.rows, engine.lanes), np.int8))
    return Image(
        config=plan.config,
        memory=_Filler(plan).memory,
        weights=np.broadcast_to(beat[0], (plan.beats[""], len(beat[0]))),
        program_words=plan.program_words,
        model="zeros",
        model_digest="0" * 64,
    )


def _fill_head(plan: Plan, head: Int8Rows, beats: NDArray[np.uint8]) -> None:
    """Fill the beats of the head with its rows, each filled to whole chunks, and then zeros.

    Parameters
    ----------
    plan : the plan
    head : the rows
    beats : uint8[beats, weight_bytes], contiguous; the beats of the head
    """
    vocabulary, hidden = head.q.shape
    row_bytes = plan.config.row_chunks(hidden) * plan.config.attention_lanes
    beats[:] = 0
    rows = beats.reshape(-1)[: vocabulary * row_bytes].reshape(vocabulary, row_bytes)
    rows[:, :hidden] = head.q.view(np.uint8)


def with_cache(image: Image, cache: CoreCache) -> Image:
    """Make an image whose memory holds the keys and values of tokens before.

    A core that has it goes on at position ``cache.length``.

    Parameters
    ----------
    image : the compiled model
    cache : keys and values of the same model
    """
    memory = image.memory.copy()

    def put(address: int, rows: NDArray[Any]) -> None:
        raw = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
        memory[address : address + len(raw)] = raw

    row = image.config.cache_row(cache.keys.shape[-1])
    filled = ((0, 0), (0, row - cache.keys.shape[-1]))
    layers = (one.fields for one in image.program if one.op == Op.ATTEND)
    for layer, fields in enumerate(layers):
        start, row_step = fields["address"], fields["row_step"]
        for group in range(fields["groups"]):
            place = np.s_[layer, : cache.length, group]
            scales = np.stack([cache.key_scales[place], cache.value_scales[place]], axis=1)
            put(start, element_bits(scales).astype(np.uint32) << np.uint32(8))
            rows = start + fields["scale_step"]
            put(rows, np.pad(cache.keys[place], filled))
            put(rows + row_step, np.pad(cache.values[place], filled))
            start = rows + 2 * row_step
    return replace(image, memory=memory)


def _multipliers(weight: TernaryTensor) -> NDArray[np.float64]:
    """Multipliers of the trits of a matrix, as elements float64[S, groups]."""
    scale = weight.scale.astype(np.float64)
    return scale_elements(f"scales of {weight.name}", 1 / scale if weight.divides else scale)


def _scales(config: TokenConfig, weight: TernaryTensor) -> LinearScales:
    """Say how the scales of a matrix are given; refuse groups that no chunk ends."""
    groups = weight.shape[1] // weight.group_size
    if groups > 1 and weight.group_size % config.engine.lanes:
        raise CompileError(
            f"{weight.name}: groups of scales must be a multiple of the engine's lanes, "
            f"{config.engine.lanes}, not {weight.group_size}"
        )
    multipliers = _multipliers(weight)
    if multipliers.size == 1:
        return LinearScales(scale=float(multipliers[0, 0]))
    return LinearScales(scale=None, groups=groups)


class _Filler:
    """Fills the memory of a plan.

    Parameters
    ----------
    plan : the plan

    Members
    -------
    memory : uint8[bytes]; the program, zeros for the cache, and all that was filled
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._config = plan, plan.config
        self.memory = np.zeros(plan.memory_bytes, np.uint8)
        code = b"".join(
            encode(one.op, dict.fromkeys(one.flags, True), one.fields) for one in plan.program
        )
        assert len(code) == len(plan.program) * INSTRUCTION_BYTES
        self.memory[: len(code)] = np.frombuffer(code, np.uint8)

    def fill(self, model: CoreModel, weights: Mapping[str, TernaryTensor]) -> None:
        """Fill in all parts of a model.

        Parameters
        ----------
        model : the model
        weights : its matrices by the names of the plan
        """
        sizes = model.config
        for index, layer in enumerate(model.model.layers):
            for name, gain in layer.gains.items():
                self._gains(f"layers.{index}.{name}", gain)
        self._gains("norm", model.model.final_norm)
        cos, sin = rotation_table(sizes.head_size, sizes.max_positions, sizes.theta)
        lanes, setup = self._config.vector_lanes, self._plan.program[0].fields
        pairs = [part.reshape(len(part), -1, lanes) for part in (cos, sin)]
        angles = np.stack(pairs, axis=2).reshape(len(cos), -1)
        padding = setup["angle_bytes"] // 4 - angles.shape[1]
        self._elements("angles", np.pad(angles, ((0, 0), (0, padding))))
        self._rows("embedding", model.embedding, setup["embedding_bytes"])
        if not sizes.tied:
            self._rows("head", model.head, setup["embedding_bytes"])
        for name, weight in weights.items():
            if f"{name}.scale" in self._plan.addresses:
                self._elements(f"{name}.scale", self._table(weight))

    def _put(self, name: str, array: NDArray) -> None:
        """Put the bytes of an array at the place of a part."""
        raw = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        address = self._plan.addresses[name]
        self.memory[address : address + len(raw)] = raw

    def _elements(self, name: str, elements: NDArray) -> None:
        """Put elements as float32."""
        self._put(name, element_bits(elements).astype(np.uint32) << np.uint32(8))

    def _gains(self, name: str, gains: NDArray) -> None:
        """Put the gains of a norm; one below the smallest element is 0, as in golden."""
        elements = round_element(gains.astype(np.float64))
        if (np.abs(elements) == LARGEST).any():
            raise CompileError(
                f"model.{name}: gains must be below {LARGEST:.3g} in magnitude, not "
                f"{gains[np.abs(gains).argmax()]:.3g}"
            )
        self._elements(name, elements)

    def _rows(self, name: str, rows: Int8Rows, row_bytes: int) -> None:
        """Put the scales of rows of int8, and the rows if they lie in memory.

        Each row is filled to some bytes.
        """
        zeros = ~rows.q.any(axis=1)
        # The rows were quantized by a scale that is 0 here if it is too small for an element.
        scales = np.where(zeros, 1.0, rows.scale)
        scale_elements(f"scales of the {name}", scales, zero=False)
        self._elements(f"{name}.scale", rows.scale)
        if name in self._plan.addresses:
            self._put(name, np.pad(rows.q, ((0, 0), (0, row_bytes - rows.q.shape[1]))))

    def _table(self, weight: TernaryTensor) -> NDArray[np.float64]:
        """Scales in the order of the results: group of rows, then group of inputs, then row."""
        rows, lanes = self._config.engine.rows, self._config.vector_lanes
        multipliers, n = _multipliers(weight), weight.shape[0]
        groups = multipliers.shape[1]
        row_groups = ceil(n / rows)
        table = np.zeros((row_groups * rows, groups))
        table[:n] = np.repeat(multipliers, n // len(multipliers), axis=0)
        tiles = table.reshape(row_groups, rows, groups).transpose(0, 2, 1)
        return np.pad(tiles, ((0, 0), (0, 0), (0, -rows % lanes)))
