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
from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.loader import activations_shape, job_shape
from ..engine.results import results_shape
from ..engine.timing import EngineTiming
from .blockram import FAMILIES, buffer_blocks, queue_blocks
from .testbench import example_trits, selfcheck_verilog, worked_example
from .verilog import check_name, component_verilog

__all__ = [
    "ExportError",
    "check_fit",
    "check_target",
    "constraints",
    "core_file",
    "describe",
    "export_engine",
    "header",
    "waivers",
    "write_files",
]

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
    queue_bits = results_shape(config).size * engine.queue_depth
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
            "jobs": _fields(job_shape(config)),
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
        "latencies_clocks": {
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
                "width": results_shape(config).size,
                "depth": engine.queue_depth,
                "bits": queue_bits,
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


def _page(config: MatVecConfig, description: Mapping[str, Any], stem: str) -> str:
    """The page for people."""
    rows = [" ".join(map(str, row)) for row in example_trits(config.code)]
    beats = [f"`{beat.hex(' ').upper()}`" for beat in worked_example(config.code)]
    lines = [
        f"# {description['top']}: ternary matrix-vector engine",
        "",
        f"Written by trilith {description['version']} for "
        f"{', '.join(f'{key} {value}' for key, value in description['parameters'].items())}.",
        f"It does {config.macs_per_clock} multiply-accumulates per clock, without a multiplier: "
        "y = W · x, W of -1, 0 and +1, exact.",
        "",
        "| file | what it is |",
        "|---|---|",
        f"| `{stem}.v` | the engine, Verilog-2001; modules `{description['top']}` and "
        f"`{description['top']}__...` |",
        f"| `{stem}.json` | parameters, ports, bit fields, latencies and memories, for tools |",
        f"| `{stem}.sdc` | the clock |",
        f"| `{stem}.core` | FuseSoC core |",
        f"| `{stem}.vlt` | Verilator waivers, for `-Wall` only: the default rules need none |",
        f"| `{stem}_tb.v` | self-checking testbench, if asked for |",
        "",
        "## Clock and reset",
        "One clock domain: everything happens at the rising edge of `clk`; no output depends "
        "on an input of the same clock. `rst` is synchronous and "
        "active high; one clock is enough. It drops all jobs and forgets what is loaded for "
        "`reuse`. Registers also have initial values.",
        "",
        "## Streams",
        "`jobs`, `activations`, `weights` (inputs) and `results` (output), each with `valid`, "
        "`ready` and `payload`. A beat is taken at a rising edge at which `valid` and `ready` "
        "are both high. Once `valid` is high, it and the payload stay as they are until then. A "
        "producer never waits for `ready` before it raises `valid`. Gaps and backpressure on any "
        "stream lose nothing.",
        "",
        "| port | direction | bits | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{port['name']}` | {port['direction']} | {port['width']} | {port['meaning']} |"
            for port in description["ports"]
        ),
        "",
        "| payload | field | bits | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{stream}` | `{name}` | {field['msb']}:{field['lsb']} | {field['meaning']} |"
            for stream, fields in description["payloads"].items()
            for name, field in fields.items()
        ),
        "",
        "## Order of beats",
        f"K falls into C = ceil(K / {config.lanes}) chunks and N into ceil(N / {config.rows}) "
        "groups of rows.",
        "",
        "- `activations`: token, then chunk: T · C beats for a job without `reuse`, none with it. "
        "The next job's may load while this one runs.",
        "- `weights`: group of rows, then chunk: ceil(N / rows) · C beats. A beat holds rows × "
        "lanes trits, all lanes of row 0 first. Rows and lanes beyond N and K may hold any legal "
        "code; the engine ignores them.",
        "- `results`: group of rows, then partial result, then token. `last` marks the final beat "
        "of a job.",
        "",
        f"Worked example, code `{config.code}`, lanes 7, rows 2, K = 9, N = 2, "
        f"W[0] = {rows[0]}, W[1] = {rows[1]}: two beats, byte 0 first, {' and '.join(beats)}.",
        "",
        "## Clocks",
        "From the clock in which a job is accepted to the clock in which its last result is "
        "accepted, both counted, the engine idle before, no gaps and results taken at once:",
        "",
        f"    {description['latencies_clocks']['job']}",
        "",
        f"{description['latencies_clocks']['variables']}. The engine is at full rate, a weight "
        "beat per clock, while a result group has at least T chunks.",
        "",
        "## Memory (modelled)",
        "",
        "| family | block RAM | activation buffer | result queue |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['primitive']} | {row['activation_buffer']} | {row['result_queue']} |"
            for name, row in description["block_ram"].items()
        ),
        "",
        f"The buffer is {description['memories']['activation_buffer']['width']} bits wide and "
        f"{description['memories']['activation_buffer']['depth']} deep. 0 for the queue means "
        "LUT RAM or registers.",
        "",
        "SPDX-License-Identifier: Apache-2.0",
    ]
    return "\n".join(lines) + "\n"


def core_file(top: str, stem: str, version: str, testbench: bool) -> str:
    """Describe the files to FuseSoC."""
    tb_files = f"""
  tb:
    files: [{stem}_tb.v]
    file_type: verilogSource-2005
"""
    tb_target = f"""
  sim:
    description: Self-checking testbench, prints PASS
    default_tool: icarus
    filesets: [rtl, tb]
    toplevel: {top}_tb
    tools:
      verilator:
        mode: binary
        verilator_options: [--timing]
"""
    return f"""CAPI=2:
# SPDX-License-Identifier: Apache-2.0
name: "::{top}:{version}"
description: Ternary matrix-vector engine without multipliers, written by trilith

filesets:
  rtl:
    files: [{stem}.v]
    file_type: verilogSource-2005
  waivers:
    files: ["tool_verilator? ({stem}.vlt)"]
    file_type: vlt
  constraints:
    files: [{stem}.sdc]
    file_type: SDC
{tb_files if testbench else ""}
targets:
  default:
    filesets: [rtl, constraints]
    toplevel: {top}

  lint:
    description: Verilator with all rules
    default_tool: verilator
    filesets: [rtl, waivers]
    toplevel: {top}
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
{tb_target if testbench else ""}"""


def constraints(clock: str, period_ns: float) -> str:
    """The period of the clock port, as SDC."""
    return f"""\
# SPDX-License-Identifier: Apache-2.0
# The only clock of the engine, {1000 / period_ns:g} MHz. Delays of the ports are the integrator's.
create_clock -name {clock} -period {period_ns:g} [get_ports {clock}]
"""


def waivers(stem: str) -> str:
    """What Verilator's -Wall is not to say."""
    return f"""\
// SPDX-License-Identifier: Apache-2.0
// For verilator -Wall; its default rules need no waiver.
`verilator_config
// The bit below each sum, through which the carry enters, and fields that this configuration
// does not read.
lint_off -rule UNUSEDSIGNAL -file "*{stem}.v"
// Bits of registers that nothing reads were removed; the vectors kept their width.
lint_off -rule UNDRIVEN -file "*{stem}.v"
// One file holds all modules.
lint_off -rule DECLFILENAME -file "*{stem}.v"
"""


def header(config: MatVecConfig, version: str) -> str:
    """The comment above the Verilog."""
    fields = ", ".join(f"{key} {value}" for key, value in asdict(config).items())
    return f"""\
// Ternary matrix-vector engine without multipliers.
// Written by trilith {version}; do not edit.
// Configuration: {fields}
// SPDX-License-Identifier: Apache-2.0

"""


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
        yield ".core", core_file(name, stem, version, testbench)
        yield ".sdc", constraints("clk", period_ns)
        yield ".vlt", waivers(stem)
        if testbench:
            timing = EngineTiming.of(config)
            yield "_tb.v", selfcheck_verilog(config, top=name, timing=timing, stem=stem)

    return write_files(file, texts())
