"""Registers behind AXI4-Lite."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .registers import ADDRESS_BITS, Register

__all__ = ["RegisterBank", "axi_lite"]

_OKAY, _SLVERR = 0, 2


def axi_lite() -> wiring.Signature:
    """AXI4-Lite of 32 bits as its manager sees it."""
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
    """Serves a register map to AXI4-Lite.

    A write is taken when its address and its data are there, and answered with SLVERR where no
    register or a read-only one is; a read likewise. The two lowest bits of an address and AWPROT
    and ARPROT are ignored. No output depends on an input of the same clock.

    Latency: a write is taken in the clock after both halves are offered, takes effect at the end of
    that clock, and is answered in the next; a read is taken in the clock after it is offered and
    answered two clocks later. Throughput: a write every 3 clocks, a read every 4.

    Parameters
    ----------
    registers : the map

    Members
    -------
    axi : In(``axi_lite``)
    <register> : a member per register, as wide as its ``width``: ``ro``: In, what is read;
        ``rw``: Out, what was written; ``command``: Out, high for a clock where 1 was written;
        ``flags``: Out, the bits that are set
    <register>_set : of ``flags`` only: In, sets bits
    """

    def __init__(self, registers: Sequence[Register]) -> None:
        self._registers = registers
        members = {"axi": In(axi_lite())}
        for register in registers:
            flow = In if register.access == "ro" else Out
            members[register.name] = flow(register.width)
            if register.access == "flags":
                members[f"{register.name}_set"] = In(register.width)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi

        write = Signal()
        m.d.comb += [axi.wready.eq(axi.awready), write.eq(axi.awready)]
        m.d.sync += axi.awready.eq(axi.awvalid & axi.wvalid & ~axi.awready & ~axi.bvalid)
        with m.If(write):
            m.d.sync += axi.bvalid.eq(1)
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)

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

        lanes = Cat(strobe.replicate(8) for strobe in axi.wstrb)
        ones = Signal(32)  # Bits that are written as 1.
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
