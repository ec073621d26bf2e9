# amaranth: UnusedElaboratable=no
"""Arguments of the wrong kind: one rule for integers, and one for arrays, in every room."""

import json
import re
from dataclasses import asdict, replace
from fractions import Fraction

import numpy as np
import pytest

from trilith.fpga.boards import BOARDS, SOCS
from trilith.fpga.flow.area import Unit
from trilith.fpga.flow.clocks import BoardClock
from trilith.fpga.frames import Frame
from trilith.fpga.gateware.answers import AnswerScheduler
from trilith.fpga.gateware.config import TopConfig
from trilith.fpga.gateware.payload import PayloadGatherer
from trilith.fpga.gateware.top import BoardTop
from trilith.fpga.gateware.uart import UartReceiver
from trilith.fpga.gateware.weight_memory import MemoryShape, WeightMemory
from trilith.fpga.host.board import Resident
from trilith.fpga.host.link import Link
from trilith.fpga.host.simulated import Noise, SimulatedBoard
from trilith.fpga.identity import Identity
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
from trilith.sim.cost.designs import own_design
from trilith.sim.cost.energy import Product
from trilith.sim.cost.explore import Grid

GOOD = np.ones((4, 8), np.int8)
MICRO = PRESETS["micro"]
PACKED = pack_weights(GOOD)
SCALE = np.ones((1, 1), np.float32)


SHAPE = MemoryShape(beats=64)
IDENTITY = Identity(config=MICRO, beats=64, clock_hz=1).encode()


def grid(**changes):
    return Grid(**{"models": ("bitnet-2b4t",), "lanes": (8,), "rows": (5,)} | changes)


def top(**changes):
    return TopConfig(**{"engine": MICRO, "memory": SHAPE, "clock_hz": 1000, "baud": 100} | changes)


def component(kind, *arguments, **parameters):
    """Make a component that nothing elaborates; Amaranth would warn of it."""
    made = kind(*arguments, **parameters)
    made._MustUse__used = True
    return made


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
    "adder_bits": (lambda n: Product(n=4, k=4, tokens=1, adder_bits=n), 8),
    "n of a product": (lambda n: Product(n=n, k=4, tokens=1), 4),
    "sram_kilobytes": (lambda n: Product(n=4, k=4, tokens=1, sram_kilobytes=n), 8),
    "engines": (lambda n: replace(own_design("a", MICRO, 250), engines=n), 2),
    "context of a grid": (lambda n: grid(contexts=(n,)), 8),
    "seed of noise": (lambda n: Noise(seed=n), 3),
    "beats": (lambda n: MemoryShape(beats=n), 64),
    "words_per_beat": (lambda n: MemoryShape(beats=64, words_per_beat=n), 2),
    "clock_hz": (lambda n: top(clock_hz=n, baud=1), 8),
    "baud": (lambda n: top(baud=n), 100),
    "queue": (lambda n: top(baud=100, queue=n), np.uint16(512)),
    "beat_bytes": (lambda n: component(WeightMemory, SHAPE, beat_bytes=n), 8),
    "rows of a memory": (lambda n: component(WeightMemory, SHAPE, beat_bytes=8, rows=n), 2),
    "divisor": (lambda n: component(UartReceiver, divisor=n), 8),
    "depth": (lambda n: component(AnswerScheduler, IDENTITY, depth=n), np.uint8(250)),
    "kind of a payload": (lambda n: component(PayloadGatherer, {n: 4}), 4),
    "size of a payload": (lambda n: component(PayloadGatherer, {4: n}), 4),
    "kind of a frame": (lambda n: Frame(kind=n, sequence=0), 4),
    "sequence of a frame": (lambda n: Frame(kind=0, sequence=n), 4),
    "beats of an identity": (lambda n: Identity(config=MICRO, beats=n, clock_hz=1), 4),
    "address of a resident": (lambda n: Resident(address=n, n=1, k=1), 4),
    "seed of a board": (lambda n: replace(BOARDS["ulx3s"], seed=n), 4),
    "clock of a system": (lambda n: replace(next(iter(SOCS.values())), clock_hz=n), 4),
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
    hashable = function != "kind of a payload"
    for kind in (int, np.int64, np.uint16, *([np.array] if hashable else [])):
        call(kind(value))
    for wrong in (float(value), True, np.True_, str(value), None, *([[value]] if hashable else [])):
        if function == "adder_bits" and wrong is None:
            continue  # The default.
        with pytest.raises(TypeError, match=r"^[\w ]+ must be an integer, not "):
            call(wrong)
    for wrong in (-1, 10**400, 10**5000):
        with pytest.raises(ValueError, match=r"^[^\n]{,300}$") as found:
            call(wrong)
        assert "must " in str(found.value)


#: Functions of a number, and a legal value.
NUMBERS = {
    "clock_mhz": (lambda x: own_design("a", MICRO, x), 250),
    "clock of a grid": (lambda x: grid(clocks=(x,)), 250),
    "macs_per_cycle": (lambda x: replace(own_design("a", MICRO, 250), macs_per_cycle=x), 4),
    "fixed_us": (lambda x: replace(own_design("a", MICRO, 250), fixed_us=x), 4),
    "flip": (lambda x: Noise(flip=x), 1),
    "insert": (lambda x: Noise(insert=x), 1),
    "dram_bytes_per_second": (
        lambda x: replace(BOARDS["ulx3s"], dram_bytes_per_second=x),
        4,
    ),
}


@pytest.mark.parametrize("function", NUMBERS)
def test_numbers_of_every_type(function):
    call, value = NUMBERS[function]
    for kind in (int, float, np.float32, np.int64, Fraction):
        call(kind(value))
    for wrong in (True, np.True_, str(value), None, [value], 1j):
        with pytest.raises(TypeError, match=r"^\w+ must be a number, not "):
            call(wrong)
    for wrong in (-1, float("nan"), 10**5000):
        with pytest.raises(ValueError, match=r"^\w+ must be (at least|from) [^\n]{,300}$"):
            call(wrong)


def test_a_top_level_of_numpy_integers_is_json():
    config = top(clock_hz=np.int64(8), baud=np.uint8(1), memory=MemoryShape(beats=np.int16(64)))
    assert json.loads(json.dumps(asdict(config)))["memory"]["beats"] == 64
    assert json.loads(json.dumps(vars(Noise(flip=np.float32(0.5), seed=np.int8(3)))))["seed"] == 3


def test_a_configuration_of_numpy_integers_is_json():
    config = MatVecConfig(lanes=np.int64(8), rows=np.uint8(5), k_max=np.int32(64), n_max=64)
    assert json.loads(json.dumps(asdict(config)))["lanes"] == 8


def test_other_kinds():
    message = "config must be a MatVecConfig, such as PRESETS['micro'], not 'micro'"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        MatVecSimulator("micro")
    for call, message in (
        (lambda: own_design("a", "micro", 250), "config must be a MatVecConfig, not 'micro'"),
        (lambda: top(engine="micro"), "engine must be a MatVecConfig, not 'micro'"),
        (lambda: top(memory=64), "memory must be a MemoryShape, not 64"),
        (lambda: BoardTop("micro"), "config must be a TopConfig, not 'micro'"),
        (lambda: SimulatedBoard("micro"), "config must be a TopConfig, not 'micro'"),
        (lambda: SimulatedBoard(top(), 0.5), "noise must be a Noise, not 0.5"),
        (lambda: PayloadGatherer([4]), "sizes must be a Mapping, not [4]"),
        (lambda: Frame(kind=0, sequence=0, payload="a"), "payload must be a bytes, not 'a'"),
        (
            lambda: Identity(config=1, beats=1, clock_hz=1),
            "config must be a MatVecConfig, not 1",
        ),
        (lambda: MemoryShape(beats=64, spram=1), "spram must be True or False, not 1"),
        (lambda: Link(None), "port must be a str, not None"),
        (lambda: Link("/dev/null", 9600.0), "baud must be an integer, not 9600.0"),
        (lambda: BoardClock("ulx3s"), "board must be a BoardDescription, not 'ulx3s'"),
        (lambda: Unit(kind=1, config=MICRO), "kind must be a string, not 1"),
        (lambda: Unit(kind="dot", config=1), "config must be a MatVecConfig, not 1"),
        (lambda: Unit(kind="dot", config=MICRO, route=1), "route must be True or False, not 1"),
    ):
        with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
            call()
    with pytest.raises(ValueError, match=r"^kind must be decoder, dot or engine, not 'unit'$"):
        Unit(kind="unit", config=MICRO)
    with pytest.raises(TypeError, match=r"^weight must be a TernaryTensor, not ndarray$"):
        packed_matmul(GOOD, GOOD)
    with pytest.raises(TypeError, match=r"^packed must be a NumPy array, not list$"):
        unpack_weights(PACKED.tolist(), 4)
    with pytest.raises(TypeError, match=r"^scale must be a NumPy array, not float$"):
        tensor(scale=1.0)
