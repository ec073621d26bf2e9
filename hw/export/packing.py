"""Packers of operands as source code, in C and in Python, for users of an exported engine."""

from collections.abc import Iterator
from itertools import accumulate

from ...golden.codes import CODES
from ...golden.matmul import activation_range
from ...golden.templates import render
from ..config import MatVecConfig
from ..jobs import job_fields
from .weight_code import describe_code, encoding

__all__ = ["packing_texts"]


def packing_texts(
    config: MatVecConfig, *, top: str, stem: str, result_bits: int, job_word: bool
) -> Iterator[str]:
    """Write the packers: ``<stem>_pack.h`` and ``<stem>_pack.py``.

    They pack weights, activations and, with ``job_word``, jobs into beats, and unpack results.
    Neither needs any other file.

    Parameters
    ----------
    config : the engine
    top : name of its top module, with which the names in C begin
    stem : stem of the files' names
    result_bits : bits of a result in its beat: ``acc_width``, or 32 behind AXI
    job_word : whether the module takes jobs as words; registers take them behind AXI

    Yields
    ------
    C99, which is also C++, and Python 3.
    """
    fields = job_fields(config) if job_word else {}
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
        # The flag ``last`` of the engine stands above the values.
        "result_bytes": -(-(config.rows * result_bits + job_word) // 8),
        "job_offsets": dict(zip(fields, accumulate(fields.values(), initial=0), strict=False)),
        "job_bytes": -(-sum(fields.values()) // 8),
    }
    for template in ("pack.h.jinja", "pack.py.jinja"):
        yield render("trilith.hw.export", template, **values)
