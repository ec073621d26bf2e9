"""Check of a program: what the token core relies on, before a core runs it."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ...golden.checks import check_integer
from .config import TokenConfig
from .program import Instruction, Op, WriteMode
from .writer import vector_depth

__all__ = ["check_program"]

#: Flags that each instruction may have.
_FLAGS: Mapping[Op, frozenset[str]] = {
    op: frozenset(names.split())
    for op, names in {
        Op.END: "",
        Op.SETUP: "",
        Op.ANGLES: "",
        Op.EMBED: "track peak_gained",
        Op.PRODUCT: "load gained table track peak_gained mode0 mode1 mode2",
        Op.HEADS: "turn cache",
        Op.ATTEND: "track peak_gained",
        Op.HEAD: "gained",
    }.items()
}

#: Instructions of a layer.
_LAYER = (*(Op.PRODUCT,) * 3, *(Op.HEADS,) * 3, Op.ATTEND, *(Op.PRODUCT,) * 4)


def check_program(
    config: TokenConfig, program: Sequence[Instruction], memory_bytes: int, beats: int
) -> None:
    """Check that a core can run a program: nothing waits for ever, or lies outside of a memory.

    Parameters
    ----------
    config : configuration of the core
    program : the instructions
    memory_bytes : size of the memory behind the port
    beats : number of weight beats

    Raises
    ------
    ValueError
        If instructions are not those of whole layers; a flag has no meaning; a count is 0, larger
        than the core's maximum, or not that of the others; an address is not that of a word, or is
        outside of its memory; a vector is quantized without its peaks; or the products use another
        number of beats, together with the head if its rows are weight beats. The message begins
        with the place of the instruction.
    """
    _check_order([one.op for one in program])
    checker = _Checker(config, memory_bytes)
    for index, one in enumerate(program):
        try:
            checker.check(one)
        except ValueError as error:
            raise ValueError(f"instruction {index}, {one.op.name}: {error}") from None
    if checker.beats != beats:
        raise ValueError(
            f"the weights must have {checker.beats} beats for the program, not {beats}"
        )


def _check_order(ops: Sequence[Op]) -> None:
    """Check that a program has a beginning, whole layers, and an end."""
    if not ops or ops[-1] is not Op.END:
        raise ValueError("the program must end with END")
    layers = max(1, (len(ops) - 5) // len(_LAYER))
    wanted = (Op.SETUP, Op.ANGLES, Op.EMBED, *_LAYER * layers, Op.HEAD, Op.END)
    for index, (op, right) in enumerate(zip(ops, wanted, strict=False)):
        if op is not right:
            raise ValueError(f"instruction {index} must be {right.name}, not {op.name}")
    if len(ops) != len(wanted):
        raise ValueError(
            f"the program must have {len(wanted)} instructions for {layers} layers, not {len(ops)}"
        )


def _equal(name: str, found: int, right: int) -> None:
    """Check a field that follows from others."""
    if found != right:
        raise ValueError(f"{name} must be {right}, not {found}")


class _Checker:
    """Checks instructions in order.

    Attributes
    ----------
    beats : weight beats of the instructions so far
    """

    def __init__(self, config: TokenConfig, memory_bytes: int) -> None:
        self._config, self._memory_bytes = config, memory_bytes
        self._word, self._lanes = config.memory_width // 8, config.vector_lanes
        self.beats = 0
        #: The vector whose peaks wait for a quantizer, and the inputs of the engine.
        self._peaks: tuple[int, int, bool] | None = None
        self._inputs = 0
        #: Fields of ``SETUP``, and elements of a head.
        self._setup = SimpleNamespace()
        self._head_size = 0
        #: Counts of heads of the ``HEADS`` in front of an ``ATTEND``.
        self._heads: list[int] = []

    def check(self, one: Instruction) -> None:
        """Check an instruction."""
        if strange := one.flags - _FLAGS[one.op]:
            raise ValueError(f"the flag {min(strange)} must not be set")
        check_integer("the mode", one.mode, 0, max(mode.value for mode in WriteMode))
        check: Callable[[Any, frozenset[str]], None] | None = {
            Op.SETUP: self._check_setup,
            Op.ANGLES: self._check_angles,
            Op.EMBED: self._check_embedding,
            Op.PRODUCT: self._check_product,
            Op.HEADS: self._check_heads,
            Op.ATTEND: self._check_attention,
            Op.HEAD: self._check_head,
        }.get(one.op)
        if check is not None:
            check(SimpleNamespace(**one.fields), one.flags)

    def _inside(self, name: str, address: int, size: int) -> None:
        """Check that bytes lie in memory, from a whole word on."""
        if address % self._word:
            raise ValueError(f"{name} must be a multiple of {self._word}, not {address}")
        if address + size > self._memory_bytes:
            raise ValueError(
                f"{name} must be an address of {size} bytes within the memory of "
                f"{self._memory_bytes} bytes, not {address}"
            )

    def _elements(self, name: str, address: int, count: int) -> None:
        """Check the address of elements, which take whole words."""
        self._inside(name, address, -(-4 * count // self._word) * self._word)

    def _words(self, count: int) -> int:
        """Words of the vector memory for so many elements."""
        return -(-count // self._lanes)

    def _vector(self, name: str, place: int, words: int) -> None:
        """Check that a vector lies in the vector memory."""
        depth = vector_depth(self._config)
        if place + words > depth:
            raise ValueError(
                f"{name} must be the place of {words} words within the {depth} of the vector "
                f"memory, not {place}"
            )

    def _track(self, fields: Any, flags: frozenset[str], count: int) -> None:
        """Check a vector that is written: its peaks, if they are wanted, wait for a quantizer."""
        gained = "peak_gained" in flags
        if "track" in flags:
            if self._peaks is not None:
                raise ValueError("peaks must be wanted only when those before are used")
            self._peaks = (fields.destination, count, gained)
        elif gained:
            raise ValueError("the flag peak_gained must not be set without track")
        if gained:
            self._elements("peak_gains", fields.peak_gains, count)

    def _load(self, fields: Any, flags: frozenset[str]) -> None:
        """Check a vector that is quantized: it is the last one with peaks."""
        check_integer("k", fields.k, 1, self._config.engine.k_max)
        found = (fields.source, fields.k, "gained" in flags)
        if self._peaks != found:
            raise ValueError(
                f"the vector must be the last one with peaks: place, elements and gain must be "
                f"{self._peaks}, not {found}"
            )
        self._peaks = None
        if "gained" in flags:
            self._elements("gains", fields.gains, fields.k)

    def _row(self, elements: int) -> int:
        """Bytes of a row of int8 in memory."""
        return self._config.row_chunks(elements) * self._config.attention_lanes

    def _check_setup(self, fields: Any, flags: frozenset[str]) -> None:
        config = self._config
        check_integer("vocabulary", fields.vocabulary, 2, config.vocabulary_max)
        check_integer("context", fields.context, 1, config.context_max)
        self._setup = fields

    def _check_angles(self, fields: Any, flags: frozenset[str]) -> None:
        self._head_size = fields.words * self._lanes
        check_integer("words", fields.words, 1, self._words(self._config.head_size_max))
        _equal("words modulo 2", fields.words % 2, 0)
        setup, row = self._setup, self._config.cache_row(self._head_size)
        _equal("cache_bytes of SETUP", setup.cache_bytes, row)
        size = -(-4 * self._head_size // self._word) * self._word
        if setup.angle_bytes < size or setup.angle_bytes % self._word:
            raise ValueError(
                f"angle_bytes of SETUP must be a multiple of {self._word}, at least {size}, "
                f"not {setup.angle_bytes}"
            )
        self._inside("address", fields.address, setup.context * setup.angle_bytes)

    def _check_embedding(self, fields: Any, flags: frozenset[str]) -> None:
        setup = self._setup
        check_integer("count", fields.count, 1, self._config.hidden_max)
        row = self._row(fields.count)
        _equal("embedding_bytes of SETUP", setup.embedding_bytes, row)
        _equal("row_words", fields.row_words, row // self._word)
        self._inside("rows", fields.rows, setup.vocabulary * row)
        self._elements("scales", fields.scales, setup.vocabulary)
        self._vector("destination", fields.destination, self._words(fields.count))
        self._track(fields, flags, fields.count)

    def _check_product(self, fields: Any, flags: frozenset[str]) -> None:
        engine = self._config.engine
        check_integer("n", fields.n, 1, engine.n_max)
        if "load" in flags:
            self._load(fields, flags)
            self._inputs = fields.k
        _equal("k", fields.k, self._inputs)
        chunks, row_groups = -(-fields.k // engine.lanes), -(-fields.n // engine.rows)
        check_integer("groups", fields.groups, 1, chunks)
        per_group = chunks // fields.groups if fields.groups > 1 else 0
        _equal("group_chunks", fields.group_chunks, per_group)
        if per_group:
            _equal("k", fields.k, fields.groups * per_group * engine.lanes)
        _equal("first_beat", fields.first_beat, self.beats)
        _equal("beats", fields.beats, row_groups * chunks)
        self.beats += fields.beats
        count = 0
        if "table" in flags:
            count = row_groups * fields.groups * self._words(engine.rows)
        elif fields.groups > 1:
            raise ValueError("the flag table must be set for several groups of scales")
        _equal("scale_count", fields.scale_count, count)
        _equal("scale_words", fields.scale_words, -(-4 * count * self._lanes // self._word))
        self._elements("scales", fields.scales, count * self._lanes)
        self._vector("destination", fields.destination, self._words(fields.n))
        self._track(fields, flags, fields.n)

    def _check_heads(self, fields: Any, flags: frozenset[str]) -> None:
        config, setup = self._config, self._setup
        most = config.kv_heads_max if "cache" in flags else config.heads_max
        check_integer("heads", fields.heads, 1, most)
        _equal("half", fields.half, self._words(self._head_size) // 2)
        self._vector("source", fields.source, fields.heads * 2 * fields.half)
        wanted = (frozenset({"turn"}), frozenset({"turn", "cache"}), frozenset({"cache"}))
        if flags != (right := wanted[len(self._heads)]):
            raise ValueError(
                f"the flags must be {' '.join(sorted(right))}, not {' '.join(sorted(flags))}"
            )
        self._heads.append(fields.heads)
        if "cache" in flags:
            before = (fields.heads - 1) * fields.step
            _equal("step modulo the bytes of a word", fields.step % self._word, 0)
            self._inside("rows", fields.rows, before + setup.context * setup.cache_bytes)
            # The scale of a value lies behind that of its key.
            place = 4 * ("turn" not in flags) % self._word
            _equal("scales modulo the bytes of a word", fields.scales % self._word, place)
            self._elements("scales", fields.scales - place, before // 4 + 2 * setup.context)

    def _check_attention(self, fields: Any, flags: frozenset[str]) -> None:
        config, setup = self._config, self._setup
        check_integer("groups", fields.groups, 1, config.kv_heads_max)
        check_integer("vectors", fields.vectors, 1, config.shared_max)
        heads = [fields.groups * fields.vectors, fields.groups, fields.groups]
        if self._heads != heads:
            raise ValueError(f"the heads must be {heads}, not {self._heads}")
        self._heads = []
        _equal("chunks", fields.chunks, config.cache_chunks(self._head_size))
        _equal("query_step", fields.query_step, fields.vectors * fields.chunks)
        _equal("words", fields.words, self._words(self._head_size))
        positions = -(-setup.context // config.segments) * config.segments
        sizes = (("scale_step", 8 * positions), ("row_step", positions * setup.cache_bytes))
        for name, size in sizes:
            step = getattr(fields, name)
            if step < size or step % self._word:
                raise ValueError(
                    f"{name} must be a multiple of {self._word}, at least {size}, not {step}"
                )
        size = fields.groups * (fields.scale_step + 2 * fields.row_step)
        self._inside("address", fields.address, size)
        vector = fields.groups * fields.vectors * fields.words
        _equal("count", fields.count, vector * self._lanes)
        self._vector("destination", fields.destination, vector)
        self._track(fields, flags, fields.count)

    def _check_head(self, fields: Any, flags: frozenset[str]) -> None:
        config = self._config
        self._load(fields, flags)
        _equal("vocabulary", fields.vocabulary, self._setup.vocabulary)
        row, beats = self._row(fields.k), config.head_beats(fields.k, fields.vocabulary)
        _equal("chunks", fields.chunks, config.row_chunks(fields.k))
        _equal("scale_words", fields.scale_words, -(-4 * fields.vocabulary // self._word))
        _equal("first_beat", fields.first_beat, self.beats if beats else 0)
        _equal("beats", fields.beats, beats)
        self.beats += beats
        if beats:
            _equal("row_words", fields.row_words, 0)
            _equal("scale_step", fields.scale_step, 0)
            self._elements("address", fields.address, fields.vocabulary)
            return
        _equal("row_words", fields.row_words, fields.vocabulary * row // self._word)
        if fields.scale_step < fields.scale_words * self._word or fields.scale_step % self._word:
            raise ValueError(
                f"scale_step must be a multiple of {self._word}, at least "
                f"{fields.scale_words * self._word}, not {fields.scale_step}"
            )
        self._inside("address", fields.address, fields.scale_step + fields.vocabulary * row)
