"""Register map of the AXI wrapper: the one source of its logic, its page and its constants."""

from dataclasses import dataclass

from ..checks import check_choice
from ..config import WeightCode

__all__ = [
    "ACCESS",
    "ADDRESS_BITS",
    "MAGIC",
    "MAP_VERSION",
    "REGISTERS",
    "Field",
    "Register",
]

#: Byte-address width, in bits; unmapped addresses return SLVERR.
ADDRESS_BITS = 12


#: Value of the register ``magic``: ``TRIL`` in ASCII, T in the highest byte.
MAGIC = 0x5452494C


#: Major and minor version of this map. A new minor version adds registers; a new major version
#: changes existing ones.
MAP_VERSION = (1, 0)


#: Kinds of access, and their meanings.
ACCESS = {
    "ro": "read only; a write returns SLVERR",
    "rw": "read and write; WSTRB selects the bytes that a write changes",
    "flags": "events set bits; writing 1 clears a bit, unless its event comes in the same cycle",
    "command": "writing 1 starts the command; reads return 0",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """Named bits of a register.

    Parameters
    ----------
    name : in lower case
    lsb : lowest bit, 0 to 31
    width : number of bits, 1 or more; the highest bit is at most 31
    meaning : a noun phrase, for the page of the map and the constants
    """

    name: str
    lsb: int = 0
    width: int = 1
    meaning: str

    @property
    def mask(self) -> int:
        """Number with ones in the places of the field."""
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True, kw_only=True)
class Register:
    """Thirty-two bits at an address.

    Parameters
    ----------
    name : in lower case
    offset : byte address, a multiple of 4
    access : a key of ``ACCESS``
    meaning : a noun phrase that describes the whole register
    fields : named bits, lowest first; empty for one number of 32 bits

    Raises
    ------
    ValueError
        If ``access`` is unknown, or ``offset`` is not a legal address.
    """

    name: str
    offset: int
    access: str
    meaning: str
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        check_choice("access", self.access, ACCESS)
        if self.offset % 4 or not 0 <= self.offset < 2**ADDRESS_BITS:
            raise ValueError(
                f"offset must be a multiple of 4 below {2**ADDRESS_BITS}, not {self.offset}"
            )

    @property
    def width(self) -> int:
        """Number of bits up to the highest named one; 32 without fields."""
        return max((field.lsb + field.width for field in self.fields), default=32)


_ERRORS = (
    Field(name="weight", lsb=0, meaning="illegal weight code, which counted as 0"),
    Field(name="activation", lsb=1, meaning="illegal activation (act_bits 2), which counted as 0"),
    Field(name="job", lsb=2, meaning="job out of range, which was dropped and takes no data"),
    Field(name="job_lost", lsb=3, meaning="start with queue_room 0, which was dropped"),
    Field(
        name="weights_frame", lsb=4, meaning="TLAST inside a weight beat, whose bytes were dropped"
    ),
    Field(name="weights_keep", lsb=5, meaning="illegal TKEEP; the word counted as full"),
    Field(name="activations_frame", lsb=6, meaning="TLAST inside a beat, whose bytes were dropped"),
    Field(name="activations_keep", lsb=7, meaning="illegal TKEEP; the word counted as full"),
)


#: Registers in the order of their addresses.
REGISTERS = (
    Register(
        name="magic", offset=0x00, access="ro", meaning="identification, 0x5452494C (ASCII TRIL)"
    ),
    Register(
        name="version",
        offset=0x04,
        access="ro",
        meaning="version of this register map",
        fields=(
            Field(name="minor", lsb=0, width=16, meaning="minor version; a new one adds registers"),
            Field(
                name="major",
                lsb=16,
                width=16,
                meaning="major version; a new one changes existing registers",
            ),
        ),
    ),
    Register(
        name="lanes", offset=0x08, access="ro", meaning="number of values in an activation beat"
    ),
    Register(name="rows", offset=0x0C, access="ro", meaning="number of values in a result beat"),
    Register(
        name="tokens",
        offset=0x10,
        access="ro",
        meaning="largest number of activation vectors of a job",
    ),
    Register(name="act_bits", offset=0x14, access="ro", meaning="width of an activation, in bits"),
    Register(
        name="code",
        offset=0x18,
        access="ro",
        meaning="weight code: "
        + ", ".join(f"{number} {code}" for number, code in enumerate(WeightCode)),
    ),
    Register(name="k_max", offset=0x1C, access="ro", meaning="largest K of a job"),
    Register(name="n_max", offset=0x20, access="ro", meaning="largest N of a job"),
    Register(
        name="acc_width",
        offset=0x24,
        access="ro",
        meaning="width of a result before its sign extension, in bits",
    ),
    Register(
        name="weight_bytes", offset=0x28, access="ro", meaning="size of a weight beat, in bytes"
    ),
    Register(
        name="activation_bytes",
        offset=0x2C,
        access="ro",
        meaning="size of an activation beat, in bytes",
    ),
    Register(
        name="queue_depth", offset=0x30, access="ro", meaning="capacity of the job queue, in jobs"
    ),
    Register(
        name="bus_bytes",
        offset=0x34,
        access="ro",
        meaning="sizes of the bus words, in bytes",
        fields=(
            Field(name="weights", lsb=0, width=8, meaning="word of s_axis_weights"),
            Field(name="activations", lsb=8, width=8, meaning="word of s_axis_activations"),
            Field(name="results", lsb=16, width=8, meaning="word of m_axis_results"),
        ),
    ),
    Register(
        name="control",
        offset=0x40,
        access="command",
        meaning="commands to the whole engine",
        fields=(
            Field(
                name="reset",
                lsb=0,
                meaning="reset of the engine and its streams, which drops all jobs and data; an "
                "offered result word stays until it is taken; registers keep their values",
            ),
            Field(
                name="clear_counters",
                lsb=1,
                meaning="reset of the counters from cycles to wait_results to 0",
            ),
        ),
    ),
    Register(
        name="status",
        offset=0x44,
        access="ro",
        meaning="state of the engine and of the job queue",
        fields=(
            Field(name="busy", lsb=0, meaning="activity: a job is queued or runs, or results wait"),
            Field(
                name="queue_room",
                lsb=8,
                width=8,
                meaning="number of jobs that the queue accepts now",
            ),
        ),
    ),
    Register(name="error", offset=0x48, access="flags", meaning="error flags", fields=_ERRORS),
    Register(
        name="interrupt_enable",
        offset=0x4C,
        access="rw",
        meaning="interrupt mask; irq is high while an enabled bit is pending",
        fields=(
            Field(name="job_done", lsb=0, meaning="enable of the bit in interrupt_pending"),
            Field(name="error", lsb=1, meaning="enable of the bit in interrupt_pending"),
        ),
    ),
    Register(
        name="interrupt_pending",
        offset=0x50,
        access="flags",
        meaning="pending interrupts",
        fields=(
            Field(name="job_done", lsb=0, meaning="end of a job: its last result word was taken"),
            Field(
                name="error",
                lsb=1,
                meaning="error: a flag of the register error was set, or set again",
            ),
        ),
    ),
    Register(
        name="job_n", offset=0x60, access="rw", meaning="N, number of outputs of the next job"
    ),
    Register(name="job_k", offset=0x64, access="rw", meaning="K, number of inputs of the next job"),
    Register(
        name="job_tokens",
        offset=0x68,
        access="rw",
        meaning="number of activation vectors of the next job",
    ),
    Register(
        name="job_group_chunks",
        offset=0x6C,
        access="rw",
        meaning="chunks per partial result of the next job; 0 for one result per output",
    ),
    Register(
        name="job_reuse",
        offset=0x70,
        access="rw",
        meaning="source of the activations of the next job",
        fields=(
            Field(name="reuse", meaning="reuse of the loaded ones; same K, at most as many tokens"),
        ),
    ),
    Register(
        name="job_start",
        offset=0x74,
        access="command",
        meaning="start of the job that the registers above describe",
        fields=(
            Field(
                name="start",
                meaning="entry of the job into the queue; the registers keep their values",
            ),
        ),
    ),
    Register(name="cycles", offset=0x80, access="ro", meaning="counter of cycles with busy high"),
    Register(
        name="jobs_done",
        offset=0x84,
        access="ro",
        meaning="counter of jobs whose results were all taken",
    ),
    Register(
        name="weight_beats",
        offset=0x88,
        access="ro",
        meaning="counter of weight beats that the engine accepted",
    ),
    Register(
        name="wait_weights",
        offset=0x8C,
        access="ro",
        meaning="counter of cycles in which the engine was ready for a weight beat and had none",
    ),
    Register(
        name="wait_activations",
        offset=0x90,
        access="ro",
        meaning="counter of cycles in which the engine was ready for an activation beat and had "
        "none",
    ),
    Register(
        name="wait_results",
        offset=0x94,
        access="ro",
        meaning="counter of cycles in which a result beat waited for room on m_axis_results",
    ),
)
