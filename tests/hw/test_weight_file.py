import json
import re

import numpy as np
import pytest

from trilith.golden import CODES, CheckpointError, load_checkpoint
from trilith.golden.checkpoint.compare import compare
from trilith.hw import PRESETS, MatVecConfig
from trilith.hw.beats import weight_beats, weights_from_beats
from trilith.hw.weight_file import read_streams, write_streams

Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("code", ["base3", "escape", "tq1", "two_bit", "sherry"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 11), (40, 64), (41, 129)])
def test_beats_and_back(code, n, k):
    config = MatVecConfig(lanes=8, rows=5, code=code, k_max=999, n_max=999)
    trits = CODES[code].random(np.random.default_rng(n), (n, k))
    np.testing.assert_array_equal(
        weights_from_beats(config, weight_beats(config, trits), n, k), trits
    )


@pytest.mark.parametrize("preset", ["micro", "bitnet"])
def test_streams_hold_the_checkpoint(tmp_path, tiny, preset):
    folder, trits, scales = tiny(num_hidden_layers=2)
    source = load_checkpoint(folder)
    seen = []
    write_streams(
        source, tmp_path / "out", PRESETS[preset], progress=lambda *done: seen.append(done)
    )
    assert seen == [(i + 1, 14) for i in range(14)]
    config, streams = read_streams(tmp_path / "out")
    assert config == PRESETS[preset]
    found = compare(streams, source)
    assert (found.matrices, found.others, found.difference) == (14, 0, "")
    # Anyone can use the files with the manifest alone.
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    entry = manifest["tensors"][7]
    assert entry["name"] == "model.layers.1.self_attn.q_proj"
    weights = (tmp_path / "out" / "weights.bin").read_bytes()[entry["offset"] :]
    expected = weight_beats(config, trits[entry["name"]])
    assert weights[: entry["beats"] * manifest["beat_bytes"]] == expected.tobytes()
    assert entry["offset"] % 128 == 0
    scale = np.fromfile(tmp_path / "out" / "scales.bin", np.float32)[entry["scale_offset"] // 4]
    assert scale == scales[entry["name"]][0]


def test_what_does_not_fit_the_engine(tmp_path, tiny):
    folder, _, _ = tiny()
    source = load_checkpoint(folder)
    config = MatVecConfig(lanes=8, rows=5, k_max=200, n_max=999)
    message = f"{Q}: K must be at most the engine's k_max 200, not 256; give --k-max"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        write_streams(source, tmp_path / "out", config)
    config = MatVecConfig(lanes=8, rows=5, k_max=999, n_max=999, code="binary")
    codes = "base3, escape, tq1 or two_bit"
    rule = r"code 'binary' holds -1 and \+1 only, not 0 at \[\d+, \d+\]"
    message = rf"^{re.escape(Q)}: {rule}; give --code {codes}$"
    with pytest.raises(CheckpointError, match=message):
        write_streams(source, tmp_path / "out", config)
    config = MatVecConfig(lanes=8, rows=5, k_max=999, n_max=999, code="sherry")
    quads = np.asarray(source.ternary[Q].trits).reshape(-1, 64, 4)
    zeros = (quads == 0).sum(axis=2)
    row, quad = map(int, np.argwhere(zeros != 1)[0])
    message = (
        f"{Q}: code 'sherry' must have exactly one zero in each 4 trits of a row, not "
        f"{zeros[row, quad]} at [{row}, {4 * quad}]; give --code {codes}"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        write_streams(source, tmp_path / "out", config)
    assert {file.name for file in tmp_path.iterdir()} == {"source"}


def test_damaged_streams(tmp_path, tiny):
    out = tmp_path / "out"
    config = PRESETS["micro"]
    write_streams(load_checkpoint(tiny()[0]), out, config)
    manifest = json.loads((out / "manifest.json").read_text())

    def refuses(message, **changes):
        (out / "manifest.json").write_text(json.dumps(manifest | changes))
        with pytest.raises(CheckpointError, match=f"^{re.escape(f'{out}{message}')}"):
            list(read_streams(out)[1].ternary.values())

    refuses("/manifest.json: format must be 'trilith weight streams 1', not 2", format=2)
    refuses("/manifest.json: config must be an object with act_bits, ", config=[])
    refuses(
        "/manifest.json: config: lanes must be from 5 to 320, not 1000000",
        config=manifest["config"] | {"lanes": 10**6},
    )
    refuses(
        "/manifest.json: beat_bytes must be 8, the bytes of a beat of this config, not 12",
        beat_bytes=12,
    )
    refuses(
        "/manifest.json: the keys must be format, config, beat_bytes, tensors, and 'norms' is not "
        "one of them; another version of trilith may have written it",
        norms=[],
    )
    first, *others = manifest["tensors"]
    refuses(
        f"/manifest.json: {first['name']}: the keys must be name, n, k, offset, beats, "
        "scale_offset, scale_shape, and 'zero' is not one of them; ",
        tensors=[first | {"zero": 1}],
    )
    for key in first:
        for value in (None, -1, 2**62, [], [0, 0], [2**40, 1], {}):
            refuses("/manifest.json: ", tensors=[first | {key: value}, *others])
    refuses(
        f"/manifest.json: every matrix must be listed once, not '{Q}' twice", tensors=[first, first]
    )
    refuses("/manifest.json: the entry of a matrix must have name, n, k, ", tensors=[3])
    weights = (out / "weights.bin").read_bytes()
    (out / "weights.bin").write_bytes(b"\xff" + weights[1:])
    refuses(f": {Q}: byte 0xff at [0, 0] is illegal in code 'base3'")
    (out / "weights.bin").write_bytes(weights[:-1])
    refuses("/manifest.json: model.layers.0.mlp.down_proj must have 3328 beats within weights.bin")
    (out / "weights.bin").write_bytes(b"")
    refuses(f"/manifest.json: {Q} must have 1664 beats within weights.bin")
    (out / "weights.bin").unlink()
    refuses("/weights.bin: the file is not readable: No such file or directory")


def test_a_matrix_of_one_weight(tmp_path, tiny):
    """The smallest shape that a manifest may state."""
    folder, _, _ = tiny()
    write_streams(load_checkpoint(folder), tmp_path / "out", PRESETS["micro"])
    file = tmp_path / "out" / "manifest.json"
    manifest = json.loads(file.read_text())
    small = {"n": 1, "k": 1, "beats": 1, "scale_shape": [1, 1]}
    manifest["tensors"] = [manifest["tensors"][0] | small]
    file.write_text(json.dumps(manifest))
    _, streams = read_streams(tmp_path / "out")
    (tensor,) = streams.ternary.values()
    assert tensor.shape == (1, 1)
    for key in ("n", "k"):
        manifest["tensors"] = [manifest["tensors"][0] | small | {key: 0}]
        file.write_text(json.dumps(manifest))
        with pytest.raises(
            CheckpointError, match=rf"{Q} must be at most 1024 x 1024, the engine's"
        ):
            read_streams(tmp_path / "out")
