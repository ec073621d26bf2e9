import numpy as np
import pytest

from trilith.fpga.frames import MAX_PAYLOAD, Frame


@pytest.fixture
def frames():
    def make(rng, count):
        """Frames of all lengths, rich in zeros, as weights and small integers are."""
        for _ in range(count):
            size = int(rng.integers(MAX_PAYLOAD + 1))
            payload = rng.integers(0, 256, size) * (rng.random(size) < rng.choice([0.1, 0.5, 1.0]))
            yield Frame(
                kind=int(rng.integers(256)),
                sequence=int(rng.integers(256)),
                payload=payload.astype(np.uint8).tobytes(),
            )

    return make


@pytest.fixture
def corrupt():
    def change(rng, line):
        """A line with noise: bits, bursts, bytes lost, repeated, inserted or exchanged."""
        data = bytearray(line)
        how = rng.integers(7)
        place = int(rng.integers(len(data)))
        if how == 0:
            for bit in rng.choice(8 * len(data), rng.integers(1, 5), replace=False):
                data[bit // 8] ^= 1 << bit % 8
        elif how == 1:
            start, size = int(rng.integers(8 * len(data))), int(rng.integers(1, 65))
            for bit in range(start, min(start + size, 8 * len(data))):
                data[bit // 8] ^= int(rng.integers(2)) << bit % 8
        elif how == 2:
            del data[place : place + int(rng.integers(1, 9))]
        elif how == 3:
            size = int(rng.integers(1, 9))
            data[place:place] = data[place : place + size]
        elif how == 4:
            data[place:place] = rng.integers(0, 256, rng.integers(1, 9)).astype(np.uint8).tobytes()
        elif how == 5:
            data[place] = int(rng.integers(256))
        else:
            del data[place:]
        return bytes(data)

    return change
