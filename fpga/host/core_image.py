"""Place of an image in the memory of a board with a token core."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.model_config import ModelConfig
from ...hw.token.config import TokenConfig
from ...hw.token.image_file import Image
from ...hw.token.plan import CompileError, plan_image
from ...hw.token.program import Op
from ..boards import BOARDS, WEIGHTS_AT, image_bytes
from ..gateware.config import CoreTopConfig
from ..identity import CoreIdentity
from .link import BoardError

__all__ = ["Placement", "check_memory", "fitting_boards_text"]

#: Bytes that the host sends and checks at once: what it repeats if a checksum is wrong.
_BLOCK = 65_536


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Place of an image in a board's memory: the memory of the core, and the weights behind it.

    The keys and values of positions are not sent: a core writes them before it reads them.

    Parameters
    ----------
    image : the image
    """

    image: Image

    @property
    def base(self) -> int:
        """Byte address of the first weight beat."""
        return -(-len(self.image.memory) // WEIGHTS_AT) * WEIGHTS_AT

    @property
    def bytes(self) -> int:
        """Bytes of the memory that a board must have, keys and values included."""
        return self.base + self._weights.nbytes

    @property
    def _weights(self) -> NDArray[np.uint8]:
        """Bytes of the weights, filled to whole words."""
        raw = self.image.weights.reshape(-1)
        return np.pad(raw, (0, -len(raw) % (self.image.config.memory_width // 8)))

    def blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Cut all bytes that do not change into blocks.

        Yields
        ------
        Address of a block, and its bytes: whole memory words, up to 65,536 bytes.
        """
        start = 0
        caches = [_cache(one.fields) for one in self.image.program if one.op is Op.ATTEND]
        memory = self.image.memory
        for low, high in (*sorted(caches), (len(memory), 0)):
            yield from _cut(start, memory[start:low])
            start = high
        yield from _cut(self.base, self._weights)

    def content(self) -> NDArray[np.uint8]:
        """All bytes from address 0 on, for a simulated memory that holds them at its start."""
        content = np.zeros(self.bytes, np.uint8)
        for address, block in self.blocks():
            content[address : address + len(block)] = block
        return content


def _cache(fields: Mapping[str, int]) -> tuple[int, int]:
    """First byte of the keys and values of an instruction ``ATTEND``, and the one behind them."""
    start = fields["address"]
    return start, start + fields["groups"] * (fields["scale_step"] + 2 * fields["row_step"])


def _cut(start: int, data: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut bytes into blocks with their addresses."""
    for place in range(0, len(data), _BLOCK):
        yield start + place, data[place : place + _BLOCK]


def check_memory(identity: CoreIdentity, placement: Placement, where: object) -> None:
    """Check that the memory of a board works, and holds an image.

    Parameters
    ----------
    identity : identity of the board
    placement : the image
    where : its file or its model, for the message

    Raises
    ------
    BoardError
        If the test at the start failed or found another size; or if the image is too large.
    """
    have, found, need = identity.memory_bytes, identity.tested_bytes, placement.bytes
    if not found:
        raise BoardError(
            "the memory must pass the board's test at its start, and failed; connect the board "
            "again, and build its bitstream with a lower clock if that does not help"
        )
    if found != have:
        raise BoardError(
            f"the memory must have the {have} bytes of the bitstream's design, and the test at the "
            f"start found {found}; build a bitstream for the memory chip of this board"
        )
    if need > have:
        raise BoardError(
            f"{where}: must fit the {have} bytes of the board's memory, and takes {need} with its "
            f"keys and values; {fitting_boards_text(placement)}"
        )


def fitting_boards_text(what: Placement | ModelConfig) -> str:
    """Name the boards with a token core that an image fits, or a model that is compiled for each.

    Parameters
    ----------
    what : the image; its model is compiled again for a board with another core; or the sizes of a
        model
    """
    tops = {name: board.top for name, board in BOARDS.items()}
    names = [
        name
        for name, top in tops.items()
        if isinstance(top, CoreTopConfig) and _bytes(what, top.core) <= top.memory.bytes
    ]
    return f"it fits {', '.join(names)}" if names else "it fits no board"


def _bytes(what: Placement | ModelConfig, core: TokenConfig) -> float:
    """Bytes in the memory of a core; infinity if the core cannot run it."""
    if isinstance(what, Placement):
        sizes = what.image.sizes
        fits = all(sizes[name] <= most for name, most in core.maxima.items())
        return what.bytes if fits else inf
    try:
        return image_bytes(plan_image(core, what))
    except CompileError:
        return inf
