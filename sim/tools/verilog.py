"""The cache of generated Verilog."""

from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring

from ...hw.export.verilog import component_verilog, generator_key
from .cache import keep

__all__ = ["keep_verilog"]


def keep_verilog(
    make: Callable[[], wiring.Component], name: str, parameters: str, *sources: Path
) -> Path:
    """Write the Verilog of a component as ``component_verilog`` does, or find it written.

    Large units take half a minute to write; a file that exists is found in milliseconds.

    Parameters
    ----------
    make : makes the component; not called if the file exists
    name : name of the top module and stem of the file
    parameters : text that tells this component from all others with this name
    sources : Python files of components outside ``trilith.hw``, see ``generator_key``

    Returns
    -------
    The file, in the cache of ``keep``.
    """
    key = "\0".join([name, parameters, generator_key(*sources)])
    with keep("verilog", key) as (folder, making):
        if making is not None:
            (making / f"{name}.v").write_text(component_verilog(make(), name))
    return folder / f"{name}.v"
