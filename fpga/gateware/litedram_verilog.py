"""Verilog of LiteDRAM's controller for single-rate SDRAM, and the figures of SDRAM chips."""

from dataclasses import asdict, dataclass, fields
from importlib import import_module, metadata
from math import ceil
from pathlib import Path
from types import ModuleType

from ...golden.checks import check_choice, check_integer
from ...sim.tools.cache import keep
from ...sim.tools.toolchain import ToolchainError, remedy

__all__ = ["CHIPS", "CONTROLLER", "DATA_BITS", "SdramChip", "litedram_verilog", "sdram_chip"]

#: Name of the module of the controller.
CONTROLLER = "litedram_controller"

#: Data bits of a chip, and the chips in LiteDRAM's table that have so many.
DATA_BITS = 16
CHIPS = (
    "AS4C16M16",
    "AS4C32M16",
    "AS4C4M16",
    "IS42S16160",
    "IS42S16320",
    "M12L16161A",
    "MT48LC16M16",
    "MT48LC4M16",
    "NDS36PT5",
    "W9812G6JB",
    "W9825G6KH6",
)

#: Migen assigns with <= in combinational blocks, and compares numbers of different widths.
_LINT = "".join(
    f"/* verilator lint_off {rule} */\n" for rule in ("COMBDLY", "INITIALDLY", "WIDTHEXPAND")
)

#: Times in nanoseconds where LiteDRAM's table has none. They are at least those of the data sheets
#: of its chips.
_LONGEST = {"tRAS": 45, "tRRD": 15}

#: A latency of 2 cycles is legal up to this frequency, in Hz, for all speed grades from 7 on.
_FASTEST = 100_000_000


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """Sizes of an SDRAM chip, and its shortest times in cycles of a clock.

    Parameters
    ----------
    name : one of ``CHIPS``
    clock_hz : frequency of the clock in Hz
    bank_bits, row_bits, column_bits : bits of the numbers of banks, rows and columns
    latency : cycles from a read to its word
    activate_to_access : tRCD
    activate_to_precharge : tRAS
    activate_to_activate : tRC, of a bank
    activate_to_other : tRRD, of two banks
    precharge : tRP
    write_to_precharge : tWR
    refresh : tRFC
    refresh_interval : tREFI; so often a row must be refreshed
    """

    name: str
    clock_hz: int
    bank_bits: int
    row_bits: int
    column_bits: int
    latency: int
    activate_to_access: int
    activate_to_precharge: int
    activate_to_activate: int
    activate_to_other: int
    precharge: int
    write_to_precharge: int
    refresh: int
    refresh_interval: int

    @property
    def address_bits(self) -> int:
        """Bits of the number of a word of 16 bits: the row, then the bank, then the column."""
        return self.bank_bits + self.row_bits + self.column_bits

    @property
    def bytes(self) -> int:
        """Bytes of the chip."""
        return DATA_BITS // 8 << self.address_bits

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of the model ``sdram_model``, by their names in ``sdram_model.sv``."""
        names = [field.name for field in fields(self)][2:]
        return {name.upper(): getattr(self, name) for name in names}


def _litedram(module: str) -> ModuleType:
    """Import a module of LiteDRAM, or of what it needs.

    Raises
    ------
    ToolchainError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ToolchainError(
            f"{error.name} is not installed, and the controller of the SDRAM is made with it: "
            f"{remedy('litedram')}"
        ) from None


def sdram_chip(name: str, clock_hz: int) -> SdramChip:
    """Read the figures of a chip with 16 data bits from LiteDRAM's table.

    Parameters
    ----------
    name : one of ``CHIPS``
    clock_hz : frequency of the clock in Hz, 13,000,000 to 100,000,000

    Raises
    ------
    ToolchainError
        If LiteDRAM is not installed.
    TypeError
        If the name is not a string, or the frequency is not an integer.
    ValueError
        If the name or the frequency is not legal.
    """
    # LiteDRAM asks for 100 cycles between two refreshes.
    check_integer("clock_hz", clock_hz, 13_000_000, _FASTEST)
    kind = getattr(_litedram("litedram.modules"), check_choice("name", name, CHIPS))
    found = kind(clock_hz, "1:1")
    geometry, times = found.geom_settings, found.timing_settings
    longest = {key: ceil(time * clock_hz / 1e9) for key, time in _LONGEST.items()}
    ras = times.tRAS or longest["tRAS"]
    return SdramChip(
        name=name,
        clock_hz=clock_hz,
        bank_bits=geometry.bankbits,
        row_bits=geometry.rowbits,
        column_bits=geometry.colbits,
        latency=2,
        activate_to_access=times.tRCD,
        activate_to_precharge=ras,
        activate_to_activate=times.tRC or ras + times.tRP,
        activate_to_other=times.tRRD or longest["tRRD"],
        precharge=times.tRP,
        write_to_precharge=times.tWR,
        refresh=times.tRFC,
        # LiteDRAM rounds it up, and would be late in the end.
        refresh_interval=int(kind.technology_timings.tREFI * clock_hz / 1e9),
    )


def litedram_verilog(chip: SdramChip) -> Path:
    """Write the Verilog of a controller with one port and registered commands, or find it written.

    The module is ``CONTROLLER``. Its ports are those of a native port of LiteDRAM and of one phase
    of a DFI, under LiteDRAM's names, ``sys_clk`` and ``sys_rst``. The words of the chip have the
    order row, bank, column.

    Parameters
    ----------
    chip : the chip

    Returns
    -------
    The file, in the cache of ``keep``.

    Raises
    ------
    ToolchainError
        If LiteDRAM is not installed.
    """
    modules = ("litedram.common", "litedram.core.controller", "litedram.core.crossbar", "migen")
    common, controller, crossbar, migen = (_litedram(module) for module in modules)
    versions = [metadata.version(package) for package in ("litedram", "litex", "migen")]
    key = "\0".join([*versions, repr(sorted(asdict(chip).items())), Path(__file__).read_text()])
    with keep("litedram", key) as (folder, making):
        if making is not None:
            top = migen.Module()
            top.submodules.controller = core = controller.LiteDRAMController(
                common.PhySettings(
                    phytype="GENSDRPHY",
                    memtype="SDR",
                    databits=DATA_BITS,
                    dfi_databits=DATA_BITS,
                    nphases=1,
                    rdphase=0,
                    wrphase=0,
                    cl=chip.latency,
                    # From the command at the DFI: a register at the pins on the way out. The word
                    # is in the register at the pins on the way in.
                    read_latency=chip.latency + 1,
                    write_latency=0,
                ),
                common.GeomSettings(chip.bank_bits, chip.row_bits, chip.column_bits),
                common.TimingSettings(
                    tRP=chip.precharge,
                    tRCD=chip.activate_to_access,
                    tWR=chip.write_to_precharge,
                    tWTR=2,
                    tREFI=chip.refresh_interval,
                    tRFC=chip.refresh,
                    tFAW=None,
                    tCCD=1,
                    tRRD=chip.activate_to_other,
                    tRC=chip.activate_to_activate,
                    tRAS=chip.activate_to_precharge,
                    tZQCS=None,
                ),
                chip.clock_hz,
            )
            top.submodules.crossbar = ports = crossbar.LiteDRAMCrossbar(core.interface)
            port, phase = ports.get_port(), core.dfi.p0
            pins = {port.cmd.valid, port.cmd.ready, port.cmd.we, port.cmd.addr}
            pins |= {port.wdata.ready, port.wdata.data, port.wdata.we}
            pins |= {port.rdata.valid, port.rdata.data}
            pins |= {phase.address, phase.bank, phase.ras_n, phase.cas_n, phase.we_n}
            pins |= {phase.wrdata, phase.wrdata_en, phase.wrdata_mask, phase.rddata}
            text = import_module("migen.fhdl.verilog").convert(top, pins, name=CONTROLLER)
            (making / f"{CONTROLLER}.v").write_text(f"{_LINT}{text}")
    return folder / f"{CONTROLLER}.v"
