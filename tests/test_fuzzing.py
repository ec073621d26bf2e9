"""Mutated files: a reader gives what a naive reader finds in the same bytes, or a TrilithError.

``tests/fuzzing`` has the mutations (``mutation``), the comparison (``campaign``), the naive readers
(``naive``), and the files (all other modules). A failure names the target and the seed:
``files_of(target, seed)`` makes the same files again.
"""

import re
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

pytest.importorskip("qonnx", reason="qonnx is in the extras test and qonnx")

from fuzzing import (
    boards,
    checkpoints,
    documents,
    families,
    images,
    networks,
    tables,
    tokenizers_of_models,
)
from fuzzing.campaign import CONSTANT, Resident, Traced, run
from qonnx_files import Maker

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.checkpoint.statistics import statistics
from trilith.golden.network.qonnx import QonnxNetwork

MODULES = (
    *(boards, checkpoints, documents, families, images, networks, tables),
    tokenizers_of_models,
)
BY_NAME = {target.name: target for module in MODULES for target in module.TARGETS}


@pytest.fixture
def folder():
    """A folder in memory, where there is one: the files are many and small."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def check(target, folder, cases):
    outcome = run(target, folder, cases)
    assert not outcome.failures, "\n".join(outcome.failures)
    # Neither everything nor nothing is refused, so that both checks have work.
    assert outcome.read > cases / 100
    assert outcome.refused > cases / 20
    rate = cases / outcome.seconds
    print(f"{target.name}: {cases} cases, {outcome.read} read, {rate:.0f} a second")


def test_the_shares_are_a_million():
    assert sum(target.share for target in BY_NAME.values()) == 1_000_000


@pytest.mark.parametrize("name", BY_NAME)
def test_a_thousand(name, folder):
    check(BY_NAME[name], folder, BY_NAME[name].share // 1000)


@pytest.mark.long
@pytest.mark.parametrize("name", BY_NAME)
def test_a_million(name, folder):
    check(BY_NAME[name], folder, BY_NAME[name].share)


@pytest.mark.filterwarnings("ignore::trilith.golden.errors.CheckpointWarning")
@pytest.mark.parametrize(("name", "size"), checkpoints.LARGE.items())
def test_memory_is_at_most_twice_the_file(name, size, folder):
    """The matrices of a file of megabytes are read one by one, and so are its other tensors."""
    files = checkpoints.large_model(name, size)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    path = folder if len(files) > 1 else folder / "model.gguf"
    tracemalloc.start()
    try:
        checkpoint = load_checkpoint(path, quantize="absmean" if name == "master" else None)
        for module in checkpoint.ternary:
            statistics(checkpoint, module)
            assert checkpoint.ternary[module].trits.any()
        for other in checkpoint.tensors:
            assert checkpoint.tensors[other].any()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    total = sum(map(len, files.values()))
    print(f"{name}: {total / 1e6:.1f} MB, peak {peak / total:.2f} of it")
    assert peak <= 2 * total


@pytest.mark.filterwarnings("ignore::trilith.golden.errors.CheckpointWarning")
@pytest.mark.parametrize("fill", [b"\x3f", b"\x0f", b"\xf3\x37"])
@pytest.mark.parametrize("name", [name for name in checkpoints.LARGE if name != "master"])
def test_memory_of_a_refused_file_is_at_most_twice_the_file(name, fill, folder):
    """All weights are wrong, so that a list of the wrong places would be larger than the file."""
    files = checkpoints.large_model(name, checkpoints.LARGE[name])
    for file, data in files.items():
        if not file.endswith(".json"):
            start = 8192 if name in checkpoints.NUMBERS else 8 + int.from_bytes(data[:8], "little")
            files[file] = data[:start] + (fill * len(data))[: len(data) - start]
        (folder / file).write_bytes(files[file])
    path = folder if len(files) > 1 else folder / "model.gguf"
    with Traced() as meter, suppress(CheckpointError):
        checkpoint = load_checkpoint(path)
        for module in checkpoint.ternary:
            statistics(checkpoint, module)
    assert meter.peak <= 2 * sum(map(len, files.values()))


@pytest.mark.parametrize("kind", ["bytes", "numbers", "no trits"])
def test_memory_of_a_network_is_at_most_twice_the_file(kind, folder):
    """A network in QONNX is parsed by a library in C++, whose memory counts too."""
    n, file = 1536, folder / "network.onnx"
    maker, rng = Maker(1, n), np.random.default_rng(0)
    maker.quant(0.5, 8)
    integers = rng.integers(-1, 2, (n, n)) if kind != "no trits" else np.full((n, n), 2)
    maker.node("Gemm", maker.quant(0.5, 8, weights=integers / 2), transB=1)
    model = maker.model()
    if kind == "numbers":
        networks.as_numbers(model)
    file.write_bytes(model.SerializeToString())
    size = file.stat().st_size
    with Resident() as meter, suppress(CheckpointError):
        QonnxNetwork.load(file)
    assert meter.peak <= 2 * size + CONSTANT


# The oracle itself: readers that are wrong in one way each.


def first_trit(found):
    next(iter(found["ternary"].values())).flat[0] += 1
    return found


def swapped(found):
    a, b = list(found["ternary"])[:2]
    found["ternary"][a], found["ternary"][b] = found["ternary"][b], found["ternary"][a]
    return found


def without_a_norm(found):
    return found | {"tensors": dict(list(found["tensors"].items())[1:])}


def true_for_one(found):
    found["config"]["num_hidden_layers"] = True
    return found


def raises(error):
    def change(found):
        raise error

    return change


def hungry(found):
    np.ones(10 * 2**20, np.uint8)
    return found


def slow(found):
    begin = time.process_time()
    while time.process_time() < begin + 0.02:
        pass
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first_trit, r"model\.layers\.0\.self_attn\.q_proj: arrays differ"),
        (swapped, "arrays differ"),
        (without_a_norm, r"tensors: keys differ: "),
        (true_for_one, r"config\.num_hidden_layers: True, not 1"),
        (raises(ValueError("x")), "ValueError: x"),
        (raises(KeyError("x")), "KeyError: 'x'"),
        (raises(SystemExit(1)), "SystemExit: 1"),
        (raises(CheckpointError(" ")), "a message of other than one line: ' '"),
        (hungry, r"\d+ bytes of memory for \d+ of the file"),
        (slow, r"\d\.\d\d s"),
    ],
)
def test_wrong_readers_are_found(folder, monkeypatch, change, message):
    monkeypatch.setattr("fuzzing.campaign._LONGEST", 0.02 if change is slow else 5)
    target = BY_NAME["packed"]
    wrong = replace(target, read=lambda folder: change(target.read(folder)))
    failures = run(wrong, folder, 20).failures
    assert failures
    pattern = rf"^packed seed \d+: (model|\.config|\.tensors)?.*{message}.*; \["
    assert all(re.match(pattern, one) for one in failures), failures


def test_a_reader_that_takes_anything_is_found(folder):
    """What a damaged file cannot say must not be read."""
    target = BY_NAME["packed"]
    valid = []

    def read(folder):
        valid.append(valid[0] if valid else target.read(folder))
        return valid[0]

    failures = run(replace(target, read=read), folder, 60).failures
    assert any("read, though it cannot be: " in one for one in failures)
    assert any("differ" in one for one in failures)
