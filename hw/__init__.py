"""Hardware generator, in Amaranth: weight decoders, dot products, the engine and its exports."""

from typing import TYPE_CHECKING

from ..golden.lazy import lazy_names

if TYPE_CHECKING:
    from .axi.wrapper import AxiMatVec, BusWidths
    from .config import PRESETS, MatVecConfig
    from .engine.dot import DotProduct
    from .engine.engine import MatVecEngine
    from .engine.weight_decoder import BeatDecoder

__all__ = [
    "PRESETS",
    "AxiMatVec",
    "BeatDecoder",
    "BusWidths",
    "DotProduct",
    "MatVecConfig",
    "MatVecEngine",
]

__getattr__ = lazy_names(
    __name__,
    {
        "AxiMatVec": "axi.wrapper",
        "BeatDecoder": "engine.weight_decoder",
        "BusWidths": "axi.wrapper",
        "DotProduct": "engine.dot",
        "MatVecConfig": "config",
        "MatVecEngine": "engine.engine",
        "PRESETS": "config",
    },
)
