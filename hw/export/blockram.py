"""How many block RAMs a memory takes, by family. All counts are modelled, from shapes alone."""

from dataclasses import dataclass

from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.results import queue_words, results_shape

__all__ = ["FAMILIES", "Family", "buffer_blocks", "queue_blocks"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """An FPGA family and its block RAM.

    Parameters
    ----------
    name : key in ``FAMILIES``
    primitive : what its block RAM is called
    shapes : depth and width of each way to use one with a write port and a read port
    device : the largest device that the name stands for
    available : block RAMs in that device
    queue_in_blocks : the family has no LUT RAM, so that the result queue takes block RAM too
    """

    name: str
    primitive: str
    shapes: tuple[tuple[int, int], ...]
    device: str
    available: int
    queue_in_blocks: bool = False

    def blocks(self, width: int, depth: int) -> int:
        """Blocks for a memory of ``depth`` words of ``width`` bits, in the best single shape."""
        return min(-(-width // w) * -(-depth // d) for d, w in self.shapes)


def _shapes(depth: int, width: int) -> tuple[tuple[int, int], ...]:
    """Shapes of a block with parity bits: halving the width doubles the depth, from 9 to 4 less."""
    shapes = []
    while width:
        shapes.append((depth, width))
        depth, width = 2 * depth, 4 if width == 9 else width // 2
    return tuple(shapes)


#: The families by name.
FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="xc7",
            primitive="RAMB36E1",
            shapes=_shapes(512, 72),
            device="XC7VX1140T",
            available=1880,
        ),
        Family(
            name="xcup",
            primitive="RAMB36E2",
            shapes=_shapes(512, 72),
            device="XCVU13P",
            available=2688,
        ),
        Family(
            name="ecp5",
            primitive="DP16KD",
            shapes=_shapes(512, 36),
            device="LFE5U-85F",
            available=208,
        ),
        Family(
            name="ice40up5k",
            primitive="SB_RAM40_4K",
            shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
            device="iCE40UP5K",
            available=30,
            queue_in_blocks=True,
        ),
        Family(
            name="gw1n9",
            primitive="SDPB",
            shapes=_shapes(512, 36),
            device="GW1N-9",
            available=26,
        ),
        Family(
            name="gw2a18",
            primitive="SDPB",
            shapes=_shapes(512, 36),
            device="GW2A-18",
            available=46,
        ),
    )
}


def buffer_blocks(config: MatVecConfig, family: Family) -> int:
    """Block RAMs of the activation buffer: a memory per token, with its own write enable."""
    return config.tokens * family.blocks(config.lanes * config.act_bits, 2 * config.max_chunks)


def queue_blocks(config: MatVecConfig, family: Family) -> int:
    """Block RAMs of the result queue, 0 where the family has LUT RAM for it."""
    if not family.queue_in_blocks:
        return 0
    engine = MatVecEngine(config)
    engine._MustUse__silence = True  # Only its figures are wanted, and Amaranth warns of that.
    return family.blocks(results_shape(config).size, queue_words(engine.queue_depth))
