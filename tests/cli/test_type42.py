"""A GGUF file whose type 42 stays open, in every command that reads a model."""

import json
import shutil
import subprocess

import pytest
from gguf import GGUFWriter

from trilith.cli.main import main
from trilith.golden import load_checkpoint
from trilith.golden.checkpoint import write_gguf
from trilith.golden.data import PYDOC

#: Commands that read a model: arguments, with the file in the place of FILE and a new name in that
#: of NEW.
COMMANDS = {
    "inspect": "model inspect FILE",
    "convert": "model convert FILE NEW --to huggingface",
    "convert to GGUF": "model convert FILE NEW --to tq1_0",
    "verify": "model verify FILE FILE",
    "compile": "model compile FILE --out NEW",
    "generate": "generate --model FILE --max-tokens 1",
    "fpga generate": "fpga generate --port sim --model FILE --max-tokens 1",
    "fpga run": "fpga run --port sim --checkpoint FILE",
    "sim": "sim --checkpoint FILE",
}
#: Those that need no simulation.
FAST = ("inspect", "convert", "convert to GGUF", "compile", "generate")


@pytest.fixture
def trilith(monkeypatch, capsys):
    def run(words):
        monkeypatch.setattr("sys.argv", ["trilith", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return subprocess.CompletedProcess(words, end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def open_file(tmp_path_factory, random_model):
    """A model as Q2_0 of 64, whose tensors begin at multiples of 64 KiB."""

    class Aligned(GGUFWriter):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.add_custom_alignment(2**16)

    folder = random_model("llama", hidden_size=256, intermediate_size=512, vocab_size=1024)
    shutil.copy(PYDOC / "tokenizer.json", folder)
    file = tmp_path_factory.mktemp("gguf") / "open.gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_gguf, "GGUFWriter", Aligned)
        write_gguf.write_gguf(load_checkpoint(folder), file, "q2_0_64")
    return file


def words(command, file, new):
    return COMMANDS[command].replace("FILE", str(file)).replace("NEW", str(new)).split()


@pytest.mark.parametrize("command", COMMANDS)
def test_that_each_command_names_the_remedy(trilith, open_file, tmp_path, command):
    done = trilith(words(command, open_file, tmp_path / "new"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"trilith: {open_file}: the type 42 stands for q2_0_64 or q2_0_128 or stq1_0, and the "
        "padded sizes of the tensors leave open which; name it with --type42 (type42=)\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", FAST)
def test_that_the_remedy_works(trilith, open_file, tmp_path, command):
    line = [*words(command, open_file, tmp_path / "new"), "--type42", "q2_0_64"]
    done = trilith(line)
    assert done.returncode == 0, done.stderr


def test_that_a_copy_is_equal(trilith, open_file, tmp_path):
    line = [*words("convert to GGUF", open_file, tmp_path / "new"), "--type42", "q2_0_64"]
    assert trilith(line).returncode == 0
    same = ["model", "verify", tmp_path / "new", open_file, "--type42", "q2_0_64", "--json"]
    done = trilith(list(map(str, same)))
    assert json.loads(done.stdout)["equal"], done.stderr


def test_that_an_estimate_needs_no_layout(trilith, open_file):
    done = trilith(["estimate", str(open_file), "--json"])
    assert done.returncode == 0, done.stderr
