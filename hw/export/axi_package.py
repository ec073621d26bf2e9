"""Exports an engine as AXI IP: Verilog, register map, and what Vivado, LiteX and C want of it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from ...golden.matmul import ternary_matmul
from ...golden.templates import render
from ..axi.registers import ACCESS, ADDRESS_BITS, REGISTERS
from ..axi.wrapper import AxiMatVec, BusWidths
from ..config import MatVecConfig
from .package import (
    TEMPLATES,
    check_target,
    configuration_text,
    describe,
    header,
    tool_files,
    write_files,
)
from .testbench import example_trits, worked_example
from .verilog import component_verilog

__all__ = ["export_axi"]

#: What the ports of a bus mean, by what follows its prefix.
_MEANINGS = {
    "aclk": "the only clock; everything happens at its rising edge",
    "aresetn": "reset, active low, synchronous to aclk; hold it for one clock or more",
    "irq": "interrupt, active high, level: a pending bit is enabled",
    "tdata": "a bus word, byte 0 in bits 7:0",
    "tkeep": "a bit per byte",
    "tlast": "the last word of a packet",
    "tvalid": "a word is offered; it stays until it is taken",
    "tready": "the word offered in this clock is taken",
}


_STREAMS = ("s_axis_weights", "s_axis_activations", "m_axis_results")


def _ports(hardware: AxiMatVec) -> list[dict[str, Any]]:
    ports = []
    for (name,), member, value in hardware.signature.flatten(hardware):
        port = {
            "name": name,
            "direction": "input" if member.flow == In else "output",
            "width": len(Value.cast(value)),
        }
        bus, _, end = name.rpartition("_")
        if bus:
            port |= {"interface": bus}
        ports.append(port | {"meaning": _MEANINGS.get(end or name, "AXI4-Lite")})
    return ports


def _describe(hardware: AxiMatVec, top: str) -> dict[str, Any]:
    """The content of the JSON file."""
    config, widths = hardware.engine.config, hardware.widths
    engine = describe(hardware.engine, top)
    beats = {
        "s_axis_weights": (config.weight_bytes, widths.weights // 8),
        "s_axis_activations": (hardware.activation_bytes, widths.activations // 8),
        "m_axis_results": (hardware.result_bytes, widths.results // 8),
    }
    return {
        **{key: engine[key] for key in ("top", "generator", "version", "parameters", "derived")},
        "wrapper": "axi",
        "ports": _ports(hardware),
        "streams": {
            name: {"beat_bytes": beat, "word_bytes": word, "cycles_per_beat": max(1, beat / word)}
            for name, (beat, word) in beats.items()
        },
        "registers": {
            register.name: {
                "offset": register.offset,
                "access": register.access,
                "meaning": register.meaning,
                "fields": {
                    field.name: {
                        "lsb": field.lsb,
                        "width": field.width,
                        "meaning": field.meaning,
                    }
                    for field in register.fields
                },
            }
            for register in REGISTERS
        },
        "register_values": hardware.register_values,
        "memories": engine["memories"],
        "block_ram": engine["block_ram"],
    }


def _words(data: bytes) -> str:
    """Words of a bus of 32 bits."""
    words = [data[at : at + 4] for at in range(0, len(data), 4)]
    return ", ".join(f"`{int.from_bytes(word, 'little'):08X}`" for word in words)


def _example(code: str) -> dict[str, Any]:
    """Make the example of the page: one product on buses of 32 bits, word by word."""
    trits = example_trits(code)
    x = [1, -1, 0, 1, 1, 0, -1, 1, -1]
    y = ternary_matmul(np.array(trits, np.int8), np.array([x], np.int8))[0]
    weights = b"".join(worked_example(code))
    # Two chunks of seven lanes: five lanes of the second are unused.
    activations = np.array([*x, *[0] * 5], np.int8).tobytes()
    return {
        "trits": trits,
        "x": x,
        "y": y,
        "weight_bytes": len(weights) // 2,
        "weights": weights.hex(" ").upper(),
        "weight_words": _words(weights),
        "keep": f"{'1' * (len(weights) % 4 or 4):0>4}",
        "activations": activations.hex(" ").upper(),
        "activation_words": _words(activations),
        "result_words": _words(y.astype("<i4").tobytes()),
    }


def _page(hardware: AxiMatVec, description: Mapping[str, Any], stem: str) -> str:
    """Fill the page for people."""
    config = hardware.engine.config
    return render(
        TEMPLATES,
        "axi.md.jinja",
        config=config,
        configuration=configuration_text(config),
        description=description,
        stem=stem,
        example=_example(config.code),
        access=ACCESS,
        registers=REGISTERS,
        address_bits=ADDRESS_BITS,
    )


def _register_file(template: str, hardware: AxiMatVec, top: str) -> str:
    """Fill a file of constants with the register map and with the values of this engine."""
    values = hardware.register_values
    return render(TEMPLATES, template, top=top, registers=REGISTERS, values=values)


def _vivado(top: str, stem: str, version: str) -> str:
    """Fill the script that packs the IP for Vivado."""
    return render(
        TEMPLATES,
        "vivado.tcl.jinja",
        top=top,
        stem=stem,
        version=version,
        registers=REGISTERS,
        address_bits=ADDRESS_BITS,
    )


def _litex(hardware: AxiMatVec, top: str, stem: str) -> str:
    """Fill the LiteX module."""
    return render(
        TEMPLATES,
        "litex.py.jinja",
        top=top,
        stem=stem,
        class_name="".join(part.capitalize() for part in top.split("_") if part) or "Engine",
        widths=hardware.widths,
        address_bits=ADDRESS_BITS,
    )


def export_axi(
    config: MatVecConfig,
    file: Path,
    *,
    widths: BusWidths | None = None,
    name: str = "trilith_matvec",
    period_ns: float = 10.0,
    family: str | None = None,
) -> list[Path]:
    """Write the Verilog of ``AxiMatVec``, and beside it what a user of AXI IP needs.

    For ``x.v`` also ``x.json``, ``x.md`` with the register map, ``x_regs.h``, ``x_regs.py``,
    ``x_ip.tcl`` for Vivado, ``x_litex.py``, ``x.core``, ``x.sdc`` and ``x.vlt``. The same arguments
    give the same files on every machine. All files are written or none.

    Parameters
    ----------
    config : the engine
    file : the Verilog file to write
    widths : of the buses; by default ``BusWidths.of(config)``
    name, period_ns, family : as ``export_engine`` has them

    Returns
    -------
    The files, the Verilog first

    Raises
    ------
    ExportError
        If an argument is not legal; nothing was written then.
    OutputError, OSError
        If a file cannot be written; none is left then.
    """
    check_target(config, file, name=name, period_ns=period_ns, family=family)
    stem = file.stem
    hardware = AxiMatVec(config, widths)
    description = _describe(hardware, name)
    version = description["version"]

    def texts() -> Iterator[tuple[str, str]]:
        yield ".v", header(config, version) + component_verilog(hardware, name)
        yield ".json", json.dumps(description, indent=2) + "\n"
        yield ".md", _page(hardware, description, stem)
        yield from tool_files(description, stem, clock="aclk", period_ns=period_ns, testbench=False)
        yield "_regs.h", _register_file("registers.h.jinja", hardware, name)
        yield "_regs.py", _register_file("registers.py.jinja", hardware, name)
        yield "_ip.tcl", _vivado(name, stem, version)
        yield "_litex.py", _litex(hardware, name, stem)

    return write_files(file, texts())
