"""Packers of operands as source code, in C and in Python, for users of an exported engine."""

from collections.abc import Iterator
from itertools import accumulate

from ...golden.codes import CODES
from ...golden.matmul import activation_range
from ...golden.templates import render
from ..axi.wrapper import RESULT_BYTES
from ..config import MatVecConfig
from ..jobs import job_fields
from .weight_code import describe_code, encoding

__all__ = ["packing_texts"]


def packing_texts(config: MatVecConfig, *, top: str, stem: str, axi: bool) -> Iterator[str]:
    """Write the packers: ``<stem>_pack.h`` and ``<stem>_pack.py``.

    They pack weights and activations into beats, and unpack results. Without AXI they also pack
    jobs. Neither needs any other file.

    Parameters
    ----------
    config : the engine
    top : name of its top module, with which the names in C begin
    stem : stem of the files' names
    axi : whether the engine is behind AXI, where registers take jobs, and results have whole bytes

    Yields
    ------
    C99, which is also C++, and Python 3.
    """
    fields = {} if axi else job_fields(config)
    result_bits = 8 * RESULT_BYTES if axi else config.acc_width
    low, high = activation_range(config.act_bits)
    values = {
        "config": config,
        "top": top,
        "stem": stem,
        "code": describe_code(config),
        "encoding": encoding(CODES[config.code]),
        "activation_bytes": -(-config.lanes * config.act_bits // 8),
        "lowest": low,
        "highest": high,
        "result_bits": result_bits,
        # The flag ``last`` stands above the values; behind AXI it is TLAST.
        "result_bytes": -(-(config.rows * result_bits + (not axi)) // 8),
        "job_offsets": dict(zip(fields, accumulate(fields.values(), initial=0), strict=False)),
        "job_bytes": -(-sum(fields.values()) // 8),
    }
    for template in ("pack.h.jinja", "pack.py.jinja"):
        yield render("trilith.hw.export", template, **values)
