import json
import re
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
    assert text.splitlines()[0].endswith("  lower bound, mJ/token")
    assert "\narithmetic and memory, lower bound, mJ/token\n" in text
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
        json.loads(trilith("estimate", "--bandwidth-gb-s", rate, "--json").stdout)["rows"][0][
            "seconds_per_step_by_part"
        ]
        for rate in ("10", "40")
    )
    assert slow["linear_memory"] == pytest.approx(4 * fast["linear_memory"])
    text = trilith("estimate", "--bandwidth-gb-s", "40", "--capacity-gb", "2").stdout
    assert "\nmemory    lpddr5-6400x64: 40 GB/s (--bandwidth-gb-s), of which 89% (" in text
    assert "\ncapacity  2 GB\n" in text
    assert "\ncapacity  not limited\n" in trilith("estimate").stdout
    small = ("estimate", PYDOC, "--design", "core", "--context", "64", "--rows", "5")
    core = trilith(*small, "--capacity-gb", "1")
    assert "\ncapacity       1 GB\n" in core.stdout


def test_validation(trilith):
    table = json.loads(trilith("estimate", "--validation", "--json").stdout)
    text = trilith("estimate", "--validation").stdout
    for group, total in table["summary"].items():
        assert f"\n{group}: median absolute error over {total['systems']} systems " in text
        rows = [row for row in table["rows"] if row["group"] == group]
        assert sum(row["counted"] for row in rows) == total["rows"]
        assert all(f"\n{row['system']} " in text for row in rows)
        assert all(f", {row['model']}: bound by {row['bound']}; " in text for row in rows)
    assert "not predicted  VitaLLM" in text


def test_token_core(trilith):
    arguments = ("estimate", PYDOC, "--design", "core", "--context", "64", "--rows", "5")
    done = trilith(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    (row,) = table["rows"]
    assert row["core"].startswith("64x5x1 base3, 8 vector lanes, 256 attention lanes, ")
    assert row["cycles_per_step_by_part"]["products"] == 3744
    assert row["cycles_per_step"] == sum(row["cycles_per_step_by_part"].values())
    assert row["seconds_per_step"] == pytest.approx(sum(row["seconds_per_step_by_part"].values()))
    assert "was not measured and is not included" in table["assumptions"]["energy"]
    text = trilith(*arguments).stdout
    assert "\ncycles         products 3744, head " in text
    assert "\nwaiting        parts whose bytes take longer than their cycles: none\n" in text
    assert "\nlabel          modelled\n" in text
    assert "\npublished " not in text


def test_the_published_board_beside_the_core(trilith):
    arguments = ("estimate", PYDOC, "--design", "core-kv260", "--context", "1")
    text = trilith(*arguments, "--memory", "ddr4").stdout
    assert (
        "19.2 GB/s (2400 million transfers per second of 64 bits), of which the core gets 12.73 "
        in text
    )
    assert "\npublished      16.78 tokens/s at a context of 64, measured by others: " in text
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
            for name, low in (("bandwidth-gb-s", "0.001"), ("capacity-gb", "1e-06"))
            for value, rule in (
                ("0", f"from {low} to 1000000.0, not 0.0"),
                ("-5", f"from {low} to 1000000.0, not -5.0"),
                ("1e12", f"from {low} to 1000000.0, not 1000000000000.0"),
                ("inf", "a finite number, not 'inf'"),
                ("nan", "a finite number, not 'nan'"),
            )
        ),
        (
            ["estimate", "llama3-8b", "--capacity-gb", "2"],
            "llama3-8b needs 2.48 GB on design array-1024, 2.447 for weights and 0.03355 for keys "
            "and values, and memory lpddr5-6400x64 has 2 GB; choose a larger memory or a smaller",
        ),
        (
            ["estimate", "--design", "core", "--capacity-gb", "0.5"],
            "bitnet-2b4t needs 0.7648 GB on design core, 0.7451 for weights and 0.01966 for keys ",
        ),
        (["estimate", "--context", "0"], "--context must be from 1 to 134217728, not 0"),
        (["estimate", "--clock-mhz", "nan"], "--clock-mhz must be a finite number, not 'nan'"),
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


def test_a_rival_has_its_own_head_and_cache_unless_said_otherwise(trilith):
    arguments = ("estimate", "--versus", "fp16,int8,w4a16")
    lines = trilith(*arguments).stdout.splitlines()
    assert lines[0].split()[:4] == ["design", "weights", "head", "cache"]
    cells = [line.split("  ") for line in lines[1:5]]
    formats = [[cell.strip() for cell in line if cell.strip()][1:4] for line in cells]
    assert formats == [
        ["ternary-1.6", "int8", "8 bit"],
        ["fp16", "fp16", "16 bit"],
        ["int8", "int8", "8 bit"],
        ["w4a16", "fp16", "16 bit"],
    ]
    given = json.loads(trilith(*arguments, "--head", "bf16", "--cache-bits", "4", "--json").stdout)
    heads = [(row["head"], row["head_bits"], row["cache_bits"]) for row in given["rows"]]
    assert heads == [("bf16", 16, 4)] * 4


def test_units_of_a_step_and_of_a_token(trilith):
    table = json.loads(trilith("estimate", "--batch", "4", "--json").stdout)
    (row,) = table["rows"]
    assert row["tokens_per_step"] == 4
    assert row["tokens_per_second"] == pytest.approx(4 / row["seconds_per_step"])
    joules = sum(row["energy_pj_per_step"].values()) * 1e-12 / 4
    assert row["joules_per_token"] == pytest.approx(joules)
    parts = row["seconds_per_step_by_part"]
    linear = max(parts["linear_compute"], parts["linear_memory"])
    rest = sum(parts[name] for name in ("attention", "head", "vector", "calls", "fixed"))
    assert row["seconds_per_step"] == pytest.approx(linear + rest)
    figures = {one["figure"]: one["pj"] for one in table["figures"]}
    assert figures["bit of memory"] == 9
    assert all(one["source"] and one["label"] for one in table["figures"])


def test_an_engine_of_ones_own_is_that_of_the_sweep(trilith, tmp_path):
    engine = ("--lanes", "80", "--rows", "8", "--tokens", "2", "--code", "escape")
    engine += ("--clock-mhz", "400")
    (row,) = json.loads(trilith("estimate", *engine, "--json").stdout)["rows"]
    assert row["design"] == "80x8x2 escape"
    assert (row["macs_per_clock"], row["clock_mhz"]) == (80 * 8 * 2, 400)
    done = trilith("sweep", *engine, "--out", tmp_path / "out", "--json")
    (point,) = json.loads(done.stdout)["front"]
    for name in ("tokens_per_second", "joules_per_token", "bound", "macs_per_clock", "clock_mhz"):
        assert point[name] == row[name]


def test_energy_and_bandwidth_of_the_memory(trilith):
    plain, given = (
        json.loads(trilith("estimate", *more, "--json").stdout)
        for more in ((), ("--memory-pj-per-bit", "4.5"))
    )
    old, new = (table["rows"][0]["energy_pj_per_step"] for table in (plain, given))
    assert new["dram"] == pytest.approx(old["dram"] / 2)
    assert new["mac"] == old["mac"]
    (figure,) = [one for one in given["figures"] if one["figure"] == "bit of memory"]
    assert figure == {
        "figure": "bit of memory",
        "pj": 4.5,
        "source": "--memory-pj-per-bit; as given",
        "label": "given",
    }


def test_a_technology_of_ones_own(trilith, tmp_path, monkeypatch):
    """A written profile gives the figures of the profile, and a changed one others."""
    monkeypatch.chdir(tmp_path)
    write = ("estimate", "--profile", "jouppi7", "--write-technology", "my.toml")
    done = trilith(*write)
    assert (done.returncode, done.stdout) == (0, "my.toml\n")
    refused = trilith(*write)
    assert refused.returncode == 2
    assert refused.stderr.startswith("trilith: my.toml: exists already; ")
    for verb in (
        ("estimate", "--versus", "fp16,int8"),
        ("sweep", "--rows", "1,2", "--tokens", "1", "--force", "--out", "out"),
        ("energy", "matmul", "--n", "9", "--k", "9"),
    ):
        one, other = (
            json.loads(trilith(*verb, *more, "--json").stdout)
            for more in ((), ("--technology", "my.toml"))
        )
        for key in ("rows", "front", "figures"):
            rows = [
                [{**row, "memory": None, "source": None} for row in table.get(key, [])]
                for table in (one, other)
            ]
            assert rows[0] == rows[1]
    text = (tmp_path / "my.toml").read_text()
    text = text.replace('"fp16 mul" = 0.34', '"fp16 mul" = 0.68')
    (tmp_path / "my.toml").write_text(
        f'{text}\n[price]\nusd_per_machine = 500\nusd_per_kwh = 0.36\nsource = "a shop"\n'
    )
    done = trilith("estimate", "--technology", "my.toml", "--versus", "fp16")
    assert "\nenergy    jouppi7 of my.toml: 7 nm; arithmetic only: " in done.stdout
    assert (
        "\nfigure    fp16, multiply: 0.68 pJ (published: Jouppi et al., ISCA 2021)\n" in done.stdout
    )
    assert "\nprice     0.1135 tokens per second and USD of the machine (a shop)\n" in done.stdout
    assert (
        "\nprice     0.005536 USD of energy for a million tokens, dynamic only (a shop)\n"
        in done.stdout
    )
    (tmp_path / "my.toml").write_text(text.replace("0.68", "-1"))
    for verb in (("estimate",), ("sweep", "--out", "x"), ("energy", "matmul", "--n", 9, "--k", 9)):
        done = trilith(*verb, "--technology", "my.toml")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "trilith: my.toml: energy 1: the key 'fp16 mul' of pj must be a number from 0 to 1e9, "
            "not -1\n"
        )


def test_facts_of_a_file_are_in_the_estimate(trilith, tmp_path):
    """The head of the small model is its embedding in BF16, and a third of its trits is zero."""
    arguments = ("estimate", PYDOC, "--profile", "gate:asap7")
    (row,) = json.loads(trilith(*arguments, "--json").stdout)["rows"]
    assert (row["head"], row["head_bits"], row["cache_bits"]) == ("BF16", 16, 8)
    text = trilith(*arguments).stdout
    for line in (
        f"linear layers  U8, 2.001 bits per weight, from {PYDOC}",
        f"embedding      BF16, 16 bits per weight, from {PYDOC}",
        f"head           BF16, 16 bits per weight, the embedding as head, from {PYDOC}",
        "zeros          32.33% of the trits, 1.5845 bits of entropy per trit (measured), from "
        f"{PYDOC}",
    ):
        assert f"\n{line}\n" in text
    assert "; times 0.999 for 32.3% zeros)\n" in text
    # The core's compiler makes int8 of the head.
    core = trilith("estimate", PYDOC, "--design", "core", "--context", "64", "--rows", "5")
    assert "embedding, head and cache in int8" in core.stdout
    assert "\nzeros          32.33% of the trits, " in core.stdout
    (row,) = json.loads(trilith("estimate", PYDOC, "--head", "int8", "--json").stdout)["rows"]
    assert (row["head"], row["head_bits"]) == ("int8", 8)


def test_the_names_that_are_known(trilith):
    text = trilith("estimate", "--list").stdout
    found = json.loads(trilith("estimate", "--list", "--json").stdout)
    assert [*found] == ["designs", "models", "memories", "profiles"]
    for names, known in (
        ("designs", "array-1024 core-kv260 kv260"),
        ("models", "bitnet-2b4t llama3-8b"),
        ("memories", "lpddr5-6400x64 on-chip"),
        ("profiles", "jouppi7 gate:asap7"),
    ):
        assert {*known.split()} <= {one["name"] for one in found[names]}
        assert all(f"\n{one['name']} " in text for one in found[names])
    for design in ("core", "array-1024", "kv260"):
        assert trilith("estimate", "--design", design).returncode == 0
    assert text.endswith("\nboards: 'trilith fpga boards' prints them\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "estimate --versus fp16,int8,w4a16,bf16",
        "estimate --versus fp16,w4a16 --equal bandwidth",
        "estimate llama3-8b --design snapdragon-x-elite-t-mac --versus int8",
        "estimate --design core --context 2048",
        "estimate --lanes 320 --rows 64 --tokens 8 --code two_bit",
        "estimate --validation",
        "estimate --list",
        "sweep --rows 1,64 --tokens 1,8 --batch 1,16 --memory lpddr5-6400x1024,hbm2 --out {}/out",
        "energy matmul --n 6912 --k 2560 --profile horowitz45",
        "energy mac",
        "energy paper",
        "energy token",
    ],
)
def test_tables_fit_a_hundred_columns(trilith, arguments, tmp_path):
    """A row has gaps of two spaces; facts and notes are sentences, which a terminal folds."""
    done = trilith(*arguments.format(tmp_path).split())
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if len(re.findall(r"\S  +\S", line)) > 2]
    assert rows
    assert [row for row in rows if len(row) > 100] == []


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
