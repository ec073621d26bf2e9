"""Templates of generated text (Jinja2), one file each in the language that they generate."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


@cache
def _environment(package: str) -> Environment:
    """Make the environment for the folder ``templates`` of a package."""
    # Generated text is source code: nothing is escaped, and an unknown name is an error.
    return Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(package: str, name: str, **values: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    package : the package whose folder ``templates`` has the file, such as ``trilith.hw.export``
    name : the file's name, such as ``testbench.v.jinja``
    values : the template's variables

    Returns
    -------
    The text, with the line ends of the template.

    Raises
    ------
    jinja2.TemplateNotFound
        If the package has no such template.
    jinja2.UndefinedError
        If the template uses a variable that is not given.
    """
    return _environment(package).get_template(name).render(**values)
