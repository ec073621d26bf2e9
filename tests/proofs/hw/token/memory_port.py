"""Theorems about the memory port of the token core: bursts, their order, and their words."""

from collections.abc import Callable
from unittest.mock import patch

from amaranth.hdl import Const, Mux, Signal, Value
from amaranth.lib import data
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.token import memory_port
from trilith.hw.token.memory_port import MemoryPort, _Channel, memory_request

from .topk import SMALLEST

_FILE = "hw/token/memory_port.py"

_WORD_BYTES = SMALLEST.memory_width // 8


def _hold_queue(
    bench: Bench, queue: str, *, depth: int, level: Value, follows: Value, ahead: Value,
    followed: Value,
) -> None:  # fmt: skip
    """Claim the places of the words in a ``SyncFIFOBuffered``, and the place of the followed word.

    Parameters
    ----------
    bench : bench with the queue inside
    queue : path of the queue
    depth : places of the queue
    level : words in it
    follows, ahead, followed : a word is followed; words of the queue before it; its value
    """
    inside, places = bench.inside, depth - 1
    consume, produce = inside[f"{queue}.consume"], inside[f"{queue}.produce"]
    inner, buffered = inside[f"{queue}.inner_level"], inside[f"{queue}.r_rdy"]
    name = queue.replace(".", "_")
    bench.claim(f"{name}_level", level == inner + buffered)
    bench.claim(f"{name}_pointers", (produce < places) & (consume < places) & (inner <= places))
    end, index = (Signal(range(2 * places + 2), name=f"{name}_{one}") for one in ("end", "index"))
    bench.m.d.comb += [end.eq(consume + inner), index.eq(consume + ahead - buffered)]
    bench.claim(f"{name}_fill", produce == Mux(end >= places, end - places, end))
    bench.claim(f"{name}_ahead", ~follows | (ahead < level))
    wrapped = Mux(index >= places, index - places, index)[: len(consume)]
    word = inside.word(f"{queue}.storage", wrapped, len(followed))
    first = follows & buffered & (ahead == 0)
    bench.claim(f"{name}_first", ~first | (inside[f"{queue}.r_data"] == followed))
    bench.claim(f"{name}_stored", ~(follows & (ahead >= buffered)) | (word == followed))


def _channel() -> Bench:
    """Follow one word, any one, from its arrival, and count words by their places."""
    depth, burst = memory_port.DEPTH, memory_port.BURST
    dut = _Channel(SMALLEST)
    bench = Bench(dut, visible=False)
    m, inside = bench.m, bench.inside
    waits, kept, kept_last, _, asked, left, next_left, room = inside.registers()
    requests, words, bursts = dut.requests, dut.words, dut.bursts
    accepted = requests.valid & requests.ready
    granted, given = bursts.valid & bursts.ready, words.valid & words.ready
    # Words that are asked for and have not arrived, and words that the queue holds.
    coming = Signal(range(depth + 1), name="coming")
    m.d.sync += coming.eq(coming + Mux(granted, bursts.p.words, 0) - dut.arrives)
    bench.assume("asked_for", ~dut.arrives | (coming != 0))
    bench.assume("fits", ~accepted | (requests.p.words < 2**16))
    held = Signal(range(depth + 1), name="held")
    m.d.comb += held.eq(inside["queue.inner_level"] + inside["queue.r_rdy"])
    bench.claim("places", room + coming + held == depth)
    bench.claim("room", ~dut.arrives | (inside["queue.inner_level"] < depth - 1))
    bench.claim("words", left + next_left == asked + coming + held)
    bench.claim("second", (next_left == 0) | (left != 0))
    bench.claim("range", (left < 2**16) & (next_left < 2**16) & (asked < 2**16))
    # Bursts: they follow one another, and their words add up to those of the request.
    following = Signal(SMALLEST.address_bits, name="following")
    rest = Signal(SMALLEST.address_bits, name="rest")
    with m.If(accepted):
        m.d.sync += [following.eq(requests.p.address), rest.eq(requests.p.words)]
    with m.If(granted):
        m.d.sync += following.eq(following + bursts.p.words * _WORD_BYTES)
        m.d.sync += rest.eq(rest - bursts.p.words)
    size = Mux(rest < burst, rest, burst)
    bench.claim("rest", asked == rest)
    bench.claim("address", bursts.p.address == following)
    bench.claim("size", ~bursts.valid | (bursts.p.words == size))
    bench.claim("read", ~bursts.p.write)
    bench.claim("asks", bursts.valid == ((rest != 0) & (size <= room)))
    bench.claim("empty", dut.empty == (accepted & (requests.p.words == 0)))
    bench.stays("words", words)
    # Words that have not arrived: of the request whose words arrive, and of the next one.
    to_come, next_to_come = (
        Signal(SMALLEST.address_bits, name=one) for one in ("to_come", "next_to_come")
    )
    with m.If((to_come == 0) | (dut.arrives & (to_come == 1))):
        m.d.sync += to_come.eq(Mux(accepted, requests.p.words, next_to_come))
        m.d.sync += next_to_come.eq(0)
    with m.Else():
        m.d.sync += to_come.eq(to_come - dut.arrives)
        with m.If(accepted):
            m.d.sync += next_to_come.eq(requests.p.words)
    first = held < left
    bench.claim("to_come", to_come == Mux(first, left - held, left + next_left - held))
    bench.claim("next_to_come", next_to_come == Mux(first, next_left, 0))
    # The followed word: of those before it, ``ahead`` are not given.
    pick = bench.input("pick")
    follows, ahead = Signal(name="follows"), Signal(range(depth + 2), name="ahead")
    followed = Signal(SMALLEST.memory_width, name="followed", reset_less=True)
    final = Signal(name="final", reset_less=True)
    with m.If(dut.arrives & pick & ~follows):
        m.d.sync += [follows.eq(1), followed.eq(dut.data), ahead.eq(held + waits - given)]
        m.d.sync += final.eq(to_come == 1)
    with m.Elif(follows & given):
        m.d.sync += [ahead.eq(ahead - 1), follows.eq(ahead != 0)]
    here = follows & (ahead == 0) & words.valid
    bench.claim("data", ~here | (words.p.data == followed))
    bench.claim("last", ~here | (words.p.last == final))
    aside = follows & waits & (ahead == 0)
    bench.claim("kept", ~aside | ((kept == followed) & (kept_last == final)))
    at = ahead - waits + 1
    ends = (at == left) | ((next_left != 0) & (at == left + next_left))
    bench.claim("final", ~follows | aside | (final == ends))
    _hold_queue(
        bench, "queue", depth=depth, level=held, follows=follows & (ahead >= waits),
        ahead=ahead - waits, followed=followed,
    )  # fmt: skip
    late = follows & (ahead == 0) & ~words.valid
    bench.claim("offered", ~late | bench.past(~follows))
    bench.cover("data", here & given)
    bench.cover("last", here & given & final)
    bench.cover("full", held == depth)
    bench.reach = 2 * depth + 8
    return bench


def _asks(bench: Bench, channels: int) -> list[tuple[Value, Value, data.View]]:
    """For each channel: it asks for a burst; the burst is granted; and the burst."""
    inside = bench.inside
    asks = []
    for one in range(channels):
        valid = inside[f"channel{one}.bursts__valid"]
        payload = inside[f"channel{one}.bursts__payload"]
        granted = valid & inside[f"channel{one}.bursts__ready"]
        asks.append((valid, granted, data.View(memory_request(SMALLEST), payload)))
    return asks


def _grants(channels: int) -> Bench:
    """The next request at the port, and the reasons why others wait."""
    dut = MemoryPort(SMALLEST, channels=channels)
    bench = Bench(dut, visible=False)
    requests, writes, written = dut.requests, dut.writes, dut.write_data
    free, places = ~requests.valid | requests.ready, bench.inside["order.w_rdy"]
    wrote = writes.valid & writes.ready
    bench.stays("requests", requests)
    bench.stays("write_data", written)
    bench.claim("write", writes.ready == (free & (~written.valid | written.ready)))
    # A burst leaves exactly if no write waits and no lower channel asks.
    before = writes.valid
    chosen: Value = Const(0, len(requests.p.as_value()))
    read: Value = Const(0, 1)
    for one, (asks, granted, burst) in enumerate(_asks(bench, channels)):
        bench.claim(f"granted{one}", granted == (asks & ~before & free & places))
        if one:
            bench.cover(f"passed{one}", asks & read)
        chosen = Mux(granted, burst.as_value(), chosen)
        read |= granted
        before |= asks
    blocked = writes.valid & written.valid & ~written.ready
    bench.claim("none_idle", ~(before & free & places) | read | wrote | blocked)
    sent, leaves = bench.past(chosen), bench.past(read)
    bench.claim("offered", requests.valid == (leaves | bench.past(wrote | ~free)))
    bench.claim("burst", ~leaves | (requests.p.as_value() == sent))
    wrote_before = bench.past(wrote)
    bench.claim("writes", ~wrote_before | (requests.p.write & (requests.p.words == 1)))
    for name, one in (("address", requests.p.address), ("data", written.p.data),
                      ("strobes", written.p.strobes)):  # fmt: skip
        same = one == bench.past(getattr(writes.p, name))
        bench.claim(f"write_{name}", ~wrote_before | same)
    waits = bench.past(written.valid & ~written.ready)
    bench.claim("write_offered", written.valid == (wrote_before | waits))
    bench.reach = 12
    return bench


def _answers(channels: int) -> Bench:
    """Follow one burst, any one, from its grant until its words have come."""
    places, burst = channels * memory_port.DEPTH, memory_port.BURST
    dut = MemoryPort(SMALLEST, channels=channels)
    bench = Bench(dut, visible=False)
    m, inside = bench.m, bench.inside
    answer = dut.read_data
    arrives = answer.valid & answer.ready
    granted: Value = Const(0, 1)
    entry: Value = Const(0, 1)
    read = data.StructLayout({"channel": range(max(2, channels)), "words": range(burst + 1)})
    for one, (_, grant, asked) in enumerate(_asks(bench, channels)):
        view = Signal(read, name=f"entry{one}")
        m.d.comb += [view.channel.eq(one), view.words.eq(asked.words)]
        entry = Mux(grant, view.as_value(), entry)
        granted |= grant
        bench.claim(f"words{one}", ~grant | ((asked.words >= 1) & (asked.words <= burst)))
    level = Signal(range(places + 1), name="level")
    m.d.comb += level.eq(inside["order.inner_level"] + inside["order.r_rdy"])
    ends = inside["order.r_en"]
    bench.claim("room", ~granted | (inside["order.inner_level"] < places - 1))
    # The followed burst: ``ahead`` bursts before it have not come; ``come`` words of it have.
    pick = bench.input("pick")
    follows, ahead = Signal(name="follows"), Signal(range(places + 1), name="ahead")
    followed = Signal(read, name="followed", reset_less=True)
    come = Signal(range(burst + 1), name="come")
    with m.If(granted & pick & ~follows):
        m.d.sync += [follows.eq(1), Value.cast(followed).eq(entry), come.eq(0)]
        m.d.sync += ahead.eq(level - ends)
    with m.Elif(follows & (ahead != 0)):
        m.d.sync += ahead.eq(ahead - ends)
    with m.Elif(follows & arrives):
        m.d.sync += [come.eq(come + 1), follows.eq(come + 1 != followed.words)]
    here = follows & (ahead == 0)
    for one in range(channels):
        came = inside[f"channel{one}.arrives"]
        bench.claim(f"arrives{one}", ~here | (came == (arrives & (followed.channel == one))))
        bench.claim(f"only{one}", ~came | arrives)
        word = inside[f"channel{one}.data"]
        bench.claim(f"data{one}", ~came | (word == answer.p.data))
    bench.claim("ends", ~here | (ends == (arrives & (come + 1 == followed.words))))
    bench.claim("earlier", ~follows | here | ~ends | arrives)
    bench.claim("counted", ~here | (inside["arrived"] == come))
    bench.claim("idle", inside["order.r_rdy"] | (inside["arrived"] == 0))
    bench.claim("fresh", ~follows | here | (come == 0))
    bench.claim("size", ~follows | (come < followed.words))
    bench.claim("ready", answer.ready == inside["order.r_rdy"])
    bench.claim("error", dut.error | ~bench.past(arrives & answer.p.error))
    bench.claim("sticky", dut.error | ~bench.past(dut.error))
    _hold_queue(
        bench, "order", depth=places, level=level, follows=follows, ahead=ahead,
        followed=Value.cast(followed),
    )  # fmt: skip
    bench.cover("second", here & arrives & (come == 1))
    bench.cover("behind", follows & (ahead == 2))
    bench.reach = 16
    return bench


def _case(
    build: Callable[..., Bench], depth: int, burst: int, *, quick: bool = True, **parameters: int
) -> Case:
    """A case with a queue of ``depth`` words in each channel, and bursts of up to ``burst``."""

    def patched() -> Bench:
        with patch.multiple(memory_port, DEPTH=depth, BURST=burst):
            return build(**parameters)

    return Case(build=patched, depth=1, quick=quick)


#: Sizes for the first cases; the last ones have those of the core, which has four channels.
_SMALL = {"depth": 4, "burst": 2}
_CORE = {"depth": memory_port.DEPTH, "burst": memory_port.BURST}


def _shared(build: Callable[..., Bench]) -> dict[str, Case]:
    """Cases of the whole port."""
    return {
        "2 channels, queues of 4, bursts of 2": _case(build, **_SMALL, channels=2),
        "3 channels, queues of 4, bursts of 2": _case(build, **_SMALL, channels=3),
        "4 channels, queues of 64, bursts of 16": _case(build, **_CORE, channels=4),
    }


THEOREMS = [
    Theorem(
        name="memory port: words of a channel",
        file=_FILE,
        statement="A request leaves as bursts that follow one another, each of the most words that "
        "are allowed or the rest of the request, as soon as the channel has room for all of them. "
        "Each word that arrives, whichever it is, is given once, unchanged and behind all words "
        "before it. It is offered at most two cycles after its arrival, once all words before it "
        "are taken, and stays until it is taken. `last` marks exactly the last word of each "
        "request. The queue never overflows.",
        assumptions=(
            "No word arrives that is not asked for; `memory port: answers` shows it in the port.",
            "A request has less than 65,536 words.",
        ),
        cases={
            "queue of 4, bursts of 2": _case(_channel, **_SMALL),
            "queue of 7, bursts of 3": _case(_channel, 7, 3),
            "queue of 64, bursts of 16": _case(_channel, quick=False, **_CORE),
        },
    ),
    Theorem(
        name="memory port: grants",
        file=_FILE,
        statement="In each cycle in which the port can take a request, an offered write goes "
        "first. It leaves unless the data of the write before still wait, and then no read leaves. "
        "Without a write, the burst of the lowest channel that asks leaves. A channel thus waits "
        "only for a write, for a lower channel or for the memory. What is granted is offered "
        "unchanged and once in the next cycle, and stays until it is taken.",
        cases=_shared(_grants),
    ),
    Theorem(
        name="memory port: answers",
        file=_FILE,
        statement="Each word that the memory answers goes, unchanged and in the same cycle, to the "
        "channel of the oldest burst with words to come, and to no other channel. A failed word "
        "sets `error`, which stays set.",
        cases=_shared(_answers),
    ),
]
