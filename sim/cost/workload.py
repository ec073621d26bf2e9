"""What language models compute and move: sizes, counted for prefill and decode."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...golden.files import read_json
from ...golden.network.bitnet_2b4t import CONFIG
from ..tools.errors import EstimateError

__all__ = [
    "GPT3",
    "MODELS",
    "Linear",
    "ModelShape",
    "Work",
    "decode",
    "find_model",
    "prefill",
    "read_model",
]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Matrices of one shape, W (n, k) @ x (k).

    Parameters
    ----------
    name : what they are
    n, k : outputs and inputs
    count : how many there are in the model
    active : how many of them a token passes through
    """

    name: str
    n: int
    k: int
    count: int
    active: int

    @property
    def weights(self) -> int:
        """Weights of all of them."""
        return self.n * self.k * self.count


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder, as far as its cost goes.

    Parameters
    ----------
    name : of the model
    hidden, layers, vocabulary : sizes
    linears : all linear layers but the head
    heads, kv_heads, head_size : of attention; 0 where there is none
    windows : tokens that a layer attends to at most, and how many layers do; None is no limit
    norm_elements : values that a token passes through norms, in all layers
    gate_elements : values that a token passes through the feed-forward activation, in all layers
    tied : the embedding is the head too
    experts, active_experts : of each mixture; 0 and 0 where there is none
    source : where the sizes are from
    """

    name: str
    hidden: int
    layers: int
    vocabulary: int
    linears: tuple[Linear, ...]
    heads: int
    kv_heads: int
    head_size: int
    windows: tuple[tuple[int | None, int], ...]
    norm_elements: int
    gate_elements: int
    tied: bool
    experts: int = 0
    active_experts: int = 0
    source: str

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers without the head: the ternary ones of a ternary model."""
        return sum(linear.weights for linear in self.linears)

    @property
    def active_weights(self) -> int:
        """Those that one token passes through."""
        return sum(linear.n * linear.k * linear.active for linear in self.linears)

    @property
    def head_weights(self) -> int:
        """Weights of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights of matrices: linear layers, embedding, and the head where it is another."""
        return self.linear_weights + self.head_weights * (1 if self.tied else 2)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step computes and moves. A MAC is one multiplication with its addition.

    Parameters
    ----------
    sequences : that the step serves
    tokens : that pass through the linear layers, of all sequences
    linear_macs, attention_macs, head_macs : multiply-accumulates
    linear_weights : read at least once; of a mixture the experts that the tokens are expected to
        choose, each choice being equally likely
    head_weights : read at least once
    kv_reads, kv_writes : values of keys and values
    vector_elements : values that pass through what is not a matrix product, see ``_vector``
    """

    sequences: int
    tokens: int
    linear_macs: int
    attention_macs: int
    head_macs: int
    linear_weights: float
    head_weights: int
    kv_reads: int
    kv_writes: int
    vector_elements: int

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return self.linear_macs + self.attention_macs + self.head_macs


def _checked(**sizes: int) -> None:
    for name, value in sizes.items():
        if type(value) is not int or not 1 <= value <= 2**27:
            raise EstimateError(f"{name} must be an integer from 1 to {2**27}, not {value!r}")
    tokens = sizes.get("tokens", 1) * sizes["batch"]
    if tokens > 2**24:
        raise EstimateError(f"tokens of all sequences must be at most {2**24}, not {tokens}")


def _weights_read(model: ModelShape, tokens: int) -> float:
    """Weights that some tokens touch."""
    total = 0.0
    for linear in model.linears:
        share = 1.0
        if linear.active < linear.count:
            # Of e experts each token takes a: one is left out by t tokens with (1 − a/e)^t.
            share = 1 - (1 - linear.active / linear.count) ** tokens
        total += linear.weights * share
    return total


def _vector(model: ModelShape) -> int:
    """Values per token that pass one by one through what stands between matrix products.

    Norms and the quantization of a linear layer's input each pass over their values twice (once
    for the sum or the maximum); each output of a linear layer is scaled once; gate, residual
    additions and rotary positions pass over theirs once.
    """
    inputs = sum(linear.k * linear.active for linear in model.linears if linear.name not in _SHARED)
    outputs = sum(linear.n * linear.active for linear in model.linears)
    rotary = (model.heads + model.kv_heads) * model.head_size * model.layers
    residual = 2 * model.hidden * model.layers
    twice = 2 * (model.norm_elements + inputs)
    return twice + outputs + model.gate_elements + rotary + residual


#: Linear layers whose input is another's too: it is quantized once.
_SHARED = ("k", "v", "up", "f", "g")


def prefill(model: ModelShape, tokens: int, *, batch: int = 1) -> Work:
    """A prompt of so many tokens, causal, up to the first generated token.

    Raises
    ------
    EstimateError
        If a size is not a positive integer, or absurdly large.
    """
    _checked(tokens=tokens, batch=batch)
    pairs = 0
    for window, layers in model.windows:
        reach = min(window or tokens, tokens)
        # Position i attends to min(i, window) positions, itself included.
        pairs += layers * (reach * (reach + 1) // 2 + (tokens - reach) * reach)
    width = model.heads * model.head_size
    kv = 2 * model.kv_heads * model.head_size
    attention_layers = sum(layers for _, layers in model.windows)
    return Work(
        sequences=batch,
        tokens=tokens * batch,
        linear_macs=model.active_weights * tokens * batch,
        attention_macs=2 * width * pairs * batch,
        head_macs=model.head_weights * batch,
        linear_weights=_weights_read(model, tokens * batch),
        head_weights=model.head_weights,
        kv_reads=kv * attention_layers * tokens * batch,
        kv_writes=kv * attention_layers * tokens * batch,
        vector_elements=_vector(model) * tokens * batch,
    )


def decode(model: ModelShape, context: int, *, batch: int = 1) -> Work:
    """One generated token for each sequence.

    Parameters
    ----------
    model : what computes
    context : tokens that each sequence attends to, the newest included
    batch : sequences that share a pass over the weights

    Raises
    ------
    EstimateError
        If a size is not a positive integer, or absurdly large.
    """
    _checked(context=context, batch=batch)
    reach = sum(layers * min(window or context, context) for window, layers in model.windows)
    kv = 2 * model.kv_heads * model.head_size
    return Work(
        sequences=batch,
        tokens=batch,
        linear_macs=model.active_weights * batch,
        attention_macs=2 * model.heads * model.head_size * reach * batch,
        head_macs=model.head_weights * batch,
        linear_weights=_weights_read(model, batch),
        head_weights=model.head_weights,
        kv_reads=kv * reach * batch,
        kv_writes=kv * sum(layers for _, layers in model.windows) * batch,
        vector_elements=_vector(model) * batch,
    )


def _transformer(
    name: str,
    *,
    hidden: int,
    ffn: int,
    layers: int,
    heads: int,
    kv_heads: int | None = None,
    head_size: int | None = None,
    vocabulary: int,
    tied: bool,
    source: str,
    gated: bool = True,
    sub_norms: bool = False,
    norms: int = 2,
    head_norms: bool = False,
    windows: tuple[tuple[int | None, int], ...] | None = None,
    sparse_layers: int = 0,
    experts: int = 0,
    active_experts: int = 0,
    expert_ffn: int = 0,
    shared_ffn: int = 0,
) -> ModelShape:
    """A decoder with attention; ``sparse_layers`` of its layers have experts instead of ``ffn``."""
    kv_heads = kv_heads or heads
    head_size = head_size or hidden // heads
    q, kv = heads * head_size, kv_heads * head_size
    dense = layers - sparse_layers
    linears = [
        Linear(name="q", n=q, k=hidden, count=layers, active=layers),
        Linear(name="k", n=kv, k=hidden, count=layers, active=layers),
        Linear(name="v", n=kv, k=hidden, count=layers, active=layers),
        Linear(name="o", n=hidden, k=q, count=layers, active=layers),
    ]

    def feed_forward(size: int, count: int, active: int) -> None:
        if not size or not count:
            return
        if gated:
            linears.append(Linear(name="gate", n=size, k=hidden, count=count, active=active))
        linears.append(
            Linear(name="up" if gated else "in", n=size, k=hidden, count=count, active=active)
        )
        linears.append(Linear(name="down", n=hidden, k=size, count=count, active=active))

    feed_forward(ffn, dense, dense)
    feed_forward(expert_ffn, sparse_layers * experts, sparse_layers * active_experts)
    feed_forward(shared_ffn, sparse_layers, sparse_layers)
    if sparse_layers:
        linears.append(
            Linear(name="router", n=experts, k=hidden, count=sparse_layers, active=sparse_layers)
        )
    gate = ffn * dense + (expert_ffn * active_experts + shared_ffn) * sparse_layers
    return ModelShape(
        name=name,
        hidden=hidden,
        layers=layers,
        vocabulary=vocabulary,
        linears=tuple(linears),
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        windows=windows or ((None, layers),),
        norm_elements=hidden * (norms * layers + 1)
        + sub_norms * (q * layers + gate)
        + head_norms * (q + kv) * layers,
        gate_elements=gate,
        tied=tied,
        experts=experts,
        active_experts=active_experts,
        source=source,
    )


#: Kinds of ``config.json`` that are understood, and what each leaves unsaid where it is absent.
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "bitnet": {"sub_norms": True},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_norms": True, "head_dim": 128},
    "gemma": {"tied": True, "head_dim": 256},
    "gemma2": {"tied": True, "head_dim": 256, "norms": 4, "pattern": 2},
    "gemma3_text": {"tied": True, "head_dim": 256, "norms": 4, "pattern": 6, "head_norms": True},
    "minicpm": {"tied": True},
    "mixtral": {},
    "qwen2_moe": {},
    "qwen3_moe": {"head_norms": True, "head_dim": 128},
}


def read_model(config: Mapping[str, Any], source: str) -> ModelShape:
    """A model from Hugging Face's ``config.json``.

    Parameters
    ----------
    config : its content
    source : names it in errors

    Raises
    ------
    EstimateError
        If the kind of model is not understood, or fields are missing or contradict each other.
    """
    if isinstance(config.get("text_config"), dict):
        config = {**config["text_config"]}
        if config.get("model_type") == "gemma3":
            config["model_type"] = "gemma3_text"
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise EstimateError(
            f"{source}: 'model_type' must be one of {', '.join(_FAMILIES)}, not {kind!r}"
        )
    family = _FAMILIES[kind]
    for key in ("kv_lora_rank", "num_nextn_predict_layers"):
        if config.get(key):
            raise EstimateError(f"{source}: {key!r} is of a kind of attention that is not counted")

    def size(key: str, default: int | None = None, least: int = 1) -> int:
        value = config.get(key)
        value = default if value is None else value
        if value is None:
            missing.append(key)
            return 1
        if type(value) is not int or not least <= value < 2**31:
            raise EstimateError(
                f"{source}: {key!r} must be an integer from {least} below 2**31, not {value!r}"
            )
        return value

    missing: list[str] = []
    mixture = kind in ("mixtral", "qwen2_moe", "qwen3_moe")
    hidden, layers = size("hidden_size"), size("num_hidden_layers")
    heads, vocabulary = size("num_attention_heads"), size("vocab_size")
    ffn = size("intermediate_size")
    experts_key = "num_local_experts" if kind == "mixtral" else "num_experts"
    experts = size(experts_key) if mixture else 0
    active = size("num_experts_per_tok") if mixture else 0
    expert_ffn = ffn if kind == "mixtral" else size("moe_intermediate_size") if mixture else 0
    if missing:
        raise EstimateError(f"{source}: must have {', '.join(map(repr, missing))}, and has not")
    kv_heads = size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise EstimateError(
            f"{source}: 'num_attention_heads' must be a multiple of 'num_key_value_heads', "
            f"not {heads} of {kv_heads}"
        )
    if config.get("head_dim") is None and "head_dim" not in family and hidden % heads:
        raise EstimateError(
            f"{source}: 'hidden_size' must be a multiple of 'num_attention_heads', "
            f"not {hidden} of {heads}"
        )
    if active > experts:
        raise EstimateError(
            f"{source}: 'num_experts_per_tok' must be at most {experts_key!r}, "
            f"not {active} of {experts}"
        )
    sparse = layers if mixture else 0
    if kind in ("qwen2_moe", "qwen3_moe"):
        step = size("decoder_sparse_step", 1)
        dense = config.get("mlp_only_layers") or []
        if not isinstance(dense, list):
            raise EstimateError(f"{source}: 'mlp_only_layers' must be a list, not {dense!r}")
        sparse = sum(index not in dense and (index + 1) % step == 0 for index in range(layers))
    tied = config.get("tie_word_embeddings", family.get("tied", False))
    if type(tied) is not bool:
        raise EstimateError(f"{source}: 'tie_word_embeddings' must be true or false, not {tied!r}")
    return _transformer(
        str(config.get("_name_or_path") or Path(source).stem),
        hidden=hidden,
        ffn=ffn,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size("head_dim", family.get("head_dim", hidden // heads)),
        vocabulary=vocabulary,
        tied=tied,
        source=source,
        sub_norms=family.get("sub_norms", False),
        norms=family.get("norms", 2),
        head_norms=family.get("head_norms", False),
        windows=_windows(config, family, layers, source),
        sparse_layers=sparse,
        experts=experts,
        active_experts=active,
        expert_ffn=expert_ffn,
        shared_ffn=size("shared_expert_intermediate_size", 0, 0) if mixture else 0,
    )


def _windows(
    config: Mapping[str, Any], family: Mapping[str, Any], layers: int, source: str
) -> tuple[tuple[int | None, int], ...]:
    """Which layers attend to how much."""
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    if window is None or config.get("use_sliding_window") is False:
        return ((None, layers),)
    if type(window) is not int or window < 1:
        raise EstimateError(
            f"{source}: 'sliding_window' must be a positive integer, not {window!r}"
        )
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers:
            raise EstimateError(
                f"{source}: 'layer_types' must name the kind of each of the {layers} layers"
            )
        slides = sum(kind == "sliding_attention" for kind in kinds)
    elif "pattern" in family:
        # Every so many layers one attends to everything.
        pattern = config.get("sliding_window_pattern", family["pattern"])
        if type(pattern) is not int or pattern < 1:
            raise EstimateError(
                f"{source}: 'sliding_window_pattern' must be a positive integer, not {pattern!r}"
            )
        slides = layers - layers // pattern
    elif config.get("model_type") in ("mistral", "mixtral"):
        slides = layers
    else:
        full = config.get("max_window_layers", layers)
        if type(full) is not int or not 0 <= full <= layers:
            raise EstimateError(
                f"{source}: 'max_window_layers' must be from 0 to {layers}, not {full!r}"
            )
        slides = layers - full
    return tuple((w, n) for w, n in ((window, slides), (None, layers - slides)) if n)


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


_BITNET = "config.json of microsoft/bitnet-b1.58-2B-4T"


_ONE_BIT = "config.json of 1bitLLM's checkpoint, heads and vocabulary unconfirmed"


_FALCON = "config.json and weight count of the checkpoint, partly inferred"


_QWEN3 = "Qwen3's config.json, unconfirmed"


def _trilm(name: str, hidden: int, ffn: int, layers: int, head_size: int = 64) -> ModelShape:
    return _transformer(
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
    return _transformer(
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
    _transformer(
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
    _transformer(
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
    _transformer(
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
        _transformer(
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
        _transformer(
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
        _transformer(
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
    _transformer(
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
    _transformer(
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
    _transformer(
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
    _transformer(
        "smollm2-1.7b",
        hidden=2048,
        ffn=8192,
        layers=24,
        heads=32,
        vocabulary=49_152,
        tied=True,
        source="config.json of HuggingFaceTB/SmolLM2-1.7B, unconfirmed",
    ),
    _transformer(
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
