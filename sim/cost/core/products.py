"""Ternary products in the cycle model: normalizer, engine, scaler, writer and peaks."""

from collections import deque

from ....hw.token.config import TokenConfig
from ....hw.token.program import WriteMode
from ...rtl.memory_model import MemoryModel
from .streams import Gear, Pipeline

__all__ = ["LAST", "OTHER", "WORD", "Engine", "Normalizer", "Peaks", "Scaler", "Writer"]

#: Words of vectors: of the final token of a command, or of another one; and their last words.
WORD, LAST, OTHER, OTHER_LAST = 1, 2, 3, 4

#: A piece of the scaler: its outputs, its flags, the end of the vector and its last group, and the
#: place of its token.
_COUNT, _LAST, _FINAL, _TOKEN = 0xFF, 0x100, 0x200, 10


class Peaks:
    """``PeakTracker``: takes the words of the vectors of some tokens, and offers their peaks."""

    def __init__(self, config: TokenConfig) -> None:
        tokens = config.tokens
        self._latency = (4 if tokens == 1 else 3) + (config.vector_lanes - 1).bit_length()
        self.active = self.gained = False
        self._tokens = range(0)
        self._turn = 0
        #: Vectors that are not taken, and the cycle from which on the peaks of each are known.
        self._begun: set[int] = set()
        self._from: dict[int, int] = {}

    def accepts(self, tokens: range) -> bool:
        """A command for some tokens is accepted."""
        return not self.active and self._begun.isdisjoint(tokens)

    def valid(self, now: int, token: int) -> bool:
        """Peaks of a token are offered."""
        return not self.active and token in self._from and now >= self._from[token]

    def soon(self, now: int) -> bool:
        """Peaks will be offered."""
        return any(now < first for first in self._from.values())

    def ready(self, gain: bool) -> bool:
        """A word is accepted; ``gain`` says that a word of gains is offered."""
        return self.active and (gain or not self.gained)

    def step(
        self, now: int, *, command: tuple[bool, range] | None, word: int, given: int | None
    ) -> None:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        command : whether a vector has gains, and its tokens, if a command is accepted
        word : the word that is accepted, or 0; see ``Writer.out``
        given : token whose peaks are taken, or None
        """
        if given is not None:
            self._begun.discard(given)
            del self._from[given]
        if word in (LAST, OTHER_LAST):
            self._from[self._tokens[self._turn]] = now + self._latency
            self.active = word != LAST
        if word:
            self._turn = self._turn + 1 if word in (OTHER, OTHER_LAST) else 0
        if command is not None:
            self.active, self._turn = True, 0
            self.gained, self._tokens = command
            self._begun |= set(self._tokens)


class Writer:
    """``VectorWriter``: words from the scaler to the vector memory."""

    def __init__(self) -> None:
        self.active = self._ending = False
        self.track = False
        self._lanes = Pipeline(4)
        self._waits = 0  # A write that was not taken, outside the lanes.

    @property
    def moves(self) -> bool:
        """Words are under way."""
        return bool(self._lanes) or self._waits > 0

    @property
    def out(self) -> int:
        """The write that is offered: 0 for none, or one of the kinds of words."""
        return self._waits or self._lanes.out

    def step(self, *, command: tuple[int, bool] | None, write_ready: bool, word: int) -> bool:
        """Go to the next cycle.

        Parameters
        ----------
        command : mode and flag of a command that is accepted, or None
        write_ready : a write is accepted
        word : the scaler's word, 0 for none

        Returns
        -------
        Whether the word is accepted
        """
        out, advance = self.out, not self._waits
        accepted = bool(word) and self.active and not self._ending and advance
        if advance:
            self._lanes.step(word * accepted)
        self._waits = 0 if write_ready else out
        if out == LAST and write_ready:
            self.active = self._ending = False
        if accepted and word == LAST:
            self._ending = True
        if command is not None:
            mode, self.track = command
            self.active = True
            self._lanes.latency = 16 if mode == WriteMode.SILU.value else 4
        return accepted


class Scaler:
    """``ResultScaler``: cuts result beats into pieces, and packs them into words."""

    def __init__(self, config: TokenConfig) -> None:
        self._lanes, self._rows = config.vector_lanes, config.engine.rows
        self._per_beat = -(-self._rows // self._lanes)
        tokens = config.tokens
        self._pipeline, self._gears = Pipeline(7), [Gear(self._lanes) for _ in range(tokens)]
        self._turn = self._others = 0
        #: With several tokens: whether the beat of each is kept, and the place of the next one.
        self._kept, self._fill = [False] * tokens, 0
        self.active = self.bytes = False

    @property
    def moves(self) -> bool:
        """Pieces or a word are under way."""
        return bool(self._pipeline) or any(self._kept) or any(gear.level for gear in self._gears)

    @property
    def word(self) -> int:
        """The word that is offered: 0 for none, or one of the kinds of words."""
        gear = self._gears[self._turn]
        if not gear.valid:
            return 0
        if self._turn == self._others:
            return LAST if gear.last else WORD
        return OTHER_LAST if gear.last else OTHER

    def start(self, *, bytes_: bool, count: int, groups: int, table: bool, others: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self.active, self.bytes, self._groups, self._table = True, bytes_, groups, table
        self._index, self._group, self._in_beat = 0, 1, self._rows
        self._base = self._left = count
        self._token, self._others = 0, others
        spaced = -(-4 // (others + 1))
        self._end = (max(self._per_beat, spaced) if groups > 1 else self._per_beat) - 1

    def step(self, *, word: bool, source: bool, scale: bool) -> tuple[bool, bool]:
        """Go to the next cycle.

        Parameters
        ----------
        word : the offered word is taken
        source : a result beat, or a word of bytes, is offered
        scale : a word of scales is offered

        Returns
        -------
        Whether the source is taken, and whether the scales are
        """
        out, turn = self._pipeline.out, self._turn
        final, place = out & _FINAL > 0, out >> _TOKEN
        advance = not final or self._gears[place].ready(word and place == turn)
        for token, gear in enumerate(self._gears):
            push = out & _COUNT if final and advance and token == place else 0
            gear.step(word and token == turn, push, out & _LAST > 0)
        if word:
            self._turn = 0 if turn == self._others else turn + 1
        keeps = len(self._kept) > 1 and not self.bytes
        fills = keeps and self.active and source and not self._kept[self._fill]
        there = self._kept[self._token] if keeps and self.active else source
        piece, taken, scaled, token = 0, False, False, 0
        if advance and self.active and there:
            needs = self._table and self._index < self._per_beat
            if scale or not needs:
                token = self._token
                piece, taken = self._slot()
                scaled = needs and token == self._others
        if advance:
            self._pipeline.step(piece)
        if not keeps:
            return taken, scaled
        if taken:
            self._kept[token] = False
        if fills:
            self._kept[self._fill] = True
            self._fill = 0 if self._fill == self._others else self._fill + 1
        return fills, scaled

    def _slot(self) -> tuple[int, bool]:
        """Pass one slot of a beat: its piece or 0, and whether it ends the beat."""
        lanes, token = self._lanes, self._token
        limit = lanes if self.bytes or self._in_beat >= lanes else self._in_beat
        count = min(self._left, limit)
        rest = self._left - count
        beat_end = self.bytes or self._index == self._end
        final = self._group == self._groups
        last = final and self._left <= limit
        piece = count | _LAST * last | _FINAL * final | token << _TOKEN if count else 0
        # The next place comes behind the pieces of all tokens.
        self._token = 0 if token == self._others else token + 1
        if self._token:
            return piece, beat_end
        self._index += 1
        self._left = rest
        self._in_beat = 0 if self._in_beat < lanes else self._in_beat - lanes
        if beat_end:
            self._index, self._in_beat = 0, self._rows
            if final:
                self._group, self._left, self._base = 1, rest, rest
                self.active = rest != 0
            else:
                self._group += 1
                self._left = self._base
        return piece, beat_end


class Engine:
    """``MatVecEngine``, and the stream of its weights."""

    def __init__(self, config: TokenConfig, memory: MemoryModel) -> None:
        engine = config.engine
        self._lanes, self._rows = engine.lanes, engine.rows
        self._latency, self._interval = engine.latency, memory.weight_interval
        self._room, self._tokens = engine.queue_depth, engine.tokens
        #: Tokens of the job that runs, and the first cycle in which a result group may end.
        self._count, self._settled = 1, 0
        self.activations = Gear(engine.lanes)
        self.loader = "take"
        self._chunks_left = self._next_beat = 0
        self._offers = False  # A weight beat is offered, and stays until it is taken.
        #: Weight beats that have been taken.
        self.beats = 0
        self._active = False
        self._chunk = self._group_chunk = self._row_groups = self._chunks = self._group = 0
        self._fetches: deque[int] = deque()
        self._queue: deque[int] = deque()
        self._job = (0, 0, False, 0, 1)
        self._now = 0

    def beats_alone(self, now: int) -> int:
        """Weight beats from this cycle on that come in every cycle, and change nothing else.

        Results under way, a job that is loaded and the end of a result group are changes. Memories
        that refresh or that are slower than the engine are not foreseen.
        """
        if not self.fires or self._interval > 1 or self.loader in ("check", "load"):
            return 0
        beats = self._chunks - 1 - self._chunk
        if self._group:
            beats = min(beats, self._group - self._group_chunk)
        if self._queue:
            beats = min(beats, self._queue[0] - now)
        return max(0, min(beats, self._fetches[0] - 1))

    def skip(self, beats: int) -> None:
        """Take weight beats of ``beats_alone``."""
        self._chunk += beats
        self._group_chunk += beats
        self._fetches[0] -= beats
        self.beats += beats

    @property
    def offers(self) -> bool:
        """A weight beat is offered."""
        return self._offers

    def take(self, now: int) -> None:
        """Take the weight beat that is offered, for the engine or for the rows of the head."""
        self._next_beat, self._offers = now + self._interval, False
        self._fetches[0] -= 1
        self.beats += 1
        if not self._fetches[0]:
            self._fetches.popleft()

    def result(self, now: int) -> bool:
        """A result beat is offered."""
        return bool(self._queue) and self._queue[0] <= now

    def begin(self, now: int, refreshes: bool) -> None:
        """Let the weights' memory offer a beat, unless it refreshes."""
        self._now = now
        there = bool(self._fetches) and now >= self._next_beat
        self._offers = there and (self._offers or not refreshes)

    @property
    def fires(self) -> bool:
        """A weight beat is taken in this cycle."""
        if not (self._offers and self._active and self._room >= self._tokens):
            return False
        return self._now >= self._settled or not self._ends

    @property
    def _ends(self) -> bool:
        """The next weight beat ends a result group."""
        return self._chunk == self._chunks - 1 or self._group_chunk == self._group

    def step(
        self, now: int, *, job: tuple[int, int, bool, int, int] | None, fetch: int, result: bool
    ) -> bool:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        job : n, k, reuse, group_chunks and tokens of a job that is accepted, or None
        fetch : beats of a request that is made, 0 for none
        result : the offered result beat is taken

        Returns
        -------
        Whether a piece of activations is taken
        """
        fire, end = self.fires, False
        if result:
            self._queue.popleft()
            self._room += 1
            if self._queue:
                self._queue[0] = max(self._queue[0], now + 1)
        if fire:
            end = self._fire(now)
        if fetch:
            self._fetches.append(fetch)
        return self._load(job, end)

    def _fire(self, now: int) -> bool:
        """Take a weight beat; return whether it ends the job."""
        self.take(now)
        row_end = self._chunk == self._chunks - 1
        if self._ends:
            self._room -= self._count
            self._settled = now + self._count
            self._queue.extend(now + self._latency + token for token in range(self._count))
            self._group_chunk = 1
        else:
            self._group_chunk += 1
        self._chunk = 0 if row_end else self._chunk + 1
        self._row_groups -= row_end
        return row_end and not self._row_groups

    def _load(self, job: tuple[int, int, bool, int, int] | None, end: bool) -> bool:
        """Step of the loader; ``end`` says that the last weight beat of a job is taken."""
        taken = self.loader == "load" and self.activations.valid
        free = not self._active or end
        if end:
            self._active = False
        if self.loader == "take" and job is not None:
            self._job, self.loader = job, "check"
        elif self.loader == "check":
            n, k, reuse, _, tokens = self._job
            self._chunks_left = tokens * -(-k // self._lanes)
            self.loader = "offer" if reuse else "load"
        elif taken:
            self._chunks_left -= 1
            if not self._chunks_left:
                self.loader = "offer"
        elif self.loader == "offer" and free:
            n, k, _, self._group, self._count = self._job
            self._active, self._chunk, self._group_chunk = True, 0, 1
            self._row_groups, self._chunks = -(-n // self._rows), -(-k // self._lanes)
            self.loader = "take"
        return taken


class Normalizer:
    """``Normalizer``: from peaks to bytes and the factor."""

    def __init__(self) -> None:
        self._pipeline = Pipeline(5)
        self.busy = self._gained = False
        self._left = 0
        self._pass: int | None = None  # First cycle of the pass.
        self._factor: int | None = None  # Cycle in which the factor is offered.

    @property
    def out(self) -> int:
        """The bytes that are offered: 1, or 2 for the last ones."""
        return self._pipeline.out

    def factor(self, now: int) -> bool:
        """The factor is offered, and taken."""
        return self._factor == now

    def start(self, now: int, words: int, gained: bool) -> None:
        """Accept a command with its peaks, behind the other steps of the cycle."""
        self.busy, self._left, self._gained = True, words, gained
        self._pass, self._factor = now + 7, None

    def step(self, now: int, *, bytes_ready: bool, gain: bool) -> bool:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        bytes_ready : bytes are accepted
        gain : a word of gains is offered

        Returns
        -------
        Whether the gains are taken
        """
        out = self._pipeline.out
        advance = bytes_ready or not out
        if self._factor == now:
            self.busy = False
        passing = self._pass is not None and now >= self._pass
        reading = passing and self._left and (gain or not self._gained) and advance
        if advance:
            self._pipeline.step((1 + (self._left == 1)) if reading else 0)
            self._left -= bool(reading)
            if out == 2:
                self._factor = now + (15 if self._gained else 2)
                self._pass = None
        return bool(reading and self._gained)
