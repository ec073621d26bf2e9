"""Parts of ``make sim``, in a module that imports neither NumPy nor cocotb."""

from enum import StrEnum

__all__ = ["Part"]


class Part(StrEnum):
    """Parts of the suite, in the order in which they run.

    Members
    -------
    SWEEP : random jobs and corner cases, over configurations and shapes
    DIGITS : a trained network that classifies images of handwritten digits
    LANGUAGE : a trained language model that generates text
    BITNET : every matrix of a transformer layer of BitNet b1.58 2B4T
    AXI : jobs through the AXI wrapper, with random pauses on its buses
    CORE : the token core, which runs whole tokens of the trained language model
    """

    SWEEP = "sweep"
    DIGITS = "digits"
    LANGUAGE = "language"
    BITNET = "bitnet"
    AXI = "axi"
    CORE = "core"
