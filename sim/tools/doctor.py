"""Finds out which of the tools in the table are here."""

import sys
from dataclasses import dataclass
from importlib import metadata

from .run import run_program
from .toolchain import Tool, ToolchainError, find_program, tools
from .verilator import find_verilator, waves_suffix

__all__ = ["ToolState", "doctor"]


@dataclass(frozen=True, kw_only=True)
class ToolState:
    """A row of ``trilith doctor``.

    Parameters
    ----------
    name : the tool
    needed_for : what needs it
    optional : everything else works without it
    found : its version, or None if the tool is missing
    remedy : how to install it
    """

    name: str
    needed_for: str
    optional: bool
    found: str | None
    remedy: str


def doctor() -> list[ToolState]:
    """Look for every tool of the table.

    Returns
    -------
    A row per tool, in the order of ``tools.toml``.
    """
    return [_state(tool) for tool in tools()]


def _state(tool: Tool) -> ToolState:
    """Look for a tool."""
    found, remedy = None, tool.remedy
    try:
        found = _version(tool)
    except metadata.PackageNotFoundError:
        pass
    except ToolchainError as error:
        if tool.name == "verilator":
            remedy = str(error)
    return ToolState(
        name=tool.name,
        needed_for=tool.use,
        optional=tool.optional,
        found=found,
        remedy=remedy,
    )


def _version(tool: Tool) -> str | None:
    """The version of a tool, or None if it is not usable.

    Raises
    ------
    ToolchainError, PackageNotFoundError
        If it is missing.
    """
    match tool.kind, tool.name:
        case "package", name:
            return f"{name} {metadata.version(name)}"
        case "program", name:
            text = run_program([find_program(name), *tool.version], timeout=60)
            return text.partition("\n")[0] or None
        case _, "python":
            return f"Python {sys.version.split()[0]}" if sys.version_info >= (3, 11) else None
        case _, "verilator":
            return find_verilator().version
        case _, "lz4.h":
            return "lz4.h" if waves_suffix() == ".fst" else None
    raise ValueError(f"tools.toml: the kind of {tool.name} must be package, program or special")
