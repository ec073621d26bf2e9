"""Theorems about the register bank behind AXI4-Lite."""

from amaranth.hdl import Cat, Const, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.axi.lite import RegisterBank
from trilith.hw.axi.registers import CORE_REGISTERS, REGISTERS

_FILE = "hw/axi/lite.py"

_MAPS = {"engine": REGISTERS, "token core": CORE_REGISTERS}

_RULE = (
    "The manager keeps AWVALID, WVALID and ARVALID, with their payloads, until they are accepted.",
)


def _bench(name: str) -> tuple[Bench, RegisterBank]:
    bank = RegisterBank(_MAPS[name])
    bench = Bench(bank)
    axi = bank.axi
    payloads = {"aw": axi.awaddr, "w": Cat(axi.wdata, axi.wstrb), "ar": axi.araddr}
    for channel, payload in payloads.items():
        valid, ready = (getattr(axi, f"{channel}{end}") for end in ("valid", "ready"))
        bench.stays_until(channel, valid, ready, payload, assumed=True)
    bench.reach = 8
    return bench, bank


def _accepted(bank: RegisterBank) -> tuple[Value, Value]:
    """Whether a write, and a read, is accepted in this cycle."""
    axi = bank.axi
    return axi.awvalid & axi.awready, axi.arvalid & axi.arready


def answers(name: str) -> Bench:
    """Handshakes of all channels."""
    bench, bank = _bench(name)
    m, axi = bench.m, bank.axi
    write, read = _accepted(bank)
    bench.claim("together", write == (axi.wvalid & axi.wready))
    bench.stays_until("b", axi.bvalid, axi.bready, axi.bresp)
    bench.stays_until("r", axi.rvalid, axi.rready, Cat(axi.rdata, axi.rresp))
    # Requests without an answer that was taken: at most one in each direction.
    owed, asked, looked = Signal(name="owed"), Signal(name="asked"), bench.past(read)
    answered, given = axi.bvalid & axi.bready, axi.rvalid & axi.rready
    m.d.sync += [owed.eq((owed | write) & ~answered), asked.eq((asked | read) & ~given)]
    bench.claim("write_alone", ~(write & owed))
    bench.claim("read_alone", ~(read & asked))
    bench.claim("write_answer", axi.bvalid == owed)
    # The answer to a read follows its acceptance by two cycles.
    bench.claim("read_answer", axi.rvalid == (asked & ~looked))
    bench.claim("looking", ~looked | asked)
    # A channel never accepts what was not offered.
    bench.claim("offered", ~axi.awready | (axi.awvalid & axi.wvalid))
    bench.claim("read_offered", ~axi.arready | axi.arvalid)
    bench.claim("looked", bench.inside["looked_up"] == looked)
    return bench


def responses(name: str) -> Bench:
    """Responses and values that are read."""
    bench, bank = _bench(name)
    axi = bank.axi
    write, read = _accepted(bank)
    offsets = {register.offset // 4: register for register in _MAPS[name]}
    here, there = axi.awaddr[2:], axi.araddr[2:]
    writable = Cat(here == at for at, one in offsets.items() if one.access != "ro").any()
    known = bench.past(writable)
    bench.claim("bresp", ~bench.past(write) | (axi.bresp == Mux(known, 0, 2)))
    # The register is looked up one cycle after the read is accepted, and answered two after it.
    looked, word = bench.past(read), bench.past(there)
    value: Value = Const(0, 32)
    for at, one in offsets.items():
        if one.access != "command":
            value = Mux(word == at, getattr(bank, one.name), value)
    mapped = Cat(word == at for at in offsets).any()
    answered = bench.past(looked)
    bench.claim("rdata", ~answered | (axi.rdata == bench.past(value)))
    bench.claim("rresp", ~answered | (axi.rresp == Mux(bench.past(mapped), 0, 2)))
    bench.cover("write_error", axi.bvalid & (axi.bresp == 2))
    bench.cover("read_error", axi.rvalid & (axi.rresp == 2))
    bench.claim("looked", bench.inside["looked_up"] == looked)
    bench.claim("word", ~looked | (bench.inside["word"] == word))
    bench.claim("accept", ~axi.awready | (axi.awvalid & axi.wvalid))
    bench.claim("accept_read", ~axi.arready | axi.arvalid)
    return bench


def values(name: str) -> Bench:
    """Values of the registers that can be written, from one cycle to the next."""
    bench, bank = _bench(name)
    axi = bank.axi
    write, _ = _accepted(bank)
    mask = Cat(strobe.replicate(8) for strobe in axi.wstrb)
    for register in _MAPS[name]:
        if register.access == "ro":
            continue
        value, width = getattr(bank, register.name), register.width
        here = write & (axi.awaddr[2:] == register.offset // 4)
        ones = (axi.wdata & mask)[:width]
        if register.access == "rw":
            new = Mux(here, (value & ~mask[:width]) | ones, value)
        elif register.access == "command":
            new = Mux(here, ones, 0)
        else:
            new = (value & ~Mux(here, ones, 0)) | getattr(bank, f"{register.name}_set")
        bench.claim(register.name, value == bench.past(new[:width]))
        bench.cover(register.name, here & ones.any())
    bench.claim("accept", ~axi.awready | (axi.awvalid & axi.wvalid))
    return bench


def _cases(build, faults: int) -> dict[str, Case]:
    return {
        name: Case(build=lambda name=name: build(name), depth=1, faults=faults) for name in _MAPS
    }


THEOREMS = [
    Theorem(
        name="AXI4-Lite: answers",
        file=_FILE,
        statement="Every write and every read gets exactly one answer, a write one cycle and a "
        "read two cycles after its acceptance. An answer stays until it is taken, and nothing is "
        "accepted in its direction meanwhile.",
        assumptions=_RULE,
        cases=_cases(answers, 60),
    ),
    Theorem(
        name="AXI4-Lite: responses",
        file=_FILE,
        statement="A write is answered with OKAY exactly at registers that can be written, and a "
        "read at registers that exist; else with SLVERR. A read returns the value of its register, "
        "or 0.",
        assumptions=_RULE,
        cases=_cases(responses, 24),
    ),
    Theorem(
        name="AXI4-Lite: registers",
        file=_FILE,
        statement="A register changes only by a write to its address, in the bytes that WSTRB "
        "selects. A command is high for one cycle in the bits written with 1. A flag is set by its "
        "event, and cleared only by a write of 1 without an event.",
        assumptions=_RULE,
        cases=_cases(values, 24),
    ),
]
