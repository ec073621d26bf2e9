import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_draws_follow_the_seed():
    texts = [
        generate("--temperature", 1, "--seed", seed, "--max-tokens", 12).stdout
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "fpga"), "--backend must be golden or rtl, not 'fpga'"),
        (("--activations", "int3"), "--activations must be int8, int4 or a4.8, not 'int3'"),
        (("--preset", "x"), "--preset must be micro, line, block or bitnet, not 'x'"),
        (("--max-tokens", "0"), "--max-tokens must be 1 or more, not 0"),
        (("--temperature", "-1"), "--temperature must be 0 or more, not -1.0"),
        (("--temperature", "nan"), "--temperature must be a finite number, not 'nan'"),
        (("--seed", "-1"), "--seed must be 0 or more, not -1"),
        (("--prompt", ""), "--prompt must have at least one token, and is empty"),
        (("--quantize", "absmean"), "quantize is for float master weights"),
        (("--i2s-layout", "rows4"), "the layout of I2_S is for GGUF files"),
        (
            ("--model", PYDOC / "nowhere"),
            "must be a readable checkpoint: No such file or directory",
        ),
    ],
)
def test_refusals(arguments, message):
    done = generate(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
