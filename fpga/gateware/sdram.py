"""SDRAM behind LiteDRAM's controller: start-up, controller, and registers at the pins."""

from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, io, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_kind
from .backing import backing_port
from .litedram_verilog import CONTROLLER, DATA_BITS, SdramChip, litedram_verilog

__all__ = ["Sdram", "sdram_pins"]

#: Commands by RAS#, CAS# and WE#, the first in the highest bit.
_NOTHING, _PRECHARGE, _REFRESH, _MODE = 0b111, 0b010, 0b001, 0b000

#: Time from the rise of power to the first command, in microseconds, and the refreshes behind it:
#: the most that a data sheet of LiteDRAM's chips asks for.
_POWER_UP, _REFRESHES = 200, 8

#: Cycles from one command of the start to the next, at most 2 ** 4.
_STEP = 16


def sdram_pins(chip: SdramChip) -> wiring.Signature:
    """Signature of the pins of a chip, from the controller's side, without its clock.

    Parameters
    ----------
    chip : the chip

    Members
    -------
    a, ba : Out; row, column or mode, and bank
    ras_n, cas_n, we_n : Out(1); the command; the chip is always selected
    cke : Out(1); enables the clock
    dqm : Out(2); a byte of a write is not written
    dq_o, dq_oe, dq_i : the data: Out(16), Out(1) while they are driven, and In(16)
    """
    return wiring.Signature(
        {
            "a": Out(max(chip.row_bits, chip.column_bits)),
            "ba": Out(chip.bank_bits),
            "ras_n": Out(1, init=1),
            "cas_n": Out(1, init=1),
            "we_n": Out(1, init=1),
            "cke": Out(1),
            "dqm": Out(DATA_BITS // 8),
            "dq_o": Out(DATA_BITS),
            "dq_oe": Out(1),
            "dq_i": In(DATA_BITS),
        }
    )


class Sdram(wiring.Component):
    """An SDRAM chip with 16 data bits, behind a backing port.

    After a reset the start-up commands go to the chip: 200 µs of none, then ``PRECHARGE ALL``, 8
    refreshes, and the mode: bursts of one word, and the latency. Then LiteDRAM's controller takes
    the pins over; no command is accepted before.

    All pins go through registers: with ``pads`` through those of the pads. The clock of the chip
    must come a quarter to a half of a cycle behind ``sync``, so that the chip sees stable commands.
    With ``pads`` it is the clock domain ``sdram``, and leaves through a pad's register, too.

    Latency: 8 cycles from a read of an open row to its word. Throughput: one command per cycle
    within a row; refreshes, and changes of row or bank, take about 10 cycles.

    Parameters
    ----------
    chip : the chip
    pads : the resource ``sdram`` of a platform, requested with ``dir="-"``; None for the members
        ``pins``

    Raises
    ------
    TypeError
        If ``chip`` is not an ``SdramChip``.
    ToolchainError
        When it is elaborated, if LiteDRAM is not installed.

    Members
    -------
    port : In(``backing_port``); its address counts words of 16 bits
    ready : Out(1); the start is over
    pins : Out(``sdram_pins``), without ``pads``
    """

    def __init__(self, chip: SdramChip, pads: Any = None) -> None:
        check_kind("chip", chip, SdramChip)
        self._chip, self._pads = chip, pads
        pins = {"pins": Out(sdram_pins(chip))} if pads is None else {}
        super().__init__(
            {"port": In(backing_port(DATA_BITS, chip.address_bits)), "ready": Out(1), **pins}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        port, verilog = self.port, litedram_verilog(self._chip)
        # The pins in front of their registers.
        pins = sdram_pins(self._chip).create(path=["dfi"])
        command, address, done = self._start(m)
        dfi = {name: Signal.like(getattr(pins, name)) for name in ("a", "ba")}
        controls = {name: Signal(name=f"dfi_{name}") for name in ("ras_n", "cas_n", "we_n")}
        mask, writes = Signal(DATA_BITS // 8), Signal()
        offered, accepts = Signal(), Signal()
        commands = self._queue(m, done, offered, accepts)
        m.submodules.controller = Instance(
            CONTROLLER,
            i_sys_clk=ClockSignal(),
            i_sys_rst=ResetSignal() | ~done,
            i_cmd_valid=offered,
            o_cmd_ready=accepts,
            i_cmd_payload_we=commands.write,
            i_cmd_payload_addr=commands.address,
            o_wdata_ready=port.write_data.ready,
            i_wdata_payload_data=port.write_data.p.data,
            i_wdata_payload_we=port.write_data.p.strobes,
            o_rdata_valid=port.read_data.valid,
            o_rdata_payload_data=port.read_data.data,
            o_dfi_p0_address=dfi["a"],
            o_dfi_p0_bank=dfi["ba"],
            o_dfi_p0_ras_n=controls["ras_n"],
            o_dfi_p0_cas_n=controls["cas_n"],
            o_dfi_p0_we_n=controls["we_n"],
            o_dfi_p0_wrdata=pins.dq_o,
            o_dfi_p0_wrdata_en=writes,
            o_dfi_p0_wrdata_mask=mask,
            i_dfi_p0_rddata=pins.dq_i,
        )
        if platform is not None:
            platform.add_file(verilog.name, verilog.read_text())
        m.d.comb += [
            self.ready.eq(done),
            pins.cke.eq(1),
            pins.a.eq(Mux(done, dfi["a"], address)),
            pins.ba.eq(Mux(done, dfi["ba"], 0)),
            *(
                getattr(pins, name).eq(Mux(done, signal, command[place]))
                for name, signal, place in zip(controls, controls.values(), (2, 1, 0), strict=True)
            ),
            pins.dqm.eq(mask & writes.replicate(len(mask))),
            pins.dq_oe.eq(writes),
        ]
        self._register(m, pins)
        return m

    def _queue(self, m: Module, done: Signal, offered: Signal, accepts: Signal) -> data.View:
        """Put registers between the port and the controller, whose ready comes late in a cycle.

        Parameters
        ----------
        m : module that gets the logic
        done : the start is over
        offered : driven here: a command is offered to the controller
        accepts : the controller accepts it

        Returns
        -------
        The command.
        """
        port = self.port.commands
        command, spare = Signal.like(port.p), Signal.like(port.p)
        waits, moves, given = Signal(), Signal(), Signal()
        m.d.comb += [
            port.ready.eq(done & ~waits),
            given.eq(port.valid & port.ready),
            moves.eq(accepts | ~offered),
        ]
        with m.If(moves):
            m.d.sync += [offered.eq(given | waits), waits.eq(0), command.eq(port.p)]
            with m.If(waits):
                m.d.sync += command.eq(spare)
        with m.Elif(given):
            m.d.sync += waits.eq(1)
        with m.If(~waits):
            m.d.sync += spare.eq(port.p)
        return command

    def _start(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Play the commands with which the chip starts.

        Parameters
        ----------
        m : module that gets the logic

        Returns
        -------
        The command, its address bits, and whether the start is over.
        """
        command, done = Signal(3, init=_NOTHING), Signal()
        address = Signal(max(self._chip.row_bits, self._chip.column_bits))
        step = Signal(range(_REFRESHES + 3))
        power_up = self._chip.clock_hz * _POWER_UP // 1_000_000
        wait = Signal(range(power_up + 1), init=power_up)
        m.d.sync += [command.eq(_NOTHING), wait.eq(wait - 1)]
        with m.If((wait == 0) & ~done):
            m.d.sync += [step.eq(step + 1), wait.eq(_STEP - 1)]
            with m.If(step == 0):
                # A high bit 10 precharges all banks.
                m.d.sync += [command.eq(_PRECHARGE), address.eq(1 << 10)]
            with m.Elif(step <= _REFRESHES):
                m.d.sync += command.eq(_REFRESH)
            with m.Elif(step == _REFRESHES + 1):
                # Latency in bits 6:4, and bursts of one word, which is 0.
                m.d.sync += [command.eq(_MODE), address.eq(self._chip.latency << 4)]
            with m.Else():
                m.d.sync += done.eq(1)
        return command, address, done

    def _register(self, m: Module, pins: wiring.PureInterface) -> None:
        """Put registers at the pins.

        Parameters
        ----------
        m : module that gets the logic
        pins : the pins in front of their registers
        """
        names = ("a", "ba", "ras_n", "cas_n", "we_n", "cke", "dqm")
        if self._pads is None:
            outside = self.pins
            m.d.sync += [
                getattr(outside, name).eq(getattr(pins, name)) for name in (*names, "dq_o", "dq_oe")
            ]
            m.d.sync += pins.dq_i.eq(outside.dq_i)
            return
        pads = self._pads
        levels: dict[str, Value] = {name: getattr(pins, name) for name in names}
        for name, value in (
            ("clk_en", levels["cke"]),
            ("cs", Const(1, 1)),
            # The platform inverts pins that are active low.
            ("ras", ~levels["ras_n"]),
            ("cas", ~levels["cas_n"]),
            ("we", ~levels["we_n"]),
            ("ba", levels["ba"]),
            ("a", levels["a"]),
            ("dqm", levels["dqm"]),
        ):
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(pads, name))
            m.d.comb += buffer.o.eq(value)
        m.submodules.dq = lines = io.FFBuffer("io", pads.dq)
        m.d.comb += [lines.o.eq(pins.dq_o), lines.oe.eq(pins.dq_oe), pins.dq_i.eq(lines.i)]
        m.submodules.clk = clock = io.DDRBuffer("o", pads.clk, o_domain="sdram")
        m.d.comb += clock.o.eq(0b01)
