"""The token core in the cycle model: all parts, their connections, and the sequencer."""

from collections.abc import Sequence
from math import gcd

from ....hw.token.config import TokenConfig
from ....hw.token.program import Instruction, Op
from ...rtl.memory_model import MemoryModel
from .attention import Attention, list_fields
from .heads import CacheWriter, Heads, Padder
from .memory import Port, Router
from .products import LAST, OTHER, WORD, Engine, Normalizer, Peaks, Scaler, Writer
from .sequencer import Command, Sequencer
from .streams import Gear

__all__ = ["PARTS", "Core"]

#: Parts of ``CoreRun.by_part``; a cycle counts for the first one that works.
PARTS: tuple[str, ...] = (
    "products", "head", "attention", "heads", "norms", "results", "sequencing",
)  # fmt: skip

#: Channels of the memory port.
_GAINS, _SCALES, _ROWS, _PROGRAM = range(4)


class Core:
    """State of all parts of a core, and their connections.

    In a cycle, consumers go before producers: each part sees what the others offer at the beginning
    of the cycle. Parts without work are left out.

    Parameters
    ----------
    config : configuration of the core
    program : the program of a model
    memory : speed of the memories
    command : the pass that runs

    Members
    -------
    bytes_by_part : bytes that the memories have delivered in the cycles of each of ``PARTS``
    """

    def __init__(
        self,
        config: TokenConfig,
        program: Sequence[Instruction],
        memory: MemoryModel,
        command: Command,
    ) -> None:
        self._config, self._memory = config, memory
        word_bytes = config.memory_width // 8
        self._port = Port(4, memory)
        self._gains = Router(config, self._port.channels[_GAINS])
        self._scales = Router(config, self._port.channels[_SCALES])
        self._rows = self._port.channels[_ROWS]
        self._sequencer = Sequencer(config, program, self._port.channels[_PROGRAM], command)
        # Gearboxes of rows, of an embedding and of the program; units that a memory word brings.
        self._chunks = Gear(max(1, config.attention_lanes // word_bytes))
        self._chunk_units = max(1, word_bytes // config.attention_lanes)
        self._holds, self._held = config.attention_lanes > word_bytes, False  # A register behind.
        self._pieces, self._piece_units = Gear(1), word_bytes // config.vector_lanes
        self._engine, self._scaler = Engine(config, memory), Scaler(config)
        self._writer, self._peaks, self._normalizer = Writer(), Peaks(config), Normalizer()
        self._heads, self._padder, self._cache = Heads(config), Padder(config), CacheWriter(config)
        self._queries = Gear(config.segment_bytes // config.vector_lanes)
        self._attention = Attention(config)
        # Gearbox of the head's rows that are weight beats, and units that a beat brings.
        unit = gcd(config.attention_lanes, config.engine.weight_bytes)
        self._head_chunks = Gear(config.attention_lanes // unit)
        self._beat_units, self._head_rows = config.engine.weight_bytes // unit, False
        self._on_weights = config.head_on_weights
        # Registers of the connections.
        self._to_head = self._to_cache = self._embedding = self._begun = False
        self._factors, self._have_scale = 0, False
        # Wires of the present cycle.
        self._cache_valid = self._loaded = self._piece_pop = False
        self._now = command.others
        self.bytes_by_part = dict.fromkeys(PARTS, 0)

    def run(self) -> dict[str, int]:
        """Run the pass to its end; its commands are accepted in the first cycles.

        Returns
        -------
        Cycles of each of ``PARTS``
        """
        parts = dict.fromkeys(PARTS, 0)
        parts["sequencing"] = 1 + self._sequencer.command.others
        refreshes = self._memory.refresh_cycles > 0
        word_bytes, beat_bytes = self._config.memory_width // 8, self._config.engine.weight_bytes
        delivered = 0
        while self._sequencer.busy:
            self._now += 1
            self._begin_cycle()
            part = self._part()
            parts[part] += 1
            beats = 0 if refreshes else self._engine.beats_alone(self._now)
            if beats > 1 and not self._works():
                self._engine.skip(beats)
                parts[part] += beats - 1
                self._now += beats - 1
            else:
                self._cycle()
            before, delivered = (
                delivered, word_bytes * self._port.words + beat_bytes * self._engine.beats
            )  # fmt: skip
            self.bytes_by_part[part] += delivered - before
        # The core is seen to be idle in one more cycle.
        parts["sequencing"] += 1
        return parts

    def _part(self) -> str:
        """The first part that works in this cycle."""
        if self._engine.fires:
            return "products"
        if self._attention.active:
            return "head" if self._to_head else "attention"
        if self._heads.busy:
            return "heads"
        if self._normalizer.busy:
            return "norms"
        return "results" if self._writer.active else "sequencing"

    def _begin_cycle(self) -> None:
        """Let the memories and the routers offer what they have."""
        now, period = self._now, self._memory.refresh_interval
        refreshes = now % period >= period - self._memory.refresh_cycles
        self._port.begin(now, refreshes)
        self._engine.begin(now, refreshes)
        self._head_rows = self._on_weights and self._to_head and not self._writer.active
        self._gains.begin(now)
        self._scales.begin(now)

    def _cycle(self) -> None:
        """Go to the next cycle."""
        now, attention, engine = self._now, self._attention, self._engine
        sent = self._handshakes() if self._sequencer.wanted else set()
        ready = self._sequencer.waits and not self._blocked()
        mixed, attending = attention.word, attention.busy
        write_ready = True
        if mixed or self._writer.out or sent:
            write_ready = self._write(sent)
        self._results(sent, write_ready=write_ready and not mixed)
        if (
            engine.activations.level
            or self._normalizer.busy
            or self._heads.busy
            or self._busy_cache
            or "cache" in sent
        ):
            self._bytes(sent)
        else:
            self._cache_valid = False
        if (
            attending
            or self._rows.active
            or self._gains.output == "angles"
            or self._scales.output == "embedding"
            or self._pieces.level
            or self._chunks.level
            or self._held
            or self._head_rows
        ):
            self._attend(write_ready)
        if self._sequencer.wanted or attention.element_requests or attention.row_requests:
            sent |= self._request(attending)
        self._gains.step(now)
        self._scales.step(now)
        if sent:
            self._start(sent)
        if ready:
            self._begin()
        self._port.requests[_PROGRAM] = self._sequencer.step(now, sent, ready)
        self._port.step(now, self._cache_valid)

    def _write(self, sent: set[str]) -> bool:
        """Write a word of the mixture or of the writer, past the peaks.

        Parameters
        ----------
        sent : commands that are accepted

        Returns
        -------
        Whether a word is accepted
        """
        mixed, peaks, gains = self._attention.word, self._peaks, self._gains
        out = self._writer.out
        if mixed:
            out = LAST if mixed == 2 and self._attention.last_group else WORD
        track = bool(mixed) or self._writer.track
        ready = peaks.ready(gains.output == "peak")
        taken = bool(out) and track and ready
        # A word of gains serves a word of each token.
        if taken and peaks.gained and out < OTHER:
            gains.taken = True
        gained = "peak_gained" in self._sequencer.one.flags
        peaks.step(
            self._now,
            command=(gained, self._sequencer.tracked) if "gained" in sent else None,
            word=out if taken else 0,
            given=self._sequencer.normalized if "normalizer" in sent else None,
        )
        return ready or not track

    def _results(self, sent: set[str], *, write_ready: bool) -> None:
        """Engine, scaler and writer.

        Parameters
        ----------
        sent : commands that are accepted
        write_ready : a word of the writer is accepted
        """
        scaler, pieces, now, one = self._scaler, self._pieces, self._now, self._sequencer.one
        word = False
        if self._writer.active or "writer" in sent:
            command = (one.mode, "track" in one.flags) if "writer" in sent else None
            word = self._writer.step(command=command, write_ready=write_ready, word=scaler.word)
        taking, taken = scaler.active and scaler.bytes, False
        result = self._engine.result(now)
        if scaler.moves or result or pieces.level:
            taken, scaled = scaler.step(
                word=word,
                source=pieces.valid if scaler.bytes else result,
                scale=self._scales.output == "scaler",
            )
            if scaled:
                self._scales.taken = True
        # Zeros behind the end of an embedding are dropped.
        self._piece_pop = pieces.valid and ((taken and taking) or (self._begun and not taking))
        self._begun = self._begun or taking
        job, fetch = None, 0
        if "jobs" in sent:
            job = (one.fields["n"], one.fields["k"], "load" not in one.flags,
                   one.fields["group_chunks"], 1 + self._sequencer.command.others)  # fmt: skip
        if "fetch" in sent:
            fetch = one.fields["beats"]
        self._loaded = self._engine.step(now, job=job, fetch=fetch, result=taken and not taking)

    def _bytes(self, sent: set[str]) -> None:
        """Normalizer and heads, and the users of their bytes.

        Parameters
        ----------
        sent : commands that are accepted
        """
        normalizer, heads, cache = self._normalizer, self._heads, self._cache
        padder, queries, activations = self._padder, self._queries, self._engine.activations
        to_head, to_cache = self._to_head, self._to_cache
        self._cache_valid = cache.valid(heads.scale and to_cache)
        write = self._cache_valid and self._port.write_ready
        if to_cache:
            ready = cache.gear.ready(write and not cache.scaling)
        else:
            ready = queries.ready(queries.valid)
        padded = ready and not padder.filling
        if not to_head and normalizer.factor(self._now):
            self._factors += 1
        norm = normalizer.out
        taken = padded if to_head else activations.ready(self._loaded)
        gain = self._gains.output == "normalizer"
        if normalizer.step(self._now, bytes_ready=taken, gain=gain):
            self._gains.taken = True
        push = norm if taken and not to_head else 0
        activations.step(self._loaded, self._config.vector_lanes * bool(push), push == 2)
        piece = padder.step(norm if to_head else heads.out, ready)
        heads.step(
            self._now,
            bytes_ready=padded and not to_head,
            scale_ready=(cache.scaling and write) if to_cache else not to_head,
        )
        cache.step(
            heads=self._sequencer.one.fields["heads"] if "cache" in sent else 0,
            write=write,
            piece=piece if to_cache else 0,
        )
        push = 0 if to_cache else piece
        queries.step(queries.valid, int(push > 0), push == 2)

    def _attend(self, write_ready: bool) -> None:
        """Attention and head, rows of bytes, and words that are always taken.

        Parameters
        ----------
        write_ready : a word of the mixture is accepted
        """
        chunks, pieces, rows, scales = self._chunks, self._pieces, self._rows, self._scales
        head_rows, held = self._head_rows, self._held if self._holds else chunks.valid
        word, chunk = self._attention.step(
            self._now,
            word=scales.output == "attention",
            word_last=scales.last,
            chunk=self._head_chunks.valid if head_rows else held,
            write_ready=write_ready,
        )
        if word:
            scales.taken = True
        if head_rows:
            push = self._engine.offers and self._head_chunks.ready(chunk)
            if push:
                self._engine.take(self._now)
            self._head_chunks.step(chunk, self._beat_units * push)
            chunk = False
        if self._holds:
            taken, chunk = chunk, chunks.valid and (chunk or not self._held)
            self._held = chunk or (self._held and not taken)
        for gear, pop, units, chosen in (
            (chunks, chunk, self._chunk_units, not self._embedding),
            (pieces, self._piece_pop, self._piece_units, self._embedding),
        ):
            push = chosen and rows.valid(self._now) and gear.ready(pop)
            if push:
                rows.taken = True
            gear.step(pop, units * push, push and rows.last)
        if scales.output == "embedding":
            scales.taken = self._have_scale = True
        if self._gains.output == "angles":
            self._gains.taken = True

    def _request(self, attending: bool) -> set[str]:
        """Make requests for elements and rows.

        Parameters
        ----------
        attending : the attention is busy; its requests go first, and the sequencer waits

        Returns
        -------
        Names of the sequencer's requests that leave
        """
        config, wanted, attention = self._config, self._sequencer.wanted, self._attention
        channels, fields, requests = (
            self._port.channels,
            self._sequencer.one.fields,
            self._port.requests,
        )
        lanes, per_word = config.vector_lanes, config.memory_width // 32
        left = set()
        name = next((name for name in ("gains", "peak_gains") if name in wanted), None)
        if name and channels[_GAINS].ready:
            left.add(name)
            if name == "peak_gains":
                count, output = fields["n" if self._sequencer.op == Op.PRODUCT else "count"], "peak"
            elif self._sequencer.op == Op.ANGLES:
                count, output = fields["words"] * lanes, "angles"
            else:
                count, output = fields["k"], "normalizer"
            requests[_GAINS] = -(-count // per_word)
            self._gains.route(self._now, output, 0, -(-count // lanes))
        scales = "scales" in wanted and not attending
        if channels[_SCALES].ready:
            if scales and self._sequencer.op == Op.EMBED:
                left.add("scales")
                requests[_SCALES] = 1
                token = self._sequencer.command.tokens[self._sequencer.number]
                skip = token % per_word // lanes
                self._scales.route(self._now, "embedding", skip, 1)
            elif scales:
                left.add("scales")
                requests[_SCALES] = fields["scale_words"]
                self._scales.route(self._now, "scaler", 0, fields["scale_count"])
            elif attention.element_requests:
                attention.element_requests -= 1
                requests[_SCALES] = attention.scale_words
                self._scales.route(self._now, "attention", 0, attention.scale_words * per_word)
        # Requests for an embedding and for the attention do not follow at once.
        own = "rows" in wanted
        if channels[_ROWS].ready and (own == self._embedding or not channels[_ROWS].active):
            if own:
                left.add("rows")
                requests[_ROWS], self._embedding = fields["row_words"], True
            elif attention.row_requests:
                self._embedding = False
                attention.row_requests -= 1
                requests[_ROWS] = attention.row_words
        return left

    # The sequencer.

    @property
    def _busy_cache(self) -> bool:
        """Bytes are between the head unit or the normalizer and their memories."""
        return self._cache.busy or self._padder.filling or self._queries.level > 0

    @property
    def _busy_heads(self) -> bool:
        """Heads are under way, or bytes that are padded."""
        offered = self._normalizer.out if self._to_head else self._heads.out
        return self._heads.busy or self._busy_cache or offered > 0

    def _handshakes(self) -> set[str]:
        """Commands of the present instruction that are accepted in this cycle."""
        sequencer, now = self._sequencer, self._now
        last, embed = sequencer.op == Op.HEAD, sequencer.op == Op.EMBED
        queries = "normalizer" in sequencer.wanted or self._normalizer.busy or self._busy_heads
        factor = self._have_scale if embed else self._factors > sequencer.command.others
        peaks = self._peaks.valid(now, sequencer.normalized)
        ready = {
            "jobs": self._engine.loader == "take",
            "fetch": True,
            "scaler": not self._scaler.active and factor,
            "writer": not self._writer.active,
            "normalizer": not self._normalizer.busy and peaks,
            "gained": self._peaks.accepts(sequencer.tracked),
            "heads": self._heads.ready(now),
            "cache": not self._cache.busy,
            "attention": not self._attention.active and not (last and queries),
        }
        return {name for name in sequencer.wanted if ready.get(name, False)}

    def _blocked(self) -> bool:
        """The present instruction waits for parts that are not idle."""
        sequencer = self._sequencer
        if sequencer.ends:
            return self._writer.active or self._normalizer.busy or self._attention.busy
        if sequencer.op == Op.HEADS:
            return not sequencer.number and (self._writer.active or self._busy_heads)
        if sequencer.op == Op.EMBED and self._config.tokens > 1:
            return (self._embedding and self._rows.active) or self._pieces.level > 0
        return sequencer.op == Op.ATTEND and self._busy_heads

    def _begin(self) -> None:
        """Set the registers of the connections as an instruction begins."""
        if self._sequencer.ends:
            return
        op, flags = self._sequencer.op, self._sequencer.one.flags
        last, heads = op == Op.HEAD, op == Op.HEADS
        if op == Op.EMBED:
            self._have_scale = self._begun = False
        if last or (op == Op.PRODUCT and "load" in flags):
            self._to_head = last
            self._factors = self._factors if last else 0
        if heads or last:
            self._to_cache = heads and "cache" in flags

    def _works(self) -> bool:
        """A part other than the engine changes in this cycle, or could in the next ones."""
        now, port, sequencer = self._now, self._port, self._sequencer
        if (
            self._scaler.moves
            or self._writer.moves
            or self._normalizer.busy
            or self._heads.busy
            or self._busy_cache
            or self._attention.busy
            or self._rows.active
            or self._pieces.level
            or port.works
            or sequencer.moves
        ):
            return True
        wanted, channels = sequencer.wanted, port.channels
        return (
            self._gains.moves(now)
            or self._scales.moves(now)
            or self._peaks.soon(now)
            or not self._heads.ready(now)
            or (sequencer.waits and not self._blocked())
            or bool(wanted and self._handshakes())
            or (not wanted.isdisjoint(("gains", "peak_gains")) and channels[_GAINS].ready)
            or ("scales" in wanted and channels[_SCALES].ready)
            or "rows" in wanted
        )

    def _start(self, sent: set[str]) -> None:
        """Start the parts that accept a command.

        Parameters
        ----------
        sent : commands that are accepted
        """
        fields, flags = self._sequencer.one.fields, self._sequencer.one.flags
        if "scaler" in sent:
            embedding = self._sequencer.op == Op.EMBED
            self._scaler.start(
                bytes_=embedding,
                count=fields["count" if embedding else "n"],
                groups=1 if embedding else fields["groups"],
                table="table" in flags,
                others=0 if embedding else self._sequencer.command.others,
            )
        if "normalizer" in sent:
            words = -(-fields["k"] // self._config.vector_lanes)
            self._normalizer.start(self._now, words, "gained" in flags)
        if "heads" in sent:
            self._heads.start(fields["heads"], fields["half"])
        if "attention" in sent:
            if self._sequencer.op == Op.HEAD:
                command = {"groups": 1, "vectors": 1, "rows": fields["vocabulary"], "words": 0}
                names = ("chunks", "scale_words", "row_words")
            else:
                row_bytes = self._sequencer.program[0].fields["cache_bytes"]
                position = self._sequencer.command.position + self._sequencer.number
                command = list_fields(self._config, position + 1, row_bytes)
                names = ("groups", "vectors", "chunks", "words")
            command |= {name: fields[name] for name in names}
            head = self._sequencer.op == Op.HEAD
            self._attention.start(command, self._sequencer.command.k if head else 0)
