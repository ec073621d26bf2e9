"""Layouts of I2_S, and which of them weights look like."""

import re
import warnings

import gguf
import numpy as np
import pytest

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.gguf_ternary import _norm_in_front
from trilith.golden.checkpoint.i2_s import I2SLayout, I2SMatrix, choose_layout, unpack_codes
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.data import PYDOC
from trilith.golden.errors import CheckpointWarning

LLAMA = {"model_type": "llama", "hidden_act": "silu"}


def packed(trits, layout):
    """The bytes of a matrix, weight by weight as the builds of bitnet.cpp place them."""
    n, k = trits.shape
    out = bytearray(n * k // 4)
    for row in range(n):
        for column in range(k):
            if layout == "rows4":
                byte, place = row // 4 * k + column, row % 4
            else:
                block, bytes_ = {"block128": (128, 32), "block64": (64, 16)}[layout]
                inside = column % block
                byte = (row * k + column) // block * bytes_ + inside % bytes_
                place = inside // bytes_
            out[byte] |= int(trits[row, column] + 1) << 6 - 2 * place
    return np.frombuffer(bytes(out), np.uint8)


def pack_fast(trits, layout):
    c0, c1, c2, c3 = (
        (trits + 1).astype(np.uint8).reshape(-1, 4, layout.run(trits.shape[1])).swapaxes(0, 1)
    )
    return (c0 << 6 | c1 << 4 | c2 << 2 | c3).reshape(-1)


def reading(matrices, asked="auto"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        return choose_layout("a.gguf", matrices, asked)


def best(raw, shape, gain, truth):
    """The likeliest layout of one matrix, and the smaller of the sigmas for the true one."""
    one = I2SMatrix(name="w", shape=shape, raw=raw, gain=gain)
    sigmas = reading([one], str(truth)).sigmas
    worst = min(sigmas, key=sigmas.get)
    return (truth if sigmas[worst] > 0 else worst), sigmas[worst]


def made(rng, n, k, *, columns=0.1, rows=0.1, tied=0.3):
    """Trits of Gaussian weights whose rows and columns differ in size, columns with their gain."""
    log_gain = rng.standard_normal(k)
    noise = rng.standard_normal(k)
    column = np.exp(columns * (tied * log_gain + np.sqrt(1 - tied**2) * noise))
    w = rng.standard_normal((n, k)) * column * np.exp(rows * rng.standard_normal(n))[:, None]
    return np.clip(np.rint(w / np.abs(w).mean()), -1, 1).astype(np.int8), np.exp(0.3 * log_gain)


@pytest.mark.parametrize("layout", I2SLayout)
def test_layouts_by_their_definition(layout):
    trits = np.random.default_rng(1).integers(-1, 2, (8, 256), np.int8)
    raw = packed(trits, layout)
    np.testing.assert_array_equal(raw, pack_fast(trits, layout))
    np.testing.assert_array_equal(unpack_codes(raw, 256, layout), trits + 1)


@pytest.mark.parametrize("layout", ["block128", "block64", "rows4"])
@pytest.mark.parametrize("model", [{}, LLAMA], ids=["bitnet", "llama"])
def test_files_of_all_builds(tmp_path, tiny, relayout, layout, model):
    folder, trits, _ = tiny(**model)
    file = tmp_path / "a.gguf"
    write_gguf(load_checkpoint(folder), file, "i2_s")
    if layout != "block128":
        relayout(file, layout)
    checkpoint = load_checkpoint(file, i2s_layout=layout)
    assert (checkpoint.i2_s.layout, checkpoint.i2_s.asked) == (layout, True)
    for name, expected in trits.items():
        np.testing.assert_array_equal(checkpoint.ternary[name].trits, expected)


def test_a_real_model_shows_its_layout(tmp_path, relayout):
    file = tmp_path / "a.gguf"
    source = load_checkpoint(PYDOC)
    write_gguf(source, file, "i2_s")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_checkpoint(file).i2_s
    assert (found.layout, found.asked, found.clear) == ("block128", False, True)
    assert min(found.sigmas.values()) > 30
    assert str(found) == (
        f"block128, clear from the weights ({found.sigmas['block64']:.1f} against block64, "
        f"{found.sigmas['rows4']:.1f} against rows4; in standard deviations of chance, 5 is clear)"
    )
    whole = file.read_bytes()
    for layout in ("block64", "rows4"):
        file.write_bytes(whole)
        relayout(file, layout)
        with pytest.raises(CheckpointError) as refusal:
            load_checkpoint(file)
        assert re.fullmatch(
            re.escape(f"{file}: the I2_S weights look like {layout} and not like block128 (")
            + r"\d+\.\d standard deviations; 5 are clear\); "
            + re.escape(f"give --i2s-layout {layout} (i2s_layout='{layout}')"),
            str(refusal.value),
        )
        with pytest.warns(CheckpointWarning, match=f"look like {layout} and not like block128 "):
            load_checkpoint(file, i2s_layout="block128")
        checkpoint = load_checkpoint(file, i2s_layout=layout)
        assert checkpoint.i2_s.clear
        name = "model.layers.1.self_attn.v_proj"
        np.testing.assert_array_equal(checkpoint.ternary[name].trits, source.ternary[name].trits)


def test_rate_of_right_answers():
    """Single matrices of the real model, and made ones: which layout looks best, and how sure."""
    source = load_checkpoint(PYDOC)
    right = clear = 0
    for name in source.ternary:
        trits = source.ternary[name].trits
        gain = source.tensors[_norm_in_front(f"{name}.weight")].astype(np.float32)
        for layout in I2SLayout:
            found, sigma = best(pack_fast(trits, layout), trits.shape, gain, layout)
            right += found == layout
            clear += sigma >= 5
            assert sigma > -5, f"{name} in {layout} looks clearly like {found}"
    assert (right, clear) >= (60, 38), "of 63"
    rng = np.random.default_rng(2)
    for n, k, made_clear in ((256, 512, 10), (512, 2048, 24)):
        clear = 0
        for _ in range(8):
            trits, gain = made(rng, n, k)
            for layout in I2SLayout:
                found, sigma = best(pack_fast(trits, layout), (n, k), gain, layout)
                assert found == layout
                clear += sigma >= 5
        assert clear >= made_clear, "of 24"


def test_chance_is_never_clear():
    rng = np.random.default_rng(3)
    for _ in range(40):
        trits, gain = rng.integers(-1, 2, (128, 256), np.int8), rng.random(256)
        for layout in I2SLayout:
            assert abs(best(pack_fast(trits, layout), trits.shape, gain, layout)[1]) < 5


def smooth(w, axis, factor=0.5):
    """Weights that correlate with their neighbors along an axis."""
    w = np.moveaxis(w, axis, 0).copy()
    for index in range(1, len(w)):
        w[index] = factor * w[index - 1] + np.sqrt(1 - factor**2) * w[index]
    return np.moveaxis(w, 0, axis)


#: Structures of weights by name, and the layouts against which they must show a layout.
STRUCTURES = {
    "neighbors along K": (lambda w, rng: smooth(w, 1), "all"),
    "neighbors along N": (lambda w, rng: smooth(w, 0), "none"),
    "neighbors along both": (lambda w, rng: smooth(smooth(w, 1), 0), "none"),
    "low rank": (
        lambda w, rng: w + rng.standard_normal((len(w), 4)) @ rng.standard_normal((4, len(w[0]))),
        "rows4",
    ),
    "zeros of rows": (lambda w, rng: w * np.exp(0.3 * rng.standard_normal((len(w), 1))), "rows4"),
    "means of rows": (lambda w, rng: w + 0.3 * rng.standard_normal((len(w), 1)), "rows4"),
    "means of columns": (lambda w, rng: w + 0.3 * rng.standard_normal(len(w[0])), "rows4"),
    "heads of 64 columns": (
        lambda w, rng: w * np.exp(0.4 * rng.standard_normal(len(w[0]) // 64)).repeat(64),
        "none",
    ),
    "quarters of columns": (
        lambda w, rng: w * np.exp(0.4 * rng.standard_normal(4)).repeat(len(w[0]) // 4),
        "none",
    ),
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("truth", I2SLayout)
def test_structures_never_show_a_wrong_layout(structure, truth):
    make, shown = STRUCTURES[structure]
    rng = np.random.default_rng(4)
    matrices = []
    for _ in range(5):
        w = make(rng.standard_normal((256, 512)), rng)
        trits = np.clip(np.rint(w / np.abs(w).mean()), -1, 1).astype(np.int8)
        raw = pack_fast(trits, truth)
        gain = np.exp(0.3 * rng.standard_normal(512))
        matrices.append(I2SMatrix(name="w", shape=trits.shape, raw=raw, gain=gain))
    sigmas = reading(matrices, str(truth)).sigmas
    assert min(sigmas.values()) > -5, sigmas
    for layout, sigma in sigmas.items():
        if shown == "all" or (shown == "rows4" and "rows4" in (layout, truth)):
            assert sigma >= 5, sigmas


@pytest.mark.parametrize("trits", [np.zeros((4, 128), np.int8), np.ones((4, 128), np.int8)])
def test_equal_weights_show_nothing(trits):
    one = I2SMatrix(
        name="w", shape=(4, 128), raw=packed(trits, "block128"), gain=np.ones(128, np.float32)
    )
    assert reading([one]).sigmas == {"block64": 0, "rows4": 0}


def test_random_weights_warn_and_go_on(tmp_path, tiny):
    folder, trits, _ = tiny()
    file = tmp_path / "a.gguf"
    write_gguf(load_checkpoint(folder), file, "i2_s")
    message = re.escape(
        f"{file}: the I2_S weights are read as block128, and may be in the layout block64 or rows4 "
        "of another build of bitnet.cpp; if the model's results make no sense, give "
        "--i2s-layout block64 or rows4 (i2s_layout='block64')"
    )
    with pytest.warns(CheckpointWarning, match=f"^{message}$"):
        checkpoint = load_checkpoint(file)
    assert not checkpoint.i2_s.clear
    name = "model.layers.0.mlp.up_proj"
    np.testing.assert_array_equal(checkpoint.ternary[name].trits, trits[name])


def refuses(message, shape, asked):
    raw = np.zeros(shape[0] * shape[1] // 4, np.uint8)
    with pytest.raises(CheckpointError) as refusal:
        choose_layout("a.gguf", [I2SMatrix(name="w", shape=shape, raw=raw, gain=None)], asked)
    assert str(refusal.value) == f"a.gguf: w must have {message}"


def test_shapes_that_do_not_fit():
    refuses(
        "a multiple of 128 inputs in I2_S block128, not 192; where another build wrote the file, "
        "give --i2s-layout block64 or rows4 (i2s_layout='block64')",
        (4, 192),
        "auto",
    )
    refuses("a multiple of 128 inputs in I2_S block128, not 96", (6, 96), "block128")
    refuses(
        "a multiple of 64 inputs in I2_S block64, not 96; where another build wrote the file, "
        "give --i2s-layout rows4 (i2s_layout='rows4')",
        (8, 96),
        "block64",
    )
    refuses(
        "a multiple of 4 outputs in I2_S rows4, not 6; where another build wrote the file, "
        "give --i2s-layout block128 or block64 (i2s_layout='block128')",
        (6, 128),
        "rows4",
    )


def test_rows_of_64_inputs(tmp_path, tiny):
    """A matrix that only two of the layouts can hold."""
    hidden = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    folder, trits, _ = tiny(**hidden, intermediate_size=192)
    source = load_checkpoint(folder)
    for layout in (I2SLayout.BLOCK64, I2SLayout.ROWS4):
        file = tmp_path / f"{layout}.gguf"
        writer = gguf.GGUFWriter(file, "bitnet-b1.58")
        writer.add_block_count(1)
        writer.add_embedding_length(64)
        writer.add_feed_forward_length(192)
        writer.add_head_count(2)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_rms_eps(1e-5)
        names = dict(zip(source.ternary, ("q", "k", "v"), strict=False))
        names = {name: f"blk.0.attn_{short}.weight" for name, short in names.items()}
        rest = ("attn_output", "ffn_gate", "ffn_up", "ffn_down")
        names |= {
            name: f"blk.0.{short}.weight"
            for name, short in zip(list(source.ternary)[3:], rest, strict=True)
        }
        data = []
        for name, theirs in names.items():
            raw = np.append(pack_fast(trits[name], layout), np.ones(8, np.float32).view(np.uint8))
            writer.add_tensor_info(theirs, trits[name].shape, np.dtype(np.int8), raw.nbytes, 36)
            data.append(raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for raw in data:
            writer.write_tensor_data(raw)
        writer.close()
        assert GgufFile(file).entries["blk.0.ffn_down.weight"].shape == (64, 192)
        checkpoint = load_checkpoint(file, i2s_layout=layout)
        for name, expected in trits.items():
            np.testing.assert_array_equal(checkpoint.ternary[name].trits, expected)
        with pytest.raises(CheckpointError, match=r"must have a multiple of 128 inputs in I2_S"):
            load_checkpoint(file)


def test_a_layout_is_for_i2_s_only(tmp_path, tiny):
    folder, _, _ = tiny()
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(CheckpointError) as refusal:
            load_checkpoint(path, i2s_layout="block64")
        assert str(refusal.value) == (
            f"{path}: the layout of I2_S is for GGUF files; leave out --i2s-layout (i2s_layout)"
        )
    file = tmp_path / "a.gguf"
    write_gguf(load_checkpoint(folder), file, "tq2_0")
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(file, i2s_layout="block128")
    assert str(refusal.value) == (
        f"{file}: the layout of I2_S must not be given, because no matrix is I2_S; "
        "leave out --i2s-layout (i2s_layout)"
    )
    with pytest.raises(CheckpointError, match=r"^i2s_layout must be one of auto, block128, .* 'x'"):
        load_checkpoint(file, i2s_layout="x")
