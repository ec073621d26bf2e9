import json
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.cli.main import main
from trilith.cli.model import _FOLDERS, _Target
from trilith.cli.options import Type42
from trilith.golden.checkpoint.gguf_layouts import LAYOUTS
from trilith.golden.checkpoint.gguf_places import asked_layouts
from trilith.golden.data import DIGITS, PYDOC, SHERRY_DIGITS


@pytest.fixture
def model(monkeypatch, capsys):
    """Run the command in this process, which saves starting Python a few dozen times."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["trilith", "model", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return subprocess.CompletedProcess(arguments, end.value.code or 0, *capsys.readouterr())

    return run


DIVIDES = {"quant_method": "bitnet"}


def refused(done, message):
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.removeprefix("trilith: ").removeprefix("Invalid value: ") == f"{message}\n"


def test_inspect(model, tiny):
    folder, trits, _ = tiny()
    done = model("inspect", folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "family  bitnet, relu2, sub-norms",
        "format  huggingface packed",
        "scale   multiplied (autobitlinear)",
    ]
    assert "hidden_size          256" in lines
    row = next(line for line in lines if line.startswith("model.layers.0.mlp.down_proj "))
    t = trits["model.layers.0.mlp.down_proj"]
    assert row.split()[1:7] == ["256", "x", "512", "U8", "1", "512"]
    assert f"{(t == 0).mean():.2%}" in row
    assert lines[-1].startswith("7 matrices, 589824 weights, 0.1 MB: ")
    report = json.loads(model("inspect", folder, "--json").stdout)
    assert report["total"]["weights"] == 589824
    assert [x["name"] for x in report["tensors"]] == list(trits)
    zeros = sum(x["zero_fraction"] * x["n"] * x["k"] for x in report["tensors"])
    assert report["total"]["zero_fraction"] == pytest.approx(zeros / 589824)


def test_inspect_says_what_can_be_done(model, tmp_path, tiny):
    folder, _, _ = tiny(max_position_embeddings=64)
    file = tmp_path / "a.gguf"
    assert model("convert", folder, file, "--to", "q2_0_64").returncode == 0
    report = json.loads(model("inspect", file, "--json").stdout)
    assert report["container"] == "GGUF"
    assert report["told_apart"] == [
        "Q2_0_64: by the size of its blocks, 18 bytes per 64 weights; the number 42 also stands "
        "for other layouts"
    ]
    assert report["needs"] == [
        "norms attn_sub_norm ffn_sub_norm input_layernorm post_attention_layernorm",
        "activation relu2",
        "rotary positions (default)",
        "the embedding as head",
    ]
    for what in ("read", "verify", "convert", "generate", "engine", "token_core"):
        assert report[what] == "yes"
    other, _, _ = tiny(
        "qwen", model_type="qwen3", hidden_act="silu", head_dim=64, max_position_embeddings=64
    )
    report = json.loads(model("inspect", other, "--json").stdout)
    why = (
        "no: no token core can run the model: its model_type 'qwen3' has norms of queries and keys "
        "(q_norm, k_norm); run it in --backend golden or rtl"
    )
    assert [report[x] for x in ("convert", "generate", "engine")] == ["yes"] * 3
    assert report["token_core"] == why
    assert "norms input_layernorm k_norm post_attention_layernorm q_norm" in report["needs"]
    assert model("convert", folder, file, "--to", "pq2_0", "--force").returncode == 0
    content = file.read_bytes()
    file.write_bytes(content.replace(b"trilith.activation_tr", b"general.activation_tr"))
    report = json.loads(model("inspect", file, "--json").stdout)
    why = "prism.hadamard (missing, though models with PQ2_0 need its transform)"
    for what in ("convert", "generate", "engine", "token_core"):
        assert report[what] == (
            f"no: {file}: the metadata key {why} is not understood; results without it may be "
            "wrong, so take the original checkpoint"
        )
    assert f"not understood: {why}" in report["needs"]
    strange, _, _ = tiny("strange", prism_hadamard=1024)
    report = json.loads(model("inspect", strange, "--json").stdout)
    assert report["convert"].startswith(f"no: {strange}: config's prism_hadamard = 1024 is not")
    assert "not understood: prism_hadamard = 1024" in report["needs"]


@pytest.mark.parametrize(
    "to",
    [
        *("huggingface", "tq1_0", "tq2_0", "i2_s", "stream"),
        *("q2_0_64", "q2_0_128", "iq2_bn", "pq2_0", "ptq1_0", "mlx"),
    ],
)
def test_convert_and_verify(model, tmp_path, tiny, to):
    folder, _, _ = tiny()
    target = tmp_path / "target"
    done = model("convert", folder, target, "--to", to)
    assert done.returncode == 0, done.stderr
    said = f"{target}: 7 matrices; 'trilith model verify' compares them with the source\n"
    if to not in _FOLDERS:
        said += (
            f"no tokenizer was written: {folder}/tokenizer.json: the model's tokenizer is missing; "
            "copy it there\n"
        )
    assert done.stdout == said
    done = model("verify", target, folder)
    assert done.returncode == 0, done.stderr
    others = 0 if to == "stream" else 4
    assert done.stdout == (
        f"7 matrices compared and equal: 589824 trits and 7 scales; {others} other tensors equal\n"
    )


def test_verify_counts_differences(model, tmp_path, tiny):
    one, two = tiny("one", seed=1)[0], tiny("two", seed=2)[0]
    done = model("verify", one, two)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "7 matrices compared: 589824 trits and 7 scales; 4 other tensors"
    found = json.loads(model("verify", one, two, "--json").stdout)
    assert (found["equal"], found["matrices"], len(found["differences"])) == (False, 7, 11)
    numbers = found["different"]
    assert 0.6 < numbers["trits"] / 589824 < 0.7
    assert (numbers["tensors"], numbers["scales"]) == (11, 7)
    assert lines[1] == (
        f"DIFFERENT: tensors 11, trits {numbers['trits']}, scales 7, other values "
        f"{numbers['values']}"
    )
    first = found["differences"][0]
    assert found["difference"] == f"{first['name']} {first['first'][0]}"
    assert len(first["first"]) == 4
    row = next(line for line in lines if line.startswith(first["name"]))
    assert row.split()[1:4] == [str(first["trits"]), "1", "0"]
    assert row.endswith(first["first"][0])


def test_the_digits_as_an_engine_takes_them(model, tmp_path):
    target = tmp_path / "weights"
    done = model("convert", DIGITS, target, "--to", "stream", "--preset", "micro", "--code", "tq1")
    assert done.returncode == 0, done.stderr
    assert json.loads((target / "manifest.json").read_text())["config"]["code"] == "tq1"
    report = json.loads(model("inspect", target, "--json").stdout)
    assert report["format"] == "streams, tq1, 8 lanes x 5 rows"
    assert [(x["n"], x["k"]) for x in report["tensors"]] == [(256, 64), (256, 256), (10, 256)]


def test_refusals(model, tmp_path, tiny):
    folder, _, _ = tiny()
    out = tmp_path / "out"
    refused(
        model("inspect", tmp_path / "none"),
        f"{tmp_path}/none: must be a checkpoint that can be read: No such file or directory",
    )
    refused(
        model("convert", folder, out, "--to", "q4_k"),
        "--to must be huggingface, tq1_0, tq2_0, i2_s, q2_0_64, q2_0_128, stq1_0, iq2_bn, pq2_0, "
        "ptq1_0, mlx or stream, not 'q4_k'",
    )
    refused(
        model("convert", folder, out, "--to", "stream", "--preset", "big"),
        "--preset must be micro, line, block, bitnet or compact, not 'big'",
    )
    refused(
        model("convert", folder, out, "--to", "stream", "--code", "base4"),
        "--code must be base3, escape, tq1, two_bit, binary or sherry, not 'base4'",
    )
    refused(
        model("convert", folder, out, "--to", "i2_s", "--code", "base3"),
        "--code must not be given without --to stream, which it is for",
    )
    refused(
        model("convert", folder, out, "--to", "stream", "--k-max", "300"),
        "model.layers.0.mlp.down_proj: K must be at most the engine's k_max 300, not 512; give "
        "--k-max",
    )
    refused(
        model("inspect", folder, "--quantize", "int4"),
        "--quantize must be absmean, not 'int4'",
    )
    assert not out.exists()


def test_layouts_of_i2_s(model, tmp_path, relayout):
    file, again = tmp_path / "a.gguf", tmp_path / "b.gguf"
    assert model("convert", PYDOC, file, "--to", "i2_s").returncode == 0
    done = model("inspect", file)
    assert done.stderr == ""
    line = next(line for line in done.stdout.splitlines() if line.startswith("I2_S"))
    assert line.split()[1:4] == ["block128,", "clear", "from"]
    relayout(file, "block64")
    for arguments in (
        ["inspect", file],
        ["convert", file, again, "--to", "huggingface"],
        ["verify", file, PYDOC],
    ):
        done = model(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "look like block64 and not like block128" in done.stderr
        assert done.stderr.endswith("give --i2s-layout block64 (i2s_layout='block64')\n")
    asked = ("--i2s-layout", "block64")
    found = json.loads(model("inspect", file, "--json", *asked).stdout)["i2s_layout"]
    assert (found["layout"], found["asked"], found["clear"]) == ("block64", True, True)
    assert set(found["sigmas"]) == {"block128", "rows4"}
    assert model("verify", file, PYDOC, *asked).returncode == 0
    # Written in the default layout, whatever the source has.
    assert model("convert", file, again, "--to", "i2_s", *asked).returncode == 0
    assert model("verify", again, file, *asked).returncode == 0
    assert json.loads(model("inspect", again, "--json").stdout)["i2s_layout"]["clear"]
    refused(
        model("inspect", file, "--i2s-layout", "arm"),
        "--i2s-layout must be auto, block128, block64 or rows4, not 'arm'",
    )


def test_weights_that_do_not_show_their_layout(model, tmp_path, tiny):
    folder, _, _ = tiny()
    file = tmp_path / "a.gguf"
    assert model("convert", folder, file, "--to", "i2_s").returncode == 0
    done = model("inspect", file)
    assert done.returncode == 0
    assert done.stderr.startswith(f"trilith: warning: {file}: the I2_S weights are read as block")
    assert done.stderr.count("\n") == 1


def test_nan_is_refused(model, tmp_path, tiny):
    good = tiny("good")[0]
    name = "model.layers.0.self_attn.attn_sub_norm.weight"
    wrong = np.ones(256, np.float32)
    wrong[7] = np.inf
    folder = tiny("bad", {name: wrong})[0]
    out = tmp_path / "out"
    message = (
        f"{folder}/model.safetensors: {name} must be finite, not inf at [7]; the file is damaged, "
        "or was written after an overflow"
    )
    for arguments in (
        ["inspect", folder],
        ["convert", folder, out, "--to", "i2_s"],
        ["convert", folder, out, "--to", "huggingface"],
        ["verify", folder, good],
        ["verify", good, folder],
    ):
        refused(model(*arguments), message)
        assert not out.exists()


def test_what_is_not_understood(model, tmp_path, tiny):
    bias = {"model.layers.0.self_attn.q_proj.bias": np.ones(256, np.float32)}
    folder, _, _ = tiny(tensors=bias, logit_scale=0.5)
    words = "logit_scale = 0.5, model.layers.0.self_attn.q_proj.bias"
    assert f"not understood  {words}" in model("inspect", folder).stdout.splitlines()
    found = json.loads(model("inspect", folder, "--json").stdout)["not_understood"]
    assert found == words.split(", ")
    for to in ("tq1_0", "i2_s"):
        refused(
            model("convert", folder, tmp_path / "new", "--to", to),
            f"{folder}: config's logit_scale = 0.5 is not understood; results without it may be "
            "wrong, so delete it from config.json only if it changes no result",
        )
    for to in ("huggingface", "stream"):
        refused(
            model("convert", folder, tmp_path / "new", "--to", to),
            f"{folder}: no layer of the model reads {next(iter(bias))}; results without it would "
            "be wrong, so take the files and the config.json of one model",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_activation_of_a_gguf_file(model, tmp_path, tiny):
    source, _, _ = tiny(hidden_act="silu")
    file, open_file = tmp_path / "a.gguf", tmp_path / "b.gguf"
    assert model("convert", source, file, "--to", "tq2_0").returncode == 0
    # As files of other programs are: the key has another name, which nothing reads.
    open_file.write_bytes(
        file.read_bytes().replace(b"bitnet.hidden_activation", b"general.xidden_activatio")
    )
    assert model("inspect", open_file).stdout.startswith("family  bitnet, activation not stated, ")
    done = model("convert", open_file, tmp_path / "c", "--to", "huggingface")
    assert "name the model's own with --hidden-act" in done.stderr
    again = ("convert", open_file, tmp_path / "c", "--to", "huggingface", "--hidden-act", "silu")
    assert model(*again).returncode == 0
    assert json.loads((tmp_path / "c" / "config.json").read_text())["hidden_act"] == "silu"
    assert model("verify", tmp_path / "c", source).returncode == 0
    refused(
        model("convert", source, tmp_path / "d", "--to", "i2_s", "--hidden-act", "silu"),
        f"{source}: the activation of a GGUF file is in config.json here; leave out --hidden-act "
        "(hidden_act)",
    )


#: Changes to a model, the format that refuses it, and those that accept it.
REFUSALS = {
    "narrow": (
        {"hidden_size": 64},
        "i2_s",
        ["huggingface", "q2_0_64", "iq2_bn", "mlx", "stream"],
    ),
    "narrow for TQ": (
        {"hidden_size": 128},
        "tq1_0",
        [
            *("huggingface", "i2_s", "q2_0_64", "q2_0_128"),
            *("iq2_bn", "pq2_0", "ptq1_0", "mlx", "stream"),
        ],
    ),
    "scaled positions": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 4}},
        "tq2_0",
        ["huggingface", "mlx", "stream"],
    ),
    "four end tokens": ({"eos_token_id": [1, 2, 3, 4]}, "i2_s", ["huggingface", "mlx", "stream"]),
    "another kind of model": (
        {"model_type": "llama", "hidden_act": "relu2"},
        "tq1_0",
        ["huggingface", "mlx", "stream"],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_that_formats_of_an_advice_accept_the_model(model, tmp_path, tiny, case):
    changes, to, others = REFUSALS[case]
    folder, _, _ = tiny(**changes)
    done = model("convert", folder, tmp_path / "new", "--to", to)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"; give --to {' or '.join(others)}\n")
    for other in _Target:
        done = model("convert", folder, tmp_path / other, "--to", other)
        assert done.returncode == (0 if other in others else 2), done.stderr


def test_scales_that_only_some_formats_hold(model, tmp_path, tiny):
    """Float weights whose scales differ by group of rows, or by group of inputs."""
    blocks = "q2_0_64 or q2_0_128"
    for groups, others in (
        ((2, 1), f"huggingface or tq1_0 or tq2_0 or {blocks} or iq2_bn or pq2_0 or ptq1_0"),
        ((1, 2), f"huggingface or {blocks} or pq2_0 or ptq1_0"),
    ):
        others += " or mlx or stream"
        folder, trits, _ = tiny(f"source{groups[1]}", quantization_config={})
        stored = load_file(folder / "model.safetensors")
        for name, found in trits.items():
            del stored[f"{name}.weight_scale"]
            n, k = found.shape
            scale = np.array([0.5, 0.25], np.float32).reshape(groups)
            scale = scale.repeat(n // groups[0], 0).repeat(k // groups[1], 1)
            stored[f"{name}.weight"] = found * scale
        save_file(stored, folder / "model.safetensors")
        done = model("convert", folder, tmp_path / "new", "--to", "i2_s")
        rule = f"has {groups[0]} x {groups[1]} scales, and I2_S must have one for each matrix"
        refused(done, f"model.layers.0.self_attn.q_proj {rule}; give --to {others}")
        for to in others.split(" or "):
            target = tmp_path / f"{to}{groups[1]}"
            assert model("convert", folder, target, "--to", to).returncode == 0


def test_an_advice_leaves_out_streams_of_a_matrix_that_is_too_large(model, tmp_path, tiny):
    folder, _, _ = tiny(hidden_size=64, intermediate_size=7168)
    done = model("convert", folder, tmp_path / "new", "--to", "i2_s")
    rule = "q_proj.weight must have a multiple of 128 inputs for i2_s, not 64"
    advice = "give --to huggingface or q2_0_64 or iq2_bn or mlx"
    refused(done, f"model.layers.0.self_attn.{rule}; {advice}")


def test_quads_without_exactly_one_zero_are_refused_with_their_place(model, tmp_path, tiny):
    folder, trits, _ = tiny()
    name = "model.layers.0.self_attn.q_proj"
    zeros = (trits[name].reshape(len(trits[name]), -1, 4) == 0).sum(axis=2)
    row, quad = map(int, np.argwhere(zeros != 1)[0])
    refused(
        model("convert", folder, tmp_path / "new", "--to", "stream", "--code", "sherry"),
        f"{name}: code 'sherry' must have exactly one zero in each 4 trits of a row, not "
        f"{zeros[row, quad]} at [{row}, {4 * quad}]; give --code base3, escape, tq1 or two_bit",
    )
    assert not (tmp_path / "new").exists()
    done = model("convert", SHERRY_DIGITS, tmp_path / "new", "--to", "stream", "--code", "sherry")
    assert done.returncode == 0
    assert model("verify", tmp_path / "new", SHERRY_DIGITS).returncode == 0


def test_that_codes_of_an_advice_hold_the_weights(model, tmp_path, tiny):
    folder, _, _ = tiny()
    done = model("convert", folder, tmp_path / "new", "--to", "stream", "--code", "binary")
    assert done.returncode == 2
    codes = done.stderr.strip().partition("; give --code ")[2].replace(" or ", ", ").split(", ")
    assert codes == ["base3", "escape", "tq1", "two_bit"]
    for code in codes:
        done = model("convert", folder, tmp_path / code, "--to", "stream", "--code", code)
        assert done.returncode == 0


def test_the_lists_of_layouts_are_those_of_the_readers():
    """The command line lists them too, because the readers take long to import."""
    gguf = [str(one) for one in _Target if one not in _FOLDERS]
    assert gguf == [name.lower() for name in LAYOUTS]
    assert [str(one) for one in Type42] == asked_layouts()


def test_what_convert_says_of_scales_and_embeddings(model, tmp_path, tiny):
    folder, _, _ = tiny(model_type="llama", hidden_act="silu", quantization_config=DIVIDES)
    file = tmp_path / "a.gguf"
    done = model("convert", folder, file, "--to", "tq2_0", "--embeddings", "float32")
    first, second = done.stderr.splitlines()
    assert first == (
        f"trilith: warning: {folder} divides by its scales, and tq2_0 multiplies: it gets the "
        "inverses, rounded to float32; --to huggingface keeps the scales"
    )
    assert second.startswith(f"trilith: warning: {file}: the scales of 7 matrices are not exact")
    assert model("verify", file, folder).returncode == 0
    done = model("convert", folder, tmp_path / "b", "--to", "huggingface")
    assert (done.returncode, done.stderr) == (0, "")
    done = model("convert", file, tmp_path / "c.gguf", "--to", "i2_s", "--embeddings", "float16")
    assert (done.returncode, done.stderr) == (0, "")
    lines = model("verify", tmp_path / "c.gguf", file).stdout.splitlines()
    assert lines == [
        "7 matrices compared and equal: 589824 trits and 7 scales; 3 other tensors equal"
    ]
