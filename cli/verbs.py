"""The group of all verbs: the module of a verb is imported when the verb is called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from typer import Context
from typer.core import TyperCommand
from typer.main import get_command

from .options import Group

__all__ = ["complete", "run"]


class _Verbs(Group):
    """The command ``trilith``."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a verb; None where there is none of that name."""
        if cmd_name not in self.commands:
            return None
        verb = get_command(import_module(f"..{cmd_name}", __name__).app)
        verb.name = cmd_name
        return verb

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """List the verbs that begin with a text, without an import of their modules."""
        names = Group(name="trilith", commands={**self.commands})
        return names.shell_complete(Context(names), incomplete)


def _group(texts: Mapping[str, str]) -> _Verbs:
    """Make the command ``trilith``.

    The commands are names for "Did you mean …"; the verbs themselves come from get_command.
    """
    commands: dict[str, Any] = {name: TyperCommand(name, help=text) for name, text in texts.items()}
    return _Verbs(name="trilith", commands=commands)


def run(texts: Mapping[str, str]) -> int:
    """Run the verb that the command line names.

    Parameters
    ----------
    texts : modules of this package with an ``app`` each, and a line of help

    Returns
    -------
    The exit status.
    """
    return _group(texts)(standalone_mode=False) or 0


def complete(texts: Mapping[str, str], variable: str, asked: str) -> int:
    """Answer a question of typer's script of a shell: the words that may follow, or the script.

    The command line stands in variables of the environment that the script sets.

    Parameters
    ----------
    texts : as in ``run``
    variable : variable of the environment with the question
    asked : the question, such as ``complete_bash`` or ``source_bash``

    Returns
    -------
    The exit status; a script of fish learns from it whether there are such words.
    """
    # typer exports no name of its own for what every application with completion calls.
    from typer.completion import (
        completion_init,  # pyright: ignore[reportPrivateImportUsage]
        shell_complete,
    )

    completion_init()
    return shell_complete(_group(texts), {}, "trilith", variable, asked)
