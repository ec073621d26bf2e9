"""One rule of all verbs that write: what they replace, what they refuse, and what they leave."""

import os
import re
import socket
from pathlib import Path

import pytest

from trilith.hw.config import PRESETS

POINT = ("--rows", "1", "--clock-mhz", "250", "--tokens", "1")
SMALL = ("--lanes", "5", "--rows", "1", "--k-max", "9", "--n-max", "3")

#: Arguments of each verb in front of its output, those behind it, and a file that it writes.
VERBS = {
    "gguf": (("model", "convert", "SOURCE"), ("--to", "tq1_0"), "{}"),
    "verilog": (("verilog", *SMALL, "--out"), (), "{}.json"),
    "axi": (("verilog", *SMALL, "--wrapper", "axi", "--out"), (), "{}_regs.h"),
    "sweep": (("sweep", *POINT, "--out"), (), "{}.csv"),
    "sweep, partial": (("sweep", *POINT, "--out"), (), "{}.partial"),
    "figures": (("report", "figures", "--out"), (), "{}/gate_split.svg"),
    "waves": (("sim", "--part", "digits", "--waves"), (), "{}/ENGINE.fst"),
    "zigzag": (("zigzag", "--out"), (), "{}"),
    "table": (("characterize", "--sram", "--library", "x", "--liberty", "x", "--out"), (), "{}"),
}
#: These continue a file that exists, and check what it holds.
CONTINUE = ("table", "sweep, partial")


@pytest.fixture
def write(trilith, tmp_path, tiny, monkeypatch):
    """Run a verb that writes; return its outcome. The output is ``out`` in the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trilith.sim.rtl.suite.waves_suffix", lambda: ".fst")
    tiny("source")

    def run(verb, output, *more):
        before, behind, _ = VERBS[verb]
        end = ".v" if before[0] == "verilog" else ""
        words = [*before, f"{output}{end}", *behind, *more]
        return trilith(*("source" if word == "SOURCE" else word for word in words))

    return run


def file_of(verb: str, output: str = "out") -> Path:
    file = Path(VERBS[verb][2].format(output))
    if verb == "waves":
        config = PRESETS["block"]
        file = file.with_name(f"{config}-{config.code}.fst")
    file.parent.mkdir(exist_ok=True)
    return file


def make_link(file: Path) -> None:
    Path("precious").write_text("precious")
    file.symlink_to("precious")


def make_socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(file))


HOSTILE = {
    "a link": (make_link, "must not be a symbolic link; give another name"),
    "a link to nothing": (
        lambda file: file.symlink_to("nothing"),
        "must not be a symbolic link; give another name",
    ),
    "a link to itself": (
        lambda file: file.symlink_to(file.name),
        "must not be a symbolic link; give another name",
    ),
    "a pipe": (
        os.mkfifo,
        "must be a regular file, not a device, a pipe or a socket; give another name",
    ),
    "a socket": (
        make_socket,
        "must be a regular file, not a device, a pipe or a socket; give another name",
    ),
    "a folder": (Path.mkdir, "must be a file, not a folder; give another name"),
    "a file": (
        lambda file: file.write_text("precious"),
        "exists already; give another name, or --force to replace it",
    ),
}


def state(folder: Path) -> list[tuple[str, int, bytes]]:
    """Names, kinds and contents of all files below a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        regular = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if regular else b""
        found.append((str(path), path.lstat().st_mode, content))
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_written_over_what_is_there(verb, write, refused, tmp_path):
    file = file_of(verb)
    for kind, (make, message) in HOSTILE.items():
        if kind == "a file" and verb in CONTINUE:
            continue
        make(file)
        before = state(tmp_path)
        for force in ([], ["--force"]) if kind != "a file" and verb != "table" else ([],):
            refused(write(verb, "out", *force), f"{file}: {message}")
            assert state(tmp_path) == before, kind
        file.rmdir() if kind == "a folder" else file.unlink()


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_a_file(verb, write, refused, tmp_path):
    Path("plain").write_text("precious")
    before = state(tmp_path)
    done = write(verb, "plain/out")
    refused(done, f": {tmp_path / 'plain'} must be a folder; give another name")
    assert state(tmp_path) == before


def test_devices_stay_devices(write, refused):
    for device in ("/dev/null", "/dev/full"):
        refused(
            write("gguf", device, "--force"),
            f"{device}: must be a regular file, not a device, a pipe or a socket;",
        )
        assert Path(device).is_char_device()


@pytest.mark.parametrize(
    ("verb", "files"),
    [
        ("gguf", ["out"]),
        ("sweep", ["out.csv", "out.json"]),
    ],
)
def test_force_replaces_files_and_missing_folders_are_made(verb, files, write, tmp_path):
    output = "new/folder/out"
    assert write(verb, output).returncode == 0
    made = state(tmp_path / "new")
    assert sorted(file.name for file in Path("new/folder").iterdir()) == files
    for file in files:
        Path("new/folder", file).write_text("old")
    assert write(verb, output).returncode == 2
    assert write(verb, output, "--force").returncode == 0
    assert state(tmp_path / "new") == made


def test_a_failure_leaves_no_folders(write, trilith, tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError("no luck")

    monkeypatch.setattr("trilith.golden.checkpoint.write_gguf._write_tensors", fail)
    before = state(tmp_path)
    assert write("gguf", "new/folder/out").returncode == 2
    assert state(tmp_path) == before


def test_a_source_is_never_written_over(write, trilith, refused, tmp_path):
    Path("beside").mkdir()
    os.link("source/model.safetensors", "beside/hard")
    Path("beside/link").symlink_to("../source", target_is_directory=True)
    before = state(tmp_path)
    for output in (
        "source/model.safetensors",
        "source/new.gguf",
        "source/new/new.gguf",
        "source/../source/new.gguf",
        "beside/link/new.gguf",
        str(tmp_path / "source" / "config.json"),
    ):
        refused(
            write("gguf", output, "--force"),
            f"{output}: must not be inside the input source; give another name",
        )
    refused(write("gguf", "source", "--force"), "source: must be a file, not a folder;")
    for kind in ("huggingface", "stream"):
        done = trilith("model", "convert", "source", "source/new", "--to", kind)
        refused(done, "source/new: must not be inside the input source; give another name")
        done = trilith("model", "convert", "source", "beside/link", "--to", kind)
        refused(done, "beside/link: must not be inside the input source; give another name")
    file = Path("source/model.safetensors")
    for output in (file, "source/../source/model.safetensors", "beside/hard", "source/config.json"):
        done = trilith("model", "convert", file, output, "--to", "tq1_0", "--force")
        assert re.search(rf"^trilith: {output}: must not be the input source/", done.stderr)
        assert done.returncode == 2
    assert state(tmp_path) == before


def test_a_gguf_is_not_converted_into_itself(write, trilith, refused):
    assert write("gguf", "x.gguf").returncode == 0
    before = Path("x.gguf").read_bytes()
    os.link("x.gguf", "y.gguf")
    for output in ("x.gguf", "y.gguf", "./x.gguf"):
        done = trilith("model", "convert", "x.gguf", output, "--to", "tq2_0", "--force")
        refused(done, f"{Path(output)}: must not be the input x.gguf; give another name")
    assert Path("x.gguf").read_bytes() == before


def test_a_sidecar_is_no_input_either(write, trilith, refused, tmp_path):
    Path("model.json").write_bytes(Path("source/config.json").read_bytes())
    Path("x.lib").write_text("library")
    before = state(tmp_path)
    done = trilith("sweep", *POINT, "--model", "model.json", "--out", "model", "--force")
    refused(done, "model.json: must not be the input model.json; give another name")
    done = trilith(
        *("characterize", "--sram", "--library", "x", "--liberty", "x.lib", "--out", "x.lib")
    )
    refused(done, "x.lib: must not be the input x.lib; give another name")
    assert state(tmp_path) == before


def test_a_table_of_another_library_is_kept(trilith, refused, tmp_path):
    table = tmp_path / "table.json"
    table.write_text('{"library": "y", "node": "", "provenance": [], "sram": [], "rows": []}')
    done = trilith("characterize", "--sram", "--library", "x", "--liberty", "x", "--out", table)
    refused(done, "it is of the library 'y', not 'x'")


@pytest.mark.parametrize("output", ["..", ".", "/"])
def test_a_name_that_is_none(output, trilith, refused):
    refused(trilith("sweep", *POINT, "--out", output), "must be a name, to which .csv and .json")


def test_two_kinds_of_export_do_not_mix(write, refused, tmp_path):
    Path("out.v").write_text("of a bare engine")
    Path("out_tb.v").write_text("its testbench")
    before = state(tmp_path)
    refused(write("axi", "out"), "out.v: exists already; give another name, or --force")
    message = "belongs to another export as out.v, and would not match this one; remove it, or"
    refused(write("axi", "out", "--force"), f"out_tb.v: {message}")
    refused(write("verilog", "out", "--force"), f"out_tb.v: {message}")
    assert state(tmp_path) == before
    Path("out_tb.v").rename("out_regs.h")
    refused(write("verilog", "out", "--force"), f"out_regs.h: {message}")
