"""Export of a token core as AXI IP: Verilog, register map, and files for Vivado and C."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...golden.templates import render
from ..axi.core_wrapper import AxiTokenCore, CoreBuses
from ..axi.registers import ACCESS, ADDRESS_BITS, CORE_REGISTERS
from ..token.config import TokenConfig, check_core_config
from .axi_package import describe_axi_ports, describe_registers, register_files, vivado_script
from .core_description import core_facts
from .core_package import CORE_TITLE
from .description import configuration_text
from .package import COMMON_ENDS, TEMPLATES, check_target, package_texts, write_files

__all__ = ["export_core_axi"]

#: Ends of the names of the files that only IP has, behind the stem.
_IP_ENDS = ("_regs.h", "_regs.py", "_ip.tcl")


def _describe(hardware: AxiTokenCore, top: str) -> dict[str, Any]:
    """Describe the exported IP for tools: the content of the JSON file.

    Parameters
    ----------
    hardware : the IP
    top : name of its top module

    Returns
    -------
    ``core_facts``, ``wrapper``, ``ports``, ``buses`` (bytes of a word, and words of the longest
    burst), ``registers`` (the map), and ``register_values`` (of the constant registers)
    """
    config, buses = hardware.config, hardware.buses
    widths = {
        **dict.fromkeys(buses.weight_buses, buses.weights),
        "m_axi_memory": config.memory_width,
    }
    return {
        **core_facts(config, top),
        "wrapper": "axi",
        "ports": describe_axi_ports(hardware),
        "buses": {
            name: {"word_bytes": bits // 8, "burst_words": buses.burst}
            for name, bits in widths.items()
        },
        "registers": describe_registers(CORE_REGISTERS),
        "register_values": hardware.register_values,
    }


def _page(hardware: AxiTokenCore, description: Mapping[str, Any], stem: str) -> str:
    """Fill the page for people."""
    return render(
        TEMPLATES,
        "core_axi.md.jinja",
        config=hardware.config,
        ports=hardware.buses.ports,
        configuration=configuration_text(description["parameters"]),
        description=description,
        stem=stem,
        access=ACCESS,
        registers=CORE_REGISTERS,
        address_bits=ADDRESS_BITS,
    )


def export_core_axi(
    config: TokenConfig,
    file: Path,
    *,
    buses: CoreBuses | None = None,
    name: str = "trilith_core",
    period_ns: float = 10.0,
    force: bool = False,
) -> list[Path]:
    """Write the Verilog of ``AxiTokenCore``, and beside it what a user of AXI IP needs.

    The files for ``x.v`` are those of ``export_axi`` but for ``x_litex.py``. The same arguments
    give the same files on every machine. All files are written, or none.

    Parameters
    ----------
    config : the core
    file : the Verilog file to write
    buses : shapes of the masters; by default ``CoreBuses.of(config)``
    name, period_ns, force : see ``export_engine``

    Returns
    -------
    The files, the Verilog first.

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.
    ExportError
        If an argument is not legal. Nothing is written.
    OutputError, OSError
        If a file cannot be written, see ``check_target``. No file is left.
    """
    check_core_config(config)
    ends = (*COMMON_ENDS, *_IP_ENDS)
    files = check_target(file, ends, name=name, period_ns=period_ns, force=force)
    stem = file.stem
    hardware = AxiTokenCore(config, buses)
    description = _describe(hardware, name)

    def texts() -> Iterator[str]:
        yield from package_texts(
            hardware,
            description,
            _page(hardware, description, stem),
            stem,
            title=CORE_TITLE,
            clock="aclk",
            period_ns=period_ns,
        )
        yield from register_files(CORE_REGISTERS, hardware.register_values, name)
        yield vivado_script(CORE_TITLE, CORE_REGISTERS, description, stem)

    write_files(files, texts(), force=force)
    return files
