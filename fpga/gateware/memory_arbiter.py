"""Arbiter: shares one memory between clients that have the token core's memory port."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ...hw.token.memory_port import BURST
from .backing import backing_port

__all__ = ["MemoryArbiter", "client_port"]

#: Words of a client that are read and not taken, or asked for: one burst arrives, another leaves.
_ROOM = 2 * BURST

#: Requests that wait in front of the arbiter, for each client.
_REQUESTS = 4

#: A burst is chosen when at most so many commands follow the one that is offered. The memory then
#: never waits. A larger number would let bursts of low priority stand before one of high priority.
_LEFT = 3

#: Bursts that are chosen and have not begun.
_CHOSEN = 2

#: Bursts whose words are under way from the memory, and to it.
_READS, _WRITES = 16, 4


def client_port(word_bits: int, address_bits: int) -> wiring.Signature:
    """Signature of the port of a client, from its side; the token core has such a port.

    Parameters
    ----------
    word_bits : bits of a word
    address_bits : bits of a byte address

    Members
    -------
    requests : Out(stream of ``address``, ``words`` and ``write``); the byte address is a multiple
        of the bytes of a word; 1 to ``BURST`` words follow one another
    write_data : Out(stream of ``data`` and ``strobes``); a word for each word of a write
    read_data : In(stream of ``data`` and ``error``); a word for each word of a read, in order
    """
    request = data.StructLayout({"address": address_bits, "words": range(BURST + 1), "write": 1})
    written = data.StructLayout({"data": word_bits, "strobes": word_bits // 8})
    response = data.StructLayout({"data": word_bits, "error": 1})
    return wiring.Signature(
        {
            "requests": Out(stream.Signature(request)),
            "write_data": Out(stream.Signature(written)),
            "read_data": In(stream.Signature(response)),
        }
    )


class _Client(wiring.Component):
    """Queues of a client. A burst is offered if its words are there, or if there is room for them.

    Latency: 2 cycles from a request to its burst, and 2 from a word that arrives to its offer.
    Throughput: one request and one word in each direction per cycle.

    Parameters
    ----------
    word_bits : bits of a word
    address_bits : bits of a byte address of the client
    number_bits : bits of the number of a word in memory

    Members
    -------
    port : In(``client_port``)
    clear : In(1); see ``MemoryArbiter``
    idle : Out(1); no request and no word is left
    bursts : Out(stream of ``number`` of the first word, ``words``, ``write``, and ``outside``)
    written : Out; the oldest word to be written, and its strobes
    leaves : In(1); this word is taken
    answer : In; the word that arrives, and its error
    arrives : In(1); a word of this client arrives
    """

    def __init__(self, word_bits: int, address_bits: int, number_bits: int) -> None:
        burst = data.StructLayout(
            {"number": number_bits, "words": range(BURST + 1), "write": 1, "outside": 1}
        )
        port = client_port(word_bits, address_bits)
        super().__init__(
            {
                "port": In(port),
                "clear": In(1),
                "idle": Out(1),
                "bursts": Out(stream.Signature(burst)),
                "written": Out(port.members["write_data"].signature.members["payload"].shape),
                "leaves": In(1),
                "answer": In(port.members["read_data"].signature.members["payload"].shape),
                "arrives": In(1),
            }
        )
        self._places = (word_bits // 8 - 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        """Queue requests and words; count the words that may be written, and the free places."""
        m = Module()
        port, bursts = self.port, self.bursts
        m.submodules.requests = requests = fifo.SyncFIFO(
            width=len(Value.cast(port.requests.p)), depth=_REQUESTS
        )
        m.submodules.writes = writes = fifo.SyncFIFO(
            width=len(Value.cast(self.written)), depth=BURST
        )
        m.submodules.reads = reads = fifo.SyncFIFOBuffered(
            width=len(Value.cast(self.answer)), depth=_ROOM
        )
        # The oldest request is in a register, because many conditions begin with it.
        request, there = Signal(port.requests.p.shape()), Signal()
        moves = Signal()
        # Words that are stored and belong to no burst that was taken, and free places for reads.
        stored, room = Signal(range(BURST + 1)), Signal(range(_ROOM + 1), init=_ROOM)
        stores, drops, taken, freed = Signal(), Signal(), Signal(), Signal()
        number = request.address[self._places :]
        m.d.comb += [
            requests.w_data.eq(port.requests.p),
            requests.w_en.eq(port.requests.valid & ~self.clear),
            port.requests.ready.eq(requests.w_rdy & ~self.clear),
            moves.eq(~there | taken | self.clear),
            requests.r_en.eq(moves),
            bursts.p.number.eq(number),
            bursts.p.outside.eq(number[len(bursts.p.number) :].any()),
            bursts.p.words.eq(request.words),
            bursts.p.write.eq(request.write),
            bursts.valid.eq(
                there & ~self.clear & (request.words <= Mux(request.write, stored, room))
            ),
            taken.eq(bursts.valid & bursts.ready),
            writes.w_data.eq(port.write_data.p),
            writes.w_en.eq(port.write_data.valid & ~self.clear),
            port.write_data.ready.eq(writes.w_rdy & ~self.clear),
            stores.eq(writes.w_en & writes.w_rdy),
            # Words of bursts that were taken are older than those that belong to none.
            drops.eq(self.clear & (stored != 0) & (writes.level == stored)),
            writes.r_en.eq(self.leaves | drops),
            self.written.eq(writes.r_data),
            reads.w_data.eq(self.answer),
            reads.w_en.eq(self.arrives),
            port.read_data.p.eq(reads.r_data),
            port.read_data.valid.eq(reads.r_rdy & ~self.clear),
            reads.r_en.eq(port.read_data.ready | self.clear),
            self.idle.eq(~requests.r_rdy & ~there & (writes.level == 0) & (room == _ROOM)),
        ]
        with m.If(moves):
            m.d.sync += [
                Value.cast(request).eq(requests.r_data),
                there.eq(requests.r_rdy & ~self.clear),
            ]
        m.d.sync += [
            freed.eq(reads.r_rdy & reads.r_en),
            stored.eq(stored - Mux(taken & request.write, request.words, 0) + stores - drops),
            room.eq(room - Mux(taken & ~request.write, request.words, 0) + freed),
        ]
        return m


class MemoryArbiter(wiring.Component):
    """Shares one memory between clients, and cuts their words into narrower backing words.

    A burst of the lowest client that can go is chosen when the burst before has at most 4 commands
    left. It then follows without a pause. A read is chosen only if its client has room for all its
    words, and a write only if all its words are there. No client can thus delay another one by more
    than a burst. The command of an idle arbiter passes these stages:

    =====  =======================================================================================
    cycle  stage
    =====  =======================================================================================
    0      the request is accepted, with the last word of a write
    2      its burst is chosen
    4      its first command is offered, and the first word of a write
    R      the last part of a word is read
    R + 1  the word is whole
    R + 3  it is offered to its client
    =====  =======================================================================================

    Latency: 4 cycles from a request to its command, and 3 from ``read_data`` to the client.
    Throughput: one command per cycle, within bursts and from one to the next.

    Example: with words of 128 bits and backing words of 16 bits, a burst of 16 words takes 128
    cycles. A burst of client 0 waits for at most 4 commands of one burst and the whole of another.
    If a word has fewer than 4 parts, it waits for up to two whole ones.

    - Order: requests of a client are executed in order, so that a read sees the writes before it.
      Between clients no order is promised.
    - Outside: if a request begins behind the end of the memory, its words come with ``error``, or
      are not written. A request must not cross the end.
    - Clear: the arbiter outlives resets of its clients. With ``clear`` a client loses its requests
      that have not begun, and its words on their way in both directions. A client in reset must
      keep ``clear`` high until its ``idle`` is high.

    Parameters
    ----------
    word_bits : 32, 64, 128, 256 or 512; bits of a word of a client
    backing_bits : 8 to ``word_bits``, a power of two; bits of a backing word
    address_bits : bits of a byte address of a client, up to 64
    backing_address_bits : bits of an address in backing words, at least those of a word's parts;
        the memory's bytes are at most 2 ** ``address_bits``
    clients : 2 to 8; number of clients

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    clients : In(``client_port``), one for each client, the lowest with the highest priority
    clear : In(1 bit for each client); drop the requests and words of the client
    idle : Out(1 bit for each client); the client has no request and no word here
    backing : Out(``backing_port``); depends on registers alone
    """

    def __init__(
        self,
        *,
        word_bits: int,
        backing_bits: int,
        address_bits: int,
        backing_address_bits: int,
        clients: int,
    ) -> None:
        self._word_bits = check_choice("word_bits", word_bits, (32, 64, 128, 256, 512))
        narrower = [bits for bits in (8, 16, 32, 64, 128, 256, 512) if bits <= word_bits]
        self._parts = word_bits // check_choice("backing_bits", backing_bits, narrower)
        self._part_bits = self._parts.bit_length() - 1
        places = backing_bits.bit_length() - 4
        self._address_bits = check_integer("address_bits", address_bits, 1 + places, 64)
        self._number_bits = (
            check_integer(
                "backing_address_bits",
                backing_address_bits,
                1 + self._part_bits,
                address_bits - places,
            )
            - self._part_bits
        )
        self._clients = check_integer("clients", clients, 2, 8)
        super().__init__(
            {
                "clients": In(client_port(word_bits, address_bits)).array(clients),
                "clear": In(clients),
                "idle": Out(clients),
                "backing": Out(backing_port(backing_bits, backing_address_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clients = []
        for index in range(self._clients):
            client = _Client(self._word_bits, self._address_bits, self._number_bits)
            m.submodules[f"client{index}"] = client
            wiring.connect(m, wiring.flipped(self.clients[index]), client.port)
            m.d.comb += [client.clear.eq(self.clear[index]), self.idle[index].eq(client.idle)]
            clients.append(client)
        # Bursts whose words are under way, in order, and bursts that are chosen.
        burst = clients[0].bursts.p.shape()
        under_way = data.StructLayout(
            {"client": range(self._clients), "words": range(BURST + 1), "outside": 1}
        )
        m.submodules.reads = reads = fifo.SyncFIFO(width=under_way.size, depth=_READS)
        m.submodules.writes = writes = fifo.SyncFIFO(width=under_way.size, depth=_WRITES)
        m.submodules.chosen = chosen = fifo.SyncFIFO(width=burst.size, depth=_CHOSEN)
        entry, picked = Signal(under_way), data.View(burst, chosen.w_data)
        # Commands of the burst behind the one that is offered.
        more, wants = Signal(range(BURST * self._parts)), Signal()
        # A chosen burst has enough commands for the next choice, if a word has so many parts.
        waiting = 0 if self._parts > _LEFT else 1
        m.d.comb += [
            wants.eq((more <= _LEFT) & (chosen.level <= waiting)),
            reads.w_data.eq(entry),
            writes.w_data.eq(entry),
            reads.w_en.eq(chosen.w_en & ~picked.write),
            writes.w_en.eq(chosen.w_en & picked.write),
            entry.words.eq(picked.words),
            entry.outside.eq(picked.outside),
        ]
        higher: Value = Const(0, 1)
        for index, client in enumerate(clients):
            can = Signal(name=f"can{index}")
            m.d.comb += [
                can.eq(client.bursts.valid & Mux(client.bursts.p.write, writes.w_rdy, reads.w_rdy)),
                client.bursts.ready.eq(can & wants & ~higher),
            ]
            with m.If(can & ~higher):
                m.d.comb += [
                    chosen.w_data.eq(client.bursts.p),
                    chosen.w_en.eq(wants),
                    entry.client.eq(index),
                ]
            higher = higher | can
        self._command(m, chosen, burst, more)
        self._write(m, clients, writes, under_way)
        self._read(m, clients, reads, under_way)
        return m

    def _command(
        self, m: Module, chosen: fifo.SyncFIFO, burst: data.StructLayout, more: Signal
    ) -> None:
        """Offer the commands of the chosen bursts, one behind the other.

        Parameters
        ----------
        m : module that gets the logic
        chosen : queue of the bursts
        burst : layout of a burst
        more : driven here: commands of the burst behind the one that is offered
        """
        commands = self.backing.commands
        following = data.View(burst, chosen.r_data)
        taken, moves = Signal(), Signal()
        m.d.comb += [
            taken.eq(commands.valid & commands.ready),
            moves.eq(~commands.valid | (taken & (more == 0))),
            chosen.r_en.eq(moves),
        ]
        with m.If(moves):
            m.d.sync += commands.valid.eq(chosen.r_rdy)
        with m.If(moves & chosen.r_rdy):
            m.d.sync += [
                commands.p.address.eq(following.number << self._part_bits),
                commands.p.write.eq(following.write),
                more.eq((following.words << self._part_bits) - 1),
            ]
        with m.Elif(taken & (more != 0)):
            m.d.sync += [commands.p.address.eq(commands.p.address + 1), more.eq(more - 1)]

    def _write(
        self,
        m: Module,
        clients: list[_Client],
        bursts: fifo.SyncFIFO,
        under_way: data.StructLayout,
    ) -> None:
        """Cut the words of writes into backing words.

        Parameters
        ----------
        m : module that gets the logic
        clients : the clients
        bursts : queue of the bursts
        under_way : layout of its entries
        """
        write_data = self.backing.write_data
        now = data.View(under_way, bursts.r_data)
        words = Array(client.written for client in clients)[now.client]
        part, sent = Signal(range(self._parts)), Signal(range(BURST))
        taken, ends, loads, final = Signal(), Signal(), Signal(), Signal()
        bits, strobes = Signal(self._word_bits), Signal(self._word_bits // 8)
        m.d.comb += [
            taken.eq(write_data.valid & write_data.ready),
            ends.eq(taken & (part == self._parts - 1)),
            loads.eq(bursts.r_rdy & (~write_data.valid | ends)),
            final.eq(sent == now.words - 1),
            bursts.r_en.eq(loads & final),
            write_data.p.data.eq(bits),
            write_data.p.strobes.eq(strobes),
        ]
        for index, client in enumerate(clients):
            m.d.comb += client.leaves.eq(loads & (now.client == index))
        with m.If(loads):
            m.d.sync += [
                write_data.valid.eq(1),
                bits.eq(words.data),
                strobes.eq(Mux(now.outside, 0, words.strobes)),
                part.eq(0),
                sent.eq(Mux(final, 0, sent + 1)),
            ]
        with m.Elif(taken):
            m.d.sync += [
                write_data.valid.eq(~ends),
                bits.eq(bits >> len(write_data.p.data)),
                strobes.eq(strobes >> len(write_data.p.strobes)),
                part.eq(part + 1),
            ]

    def _read(
        self,
        m: Module,
        clients: list[_Client],
        bursts: fifo.SyncFIFO,
        under_way: data.StructLayout,
    ) -> None:
        """Join backing words to words, and hand them to their clients.

        Parameters
        ----------
        m : module that gets the logic
        clients : the clients
        bursts : queue of the bursts
        under_way : layout of its entries
        """
        read_data = self.backing.read_data
        now = data.View(under_way, bursts.r_data)
        word, part = Signal(self._word_bits), Signal(range(self._parts))
        come, whole, final = Signal(range(BURST)), Signal(), Signal()
        m.d.sync += whole.eq(read_data.valid & (part == self._parts - 1))
        with m.If(read_data.valid):
            m.d.sync += [
                word.eq(Cat(word, read_data.data)[-self._word_bits :]),
                part.eq(part + 1),
            ]
        m.d.comb += [final.eq(come == now.words - 1), bursts.r_en.eq(whole & final)]
        with m.If(whole):
            m.d.sync += come.eq(Mux(final, 0, come + 1))
        for index, client in enumerate(clients):
            m.d.comb += [
                client.answer.data.eq(word),
                client.answer.error.eq(now.outside),
                client.arrives.eq(whole & (now.client == index)),
            ]
