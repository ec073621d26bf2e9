"""Export of an engine as AXI IP: Verilog, register map, and files for Vivado, LiteX and C."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ...golden.templates import render
from ..axi.full import ADDRESS_BITS as MASTER_ADDRESS_BITS
from ..axi.registers import ACCESS, ADDRESS_BITS, REGISTERS, Register
from ..axi.wrapper import JOB_QUEUE_DEPTH, AxiMatVec, BusWidths
from ..config import MatVecConfig
from .description import configuration_text, describe, describe_stream
from .example import worked_example
from .package import (
    AXI_ENDS,
    COMMON_ENDS,
    ENGINE_TITLE,
    PACK_ENDS,
    TEMPLATES,
    check_fit,
    check_target,
    package_texts,
    write_files,
)
from .packing import packing_texts

__all__ = [
    "describe_axi_ports",
    "describe_registers",
    "export_axi",
    "register_files",
    "vivado_script",
]

#: Meanings of ports: by the port's whole name, else by what follows the stream in it.
_PORTS = {
    "aclk": "clock; all registers change at its rising edge",
    "aresetn": "reset, active low, synchronous to aclk; one cycle is enough",
    "irq": "interrupt, active high, level-sensitive: an enabled bit is pending",
    "tdata": "a bus word, byte 0 in bits 7:0",
    "tkeep": "one bit for each byte: the byte is valid",
    "tlast": "last word of a packet",
    "tvalid": "a word is offered; it stays stable until it is taken",
    "tready": "the word offered in this cycle is taken",
}

#: Channels of AXI, by the first letters of a port's name behind the bus.
_CHANNELS = {
    "aw": "write address channel",
    "ar": "read address channel",
    "w": "write data channel",
    "b": "write response channel",
    "r": "read data channel",
}


def describe_axi_ports(hardware: wiring.Component) -> list[dict[str, Any]]:
    """Describe the ports of a module behind AXI, in the order of the page.

    Parameters
    ----------
    hardware : the module

    Returns
    -------
    Each port has ``name``, ``direction``, ``width``, ``meaning`` and, if it belongs to a bus, the
    ``interface``.
    """
    ports = []
    for (name,), member, value in hardware.signature.flatten(hardware):
        port = {
            "name": name,
            "direction": "input" if member.flow == In else "output",
            "width": len(Value.cast(value)),
        }
        # AMD's tools find a bus by names such as s_axi_ctrl_awaddr.
        bus, _, end = name.rpartition("_")
        if bus:
            port |= {"interface": bus}
        meaning = _PORTS.get(end)
        if meaning is None:
            axi = "AXI4-Lite" if bus == "s_axi_ctrl" else "AXI4"
            meaning = f"{axi}, {_CHANNELS.get(end[:2]) or _CHANNELS[end[:1]]}"
        ports.append(port | {"meaning": meaning})
    return ports


def describe_registers(registers: Sequence[Register]) -> dict[str, Any]:
    """Describe a register map for the JSON file: each register with its fields, by name."""
    return {
        register.name: {
            "offset": register.offset,
            "access": register.access,
            "meaning": register.meaning,
            "fields": {
                field.name: {"lsb": field.lsb, "width": field.width, "meaning": field.meaning}
                for field in register.fields
            },
        }
        for register in registers
    }


def _describe(hardware: AxiMatVec, top: str) -> dict[str, Any]:
    """Describe the exported IP for tools: the content of the JSON file.

    Parameters
    ----------
    hardware : the IP
    top : name of its top module

    Returns
    -------
    Shared parts of what ``describe`` returns, with bytes and cycles of a beat in ``streams``,
    ``registers`` (the map) and ``register_values`` (of the read-only registers).
    """
    config, widths = hardware.engine.config, hardware.widths
    engine = describe(hardware.engine, top)
    beats = {
        "s_axis_weights": (config.weight_bytes, widths.weights // 8),
        "s_axis_activations": (hardware.activation_bytes, widths.activations // 8),
        "m_axis_results": (hardware.result_bytes, widths.results // 8),
    }
    shared = ("top", "generator", "version", "parameters", "derived")
    return {
        **{key: engine[key] for key in shared},
        "wrapper": "axi",
        "weight_code": engine["weight_code"],
        "jobs": engine["jobs"]
        | {"accepted_ahead": engine["jobs"]["accepted_ahead"] + JOB_QUEUE_DEPTH},
        "ports": describe_axi_ports(hardware),
        "streams": {
            # A beat is cut into words, or several beats share a word.
            name: describe_stream(name.split("_")[-1], beat)
            | {"word_bytes": word, "cycles_per_beat": max(1, beat / word)}
            for name, (beat, word) in beats.items()
        },
        "registers": describe_registers(REGISTERS),
        "register_values": hardware.register_values,
        "memories": engine["memories"],
        "block_ram": engine["block_ram"],
    }


def _words(data: bytes) -> str:
    """Cut bytes into words of a 32-bit bus, in hexadecimal for the page."""
    words = [data[at : at + 4] for at in range(0, len(data), 4)]
    return ", ".join(f"`{int.from_bytes(word, 'little'):08X}`" for word in words)


def _keep(data: bytes) -> str:
    """Give TKEEP of the last word of bytes on a 32-bit bus."""
    return f"{'1' * (len(data) % 4 or 4):0>4}"


def _example(config: MatVecConfig) -> dict[str, Any]:
    """Make the example of the page: one product on buses of 32 bits, word by word."""
    example = worked_example(config.code, config.act_bits)
    streams = {name: b"".join(example.beats[name]) for name in ("weights", "activations")}
    results = b"".join(y.to_bytes(4, "little", signed=True) for y in example.results)
    return {
        "lanes": example.config.lanes,
        "trits": example.job.trits.tolist(),
        "x": example.job.activations[0].tolist(),
        "y": example.results,
        "streams": {
            f"s_axis_{name}": {
                "beat_bytes": len(data) // 2,
                "bytes": data.hex(" ").upper(),
                "words": _words(data),
                "keep": _keep(data),
            }
            for name, data in streams.items()
        },
        "result_words": _words(results),
    }


def _dma_widths(hardware: AxiMatVec) -> dict[str, int]:
    """Width of the words of the LiteX DMAs of weights and activations, in bits.

    It is the widest one, up to that of the bus, of which a beat has a whole number. Wider words
    would need padding behind a packet, which the engine may take for another beat.
    """
    beats = {
        "weights": hardware.engine.config.weight_bytes,
        "activations": hardware.activation_bytes,
    }
    # The greatest power of 2 that divides a number is its lowest bit.
    return {
        name: min(getattr(hardware.widths, name), 8 * (beat & -beat))
        for name, beat in beats.items()
    }


def _page(hardware: AxiMatVec, description: Mapping[str, Any], stem: str) -> str:
    """Fill the page for people."""
    config = hardware.engine.config
    return render(
        TEMPLATES,
        "axi.md.jinja",
        config=config,
        configuration=configuration_text(description["parameters"]),
        description=description,
        stem=stem,
        example=_example(config),
        words=_dma_widths(hardware),
        access=ACCESS,
        registers=REGISTERS,
        address_bits=ADDRESS_BITS,
    )


def register_files(
    registers: Sequence[Register], values: Mapping[str, int], top: str
) -> Iterator[str]:
    """Fill the files of constants for C and for Python.

    Parameters
    ----------
    registers : the map
    values : values of the constant registers
    top : name of the top module
    """
    for template in ("registers.h.jinja", "registers.py.jinja"):
        yield render(TEMPLATES, template, top=top, registers=registers, values=values)


def vivado_script(
    title: str,
    registers: Sequence[Register],
    description: Mapping[str, Any],
    stem: str,
) -> str:
    """Fill the script that packs IP for Vivado.

    Parameters
    ----------
    title : what the IP is, in one line
    registers : its map
    description : content of the JSON file
    stem : stem of the files' names
    """
    ports = description["ports"]
    names = {port["name"] for port in ports}
    buses = list(dict.fromkeys(port["interface"] for port in ports if "interface" in port))
    return render(
        TEMPLATES,
        "vivado.tcl.jinja",
        title=title,
        top=description["top"],
        stem=stem,
        version=description["version"],
        buses=buses,
        lasts=[f"{bus}_tlast" for bus in buses if bus[0] == "s" and f"{bus}_tlast" in names],
        masters=[bus for bus in buses if f"{bus}_araddr" in names and bus[0] == "m"],
        master_bits=MASTER_ADDRESS_BITS,
        registers=registers,
        address_bits=ADDRESS_BITS,
    )


def _litex(widths: BusWidths, words: Mapping[str, int], top: str, stem: str) -> str:
    """Fill the LiteX module. The class is named after the top module, ``a_b`` as ``AB``."""
    name = "".join(part.capitalize() for part in top.split("_"))

    def fill(class_name: str) -> str:
        return render(
            TEMPLATES,
            "litex.py.jinja",
            top=top,
            stem=stem,
            class_name=class_name,
            widths=widths,
            words=words,
            address_bits=ADDRESS_BITS,
        )

    # The file has the name of the class twice. More uses mean that something else in the file has
    # this name too, such as None or Signal.
    if name.isidentifier() and len(re.findall(rf"\b{name}\b", fill(name))) == 2:
        return fill(name)
    return fill(f"Engine{name}")


def export_axi(
    config: MatVecConfig,
    file: Path,
    *,
    widths: BusWidths | None = None,
    name: str = "trilith_matvec",
    period_ns: float = 10.0,
    family: str | None = None,
    force: bool = False,
) -> list[Path]:
    """Write the Verilog of ``AxiMatVec``, and beside it what a user of AXI IP needs.

    The files for ``x.v`` are ``x.v``, ``x.json``, ``x.md`` with the register map, ``x.core``,
    ``x.sdc``, ``x.vlt``, ``x_pack.h``, ``x_pack.py``, ``x_regs.h``, ``x_regs.py``, ``x_ip.tcl`` for
    Vivado and ``x_litex.py``. The same arguments give the same files on every machine. All files
    are written, or none.

    Parameters
    ----------
    config : the engine
    file : the Verilog file to write
    widths : widths of the buses; by default ``BusWidths.of(config)``
    name, period_ns, family, force : see ``export_engine``

    Returns
    -------
    The files, the Verilog first.

    Raises
    ------
    ExportError
        If an argument is not legal. Nothing is written.
    OutputError, OSError
        If a file cannot be written, see ``check_target``. No file is left.
    """
    ends = (*COMMON_ENDS, *PACK_ENDS, *AXI_ENDS)
    check_fit(config, family)
    files = check_target(file, ends, name=name, period_ns=period_ns, force=force)
    stem = file.stem
    hardware = AxiMatVec(config, widths)
    description = _describe(hardware, name)

    def texts() -> Iterator[str]:
        page = _page(hardware, description, stem)
        yield from package_texts(
            hardware,
            description,
            page,
            stem,
            title=ENGINE_TITLE,
            clock="aclk",
            period_ns=period_ns,
            ends=ends,
        )
        yield from packing_texts(config, top=name, stem=stem, axi=True)
        yield from register_files(REGISTERS, hardware.register_values, name)
        yield vivado_script(ENGINE_TITLE, REGISTERS, description, stem)
        yield _litex(hardware.widths, _dma_widths(hardware), name, stem)

    write_files(files, texts(), force=force)
    return files
