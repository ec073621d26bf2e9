"""Self-checking Verilog testbench of a token core, with a made model and its golden tokens."""

from collections.abc import Mapping
from functools import reduce

import numpy as np
from amaranth.lib import data

from ...golden.elements import element_bits
from ...golden.network.random_model import random_model
from ...golden.network.token_core import CoreCache, CoreModel
from ...golden.templates import render
from ..beats import beat_numbers
from ..token.config import TokenConfig
from ..token.image import compile_image, with_cache
from ..token.memory_port import memory_request
from ..token.sequencer import core_command
from ..token.topk import answer_shape
from .verilog import ExportError

__all__ = ["core_testbench", "example_model"]

#: Tokens of the testbench; the second one is answered.
_TOKENS = (5, 2)

#: Most logits that answer the last token.
_ANSWERS = 4

#: Cycles in which no port moves, after which the core is said to hang. The longest work without a
#: transfer is that on one vector.
_QUIET_CYCLES = 20_000

#: Cycles after which a run of the tokens is said not to end: many times those that it takes.
_RUN_CYCLES = 100_000


def example_model(config: TokenConfig) -> CoreModel:
    """Make a small model of random weights that a core can run, always the same one.

    It has two layers with sub-norms and relu². Vectors have partial chunks in most engines. Sizes
    are cut to the maxima of small cores.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    ExportError
        If no model fits the core, because a maximum is below the size that the lanes demand.
    """
    lanes = config.vector_lanes

    def size(name: str, wanted: int, unit: int) -> int:
        most = config.maxima[name]
        if most < unit:
            raise ExportError(
                f"a testbench needs {name}_max of {unit} or more, because sizes are multiples of "
                f"it with {lanes} vector lanes, not {most}; raise it, or leave the testbench out"
            )
        return min(wanted, most) // unit * unit

    kv_heads = size("kv_heads", 2, 1)
    return CoreModel(
        model=random_model(
            {
                "model_type": "bitnet",
                "hidden_act": "relu2",
                "hidden_size": size("hidden", 48, lanes),
                "intermediate_size": size("ffn", 80, lanes),
                "num_hidden_layers": 2,
                "num_attention_heads": kv_heads * min(2, config.shared_max),
                "num_key_value_heads": kv_heads,
                "head_dim": size("head_size", 32, 2 * lanes),
                "max_position_embeddings": size("context", 4, 1),
                "vocab_size": size("vocabulary", 16, 1),
                "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0,
                "tie_word_embeddings": True,
            },
            seed=17,
        )
    )


def _packed(layout: data.StructLayout, fields: Mapping[str, int]) -> int:
    """Pack fields into the bits of a layout; a field that is not given is 0."""
    return reduce(int.__or__, (value << layout[name].offset for name, value in fields.items()), 0)


def core_testbench(config: TokenConfig, *, top: str, stem: str) -> str:
    """Write a testbench, module ``<top>_tb``, that reads no files.

    It runs the tokens of the model of ``example_model`` twice, first without pauses, and then with
    pauses on every port. It compares the answers, each byte that is written to the cache, and the
    whole memory at the end with the golden model. It prints PASS, or FAIL with the first
    difference, and ends; after a failure by ``$fatal``.

    Parameters
    ----------
    config : configuration of the core
    top : name of the core's module
    stem : stem of the core's file, for comments

    Returns
    -------
    Verilog-2005.

    Raises
    ------
    ExportError
        If no model fits the core.
    """
    model = example_model(config)
    sizes = model.config
    image, cache = compile_image(model, config, name="random weights"), CoreCache(sizes)
    tokens = [token % sizes.vocabulary for token in _TOKENS[: sizes.max_positions]]
    logits = [model.forward([token], cache)[0] for token in tokens][-1]
    count = min(_ANSWERS, sizes.vocabulary)
    best = np.argsort(-logits, kind="stable")[:count]
    command, answer, request = core_command(config), answer_shape(config), memory_request(config)
    word = config.memory_width // 8
    memory = beat_numbers(image.memory.reshape(-1, word))
    after = beat_numbers(with_cache(image, cache).memory.reshape(-1, word))
    return render(
        "trilith.hw.export",
        "core_testbench.v.jinja",
        top=top,
        stem=stem,
        model=", ".join(f"{name} {value}" for name, value in image.sizes.items()),
        program_words=image.program_words,
        quiet_limit=_QUIET_CYCLES,
        run_limit=_RUN_CYCLES,
        word_bits=config.memory_width,
        weight_bits=8 * config.engine.weight_bytes,
        command_bits=command.size,
        request=request,
        answer=answer,
        commands=[
            _packed(
                command,
                {"token": token, "position": at, "k": count * (at == len(tokens) - 1)},
            )
            for at, token in enumerate(tokens)
        ],
        answers=[
            _packed(
                answer,
                {"token": token, "logit": logit, "last": place == count - 1},
            )
            for place, (token, logit) in enumerate(
                zip(best.tolist(), element_bits(logits[best]).tolist(), strict=True)
            )
        ],
        weights=beat_numbers(image.weights),
        memory=memory,
        cached={
            place: new
            for place, (old, new) in enumerate(zip(memory, after, strict=True))
            if new != old
        },
    )
