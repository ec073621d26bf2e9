"""NaN and infinity in files: refused by the name of the tensor and the place."""

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf.quants import quantize

from trilith.golden import CheckpointError, TernaryTensor, load_checkpoint
from trilith.golden.checkpoint.compare import compare
from trilith.golden.checkpoint.finite import check_finite, to_finite_float32
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.config import PRESETS
from trilith.hw.weight_file import read_streams, write_streams

END = "; the file is damaged, or was written after an overflow"
NORM, EMBEDDING = "model.layers.0.input_layernorm.weight", "model.embed_tokens.weight"


def refuses(message, function, *arguments, **options):
    with pytest.raises(CheckpointError) as refusal:
        function(*arguments, **options)
    assert str(refusal.value) == message


def read_all(path, **options):
    checkpoint = load_checkpoint(path, **options)
    return [*checkpoint.ternary.values(), *checkpoint.tensors.values()]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 3, 2**18, 2**18 + 5])
def test_every_type_and_place(dtype, size):
    values = np.full(size, ml_dtypes.finfo(dtype).max, dtype)
    values[::2] = -values[::2]
    check_finite("w", values)
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        for place in {0, size // 2, size - 1}:
            wrong = values.copy()
            wrong[place] = value
            shown = "nan" if np.isnan(value) else value
            refuses(f"w must be finite, not {shown} at [{place}]{END}", check_finite, "w", wrong)


def test_shapes_and_integers():
    check_finite("w", np.ones((2, 0), np.float32))
    check_finite("w", np.full(4, -1, np.int64))
    wrong = np.zeros((3, 5), np.float32)[:, ::2]
    wrong[2, 1] = np.inf
    refuses(f"w must be finite, not inf at [2, 1]{END}", check_finite, "w", wrong)
    wrong = np.array(np.nan, np.float32)
    refuses(f"w must be finite, not nan at []{END}", check_finite, "w", wrong)
    message = f"w in float32 must be finite, not inf at [1]{END}"
    refuses(message, to_finite_float32, "w", np.array([3e38, 4e38]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [NORM, EMBEDDING, "model.norm.weight"])
def test_safetensors(tmp_path, tiny, name, value):
    good = load_checkpoint(tiny("good")[0]).tensors[name]
    wrong = good.copy()
    wrong[(3,) * wrong.ndim] = value
    folder = tiny("bad", {name: wrong})[0]
    message = (
        f"{folder}/model.safetensors: {name} must be finite, not {value} at {[3] * wrong.ndim}{END}"
    )
    checkpoint = load_checkpoint(folder)
    refuses(message, read_all, folder)
    refuses(message, write_gguf, checkpoint, tmp_path / "a.gguf", "tq2_0")
    refuses(message, write_huggingface, load_checkpoint(folder), tmp_path / "copy")
    refuses(message, compare, load_checkpoint(folder), load_checkpoint(folder))
    assert not (tmp_path / "a.gguf").exists()
    assert not (tmp_path / "copy").exists()


def test_a_model_with_nan_is_not_loaded(random_model, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = random_model()
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in ("model.embed_tokens.weight", "model.layers.2.mlp.ffn_sub_norm.weight"):
        wrong = tensors[name].copy()
        wrong.reshape(-1)[7] = np.inf
        save_file(tensors | {name: wrong}, file, metadata={"format": "pt"})
        place = [0, 7] if wrong.ndim == 2 else [7]
        message = f"{file}: {name} must be finite, not inf at {place}{END}"
        refuses(message, BitNetModel.load, folder)


@pytest.mark.parametrize(
    ("value", "dtype", "rule"),
    [
        (np.inf, np.float32, f"must be finite, not inf at [0]{END}"),
        (np.nan, np.float16, f"must be finite, not nan at [0]{END}"),
        (1e300, np.float64, f"in float32 must be finite, not inf at [0, 0]{END}"),
        (1e-60, np.float64, "must be finite and positive, not 0.0; the file is damaged"),
        (-1.0, np.float32, "must be finite and positive, not -1.0; the file is damaged"),
        (0.0, ml_dtypes.bfloat16, "must be finite and positive, not 0; the file is damaged"),
    ],
)
def test_scales_of_packed_weights(tiny, value, dtype, rule):
    name = "model.layers.0.mlp.up_proj.weight_scale"
    folder = tiny(tensors={name: np.array([value], dtype)})[0]
    rule = rule.replace("not 0;", "not 0.0;")
    refuses(f"{folder}/model.safetensors: {name} {rule}", read_all, folder)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("quantize_", [None, "absmean"])
def test_float_weights(tiny, value, quantize_):
    name = "model.layers.0.mlp.up_proj"
    rng = np.random.default_rng(0)
    _, trits, _ = tiny("packed")
    floats = {f"{x}.weight_scale": None for x in trits}
    for one, t in trits.items():
        w = rng.standard_normal(t.shape) if quantize_ else t * 0.5
        floats[f"{one}.weight"] = w.astype(np.float16)
    floats[f"{name}.weight"][5, 6] = value
    folder = tiny("float", floats)[0]
    message = f"{name}.weight must be finite, not {value} at [5, 6]{END}"
    refuses(f"{folder}/model.safetensors: {message}", read_all, folder, quantize=quantize_)


def damaged(tmp_path, tiny, kind, name, place, new):
    """A GGUF file with other bytes at a place of a tensor; counted from the end if below 0."""
    from trilith.golden.checkpoint.gguf_file import GgufFile

    file = tmp_path / "a.gguf"
    write_gguf(load_checkpoint(tiny()[0]), file, kind)
    data = bytearray(file.read_bytes())
    opened = GgufFile(file)
    start = opened.entries[name].place + place % len(opened.raw(name))
    data[start : start + len(new)] = new
    file.write_bytes(data)
    return file


HALF_NAN, HALF_INF = b"\x00\x7e", b"\x00\x7c"
FLOAT_NAN = np.float32(np.nan).tobytes()


@pytest.mark.parametrize(
    ("kind", "name", "place", "new", "rule"),
    [
        ("tq2_0", "blk.0.ffn_up.weight", 64, HALF_INF, "not inf at [0, 0]"),
        ("tq1_0", "blk.0.ffn_down.weight", 107, HALF_INF, None),
        ("tq1_0", "blk.0.ffn_down.weight", 106, HALF_NAN, "not nan at [0, 1]"),
        ("i2_s", "blk.0.ffn_down.weight", -32, FLOAT_NAN, "not nan"),
    ],
)
def test_scales_of_blocks(tmp_path, tiny, kind, name, place, new, rule):
    file = damaged(tmp_path, tiny, kind, name, place, new)
    if rule is None:
        with pytest.raises(CheckpointError):
            read_all(file)
        return
    scales = "the scale after the weights" if kind == "i2_s" else "scales"
    message = (
        f"{file}: {name}: {scales} must be finite and not negative, {rule}; the file is damaged"
    )
    refuses(message, read_all, file)


def test_floats_of_gguf(tmp_path, tiny):
    file = damaged(tmp_path, tiny, "tq2_0", "output_norm.weight", 8, FLOAT_NAN)
    refuses(f"{file}: output_norm.weight must be finite, not nan at [2]{END}", read_all, file)


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0", "Q5_1", "Q6_K", "Q4_K", "Q2_K", "IQ4_XS"])
def test_quantized_embeddings_of_gguf(tmp_path, tiny, kind):
    """Each type of blocks has its scales at other places: infinities everywhere find them."""
    file = tmp_path / "a.gguf"
    write_gguf(load_checkpoint(tiny()[0]), file, "tq2_0")
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "bitnet-b1.58")
    for key in ("block_count", "embedding_length", "feed_forward_length"):
        value = int(reader.fields[f"bitnet-b1.58.{key}"].contents())
        getattr(writer, f"add_{key}")(value)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    data = []
    for tensor in reader.tensors:
        raw, shape, type_ = tensor.data, tuple(reversed(tensor.shape.tolist())), tensor.tensor_type
        if tensor.name == "token_embd.weight":
            raw, type_ = (
                np.tile(np.frombuffer(HALF_INF, np.uint8), 2560 // block * size // 2),
                number,
            )
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.int8), raw.nbytes, type_)
        data.append(raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for raw in data:
        writer.write_tensor_data(np.ascontiguousarray(raw))
    writer.close()
    with pytest.raises(CheckpointError, match=r"b\.gguf: token_embd\.weight must be finite, not "):
        read_all(tmp_path / "b.gguf")


def test_a_scale_of_zero_needs_zeros():
    trits = np.ones((4, 8), np.int8)
    trits[2:, 4:] = 0
    scale = np.ones((2, 2), np.float32)
    scale[1, 1] = 0
    assert TernaryTensor.from_trits("w", trits, scale, 4).scale[1, 1] == 0
    message = "w: scales must be above 0 where weights are not 0, not 0.0 from output "
    scale[0, 1] = 0
    refuses(f"{message}0, input 4 on{END}", TernaryTensor.from_trits, "w", trits, scale, 4)
    scale[0, 1], trits[3, 7] = 1, -1
    refuses(f"{message}2, input 4 on{END}", TernaryTensor.from_trits, "w", trits, scale, 4)


def test_a_scale_that_underflowed(tmp_path, tiny):
    """llama.cpp's own writer rounds a scale of 1e-9 to the float16 0."""
    name = "blk.0.ffn_up.weight"
    file = damaged(tmp_path, tiny, "tq2_0", name, 64, b"\x00\x00")
    refuses(
        f"{file}: {name}: model.layers.0.mlp.up_proj: scales must be above 0 where weights are "
        f"not 0, not 0.0 from output 0, input 0 on{END}",
        read_all,
        file,
    )
    assert not quantize(np.full((1, 256), 1e-9, np.float32), gguf.GGMLQuantizationType.TQ2_0)[
        0, 64:
    ].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_scales_of_streams(tmp_path, tiny, value):
    folder = tmp_path / "streams"
    write_streams(load_checkpoint(tiny()[0]), folder, PRESETS["micro"])
    scales = np.fromfile(folder / "scales.bin", np.float32)
    scales[1] = value
    scales.tofile(folder / "scales.bin")
    rule = "above 0 where weights are not 0" if value == 0 else "finite and not negative"
    name = "model.layers.0.self_attn.k_proj"
    checkpoint = read_streams(folder)[1]
    refuses(
        f"{folder}: {name}: {name}: scales must be {rule}, not {value} from output 0, input 0 on"
        f"{END}",
        lambda: list(checkpoint.ternary.values()),
    )


def test_a_norm_that_float32_cannot_hold(tmp_path, tiny):
    """GGUF has norms in float32."""
    norm = np.ones(256)
    norm[4] = 1e300
    folder = tiny(tensors={NORM: norm})[0]
    message = f"{NORM} in float32 must be finite, not inf at [4]{END}"
    refuses(message, write_gguf, load_checkpoint(folder), tmp_path / "a.gguf", "tq2_0")
    assert not (tmp_path / "a.gguf").exists()


def test_a_mapped_array_is_read_from_its_file(tmp_path):
    values = np.ones((3, 2**17), np.float32)
    file = tmp_path / "values"
    file.write_bytes(b"head" + values.tobytes())
    check_finite("w", values, (file, 4))
    values[2, 9] = np.nan
    file.write_bytes(b"head" + values.tobytes())
    refuses(f"w must be finite, not nan at [2, 9]{END}", check_finite, "w", values, (file, 4))


@pytest.mark.parametrize("scale", [1e-42, 2e-38, 1e-9, 6e-8, 1e5, 3e38])
@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0", "i2_s"])
def test_scales_that_float16_cannot_hold(tmp_path, tiny, scale, kind):
    """A scale keeps its value: subnormal in float32, and 0, rounded or infinite in float16."""
    name = "model.layers.0.self_attn.v_proj"
    folder = tiny(tensors={f"{name}.weight_scale": np.array([scale], np.float32)})[0]
    source = load_checkpoint(folder)
    write_gguf(source, tmp_path / "a.gguf", kind)
    copy = load_checkpoint(tmp_path / "a.gguf")
    assert copy.ternary[name].scale == np.float32(scale)
    assert not compare(copy, source).difference
