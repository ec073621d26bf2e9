"""Register bank behind AXI4-Lite."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .registers import ADDRESS_BITS, Register

__all__ = ["RegisterBank", "axi_lite"]

#: Responses of AXI4-Lite (BRESP, RRESP): success, and an error of the subordinate.
_OKAY, _SLVERR = 0, 2


def axi_lite() -> wiring.Signature:
    """Signature of AXI4-Lite with 32 data bits, from the manager's side.

    The names and widths are those of AMBA AXI4-Lite (ARM IHI 0022), in lower case.
    """
    return wiring.Signature(
        {
            "awaddr": Out(ADDRESS_BITS),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(ADDRESS_BITS),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


class RegisterBank(wiring.Component):
    """Register bank: connects a register map to AXI4-Lite.

    The bank accepts a write when both its address and its data are offered. A write to an unmapped
    or a read-only register returns SLVERR, and so does a read of an unmapped address. The bank
    ignores the two lowest bits of an address, AWPROT and ARPROT. No output depends on an input of
    the same cycle. If the manager offers a transfer in cycle 0, the transfer has these steps:

    =====  =====================================  ==========================================
    cycle  write                                  read
    =====  =====================================  ==========================================
    0      AWVALID and WVALID are both high       ARVALID is high
    1      AWREADY and WREADY: it is accepted     ARREADY: it is accepted
    2      the register has changed; BVALID       the register is looked up
    3                                             RVALID, with the value that it had in cycle 2
    =====  =====================================  ==========================================

    A response stays until the manager takes it. Until then, no other transfer of its direction is
    accepted. Reads and writes do not wait for each other. A failed write changes nothing, and a
    failed read returns 0. Bits above the width of a register ignore writes and read as 0.

    Latency: a write is accepted in the cycle after address and data are offered, takes effect at
    the end of that cycle, and is answered in the next one. A read is accepted in the cycle after
    its address is offered, and is answered two cycles later. Throughput: one write every 3 cycles,
    one read every 4, if the manager takes each response at once.

    Parameters
    ----------
    registers : the register map; names and offsets are unique

    Raises
    ------
    TypeError
        If an element is not a ``Register``.
    ValueError
        If there is no register, or two registers share a name or an offset.

    Members
    -------
    axi : In(``axi_lite``)
    <register> : one member per register, of the register's width: ``ro``: In, the value to read;
        ``rw``: Out, the value written last, 0 after a reset; ``command``: Out, high in the cycle
        after the acceptance of the write, in each bit written with 1; ``flags``: Out, the bits that
        are set, none after a reset
    <register>_set : for ``flags`` only: In, sets bits; they are high from the next cycle on, even
        if a write clears them in the same cycle
    """

    def __init__(self, registers: Sequence[Register]) -> None:
        if not registers:
            raise ValueError("registers must hold at least one register, not ()")
        for register in registers:
            if not isinstance(register, Register):
                raise TypeError(f"registers must hold instances of Register, not {register!r}")
        for key in ("name", "offset"):
            values = [getattr(register, key) for register in registers]
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"every {key} must be unique, not {value!r} of two registers")
        self._registers = registers
        members = {"axi": In(axi_lite())}
        for register in registers:
            flow = In if register.access == "ro" else Out
            members[register.name] = flow(register.width)
            if register.access == "flags":
                members[f"{register.name}_set"] = In(register.width)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Build the handshakes of both directions, then the logic of each register.

        Unselected registers contribute 0 to the value that is read, so that an OR joins them.
        """
        m = Module()
        axi = self.axi

        # Write channels. Address and data are accepted in the same cycle, and only without a
        # response that waits, so that one register for the response is enough.
        write = Signal()
        m.d.comb += [axi.wready.eq(axi.awready), write.eq(axi.awready)]
        m.d.sync += axi.awready.eq(axi.awvalid & axi.wvalid & ~axi.awready & ~axi.bvalid)
        with m.If(write):
            m.d.sync += axi.bvalid.eq(1)
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)

        # Read channels. The address is stored first: the multiplexer over all registers then has a
        # cycle of its own.
        word = Signal(ADDRESS_BITS - 2)
        looked_up = Signal()
        m.d.sync += [
            axi.arready.eq(axi.arvalid & ~axi.arready & ~looked_up & ~axi.rvalid),
            looked_up.eq(axi.arready),
        ]
        with m.If(axi.arready):
            m.d.sync += word.eq(axi.araddr[2:])
        with m.If(looked_up):
            m.d.sync += axi.rvalid.eq(1)
        with m.Elif(axi.rready):
            m.d.sync += axi.rvalid.eq(0)

        # Each strobe bit covers one byte of the data.
        lanes = Cat(strobe.replicate(8) for strobe in axi.wstrb)
        ones = Signal(32)  # Bits written with 1: commands to start and flags to clear.
        m.d.comb += ones.eq(axi.wdata & lanes)
        readable, writable, values = [], [], []
        for register in self._registers:
            value = getattr(self, register.name)
            here = Signal(name=f"write_{register.name}")
            there = Signal(name=f"read_{register.name}")
            m.d.comb += [
                here.eq(axi.awaddr[2:] == register.offset // 4),
                there.eq(word == register.offset // 4),
            ]
            readable.append(there)
            if register.access != "ro":
                writable.append(here)
            if register.access == "rw":
                with m.If(write & here):
                    m.d.sync += value.eq((value & ~lanes) | ones)
            elif register.access == "command":
                m.d.sync += value.eq(Mux(write & here, ones, 0))
            elif register.access == "flags":
                # An event of the same cycle wins: it is set after the bits are cleared.
                cleared = Mux(write & here, ones[: register.width], 0)
                m.d.sync += value.eq((value & ~cleared) | getattr(self, f"{register.name}_set"))
            if register.access != "command":
                values.append(Mux(there, value, 0))
        with m.If(write):
            m.d.sync += axi.bresp.eq(Mux(Cat(writable).any(), _OKAY, _SLVERR))
        with m.If(looked_up):
            m.d.sync += [
                axi.rdata.eq(reduce(or_, values)),
                axi.rresp.eq(Mux(Cat(readable).any(), _OKAY, _SLVERR)),
            ]
        return m
