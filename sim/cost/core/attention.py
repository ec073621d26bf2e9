"""Attention and logits in the cycle model."""

from ....hw.token.config import TokenConfig
from .streams import Pipeline

__all__ = ["Attention", "list_fields"]

#: Flags of a dot product: the last one of its row, and of its command.
_ROW_END, _LAST = 2, 4


def list_fields(config: TokenConfig, rows: int, row_bytes: int) -> dict[str, int]:
    """Fields of ``attention_command`` for a number of positions, in whole chunks.

    Parameters
    ----------
    config : configuration of the core
    rows : positions
    row_bytes : bytes of a row of the cache
    """
    word_bytes, segments = config.memory_width // 8, config.segments
    scales = 8 * segments * -(-rows // segments)
    cached = -(-rows * row_bytes // config.row_bytes) * config.row_bytes
    scale_words, row_words = -(-scales // word_bytes), cached // word_bytes
    return {"rows": rows, "scale_words": scale_words, "row_words": row_words}


class _Unpacker:
    """``ScaleUnpacker``: scales of chunks from words of L elements."""

    def __init__(self, config: TokenConfig) -> None:
        self._lanes, self._segments = config.vector_lanes, config.segments
        self.active = self._single = False
        self._left = self._place = 0

    @property
    def _whole(self) -> bool:
        """The word completes scales."""
        pair = 2 * self._segments
        return self._single or self._place == max(1, pair // self._lanes) - 1 or pair <= self._lanes

    def valid(self, word: bool) -> bool:
        """Scales are offered, if a word is."""
        return self.active and self._left > 0 and self._whole and word

    def step(self, *, word: bool, last: bool, taken: bool) -> bool:
        """Go to the next cycle; return whether the word is taken.

        Parameters
        ----------
        word, last : a word is offered, and ends a request
        taken : the offered scales are taken
        """
        whole = self._whole
        if not (self.active and word and (taken or not self._left or not whole)):
            return False
        given = self._left > 0 and whole
        rows = 1 if self._single else self._segments
        per_word = self._lanes if self._single else max(1, self._lanes // (2 * self._segments))
        word_end = per_word == 1 or self._place == per_word - 1
        end = word_end or (whole and self._left <= rows)
        self._place = 0 if given and end else self._place + 1
        if given:
            self._left = max(0, self._left - rows)
        if end and last:
            self.active = False
        return end

    def start(self, single: bool, rows: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self.active, self._single, self._left, self._place = True, single, rows, 0


class _Dots:
    """``DotUnit`` with ``ScoreScaler`` behind it."""

    def __init__(self, config: TokenConfig) -> None:
        self._sums = Pipeline(3 + (config.attention_lanes - 1).bit_length())
        self._scores = Pipeline(4)
        self._segments = config.segments
        self.active = self.ends = False
        self._vectors = self._chunks = self._rows = self._vector = self._chunk = 0
        self._rows_of_chunk = 1

    @property
    def score(self) -> int:
        """The score that is offered: 1, or 2 for the last one."""
        return self._scores.out

    def start(self, head: bool, vectors: int, chunks: int, rows: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self.active, self._vectors, self._chunks, self._rows = True, vectors, chunks, rows
        self._rows_of_chunk = 1 if head else self._segments

    def step(self, *, chunk: bool, scale: bool, score_ready: bool) -> tuple[bool, bool]:
        """Go to the next cycle; ``ends`` says that the last chunk of the command is taken.

        Parameters
        ----------
        chunk : a chunk of rows is offered
        scale : the scales of a chunk are offered
        score_ready : scores are accepted

        Returns
        -------
        Whether the chunk is taken, and whether the scales are
        """
        self.ends = False
        scored = score_ready or not self._scores.out
        total = self._sums.out
        joined = total > 0 and scale and scored
        if scored:
            self._scores.step((2 if total & _LAST else 1) if joined else 0)
        if total and not joined:
            return False, False
        taken, entry = self.active and chunk, 0
        vector_end = taken and self._vector == self._vectors - 1
        if taken:
            chunk_end = self._chunk == self._chunks - 1
            self.ends = vector_end and chunk_end and self._rows <= self._rows_of_chunk
            if chunk_end:
                entry = 1 | _ROW_END * vector_end | _LAST * self.ends
            self._vector = 0 if vector_end else self._vector + 1
            if vector_end:
                self._chunk = 0 if chunk_end else self._chunk + 1
                if chunk_end:
                    self._rows -= self._rows_of_chunk
                    self.active = not self.ends
        self._sums.step(entry)
        return vector_end, joined and total & _ROW_END > 0


class _Softmax:
    """``Softmax``: scores, exponentials and weights of up to three groups at once."""

    def __init__(self, config: TokenConfig) -> None:
        self._levels = (config.segments - 1).bit_length()
        self._taken, self._ready, self._held = [False] * 2, [False] * 2, [False] * 2
        #: Cycle from which on the scores of a buffer are full, or None.
        self._full: list[int | None] = [None] * 2
        # Buffers of the scores, of the pass, of the weights, and of the factors that are used.
        self._scores = self._pass = self._weighed = self._used = 0
        self._count = self._words = self._place = 0
        #: Cycle of the first factors, and that of the last one.
        self._factors: int | None = None
        self._done: int | None = None
        self._weights = Pipeline(3)

    @property
    def weight(self) -> int:
        """The weights that are offered: 1, or 2 for the last ones."""
        return self._weights.out

    @property
    def ready(self) -> bool:
        """Scores are accepted."""
        return not self._taken[self._scores]

    def step(self, now: int, *, score: int, weight: bool, used: bool, vectors: int) -> None:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        score : the score that is offered: 0 for none, 1, or 2 for the last one
        weight : the offered weights are taken
        used : the factors of a group are used
        vectors : heads that share the keys
        """
        bank = self._weighed
        out = self._weights.out
        done = weight and out == 2
        if weight or not out:
            issue = self._ready[bank] and self._place < self._words
            self._place += issue
            self._weights.step((1 + (self._place == self._words)) * issue)
        scores = self._scores
        self._advance(now, vectors)
        if done:
            self._ready[bank] = self._taken[bank] = False
            self._weighed, self._place = 1 - bank, 0
        if used:
            self._held[self._used] = False
            self._used = 1 - self._used
        self._count += bool(score)
        if score == 2:
            self._taken[scores], self._full[scores] = True, now + 1 + self._levels
            self._scores, self._words, self._count = 1 - scores, self._count, 0

    def _advance(self, now: int, vectors: int) -> None:
        """Go on with the pass over the exponentials, and its factors."""
        bank = self._pass
        full = self._full[bank]
        if full is None:
            return
        if self._factors is None and now >= full:
            self._factors = now + self._words + 14 + self._levels
        begun = self._factors is not None and now >= self._factors
        if begun and self._done is None and not self._held[bank]:
            self._done = now + 11 * vectors - 1
        if now == self._done:
            self._full[bank], self._factors, self._done = None, None, None
            self._ready[bank] = self._held[bank] = True
            self._pass = 1 - bank


class _Mixer:
    """``Mixer``: sums of weighted values, then their words."""

    def __init__(self, config: TokenConfig) -> None:
        self._segments = config.segments
        self._active = self.ends = False
        self.free = True
        self._vectors = self._chunks = self._rows = self._words = 0
        self._vector = self._chunk = self._left = 0
        self._deliver: int | None = None
        self._pipeline = Pipeline(5 + (config.segments - 1).bit_length())

    @property
    def word(self) -> int:
        """The word that is offered: 1, or 2 for the last one."""
        return self._pipeline.out

    def start(self, vectors: int, chunks: int, rows: int, words: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self._active, self._vectors, self._chunks = True, vectors, chunks
        self._rows, self._words, self.free = rows, words, False

    def step(self, now: int, *, chunk: bool, weight: bool, ready: bool) -> tuple[bool, bool]:
        """Go to the next cycle; ``ends`` says that the last chunk of the command is taken.

        Parameters
        ----------
        now : the cycle
        chunk : a chunk of rows is offered
        weight : weights are offered
        ready : words are accepted

        Returns
        -------
        Whether the chunk is taken, and whether the weights are
        """
        self.ends = False
        out = self._pipeline.out
        if ready or not out:
            issue = self._deliver is not None and now >= self._deliver and self._left > 0
            self._pipeline.step((1 + (self._left == 1)) * issue)
            self._left -= issue
            if out == 2:
                self._deliver, self.free = None, True
        fresh = not self._chunk
        if not (self._active and chunk and (weight or not fresh)):
            return False, False
        vector_end, chunk_end = self._vector == self._vectors - 1, self._chunk == self._chunks - 1
        self._vector = 0 if vector_end else self._vector + 1
        if vector_end:
            self._chunk = 0 if chunk_end else self._chunk + 1
            if chunk_end:
                self.ends = self._rows <= self._segments
                self._rows -= self._segments
                if self.ends:
                    self._active = False
                    self._deliver, self._left = now + 3, self._vectors * self._words
        return vector_end, fresh


class _Lists:
    """Walk over the lists of rows: K0, K1, V0, K2, V1 and so on up to the last V."""

    def __init__(self) -> None:
        self._keys = self._values = self._ahead = 0

    def __bool__(self) -> bool:
        """A list is left."""
        return self._keys + self._values > 0

    @property
    def values(self) -> bool:
        """The list has values."""
        return self._ahead == 2 or not self._keys

    def start(self, keys: int, values: int) -> None:
        """Begin with so many lists of each kind."""
        self._keys, self._values, self._ahead = keys, values, 0

    def next(self) -> None:
        """Go to the next list."""
        if self.values:
            self._values, self._ahead = self._values - 1, self._ahead - 1
        else:
            self._keys, self._ahead = self._keys - 1, self._ahead + 1


class Attention:
    """``AttentionUnit``, and ``TopK`` behind its logits."""

    def __init__(self, config: TokenConfig) -> None:
        self.active = self._head = False
        self.element_requests = self.row_requests = 0
        self.scale_words = self.row_words = 0
        self._groups = self._vectors = self._chunks = self._rows = self._words = 0
        #: Commands that each part still gets.
        self._to_dots = self._to_mixer = self._to_unpacker = 0
        self._on_weights = config.head_on_weights
        self._dots, self._softmax, self._mixer = _Dots(config), _Softmax(config), _Mixer(config)
        self._unpacker, self._lists = _Unpacker(config), _Lists()
        self._k = self._answers = 0
        self._logits = False

    @property
    def busy(self) -> bool:
        """A command is not finished, or answers are left."""
        return self.active or self._logits

    @property
    def word(self) -> int:
        """The word at ``writes``: 1, or 2 for the last one of a group."""
        return self._mixer.word

    @property
    def last_group(self) -> bool:
        """The group whose words leave is the last one."""
        return self._groups == 1

    def start(self, command: dict[str, int], k: int) -> None:
        """Accept a command, behind the other steps of the cycle.

        Parameters
        ----------
        command : fields of ``attention_command``, those that this class uses
        k : answers of the head, or 0 for an attention
        """
        self._head = k > 0
        groups = self._groups = command["groups"]
        values = 0 if self._head else groups
        self._vectors, self._chunks = command["vectors"], command["chunks"]
        self._rows, self._words = command["rows"], command["words"]
        self.scale_words, self.row_words = command["scale_words"], command["row_words"]
        self.element_requests = groups
        self.row_requests = 0 if self._head and self._on_weights else groups + values
        self._to_dots = self._to_unpacker = groups
        self._to_mixer = values
        self._lists.start(groups, values)
        self.active = True
        self._k = k

    def step(
        self, now: int, *, word: bool, word_last: bool, chunk: bool, write_ready: bool
    ) -> tuple[bool, bool]:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        word, word_last : a word of elements is offered, and ends its request
        chunk : a chunk of rows is offered
        write_ready : a word at ``writes`` is accepted

        Returns
        -------
        Whether the word of elements is taken, and whether the chunk is
        """
        dots, softmax, mixer, unpacker = self._dots, self._softmax, self._mixer, self._unpacker
        idle = (not dots.active, mixer.free, not unpacker.active)
        values = self._lists.values
        # Answers leave behind the last logit, and logits wait for them.
        answering = self._answers > 0
        score_ready = not answering if self._head else softmax.ready
        score = dots.score if score_ready else 0
        mixed = mixer.word == 2 and write_ready
        mixer_chunk, weighed = mixer.step(
            now, chunk=chunk and values, weight=softmax.weight > 0, ready=write_ready
        )
        softmax.step(
            now,
            score=0 if self._head else score,
            weight=weighed,
            used=mixed,
            vectors=self._vectors,
        )
        dots_chunk, scales = dots.step(
            chunk=chunk and not values, scale=unpacker.valid(word), score_ready=score_ready
        )
        word_taken = unpacker.step(word=word, last=word_last, taken=scales)
        if answering:
            self._answers -= 1
            self._logits = self._answers > 0
        if dots.ends or mixer.ends:
            self._lists.next()
        self._command(idle)
        if self._head and score:
            self._logits = True
            if score == 2:
                self.active, self._answers = False, self._k
        if mixed:
            self._groups -= 1
            self.active = self._groups > 0
        return word_taken, mixer_chunk if values else dots_chunk

    def _command(self, idle: tuple[bool, bool, bool]) -> None:
        """Command the parts that are free, for the next group of each.

        Parameters
        ----------
        idle : dot products, mixer and unpacker accept a command
        """
        dots, mixer, unpacker = idle
        if dots and self._to_dots:
            self._to_dots -= 1
            self._dots.start(self._head, self._vectors, self._chunks, self._rows)
        if mixer and self._to_mixer:
            self._to_mixer -= 1
            self._mixer.start(self._vectors, self._chunks, self._rows, self._words)
        if unpacker and self._to_unpacker:
            self._to_unpacker -= 1
            self._unpacker.start(self._head, self._rows)
