"""Tables of a token core's energy by part: how they are stored and read.

The table of a library is ``data/token-<library>.json``. To read it needs neither the library nor a
tool; ``trilith characterize --token-core`` measures it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...golden.checkpoint.model_config import ModelConfig
from ...golden.files import check_outputs, read_json, write_text
from ..tools.errors import EstimateError
from ..tools.records import record

__all__ = [
    "CorePart",
    "CoreTable",
    "check_core_table",
    "core_table_file",
    "core_table_names",
    "load_core_table",
    "operations",
    "store_core_table",
]

_DATA = Path(__file__).parent / "data"


def operations(sizes: ModelConfig, context: int) -> dict[str, int]:
    """Count what each part of a token core does for a token.

    Parameters
    ----------
    sizes : sizes of the model
    context : positions that the token attends to, itself included

    Returns
    -------
    By part: ``engine``, ``dots`` and ``mixer`` multiply-accumulates; ``scaler`` and ``writer``
    results of products, and elements of the embedding; ``peak`` and ``normalizer`` elements in
    front of products; ``heads`` and ``cache`` elements of queries, keys and values; ``softmax``
    scores; ``scores`` scores and logits; ``topk`` logits; ``head rows`` bytes of the head;
    ``memory`` bytes of gains, cache and embedding; ``sequencer`` layers
    """
    hidden, ffn, layers = sizes.hidden, sizes.ffn, sizes.layers
    mixed = sizes.heads * sizes.head_size
    keys = sizes.kv_heads * sizes.head_size
    macs = layers * hidden * (2 * mixed + 2 * keys + 3 * ffn)
    results = layers * (mixed + 2 * keys + 2 * hidden + 2 * ffn) + hidden
    inputs = layers * (2 * hidden + mixed + ffn) + hidden
    turned = layers * (mixed + 2 * keys)
    scores = layers * sizes.heads * context
    logits = sizes.vocabulary
    return {
        "engine": macs,
        "scaler": results,
        "writer": results,
        "peak": inputs,
        "normalizer": inputs,
        "heads": turned,
        "cache": turned,
        "dots": scores * sizes.head_size + logits * hidden,
        "mixer": scores * sizes.head_size,
        "softmax": scores,
        "scores": scores + logits,
        "topk": logits,
        "head rows": logits * hidden,
        "memory": 2 * layers * keys * (context + 1) + 8 * inputs + hidden,
        "sequencer": layers,
    }


@dataclass(frozen=True, kw_only=True)
class CorePart:
    """A part of a token core, and what a token takes in it.

    Parameters
    ----------
    part : key of ``CORE_PARTS``
    operations : see ``operations``
    cells, flip_flops, area : of the part; the area in the library's unit
    data_fj : energy of the token in fJ, without clock pins and leakage
    clock_fj : energy of the clock pins and their charge in fJ, for one cycle
    leakage_fj : leakage in fJ, for one cycle
    busy : cycles of the token in which a register of the part changes
    read_bits, written_bits : bits that the token reads from memories of the part, and writes
    """

    part: str
    operations: int
    cells: int
    flip_flops: int
    area: float
    data_fj: float
    clock_fj: float
    leakage_fj: float
    busy: int
    read_bits: int
    written_bits: int

    @property
    def gated_fj(self) -> float:
        """Energy of an operation in fJ if the part has a clock only while it is busy."""
        return (self.data_fj + self.clock_fj * self.busy) / self.operations

    @property
    def moved_bits(self) -> float:
        """Bits of an operation that memories of the part read and write."""
        return (self.read_bits + self.written_bits) / self.operations


@dataclass(frozen=True, kw_only=True)
class CoreTable:
    """Parts of a token core, measured in a library.

    Parameters
    ----------
    library, node : name of the library; process and voltage
    core : the configuration of the core, in words
    vector_lanes, attention_lanes : its widths, see ``TokenConfig``
    context : positions that the token attends to
    cycles : cycles of the token
    clock_ghz, max_ghz : the clock that the energies are for, and the one that the slowest path
        allows, in GHz
    refused : see ``Power``
    compared : values of output ports that equal those of the RTL
    parts : the parts
    provenance : see ``Characterization``
    key : hash of all that the figures depend on, see ``stored_key``
    label : origin of the figures
    """

    library: str
    node: str
    core: str
    vector_lanes: int
    attention_lanes: int
    context: int
    cycles: int
    clock_ghz: float
    max_ghz: float
    refused: float
    compared: int
    parts: tuple[CorePart, ...]
    provenance: dict[str, Any]
    key: str = ""
    label: str = "measured"

    def part(self, name: str) -> CorePart:
        """Return a part by its name in ``CORE_PARTS``."""
        return next(one for one in self.parts if one.part == name)

    @property
    def token_fj(self) -> float:
        """Energy of the cells of the measured token in fJ, with a clock in every cycle."""
        return sum(
            one.data_fj + (one.clock_fj + one.leakage_fj) * self.cycles for one in self.parts
        )


def core_table_file(library: str) -> Path:
    """Return where the table of a library is stored."""
    return _DATA / f"token-{library}.json"


def core_table_names() -> list[str]:
    """List the libraries that have a table."""
    return sorted(file.stem.removeprefix("token-") for file in _DATA.glob("token-*.json"))


def check_core_table(file: Path) -> CoreTable | None:
    """Check that a table can be written to a file, and replaces nothing but an older table.

    Returns
    -------
    The older table; None if there is none

    Raises
    ------
    EstimateError
        If the file is something else.
    OutputError
        If the file cannot be written.
    """
    check_outputs([file], force=True)
    return _read(file) if file.exists() else None


def store_core_table(table: CoreTable, file: Path) -> None:
    """Write a table, whole or not at all, with a line for each part.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    values = asdict(table)
    parts = ",\n".join(json.dumps(_rounded(part)) for part in values.pop("parts"))
    head = json.dumps(_rounded(values), indent=1)[:-2]
    write_text(file, f'{head},\n "parts": [\n{parts}\n]\n}}\n', force=True)


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Round to five digits, which are more than the accuracy of the figures."""
    return {
        name: float(f"{value:.5g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


def load_core_table(library: str) -> CoreTable:
    """Load the table of a library.

    Parameters
    ----------
    library : one of ``core_table_names()``

    Raises
    ------
    EstimateError
        If there is no such table, or it is damaged.
    """
    names = core_table_names()
    if library not in names:
        raise EstimateError(
            f"the library must be one of {', '.join(names) or 'none yet'}, not {library!r}: "
            "'trilith characterize --token-core' measures a token core in another"
        )
    return _read(core_table_file(library))


def _read(file: Path) -> CoreTable:
    """Read a table."""
    stored = read_json(file)
    parts = stored.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise EstimateError(
            f"{file}: the file must be a table of a token core, with its parts: "
            "'trilith characterize --token-core' measures one"
        )
    found = tuple(
        record(CorePart, part, f"{file}: parts: {place}") for place, part in enumerate(parts)
    )
    for place, part in enumerate(found):
        if part.operations < 1:
            raise EstimateError(
                f"{file}: parts: {place}: operations must be 1 or more, not {part.operations}"
            )
    return record(CoreTable, stored | {"parts": found}, str(file))
