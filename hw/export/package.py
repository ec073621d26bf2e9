"""Export of an engine as files for users without Python."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from ...golden.files import new_files
from ...golden.templates import render
from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.timing import EngineTiming
from .blockram import BLOCK_RAMS, buffer_blocks, queue_blocks
from .description import configuration_text, describe
from .testbench import example_trits, selfcheck_verilog, worked_example
from .verilog import ExportError, check_name, check_unused, component_verilog

__all__ = [
    "TEMPLATES",
    "check_target",
    "export_engine",
    "package_texts",
    "write_files",
]

#: The package whose folder ``templates`` has the generated files.
TEMPLATES = "trilith.hw.export"


def _check_fit(config: MatVecConfig, family: str) -> None:
    """Check that the memories of an engine fit the block RAM of an FPGA family's largest device.

    Parameters
    ----------
    config : the engine
    family : a key of ``BLOCK_RAMS``

    Raises
    ------
    ExportError
        If the memories do not fit, or the family is unknown.
    """
    if family not in BLOCK_RAMS:
        raise ExportError(f"family must be one of {', '.join(BLOCK_RAMS)}, not {family!r}")
    ram = BLOCK_RAMS[family]
    needed = buffer_blocks(config, ram) + queue_blocks(config, ram)
    if needed > ram.available:
        raise ExportError(
            f"the engine needs {needed} {ram.primitive}, and {family} ({ram.device}) has "
            f"{ram.available}: lower lanes, tokens or act_bits, or k_max if the buffer is deep"
        )


def check_target(
    config: MatVecConfig, file: Path, *, name: str, period_ns: float, family: str | None
) -> None:
    """Check the arguments of an export.

    Parameters
    ----------
    config, file, name, period_ns, family : see ``export_engine``

    Raises
    ------
    ExportError
        If an argument is not legal.
    """
    if file.suffix != ".v" or not file.stem:
        raise ExportError(f"the file to write must end in .v, not {str(file)!r}")
    if not file.parent.is_dir():
        raise ExportError(f"{file}: the folder {file.parent} does not exist; make it first")
    if not period_ns > 0 or period_ns == float("inf"):
        raise ExportError(f"the clock period must be above 0 ns, not {period_ns:g}")
    check_name(name)
    if family is not None:
        _check_fit(config, family)


def package_texts(
    component: wiring.Component,
    description: Mapping[str, Any],
    page: str,
    stem: str,
    *,
    clock: str,
    period_ns: float,
    testbench: bool = False,
) -> Iterator[tuple[str, str]]:
    """Generate the files that every export has.

    Parameters
    ----------
    component : hardware to write as Verilog
    description : content of the JSON file
    page : content of the page for people
    stem : stem of the files' names
    clock : name of the clock port
    period_ns : clock period in nanoseconds
    testbench : whether there is a testbench ``<stem>_tb.v``

    Yields
    ------
    What follows the stem in each file's name, and the content: Verilog, JSON, page, FuseSoC core,
    timing constraints, and waivers for Verilator.

    Raises
    ------
    ExportError
        If the Verilog has a port or a signal with the module's name.
    """
    top, version = description["top"], description["version"]
    text = component_verilog(component, top)
    check_unused(top, text[: text.index("endmodule")])
    configuration = configuration_text(description["parameters"])
    header = render(TEMPLATES, "header.v.jinja", version=version, configuration=configuration)
    values = {"top": top, "stem": stem, "version": version, "testbench": testbench}
    yield ".v", header + text
    yield ".json", json.dumps(description, indent=2) + "\n"
    yield ".md", page
    yield ".core", render(TEMPLATES, "fusesoc.core.jinja", **values)
    yield ".sdc", render(TEMPLATES, "clock.sdc.jinja", clock=clock, period_ns=period_ns)
    yield ".vlt", render(TEMPLATES, "verilator.vlt.jinja", stem=stem)


def write_files(file: Path, texts: Iterable[tuple[str, str]]) -> list[Path]:
    """Write files beside ``file``, all or none.

    Parameters
    ----------
    file : gives the folder and the stem
    texts : for each file what follows the stem in its name, and its content. If the iteration
        raises, no file is written.

    Returns
    -------
    The files, in the order of ``texts``.

    Raises
    ------
    OutputError
        If a name is the name of a folder, or the folder cannot be written.
    OSError
        If a file cannot be written.
    """
    files = []
    with new_files(file.parent) as making:
        for end, text in texts:
            target = file.with_name(file.stem + end)
            (making / target.name).write_text(text, encoding="utf-8")
            files.append(target)
    return files


def _page(config: MatVecConfig, description: Mapping[str, Any], stem: str) -> str:
    """Fill the page for people."""
    return render(
        TEMPLATES,
        "engine.md.jinja",
        config=config,
        configuration=configuration_text(description["parameters"]),
        description=description,
        stem=stem,
        rows=[" ".join(map(str, row)) for row in example_trits(config.code)],
        beats=[f"`{beat.hex(' ').upper()}`" for beat in worked_example(config.code)],
    )


def export_engine(
    config: MatVecConfig,
    file: Path,
    *,
    name: str = "trilith_matvec",
    testbench: bool = False,
    period_ns: float = 10.0,
    family: str | None = None,
) -> list[Path]:
    """Write the Verilog of an engine, and beside it all that a user without Python needs.

    The files for ``x.v`` are ``x.v``, ``x.json``, ``x.md``, ``x.core``, ``x.sdc`` and ``x.vlt``,
    and ``x_tb.v`` with ``testbench``. The same arguments give the same files on every machine. All
    files are written, or none.

    Parameters
    ----------
    config : the engine
    file : the Verilog file to write
    name : name of the top module; a submodule ``a`` is ``<name>__a``. A reserved word of
        SystemVerilog, or a name that the module or the testbench uses, is not legal.
    testbench : whether to write the self-checking testbench too
    period_ns : clock period in the SDC file, in nanoseconds
    family : a key of ``BLOCK_RAMS``, to refuse an engine that does not fit its block RAM

    Returns
    -------
    The files, the Verilog first.

    Raises
    ------
    ExportError
        If an argument is not legal. Nothing is written.
    OutputError, OSError
        If a file cannot be written. No file is left.
    """
    check_target(config, file, name=name, period_ns=period_ns, family=family)
    stem = file.stem
    engine = MatVecEngine(config)
    description = describe(engine, name)

    def texts() -> Iterator[tuple[str, str]]:
        page = _page(config, description, stem)
        yield from package_texts(
            engine,
            description,
            page,
            stem,
            clock="clk",
            period_ns=period_ns,
            testbench=testbench,
        )
        if testbench:
            timing = EngineTiming.of(config)
            text = selfcheck_verilog(config, top=name, timing=timing, stem=stem)
            check_unused(name, text)
            yield "_tb.v", text

    return write_files(file, texts())
