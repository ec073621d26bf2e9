"""Export of a token core as files for users without Python."""

from collections.abc import Iterator
from pathlib import Path

from ...golden.templates import render
from ..token.config import TokenConfig, check_core_config
from ..token.core import TokenCore
from .core_description import describe_core
from .core_testbench import core_testbench
from .description import configuration_text
from .package import (
    COMMON_ENDS,
    TEMPLATES,
    TESTBENCH_ENDS,
    check_target,
    package_texts,
    write_files,
)
from .verilog import check_unused

__all__ = ["CORE_TITLE", "export_core"]

#: Title of a core's files.
CORE_TITLE = "Token core for ternary transformers, from a token to the next one"


def export_core(
    config: TokenConfig,
    file: Path,
    *,
    name: str = "trilith_core",
    testbench: bool = False,
    period_ns: float = 10.0,
    force: bool = False,
) -> list[Path]:
    """Write the Verilog of a token core, and beside it all that a user without Python needs.

    The files for ``x.v`` are those of ``export_engine``. The core has no trace. The same arguments
    give the same files on every machine. All files are written, or none.

    Parameters
    ----------
    config : the core
    file : the Verilog file to write
    name, testbench, period_ns, force : see ``export_engine``

    Returns
    -------
    The files, the Verilog first.

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.
    ExportError
        If an argument is not legal, or no model fits the core that needs a testbench. Nothing is
        written.
    OutputError, OSError
        If a file cannot be written, see ``check_target``. No file is left.
    """
    check_core_config(config)
    ends = (*COMMON_ENDS, *(TESTBENCH_ENDS if testbench else ()))
    files = check_target(file, ends, name=name, period_ns=period_ns, force=force)
    stem = file.stem
    bench = core_testbench(config, top=name, stem=stem) if testbench else ""
    check_unused(name, bench)
    # Amaranth warns of a component that a refusal leaves without its Verilog.
    core = TokenCore(config)
    description = describe_core(core, name)

    def texts() -> Iterator[str]:
        page = render(
            TEMPLATES,
            "core.md.jinja",
            config=config,
            configuration=configuration_text(description["parameters"]),
            description=description,
            stem=stem,
        )
        yield from package_texts(
            core,
            description,
            page,
            stem,
            title=CORE_TITLE,
            clock="clk",
            period_ns=period_ns,
            ends=ends,
        )
        if testbench:
            yield bench

    write_files(files, texts(), force=force)
    return files
