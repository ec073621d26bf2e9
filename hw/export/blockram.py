"""Number of block RAMs that the memories of an engine take, by FPGA family.

All numbers are modelled: they follow from the shapes of the memories and of the block RAM alone.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..config import MatVecConfig
from ..engine.results import queue_words, results_shape

__all__ = ["BLOCK_RAMS", "BlockRam", "buffer_blocks", "queue_blocks"]


@dataclass(frozen=True, kw_only=True)
class BlockRam:
    """Block RAM of an FPGA family.

    Parameters
    ----------
    primitive : name of the block RAM in the maker's library
    shapes : depth in words and width in bits, for each way to use a block with a write port and a
        read port
    device : largest device that the family stands for
    available : block RAMs in that device
    queue_in_blocks : whether the result queue takes block RAM too, because the family has no LUT
        RAM
    source : documents that state the figures
    """

    primitive: str
    shapes: tuple[tuple[int, int], ...]
    device: str
    available: int
    queue_in_blocks: bool
    source: str

    def blocks(self, width: int, depth: int) -> int:
        """Count the blocks of a memory, all of them used in one shape, the best one.

        Parameters
        ----------
        width : bits of a word
        depth : number of words
        """
        return min(-(-width // w) * -(-depth // d) for d, w in self.shapes)


def _read() -> dict[str, BlockRam]:
    """Read the table of families."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {
        family: BlockRam(**{**row, "shapes": tuple(map(tuple, row["shapes"]))})
        for family, row in table.items()
    }


#: Block RAM by name of the FPGA family.
BLOCK_RAMS = _read()


def buffer_blocks(config: MatVecConfig, ram: BlockRam) -> int:
    """Count the block RAMs of the activation buffer.

    The buffer is one memory for each token, because each token has a write enable of its own.
    """
    return config.tokens * ram.blocks(config.lanes * config.act_bits, 2 * config.max_chunks)


def queue_blocks(config: MatVecConfig, ram: BlockRam) -> int:
    """Count the block RAMs of the result queue: 0 if the family has LUT RAM."""
    if not ram.queue_in_blocks:
        return 0
    return ram.blocks(results_shape(config).size, queue_words(config.queue_depth))
