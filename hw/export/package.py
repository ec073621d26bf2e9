"""Export of an engine as files for users without Python."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from ...golden.errors import OutputError
from ...golden.files import check_outputs, new_files
from ...golden.templates import render
from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.loader import job_layout
from ..engine.timing import EngineTiming
from .blockram import BLOCK_RAMS, buffer_blocks, queue_blocks
from .description import configuration_text, describe
from .packing import packing_texts
from .testbench import selfcheck_verilog
from .verilog import ExportError, check_name, check_unused, component_verilog

__all__ = [
    "AXI_ENDS",
    "COMMON_ENDS",
    "ENGINE_TITLE",
    "PACK_ENDS",
    "TEMPLATES",
    "TESTBENCH_ENDS",
    "check_fit",
    "check_target",
    "export_engine",
    "package_texts",
    "write_files",
]

#: Ends of the names, behind the stem, of every export's files, of the packers that an engine has,
#: of the testbench, and of AXI's.
COMMON_ENDS = (".v", ".json", ".md", ".core", ".sdc", ".vlt")
PACK_ENDS = ("_pack.h", "_pack.py")
TESTBENCH_ENDS = ("_tb.v",)
AXI_ENDS = ("_regs.h", "_regs.py", "_ip.tcl", "_litex.py")

#: Title of an engine's files.
ENGINE_TITLE = "Ternary matrix-vector engine without multipliers"

#: The package whose folder ``templates`` has the generated files.
TEMPLATES = "trilith.hw.export"


def check_fit(config: MatVecConfig, family: str | None) -> None:
    """Check that the memories of an engine fit the block RAM of an FPGA family's largest device.

    Parameters
    ----------
    config : the engine
    family : a key of ``BLOCK_RAMS``; None for no check

    Raises
    ------
    ExportError
        If the memories do not fit, or the family is unknown.
    """
    if family is None:
        return
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
    file: Path, ends: Sequence[str], *, name: str, period_ns: float, force: bool
) -> list[Path]:
    """Check the arguments of an export.

    Parameters
    ----------
    file, name, period_ns, force : see ``export_engine``
    ends : what follows the stem of ``file`` in the names of all files

    Returns
    -------
    The files to write, in the order of ``ends``.

    Raises
    ------
    ExportError
        If an argument is not legal.
    OutputError
        If a file cannot be written, see ``check_outputs``; or if another export of the same name
        has files that this one would not replace.
    """
    if file.suffix != ".v" or not file.stem:
        raise ExportError(f"the file to write must end in .v, not {str(file)!r}")
    # FuseSoC's description, Tcl scripts and Verilator's control file name it without quotes.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", file.stem):
        raise ExportError(
            "the name of the file must have only letters, digits and _ . + - in front of .v, "
            f"because scripts of other tools contain it, not {file.name!r}; folders may have others"
        )
    if not period_ns > 0 or period_ns == float("inf"):
        raise ExportError(f"the clock period must be above 0 ns, not {period_ns:g}")
    check_name(name)
    files = [file.with_name(file.stem + end) for end in ends]
    check_outputs(files, force=force)
    for end in (*PACK_ENDS, *TESTBENCH_ENDS, *AXI_ENDS):
        other = file.with_name(file.stem + end)
        if end not in ends and file.exists() and other.exists():
            raise OutputError(
                f"{other}: belongs to another export as {file}, and would not match this one; "
                "remove it, or give another name"
            )
    return files


def package_texts(
    component: wiring.Component,
    description: Mapping[str, Any],
    page: str,
    stem: str,
    *,
    title: str,
    clock: str,
    period_ns: float,
    ends: Sequence[str] = COMMON_ENDS,
) -> Iterator[str]:
    """Generate the files that every export has.

    Parameters
    ----------
    component : hardware to write as Verilog
    description : content of the JSON file
    page : content of the page for people
    stem : stem of the files' names
    title : what the hardware is, in one line
    clock : name of the clock port
    period_ns : clock period in nanoseconds
    ends : ends of the names of all files, those of ``COMMON_ENDS`` first

    Yields
    ------
    The content of each file of ``COMMON_ENDS``: Verilog, JSON, page, FuseSoC core, timing
    constraints, and waivers for Verilator.

    Raises
    ------
    ExportError
        If the Verilog has a port or a signal with the module's name.
    """
    top, version = description["top"], description["version"]
    text = component_verilog(component, top)
    check_unused(top, text[: text.index("endmodule")])
    configuration = configuration_text(description["parameters"])
    values = {"top": top, "stem": stem, "version": version, "title": title}
    header = render(TEMPLATES, "header.v.jinja", configuration=configuration, **values)
    yield header + text
    yield _indented_json(description)
    yield page
    yield render(TEMPLATES, "fusesoc.core.jinja", ends=ends, **values)
    yield render(TEMPLATES, "clock.sdc.jinja", clock=clock, period_ns=period_ns)
    yield render(TEMPLATES, "verilator.vlt.jinja", stem=stem)


def _indented_json(value: object) -> str:
    """Write JSON with a line for each value, but lists of numbers in one line."""
    text = json.dumps(value, indent=2)
    numbers = re.compile(r"\[\s+((?:-?\d+,\s+)*-?\d+)\s+\]")
    return numbers.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def write_files(files: Sequence[Path], texts: Iterable[str], *, force: bool) -> None:
    """Write files, all or none.

    Parameters
    ----------
    files : the files that ``check_target`` returns
    texts : the content of each; if the iteration raises, no file is written
    force : replace files that exist

    Raises
    ------
    OutputError, OSError
        If a file cannot be written.
    """
    with new_files(files, force=force) as making:
        for file, text in zip(files, texts, strict=True):
            (making / file.name).write_text(text, encoding="utf-8")


def _page(config: MatVecConfig, description: Mapping[str, Any], stem: str) -> str:
    """Fill the page for people."""
    return render(
        TEMPLATES,
        "engine.md.jinja",
        config=config,
        configuration=configuration_text(description["parameters"]),
        description=description,
        stem=stem,
        job_bits=job_layout(config).size,
    )


def export_engine(
    config: MatVecConfig,
    file: Path,
    *,
    name: str = "trilith_matvec",
    testbench: bool = False,
    period_ns: float = 10.0,
    family: str | None = None,
    force: bool = False,
) -> list[Path]:
    """Write the Verilog of an engine, and beside it all that a user without Python needs.

    The files for ``x.v`` are ``x.v``, ``x.json``, ``x.md``, ``x.core``, ``x.sdc``, ``x.vlt``,
    ``x_pack.h`` and ``x_pack.py``, and ``x_tb.v`` with ``testbench``. The same arguments give the
    same files on every machine. All files are written, or none.

    Parameters
    ----------
    config : the engine
    file : the Verilog file to write
    name : name of the top module; a submodule ``a`` is ``<name>__a``. A reserved word of
        SystemVerilog, or a name that the module or the testbench uses, is not legal.
    testbench : whether to write the self-checking testbench too
    period_ns : clock period in the SDC file, in nanoseconds
    family : a key of ``BLOCK_RAMS``, to refuse an engine that does not fit its block RAM
    force : replace files that exist

    Returns
    -------
    The files, the Verilog first.

    Raises
    ------
    ExportError
        If an argument is not legal. Nothing is written.
    OutputError, OSError
        If a file cannot be written, see ``check_target``. No file is left.
    """
    ends = (*COMMON_ENDS, *PACK_ENDS, *(TESTBENCH_ENDS if testbench else ()))
    check_fit(config, family)
    files = check_target(file, ends, name=name, period_ns=period_ns, force=force)
    stem = file.stem
    engine = MatVecEngine(config)
    description = describe(engine, name)

    def texts() -> Iterator[str]:
        page = _page(config, description, stem)
        yield from package_texts(
            engine,
            description,
            page,
            stem,
            title=ENGINE_TITLE,
            clock="clk",
            period_ns=period_ns,
            ends=ends,
        )
        yield from packing_texts(config, top=name, stem=stem, axi=False)
        if testbench:
            timing = EngineTiming.of(config)
            text = selfcheck_verilog(config, top=name, timing=timing, stem=stem)
            check_unused(name, text)
            yield text

    write_files(files, texts(), force=force)
    return files
