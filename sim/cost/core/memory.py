"""The memory port in the cycle model: bursts, channels, routers, and the memory behind them."""

from collections import deque

from ....hw.token.config import TokenConfig
from ...rtl.memory_model import MemoryModel
from .streams import Gear

__all__ = ["BURST_WORDS", "QUEUE_WORDS", "Channel", "Port", "Router"]

#: Words of a burst, and those that a channel keeps or has asked for.
BURST_WORDS, QUEUE_WORDS = 16, 64


class Channel:
    """A channel of the memory port: its request and the next one, and the words that it keeps."""

    __slots__ = ("_asked", "_last", "_left", "_next", "_queue", "_room", "_waits", "taken")

    def __init__(self) -> None:
        self._asked, self._room = 0, QUEUE_WORDS
        # Words to leave the queue: of the request whose words leave, and of the next one.
        self._left = self._next = 0
        # A word waits outside the queue; whether it ends its request.
        self._waits = self._last = self.taken = False
        #: Cycle from which on each word is offered.
        self._queue: deque[int] = deque()

    def valid(self, now: int) -> bool:
        """A word is offered."""
        return self._waits or (bool(self._queue) and self._queue[0] <= now)

    @property
    def holds(self) -> bool:
        """Words have arrived, and are not taken."""
        return self._waits or bool(self._queue)

    @property
    def leaves(self) -> bool:
        """A word is about to leave the queue."""
        return bool(self._queue) and not self._waits

    @property
    def active(self) -> bool:
        """A request is not finished."""
        return self._left > 0 or self._waits

    @property
    def ready(self) -> bool:
        """A request is accepted."""
        return not self._asked and not self._next

    @property
    def last(self) -> bool:
        """The word that is offered ends its request."""
        return self._last if self._waits else self._left == 1

    @property
    def burst(self) -> int:
        """Words of the burst that is asked for, 0 for none."""
        words = min(self._asked, BURST_WORDS)
        return words if self._room >= words else 0

    def step(self, now: int, *, request: int, granted: int, arrives: bool) -> None:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        request : words of a request that is accepted, 0 for none
        granted : words of a burst that is granted, 0 for none
        arrives : a word arrives
        """
        taken, self.taken = self.taken, False
        if request:
            self._asked = request
        if granted:
            self._asked -= granted
            self._room -= granted
        leaves = self.leaves and self.valid(now)
        if leaves:
            self._queue.popleft()
            self._room += 1
            self._last = self._left == 1
        self._waits = (leaves or self._waits) and not taken
        if self._left <= leaves:
            self._left, self._next = request or self._next, 0
        else:
            self._left -= leaves
            self._next = request or self._next
        if arrives:
            self._queue.append(now + 2)


class Port:
    """The memory port, its channels, and the memory.

    Parameters
    ----------
    channels : number of channels
    memory : speed of the memory
    """

    def __init__(self, channels: int, memory: MemoryModel) -> None:
        self.channels = [Channel() for _ in range(channels)]
        #: Words of the request of each channel in this cycle, set by the users.
        self.requests = [0] * channels
        self._memory = memory
        self._requests_ready, self._arrival = True, None
        self._offered: int | None = None  # Words of the request at the port; 0 is a write.
        self._order: deque[list[int]] = deque()  # First cycle, channel and words of each read.
        self._operations: deque[list[int]] = deque()  # Words and first cycle.
        self._next_word = 0
        self._offers = False  # A word is offered, and stays until it is taken.
        #: Words that have been read.
        self.words = 0

    @property
    def works(self) -> bool:
        """Requests or words are on their way, or could leave."""
        ways = self._offered is not None or self._operations or self._order or any(self.requests)
        return bool(ways) or any(channel.burst or channel.leaves for channel in self.channels)

    def begin(self, now: int, refreshes: bool) -> None:
        """Let the memory answer, and decide whether a write would be taken.

        Parameters
        ----------
        now : the cycle
        refreshes : the memory offers nothing new
        """
        self.write_ready, self._arrival = True, None
        if self._offered is None and not self._operations:
            return
        operations, order = self._operations, self._order
        self._requests_ready = len(operations) < 64
        while operations and not operations[0][0]:
            operations.popleft()
        owed = bool(operations) and now >= operations[0][1] and now >= self._next_word
        reads = self._offers = owed and (self._offers or not refreshes)
        self._arrival = order[0][1] if reads and order and order[0][0] <= now else None
        self.write_ready = self._offered is None or self._requests_ready

    def step(self, now: int, write: bool) -> None:
        """Go to the next cycle; ``write`` says that a write is offered."""
        free, operations = self.write_ready, self._operations
        idle = self._offered is None and not operations and not write
        if idle and not any(self.requests) and not any(one.active for one in self.channels):
            return
        if self._offered is not None and self._requests_ready:
            operations.append([self._offered, now + self._memory.latency])
            self._offered = None
        waits, granted = write, [0] * len(self.channels)
        if write and free:
            self._offered = 0
        for index, channel in enumerate(self.channels):
            burst = channel.burst
            if burst and not waits:
                if free:
                    self._offered = granted[index] = burst
                    self._order.append([now + 2, index, burst])
                waits = True
        arrival = self._arrival
        for index, channel in enumerate(self.channels):
            request = self.requests[index]
            if channel.active or request or arrival == index:
                channel.step(now, request=request, granted=granted[index], arrives=arrival == index)
            self.requests[index] = 0
        if arrival is not None:
            self.words += 1
            self._next_word, self._offers = now + self._memory.interval, False
            operations[0][0] -= 1
            if not operations[0][0]:
                operations.popleft()
            order = self._order
            order[0][2] -= 1
            if not order[0][2]:
                order.popleft()
                if order:
                    order[0][0] = max(order[0][0], now + 1)


class Router:
    """A router of elements: its gearbox, and the routes that wait.

    Parameters
    ----------
    config : configuration of the core
    channel : the channel whose words it cuts
    """

    def __init__(self, config: TokenConfig, channel: Channel) -> None:
        self._units = config.memory_width // (32 * config.vector_lanes)
        self._channel = channel
        self._gear = Gear(1)
        self._routes: deque[tuple[int, str, int, int]] = deque()
        self._done = 0
        #: Output whose word is offered; "" for a word that is dropped; None for none.
        self.output: str | None = None
        self.last = self.taken = False

    def route(self, now: int, output: str, skip: int, count: int) -> None:
        """Accept a route."""
        self._routes.append((now + 2, output, skip, count))

    def moves(self, now: int) -> bool:
        """A word or a route is on its way, or an output takes what it gets."""
        coming = bool(self._routes) and self._routes[0][0] > now
        pushes = self._channel.holds and self._gear.ready(False)
        return coming or pushes or self.output in ("", "angles", "embedding")

    def begin(self, now: int) -> None:
        """Offer a word to its output."""
        self.output, self.taken = None, False
        if self._gear.level and self._routes and self._routes[0][0] <= now:
            _, output, skip, count = self._routes[0]
            handed = skip <= self._done < skip + count
            self.output = output if handed else ""
            self.last = self._gear.last

    def step(self, now: int) -> None:
        """Go to the next cycle; ``taken`` says that the offered word is taken."""
        taken = self.taken or self.output == ""
        gear, channel = self._gear, self._channel
        if not (taken or channel.active):
            return
        push = gear.ready(taken) and channel.valid(now)
        last = taken and gear.last
        channel.taken = push
        gear.step(taken, self._units * push, push and channel.last)
        if taken:
            self._done = 0 if last else self._done + 1
            if last:
                self._routes.popleft()
                if self._routes:
                    first, output, skip, count = self._routes[0]
                    self._routes[0] = (max(first, now + 1), output, skip, count)
