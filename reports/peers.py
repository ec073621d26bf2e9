"""Area of other projects' hardware, measured with the command that measures ours."""

from dataclasses import dataclass
from pathlib import Path

from ..fpga.flow.blocks import blocks_needed
from ..sim.cost.datafiles import read_data
from ..sim.tools.records import record

__all__ = ["PEER_COMMAND", "PEER_FAMILY", "Peer", "peers"]

_FILE = Path(__file__).with_suffix(".toml")

#: Family of FPGAs and command of these measurements.
PEER_FAMILY: str = read_data(_FILE)["family"]
PEER_COMMAND: str = read_data(_FILE)["command"]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Area of another project's unit.

    Parameters
    ----------
    design : name of the project and its unit
    what : what the figures cover
    lut_per_mac, ff_per_mac : LUT6 and flip-flops per MAC and cycle
    source : repository of the hardware
    date : year and month of the measurement
    label : the label of these figures
    """

    design: str
    what: str
    lut_per_mac: float
    ff_per_mac: float
    source: str
    date: str
    label: str = "measured by us, same command"

    @property
    def blocks_per_mac(self) -> float:
        """CLBs per MAC and cycle, see ``blocks_needed``."""
        return blocks_needed(PEER_FAMILY, self.lut_per_mac, self.ff_per_mac)


def peers() -> tuple[Peer, ...]:
    """Read the units of ``peers.toml``, in the order of the file."""
    entries = read_data(_FILE)["peer"]
    return tuple(record(Peer, entry, f"{_FILE}: peer") for entry in entries)
