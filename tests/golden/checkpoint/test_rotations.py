"""Files that state a Hadamard transform of activations, and files that leave it open."""

import json
from dataclasses import replace

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetModel, CheckpointError, load_checkpoint
from trilith.golden.checkpoint.compare import compare
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.network.core_kinds import CoreKindError
from trilith.golden.network.token_core import CoreModel
from trilith.hw import MatVecConfig
from trilith.hw.weight_file import write_streams

from ..test_hadamard import dense
from .test_formats import made_layer, raises

EMBEDDING = np.random.default_rng(0).standard_normal((3, 256)).astype(np.float16)
WEIGHTS = ["blk.0.attn_q.weight", "blk.0.attn_output.weight", "blk.0.ffn_down.weight"]
NORMS = {f"blk.0.{x}.weight": np.ones(256, np.float32) for x in ("attn_norm", "ffn_norm")}
NORMS |= {f"blk.0.attn_{x}_norm.weight": np.ones(64, np.float32) for x in "qk"}
NORMS["output_norm.weight"] = np.ones(256, np.float32)


ENGINE = MatVecConfig(lanes=8, rows=2, k_max=512, n_max=512)


def signs(k):
    return np.random.default_rng(k).choice([-1, 1], k).tolist()


STATED = {
    "version": 1,
    "transform": "normalized-sylvester-walsh-hadamard",
    "axis": "input-last-dimension",
    "block_size": 128,
    "sign_mode": "explicit",
    "sign_widths": [256, 512],
    "sign_values": signs(256) + signs(512),
    "weight_names": [*WEIGHTS, "token_embd.weight"],
    "inverse_weight_names": ["token_embd.weight"],
    "gdn_v_grouped": True,
}


def write(file, name="PQ2_0", *, small=True, **changes):
    """A Qwen3 model of one layer; a key that is None is left out."""
    writer = gguf.GGUFWriter(file, "qwen3")
    for key, value in (
        ("block_count", 1),
        ("embedding_length", 256),
        ("feed_forward_length", 512),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 64),
        ("context_length", 32),
    ):
        writer.add_uint32(f"qwen3.{key}", value)
    writer.add_layer_norm_rms_eps(1e-6)
    for key, value in (STATED | changes).items():
        if value is None:
            continue
        full = f"prism.hadamard.{key}"
        if small and key == "sign_values" and value:
            kind = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT8
            writer.add_key_value(full, value, *kind)
        else:
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
            add.get(type(value), writer.add_array)(full, value)
    tensors = made_layer(name)[0] | {"token_embd.weight": EMBEDDING} | NORMS
    for one, tensor in tensors.items():
        if isinstance(tensor, tuple):
            kind, shape, raw = tensor
            writer.add_tensor_info(one, shape, np.dtype(np.int8), raw.nbytes, kind)
        else:
            writer.add_tensor_info(one, tensor.shape, tensor.dtype, tensor.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors.values():
        writer.write_tensor_data(tensor[2] if isinstance(tensor, tuple) else tensor)
    writer.close()
    return file


def matrix(k):
    """R of ``R x = H(s ⊙ x) / √n`` as a matrix in float64."""
    blocks = np.kron(np.eye(k // 128), dense(128))
    return blocks @ np.diag(np.array(signs(k), float)) / 128**0.5


class Dense:
    """A transform of activations as a matrix."""

    def __init__(self, k):
        self.matrix = matrix(k)

    def check_inputs(self, k):
        assert self.matrix.shape == (k, k)

    def __call__(self, x):
        return (x @ self.matrix.T).astype(np.float32)

    def inverse(self, z):
        return (z @ self.matrix).astype(np.float32)


@pytest.mark.parametrize("name", ["PQ2_0", "PTQ1_0", "Q2_0_128", "TQ2_0"])
@pytest.mark.parametrize("small", [True, False])
def test_a_stated_transform_runs(tmp_path, name, small):
    """The model equals one whose transforms are products with a matrix in float64."""
    file = write(tmp_path / "a.gguf", name, small=small)
    checkpoint = load_checkpoint(file)
    assert checkpoint.strange_keys.unknown == checkpoint.strange_keys.other == ()
    model, tokens = BitNetModel.load(file), [0, 2, 1, 1]
    layer = model.layers[0]
    with_one = {x for x, linear in layer.linears.items() if linear.transform}
    assert with_one == {"self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"}
    linears = {
        x: replace(one, transform=Dense(one.weight.shape[1])) if one.transform else one
        for x, one in layer.linears.items()
    }
    reference = replace(
        model,
        layers=(replace(layer, linears=linears),),
        latent=Dense(256),
        head_transform=Dense(256),
    )
    logits, expected = model.forward(tokens), reference.forward(tokens)
    assert np.abs(logits - expected).max() < 1e-3 * np.abs(expected).max()
    # Without one of the transforms the logits are others.
    for other in (
        replace(model, latent=None),
        replace(model, head_transform=None),
        replace(model, layers=(replace(layer, linears={
            x: replace(one, transform=None) for x, one in layer.linears.items()
        }),)),
    ):  # fmt: skip
        assert np.abs(other.forward(tokens) - expected).max() > 0.1 * np.abs(expected).max()


def test_identity_signs_and_a_head_of_plain_rows(tmp_path):
    none = {"sign_widths": None, "sign_values": None, "inverse_weight_names": None}
    file = write(tmp_path / "a.gguf", sign_mode="identity", weight_names=WEIGHTS, **none)
    model = BitNetModel.load(file)
    assert model.latent is model.head_transform is None
    assert model.layers[0].linears["mlp.down_proj"].transform.signs is None


@pytest.mark.parametrize("to", ["pq2_0", "ptq1_0"])
def test_conversions_keep_the_transform(tmp_path, to):
    source = load_checkpoint(write(tmp_path / "a.gguf"))
    write_gguf(source, tmp_path / "b.gguf", to)
    again = load_checkpoint(tmp_path / "b.gguf")
    assert "trilith.activation_transform" not in GgufFile(again.path).metadata
    assert compare(again, source).difference == ""
    tokens = [1, 2, 0]
    np.testing.assert_array_equal(
        BitNetModel.load(again.path).forward(tokens), BitNetModel.load(source.path).forward(tokens)
    )
    write(tmp_path / "c.gguf", sign_values=signs(256) + [-s for s in signs(512)])
    other = "the transform of activations is another one than in the source"
    for file in ("c.gguf", "d.gguf"):
        if file == "d.gguf":
            object.__setattr__(source, "rotations", None)
            write_gguf(source, tmp_path / file, to)
        assert compare(again, load_checkpoint(tmp_path / file)).difference == other


def test_formats_that_cannot_hold_a_transform(tmp_path):
    source = load_checkpoint(file := write(tmp_path / "a.gguf"))
    raises(
        f"{file}: a file of TQ2_0 must not need a Hadamard transform of activations, which other "
        "programs would leave out in silence",
        lambda: write_gguf(source, tmp_path / "b.gguf", "tq2_0"),
    )
    for mlx in (False, True):
        raises(
            f"{file}: a folder must not need a Hadamard transform of activations, which "
            "transformers and MLX would leave out in silence",
            lambda mlx=mlx: write_huggingface(source, tmp_path / "b", mlx=mlx),
        )
    raises(
        f"{file}: streams have no place for the Hadamard transform in front of the matrices",
        lambda: write_streams(source, tmp_path / "b", ENGINE),
    )
    with pytest.raises(
        CoreKindError,
        match=r"^no token core can run the model: its matrices have a Hadamard transform in front; "
        r"run it in --backend golden or rtl$",
    ):
        CoreModel(model=BitNetModel.load(file))
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


#: Changes of the statement, and what is wrong with it.
WRONG = {
    "version": ({"version": 2}, "version must be 1, not 2"),
    "no version": ({"version": None}, "version is missing"),
    "transform": ({"transform": "slant"}, "transform must be "
                  "'normalized-sylvester-walsh-hadamard', not 'slant'"),
    "axis": ({"axis": "output"}, "axis must be 'input-last-dimension', not 'output'"),
    "size": ({"block_size": 2048}, "block_size must be one of 64, 128, 256, 512, 1024, not 2048"),
    "no size": ({"block_size": None}, "block_size must be one of 64, 128, 256, 512, "
                "1024, not None"),
    "size of a row": ({"block_size": 1024}, "block_size must divide the 256 inputs of "
                      "model.layers.0.self_attn.q_proj, and is 1024"),
    "unknown": ({"tempo": 1}, "tempo is a key that is not known"),
    "mode": ({"sign_mode": "random"}, "sign_mode must be identity without signs, or explicit, not "
             "'random'"),
    "mode and signs": ({"sign_mode": "identity"}, "sign_mode must be identity without signs, or "
                       "explicit, not 'identity'"),
    "sum": ({"sign_widths": [256, 512, 64]}, "sign_values must have 832 values, the sum of "
            "sign_widths, not 768"),
    "twice": ({"sign_widths": [256, 256, 256]}, "sign_widths must have each number of inputs once, "
              "above 0"),
    "width": ({"sign_widths": [256, 500, 12]}, "sign_widths must have 512, the inputs of a matrix"),
    "sign": ({"sign_values": [0] * 768}, "sign_values must be 1 and -1"),
    "text": ({"sign_widths": "256"}, "sign_widths and sign_values must be lists of integers"),
    "none named": ({"weight_names": None, "inverse_weight_names": None}, "weight_names must name a "
                   "matrix, and is empty or missing"),
    "no list": ({"weight_names": 3}, "weight_names must be a list of names of tensors"),
    "a norm": ({"weight_names": ["blk.0.attn_norm.weight"]}, "weight_names must name matrices of "
               "the model, not 'blk.0.attn_norm.weight'"),
    "another layer kind": ({"weight_names": ["blk.0.ssm_out.weight"]}, "weight_names must name "
                           "matrices of the model, not 'blk.0.ssm_out.weight'"),
    "a name twice": ({"weight_names": WEIGHTS * 2}, "weight_names must name a tensor once, not "
                     "'blk.0.attn_q.weight' twice"),
    "rows only": ({"weight_names": WEIGHTS}, "weight_names and inverse_weight_names must both "
                  "name the embedding, or neither, where it is the head too"),
    "rows of another": ({"inverse_weight_names": WEIGHTS}, "inverse_weight_names must name "
                        "matrices of the model, not 'blk.0.attn_q.weight'"),
    "grouped": ({"gdn_v_grouped": 1}, "gdn_v_grouped must be true or false, not 1"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), WRONG.values(), ids=WRONG.keys())
def test_statements_that_are_not_understood(tmp_path, changes, reason):
    file = write(tmp_path / "a.gguf", **changes)
    checkpoint = load_checkpoint(file)
    assert checkpoint.strange_keys.unknown == (f"prism.hadamard ({reason})",)
    # A run, a conversion, and the matrices alone.
    for use in (
        lambda: BitNetModel.load(file),
        lambda: write_gguf(checkpoint, tmp_path / "b.gguf", "pq2_0"),
        lambda: write_streams(checkpoint, tmp_path / "b", ENGINE),
    ):
        raises(
            f"{file}: the metadata key prism.hadamard ({reason}) is not understood; results "
            "without it may be wrong, so take the original checkpoint",
            use,
        )


def test_a_file_beside_the_weights(tmp_path, random_model):
    """BitNet v2 has the transform in front of the output and of the down projection."""
    source = random_model("bitnet", hidden_size=128, intermediate_size=192, head_dim=32)
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    stored = load_file(source / "model.safetensors")
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    names = [
        f"model.layers.{layer}.{x}.weight"
        for layer in range(3)
        for x in ("self_attn.o_proj", "mlp.down_proj")
    ]
    stated = {
        key: value for key, value in STATED.items() if key in ("version", "transform", "axis")
    } | {"block_size": 64, "sign_mode": "identity", "weight_names": names}
    file = tmp_path / "hadamard.json"
    file.write_text(json.dumps({f"prism.hadamard.{key}": x for key, x in stated.items()}))
    model, plain = BitNetModel.load(tmp_path), BitNetModel.load(source)
    for layer, other in zip(model.layers, plain.layers, strict=True):
        down, x = layer.linears["mlp.down_proj"], np.arange(192, dtype=np.float32)[None] - 96
        turned = (x.reshape(3, 64) @ dense(64) / 8).reshape(1, 192).astype(np.float32)
        np.testing.assert_array_equal(down(x), other.linears["mlp.down_proj"](turned))
        assert layer.linears["mlp.up_proj"].transform is None
    assert not np.allclose(model.forward([1, 2]), plain.forward([1, 2]))
    file.write_text(json.dumps({"block_size": 64}))
    raises(f"{file}: 'block_size' is a key that is not known", lambda: load_checkpoint(tmp_path))
    file.write_text(json.dumps({"prism.hadamard.version": 2}))
    raises(f"{file}: version must be 1, not 2", lambda: load_checkpoint(tmp_path))


def test_another_length_than_the_matrix(tmp_path):
    model = BitNetModel.load(write(tmp_path / "a.gguf"))
    linears = model.layers[0].linears
    down = linears["mlp.down_proj"].transform
    with pytest.raises(ValueError, match=r"^the transform must have 512 inputs, not 256$"):
        replace(linears["self_attn.q_proj"], transform=down)
    assert issubclass(CheckpointError, ValueError)
