"""Benches of the token core: its arithmetic, its cycles, and a token of 2B4T's size."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from ..golden.checkpoint.model_config import ModelConfig
from ..golden.checkpoint.tokenizer import load_tokenizer
from ..golden.data import PYDOC
from ..golden.network import bitnet_2b4t as bitnet
from ..golden.network.text import bits_per_byte
from ..golden.network.token_core import CoreCache, CoreModel
from ..golden.network.transformer import BitNetModel, KVCache
from ..hw.token.config import CORE_PRESETS, TokenConfig
from ..hw.token.image import compile_image
from ..hw.token.plan import plan_image
from ..sim.cost.core.cycles import core_cycles
from ..sim.cost.core.validate import compare_cycles
from ..sim.rtl.axi_bandwidth import memory_bandwidth, weight_bandwidth
from ..sim.rtl.core_2b4t import TOKEN, config_2b4t, run_2b4t
from ..sim.rtl.memory_model import MemoryModel
from ..sim.rtl.token_core import TokenCoreSimulator

__all__ = ["cycles_2b4t", "large_core", "token_core"]

#: Texts that are continued by two arithmetics.
_CONTINUATIONS = 60
#: Random models for each preset of the token core that the cycle model is compared on, and the
#: presets.
_RANDOM_MODELS, _PRESETS = 50, ("pydoc", "pydoc-ecp5", "small")
#: Cycles from an address to its first word, of the memory behind the AXI4 masters.
_LATENCY = 40


def token_core() -> None:
    """Print the quality of the token core's arithmetic, and the cycles of a token by part.

    A continuation is equal if all its tokens are those of the float arithmetic, the likeliest at
    each step.
    """
    texts = json.loads((PYDOC / "held_out.json").read_text())
    tokenizer, model = load_tokenizer(PYDOC), BitNetModel.load(PYDOC)
    core = CoreModel(model=model)
    prompts = [tokenizer.encode(text).ids[:8] for text in texts[:_CONTINUATIONS]]
    equal = sum(
        _continue(core, CoreCache(core.config), prompt)
        == _continue(model, KVCache(model.config), prompt)
        for prompt in prompts
    )
    print("Token core")
    print(f"  bits per byte        {bits_per_byte(core, tokenizer, texts):.4f} in its arithmetic")
    print(f"  equal continuations  {equal} of {len(prompts)}, of 24 tokens each")
    image = compile_image(core, CORE_PRESETS["pydoc"])
    with TokenCoreSimulator(image) as simulator:
        tokens = tokenizer.encode(" ".join(texts[:8])).ids[:64]
        run = [simulator.run(token, position) for position, token in enumerate(tokens)][-1]
    print(f"  a token at context 64 {run.cycles:,} cycles: {_listed(run.by_part)}")
    model = core_cycles(image.config, image.program, token=tokens[63], position=63)
    print(f"  the cycle model of it {model.cycles:,} cycles")
    slow = MemoryModel(
        latency=40, interval=2, weight_interval=2, refresh_interval=500, refresh_cycles=30
    )
    for speed, memory in (("fast", None), ("slow", slow)):
        cases = [
            case
            for name in _PRESETS
            for case in compare_cycles(CORE_PRESETS[name], _RANDOM_MODELS, seed=1, memory=memory)
        ]
        exact = sum(case.model == case.rtl for case in cases)
        error = max(abs(case.model.cycles / case.rtl.cycles - 1) for case in cases)
        print(
            f"  {speed} memory          {exact} of {len(cases)} random models and positions exact, "
            f"each part; largest error {error:.2%}"
        )
    for bus, found in (
        ("weights", weight_bandwidth(beat_bytes=64, bus_bits=512, latency=_LATENCY)),
        ("memory", memory_bandwidth(CORE_PRESETS["pydoc"], latency=_LATENCY)),
    ):
        print(
            f"  AXI4 {bus:<15} {found.share:.2%} of a stream's word per cycle, behind a latency of "
            f"{_LATENCY} cycles: {found.words:,} words of 512 bits in {found.bursts} bursts"
        )


def _continue(model: Any, cache: Any, prompt: list[int]) -> list[int]:
    """Continue a prompt by the 24 likeliest tokens."""
    tokens = [int(model.forward(prompt, cache, last=True)[0].argmax())]
    while len(tokens) < 24:
        tokens.append(int(model.forward(tokens[-1:], cache, last=True)[0].argmax()))
    return tokens


def large_core() -> None:
    """Print the cycles of a layer and of a token of 2B4T's size, every vector equal to golden's.

    A layer is the difference of two layers and one, without the head. Glue is what is neither
    products nor attention. ``own`` cycles are those of the products alone: weights, attention and
    head, at the rates of the engine and the lanes.
    """
    config, sizes = CORE_PRESETS["2b4t"], ModelConfig.read(bitnet.CONFIG, "2B4T")
    engine = config.engine
    own = sum(
        ceil(n / engine.rows) * ceil(k / engine.lanes) for n, k in sizes.linear_shapes.values()
    )
    print(f"Token core {config}: 2B4T's shapes, random weights and cache")
    one, two = (run_2b4t(n, (0, 511), vocabulary=64, k=0) for n in (1, 2))
    for position, first, both in zip((0, 511), one, two, strict=True):
        parts = {name: both.by_part[name] - first.by_part[name] for name in both.by_part}
        cycles, model = sum(parts.values()), cycles_2b4t(2, position, vocabulary=64, k=0)
        glue = cycles - own - parts["attention"]
        print(
            f"  a layer, position {position:<3} {cycles:,} cycles: {_listed(parts)}\n"
            f"    glue {glue:,} cycles: {glue / own:.1%} of the products' {own:,} (at most 7 %), "
            f"{glue / sizes.ffn:.2f} per element of the feed-forward layer (below 0.5)\n"
            f"    attention {parts['attention'] / own:.1%} of the products (at most 25 %); the "
            f"cycle model's error {model - both.cycles:,}"
        )
    start = time.perf_counter()
    (token,) = run_2b4t(sizes.layers, [511], vocabulary=sizes.vocabulary, k=1)
    seconds = time.perf_counter() - start
    products = 2 * sizes.heads * sizes.head_size * 512 * sizes.layers
    products += sizes.vocabulary * sizes.hidden
    all_own = sizes.layers * own + products // config.attention_lanes
    model = cycles_2b4t(sizes.layers, 511, vocabulary=sizes.vocabulary, k=1)
    print(
        f"  a token, position 511 {token.cycles:,} cycles: {_listed(token.by_part)}\n"
        f"    {len(token.vectors):,} vectors and the answer equal golden's; "
        f"{token.cycles / all_own:.3f} times the {all_own:,} cycles of its products (at most 1.2); "
        f"the cycle model's error {model - token.cycles:,}; {seconds:.0f} s (at most 600)"
    )
    _prompt(config)


def _prompt(config: TokenConfig) -> None:
    """Print the cycles of a layer for four tokens of a prompt beside those for one (modelled)."""
    engine = replace(config.engine, tokens=4)
    config = replace(config, engine=engine, vector_lanes=16)
    layers = {}
    for tokens in (1, 4):
        one, two = (
            core_cycles(
                config,
                plan_image(config, ModelConfig.read(config_2b4t(n, 64), "2B4T")).program,
                token=[TOKEN] * tokens,
                position=0,
                k=0,
            )
            for n in (1, 2)
        )
        layers[tokens] = {name: two.by_part[name] - one.by_part[name] for name in two.by_part}
    single, four = (sum(parts.values()) for parts in layers.values())
    print(
        f"Prompts on {config} (cycle model)\n"
        f"  a layer, 1 token     {single:,} cycles\n"
        f"  4 tokens in a pass   {four:,} cycles: {_listed(layers[4])}\n"
        f"    {four / single:.3f} times those of 1 token (at most 1.15)"
    )


def cycles_2b4t(layers: int, position: int, *, vocabulary: int, k: int) -> int:
    """Cycles of a token of 2B4T's shapes by the cycle model.

    Parameters
    ----------
    layers, vocabulary : see ``config_2b4t``
    position : of the token
    k : logits to answer with
    """
    sizes = ModelConfig.read(config_2b4t(layers, vocabulary), "2B4T")
    plan = plan_image(CORE_PRESETS["2b4t"], sizes)
    return core_cycles(plan.config, plan.program, token=TOKEN, position=position, k=k).cycles


def _listed(parts: Mapping[str, int]) -> str:
    """Cycles by part, in one line."""
    return ", ".join(f"{name} {cycles:,}" for name, cycles in parts.items())
