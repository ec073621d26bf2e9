"""Exports an engine as files for users without Python."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import data, wiring

from ...golden.codes import CODES
from ...golden.errors import TrilithError
from ...golden.files import new_files
from ...golden.templates import render
from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.loader import activations_shape, job_layout
from ..engine.results import queue_words, results_shape
from ..engine.timing import EngineTiming
from .blockram import FAMILIES, buffer_blocks, queue_blocks
from .testbench import example_trits, selfcheck_verilog, worked_example
from .verilog import check_name, component_verilog

__all__ = [
    "TEMPLATES",
    "ExportError",
    "check_fit",
    "check_target",
    "configuration_text",
    "describe",
    "export_engine",
    "header",
    "tool_files",
    "write_files",
]

#: The package whose folder ``templates`` has the generated files.
TEMPLATES = "trilith.hw.export"


#: What the ports and the fields of payloads mean.
_MEANINGS = {
    "clk": "the only clock; everything happens at its rising edge",
    "rst": "synchronous reset, active high; hold it for one clock or more",
    "jobs__payload": "a job",
    "activations__payload": "lanes signed values of one token, lane 0 lowest",
    "weights__payload": "rows x lanes trits, flat [row][lane], packed, byte 0 in bits 7:0",
    "results__payload": "rows accumulators of one token, row 0 lowest, and last",
    "valid": "a beat is offered; it and its payload stay until it is taken",
    "ready": "the beat offered in this clock is taken",
    "busy": "a job is being loaded or computed, or results wait",
    "error": "sticky until reset: an illegal weight code or activation (counts as 0), or a job out "
    "of range (is dropped)",
    "faults": "what sets error, a clock for each: an illegal weight code (bit 0), an illegal "
    "activation (bit 1), a job out of range (bit 2)",
}


_FIELDS = {
    "n": "N, outputs; 1 to n_max",
    "k": "K, inputs; 1 to k_max",
    "tokens": "T, activation vectors; 1 to tokens",
    "group_chunks": "0: one result per output; else a partial result every so many chunks",
    "reuse": "keep the loaded activations: same k, no more tokens than loaded",
    "values": "an accumulator per row, signed; rows beyond N deliver 0",
    "last": "the final beat of its job",
}


class ExportError(TrilithError, ValueError):
    """An export that cannot be made; the message names the file or value and the rule."""


def check_fit(config: MatVecConfig, family: str) -> None:
    """Raise unless the memories fit the block RAM of the largest device of a family.

    Raises
    ------
    ExportError
        If they do not, with what is needed, what there is and what would help; or if the family is
        unknown.
    """
    if family not in FAMILIES:
        raise ExportError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    f = FAMILIES[family]
    needed = buffer_blocks(config, f) + queue_blocks(config, f)
    if needed > f.available:
        raise ExportError(
            f"the engine must fit the {f.available} {f.primitive} of {family} ({f.device}), and "
            f"needs {needed}: lower lanes, tokens or act_bits, or k_max where the buffer is deep"
        )


def _port_list(engine: MatVecEngine) -> list[dict[str, Any]]:
    """Ports of the top module, in the order of the documentation."""
    ports = [
        {"name": name, "direction": "input", "width": 1, "meaning": _MEANINGS[name]}
        for name in ("clk", "rst")
    ]
    for path, member, value in engine.signature.flatten(engine):
        name = "__".join(map(str, path))
        port = {
            "name": name,
            "direction": "input" if member.flow == wiring.In else "output",
            "width": len(Value.cast(value)),
            "meaning": _MEANINGS.get(name) or _MEANINGS[str(path[-1])],
        }
        if len(path) > 1:
            port["stream"] = path[0]
        ports.append(port)
    return ports


def _fields(layout: data.StructLayout) -> dict[str, dict[str, Any]]:
    fields = {}
    for name, field in layout:
        fields[name] = {
            "lsb": field.offset,
            "msb": field.offset + field.width - 1,
            "meaning": _FIELDS[str(name)],
        }
        if isinstance(field.shape, data.ArrayLayout):
            fields[name] |= {
                "count": field.shape.length,
                "element_width": field.shape.elem_shape.width,
                "signed": True,
            }
    return fields


def describe(engine: MatVecEngine, top: str) -> dict[str, Any]:
    """What tools need to know of an exported engine: the content of its JSON file."""
    config = engine.config
    activation_bits = activations_shape(config).size
    buffer_depth = 2 * config.max_chunks
    queue_width, places = results_shape(config).size, queue_words(engine.queue_depth)
    return {
        "top": top,
        "generator": "trilith",
        "version": metadata.version("trilith"),
        "parameters": asdict(config),
        "derived": {
            "acc_width": config.acc_width,
            "weight_bytes": config.weight_bytes,
            "max_chunks": config.max_chunks,
            "queue_depth": engine.queue_depth,
            "macs_per_clock": config.macs_per_clock,
        },
        "ports": _port_list(engine),
        "payloads": {
            "jobs": _fields(job_layout(config)),
            "activations": {
                "lanes": {
                    "lsb": 0,
                    "msb": activation_bits - 1,
                    "meaning": "a value per lane, signed; at 2 bits -2 is illegal",
                    "count": config.lanes,
                    "element_width": config.act_bits,
                    "signed": True,
                }
            },
            "weights": {
                "bytes": {
                    "lsb": 0,
                    "msb": 8 * config.weight_bytes - 1,
                    "meaning": f"code {config.code}, {CODES[config.code].trits_per_byte} trits in "
                    "a byte",
                    "count": config.weight_bytes,
                    "element_width": 8,
                    "signed": False,
                }
            },
            "results": _fields(results_shape(config)),
        },
        "latencies_cycles": {
            "job_to_first_weight_beat": f"{engine.job_latency} + T * C",
            "job_to_first_weight_beat_with_reuse": f"{engine.job_latency}",
            "last_weight_beat_of_a_group_to_its_first_result": engine.latency,
            "job": f"{engine.job_latency - 1} + T * C + (G - 1) * max(c, T) + c "
            f"+ {engine.latency} + T",
            "variables": "T tokens; C = ceil(K / lanes); c = group_chunks, or C if that is 0 or "
            "above C; G = ceil(N / rows) * ceil(C / c), for C a multiple of c; engine idle before, "
            "no gaps, results taken at once; without T * C where the job has reuse",
        },
        "memories": {
            "activation_buffer": {
                "width": config.tokens * activation_bits,
                "depth": buffer_depth,
                "bits": config.tokens * activation_bits * buffer_depth,
                "write_enables": config.tokens,
            },
            "result_queue": {
                "width": queue_width,
                "depth": places,
                "bits": queue_width * places,
                "beats": engine.queue_depth,
            },
        },
        "block_ram": {
            name: {
                "primitive": family.primitive,
                "activation_buffer": buffer_blocks(config, family),
                "result_queue": queue_blocks(config, family),
                "origin": "modelled from width, depth and the primitive's shapes",
            }
            for name, family in FAMILIES.items()
        },
    }


def configuration_text(config: MatVecConfig) -> str:
    """Parameters of a configuration with their values, for comments and pages."""
    return ", ".join(f"{key} {value}" for key, value in asdict(config).items())


def _page(config: MatVecConfig, description: Mapping[str, Any], stem: str) -> str:
    """Fill the page for people."""
    return render(
        TEMPLATES,
        "engine.md.jinja",
        config=config,
        configuration=configuration_text(config),
        description=description,
        stem=stem,
        rows=[" ".join(map(str, row)) for row in example_trits(config.code)],
        beats=[f"`{beat.hex(' ').upper()}`" for beat in worked_example(config.code)],
    )


def header(config: MatVecConfig, version: str) -> str:
    """Fill the comment at the top of the Verilog."""
    configuration = configuration_text(config)
    return render(TEMPLATES, "header.v.jinja", version=version, configuration=configuration)


def tool_files(
    description: Mapping[str, Any], stem: str, *, clock: str, period_ns: float, testbench: bool
) -> Iterator[tuple[str, str]]:
    """Fill the files for FuseSoC, for timing constraints and for Verilator.

    Parameters
    ----------
    description : content of the JSON file
    stem : stem of the Verilog file
    clock : the clock port
    period_ns : clock period in nanoseconds
    testbench : whether there is a testbench ``<stem>_tb.v``

    Yields
    ------
    What follows the stem in each file's name, and its text.
    """
    top, version = description["top"], description["version"]
    yield (
        ".core",
        render(
            TEMPLATES,
            "fusesoc.core.jinja",
            top=top,
            stem=stem,
            version=version,
            testbench=testbench,
        ),
    )
    yield ".sdc", render(TEMPLATES, "clock.sdc.jinja", clock=clock, period_ns=period_ns)
    yield ".vlt", render(TEMPLATES, "verilator.vlt.jinja", stem=stem)


def check_target(
    config: MatVecConfig, file: Path, *, name: str, period_ns: float, family: str | None
) -> None:
    """Raise ``ExportError`` unless the arguments of an export are legal; see ``export_engine``."""
    if file.suffix != ".v" or not file.stem:
        raise ExportError(f"the file to write must end in .v, not {str(file)!r}")
    if not file.parent.is_dir():
        raise ExportError(f"{file}: must be in a folder that exists, and {file.parent} does not")
    if not period_ns > 0 or period_ns == float("inf"):
        raise ExportError(f"the clock period must be above 0 ns, not {period_ns:g}")
    try:
        check_name(name)
    except ValueError as error:
        raise ExportError(str(error)) from None
    if family is not None:
        check_fit(config, family)


def write_files(file: Path, texts: Iterable[tuple[str, str]]) -> list[Path]:
    """Write files beside ``file``, all or none.

    Parameters
    ----------
    file : gives folder and stem
    texts : of each file what follows the stem, and its content; what they raise leaves no file

    Returns
    -------
    The files, in this order

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

    For ``x.v`` also ``x.json``, ``x.md``, ``x.core``, ``x.sdc``, ``x.vlt`` and, with
    ``testbench``, ``x_tb.v``. The same arguments give the same files on every machine. All files
    are written or none.

    Parameters
    ----------
    config : the engine
    file : the Verilog file to write
    name : of the top module; submodules are ``<name>__…``
    testbench : write the self-checking testbench too
    period_ns : clock period in the SDC file
    family : None, or refuse what does not fit the block RAM of this key of ``FAMILIES``

    Returns
    -------
    The files, the Verilog first

    Raises
    ------
    ExportError
        If an argument is not legal; nothing was written then.
    OutputError, OSError
        If a file cannot be written; none is left then.
    """
    check_target(config, file, name=name, period_ns=period_ns, family=family)
    stem = file.stem
    engine = MatVecEngine(config)
    description = describe(engine, name)
    version = description["version"]

    def texts() -> Iterator[tuple[str, str]]:
        yield ".v", header(config, version) + component_verilog(engine, name)
        yield ".json", json.dumps(description, indent=2) + "\n"
        yield ".md", _page(config, description, stem)
        yield from tool_files(
            description, stem, clock="clk", period_ns=period_ns, testbench=testbench
        )
        if testbench:
            timing = EngineTiming.of(config)
            yield "_tb.v", selfcheck_verilog(config, top=name, timing=timing, stem=stem)

    return write_files(file, texts())
