"""Damaged files: a reader gives a whole checkpoint, or ``CheckpointError``, and nothing else."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.checkpoint.write_gguf import write_gguf

#: More than any of the files can need: they have at most 120 kB of tensors.
MEMORY_LIMIT = 4 * 2**20

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 2,
}


def read_all(path):
    """Whether the file is read to the last tensor; any error but CheckpointError is raised."""
    try:
        checkpoint = load_checkpoint(path)
        for tensor in checkpoint.ternary.values():
            tensor.trits.sum()
        for array in checkpoint.tensors.values():
            array.astype(np.float32)
    except CheckpointError as error:
        message = str(error)
    else:
        return True
    assert message.isprintable(), message
    return False


def fuzz(path, file, header_size, cases, seed=0):
    """Truncations, and single bytes of the header changed; return how many were read anyway."""
    whole = file.read_bytes()
    rng = np.random.default_rng(seed)
    assert read_all(path)
    read = 0
    sizes = {*range(min(64, len(whole))), *rng.integers(0, len(whole), cases // 8).tolist()}
    tracemalloc.start()
    try:
        for size in sorted(sizes - {len(whole)}):
            file.write_bytes(whole[:size])
            assert not read_all(path), f"read although cut to {size} of {len(whole)} bytes"
        for _ in range(cases):
            place = int(rng.integers(header_size))
            data = bytearray(whole)
            # Bits flipped one at a time as often as bytes replaced.
            old = data[place]
            data[place] = old ^ 1 << rng.integers(8) if rng.random() < 0.5 else rng.integers(256)
            if data[place] == old:
                continue
            file.write_bytes(data)
            read += read_all(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
    finally:
        tracemalloc.stop()
    return read


def test_safetensors(tiny):
    folder, _, _ = tiny(**SMALL)
    file = folder / "model.safetensors"
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    fuzz(folder, file, header, 1200)


def test_config_json(tiny):
    folder, _, _ = tiny(**SMALL)
    file = folder / "config.json"
    whole = file.read_bytes()
    fuzz_json(folder, file, whole)


def fuzz_json(folder, file, whole):
    read = 0
    rng = np.random.default_rng(3)
    values = [None, True, -1, 0, 2**70, 1e300, "x", "", [], [1], {}, {"a": 1}]
    for size in range(0, len(whole) - 1, 5):
        file.write_bytes(whole[:size])
        assert not read_all(folder)
    for _ in range(600):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        file.write_bytes(data)
        read += read_all(folder)
    config = json.loads(whole)
    for key in config:
        for value in values:
            file.write_text(json.dumps(config | {key: value}))
            read += read_all(folder)
    assert read


def test_index_json(tiny):
    folder, _, _ = tiny(**SMALL)
    shard = folder / "model-1.safetensors"
    (folder / "model.safetensors").rename(shard)
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps({"metadata": {}, "weight_map": {"a": shard.name, "b": shard.name}}))
    assert read_all(folder)
    fuzz_json(folder, file, file.read_bytes())


@pytest.mark.parametrize(
    ("kind", "model"),
    [("i2_s", {}), ("tq1_0", {"model_type": "llama", "hidden_act": "silu"}), ("tq2_0", {})],
)
def test_gguf(tmp_path, tiny, kind, model):
    block = {"hidden_size": 256, "intermediate_size": 256}
    folder, _, _ = tiny(**SMALL | block | model)
    file = tmp_path / "a.gguf"
    write_gguf(load_checkpoint(folder), file, kind)
    header = file.read_bytes().index(b"blk.0.ffn_down.weight") + 100
    read = fuzz(file, file, header, 500, seed=len(kind))
    assert read, "some changes, as in a name of the metadata, do no harm"


def test_ternary_data_of_gguf(tmp_path, tiny):
    """Changed bytes of the weights and scales: read as other trits, or refused."""
    folder, _, _ = tiny(**SMALL | {"hidden_size": 256, "intermediate_size": 256})
    for kind in ("i2_s", "tq1_0", "tq2_0"):
        file = tmp_path / "a.gguf"
        write_gguf(load_checkpoint(folder), file, kind, force=True)
        whole = file.read_bytes()
        rng = np.random.default_rng(5)
        results = set()
        for _ in range(100):
            data = bytearray(whole)
            data[rng.integers(len(data) // 2, len(data))] = 0xFF
            file.write_bytes(data)
            results.add(read_all(file))
        assert False in results
    shutil.rmtree(folder)
