import json


def test_sweep(trilith, tmp_path):
    done = trilith("sweep", "--rows", "1,2", "--out", tmp_path / "sweep", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == 8
    assert (tmp_path / "sweep.csv").read_text().count("\n") == 9
