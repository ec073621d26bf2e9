"""Errors whose message is for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "ActivationError",
    "CheckpointError",
    "CheckpointWarning",
    "FormatError",
    "OutputError",
    "TrilithError",
    "printable",
    "within",
]


def printable(text: str) -> str:
    """Escape the characters of a text that cannot be printed.

    Example: a line end becomes a backslash and an n.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class TrilithError(Exception):
    """Base of all errors that bad input or a failed tool causes.

    The message is one line: the file or option, the rule, the value found, and the remedy. The
    command ``trilith`` prints it and ends with ``exit_status``.

    Parameters
    ----------
    message : characters that cannot be printed are escaped, because names in a file and messages of
        a library may have line ends, colors of a terminal and halves of surrogate pairs
    """

    exit_status = 2

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class CheckpointError(TrilithError, ValueError):
    """A file is not the checkpoint that it should be, or a checkpoint cannot be written."""


class FormatError(CheckpointError):
    """A format to write cannot hold a checkpoint. The command ``trilith`` names others that can."""


class CheckpointWarning(UserWarning):
    """A checkpoint may not be what it is read as. The command ``trilith`` prints it in one line."""


class ActivationError(TrilithError, ArithmeticError):
    """Values between the layers of a network are not finite in float32."""


class MissingTokenizerError(CheckpointError):
    """A model has no tokenizer."""


class OutputError(TrilithError, ValueError):
    """A file or folder cannot be written under the name that was given."""


@contextmanager
def within(place: Path | str) -> Iterator[None]:
    """Put a place in front of the message of the errors of a block.

    Parameters
    ----------
    place : file, tensor or both that the block reads, or layer that it computes

    Raises
    ------
    CheckpointError, ActivationError
        If the block does, with the place in front of its message.
    """
    try:
        yield
    except (CheckpointError, ActivationError) as error:
        kinds = ActivationError, FormatError, CheckpointError
        kind = next(one for one in kinds if isinstance(error, one))
        raise kind(f"{place}: {error}") from None
