"""Toolkit for hardware that runs ternary neural networks.

This file is the package ``trilith`` itself; ``pyproject.toml`` maps the rooms into it.
"""

__all__ = ["__version__"]

#: Version of the installed package. Its source is ``pyproject.toml``.
__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: that takes longer than all of this import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("trilith")
