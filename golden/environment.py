"""Environment of the programs that the toolkit starts."""

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["child_environment", "pip_install", "python_environment"]

#: Variables of this process that a program gets, and what it needs them for. All others stay
#: behind: flags of compilers, makes, Python, cocotb and other tools would change what is built.
_INHERITED = {
    "PATH": "programs that call other programs find them here",
    "LD_LIBRARY_PATH": "compilers and Pythons in folders of their own find their libraries here",
    "HOME": "YoWASP and wasmtime keep compiled programs below it",
    "XDG_CACHE_HOME": "the same, where the user has moved the folder of caches",
    "YOWASP_CACHE_DIR": "the same, for YoWASP alone",
    "TMPDIR": "temporary files go where the user has room for them",
    "TRILITH_BUILD": "programs in Python that import trilith share its cache",
}

#: Variables that every program gets.
_FIXED = {
    # Messages in English, which ``error_line`` understands, and the same order of sorted names.
    "LC_ALL": "C",
    # Python reads and writes UTF-8 in this locale too.
    "PYTHONUTF8": "1",
}


def child_environment() -> dict[str, str]:
    """Build up the environment of a program.

    Returns
    -------
    A new dictionary of a few variables of this process that every program may need, and of
    variables with fixed values.
    """
    variables = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    variables.setdefault("PATH", os.defpath)
    for name in ("HOME", "XDG_CACHE_HOME", "YOWASP_CACHE_DIR"):
        # Programs fail that cannot write their cache.
        if name in variables and not os.access(variables[name], os.W_OK):
            variables[name] = tempfile.gettempdir()
    return variables | _FIXED


def python_environment(first: Sequence[Path] = ()) -> dict[str, str]:
    """Build up the environment of a Python that must find the modules that this one finds.

    Parameters
    ----------
    first : folders in which it looks for modules before all others

    Returns
    -------
    ``child_environment`` with ``PYTHONPATH``.
    """
    # An empty name is the working directory, which may be another one there.
    folders = [*first, *(Path(folder) for folder in sys.path if folder)]
    path = os.pathsep.join(str(folder.absolute()) for folder in folders)
    return child_environment() | {"PYTHONPATH": path}


def pip_install(requirement: str) -> str:
    """Instruction to install a package into the Python that runs now, of a clone or of a wheel.

    Parameters
    ----------
    requirement : name of a package, with extras and versions, such as ``trilith[plots]``

    Returns
    -------
    The instruction, to stand behind a colon.
    """
    return f"run {shlex.quote(sys.executable)} -m pip install '{requirement}'"
