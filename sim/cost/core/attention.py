"""Attention and logits in the cycle model."""

from ....hw.token.config import TokenConfig
from .streams import Pipeline

__all__ = ["Attention"]

#: Flags of a dot product: the last one of its row, and of its command.
_ROW_END, _LAST = 2, 4


class _Unpacker:
    """``ElementUnpacker``: single elements of words of L."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self.active = False
        self._left = self._lane = 0

    def valid(self, word: bool) -> bool:
        """An element is offered, if a word is."""
        return self.active and self._left > 0 and word

    def step(self, *, word: bool, last: bool, taken: bool) -> bool:
        """Go to the next cycle; return whether the word is taken.

        Parameters
        ----------
        word, last : a word is offered, and ends a request
        taken : the offered element is taken
        """
        if not (self.active and word and (taken or not self._left)):
            return False
        end = self._lane == self._lanes - 1 or self._left <= 1
        self._lane = 0 if end else self._lane + 1
        self._left = max(0, self._left - 1)
        if end and last:
            self.active = False
        return end

    def start(self, count: int) -> None:
        """Accept a count, behind the other steps of the cycle."""
        self.active, self._left = True, count


class _Dots:
    """``DotUnit`` with ``ScoreScaler`` behind it."""

    def __init__(self, config: TokenConfig) -> None:
        self._sums = Pipeline(3 + (config.attention_lanes - 1).bit_length())
        self._scores = Pipeline(4)
        self.active = False
        self._vectors = self._chunks = self._rows = self._vector = self._chunk = 0

    @property
    def score(self) -> int:
        """The score that is offered: 1, or 2 for the last one."""
        return self._scores.out

    def start(self, vectors: int, chunks: int, rows: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self.active, self._vectors, self._chunks, self._rows = True, vectors, chunks, rows

    def step(self, *, chunk: bool, scale: bool, score_ready: bool) -> tuple[bool, bool]:
        """Go to the next cycle.

        Parameters
        ----------
        chunk : a chunk of a row is offered
        scale : the scale of a row is offered
        score_ready : scores are accepted

        Returns
        -------
        Whether the chunk is taken, and whether the scale is
        """
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
            if chunk_end:
                entry = 1 | _ROW_END * vector_end | _LAST * (vector_end and self._rows == 1)
            self._vector = 0 if vector_end else self._vector + 1
            if vector_end:
                self._chunk = 0 if chunk_end else self._chunk + 1
                if chunk_end:
                    self._rows -= 1
                    self.active = self._rows > 0
        self._sums.step(entry)
        return vector_end, joined and total & _ROW_END > 0


class _Softmax:
    """``Softmax``: three passes over the scores of the heads that share keys."""

    def __init__(self) -> None:
        self.step_name = "scores"
        self._count = self._place = self._vectors = 0
        self._change = -1  # Cycle in which the step ends.
        self._weights = Pipeline(3)

    @property
    def weight(self) -> int:
        """The weight that is offered: 1, or 2 for the last one."""
        return self._weights.out

    def step(self, now: int, *, score: int, scale: bool, weight: bool, vectors: int) -> bool:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        score : the score that is offered: 0 for none, 1, or 2 for the last one
        scale : the scale of a value is offered
        weight : the offered weight is taken
        vectors : heads that share the keys

        Returns
        -------
        Whether the scale is taken
        """
        name, taken = self.step_name, False
        if name == "scores":
            self._count += bool(score)
            if score == 2:
                self.step_name, self._place, self._change = "exponentials", 0, -1
        elif name == "exponentials":
            if self._place < self._count and scale:
                self._place += 1
                taken = self._place % vectors == 0
                if self._place == self._count:
                    self._change = now + 14
            if now == self._change:
                self.step_name, self._change = "factors", now + 11 * vectors
        elif name == "factors" and now == self._change:
            self.step_name, self._place = "weights", 0
        out = self._weights.out
        if weight or not out:
            issue = name == "weights" and self._place < self._count
            self._place += issue
            self._weights.step((1 + (self._place == self._count)) * issue)
            if out == 2:
                self.step_name, self._count = "scores", 0
        return taken


class _Mixer:
    """``Mixer``: sums of weighted values, then their words."""

    def __init__(self) -> None:
        self._active = False
        self._vectors = self._chunks = self._rows = self._words = 0
        self._vector = self._chunk = self._left = 0
        self._deliver: int | None = None
        self._pipeline = Pipeline(5)

    @property
    def word(self) -> int:
        """The word that is offered: 1, or 2 for the last one."""
        return self._pipeline.out

    def start(self, vectors: int, chunks: int, rows: int, words: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self._active, self._vectors, self._chunks = True, vectors, chunks
        self._rows, self._words = rows, words

    def step(self, now: int, *, chunk: bool, weight: bool, ready: bool) -> tuple[bool, bool]:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        chunk : a chunk of a row is offered
        weight : a weight is offered
        ready : words are accepted

        Returns
        -------
        Whether the chunk is taken, and whether the weight is
        """
        out = self._pipeline.out
        if ready or not out:
            issue = self._deliver is not None and now >= self._deliver and self._left > 0
            self._pipeline.step((1 + (self._left == 1)) * issue)
            self._left -= issue
            if out == 2:
                self._deliver = None
        fresh = not self._chunk
        if not (self._active and chunk and (weight or not fresh)):
            return False, False
        vector_end, chunk_end = self._vector == self._vectors - 1, self._chunk == self._chunks - 1
        self._vector = 0 if vector_end else self._vector + 1
        if vector_end:
            self._chunk = 0 if chunk_end else self._chunk + 1
            if chunk_end:
                self._rows -= 1
                if not self._rows:
                    self._active = False
                    self._deliver, self._left = now + 3, self._vectors * self._words
        return vector_end, fresh


class Attention:
    """``AttentionUnit``, and ``TopK`` behind its logits."""

    def __init__(self, config: TokenConfig) -> None:
        self.active = self.mixing = self._head = False
        self._to_dots = self._to_mixer = self._to_unpacker = False
        self.element_requests = self.row_requests = 0
        self.scale_words = self.row_words = 0
        self._groups = self._vectors = self._chunks = self._rows = self._words = 0
        self._dots, self._softmax, self._mixer = _Dots(config), _Softmax(), _Mixer()
        self._unpacker = _Unpacker(config.vector_lanes)
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
        """The group that runs is the last one."""
        return self._groups == 1

    def start(self, command: dict[str, int], k: int) -> None:
        """Accept a command, behind the other steps of the cycle.

        Parameters
        ----------
        command : fields of ``attention_command``, those that this class uses
        k : answers of the head, or 0 for an attention
        """
        self._head = k > 0
        self._groups, self._vectors = command["groups"], command["vectors"]
        self._chunks, self._rows, self._words = command["chunks"], command["rows"], command["words"]
        self.scale_words, self.row_words = command["scale_words"], command["row_words"]
        self.element_requests = self.row_requests = 1 if self._head else 2 * self._groups
        self.active = self._to_dots = self._to_unpacker = True
        self._k = k

    def step(
        self, now: int, *, word: bool, word_last: bool, chunk: bool, write_ready: bool
    ) -> tuple[bool, bool]:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        word, word_last : a word of elements is offered, and ends its request
        chunk : a chunk of a row is offered
        write_ready : a word at ``writes`` is accepted

        Returns
        -------
        Whether the word of elements is taken, and whether the chunk is
        """
        mixing, dots, softmax, mixer = self.mixing, self._dots, self._softmax, self._mixer
        idle, element = not self._unpacker.active, self._unpacker.valid(word)
        # Answers leave behind the last logit, and logits wait for them.
        answering = self._answers > 0
        score_ready = not answering if self._head else softmax.step_name == "scores"
        score = dots.score if score_ready else 0
        mixed = mixer.word == 2 and write_ready
        mixer_chunk, weighed = mixer.step(
            now, chunk=chunk and mixing, weight=softmax.weight > 0, ready=write_ready
        )
        value_scale = softmax.step(
            now,
            score=0 if self._head else score,
            scale=element and mixing,
            weight=weighed,
            vectors=self._vectors,
        )
        dots_chunk, key_scale = dots.step(
            chunk=chunk and not mixing, scale=element and not mixing, score_ready=score_ready
        )
        word_taken = self._unpacker.step(
            word=word, last=word_last, taken=value_scale if mixing else key_scale
        )
        if answering:
            self._answers -= 1
            self._logits = self._answers > 0
        self._control(idle=idle, score=score, mixed=mixed)
        return word_taken, mixer_chunk if mixing else dots_chunk

    def _control(self, *, idle: bool, score: int, mixed: bool) -> None:
        """Send the commands of the parts, and go from scores to mixture to the next group.

        Parameters
        ----------
        idle : the unpacker accepts a count
        score : the score that is taken: 0 for none, 1, or 2 for the last one
        mixed : the last word of a group is taken
        """
        if self._to_dots:
            self._to_dots = False
            self._dots.start(self._vectors, self._chunks, self._rows)
        if self._to_mixer:
            self._to_mixer = False
            self._mixer.start(self._vectors, self._chunks, self._rows, self._words)
        if self._to_unpacker and idle:
            self._to_unpacker = False
            self._unpacker.start(self._rows)
        if self._head and score:
            self._logits = True
            if score == 2:
                self.active, self._answers = False, self._k
        elif score == 2:
            self.mixing = self._to_mixer = self._to_unpacker = True
        if mixed:
            self.mixing = False
            self._groups -= 1
            self.active = self._to_dots = self._to_unpacker = self._groups > 0
