"""Packages that hand their public names on lazily."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = ["trilith.golden", "trilith.hw", "trilith.sim"]


def _typed_names(tree: ast.Module) -> dict[str, str]:
    """Names that type checkers see, and the module of each as ``lazy_names`` has it."""
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        name.name: "." * (node.level - 1) + node.module
        for node in block.body
        for name in node.names
    }


def _lazy_names(tree: ast.Module) -> dict[str, str]:
    """Names and modules that the package gives to ``lazy_names``."""
    (call,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__getattr__"
    )
    return ast.literal_eval(call.args[1])


@pytest.mark.parametrize("package", PACKAGES)
def test_that_all_lists_of_public_names_agree(package):
    module = import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    assert _typed_names(tree) == _lazy_names(tree)
    assert sorted(_lazy_names(tree)) == sorted(module.__all__)
    for name in module.__all__:
        assert (
            getattr(module, name).__name__ == name if name[0].islower() else hasattr(module, name)
        )
    with pytest.raises(AttributeError, match=f"^module '{package}' has no attribute 'nothing'$"):
        module.nothing  # noqa: B018


def test_that_packages_import_nothing_heavy():
    code = (
        f"import sys, {', '.join(PACKAGES)}; "
        "print([name for name in ('numpy', 'amaranth', 'cocotb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
