"""Bytes of weight codes that testbenches send."""

import numpy as np

from trilith.golden.codes import CODES


def illegal_bytes(code: str) -> list[int]:
    """Up to eight illegal bytes of a code, the first and the last among them."""
    illegal = [int(byte) for byte in np.flatnonzero(~CODES[code].legal)]
    step = max(1, (len(illegal) - 1) // 6)
    return sorted({*illegal[::step], *illegal[-1:]})
