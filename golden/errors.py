"""Errors whose message is for the user."""

__all__ = ["CheckpointError", "OutputError", "TrilithError"]


class TrilithError(Exception):
    """Base of all errors that bad input or a failed tool causes.

    The message is one line: the file or option, the rule, the value found, and the remedy. The
    command ``trilith`` prints it and ends with ``exit_status``.
    """

    exit_status = 2


class CheckpointError(TrilithError, ValueError):
    """A file is not the checkpoint that it should be, or a checkpoint cannot be written."""


class OutputError(TrilithError, ValueError):
    """A file or folder cannot be written under the name that was given."""
