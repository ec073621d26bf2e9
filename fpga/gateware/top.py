"""Top level of a board: engine, weight memory and host link, behind two wires."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import TopConfig
from .session import Session
from .taking import connect_session

__all__ = ["BoardTop"]


class BoardTop(wiring.Component):
    """A matrix–vector engine, its weights, and a link to a host; PROTOCOL.md defines the link.

    ``connect_session`` decides which frames are taken. ``Session`` executes them.

    Latency: a frame is executed from the fourth cycle after its closing delimiter on. Throughput:
    the link moves up to 0.95 bytes of payload in the time of a byte, in both directions at once. A
    job's results wait in a queue until they are sent; if it is full, the engine waits.

    Parameters
    ----------
    config : configuration of the top level

    Members
    -------
    rx : In(1); the receiving line of the UART, high when idle, asynchronous
    tx : Out(1); the sending line of the UART, high when idle
    active : Out(1); something moves that does not wait for the host; for the activity LED

    Raises
    ------
    TypeError
        If ``config`` is not a ``TopConfig``.
    """

    def __init__(self, config: TopConfig) -> None:
        if not isinstance(config, TopConfig):
            raise TypeError(f"config must be a TopConfig, not {config!r}")
        self._config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1)})

    @property
    def config(self) -> TopConfig:
        """Configuration of the top level."""
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        connect_session(m, self, Session(self._config), divisor=self._config.divisor)
        return m
