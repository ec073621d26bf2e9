"""Waits of the token core in its cycle model: for a memory that refreshes, and for a write."""

from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.program import WriteMode
from trilith.sim.cost.core.products import WORD, Writer
from trilith.sim.cost.core.validate import compare_cycles
from trilith.sim.rtl.memory_model import MemoryModel


def test_a_memory_that_refreshes_and_is_as_fast_as_the_engine():
    memory = MemoryModel(latency=20, refresh_interval=60, refresh_cycles=7)
    found = list(compare_cycles(CORE_PRESETS["small"], 3, seed=2, memory=memory))
    assert len(found) == 3
    assert [one for one in found if one.rtl != one.model] == []


def test_that_the_writer_moves_until_its_word_is_taken():
    writer = Writer()
    writer.step(command=(WriteMode.STORE.value, False), write_ready=True, word=0)
    assert not writer.moves
    assert writer.step(command=None, write_ready=False, word=WORD)
    for _ in range(12):
        assert writer.moves
        writer.step(command=None, write_ready=False, word=0)
    assert writer.out
    writer.step(command=None, write_ready=True, word=0)
    assert not writer.moves
