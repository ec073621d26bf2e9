import numpy as np
import pytest

from trilith.hw import MatVecConfig
from trilith.hw.beats import activation_beats, result_values, weight_beats

W0 = [1, 0, -1, 1, 1, -1, 0, 1, -1]
W1 = [-1, -1, 0, 0, 1, 1, 1, 0, 1]


def test_weights_of_the_worked_example():
    config = MatVecConfig(lanes=7, rows=2, k_max=9, n_max=2)
    beats = weight_beats(config, np.array([W0, W1], np.int8))
    assert [beat.tobytes() for beat in beats] == [bytes.fromhex("DD54A0"), bytes.fromhex("779479")]


def test_weights_come_by_group_of_rows_then_chunk():
    config = MatVecConfig(lanes=8, rows=2, code="two_bit", k_max=99, n_max=99)
    trits = np.random.default_rng(0).integers(-1, 2, (3, 11), np.int8)
    beats = weight_beats(config, trits)
    assert beats.shape == (4, 4)
    for index, (group, chunk) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        for row in range(2):
            for lane in range(8):
                n, k = 2 * group + row, 8 * chunk + lane
                trit = trits[n, k] if n < 3 and k < 11 else 0
                place = row * 8 + lane
                assert beats[index, place // 4] >> 2 * (place % 4) & 3 == trit + 1


@pytest.mark.parametrize("act_bits", [8, 4, 2])
def test_activations_come_by_token_then_chunk(act_bits):
    config = MatVecConfig(lanes=7, rows=1, tokens=2, act_bits=act_bits, k_max=99, n_max=99)
    high = 2 ** (act_bits - 1) - 1
    q = np.random.default_rng(1).integers(-high, high + 1, (2, 10), np.int8)
    beats = activation_beats(config, q)
    assert beats.shape == (4, -(-7 * act_bits // 8))
    for index, (token, chunk) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        word = int.from_bytes(beats[index].tobytes(), "little")
        for lane in range(7):
            k = 7 * chunk + lane
            value = q[token, k] if k < 10 else 0
            assert word >> act_bits * lane & (2**act_bits - 1) == int(value) % 2**act_bits


def test_results_are_signed():
    config = MatVecConfig(lanes=8, rows=3, act_bits=8, k_max=100, n_max=9)
    values = [-12800, 12800, -1]
    word = sum((v % 2**config.acc_width) << i * config.acc_width for i, v in enumerate(values))
    word |= 1 << 3 * config.acc_width
    beats = np.frombuffer(word.to_bytes(8, "little"), np.uint8).reshape(1, 8)
    got, last = result_values(config, beats)
    np.testing.assert_array_equal(got, [values])
    assert got.dtype == np.int32
    assert last.tolist() == [True]
