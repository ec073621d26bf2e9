"""``trilith doctor``: the tools on this machine."""

from dataclasses import asdict
from typing import Any

from .options import JsonOptions, command, new_app
from .output import Column, Table, print_json

__all__ = ["app"]

app = new_app()


@command(app)
def doctor(options: JsonOptions) -> bool:
    """Print the tools that were found, the tools that are missing, and how to install them.

    If a tool that 'trilith sim' needs is missing, the command ends with status 1.

    Example:
      trilith doctor
    """
    from ..sim.tools.doctor import doctor as find_tools

    tools = find_tools()
    if options.as_json:
        print_json([asdict(tool) for tool in tools])
    else:
        Table(
            Column("tool", "name", 15, "<"),
            Column("state", lambda tool: "found" if tool.found else "missing", 7, "<"),
            Column("version or remedy", lambda tool: tool.found or tool.remedy, 42, "<"),
            Column("needed for", _need, form="<"),
        ).rows(tools)
    return any(tool.found is None and not tool.optional for tool in tools)


def _need(tool: Any) -> str:
    return f"{tool.needed_for} (optional)" if tool.optional else tool.needed_for
