"""Benches: a component, what a proof assumes of its inputs, and what it claims."""

from itertools import count
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockSignal,
    Elaboratable,
    Fragment,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring


class Inside(Elaboratable):
    """An elaborated component whose internal signals and memories can be read by their names."""

    def __init__(self, component: Elaboratable) -> None:
        self._fragment = Fragment.get(component, None)

    def elaborate(self, platform: object) -> Fragment:
        return self._fragment

    def _part(self, path: list[str]) -> Fragment:
        part = self._fragment
        for name in path:
            found = [one for one, label, _ in part.subfragments if label == name]
            if not found:
                names = [label for _, label, _ in part.subfragments]
                raise KeyError(f"{name!r} is not a submodule: {names}")
            part = found[0]
        return part

    def __getitem__(self, path: str) -> Signal:
        """Signal with a path such as ``queue.produce``; of several, the one register."""
        *parts, name = path.split(".")
        found: dict[int, Signal] = {}
        registers: dict[int, Signal] = {}
        for domain, statements in self._part(parts).statements.items():
            for statement in statements:
                driven = statement._lhs_signals()
                for signal in [*driven, *statement._rhs_signals()]:
                    if isinstance(signal, Signal) and signal.name == name:
                        found[id(signal)] = signal
                        if domain != "comb" and signal in driven:
                            registers[id(signal)] = signal
        chosen = found if len(found) == 1 else registers
        if len(chosen) != 1:
            raise KeyError(f"{path!r} must name one signal, not {len(found)}")
        return next(iter(chosen.values()))

    def registers(self, path: str = "") -> list[Signal]:
        """Registers of a submodule, in the order of their assignments; not all have names."""
        found: dict[int, Signal] = {}
        for domain, statements in self._part(path.split(".") if path else []).statements.items():
            if domain != "comb":
                for statement in statements:
                    found |= {id(one): one for one in statement._lhs_signals()}
        return list(found.values())

    def share_clock(self) -> None:
        """Let a component with ports for its clock and reset use those of the bench."""
        fragment = self._fragment
        fragment.domains.clear()
        fragment.statements["comb"] = [
            one
            for one in fragment.statements["comb"]
            if not isinstance(getattr(one, "lhs", None), ClockSignal | ResetSignal)
        ]

    def word(self, path: str, address: Value, shape: Any) -> Signal:
        """The word at an address of a memory, read through a port of its own."""
        memory = self._part(path.split("."))
        assert isinstance(memory, MemoryInstance)
        data = Signal(shape, name="word_" + path.replace(".", "_"))
        bits = (memory._data.depth - 1).bit_length()
        wide = Signal(bits, name="address_of_word")
        self._fragment.add_statements("comb", [wide.eq(address)])
        memory.read_port(domain="comb", addr=wide, data=data, en=Value.cast(1), transparent_for=())
        return data


class Bench(Elaboratable):
    """A component under proof: one synchronous domain, free inputs, named one-bit properties.

    Parameters
    ----------
    component : the component; its inputs are free in every cycle
    resets : whether a reset may come in any cycle of the proof
    visible : whether counterexamples show outputs and internal values that no property needs; a
        large component is smaller without
    """

    def __init__(self, component: Any = None, *, resets: bool = True, visible: bool = True) -> None:
        self.m = Module()
        #: Properties by kind ("assume", "claim", "cover") and name.
        self.properties: dict[str, dict[str, Signal]] = {"assume": {}, "claim": {}, "cover": {}}
        self.ports: dict[str, Signal] = {}
        self.constants: list[str] = []
        #: The first component, elaborated.
        self.inside: Any = None
        #: Cells that get faults, as a selection of yosys; those of the bench itself have no prefix.
        self.cells = "c:$flatten*"
        self._inputs: set[str] = set()
        self._numbers = count()
        self.resets, self.visible = resets, visible
        #: Cycles after a reset within which all covers are reached.
        self.reach = 1
        if component is not None:
            self.add("dut", component)

    def add(self, name: str, component: Any) -> Inside:
        """Add a component under proof; all its ports become ports of the bench."""
        inside = Inside(component)
        self.m.submodules[name] = inside
        if self.inside is None:
            self.inside = inside
        prefix = "" if name == "dut" else name + "_"
        if isinstance(component, wiring.Component):
            for path, member, value in component.signature.flatten(component):
                label = prefix + "__".join(map(str, path))
                self.ports[label] = Value.cast(value)
                if member.flow == wiring.In:
                    self._inputs.add(label)
        return inside

    def drive(self, name: str, value: Any) -> None:
        """Drive an input of the component, which is then not free."""
        self.m.d.comb += self.ports.pop(name).eq(value)
        self._inputs.discard(name)

    def input(self, name: str, shape: Any = 1) -> Signal:
        """An input of the bench, free in every cycle."""
        signal = Signal(shape, name=name)
        self.ports[name] = Value.cast(signal)
        self._inputs.add(name)
        return signal

    def any(self, name: str, shape: Any = 1) -> Signal:
        """A value that is free but the same in every cycle: "for every"."""
        self.constants.append(name)
        return self.input(name, shape)

    def show(self, name: str, value: Any) -> Signal:
        """Name a value, which counterexamples then print."""
        value = Value.cast(value)
        signal = Signal(value.shape(), name=name)
        self.m.d.comb += signal.eq(value)
        self.ports[name] = signal
        return signal

    def _property(self, kind: str, name: str, value: Any) -> None:
        full = f"{kind}_{name}"
        assert full not in self.ports, f"two properties are called {full}"
        self.properties[kind][full] = self.show(full, Value.cast(value).bool())

    def assume(self, name: str, value: Any) -> None:
        """Assume a condition in every cycle."""
        self._property("assume", name, value)

    def claim(self, name: str, value: Any) -> None:
        """Claim a condition in every cycle."""
        self._property("claim", name, value)

    def cover(self, name: str, value: Any) -> None:
        """Name a situation that the assumptions must not exclude."""
        self._property("cover", name, value)

    def past(self, value: Any, name: str | None = None) -> Signal:
        """A value one cycle ago; 0 after a reset."""
        value = Value.cast(value)
        register = Signal(value.shape(), name=name or f"past{next(self._numbers)}")
        self.m.d.sync += register.eq(value)
        return register

    def stays(self, name: str, port: Any, *, assumed: bool = False) -> None:
        """Claim, or assume, that an offered beat of a stream stays until it is taken."""
        self.stays_until(name, port.valid, port.ready, port.payload, assumed=assumed)

    def stays_until(
        self, name: str, valid: Any, ready: Any, payload: Any, *, assumed: bool = False
    ) -> None:
        """Claim, or assume, that a payload which is offered stays until it is taken."""
        payload = Value.cast(payload)
        waited, before = self.past(valid & ~ready), self.past(payload)
        kept = ~waited | (valid & (payload == before))
        (self.assume if assumed else self.claim)(f"{name}_stays", kept)
        if not assumed:
            self.cover(f"{name}_waits", waited)

    def word_stays(self, valid: Any, ready: Any, data: Any, keep: Any, last: Any) -> None:
        """Claim that an offered word of AXI4-Stream stays until it is taken.

        TLAST, TKEEP and the bytes that TKEEP marks stay; the other bytes may change.
        """
        waits = self.past(valid & ~ready)
        for name, value in (("tlast", last), ("tkeep", keep)):
            self.claim(f"{name}_stays", ~waits | (valid & (value == self.past(value))))
        for byte in range(len(keep)):
            value = data.word_select(byte, 8)
            same = value == self.past(value)
            self.claim(f"tdata{byte}_stays", ~(waits & keep[byte]) | same)
        self.cover("waits", waits)

    def delay(self, value: Any, cycles: int = 1) -> Value:
        """A value some cycles ago, of registers without a reset."""
        for _ in range(cycles):
            value = Value.cast(value)
            register = Signal(value.shape(), name=f"delay{next(self._numbers)}", reset_less=True)
            self.m.d.sync += register.eq(value)
            value = register
        return value

    def elaborate(self, platform: object) -> Module:
        return self.m

    def rtlil(self, *, all_ports: bool) -> str:
        """The bench as RTLIL.

        Parameters
        ----------
        all_ports : whether outputs that are no property are ports too; else logic that no property
            depends on can be removed
        """
        inputs = self._inputs | {name for one in self.properties.values() for name in one}
        ports = {
            name: (signal, None)
            for name, signal in self.ports.items()
            if all_ports or name in inputs
        }
        return rtlil.convert(self, name="top", ports=ports, emit_src=False)
