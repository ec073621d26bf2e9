"""The sequencer in the cycle model: its program, its states, and the commands that it sends."""

from collections.abc import Sequence
from dataclasses import dataclass

from ....hw.token.config import TokenConfig
from ....hw.token.program import INSTRUCTION_BYTES, Instruction, Op
from .memory import Channel
from .streams import Gear

__all__ = ["Command", "Sequencer"]

#: Instructions that run once for each token.
_EACH = (Op.ANGLES, Op.EMBED, Op.HEADS, Op.ATTEND)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A pass of the core: run tokens from a position on, and answer with k logits."""

    tokens: tuple[int, ...]
    position: int
    k: int

    @property
    def others(self) -> int:
        """Tokens behind the first one."""
        return len(self.tokens) - 1


class Sequencer:
    """``Sequencer``: reads the program, and gives each part its commands.

    The last command is accepted in the cycle before the first step.

    Parameters
    ----------
    config : configuration of the core
    program : the program of a model
    channel : the channel of the program
    command : the pass that runs

    Members
    -------
    program, command : as given
    number : number of the token that the instruction runs for
    wanted : commands and requests of the present instruction that have not left, by the names of
        the RTL's streams
    """

    def __init__(
        self,
        config: TokenConfig,
        program: Sequence[Instruction],
        channel: Channel,
        command: Command,
    ) -> None:
        self.program, self.command, self._channel = program, command, channel
        self._on_weights = config.head_on_weights
        word_bytes = config.memory_width // 8
        self._gear = Gear(max(1, INSTRUCTION_BYTES // word_bytes))
        self._words = -(-INSTRUCTION_BYTES * len(program) // word_bytes)
        # The place is the number of the present instruction.
        self._state, self._place, self._timer = "fetch", -1, 0
        self._requested = self._fetching = True
        self.number = self._gains = 0
        self.wanted: set[str] = set()

    @property
    def busy(self) -> bool:
        """The token is not done, or its program is still read."""
        return self._state != "idle" or self._fetching

    @property
    def waits(self) -> bool:
        """The present instruction begins when the parts that it needs are idle."""
        return self._state == "wait"

    @property
    def one(self) -> Instruction:
        """The present instruction."""
        return self.program[self._place]

    @property
    def op(self) -> Op:
        """The operation of the present instruction."""
        return self.program[self._place].op

    @property
    def normalized(self) -> int:
        """Number of the token that the normalizer is commanded for: the last one at the head."""
        return self.command.others if self.op == Op.HEAD else self.number

    @property
    def tracked(self) -> range:
        """Numbers of the tokens whose results the present instruction makes."""
        if self.op == Op.PRODUCT:
            return range(self.command.others + 1)
        return range(self.number, self.number + 1)

    @property
    def ends(self) -> bool:
        """The present instruction ends the token."""
        return self.op == Op.END or (self.op == Op.HEAD and not self.command.k)

    @property
    def moves(self) -> bool:
        """The sequencer changes, although no part takes a command and none becomes idle."""
        taken = self._gear.ready(False) and self._channel.holds
        stays = self.wanted if self._state == "send" else self._state in ("wait", "idle")
        return taken or self._requested or not stays

    def step(self, now: int, sent: set[str], ready: bool) -> int:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        sent : commands and requests that leave
        ready : the present instruction need not wait

        Returns
        -------
        Words of the request for the program, which is made in this cycle, or 0
        """
        gear, channel, request = self._gear, self._channel, 0
        pop = self._state in ("fetch", "idle") and gear.valid
        if pop or channel.active:
            push = gear.ready(pop) and channel.valid(now)
            channel.taken = push
            if push and channel.last:
                self._fetching = False
            gear.step(pop, int(push), False)
        if self._requested and channel.ready:
            request, self._requested = self._words, False
        if self._state == "fetch":
            if pop:
                self._place += 1
                self._state, self.number = "wait", 0
        elif self._state == "send":
            if not self.wanted and self.op in _EACH and self.number < self.command.others:
                self._state, self.number = "wait", self.number + 1
            elif not self.wanted:
                self._state = "fetch"
        elif self._state == "multiply":
            self._timer -= 1
            if not self._timer:
                self._state = "fetch"
        elif ready:
            self._begin()
        self.wanted -= self._repeat(sent)
        return request

    def _repeat(self, sent: set[str]) -> set[str]:
        """The ones of ``sent`` that do not leave again: a product has a norm for each token."""
        if self.op != Op.PRODUCT or not self.command.others:
            return sent
        again = set()
        if "gains" in sent and self._gains:
            self._gains -= 1
            again.add("gains")
        if "normalizer" in sent and self.number < self.command.others:
            self.number += 1
            again.add("normalizer")
        return sent - again

    def _begin(self) -> None:
        """Begin the present instruction: its commands are sent from the next cycle on."""
        op, flags = self.op, self.one.flags
        if self.ends:
            self._state = "idle"
            return
        if op == Op.SETUP:
            # A cycle to begin, one for each bit, and one to see the end; for each token.
            position = self.command.position
            bits = [max(token, position).bit_length() for token in self.command.tokens]
            self._state, self._timer = "multiply", sum(bits) + 2 * len(bits)
            return
        self._gains = self.command.others
        product, embed, attend, last, heads = (
            op == one for one in (Op.PRODUCT, Op.EMBED, Op.ATTEND, Op.HEAD, Op.HEADS)
        )
        tracked, loads = product or embed or attend, (product and "load" in flags) or last
        conditions = {
            "jobs": product,
            "fetch": product or (last and self._on_weights),
            "scaler": product or embed,
            "writer": product or embed,
            "normalizer": loads,
            "gained": tracked and "track" in flags,
            "heads": heads,
            "cache": heads and "cache" in flags,
            "attention": attend or last,
            "gains": (loads and "gained" in flags) or op == Op.ANGLES,
            "peak_gains": tracked and "peak_gained" in flags,
            "scales": (product and "table" in flags) or embed,
            "rows": embed,
        }
        self._state = "send"
        self.wanted = {name for name, value in conditions.items() if value}
