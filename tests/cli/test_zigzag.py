import json

import yaml


def test_a_core_for_zigzag(trilith, refused, tmp_path):
    out = tmp_path / "block.yaml"
    done = trilith("zigzag", "--preset", "block", "--code", "escape", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(out)
    core = yaml.safe_load(out.read_text())
    assert core["name"] == "trilith_64x5x4_escape_ihp_sg13g2"
    refused(
        trilith("zigzag", "--out", out),
        f"{out}: exists already; give another name, or --force to replace it",
    )
    done = trilith("zigzag", "--code", "escape", "--out", out, "--force", "--json")
    found = json.loads(done.stdout)
    assert (found["out"], found["clock_ghz"]) == (str(out), 0.1)
    assert found["numbers"]["unit_energy"]["label"] == "measured"


def test_wrong_names(trilith, refused, tmp_path):
    out = tmp_path / "block.yaml"
    for words, message in (
        (("--library", "x"), "the library must be one of asap7, gt2n, ihp-sg13g2, osu018"),
        (("--memory", "x"), "the memory must be one of"),
        (("--lanes", "3"), "lanes must be from 5 to 320, not 3"),
    ):
        refused(trilith("zigzag", "--out", out, *words), message)
    assert not out.exists()
