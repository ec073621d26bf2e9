"""The smallest core that exports are tested with."""

from trilith.hw import MatVecConfig
from trilith.hw.token.config import TokenConfig

TINY = TokenConfig(
    engine=MatVecConfig(lanes=8, rows=2, k_max=24, n_max=24),
    vector_lanes=1,
    attention_lanes=4,
    memory_width=32,
    hidden_max=24,
    ffn_max=24,
    heads_max=4,
    kv_heads_max=2,
    head_size_max=6,
    context_max=4,
    vocabulary_max=12,
)

#: What makes the preset ``small`` this core on the command line.
OPTIONS = (
    *("--lanes", "8", "--rows", "2", "--k-max", "24", "--n-max", "24"),
    *("--vector-lanes", "1", "--attention-lanes", "4", "--memory-width", "32"),
    *("--hidden-max", "24", "--ffn-max", "24", "--heads-max", "4", "--kv-heads-max", "2"),
    *("--head-size-max", "6", "--context-max", "4", "--vocabulary-max", "12"),
)
