"""Hostile values of every option and argument of every verb, in one process."""

import re
from importlib import import_module

import pytest
import typer

from trilith.cli.main import _VERBS
from trilith.golden import load_checkpoint
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.errors import TrilithError

#: Values that are no legal ones of most options.
VALUES = (
    "",
    "0",
    "-1",
    "1e308",
    "nan",
    "inf",
    "9" * 400,
    "é",
    "\udcff",
    "--",
    "a=b",
    "x" * 10_000,
)
#: More values for the long test; the system allows no zeros in an argument.
MORE = (
    "-0",
    "1e-320",
    "1_000",
    " 1",
    "0x10",
    "1,,2",
    ",",
    "1," * 5000,
    "/dev/null",
    "/dev/zero",
    "/",
    "..",
    ".",
    "~",
    "a/" * 3000,
    "new\nline",
    "\x1b[31m",
    "%s%n",
    "{0}",
    "$(id)",
    "\u202e",
    "\U0001f642" * 300,
    "null",
    "True",
    "gate:x",
    "gate:",
    "*",
    "-" * 5000,
    "=",
    "256x256x4",
    "2147483648",
    "18446744073709551616",
)

#: A legal command line for each verb; the arguments without a name come first.
LEGAL = {
    "sim": "",
    "verilog": "--out new.v --preset micro",
    "model inspect": "tiny.gguf",
    "model convert": "tiny.gguf new.gguf --to tq1_0",
    "model verify": "tiny.gguf tiny.gguf",
    "model compile": "tiny.gguf --out new",
    "generate": "--model tiny.gguf",
    "estimate": "bitnet-2b4t",
    "energy mac": "",
    "energy matmul": "--n 4 --k 4",
    "energy paper": "",
    "energy token": "",
    "zigzag": "--out new.yaml",
    "sweep": "--out new --rows 1 --tokens 1 --clock-mhz 250",
    "claims": "",
    "characterize": "--library new --liberty tiny.lib",
    "fpga boards": "",
    "fpga build": "--board ulx3s",
    "fpga simulate": "",
    "fpga selftest": "--port sim",
    "fpga run": "--port sim",
    "fpga load": "tiny.gguf --port sim",
    "fpga generate": "--port sim --model tiny.gguf",
    "report area": "",
    "report fpga": "",
    "report baselines": "",
    "report figures": "--out new",
    "report model": "tiny.gguf --out new.html",
    "cache": "",
    "doctor": "",
    "completion": "bash",
}


#: Longest message: a list of thirty legal values, and a hostile one that is shortened.
LONGEST = 1000


def commands(verb):
    """Every command of a verb, by what is typed."""
    found = typer.main.get_command(import_module(f"trilith.cli.{verb}").app)
    for name, one in getattr(found, "commands", {"": found}).items():
        yield f"{verb} {name}".strip(), one


def lines(verb, values):
    """Yield command lines of a verb with a hostile value in each place that takes one."""
    for typed, found in commands(verb):
        words = LEGAL[typed].split()
        arguments = [one.name for one in found.params if one.param_type_name == "argument"]
        for parameter in found.params:
            name = max(parameter.opts, key=len)
            for value in values[:3] if getattr(parameter, "is_flag", False) else values:
                changed = [*words]
                if parameter.name in arguments:
                    place = arguments.index(parameter.name)
                    replaced = place < len(words) and not words[place].startswith("--")
                    changed[place : place + replaced] = [value]
                elif parameter.is_flag:
                    changed.append(f"{name}={value}")
                else:
                    if name in words:
                        place = words.index(name)
                        del changed[place : place + 2]
                    changed += [name, value]
                yield [*typed.split(), *changed]


class _StopError(TrilithError):
    """Work that takes long was about to begin."""


@pytest.fixture
def place(tmp_path, tiny, monkeypatch):
    """A folder with a model, where nothing is built, drawn or run."""

    def stop(*arguments, **settings):
        raise _StopError("stopped by the test")

    folder, _, _ = tiny(max_position_embeddings=64)
    write_gguf(load_checkpoint(folder), tmp_path / "tiny.gguf", "tq1_0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr("subprocess.Popen", stop)
    monkeypatch.setattr("trilith.sim.rtl.suite.run_suite", stop)
    monkeypatch.setattr("amaranth.back.rtlil.convert", stop)
    monkeypatch.setattr("amaranth.build.plat.Platform.build", stop)
    monkeypatch.setattr("amaranth._unused.MustUse._MustUse__silence", True)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", stop)
    monkeypatch.setattr("trilith.sim.tools.pool.process_pool", stop)
    monkeypatch.setattr("distributed.Client", stop)


def check(done, typed):
    """Check the end of one command: a result that is finite, or one line."""
    assert done.returncode in (0, 2), (typed, done)
    if done.returncode == 2:
        assert done.stderr.startswith("trilith: "), (typed, done)
        assert done.stderr.endswith("\n"), (typed, done)
        assert done.stderr.count("\n") == 1, (typed, done)
        assert 20 < len(done.stderr) <= LONGEST, (typed, done)
        assert done.stdout == "", (typed, done)
    else:
        # A name of a file may be one of these words too.
        words = set(re.split(r"[\s,:]+", done.stdout.lower())) - {*typed}
        assert not words & {"inf", "nan", "-inf", "infinity"}, (typed, done)


@pytest.mark.parametrize("verb", _VERBS)
def test_hostile_values(trilith, place, verb):
    for typed in lines(verb, VALUES):
        check(trilith(*typed), typed)


@pytest.mark.long
@pytest.mark.parametrize("verb", _VERBS)
def test_more_hostile_values(trilith, place, verb):
    for typed in lines(verb, MORE):
        check(trilith(*typed), typed)


def test_that_every_command_has_a_legal_line():
    assert {typed for verb in _VERBS for typed, _ in commands(verb)} == {*LEGAL}
