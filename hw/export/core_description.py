"""Description of an exported token core: the content of its JSON file."""

from dataclasses import asdict
from importlib import metadata
from typing import Any

from ..token.config import K_MAX, TokenConfig
from ..token.core import TokenCore
from ..token.memory_port import BURST
from .description import describe_fields, describe_ports

__all__ = ["core_facts", "describe_core"]

#: Meanings of ports: by the port's whole name, else by what follows the stream in it.
_PORTS = {
    "clk": "clock; all registers change at its rising edge",
    "rst": "synchronous reset, active high; one cycle is enough",
    "commands__payload": "a token to run",
    "answers__payload": "one of the largest logits, the largest first",
    "program_words": "memory words of the program, which starts at byte 0 of the memory; constant",
    "fetch__payload": "a request for weight beats",
    "weights__payload": "rows x lanes trits of the engine, in the order of the requests",
    "requests__payload": "a request at the memory port",
    "write_data__payload": "the word of a write, in the order of the requests that write",
    "read_data__payload": "a word that is read, in the order of the requests",
    "valid": "a beat is offered; valid and payload stay stable until the beat is taken",
    "ready": "the beat offered in this cycle is taken",
    "busy": "a command is not finished",
    "error": "error flag, sticky until reset: a fault, or a value that was too large",
    "faults": "causes of error, each high in the cycle of its event: a token ends without its "
    "answers (bit 0), a value was too large (bit 1), an illegal weight code (bit 2), a product "
    "that the engine refused (bit 3); and the memory (bit 4), which stays high: a word came with "
    "an error, or a request had no words",
}

#: Meanings of the fields of each payload.
_FIELDS = {
    "commands": {
        "token": "number of the token",
        "position": "its position; positions count up from 0, where a text begins",
        "k": f"logits to answer with, 0 to {K_MAX}; 0 for the tokens of a prompt",
        "more": "the next command belongs to the same pass, at the position behind; k is 0",
    },
    "answers": {
        "token": "number of the token",
        "logit": "its logit: a float32 without its 8 lowest bits",
        "last": "last answer of the command",
    },
    "fetch": {
        "first": "number of the first beat, from 0 on",
        "beats": "beats that follow one another, 1 or more",
    },
    "requests": {
        "address": "byte address of the first word, a multiple of the bytes of a word",
        "words": f"words that follow one another, 1 to {BURST}; 1 for a write",
        "write": "write a word; else read",
    },
    "write_data": {
        "data": "the word, its lowest byte at the address",
        "strobes": "a bit for each byte that is written, the lowest byte's lowest",
    },
    "read_data": {
        "data": "the word, its lowest byte at the address",
        "error": "the memory failed; the word counts all the same",
    },
}


def _latencies(config: TokenConfig) -> dict[str, Any]:
    """Cycles of what streams through the core, as formulas of a model's sizes."""
    return {
        "setup_of_a_token": "4 + bits of the larger of token and position",
        "instruction": "4 or more",
        "product": f"ceil(N / {config.engine.rows}) * ceil(K / {config.engine.lanes})",
        "scores_of_a_head_of_keys": f"V * ceil(P / {config.segments}) * c",
        "mixtures_of_a_head_of_values": f"V * ceil(P / {config.segments}) * c",
        "logits": f"vocabulary * C, with C = ceil(hidden / {config.row_bytes}) * "
        f"{config.row_bytes // config.attention_lanes}",
        "variables": "N outputs and K inputs of a product; P positions so far; V heads of queries "
        "that share keys and values; c = chunks of a head's row, "
        f"{config.cache_chunks(config.head_size_max)} for the largest head",
        "conditions": "memory and weights answer at once; each formula counts the cycles in which "
        "weight beats or rows stream; the cycle model of trilith counts all cycles of a token",
    }


def core_facts(config: TokenConfig, top: str) -> dict[str, Any]:
    """Describe what a token core has, whatever its ports are.

    Parameters
    ----------
    config : configuration of the core
    top : name of the top module

    Returns
    -------
    ``top``, ``generator``, ``version``, ``parameters`` (the configuration), ``derived`` (what
    follows from it), and ``latencies_cycles``
    """
    return {
        "top": top,
        "generator": "trilith",
        "version": metadata.version("trilith"),
        "parameters": asdict(config),
        "derived": {
            "macs_per_clock": config.engine.macs_per_clock,
            "attention_products_per_clock": config.attention_lanes,
            "multipliers": config.multipliers,
            "weight_bytes": config.engine.weight_bytes,
            "word_bytes": config.memory_width // 8,
            "row_bytes": config.row_bytes,
            "cache_row_bytes": config.cache_row_bytes,
            "segments": config.segments,
            "head_on_weights": config.head_on_weights,
        },
        "latencies_cycles": _latencies(config),
    }


def describe_core(core: TokenCore, top: str) -> dict[str, Any]:
    """Describe an exported token core for tools.

    Parameters
    ----------
    core : the core
    top : name of its top module

    Returns
    -------
    The content of the JSON file: ``core_facts``, ``ports``, and ``payloads`` (bit fields)
    """
    return {
        **core_facts(core.config, top),
        "ports": describe_ports(core, _PORTS),
        "payloads": {
            name: describe_fields(getattr(core, name).payload.shape(), meanings)
            for name, meanings in _FIELDS.items()
        },
    }
