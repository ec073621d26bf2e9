"""Register map of the AXI wrapper: the one source of its decoder, its page and its constants."""

from dataclasses import dataclass

__all__ = [
    "ACCESS",
    "ADDRESS_BITS",
    "MAGIC",
    "MAP_VERSION",
    "REGISTERS",
    "Field",
    "Register",
]

#: Of a byte address; what is not in ``REGISTERS`` is refused.
ADDRESS_BITS = 12


#: ``TRIL`` in ASCII, T highest.
MAGIC = 0x5452494C


#: Major, minor. Another minor adds registers; another major changes what is there.
MAP_VERSION = (1, 0)


#: Kinds of access, and their meanings.
ACCESS = {
    "ro": "read only; a write is answered with SLVERR",
    "rw": "read and write, byte by byte as WSTRB says",
    "flags": "events set bits, writing 1 clears them; an event in the same clock wins",
    "command": "writing 1 does it; reads 0",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits of a register.

    Parameters
    ----------
    name : lower case
    lsb, width : place
    meaning : in a sentence
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
    name : lower case
    offset : byte address, a multiple of 4
    access : ``ro``, ``rw``, ``flags`` (set by events, cleared by writing 1) or ``command`` (writing
        1 does it, reads 0)
    meaning : of the whole
    fields : its bits, lowest first; none where it is one number of 32 bits
    """

    name: str
    offset: int
    access: str
    meaning: str
    fields: tuple[Field, ...] = ()

    @property
    def width(self) -> int:
        """Bits up to the highest that means something."""
        return max((field.lsb + field.width for field in self.fields), default=32)


_ERRORS = (
    Field(name="weight", lsb=0, meaning="an illegal weight code; it counted as 0"),
    Field(name="activation", lsb=1, meaning="an illegal activation (act_bits 2); it counted as 0"),
    Field(name="job", lsb=2, meaning="a job out of range; it was dropped and takes no data"),
    Field(name="job_lost", lsb=3, meaning="a start while queue_room was 0; it was dropped"),
    Field(name="weights_frame", lsb=4, meaning="TLAST inside a weight beat; its bytes dropped"),
    Field(name="weights_keep", lsb=5, meaning="TKEEP with holes; the word counted as full"),
    Field(name="activations_frame", lsb=6, meaning="TLAST inside a beat; its bytes dropped"),
    Field(name="activations_keep", lsb=7, meaning="TKEEP with holes; the word counted as full"),
)


#: In the order of their addresses.
REGISTERS = (
    Register(name="magic", offset=0x00, access="ro", meaning="0x5452494C, ASCII TRIL"),
    Register(
        name="version",
        offset=0x04,
        access="ro",
        meaning="of this map",
        fields=(
            Field(name="minor", lsb=0, width=16, meaning="another adds registers"),
            Field(name="major", lsb=16, width=16, meaning="another changes what is there"),
        ),
    ),
    Register(name="lanes", offset=0x08, access="ro", meaning="values of an activation beat"),
    Register(name="rows", offset=0x0C, access="ro", meaning="values of a result beat"),
    Register(name="tokens", offset=0x10, access="ro", meaning="most activation vectors of a job"),
    Register(name="act_bits", offset=0x14, access="ro", meaning="bits of an activation"),
    Register(
        name="code",
        offset=0x18,
        access="ro",
        meaning="of weights: 0 base3, 1 escape, 2 tq1, 3 two_bit, 4 binary",
    ),
    Register(name="k_max", offset=0x1C, access="ro", meaning="largest K of a job"),
    Register(name="n_max", offset=0x20, access="ro", meaning="largest N of a job"),
    Register(
        name="acc_width", offset=0x24, access="ro", meaning="bits of a result before its extension"
    ),
    Register(name="weight_bytes", offset=0x28, access="ro", meaning="of a weight beat"),
    Register(name="activation_bytes", offset=0x2C, access="ro", meaning="of an activation beat"),
    Register(name="queue_depth", offset=0x30, access="ro", meaning="jobs that the queue holds"),
    Register(
        name="bus_bytes",
        offset=0x34,
        access="ro",
        meaning="bytes of a bus word",
        fields=(
            Field(name="weights", lsb=0, width=8, meaning="of s_axis_weights"),
            Field(name="activations", lsb=8, width=8, meaning="of s_axis_activations"),
            Field(name="results", lsb=16, width=8, meaning="of m_axis_results"),
        ),
    ),
    Register(
        name="control",
        offset=0x40,
        access="command",
        meaning="commands",
        fields=(
            Field(
                name="reset",
                lsb=0,
                meaning="drop all jobs and all data in the engine and its streams; a result word "
                "that is offered stays until it is taken; registers keep their values",
            ),
            Field(name="clear_counters", lsb=1, meaning="set the counters from cycles on to 0"),
        ),
    ),
    Register(
        name="status",
        offset=0x44,
        access="ro",
        meaning="what goes on",
        fields=(
            Field(name="busy", lsb=0, meaning="jobs are queued or run, or results wait"),
            Field(name="queue_room", lsb=8, width=8, meaning="jobs that can be started now"),
        ),
    ),
    Register(name="error", offset=0x48, access="flags", meaning="by cause", fields=_ERRORS),
    Register(
        name="interrupt_enable",
        offset=0x4C,
        access="rw",
        meaning="irq is high while a pending bit and its bit here are",
        fields=(
            Field(name="job_done", lsb=0, meaning="as in interrupt_pending"),
            Field(name="error", lsb=1, meaning="as in interrupt_pending"),
        ),
    ),
    Register(
        name="interrupt_pending",
        offset=0x50,
        access="flags",
        meaning="what has happened",
        fields=(
            Field(name="job_done", lsb=0, meaning="the last result word of a job was taken"),
            Field(name="error", lsb=1, meaning="a bit of error was set, or set again"),
        ),
    ),
    Register(name="job_n", offset=0x60, access="rw", meaning="N, outputs of the next job"),
    Register(name="job_k", offset=0x64, access="rw", meaning="K, inputs of the next job"),
    Register(name="job_tokens", offset=0x68, access="rw", meaning="its activation vectors"),
    Register(
        name="job_group_chunks",
        offset=0x6C,
        access="rw",
        meaning="0: one result per output; else a partial result every so many chunks",
    ),
    Register(
        name="job_reuse",
        offset=0x70,
        access="rw",
        meaning="how the next job gets its activations",
        fields=(Field(name="reuse", meaning="keep what is loaded: same K, no more tokens"),),
    ),
    Register(
        name="job_start",
        offset=0x74,
        access="command",
        meaning="of the job that the registers above describe",
        fields=(Field(name="start", meaning="put it into the queue; the registers stay"),),
    ),
    Register(name="cycles", offset=0x80, access="ro", meaning="clocks in which busy was high"),
    Register(name="jobs_done", offset=0x84, access="ro", meaning="jobs whose results were taken"),
    Register(name="weight_beats", offset=0x88, access="ro", meaning="taken by the engine"),
    Register(
        name="wait_weights",
        offset=0x8C,
        access="ro",
        meaning="clocks in which the engine could take a weight beat and there was none",
    ),
    Register(
        name="wait_activations",
        offset=0x90,
        access="ro",
        meaning="clocks in which the engine could take an activation beat and there was none",
    ),
    Register(
        name="wait_results",
        offset=0x94,
        access="ro",
        meaning="clocks in which the engine had a result beat and m_axis_results no room for it",
    ),
)
