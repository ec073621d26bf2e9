"""Shapes of models that are known by name."""

from dataclasses import replace
from pathlib import Path

from ...golden.files import read_json
from ...golden.network.bitnet_2b4t import CONFIG
from ..tools.errors import EstimateError
from .config_shapes import read_model, transformer_shape
from .workload import Linear, ModelShape

__all__ = ["GPT3", "MODELS", "find_model"]

_BITNET = "config.json of microsoft/bitnet-b1.58-2B-4T"
_ONE_BIT = "config.json of 1bitLLM's checkpoint, heads and vocabulary unconfirmed"
_FALCON = "config.json and weight count of the checkpoint, partly inferred"
_QWEN3 = "Qwen3's config.json, unconfirmed"


def _matmul_free(name: str, hidden: int, layers: int) -> ModelShape:
    """MatMul-free LM: a gated recurrence (i, f, g, o) instead of attention, and a GLU of 8/3."""
    ffn = -(-hidden * 8 // 3 // 256) * 256
    shapes = {
        "i": (hidden, hidden),
        "f": (hidden, hidden),
        "g": (hidden, hidden),
        "o": (hidden, hidden),
        "gate": (ffn, hidden),
        "up": (ffn, hidden),
        "down": (hidden, ffn),
    }
    return ModelShape(
        name=name,
        hidden=hidden,
        layers=layers,
        vocabulary=32_000,
        linears=tuple(
            Linear(name=kind, n=n, k=k, count=layers, active=layers)
            for kind, (n, k) in shapes.items()
        ),
        heads=0,
        kv_heads=0,
        head_size=0,
        windows=(),
        norm_elements=(sum(k for _, k in shapes.values()) + hidden) * layers,
        gate_elements=(2 * hidden + ffn) * layers,
        tied=False,
        source="MatMul-free LM, arXiv 2406.02528; feed-forward size by its 8/3 in steps of 256",
    )


def _trilm(name: str, hidden: int, ffn: int, layers: int, head_size: int = 64) -> ModelShape:
    return transformer_shape(
        name,
        hidden=hidden,
        ffn=ffn,
        layers=layers,
        heads=hidden // head_size,
        vocabulary=50_304,
        tied=False,
        source="Spectra suite, arXiv 2407.12327",
    )


def _gpt3(name: str, hidden: int, layers: int) -> ModelShape:
    return transformer_shape(
        name,
        hidden=hidden,
        ffn=4 * hidden,
        layers=layers,
        heads=hidden // 64,
        vocabulary=50_257,
        tied=True,
        gated=False,
        source="GPT-3's sizes as BitNet's paper uses them, arXiv 2310.11453; 70B as Llama 2's",
    )


#: GPT-3's shapes: the models of BitNet's energy figures.
GPT3: dict[str, ModelShape] = {
    f"gpt3-{size}": _gpt3(f"gpt3-{size}", hidden, layers)
    for size, hidden, layers in (
        ("125m", 768, 12),
        ("350m", 1024, 24),
        ("760m", 1536, 24),
        ("1.3b", 2048, 24),
        ("2.7b", 2560, 32),
        ("6.7b", 4096, 32),
        ("13b", 5120, 40),
        ("30b", 7168, 48),
        ("70b", 8192, 80),
    )
}


_NAMED = (
    replace(read_model(CONFIG, _BITNET), name="bitnet-2b4t"),
    transformer_shape(
        "bitnet-large",
        hidden=1536,
        ffn=4096,
        layers=24,
        heads=16,
        vocabulary=32_002,
        tied=True,
        sub_norms=True,
        source=_ONE_BIT,
    ),
    transformer_shape(
        "bitnet-3b",
        hidden=3200,
        ffn=8640,
        layers=26,
        heads=32,
        vocabulary=32_002,
        tied=True,
        sub_norms=True,
        source=_ONE_BIT,
    ),
    transformer_shape(
        "llama3-8b",
        hidden=4096,
        ffn=14_336,
        layers=32,
        heads=32,
        kv_heads=8,
        vocabulary=128_256,
        tied=False,
        source="config.json of HF1BitLLM/Llama3-8B-1.58-100B-tokens",
    ),
    *(
        transformer_shape(
            name,
            hidden=hidden,
            ffn=ffn,
            layers=layers,
            heads=heads,
            kv_heads=4,
            head_size=256,
            vocabulary=131_072,
            tied=False,
            source=_FALCON,
        )
        for name, hidden, ffn, layers, heads in (
            ("falcon3-1b", 2048, 8192, 18, 8),
            ("falcon3-3b", 3072, 9216, 22, 12),
            ("falcon3-7b", 3072, 23_040, 28, 12),
            ("falcon3-10b", 3072, 23_040, 40, 12),
        )
    ),
    *(
        transformer_shape(
            name,
            hidden=2048,
            ffn=ffn,
            layers=layers,
            heads=16,
            kv_heads=2,
            vocabulary=32_768,
            tied=False,
            source=_FALCON,
        )
        for name, ffn, layers in (("falcon-e-1b", 9216, 24), ("falcon-e-3b", 13_312, 32))
    ),
    _trilm("trilm-99m", 512, 1280, 16),
    _trilm("trilm-190m", 768, 2048, 16),
    _trilm("trilm-390m", 1024, 2560, 24),
    _trilm("trilm-560m", 1280, 3072, 24),
    _trilm("trilm-830m", 1536, 4096, 24),
    _trilm("trilm-1.1b", 1792, 5120, 24),
    _trilm("trilm-1.5b", 2048, 6144, 24),
    _trilm("trilm-2.4b", 2304, 7680, 30),
    _trilm("trilm-3.9b", 3072, 9216, 30, 128),
    *(
        transformer_shape(
            name,
            hidden=hidden,
            ffn=ffn,
            layers=layers,
            heads=heads,
            kv_heads=8,
            head_size=128,
            vocabulary=151_936,
            tied=tied,
            head_norms=True,
            source=_QWEN3,
        )
        for name, hidden, ffn, layers, heads, tied in (
            ("bonsai-1.7b", 2048, 6144, 28, 16, True),
            ("bonsai-8b", 4096, 12_288, 36, 32, False),
        )
    ),
    _matmul_free("matmulfree-370m", 1024, 24),
    _matmul_free("matmulfree-1.3b", 2048, 24),
    _matmul_free("matmulfree-2.7b", 2560, 32),
    transformer_shape(
        "llama3.2-1b",
        hidden=2048,
        ffn=8192,
        layers=16,
        heads=32,
        kv_heads=8,
        vocabulary=128_256,
        tied=True,
        source="config.json of meta-llama/Llama-3.2-1B, unconfirmed",
    ),
    transformer_shape(
        "gemma3-1b",
        hidden=1152,
        ffn=6912,
        layers=26,
        heads=4,
        kv_heads=1,
        head_size=256,
        vocabulary=262_144,
        tied=True,
        norms=4,
        head_norms=True,
        windows=((512, 22), (None, 4)),
        source="config.json of google/gemma-3-1b-it, unconfirmed",
    ),
    transformer_shape(
        "qwen2.5-1.5b",
        hidden=1536,
        ffn=8960,
        layers=28,
        heads=12,
        kv_heads=2,
        vocabulary=151_936,
        tied=True,
        source="config.json of Qwen/Qwen2.5-1.5B, unconfirmed",
    ),
    transformer_shape(
        "smollm2-1.7b",
        hidden=2048,
        ffn=8192,
        layers=24,
        heads=32,
        vocabulary=49_152,
        tied=True,
        source="config.json of HuggingFaceTB/SmolLM2-1.7B, unconfirmed",
    ),
    transformer_shape(
        "minicpm-2b",
        hidden=2304,
        ffn=5760,
        layers=40,
        heads=36,
        vocabulary=122_753,
        tied=True,
        source="config.json of openbmb/MiniCPM-2B, unconfirmed",
    ),
)


#: Models by name.
MODELS: dict[str, ModelShape] = {model.name: model for model in _NAMED} | GPT3


def find_model(name: str) -> ModelShape:
    """A model by its name in ``MODELS``, or from a ``config.json`` or the folder that holds one.

    Raises
    ------
    EstimateError
        If there is no such name and no such file, or the file does not describe a known model.
    CheckpointError
        If the file is not JSON.
    """
    if name in MODELS:
        return MODELS[name]
    path = Path(name)
    if path.is_dir():
        path /= "config.json"
    if not path.is_file():
        raise EstimateError(
            f"the model must be a config.json or one of {', '.join(MODELS)}, not {name!r}"
        )
    model = read_model(read_json(path), str(path))
    return model if model.name != "config" else replace(model, name=path.parent.name or "model")
