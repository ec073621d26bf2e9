"""CPUs and GPUs: operations per second of a kernel's instructions, and the cost of a call."""

from dataclasses import dataclass
from math import inf

from ...golden.checks import check_integer, check_number
from ..tools.errors import estimate_errors
from ..tools.records import record
from .datafiles import DATA, find, read_data

__all__ = ["ISSUE_SHARE", "KERNELS", "RUNTIMES", "IssueShare", "Kernel", "Processor", "Runtime"]

_FILE = DATA / "processors.toml"


@dataclass(frozen=True, kw_only=True)
class IssueShare:
    """Part of the vector instructions that a processor can start which a kernel starts.

    Parameters
    ----------
    share : above 0 and at most 1
    source : systems that it is fitted on
    """

    share: float
    source: str

    def __post_init__(self) -> None:
        with estimate_errors():
            check_number("share", self.share, 1e-6, 1)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Instruction mix of a matrix product.

    Parameters
    ----------
    macs_per_instruction : multiply-accumulates of the inner loop over its vector instructions
    source : program whose instructions are counted
    """

    macs_per_instruction: float
    source: str

    def __post_init__(self) -> None:
        with estimate_errors():
            check_number("macs_per_instruction", self.macs_per_instruction, 1e-6, 1e6)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Time of an operator call beside its arithmetic and its weights.

    Parameters
    ----------
    cycles_per_call : cycles of the clock, for threads of a CPU
    us_per_call : µs, for kernels of a GPU
    source : systems that it is fitted on
    """

    cycles_per_call: float = 0.0
    us_per_call: float = 0.0
    source: str

    def __post_init__(self) -> None:
        with estimate_errors():
            for name in ("cycles_per_call", "us_per_call"):
                check_number(name, getattr(self, name), 0, 1e9)


#: The one share for all processors, from ``data/processors.toml``.
ISSUE_SHARE: IssueShare = record(
    IssueShare, read_data(_FILE)["issue_share"], f"{_FILE}: issue_share"
)

#: Instruction mixes by name, from ``data/processors.toml``.
KERNELS: dict[str, Kernel] = {
    name: record(Kernel, values, f"{_FILE}: kernel.{name}")
    for name, values in read_data(_FILE)["kernel"].items()
}

#: Costs of an operator call by the way that operators start, from ``data/processors.toml``.
RUNTIMES: dict[str, Runtime] = {
    name: record(Runtime, values, f"{_FILE}: runtime.{name}")
    for name, values in read_data(_FILE)["runtime"].items()
}


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A CPU or GPU, and the program that it runs.

    Parameters
    ----------
    cores : cores that have a thread; streaming multiprocessors of a GPU
    instructions_per_cycle : vector instructions that a core can start in a cycle; lanes of a
        streaming multiprocessor
    kernel : instruction mix of the linear layers, a key of ``KERNELS``; None where their arithmetic
        is never the bound
    head_kernel : instruction mix of head and attention
    runtime : how operators start, a key of ``RUNTIMES``
    calls_per_layer, calls_per_token : operator calls of each layer, and of a token beside its
        layers

    Raises
    ------
    TypeError
        If a count is not an integer.
    EstimateError
        If a name is unknown, or a count is not legal.
    """

    cores: int
    instructions_per_cycle: int
    kernel: str | None
    head_kernel: str
    runtime: str
    calls_per_layer: int
    calls_per_token: int

    def __post_init__(self) -> None:
        if self.kernel is not None:
            find("kernel", self.kernel, KERNELS)
        find("kernel", self.head_kernel, KERNELS)
        find("runtime", self.runtime, RUNTIMES)
        with estimate_errors():
            for name in ("cores", "instructions_per_cycle"):
                check_integer(name, getattr(self, name), 1, 2**20)
            for name in ("calls_per_layer", "calls_per_token"):
                check_integer(name, getattr(self, name), 0, 2**20)

    def _rate(self, kernel: str) -> float:
        """Return the multiply-accumulates per cycle of all cores."""
        instructions = self.cores * self.instructions_per_cycle * ISSUE_SHARE.share
        return instructions * KERNELS[kernel].macs_per_instruction

    @property
    def macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle of the linear layers."""
        return inf if self.kernel is None else self._rate(self.kernel)

    @property
    def head_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle of head and attention."""
        return self._rate(self.head_kernel)

    def call_seconds(self, layers: int, clock_mhz: float) -> float:
        """Return the time of all operator calls of a token.

        Parameters
        ----------
        layers : layers of the model
        clock_mhz : clock frequency of the cores, above 0

        Raises
        ------
        EstimateError
            If the clock frequency is not legal.
        """
        with estimate_errors():
            check_number("clock_mhz", clock_mhz, 0.001, 100_000)
        one = RUNTIMES[self.runtime]
        calls = self.calls_per_layer * layers + self.calls_per_token
        return calls * (one.us_per_call + one.cycles_per_call / clock_mhz) * 1e-6
