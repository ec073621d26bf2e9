"""Arguments of the wrong kind: one rule for integers, and one for arrays, in every room."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from trilith.golden import (
    CODES,
    TernaryTensor,
    absmax_quantize,
    check_activations,
    check_trits,
    pack_weights,
    packed_matmul,
    ternary_matmul,
    unpack_weights,
)
from trilith.golden.matmul import activation_range
from trilith.hw import MatVecConfig
from trilith.hw.beats import weight_beats, weights_from_beats
from trilith.hw.config import PRESETS
from trilith.hw.jobs import Job
from trilith.sim import MatVecSimulator

GOOD = np.ones((4, 8), np.int8)
MICRO = PRESETS["micro"]
PACKED = pack_weights(GOOD)
SCALE = np.ones((1, 1), np.float32)


def tensor(**changes):
    values = {"name": "a", "packed": PACKED, "out_features": 4, "scale": SCALE, "group_size": 8}
    return TernaryTensor(**values | changes)


#: Functions of a matrix of integers.
MATRICES = {
    "check_trits": check_trits,
    "check_activations": check_activations,
    "pack_weights": pack_weights,
    "trits of ternary_matmul": lambda x: ternary_matmul(x, GOOD),
    "activations of ternary_matmul": lambda x: ternary_matmul(GOOD, x),
    "from_trits": lambda x: TernaryTensor.from_trits("a", x, 1.0),
    "packed_matmul": lambda x: packed_matmul(tensor(), x),
    "trits of a job": lambda x: Job(trits=x, activations=GOOD),
    "activations of a job": lambda x: Job(trits=GOOD, activations=x),
    "weight_beats": lambda x: weight_beats(MICRO, x),
}
#: Functions of an integer, and a legal value.
INTEGERS = {
    "bits of absmax_quantize": (lambda n: absmax_quantize(GOOD.astype(np.float32), n), 8),
    "activation_range": (activation_range, 8),
    "unpack_weights": (lambda n: unpack_weights(PACKED, n), 4),
    "out_features": (lambda n: tensor(out_features=n), 4),
    "group_size": (lambda n: tensor(group_size=n), 8),
    "lanes": (lambda n: MatVecConfig(lanes=n, rows=5, k_max=64, n_max=64), 8),
    "group_chunks": (lambda n: Job(trits=GOOD, activations=GOOD, group_chunks=n), 1),
    "packed_bytes": (CODES["base3"].packed_bytes, 8),
    "unpack": (lambda n: CODES["base3"].unpack(np.zeros((1, 1), np.uint8), n), 5),
    "weights_from_beats": (
        lambda n: weights_from_beats(MICRO, weight_beats(MICRO, GOOD), n, 8),
        4,
    ),
}


@pytest.mark.parametrize("function", MATRICES)
@pytest.mark.parametrize(
    ("value", "kind", "rule"),
    [
        (GOOD[0], ValueError, "must have two non-empty dimensions, not shape (8,)"),
        (GOOD[np.newaxis], ValueError, "must have two non-empty dimensions, not shape (1, 4, 8)"),
        (GOOD.astype(float), TypeError, "must have an integer type, not float64"),
        (GOOD.astype(bool), TypeError, "must have an integer type, not bool"),
        (GOOD.astype(object), TypeError, "must have an integer type, not object"),
        (GOOD.tolist(), TypeError, "must be a NumPy array, not list"),
        (None, TypeError, "must be a NumPy array, not NoneType"),
    ],
)
def test_matrices(function, value, kind, rule):
    with pytest.raises(kind, match=rf"^(trits|activations) {re.escape(rule)}$"):
        MATRICES[function](value)


@pytest.mark.parametrize("function", INTEGERS)
def test_integers_of_every_type(function):
    call, value = INTEGERS[function]
    for kind in (int, np.int64, np.uint8, np.array):
        call(kind(value))
    for wrong in (float(value), True, np.True_, str(value), None, [value]):
        with pytest.raises(TypeError, match=r"^\w+ must be an integer, not "):
            call(wrong)
    with pytest.raises(ValueError, match=r"must "):
        call(-1)


def test_a_configuration_of_numpy_integers_is_json():
    config = MatVecConfig(lanes=np.int64(8), rows=np.uint8(5), k_max=np.int32(64), n_max=64)
    assert json.loads(json.dumps(asdict(config)))["lanes"] == 8


def test_other_kinds():
    message = "config must be a MatVecConfig, such as PRESETS['micro'], not 'micro'"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        MatVecSimulator("micro")
    with pytest.raises(TypeError, match=r"^weight must be a TernaryTensor, not ndarray$"):
        packed_matmul(GOOD, GOOD)
    with pytest.raises(TypeError, match=r"^packed must be a NumPy array, not list$"):
        unpack_weights(PACKED.tolist(), 4)
    with pytest.raises(TypeError, match=r"^scale must be a NumPy array, not float$"):
        tensor(scale=1.0)
