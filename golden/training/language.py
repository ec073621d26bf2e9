"""Train the stored language model: a small BitNet b1.58 transformer on Python's own documentation.

Run ``python -m trilith.golden.training.language``. The network has the shape of BitNet b1.58 2B4T
(arXiv 2504.12285): sub-norms in front of the output and the down projection, squared ReLU in a
gated feed-forward layer, rotary positions, grouped-query attention, a tied head. Every linear layer
but the head is a BitLinear, trained quantization-aware. The network in the form of the code
``sherry`` has exactly one zero in each four weights of a row, see ``sherry_quantize``. The float
twin has no quantizer. All three have the same initialization, batches and recipe.

The text is on every machine with Python: the documentation strings of the standard library and the
topics of ``pydoc``, once each. A twentieth of these texts is held out, chosen by checksum and not
by content. Neither the tokenizer nor a network sees it before the end.

The sizes and the recipe are in ``language.toml``.
"""

import argparse
import ast
import inspect
import json
import math
import platform
import sys
import sysconfig
import time
import tomllib
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from ..checkpoint.model_config import ModelConfig
from ..checkpoint.packing import pack_weights
from ..data import PYDOC
from ..environment import pip_install
from ..errors import OutputError
from ..files import check_outputs, new_files, write_text
from ..quantize import absmean_quantize, sherry_quantize

try:
    import tokenizers
    import torch
    from torch.nn import functional

    from .layers import FORMS, BitLinear, RMSNorm
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    print(
        f"Training needs PyTorch and tokenizers: {pip_install('trilith[train]')}", file=sys.stderr
    )
    sys.exit(2)

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_CONFIG, _RECIPE = _DATA["config"], _DATA["recipe"]
_MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
_MODEL = ModelConfig.read(_CONFIG, "language.toml")
_CONTEXT = _MODEL.max_positions
_END_OF_TEXT = _DATA["tokenizer_config"]["eos_token"]


def _texts() -> Iterator[str]:
    """Yield each documentation string of the standard library and each topic of pydoc, once.

    Tests of the library are left out. Files come in the order of their names, and strings in the
    order of the file.
    """
    from pydoc_data.topics import topics

    library = Path(sysconfig.get_paths()["stdlib"])
    seen = set()
    for file in sorted(library.rglob("*.py")):
        parts = file.relative_to(library).parts
        if {"site-packages", "test", "tests", "idle_test", "pydoc_data"} & set(parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue  # The library has files with errors on purpose, for its tests.
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text and text not in seen:
                    seen.add(text)
                    yield text
    for name in sorted(topics):
        yield inspect.cleandoc(topics[name])


def _split() -> tuple[list[str], list[str]]:
    """Split the texts.

    Returns
    -------
    The texts to train on, and the texts that are held out.
    """
    kept: list[str] = []
    held: list[str] = []
    for text in _texts():
        (held if zlib.crc32(text.encode()) % _RECIPE["held_one_in"] == 0 else kept).append(text)
    return kept, held


def _train_tokenizer(kept: list[str]) -> tokenizers.Tokenizer:
    """Train a byte-level BPE tokenizer of ``vocab_size`` tokens.

    Parameters
    ----------
    kept : texts to train on
    """
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=_MODEL.vocabulary,
        special_tokens=[_END_OF_TEXT],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(kept, trainer)
    return tokenizer


def _rotate(x: torch.Tensor) -> torch.Tensor:
    """Turn x float32[B, heads, T, size] by rotary positions, with the halves split."""
    size = x.shape[-1]
    frequency = _MODEL.theta ** -(torch.arange(0, size, 2) / size)
    angle = torch.outer(torch.arange(x.shape[-2]), frequency)
    cos, sin = angle.cos().tile(2), angle.sin().tile(2)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class _TransformerLayer(torch.nn.Module):
    """Attention and a gated feed-forward layer, named as in 2B4T's checkpoint.

    Parameters
    ----------
    form : form of the layers' weights, see ``FORMS``
    """

    def __init__(self, *, form: str) -> None:
        super().__init__()
        hidden, ffn, epsilon = _MODEL.hidden, _MODEL.ffn, _MODEL.epsilon
        kv = _MODEL.kv_heads * _MODEL.head_size
        self.input_layernorm = RMSNorm(hidden, epsilon)
        self.post_attention_layernorm = RMSNorm(hidden, epsilon)
        self.self_attn = torch.nn.ModuleDict(
            {
                "q_proj": BitLinear(hidden, hidden, form=form),
                "k_proj": BitLinear(hidden, kv, form=form),
                "v_proj": BitLinear(hidden, kv, form=form),
                "attn_sub_norm": RMSNorm(hidden, epsilon),
                "o_proj": BitLinear(hidden, hidden, form=form),
            }
        )
        self.mlp = torch.nn.ModuleDict(
            {
                "gate_proj": BitLinear(hidden, ffn, form=form),
                "up_proj": BitLinear(hidden, ffn, form=form),
                "ffn_sub_norm": RMSNorm(ffn, epsilon),
                "down_proj": BitLinear(ffn, hidden, form=form),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x float32[B, T, hidden] to the same shape."""
        batch, length, _ = x.shape
        attention, mlp = self.self_attn, self.mlp
        h = self.input_layernorm(x)
        q, k, v = (
            attention[name](h).view(batch, length, -1, _MODEL.head_size).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        shared = _MODEL.heads // _MODEL.kv_heads
        k, v = (value.repeat_interleave(shared, dim=1) for value in (_rotate(k), v))
        mixed = functional.scaled_dot_product_attention(_rotate(q), k, v, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, length, _MODEL.hidden)
        x = x + attention["o_proj"](attention["attn_sub_norm"](mixed))
        h = self.post_attention_layernorm(x)
        gated = mlp["gate_proj"](h).relu().square() * mlp["up_proj"](h)
        return x + mlp["down_proj"](mlp["ffn_sub_norm"](gated))


class _LanguageModel(torch.nn.Module):
    """Embedding, layers, final norm, and the embedding again as head.

    Parameters
    ----------
    form : form of the layers' weights, see ``FORMS``
    """

    def __init__(self, *, form: str) -> None:
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(_MODEL.vocabulary, _MODEL.hidden)
        torch.nn.init.normal_(self.embed_tokens.weight, std=_MODEL.hidden**-0.5)
        self.layers = torch.nn.ModuleList(
            _TransformerLayer(form=form) for _ in range(_MODEL.layers)
        )
        self.norm = RMSNorm(_MODEL.hidden, _MODEL.epsilon)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens int64[B, T] to logits float32[B, T, vocabulary]."""
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.embed_tokens.weight.T


def _train(tokens: torch.Tensor, *, form: str, steps: int) -> _LanguageModel:
    """Train one network on random windows of the text, with AdamW, warm-up and cosine decay.

    Parameters
    ----------
    tokens : int64[T], all texts one after another
    form : form of the layers' weights, see ``FORMS``
    steps : batches of ``batch`` windows
    """
    torch.manual_seed(0)
    network = _LanguageModel(form=form)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(network.parameters(), **_RECIPE["optimizer"])

    def rate(step: int) -> float:
        """Share of the learning rate at a step: warm-up, then a cosine down to a hundredth."""
        rise = min(1.0, (step + 1) / _RECIPE["warmup"])
        return rise * (0.505 + 0.495 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    started = time.monotonic()
    for step in range(steps):
        places = torch.randint(len(tokens) - _CONTEXT - 1, (_RECIPE["batch"],), generator=generator)
        windows = torch.stack([tokens[place : place + _CONTEXT + 1] for place in places.tolist()])
        logits = network(windows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(
                f"{form} step {step} of {steps}: loss {loss:.3f} "
                f"nats per token, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    return network


@torch.no_grad()
def _bits_per_byte(network: _LanguageModel, held: list[list[int]], size: int) -> float:
    """Measure the bits that each byte of the held-out texts costs the network.

    Each text stands alone, and its end counts. A text that is longer than the context is cut into
    windows, and each window starts without a context.

    Parameters
    ----------
    network : network to measure
    held : tokens of each text, from end to end
    size : bytes of all texts
    """
    nats = 0.0
    for text in held:
        for start in range(0, len(text) - 1, _CONTEXT):
            window = torch.tensor(text[start : start + _CONTEXT + 1])
            logits = network(window[None, :-1])[0]
            nats += functional.cross_entropy(logits, window[1:], reduction="sum").item()
    return nats / math.log(2) / size


def _export(
    folder: Path, network: _LanguageModel, form: str, tokenizer: tokenizers.Tokenizer
) -> None:
    """Write a network of trits as a Hugging Face folder in 2B4T's layout.

    Parameters
    ----------
    folder : folder to write, made if it is missing; files that exist are replaced
    network : the network
    form : form of its weights, ``ternary`` or ``sherry``
    tokenizer : its tokenizer
    """
    quantize = sherry_quantize if form == "sherry" else absmean_quantize
    tensors: dict[str, np.ndarray] = {}
    for name, value in network.state_dict().items():
        array = value.detach().numpy()
        if name.endswith("_proj.weight"):
            trits, scale = quantize(array)
            tensors[f"model.{name}"] = pack_weights(trits)
            tensors[f"model.{name}_scale"] = np.array([scale], np.float32)
        else:
            tensors[f"model.{name}"] = array.astype(ml_dtypes.bfloat16)
    with new_files([folder / name for name in _MODEL_FILES], force=True) as making:
        (making / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
        (making / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")
        tokenizer.save(str(making / "tokenizer.json"))
        (making / "tokenizer_config.json").write_text(
            json.dumps(_DATA["tokenizer_config"], indent=2) + "\n"
        )


def main() -> int:
    """Train a network of each form, print bits per byte, and store the ternary one."""
    parser = argparse.ArgumentParser(description="Train the stored language model.")
    parser.add_argument(
        "--out", type=Path, default=PYDOC, metavar="DIR", help="folder to write (%(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--steps", type=int, default=_RECIPE["steps"], help="training steps (%(default)s)"
    )
    parser.add_argument(
        "--form",
        choices=["ternary", "sherry"],
        help="train this form of weights alone, and store its network",
    )
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, not {options.steps}")
    held_out, training = options.out / "held_out.json", options.out / "training.json"
    files = [held_out, training, *(options.out / name for name in _MODEL_FILES)]
    try:
        check_outputs(files, force=options.force)
    except OutputError as error:
        parser.error(str(error))

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    kept, held = _split()
    size = sum(len(text.encode()) for text in held)
    print(f"{sum(len(text.encode()) for text in kept)} bytes to train on, {size} held out")
    tokenizer = _train_tokenizer(kept)
    end = tokenizer.token_to_id(_END_OF_TEXT)
    texts = ([*encoding.ids, end] for encoding in tokenizer.encode_batch(kept))
    tokens = torch.tensor([end, *chain.from_iterable(texts)])
    held_tokens = [[end, *encoding.ids, end] for encoding in tokenizer.encode_batch(held)]
    print(f"{len(tokens)} tokens to train on")

    figures: dict[str, float] = {}
    for form in [options.form] if options.form else FORMS:
        network = _train(tokens, form=form, steps=options.steps)
        figures[form] = _bits_per_byte(network, held_tokens, size)
        print(f"{form}: {figures[form]:.4f} bits per byte of {size} held-out bytes", flush=True)
        if form == (options.form or "ternary"):
            _export(options.out, network, form, tokenizer)
    write_text(held_out, json.dumps(held, indent=0) + "\n", force=True)
    record = {
        "label": "measured",
        "bits_per_byte": figures,
        "held_out_bytes": size,
        "training_bytes": sum(len(text.encode()) for text in kept),
        "steps": options.steps,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write_text(training, json.dumps(record, indent=2) + "\n", force=True)
    print(f"stored in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
