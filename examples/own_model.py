"""Store a network of your own as a checkpoint, and run it through the simulated engine.

Run it with ``python examples/own_model.py``. The network has random weights here; take yours
instead. The program compares each integer in the engine and each logit with the golden model.
"""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from trilith.golden import BitNetMLP, absmean_quantize, pack_weights
from trilith.hw import PRESETS
from trilith.sim import MatVecSimulator
from trilith.sim.rtl.product import EngineMatmul

SIZES = [96, 128, 64, 10]
CONFIG = {
    "model_type": "bitnet_mlp",
    "layer_sizes": SIZES,
    "hidden_act": "relu2",
    "rms_norm_eps": 1e-5,
    "input_scale": 1 / 255,
    "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"},
}


def write_model(folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` as Hugging Face has them."""
    rng = np.random.default_rng(1)
    tensors = {}
    for index, (k, n) in enumerate(pairwise(SIZES)):
        trits, scale = absmean_quantize(rng.standard_normal((n, k)))
        tensors[f"layers.{index}.weight"] = pack_weights(trits)
        tensors[f"layers.{index}.weight_scale"] = np.array([scale], np.float32)
        tensors[f"layers.{index}.norm.weight"] = np.ones(k, np.float32)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))


def main() -> None:
    """Run the model in NumPy and in the engine, and compare."""
    images = np.random.default_rng(2).integers(0, 256, (8, SIZES[0]), np.uint8)
    with tempfile.TemporaryDirectory() as name, MatVecSimulator(PRESETS["micro"]) as simulator:
        write_model(Path(name))
        golden = BitNetMLP.load(Path(name)).forward(images)
        engine = EngineMatmul(simulator)
        logits = BitNetMLP.load(Path(name), matmul=engine).forward(images)
    print(f"classes of {len(images)} images: {logits.argmax(axis=1)}")
    print(f"equal logits: {int((logits == golden).sum())} of {golden.size}")
    print(f"integers that differ from the golden model: {engine.wrong}")
    print(f"cycles per image: {engine.cycles / len(images):.0f}")
    for layer, product in engine.products.items():
        print(f"  layer {layer}: {product.cycles} cycles, {product.macs} MACs")


if __name__ == "__main__":
    main()
