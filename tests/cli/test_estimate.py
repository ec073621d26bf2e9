import json
import shutil

import pytest

from trilith.golden.data import PYDOC

GATE_MATMUL = ["energy", "matmul", "--n", "9", "--k", "9", "--profile", "gate:asap7"]


def test_estimate_and_its_rivals(trilith):
    done = trilith("estimate", "bitnet-2b4t", "--versus", "fp16,int8", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["weights"] for row in rows] == ["ternary-1.6", "fp16", "int8"]
    assert rows[0]["tokens_per_second"] > rows[2]["tokens_per_second"]
    assert rows[2]["tokens_per_second"] > rows[1]["tokens_per_second"]
    text = trilith("estimate", "bitnet-2b4t", "--versus", "fp16", "--equal", "power").stdout
    assert "\nversus    equal power: " in text
    assert "\nlabel     modelled\n" in text


def test_energy_of_other_machines_is_called_a_lower_bound(trilith):
    arguments = ("estimate", "--design", "a53-bitnet.cpp")
    text = trilith(*arguments).stdout
    assert "  arithmetic and memory, lower bound, mJ/token  " in text.splitlines()[0]
    assert "; for a53-bitnet.cpp arithmetic and memory, lower bound, dynamic only\n" in text
    assert (
        "\npublished  1.96 J/token, four Cortex-A53 of a KV260, bitnet.cpp, bitnet-2b4t (" in text
    )
    table = json.loads(trilith(*arguments, "--json").stdout)
    (row,) = table["rows"]
    assert row["arithmetic_and_memory_lower_bound_joules_per_token"] > 0
    assert "joules_per_token" not in row
    assert [one["joules_per_token"] for one in table["published_energy"]] == [1.96]
    assert "lower bound" not in trilith("estimate").stdout
    assert json.loads(trilith("estimate", "--json").stdout)["rows"][0]["joules_per_token"] > 0


def test_free_bandwidth_and_capacity(trilith):
    slow, fast = (
        json.loads(trilith("estimate", "--bandwidth", rate, "--json").stdout)["rows"][0]
        for rate in ("10", "40")
    )
    assert slow["linear_memory_s"] == pytest.approx(4 * fast["linear_memory_s"])
    text = trilith("estimate", "--bandwidth", "40", "--capacity", "2").stdout
    assert "\nmemory    lpddr5-6400x64: 40 GB/s, of which 89% (" in text
    assert "\ncapacity  2 GB\n" in text
    assert "\ncapacity  not limited\n" in trilith("estimate").stdout
    small = ("estimate", PYDOC, "--design", "core", "--context", "64", "--rows", "5")
    core = trilith(*small, "--capacity", "1")
    assert "\ncapacity     1 GB\n" in core.stdout


def test_validation(trilith):
    table = json.loads(trilith("estimate", "--validation", "--json").stdout)
    text = trilith("estimate", "--validation").stdout
    for group, total in table["summary"].items():
        assert f"\n{group}: median absolute error over {total['systems']} systems " in text
        rows = [row for row in table["rows"] if row["group"] == group]
        assert sum(row["counted"] for row in rows) == total["rows"]
        assert all(row["bound"] and f"\n{row['system']} " in text for row in rows)
    assert "not predicted  VitaLLM" in text


def test_token_core(trilith):
    arguments = ("estimate", PYDOC, "--design", "core", "--context", "64", "--rows", "5")
    done = trilith(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    (row,) = table["rows"]
    assert row["core"].startswith("64x5x1 base3, 8 vector lanes, 256 attention lanes, ")
    assert row["cycles_by_part"]["products"] == 3744
    assert row["cycles"] == sum(row["cycles_by_part"].values())
    assert row["seconds"] == pytest.approx(sum(row["seconds_by_part"].values()))
    assert "was not measured and is not included" in table["assumptions"]["energy"]
    text = trilith(*arguments).stdout
    assert "\ncycles       products 3744, head " in text
    assert "\nwaiting      parts whose bytes take longer than their cycles: none\n" in text
    assert "\nlabel        modelled\n" in text
    assert "published" not in text


def test_the_published_board_beside_the_core(trilith):
    arguments = ("estimate", PYDOC, "--design", "core-kv260", "--context", "1")
    text = trilith(*arguments, "--memory", "ddr4").stdout
    assert "19.2 GB/s, of which the core gets 12.73 for " in text
    assert "\npublished    16.78 tokens/s at a context of 64, measured by others: " in text
    assert "rows of the head through the weight port" in text
    assert "token core 80x4x1 escape, 4 vector lanes, 64 attention lanes, 128 bits of " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["estimate", "gpt-9"],
            "the model must be a config.json, a folder or a file of a model, or one of bitnet-",
        ),
        (["estimate", "--design", "x"], "the design must be one of micro, "),
        (
            ["estimate", "--design", "core", "--context", "4097"],
            "the context must be from 1 to 4096, the longest of bitnet-2b4t on this token core, ",
        ),
        (
            ["estimate", "falcon3-1b", "--design", "core"],
            "the model is too large for this token core: its ffn must be at most 6912, not 8192; ",
        ),
        (
            ["estimate", "--design", "core", "--attention-lanes", "3"],
            "attention_lanes must be 4, 8, 16, 32, 64, 128, 256 or 512, not 3",
        ),
        (["estimate", "--memory", "x"], "the memory must be one of ddr3-1333x16, "),
        (["estimate", "--profile", "x"], "the energy profile must be one of horowitz45, "),
        (["estimate", "--versus", "x"], "the number format must be one of fp32, "),
        (
            ["estimate", "--equal", "x"],
            "--equal must be macs, area, bandwidth or power",
        ),
        *(
            (["estimate", f"--{name}", value], f"--{name} must be {rule}")
            for name, low in (("bandwidth", "0.001"), ("capacity", "1e-06"))
            for value, rule in (
                ("0", f"from {low} to 1000000.0, not 0.0"),
                ("-5", f"from {low} to 1000000.0, not -5.0"),
                ("1e12", f"from {low} to 1000000.0, not 1000000000000.0"),
                ("inf", "a finite number, not 'inf'"),
                ("nan", "a finite number, not 'nan'"),
            )
        ),
        (
            ["estimate", "llama3-8b", "--capacity", "2"],
            "llama3-8b needs 2.48 GB on design array-1024, 2.447 for weights and 0.03355 for keys "
            "and values, and memory lpddr5-6400x64 has 2 GB; choose a larger memory or a smaller",
        ),
        (
            ["estimate", "--design", "core", "--capacity", "0.5"],
            "bitnet-2b4t needs 0.7648 GB on design core, 0.7451 for weights and 0.01966 for keys ",
        ),
        (["estimate", "--context", "0"], "--context must be from 1 to 134217728, not 0"),
        (["estimate", "--clock", "nan"], "--clock must be a finite number, not 'nan'"),
        (["energy", "matmul", "--n", "0", "--k", "1"], "--n must be from 1 to 2147483648, not 0"),
        (
            [*GATE_MATMUL, "--adder-bits", "8"],
            "adder_bits must not be given with profile gate:asap7, not 8: ",
        ),
        (
            ["estimate", "--design", "tereffic-hbm", "--memory", "on-chip", "--profile", "jouppi7"],
            "nothing bounds the rate of design tereffic-hbm with memory on-chip; ",
        ),
        (
            ["energy", "paper", "--tokens", "-1"],
            "--tokens must be from 1 to 1048576, not -1",
        ),
        (
            ["sweep", "--out", "x", "--rows", "a"],
            "a value of --rows must be an integer, not 'a'",
        ),
        (["sweep", "--out", "x", "--rows", "99"], "a value of --rows must be from 1 to 64, not 99"),
    ],
)
def test_refusals(trilith, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = trilith(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"trilith: {message}")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "."])
def test_a_checkpoint_is_a_model(trilith, tmp_path, name):
    """The shape is in the metadata of GGUF, and beside a safetensors file."""
    for file in ("config.json", "model.safetensors"):
        shutil.copy(PYDOC / file, tmp_path)
    assert not trilith(
        *("model", "convert", PYDOC, tmp_path / "model.gguf", "--to", "i2_s")
    ).returncode
    expected = json.loads(trilith("estimate", PYDOC, "--json").stdout)
    found = json.loads(trilith("estimate", tmp_path / name, "--json").stdout)
    assert found["rows"] == expected["rows"]
