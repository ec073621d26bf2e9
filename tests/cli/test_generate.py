import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetModel
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC

TRILITH = Path(sys.executable).parent / "trilith"


def generate(*arguments):
    return subprocess.run(
        [str(TRILITH), "generate", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def test_golden_continues_the_prompt():
    done = generate("--prompt", "Return the", "--max-tokens", 8)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Return the")
    figures = json.loads(generate("--prompt", "Return the", "--max-tokens", 8, "--json").stdout)
    assert 1 < len(figures["tokens"]) <= 8
    assert done.stdout == f"Return the{figures['text']}\n"


def test_the_rtl_says_the_same():
    arguments = ("--prompt", "Return the", "--max-tokens", 3, "--json")
    golden = json.loads(generate(*arguments).stdout)
    done = generate(*arguments, "--backend", "rtl")
    assert done.returncode == 0, done.stderr
    rtl = json.loads(done.stdout)
    assert rtl["tokens"] == golden["tokens"]
    assert rtl["text"] == golden["text"]
    # 1,179,648 weights, 320 a clock, and a little more.
    assert 1_179_648 / 320 < rtl["cycles_per_token"] < 1.3 * 1_179_648 / 320
    assert sum(rtl["share_of_cycles"].values()) == pytest.approx(1)
    assert len(rtl["share_of_cycles"]) == 7


def test_the_token_core_prints_where_its_cycles_go():
    done = generate("--backend", "core", "--prompt", "Return the", "--max-tokens", 3)
    assert done.returncode == 0, done.stderr
    assert re.match(
        r"Return the.*\n\nAll \d+ vectors of \d tokens equal those of the golden model\. "
        r"Measured on the token core 64x5x1 base3, .*:\n"
        r"the last token, at a context of \d: \d+ cycles\npart ",
        done.stdout,
        re.DOTALL,
    )
    arguments = ("--prompt", "Return the", "--max-tokens", 3, "--temperature", 1, "--json")
    figures = json.loads(generate("--backend", "core", *arguments).stdout)
    assert sum(figures["cycles_by_part"].values()) == figures["cycles"]
    assert figures["cycles_by_part"]["products"] == 3 * (3 * 52 + 2 * 26 + 2 * 52) * 4


def test_the_token_core_runs_a_stored_image(trilith, refused, pydoc, tmp_path):
    file = tmp_path / "pydoc.image"
    assert trilith("model", "compile", pydoc, "--out", file).returncode == 0
    arguments = ("generate", "--backend", "core", "--prompt", "Return the", "--max-tokens", 3)
    again = f"compile it again: 'trilith model compile MODEL --out {file} --force'\n"
    plain = trilith(*arguments, "--json")
    stored = trilith(*arguments, "--image", file, "--model", pydoc, "--json")
    assert (stored.returncode, stored.stdout) == (0, plain.stdout)
    # One gain of the model is another one.
    tensors = load_file(pydoc / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 2
    save_file(tensors, pydoc / "model.safetensors", metadata={"format": "pt"})
    done = trilith(*arguments, "--image", file, "--model", pydoc)
    assert re.fullmatch(
        f"trilith: {re.escape(str(file))}: must be compiled from this model, whose digest is "
        f"[0-9a-f]{{12}}; it is of the model pydoc, whose digest is [0-9a-f]{{12}}; "
        + re.escape(again),
        done.stderr,
    )
    assert (done.returncode, done.stdout) == (2, "")
    # Another context is another model, and another core.
    config = json.loads((pydoc / "config.json").read_text())
    (pydoc / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 128}))
    refused(
        trilith(*arguments, "--image", file, "--model", pydoc),
        f"{file}: must be for the core's configuration, and has context_max 256, not 128; {again}",
    )
    file.write_bytes(file.read_bytes()[:-1])
    refused(
        trilith(*arguments, "--image", file),
        f"{file}: must be a safetensors file: its size is not that of its header; ",
    )
    refused(
        trilith("generate", "--image", file),
        "--image must not be given without --backend core, which it is for\n",
    )


def test_draws_follow_the_seed():
    texts = [
        generate("--temperature", 1, "--seed", seed, "--max-tokens", 12).stdout
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.fixture
def pydoc(tmp_path):
    """A copy of the stored model, to change files beside it."""
    folder = tmp_path / "pydoc"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PYDOC / name, folder)
    return folder


def test_truncation_and_padding_of_the_tokenizer_file_change_nothing(trilith, pydoc):
    plain = trilith("generate", "--prompt", "Return a list of", "--max-tokens", 3, "--json")
    stored = json.loads((pydoc / "tokenizer.json").read_text())
    stored["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    stored["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    (pydoc / "tokenizer.json").write_text(json.dumps(stored))
    done = trilith("generate", "--model", pydoc, "--max-tokens", 3, "--json")
    assert (done.returncode, done.stdout) == (0, plain.stdout)


@pytest.mark.parametrize("value", [lambda token: token, lambda token: [1, token]])
def test_end_tokens_of_generation_config_end_a_text(trilith, pydoc, value):
    arguments = ("generate", "--model", pydoc, "--max-tokens", 5, "--json")
    plain = json.loads(trilith(*arguments).stdout)
    assert plain["end"] == {"token": None, "reason": "--max-tokens"}
    second = plain["tokens"][1]
    assert second != plain["tokens"][0]
    ends = {"eos_token_id": value(second)}
    (pydoc / "generation_config.json").write_text(json.dumps(ends))
    ended = json.loads(trilith(*arguments).stdout)
    assert ended["tokens"] == plain["tokens"][:2]
    assert plain["text"].startswith(ended["text"])
    assert ended["end"] == {"token": second, "reason": "end token in generation_config.json"}


def test_wrong_end_tokens(trilith, pydoc, refused):
    beside = pydoc / "generation_config.json"
    beside.write_text('{"eos_token_id": "</s>"}')
    rule = "config's eos_token_id must be the number of a token, or a list of numbers, not '</s>'"
    refused(trilith("generate", "--model", pydoc), f"{beside}: {rule}")


def test_the_context_is_a_limit(trilith, refused):
    many = "Return a list of " * 100
    rule = (
        "--prompt and --max-tokens must fit into the model's context of 256 tokens, and have "
        "{} and {}: {}, or allow it with --beyond-context"
    )
    long = rule.format(500, 2, "give a shorter prompt")
    refused(trilith("generate", "--prompt", many, "--max-tokens", 2), long)
    more = rule.format(4, 253, "give --max-tokens 252")
    refused(trilith("generate", "--max-tokens", 253), more)
    assert trilith("generate", "--max-tokens", 252, "--json").returncode == 0
    done = trilith("generate", "--prompt", many, "--max-tokens", 2, "--beyond-context")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_lone_gguf_file_says_the_same(trilith, pydoc, tmp_path):
    (pydoc / "generation_config.json").write_text('{"eos_token_id": [0, 7, 8]}')
    lone = tmp_path / "lone" / "model.gguf"
    assert trilith("model", "convert", pydoc, lone, "--to", "i2_s").returncode == 0
    back = tmp_path / "back"
    assert trilith("model", "convert", lone, back, "--to", "huggingface").returncode == 0
    arguments = ("--prompt", "Return a\n  naïve 你好", "--max-tokens", 6, "--json")
    texts = [
        json.loads(trilith("generate", "--model", model, *arguments).stdout)
        for model in (pydoc, lone, back)
    ]
    assert len({(one["text"], *one["tokens"], one["end"]["token"]) for one in texts}) == 1
    assert json.loads((back / "config.json").read_text())["eos_token_id"] == [0, 7, 8]


def test_a_gguf_file_without_a_tokenizer(trilith, pydoc, tmp_path, refused):
    state = json.loads((pydoc / "tokenizer.json").read_text())
    (pydoc / "tokenizer.json").write_text(json.dumps(state | {"normalizer": {"type": "NFC"}}))
    lone = tmp_path / "lone" / "model.gguf"
    done = trilith("model", "convert", pydoc, lone, "--to", "i2_s")
    reason = "the tokenizer is neither byte-level BPE of a splitting that GGUF has a name for, nor"
    assert f"no tokenizer was written: {reason} SentencePiece's BPE\n" in done.stdout
    rule = (
        "the model's tokenizer is missing: the file has none, and tokenizer.json is not beside it"
    )
    refused(trilith("generate", "--model", lone), f"{lone}: {rule}; copy it there")
    shutil.copy(pydoc / "tokenizer.json", lone.parent)
    assert trilith("generate", "--model", lone, "--max-tokens", 1).returncode == 0


def test_more_end_tokens_than_gguf_has_keys(trilith, pydoc, tmp_path, refused):
    (pydoc / "generation_config.json").write_text('{"eos_token_id": [0, 7, 8, 9]}')
    done = trilith("model", "convert", pydoc, tmp_path / "a.gguf", "--to", "i2_s")
    rule = "GGUF has keys for 3 tokens that end a text, not for 4"
    refused(done, f"{pydoc}: {rule}; give --to huggingface or mlx or stream")
    assert not (tmp_path / "a.gguf").exists()


def test_the_model_is_checked_before_its_tokenizer(trilith, tmp_path, refused):
    missing = tmp_path / "nosuch"
    done = trilith("generate", "--model", missing)
    refused(done, str(missing))
    assert "tokenizer" not in done.stderr
    refused(trilith("generate", "--model", tmp_path), f"{tmp_path}: must be a folder with model.")


def test_characters_are_printed_when_they_are_whole(trilith, monkeypatch):
    tokenizer = load_tokenizer(PYDOC)
    for text in ("é 你 🙂 end", "cut 🙂"):
        tokens = tokenizer.encode(text).ids
        tokens = tokens[:-1] if text.startswith("cut") else tokens
        monkeypatch.setattr(BitNetModel, "generate", lambda *_, tokens=tokens, **__: iter(tokens))
        done = trilith("generate", "--prompt", "x = ", "--max-tokens", len(tokens))
        same = trilith("generate", "--prompt", "x = ", "--max-tokens", len(tokens), "--json")
        assert done.stdout == f"x = {json.loads(same.stdout)['text']}\n"
        assert done.stdout.startswith(f"x = {text[:4]}")


def test_a_tokenizer_that_panics(command, pydoc, refused):
    state = json.loads((pydoc / "tokenizer.json").read_text())
    special = {"SpecialToken": {"id": "<x>", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [special], "pair": [], "special_tokens": {}}
    (pydoc / "tokenizer.json").write_text(json.dumps(state | {"post_processor": template}))
    done = command("generate", "--model", pydoc)
    refused(done, "the tokenizer cannot encode --prompt: no entry found for key\n")


def test_ascii_terminals(command):
    arguments = ("generate", "--prompt", "naïve 你", "--max-tokens", 1)
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        done = command(*arguments, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("na\\xefve \\u4f60")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "fpga"), "--backend must be golden, rtl or core, not 'fpga'"),
        (("--activations", "int3"), "--activations must be int8, int4 or a4.8, not 'int3'"),
        (("--preset", "x"), "--preset must be micro, line, block, bitnet or compact, not 'x'"),
        (("--max-tokens", "0"), "--max-tokens must be 1 or more, not 0"),
        (("--temperature", "-1"), "--temperature must be 0 or more, not -1.0"),
        (("--temperature", "nan"), "--temperature must be a finite number, not 'nan'"),
        (("--temperature", "inf"), "--temperature must be a finite number, not 'inf'"),
        (("--max-tokens", "1e3"), "--max-tokens must be an integer, not '1e3'"),
        (("--seed", "-1"), "--seed must be 0 or more, not -1"),
        (
            ("--seed", "1"),
            "--seed must not be given with --temperature 0, which draws nothing: give "
            "--temperature 1, or leave --seed out",
        ),
        (
            ("--preset", "block"),
            "--preset must not be given without --backend rtl, which it is for",
        ),
        (
            ("--backend", "core", "--activations", "int4"),
            "--activations must not be given with --backend core, whose arithmetic and memory are "
            "fixed",
        ),
        (
            ("--backend", "core", "--max-tokens", "400"),
            "have 4 and 400: give --max-tokens 252\n",
        ),
        (
            ("--backend", "core", "--beyond-context"),
            "--beyond-context must not be given with --backend core, whose arithmetic and memory "
            "are fixed",
        ),
        (("--tokens", "4"), "--tokens must not be given without --backend core, which it is for"),
        (("--backend", "core", "--tokens", "3"), "--tokens must be 1, 2, 4 or 8, not '3'"),
        (
            ("--prompt", "ab\udcff"),
            "--prompt must be text in UTF-8, and its byte 2 is 0xff",
        ),
        (("--prompt", ""), "--prompt must not be empty"),
        (("--quantize", "absmean"), "quantize is for float master weights"),
        (("--i2s-layout", "rows4"), "the layout of I2_S is for GGUF files"),
        (
            ("--model", PYDOC / "nowhere"),
            f"--model must be a Hugging Face folder, a safetensors file or a GGUF file, and "
            f"'{PYDOC / 'nowhere'}' does not exist; without --model, the small model in the "
            "repository is used\n",
        ),
    ],
)
def test_refusals(trilith, refused, arguments, message):
    refused(trilith("generate", *arguments), message)


def test_nan_in_the_weights_and_overflows(trilith, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PYDOC, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][:] = 3e38
    save_file(tensors, file, metadata={"format": "pt"})
    done = trilith("generate", "--model", folder, "--prompt", "a")
    assert done.returncode == 2
    assert done.stderr.startswith("trilith: positions 0 to 0: the logits must be finite in float32")
    assert done.stderr.count("\n") == 1
    tensors["model.norm.weight"][5] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    done = trilith("generate", "--model", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"trilith: {file}: model.norm.weight must be finite, not nan at [5]; the file is damaged, "
        "or was written after an overflow\n"
    )
