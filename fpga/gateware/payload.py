"""Groups of bytes out of the payloads of frames."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer, check_kind

__all__ = ["PayloadGatherer"]


class PayloadGatherer(wiring.Component):
    """Gathers the bytes of payloads into groups, whose size follows from the kind of the frame.

    Bytes stay until their group is full, so that a group may begin in one frame and end in another.
    All frames between must be of the same kind, because one counter counts the bytes of a group
    for all kinds. A frame without payload yields no group.

    The states of the machine:

    =========== ==================================================================================
    ``idle``    wait for ``start``; keep the kind and the length of the frame
    ``fetch``   the byte at ``address`` is being read; the size of the group follows from the kind
    ``take``    shift the byte in at the top
    ``deliver`` offer the group until it is taken
    =========== ==================================================================================

    Latency: ``2 · size + 1`` cycles from ``start`` to a group, one more for each cycle in which an
    earlier group waits. Throughput: a byte in two cycles, and one cycle more per group.

    Parameters
    ----------
    sizes : bytes of a group by kind of frame; kinds from 0 to 15, sizes of 1 or more; a
        group may be larger than a frame

    Members
    -------
    start : In(1); take the frame that ``kind`` and ``length`` describe; only while ``free``
    kind : In(8); kind of the frame
    length : In(8); bytes of its payload
    address : Out(8); place of a byte in the payload
    payload : In(8); that byte, a cycle later
    free : Out(1); no frame is being gathered, and none starts
    groups : Out(stream); ``kind`` of the frame and ``data``, whose highest bytes are the group,
        first byte lowest; see ``group``

    Raises
    ------
    TypeError
        If ``sizes`` is no mapping from int to int.
    ValueError
        If it is empty, or if a kind or a size is not legal.
    """

    def __init__(self, sizes: Mapping[int, int]) -> None:
        check_kind("sizes", sizes, Mapping)
        if not sizes:
            raise ValueError("sizes must have one kind or more, not be empty")
        self._sizes = sizes = {
            check_integer("a kind", kind, 0, 15): check_integer(f"the size of kind {kind}", size, 1)
            for kind, size in sizes.items()
        }
        kind_bits = max(3, max(sizes).bit_length())
        shape = data.StructLayout({"kind": kind_bits, "data": 8 * max(sizes.values())})
        super().__init__(
            {
                "start": In(1),
                "kind": In(8),
                "length": In(8),
                "address": Out(8),
                "payload": In(8),
                "free": Out(1),
                "groups": Out(stream.Signature(shape)),
            }
        )

    def group(self, kind: int) -> Value:
        """Select the bytes of a group from ``groups``.

        Parameters
        ----------
        kind : kind of the frame, a key of ``sizes``

        Returns
        -------
        The highest ``8 · sizes[kind]`` bits of the gathered data.
        """
        gathered = Value.cast(self.groups.p.data)
        return gathered[len(gathered) - 8 * self._sizes[kind] :]

    def fields(self, kind: int, table: Mapping[str, int]) -> dict[str, Value]:
        """Cut a group into the fields of a table, such as ``frames.JOB``.

        Parameters
        ----------
        kind : kind of the frame, a key of ``sizes``
        table : bytes of each field, the lowest first

        Returns
        -------
        The bits of each field.
        """
        fields, low = {}, 0
        for name, size in table.items():
            fields[name] = self.group(kind)[low : low + 8 * size]
            low += 8 * size
        return fields

    def elaborate(self, platform: object) -> Module:
        m = Module()
        most = max(self._sizes.values())
        # Bytes enter at the top, so that a group of any size ends there.
        gathered = Signal(8 * most, reset_less=True)
        kind = Signal.like(self.groups.p.kind, reset_less=True)
        left = Signal(8, reset_less=True)
        place = Signal(8, reset_less=True)
        wanted = Signal(range(most), reset_less=True)
        # A new session, or a frame that is dropped, begins a group anew.
        count = Signal(range(most))
        m.d.comb += [
            self.address.eq(place),
            self.groups.p.kind.eq(kind),
            self.groups.p.data.eq(gathered),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.free.eq(fsm.ongoing("idle") & ~self.start)
            with m.State("idle"):
                m.d.sync += [kind.eq(self.kind), left.eq(self.length), place.eq(0)]
                with m.If(self.start & (self.length != 0)):
                    m.next = "fetch"
            with m.State("fetch"):
                m.d.sync += place.eq(place + 1)
                with m.Switch(kind):
                    for value, size in self._sizes.items():
                        with m.Case(value):
                            m.d.sync += wanted.eq(size - 1)
                m.next = "take"
            with m.State("take"):
                m.d.sync += [
                    gathered.eq(Cat(gathered[8:], self.payload)),
                    left.eq(left - 1),
                    count.eq(count + 1),
                ]
                with m.If(count == wanted):
                    m.d.sync += count.eq(0)
                    m.next = "deliver"
                with m.Elif(left == 1):
                    m.next = "idle"
                with m.Else():
                    m.next = "fetch"
            with m.State("deliver"):
                m.d.comb += self.groups.valid.eq(1)
                with m.If(self.groups.ready & (left == 0)):
                    m.next = "idle"
                with m.Elif(self.groups.ready):
                    m.next = "fetch"
        return m
