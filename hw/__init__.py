"""The hardware generator: decoders, dot products and the engine, in Amaranth."""

from .axi import AxiMatVec, BusWidths
from .config import PRESETS, MatVecConfig
from .decoder import BeatDecoder
from .dot import DotProduct
from .engine import MatVecEngine

__all__ = [
    "PRESETS",
    "AxiMatVec",
    "BeatDecoder",
    "BusWidths",
    "DotProduct",
    "MatVecConfig",
    "MatVecEngine",
]
