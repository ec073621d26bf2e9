"""The group of all verbs: the module of a verb is imported when the verb is called."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from typer.core import TyperCommand
from typer.main import get_command

from .options import Group

__all__ = ["run"]


class _Verbs(Group):
    """The command ``trilith``."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a verb; None where there is none of that name."""
        if cmd_name not in self.commands:
            return None
        verb = get_command(import_module(f"..{cmd_name}", __name__).app)
        verb.name = cmd_name
        return verb


def run(names: Iterable[str]) -> int:
    """Run the verb that the command line names.

    Parameters
    ----------
    names : modules of this package with an ``app`` each

    Returns
    -------
    The exit status.
    """
    # The commands are names for "Did you mean …"; the verbs themselves come from get_command.
    group = _Verbs(name="trilith", commands={name: TyperCommand(name) for name in names})
    return group(standalone_mode=False) or 0
