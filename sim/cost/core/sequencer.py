"""The sequencer in the cycle model: its program, its states, and the commands that it sends."""

from collections.abc import Sequence
from dataclasses import dataclass

from ....hw.token.config import TokenConfig
from ....hw.token.program import INSTRUCTION_BYTES, Instruction, Op
from .memory import Channel
from .streams import Gear

__all__ = ["Command", "Sequencer"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the core: run a token at a position, and answer with k logits."""

    token: int
    position: int
    k: int


class Sequencer:
    """``Sequencer``: reads the program, and gives each part its commands.

    The command is accepted in the cycle before the first step.

    Parameters
    ----------
    config : configuration of the core
    program : the program of a model
    channel : the channel of the program
    command : the command that runs

    Members
    -------
    program, command : as given
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
                self._state = "wait"
        elif self._state == "send":
            if not self.wanted:
                self._state = "fetch"
        elif self._state == "multiply":
            self._timer -= 1
            if not self._timer:
                self._state = "fetch"
        elif ready:
            self._begin()
        self.wanted -= sent
        return request

    def _begin(self) -> None:
        """Begin the present instruction: its commands are sent from the next cycle on."""
        op, flags = self.op, self.one.flags
        if self.ends:
            self._state = "idle"
            return
        if op == Op.SETUP:
            # A cycle to begin, one for each bit, and one to see the end.
            bits = max(self.command.token, self.command.position).bit_length()
            self._state, self._timer = "multiply", bits + 2
            return
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
