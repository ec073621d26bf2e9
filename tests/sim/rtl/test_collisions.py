"""Memories of the token core that are read and written at one place in one cycle.

Bitstreams let such a read give anything, see ``trilith.fpga.flow.bitstream``. Here it gives the
inverted word, and every vector must still be that of the golden model.
"""

import re

import numpy as np
import pytest
from small_core import CONFIG, PAIRS, check_token, small_model

from trilith.golden.network.token_core import CoreCache
from trilith.hw.token.image import compile_image
from trilith.sim.rtl import token_core
from trilith.sim.rtl.memory_model import MemoryModel
from trilith.sim.rtl.token_core import GoldenTrace, TokenCoreSimulator

#: A memory as yosys writes it: its highest bit, and its name.
MEMORY = re.compile(r"^  reg \[(\d+):0\] (\S+) +\[\d+:0\];$", re.MULTILINE)


def with_collisions(text):
    """Change synchronous reads of memories that are written; return the text and their number."""
    count, modules = 0, re.split(r"(?m)^(?=module )", text)
    for index, module in enumerate(modules):
        for high, name in MEMORY.findall(module):
            word = rf"{re.escape(name)} ?\[((?:[^\[\]]|\[[^\]]*\])*)\]"
            writes = re.findall(rf"    if \((.+)\)\n      {word}(?:\[[\d:]+\])? <= ", module)
            if not writes:
                continue
            hit = " | ".join(f"({enable} & ({place} == READ))" for enable, place in writes)
            hit = f"{{{int(high) + 1}{{{hit}}}}}"

            def collide(match, name=name, hit=hit):
                place = match[2]
                return f"{match[1]} <= {name} [{place}] ^ {hit.replace('READ', place)};"

            module, found = re.subn(rf"(_\d+_) <= {word};", collide, module)
            count += found
        modules[index] = module
    return "".join(modules), count


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(CONFIG, id="small"),
        pytest.param(PAIRS, id="pairs", marks=pytest.mark.long),
    ],
)
def test_no_word_is_used_that_is_written_meanwhile(config, random_model, tmp_path, monkeypatch):
    keep = token_core.keep_verilog
    changed = []

    def keep_changed(*arguments):
        text, count = with_collisions(keep(*arguments).read_text())
        changed.append(count)
        (tmp_path / "token_core.v").write_text(text)
        return tmp_path / "token_core.v"

    monkeypatch.setattr(token_core, "keep_verilog", keep_changed)
    for family in ("bitnet", "llama"):
        model = small_model(random_model, family)
        image = compile_image(model, config)
        for memory in (None, MemoryModel(pauses=0.3, seed=4)):
            cache = CoreCache(model.config)
            with TokenCoreSimulator(image, memory=memory, limit=200_000) as core:
                for position, token in enumerate(np.random.default_rng(3).integers(0, 160, 8)):
                    trace = GoldenTrace(model, int(token), cache)
                    check_token(core, trace, int(token), position, 3)
    assert min(changed) >= 16
