"""Public names of a package, imported when they are first used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__`` (PEP 562), so that importing the package imports no module.

    Parameters
    ----------
    package : the package's ``__name__``
    modules : the module of each public name, relative to the package; ``.room.module`` is a module
        beside the package

    Returns
    -------
    A function that imports a name's module and keeps the name in the package.

    Raises
    ------
    AttributeError
        By the function, if the package has no such name.
    """

    def attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{modules[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return attribute
