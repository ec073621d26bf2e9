import json
import os

# Before NumPy starts: threads of BLAS that wait for each other cost more than they save here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import ml_dtypes
import numpy as np
import pytest
from random_models import write_random_model
from safetensors.numpy import save_file

from trilith.golden import pack_weights
from trilith.golden.checkpoint.model_config import ModelConfig

# transformers decorates with torch.compile, which would compile C++ for minutes.
os.environ["TORCHDYNAMO_DISABLE"] = "1"

OFFLINE = {
    "quant_method": "bitnet",
    "linear_class": "autobitlinear",
    "quantization_mode": "offline",
}
CONFIG = {
    "model_type": "bitnet",
    "hidden_act": "relu2",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 10,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "quantization_config": OFFLINE,
}


@pytest.fixture
def tiny(tmp_path):
    """Make a folder with a one-layer model of random trits; return it, trits and scales."""

    def make(name="source", tensors=None, *, scale_dtype=np.float32, seed=0, **config):
        folder = tmp_path / name
        folder.mkdir()
        config = CONFIG | config
        rng = np.random.default_rng(seed)
        trits, scales, stored = {}, {}, {}
        for layer in range(config["num_hidden_layers"]):
            for short, shape in ModelConfig.read(config, folder).linear_shapes.items():
                module = f"model.layers.{layer}.{short}"
                trits[module] = rng.integers(-1, 2, shape, np.int8)
                scales[module] = rng.random(1, np.float32).astype(scale_dtype) + scale_dtype(0.5)
                stored[f"{module}.weight"] = pack_weights(trits[module])
                stored[f"{module}.weight_scale"] = scales[module]
            norm = rng.standard_normal(config["hidden_size"]).astype(ml_dtypes.bfloat16)
            stored[f"model.layers.{layer}.input_layernorm.weight"] = norm
            if config["model_type"] == "bitnet":
                stored[f"model.layers.{layer}.self_attn.attn_sub_norm.weight"] = norm * 2
        stored["model.norm.weight"] = norm
        embedding = rng.standard_normal((config["vocab_size"], config["hidden_size"]))
        stored["model.embed_tokens.weight"] = embedding.astype(ml_dtypes.bfloat16)
        stored |= tensors or {}
        (folder / "config.json").write_text(json.dumps(config))
        present = {name: x for name, x in stored.items() if x is not None}
        save_file(present, folder / "model.safetensors")
        return folder, trits, scales

    return make


@pytest.fixture
def relayout():
    """Rewrite the I2_S matrices of a GGUF file in place, as another build of bitnet.cpp does."""

    def rewrite(file, layout):
        from trilith.golden.checkpoint.gguf_file import GgufFile

        found = GgufFile(file)
        data = bytearray(file.read_bytes())
        for entry in found.entries.values():
            if entry.kind != 36:
                continue
            n, k = entry.shape
            size = n * k // 4
            run = {"block64": 16, "rows4": k}[layout]
            raw = np.frombuffer(data, np.uint8, size, entry.place).reshape(-1, 32)
            # Weights p, p + 32, p + 64 and p + 96 of a block, from the highest bits down.
            codes = np.stack([raw >> 6, raw >> 4 & 3, raw >> 2 & 3, raw & 3], 1).reshape(-1, 4, run)
            c0, c1, c2, c3 = codes.swapaxes(0, 1)
            new = c0 << 6 | c1 << 4 | c2 << 2 | c3
            data[entry.place : entry.place + size] = new.tobytes()
        file.write_bytes(data)

    return rewrite


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; only with --long (make test-all)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: run with --long (make test-all)"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds of each room's tests in all processes, fixtures and building included."""
    seconds: dict[str, float] = {}
    tests: dict[str, set[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                # A test under tests/sim/rtl belongs to the room sim.
                folders = report.nodeid.split("::")[0].split("/")[1:-1]
                room = folders[0] if folders else "other"
                seconds[room] = seconds.get(room, 0.0) + report.duration
                tests.setdefault(room, set()).add(report.nodeid)
    total = sum(seconds.values())
    if not total:
        return
    terminalreporter.write_sep("=", "seconds of each room")
    for room, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        share = f"{taken / total:.0%}"
        terminalreporter.write_line(f"{taken:9.1f}s {share:>4}  {room} ({len(tests[room])} tests)")


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """Writes a random model of a family, with changes to its configuration."""

    def write(family="bitnet", **changes):
        return write_random_model(tmp_path_factory.mktemp("model"), family, **changes)

    return write
