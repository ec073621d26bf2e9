"""Dot products that the ternary one is compared with, all behind one interface."""

from .baseline import BASELINES, Baseline
from .config import DotConfig
from .unit import DotUnit

__all__ = ["BASELINES", "Baseline", "DotConfig", "DotUnit"]
