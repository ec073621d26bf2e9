"""Clocks of boards, and the ratios of their PLLs."""

from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import io

from ...golden.checks import check_kind
from ..boards import BoardDescription

__all__ = ["BoardClock", "xc7_pll"]


class BoardClock(Elaboratable):
    """The domain ``sync`` from the board's crystal, by a PLL if its frequency is another.

    A board with SDRAM also gets the domain ``sdram``, whose edges are a quarter of a period behind
    those of ``sync``: it clocks the chip, which then has a quarter for commands and three quarters
    to answer.

    A reset of 4,096 cycles follows configuration: block RAM of iCE40 reads zeros in the first
    microseconds, and a PLL takes a while to lock.

    Parameters
    ----------
    board : the board, whose top level gives the frequency

    Raises
    ------
    TypeError
        If ``board`` is not a ``BoardDescription``.
    ValueError
        On elaboration, if the PLL cannot make the frequency, or the family has no PLL here.
    """

    def __init__(self, board: BoardDescription) -> None:
        check_kind("board", board, BoardDescription)
        self._board = board

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        hz = self._board.top.clock_hz
        crystal = int(platform.default_clk_frequency)
        pin = platform.request(platform.default_clk, dir="-")
        clock, later = Signal(), Signal()
        locked = Signal(init=1)
        sdram = self._board.has_sdram
        if crystal == hz and not sdram:
            m.submodules.pin = buffer = io.Buffer("i", pin)
            m.d.comb += clock.eq(buffer.i)
        elif self._board.family == "ice40":
            m.submodules.pll = _ice40_instance(crystal, hz, pin.io, clock, locked)
        elif self._board.family == "ecp5":
            m.submodules.pin = buffer = io.Buffer("i", pin)
            m.submodules.pll = _ecp5_instance(crystal, hz, buffer.i, clock, later, locked)
            if sdram:
                m.domains.sdram = ClockDomain(reset_less=True)
                m.d.comb += ClockSignal("sdram").eq(later)
        else:
            raise ValueError(f"clock_hz of this board must be {crystal}, not {hz}")
        m.domains.por = ClockDomain(reset_less=True, local=True)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal("por").eq(clock), ClockSignal("sync").eq(clock)]
        platform.add_clock_constraint(clock, hz)
        count = Signal(12)
        # The register itself is the reset: a gate behind it would be far from most of its users.
        reset = Signal(init=1)
        with m.If(locked & reset):
            m.d.por += count.eq(count + 1)
        m.d.por += reset.eq(reset & ~count.all())
        m.d.comb += ResetSignal("sync").eq(reset)
        return m


def _ice40_instance(crystal: int, hz: int, pad: Any, clock: Signal, locked: Signal) -> Instance:
    """The PLL of an iCE40 behind its clock pad."""
    f, q = _ice40_pll(crystal, hz)
    return Instance(
        "SB_PLL40_PAD",
        p_FEEDBACK_PATH="SIMPLE",
        p_DIVR=Const(0, 4),
        p_DIVF=Const(f - 1, 7),
        p_DIVQ=Const(q, 3),
        p_FILTER_RANGE=Const(1, 3),
        i_PACKAGEPIN=pad,
        i_RESETB=Const(1, 1),
        i_BYPASS=Const(0, 1),
        o_PLLOUTGLOBAL=clock,
        o_LOCK=locked,
    )


def _ecp5_instance(
    crystal: int, hz: int, pin: Any, clock: Signal, later: Signal, locked: Signal
) -> Instance:
    """The PLL of an ECP5: the first output is its feedback, the second ``clock``, the third one is
    ``later`` by a quarter of a period.

    An output is delayed by CPHASE periods of the oscillator and by FPHASE eighths of one (TN1263).
    """
    reference, multiple, divisor = _ecp5_pll(crystal, hz)
    feedback = Signal()
    quarter, eighths = divmod(2 * divisor, 8)
    return Instance(
        "EHXPLLL",
        a_FREQUENCY_PIN_CLKI=str(crystal / 1e6),
        a_FREQUENCY_PIN_CLKOS=str(hz / 1e6),
        a_ICP_CURRENT="12",
        a_LPF_RESISTOR="8",
        p_PLLRST_ENA="DISABLED",
        p_INTFB_WAKE="DISABLED",
        p_STDBY_ENABLE="DISABLED",
        p_DPHASE_SOURCE="DISABLED",
        p_OUTDIVIDER_MUXA="DIVA",
        p_OUTDIVIDER_MUXB="DIVB",
        p_FEEDBK_PATH="CLKOP",
        p_CLKI_DIV=reference,
        p_CLKFB_DIV=1,
        p_CLKOP_ENABLE="ENABLED",
        p_CLKOP_DIV=multiple,
        p_CLKOS_ENABLE="ENABLED",
        p_CLKOS_DIV=divisor,
        p_CLKOS_CPHASE=divisor - 1,
        p_CLKOS_FPHASE=0,
        p_CLKOS2_ENABLE="ENABLED",
        p_CLKOS2_DIV=divisor,
        p_CLKOS2_CPHASE=divisor - 1 + quarter,
        p_CLKOS2_FPHASE=eighths,
        i_CLKI=pin,
        i_CLKFB=feedback,
        i_RST=Const(0, 1),
        i_STDBY=Const(0, 1),
        o_CLKOP=feedback,
        o_CLKOS=clock,
        o_CLKOS2=later,
        o_LOCK=locked,
    )


def _no_pll(crystal: int, hz: int) -> ValueError:
    """Make the error of a frequency that no ratio gives."""
    return ValueError(
        f"clock_hz must be a frequency that the PLL can make of {crystal} Hz, not {hz}"
    )


def _ice40_pll(crystal: int, hz: int) -> tuple[int, int]:
    """F and Q with ``crystal · F / 2**Q = hz`` and an oscillator of 533 to 1066 MHz (TN1251)."""
    for q in range(1, 7):
        f, rest = divmod(hz << q, crystal)
        if not rest and f <= 128 and 533e6 <= crystal * f <= 1066e6:
            return f, q
    raise _no_pll(crystal, hz)


def _ecp5_pll(crystal: int, hz: int) -> tuple[int, int, int]:
    """Divisor of the crystal, multiple of that, and divisor of the result for the clock.

    The oscillator runs at 400 to 800 MHz, the phase detector at 10 MHz or more (TN1263).
    """
    for reference in (1, 2, 4, 5, 8, 10):
        for multiple in range(128, 0, -1):
            fast = crystal // reference * multiple
            if crystal / reference >= 10e6 and 400e6 <= fast <= 800e6 and fast % hz == 0:
                return reference, multiple, fast // hz
    raise _no_pll(crystal, hz)


def xc7_pll(crystal: int, hz: int) -> tuple[int, int]:
    """Find the ratio of a Series 7 PLL (PLLE2_BASE, UG472).

    The oscillator runs at 800 to 1200 MHz, which every speed grade allows.

    Parameters
    ----------
    crystal : frequency of the board's clock in Hz
    hz : frequency to make in Hz

    Returns
    -------
    Multiple (2 to 64) and divisor (1 to 128) with ``crystal · multiple / divisor = hz``.

    Raises
    ------
    ValueError
        If there is no such ratio.
    """
    for multiple in range(64, 1, -1):
        divisor, rest = divmod(crystal * multiple, hz)
        if 800e6 <= crystal * multiple <= 1200e6 and not rest and divisor <= 128:
            return multiple, divisor
    raise _no_pll(crystal, hz)
