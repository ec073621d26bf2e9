"""The encoding of what the command reads and prints, set once for all verbs."""

import codecs
import locale
import os
import sys
import warnings

__all__ = ["set_up"]


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Show what a terminal cannot as ASCII: ``\xff`` for a byte that is no text, or a code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # Python keeps a byte that it cannot decode as a half of a surrogate pair.
    part = error.object[error.start : error.end]
    bytes_back = [chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in part]
    shown = "".join(bytes_back).encode("ascii", "backslashreplace").decode()
    return shown, error.end


def set_up() -> None:
    """Read files as UTF-8, whatever the locale, and print what the terminal can show.

    Python starts anew, with its UTF-8 mode, where the locale has another encoding. Warnings are
    those that Python shows by itself, because ``PYTHONWARNINGS`` would make tracebacks of them.
    """
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8":
        encoding = {} if "PYTHONIOENCODING" in os.environ else _terminal_encoding()
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, command, os.environ | encoding)
    codecs.register_error("trilith", _escape)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="trilith")  # type: ignore[union-attr]
    if sys.warnoptions:
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)


def _terminal_encoding() -> dict[str, str]:
    """Keep the encoding of standard input and output in a Python that starts anew."""
    return {"PYTHONIOENCODING": str(getattr(sys.stdout, "encoding", "ascii"))}
