"""Description of an exported engine: the content of its JSON file."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import data, wiring

from ...golden.codes import CODES
from ...golden.matmul import activation_range
from ..config import MatVecConfig
from ..engine.engine import MatVecEngine
from ..engine.loader import activations_shape, job_layout
from ..engine.results import queue_words, results_shape
from ..jobs import job_fields, job_limits
from .blockram import BLOCK_RAMS, buffer_blocks, queue_blocks
from .example import Example, worked_example
from .weight_code import describe_code

__all__ = [
    "configuration_text",
    "describe",
    "describe_fields",
    "describe_ports",
    "describe_stream",
]

#: Meanings of ports: by the port's whole name, else by what follows the stream in it.
_PORTS = {
    "clk": "clock; all registers change at its rising edge",
    "rst": "synchronous reset, active high; one cycle is enough",
    "jobs__payload": "a job; its fields are n, k, tokens, group_chunks and reuse",
    "activations__payload": "activations of one token, a signed value for each lane, lane 0 lowest",
    "weights__payload": "rows x lanes trits, packed, in the order [row][lane], byte 0 in bits 7:0",
    "results__payload": "results of one token, a signed value for each row, row 0 lowest; last",
    "valid": "a beat is offered; valid and payload stay stable until the beat is taken",
    "ready": "the beat offered in this cycle is taken",
    "busy": "a job is loaded or computed, or results wait",
    "error": "error flag, sticky until reset: an illegal weight code or activation, which counts "
    "as 0, or a job out of range, which is dropped",
    "faults": "causes of error, each high for one cycle: an illegal weight code (bit 0), an "
    "illegal activation (bit 1), a job out of range (bit 2)",
}

#: Meanings of the fields of payloads.
_FIELDS = {
    "n": "N, number of outputs, 1 to n_max",
    "k": "K, number of inputs, 1 to k_max",
    "tokens": "T, number of activation vectors, 1 to tokens",
    "group_chunks": "0 for one result per output, else the chunks of each partial result",
    "reuse": "the loaded activations stay: K is the same, and T is at most the loaded tokens",
    "values": "an accumulator for each row, signed; rows from N on deliver 0",
    "last": "final beat of the job",
}


#: Beats of a job on each stream, and their order, the slowest count first.
_STREAMS = {
    "activations": ("T * C", ["token", "chunk"]),
    "weights": ("ceil(N / rows) * C", ["group of rows", "chunk"]),
    "results": ("ceil(N / rows) * ceil(C / c) * T", ["group of rows", "partial result", "token"]),
}


def configuration_text(parameters: Mapping[str, object]) -> str:
    """Write the parameters of a configuration with their values, for comments and pages.

    The parameters of a configuration in it stand in parentheses.
    """
    return ", ".join(
        f"{key} ({configuration_text(value)})" if isinstance(value, Mapping) else f"{key} {value}"
        for key, value in parameters.items()
    )


def describe_ports(
    component: wiring.Component, meanings: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Describe the ports of a top module, in the order of the page.

    Parameters
    ----------
    component : the hardware
    meanings : by the port's whole name, else by what follows the stream in it

    Returns
    -------
    Each port has ``name``, ``direction``, ``width``, ``meaning`` and, if it belongs to a stream,
    the ``stream``.
    """
    # Amaranth adds clock and reset when it writes the module.
    ports = [
        {"name": name, "direction": "input", "width": 1, "meaning": meanings[name]}
        for name in ("clk", "rst")
    ]
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        port = {
            "name": name,
            "direction": "input" if member.flow == wiring.In else "output",
            "width": len(Value.cast(value)),
            "meaning": meanings.get(name) or meanings[str(path[-1])],
        }
        if len(path) > 1:
            port["stream"] = path[0]
        ports.append(port)
    return ports


def _field(lsb: int, width: int, meaning: str) -> dict[str, Any]:
    """Place and meaning of one number in a payload."""
    return {"lsb": lsb, "msb": lsb + width - 1, "meaning": meaning}


def _array(
    width: int, count: int, meaning: str, *, lsb: int = 0, signed: bool = True
) -> dict[str, Any]:
    """Place and meaning of ``count`` numbers of equal width in a payload."""
    elements = {"count": count, "element_width": width, "signed": signed}
    return _field(lsb, width * count, meaning) | elements


def describe_fields(
    layout: data.StructLayout, meanings: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Describe the fields of a payload by its layout.

    Parameters
    ----------
    layout : the payload
    meanings : of each field by its name

    Returns
    -------
    For each field ``lsb``, ``msb`` and ``meaning``; for numbers of equal width also their
    ``count``, ``element_width``, and whether they are ``signed``.
    """
    fields = {}
    for name, field in layout:
        # A field that a configuration has no use for has no bits.
        if not field.width:
            continue
        meaning, shape = meanings[str(name)], field.shape
        if isinstance(shape, data.ArrayLayout):
            width = shape.elem_shape.width
            fields[name] = _array(width, shape.length, meaning, lsb=field.offset)
        else:
            fields[name] = _field(field.offset, field.width, meaning)
    return fields


def _payloads(config: MatVecConfig) -> dict[str, Any]:
    """Bit fields of the payload of each stream."""
    code = CODES[config.code]
    bits = f"{code.symbol_bits} bit{'s' if code.symbol_bits > 1 else ''}"
    meaning = f"code {config.code}, symbols of {bits}, the first one lowest"
    return {
        "jobs": describe_fields(job_layout(config), _FIELDS),
        "activations": {
            "lanes": _array(
                config.act_bits,
                config.lanes,
                "one signed value for each lane; with 2 bits, -2 is illegal",
            )
            | {"limits": list(activation_range(config.act_bits))}
        },
        "weights": {"bytes": _array(8, config.weight_bytes, meaning, signed=False)},
        "results": describe_fields(results_shape(config), _FIELDS),
    }


def _latencies(engine: MatVecEngine) -> dict[str, Any]:
    """Cycles of a job, as formulas of its shape."""
    return {
        "job_to_first_weight_beat": f"{engine.job_latency} + T * C",
        "job_to_first_weight_beat_with_reuse": f"{engine.job_latency}",
        "last_weight_beat_of_a_group_to_its_first_result": engine.latency,
        "job": f"{engine.job_latency - 1} + T * C + (G - 1) * max(c, T) + c + {engine.latency} + T",
        "variables": "T tokens; C = ceil(K / lanes) chunks; c = group_chunks, or C if group_chunks "
        "is 0 or above C; G = ceil(N / rows) * ceil(C / c) result groups, for C a multiple of c",
        "conditions": "the engine was idle before, no stream has gaps, and results are taken at "
        "once; a job with reuse takes no T * C",
    }


def describe_stream(name: str, beat_bytes: int) -> dict[str, Any]:
    """Describe the beats of ``activations``, ``weights`` or ``results``.

    Returns
    -------
    ``beat_bytes``; ``beats_of_a_job``, a formula; ``beats_of_a_job_with_reuse``, of activations
    only; ``order``, the indices of a beat, slowest first
    """
    beats, order = _STREAMS[name]
    stream = {"beat_bytes": beat_bytes, "beats_of_a_job": beats, "order": order}
    return stream | ({"beats_of_a_job_with_reuse": "0"} if name == "activations" else {})


def _describe_jobs(config: MatVecConfig) -> dict[str, Any]:
    """Describe which jobs are in range, and how many are accepted ahead.

    Returns
    -------
    ``limits``, the smallest and the largest legal value of each field of a job; ``reuse``, the rule
    for jobs with reuse; ``accepted_ahead``, the jobs that the engine accepts while it computes one.
    """
    return {
        "limits": {name: list(limits) for name, limits in job_limits(config).items()},
        "reuse": "a job with reuse is in range only if a job without reuse was in range since the "
        "last reset, and the last one of these has the same k, and as many tokens or more",
        "accepted_ahead": 1,
    }


def _faults(config: MatVecConfig) -> dict[str, dict[str, Any]]:
    """Describe the bits of ``faults``: cause, effect, and the cycles until the bit is high.

    A bit that is never high has no cause, and a note why.
    """
    weight = {
        "cause": "a weight beat has an illegal symbol, even where the engine ignores its trits",
        "effect": "the trits of this symbol count as 0; the job goes on",
        "cycles": 3,
        "after": "its beat",
    }
    if CODES[config.code].legal.all():
        weight = {"cause": None, "note": f"the code {config.code} has no illegal symbol"}
    activation = {"cause": None, "note": f"all values of {config.act_bits} bits are legal"}
    if config.act_bits == 2:
        activation = {
            "cause": "an activation beat has the value -2 in a lane below K",
            "effect": "the value counts as 0; the job goes on",
            "cycles": 1,
            "after": "its beat",
        }
    return {
        "weight": {"bit": 0} | weight,
        "activation": {"bit": 1} | activation,
        "job": {
            "bit": 2,
            "cause": "a job is out of range",
            "effect": "the job is dropped: it takes no activations and no weights, and gives no "
            "results",
            "cycles": 2,
            "after": "its acceptance",
        },
    }


def _describe_example(example: Example) -> dict[str, Any]:
    """Describe the worked example: the engine, the job, its operands, and all beats."""
    config, job = example.config, example.job
    return {
        "parameters": asdict(config),
        "payloads": _payloads(config),
        "job": {name: int(getattr(job.shape, name)) for name in job_fields(config)},
        "trits": job.trits.tolist(),
        "activations": job.activations.tolist(),
        "results": [example.results],
        "beats": {
            name: [beat.hex(" ").upper() for beat in beats] for name, beats in example.beats.items()
        },
    }


def _memories(engine: MatVecEngine) -> dict[str, Any]:
    """Shapes of the memories in the Verilog."""
    config = engine.config
    width, depth = config.tokens * activations_shape(config).size, 2 * config.max_chunks
    queue_width, words = results_shape(config).size, queue_words(config.queue_depth)
    return {
        "activation_buffer": {
            "width": width,
            "depth": depth,
            "bits": width * depth,
            "write_enables": config.tokens,
        },
        # More words than beats, see queue_words.
        "result_queue": {
            "width": queue_width,
            "depth": words,
            "bits": queue_width * words,
            "beats": config.queue_depth,
        },
    }


def describe(engine: MatVecEngine, top: str) -> dict[str, Any]:
    """Describe an exported engine for tools.

    Parameters
    ----------
    engine : the engine
    top : name of its top module

    Returns
    -------
    The content of the JSON file: ``top``, ``generator``, ``version``, ``parameters`` (the
    configuration), ``derived`` (what follows from it), ``ports``, ``payloads`` (bit fields),
    ``weight_code`` (all symbols), ``streams`` (beats of a job), ``jobs`` (``limits``, ``reuse``
    and ``accepted_ahead``), ``faults``, ``example`` (one product, all beats in hexadecimal, byte 0
    first), ``latencies_cycles``, ``memories`` (words, bits, and beats of the result queue), and
    ``block_ram`` (modelled block RAMs for each FPGA family).
    """
    config = engine.config
    return {
        "top": top,
        "generator": "trilith",
        "version": metadata.version("trilith"),
        "parameters": asdict(config),
        "derived": {
            "acc_width": config.acc_width,
            "weight_bytes": config.weight_bytes,
            "max_chunks": config.max_chunks,
            "queue_depth": config.queue_depth,
            "macs_per_clock": config.macs_per_clock,
        },
        "ports": describe_ports(engine, _PORTS),
        "payloads": _payloads(config),
        "weight_code": describe_code(config),
        "streams": {
            name: describe_stream(name, -(-len(Value.cast(getattr(engine, name).p)) // 8))
            for name in _STREAMS
        },
        "jobs": _describe_jobs(config),
        "faults": _faults(config),
        "example": _describe_example(worked_example(config.code, config.act_bits)),
        "latencies_cycles": _latencies(engine),
        "memories": _memories(engine),
        "block_ram": {
            name: {
                "primitive": ram.primitive,
                "activation_buffer": buffer_blocks(config, ram),
                "result_queue": queue_blocks(config, ram),
                "origin": "modelled from width, depth and the shapes of the primitive",
            }
            for name, ram in BLOCK_RAMS.items()
        },
    }
