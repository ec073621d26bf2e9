"""The two wires of a board, as levels in each cycle."""

import numpy as np

#: Bits of a byte on the line.
BITS = 10


def to_line(divisor, data):
    """Levels of the line that sends bytes back to back."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8)[:, np.newaxis], axis=1, bitorder="little")
    framed = np.pad(bits, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    return np.repeat(framed.reshape(-1), divisor)


def from_line(divisor, line):
    """Bytes on the line, and the cycle at which each began."""
    data, starts, clock = bytearray(), [], 0
    falls = np.flatnonzero((line[:-1] == 1) & (line[1:] == 0)) + 1
    for fall in falls:
        if fall < clock or fall + BITS * divisor > len(line):
            continue
        bits = line[fall + divisor // 2 :: divisor][:BITS]
        assert bits[9] == 1
        data.append(int(np.packbits(bits[1:9], bitorder="little")[0]))
        starts.append(int(fall))
        clock = fall + BITS * divisor - divisor // 2
    return bytes(data), starts
