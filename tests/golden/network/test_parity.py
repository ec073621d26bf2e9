"""The golden models against transformers' own, on the CPU in float32."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import (
    BitNetModel,
    CheckpointError,
    absmax_quantize,
    load_checkpoint,
    packed_matmul,
)
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.network.transformer import KVCache

from ..checkpoint import test_rotations as rotated

reason = "needs torch and transformers: pip install 'trilith[parity]'"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)
pytest.importorskip("accelerate", reason=reason)

#: Family, seed, and changes to the random model.
MODELS = {
    "bitnet": ("bitnet", 0, {}),
    "bitnet, ±1": ("bitnet", 1, {"binary": True}),
    "bitnet, wide": ("bitnet", 2, {"hidden_size": 256, "intermediate_size": 384}),
    "bitnet, silu": ("bitnet", 7, {"hidden_act": "silu"}),
    "bitnet, separate head": ("bitnet", 3, {"tie_word_embeddings": False}),
    "llama": ("llama", 4, {}),
    "llama, tied, one kv head": (
        "llama",
        5,
        {"tie_word_embeddings": True, "num_key_value_heads": 1},
    ),
    "llama, wide heads": ("llama", 6, {"head_dim": 32, "rope_theta": 500000.0}),
    "qwen3": ("qwen3", 8, {}),
    "qwen3, tied, one kv head": (
        "qwen3",
        9,
        {"tie_word_embeddings": True, "num_key_value_heads": 1, "rope_theta": 1e6},
    ),
    "qwen3, multiplied, narrow heads": (
        "qwen3",
        10,
        {
            "head_dim": 8,
            "quantization_config": {
                "quant_method": "bitnet",
                "linear_class": "autobitlinear",
                "quantization_mode": "offline",
            },
        },
    ),
}


SIZES_OF_GROUPS = {
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "head_dim": 96,
    "rope_theta": 1e6,
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS.keys())
def pair(request, random_model):
    """A model in transformers, and the same folder in golden."""
    family, seed, changes = request.param
    folder = random_model(family, seed=seed, **changes)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return theirs.eval(), folder


def run(theirs, tokens):
    """Logits float32[T, V], and what went into and came out of each linear layer, by name."""
    seen = {}

    def watch(name):
        def hook(module, inputs, output):
            seen[name] = (inputs[0][0].numpy(), output[0].numpy())

        return hook

    watches = [
        module.register_forward_hook(watch(name))
        for name, module in theirs.named_modules()
        if name.endswith("_proj")
    ]
    with torch.no_grad():
        logits = theirs(torch.tensor(tokens)[None]).logits[0].numpy()
    for hook in watches:
        hook.remove()
    return logits, seen


def test_integers_are_equal_given_the_same_inputs(pair):
    theirs, folder = pair
    tokens = np.random.default_rng(0).integers(0, 160, 50)
    _, seen = run(theirs, tokens)
    model = BitNetModel.load(folder)
    compared = 0
    for index, layer in enumerate(model.layers):
        for short, linear in layer.linears.items():
            module = theirs.get_submodule(name := f"model.layers.{index}.{short}")
            x, y = seen[name]
            q, scale = absmax_quantize(x)
            scale_theirs = scale
            if hasattr(module, "activation_quant"):
                q_theirs, scale_theirs = module.activation_quant(torch.tensor(x))
                q_theirs, scale_theirs = q_theirs.numpy(), scale_theirs.numpy()
            else:
                # Fake quantization returns q / scale, from which q comes back by rounding.
                fake = transformers.integrations.bitnet.ActQuant.apply(torch.tensor(x)).numpy()
                q_theirs = np.rint(fake * scale)
            np.testing.assert_array_equal(q, q_theirs)
            # Their float sums, scaled back, are golden's integers.
            integers = packed_matmul(linear.weight, q)
            if linear.weight.divides:
                # The same operations in the same order, given their scale of the activations,
                # which PyTorch computes as 127 times a reciprocal.
                theirs_too = replace(linear, quantize=lambda _, q=q, s=scale_theirs: (q, s))
                np.testing.assert_array_equal(theirs_too(x), y)
            back = y / linear.weight.multiplier * scale
            np.testing.assert_allclose(back, integers, atol=0.05)
            np.testing.assert_array_equal(np.rint(back), integers)
            compared += q.size
    assert compared > 50_000


def test_end_to_end_differs_at_ties_only(pair):
    """Golden goes its own way, but where an activation is a tie it takes transformers' side.

    A tie is a value within 0.001 of a half. Otherwise one tie would shift everything after it.
    """
    theirs, folder = pair
    tokens = np.random.default_rng(1).integers(0, 160, 50)
    logits, seen = run(theirs, tokens)
    ties = total = 0

    def multiply(weight, q):
        nonlocal ties, total
        x, _ = seen[weight.name]
        q_theirs, scale = absmax_quantize(x)
        differ = q != q_theirs
        assert np.abs(q[differ].astype(int) - q_theirs[differ]).max(initial=0) <= 1
        assert np.abs(np.abs((x * scale)[differ]) % 1 - 0.5).max(initial=0) < 1e-3
        ties += int(differ.sum())
        total += q.size
        return packed_matmul(weight, q_theirs)

    ours = BitNetModel.load(folder, matmul=multiply).forward(tokens)
    assert ties <= total / 10_000, f"{ties} of {total}"
    assert np.abs(ours - logits).max() < 1e-3 * np.abs(logits).max()


def test_the_same_greedy_tokens(pair, record_property):
    theirs, folder = pair
    prompt = [3, 1, 4, 15, 92, 65]
    with torch.no_grad():
        out = theirs.generate(
            torch.tensor(prompt)[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=64,
            min_new_tokens=64,
            eos_token_id=None,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
    expected = out.sequences[0, len(prompt) :].tolist()
    assert len(expected) == 64
    ours = list(islice(BitNetModel.load(folder).generate(prompt), 64))
    if ours != expected:
        step = next(i for i in range(64) if ours[i] != expected[i])
        second, first = np.sort(out.logits[step][0].numpy())[-2:]
        # Equal to the bar's 1e-3 of the largest logit: a tie, after which the texts part.
        assert first - second < 1e-3 * np.abs(out.logits[step].numpy()).max(), f"step {step}"
        record_property("tie of logits at step", step)


def write_published_qwen3(folder, random_model, dtype=np.float16, **changes):
    """Qwen3 as it is published: float16 whose groups of 128 inputs are ternary, rows too."""
    source = random_model("qwen3", **SIZES_OF_GROUPS | changes)
    config = json.loads((source / "config.json").read_text())
    del config["quantization_config"]
    stored, rng = load_file(source / "model.safetensors"), np.random.default_rng(5)
    for name in [x for x in stored if x.endswith("_scale")]:
        del stored[name]
    tables = ("model.embed_tokens.weight", "lm_head.weight")
    for name in [x for x in stored if x.endswith("_proj.weight") or x in tables]:
        packed = stored[name].dtype == np.uint8
        n, k = (len(stored[name]) * (4 if packed else 1)), stored[name].shape[1]
        scale = rng.uniform(0.5, 2, (n, k // 128)).astype(dtype) / dtype(16 if packed else 1)
        stored[name] = rng.integers(-1, 2, (n, k)).astype(dtype) * scale.repeat(128, axis=1)
    stored = {name: x.astype(dtype if x.ndim == 2 else np.float32) for name, x in stored.items()}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def quantize_inputs(theirs):
    """Let each linear layer but the head take activations of int8, as transformers' BitLinear."""
    quantize = transformers.integrations.bitnet.ActQuant.apply
    for name, module in theirs.named_modules():
        if name.endswith("_proj"):
            module.register_forward_pre_hook(lambda _, inputs: (quantize(inputs[0]),))
    return theirs


class TheirSide:
    """A product of integers that takes transformers' side of ties.

    What a layer of transformers saw is q / scale already. Groups of inputs come in order.
    """

    def __init__(self, seen):
        self._seen, self._places, self.ties = seen, {}, 0

    def __call__(self, weight, q):
        x, _ = self._seen[weight.name]
        start = self._places.get(weight.name, 0)
        theirs = absmax_quantize(x)[0][:, start : start + q.shape[1]]
        self._places[weight.name] = (start + q.shape[1]) % x.shape[1]
        assert np.abs(q.astype(int) - theirs).max() <= 1
        self.ties += int((q != theirs).sum())
        return packed_matmul(weight, theirs)


@pytest.mark.parametrize("tied", [True, False])
def test_published_qwen3(tmp_path, random_model, tied):
    """Transformers' own Qwen3 in float32 with the file's floats, and golden's trits and scales."""
    folder = write_published_qwen3(tmp_path, random_model, tie_word_embeddings=tied)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    tokens = np.random.default_rng(1).integers(0, 160, 30)
    logits, seen = run(quantize_inputs(theirs.eval()), tokens)
    multiply = TheirSide(seen)
    model = BitNetModel.load(folder, matmul=multiply)
    down = model.layers[0].linears["mlp.down_proj"].weight
    assert (down.group_size, down.scale.shape) == (128, (256, 3))
    ours = model.forward(tokens)
    assert multiply.ties <= 20
    assert np.abs(ours - logits).max() < 1e-3 * np.abs(logits).max()


def test_a_hadamard_transform(tmp_path):
    """Transformers' Qwen3 with the transform as a product with a matrix, and plain embeddings."""
    file = rotated.write(tmp_path / "a.gguf")
    checkpoint = load_checkpoint(file)
    theirs = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**checkpoint.config)).eval()
    state = theirs.state_dict()
    table = rotated.EMBEDDING.astype(np.float64) @ rotated.matrix(256)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name].copy_(torch.tensor(table))
    for module, tensor in checkpoint.ternary.items():
        scale = tensor.scale.repeat(tensor.shape[0] // len(tensor.scale), axis=0)
        weights = tensor.trits * scale.repeat(tensor.group_size, axis=1)
        state[f"{module}.weight"].copy_(torch.tensor(weights))
        if module.endswith(("q_proj", "o_proj", "down_proj")):
            r = torch.tensor(rotated.matrix(tensor.shape[1]).T)
            theirs.get_submodule(module).register_forward_pre_hook(
                lambda _, inputs, r=r: ((inputs[0].double() @ r).float(),)
            )
    tokens = [0, 2, 1, 1, 0]
    logits, seen = run(quantize_inputs(theirs), tokens)
    multiply = TheirSide(seen)
    ours = BitNetModel.load(file, matmul=multiply).forward(tokens)
    assert multiply.ties <= 5
    assert np.abs(ours - logits).max() < 1e-3 * np.abs(logits).max()


def test_a_group_that_is_not_ternary_is_refused(tmp_path, random_model):
    folder = write_published_qwen3(tmp_path, random_model)
    stored = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    stored[name][3, 5] = 0.3
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as refusal:
        BitNetModel.load(folder)
    assert str(refusal.value) == (
        f"{folder}/model.safetensors: {name} must be ternary (each scale's weights in -s, 0, +s), "
        "and holds float master weights; quantize them with --quantize absmean "
        "(quantize='absmean')"
    )


def test_transformers_loads_the_stored_model():
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        PYDOC, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    # It converts packed layers only, and its own conversion refuses quantized models.
    for value in theirs.parameters():
        value.data = value.data.float()
    tokenizer = transformers.AutoTokenizer.from_pretrained(PYDOC)
    prompt = tokenizer("Return a list of")["input_ids"]
    assert prompt == load_tokenizer(PYDOC).encode("Return a list of").ids
    with torch.no_grad():
        logits = theirs(torch.tensor(prompt)[None]).logits[0].numpy()
    ours = BitNetModel.load(PYDOC).forward(prompt)
    assert np.abs(ours - logits).max() < 1e-3 * np.abs(logits).max()
    assert (ours.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_a_cache_changes_nothing(pair):
    _, folder = pair
    tokens = np.random.default_rng(2).integers(0, 160, 20)
    model = BitNetModel.load(folder)
    whole = model.forward(tokens)
    cache = KVCache(model.config)
    parts = [model.forward(tokens[a:b], cache) for a, b in ((0, 7), (7, 8), (8, 9), (9, 20))]
    assert cache.length == 20
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-4 * np.abs(whole).max())
