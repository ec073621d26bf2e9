"""Dot products that the ternary one is compared with, all behind one interface."""

from .baseline import BASELINES, Baseline
from .config import Choice, DotConfig
from .systolic import SystolicArray
from .unit import DotUnit

__all__ = ["BASELINES", "Baseline", "Choice", "DotConfig", "DotUnit", "SystolicArray"]
