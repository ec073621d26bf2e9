"""The table of tools: finds programs and packages, and says how to install a missing one."""

import re
import shutil
import sysconfig
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from ...golden.environment import pip_install
from ...golden.errors import TrilithError

__all__ = [
    "Tool",
    "ToolchainError",
    "find_program",
    "remedy",
    "tools",
]


class ToolchainError(TrilithError, RuntimeError):
    """A tool is missing, too old, or failed; the message says how to get or mend it."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """An entry of ``tools.toml``, which documents the fields."""

    name: str
    kind: Literal["package", "program", "special"]
    use: str
    optional: bool = False
    version: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    extra: str = ""
    install: str = ""

    @property
    def remedy(self) -> str:
        """How to install the tool, as an instruction."""
        if self.install:
            return self.install
        return pip_install(f"trilith[{self.extra}]" if self.extra else _requirement(self.name))


@cache
def tools() -> tuple[Tool, ...]:
    """Read the table of tools.

    Returns
    -------
    The entries of ``tools.toml``, in its order.
    """
    table = tomllib.loads((Path(__file__).parent / "tools.toml").read_text())
    return tuple(Tool(**entry) for entry in table["tool"])


def _requirement(package: str) -> str:
    """The requirement of a package, with the version that trilith's own package demands."""
    demanded = (metadata.requires("trilith") or []) if _installed("trilith") else []
    for line in demanded:
        requirement = line.partition(";")[0].strip()
        if re.match(rf"{re.escape(package)}(?![\w-])", requirement):
            return requirement
    return package


def _installed(package: str) -> bool:
    """Whether a Python package is installed."""
    return any(True for _ in metadata.distributions(name=package))


def remedy(name: str) -> str:
    """The instruction to install a tool of the table, or a program or module that one brings."""
    names = {name, name.replace("_", "-")}
    found = (tool.remedy for tool in tools() if names & {tool.name, *tool.programs})
    return next(found, "install it")


def find_program(name: str) -> str:
    """Find a program among the scripts of this Python environment, then on PATH.

    Parameters
    ----------
    name : name of the program, without a folder

    Returns
    -------
    Path of the program.

    Raises
    ------
    ToolchainError
        If the program is in neither; the message says how to install it.
    """
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        raise ToolchainError(f"the program {name} was not found: {remedy(name)}")
    return path
