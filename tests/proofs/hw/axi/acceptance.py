"""Theorem that AXI4-Lite accepts each request soon."""

from amaranth.hdl import Mux, Signal
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.axi.lite import RegisterBank
from trilith.hw.axi.registers import CORE_REGISTERS, REGISTERS

#: Cycles that a write, and a read, waits for its acceptance.
_WRITE, _READ = 2, 3


def acceptance(registers) -> Bench:
    """Cycles that each request waits, without those in which the manager holds up an answer."""
    bank = RegisterBank(registers)
    bench = Bench(bank)
    m, axi = bench.m, bank.axi
    looked_up = bench.inside["looked_up"]
    directions = {
        "write": (axi.awvalid & axi.wvalid, axi.awready, axi.bvalid, axi.bready, _WRITE),
        "read": (axi.arvalid, axi.arready, axi.rvalid, axi.rready, _READ),
    }
    for name, (offered, ready, answer, taken, most) in directions.items():
        waited = Signal(range(most + 2), name=f"{name}_waited")
        waits = offered & ~ready
        with m.If(~waits):
            m.d.sync += waited.eq(0)
        with m.Elif(~answer | taken):
            m.d.sync += waited.eq(waited + 1)
        # Cycles that are left at most: the rank, which falls.
        if name == "write":
            left = Mux(ready, 0, Mux(answer, 2, 1))
            bench.claim("write_ready", ~ready | ~answer)
        else:
            left = Mux(ready, 0, Mux(looked_up, 3, Mux(answer, 2, 1)))
            bench.claim("read_ready", ~ready | (~answer & ~looked_up))
            bench.claim("read_looked", ~looked_up | ~answer)
        bench.assume(f"{name}_stays", ~bench.past(waits) | offered)
        bench.claim(f"{name}_waited", waited <= most)
        bench.claim(f"{name}_rank", ~waits | (waited + left <= most))
        bench.cover(f"{name}_longest", waited == most)
    bench.reach = 12
    return bench


THEOREMS = [
    Theorem(
        name="AXI4-Lite: acceptance",
        file="hw/axi/lite.py",
        statement=f"A write waits at most {_WRITE} cycles for its acceptance, and a read at most "
        f"{_READ}, besides the cycles in which the manager does not take an answer before it. "
        "Each bound is reached.",
        assumptions=("The manager keeps AWVALID, WVALID and ARVALID until they are accepted.",),
        cases={
            name: Case(build=lambda one=one: acceptance(one), depth=1, faults=60)
            for name, one in {"engine": REGISTERS, "token core": CORE_REGISTERS}.items()
        },
    ),
]
