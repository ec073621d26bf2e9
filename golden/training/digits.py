"""Train the stored digits networks: BitNet MLPs on 8x8 handwritten digits, and their float twin.

Run ``python -m trilith.golden.training.digits``. Each layer is RMSNorm with gain and a BitLinear:
activations to int8 by absmax per sample, weights to trits by absmean per matrix, no bias. Squared
ReLU, as in BitNet b1.58 2B4T, stands between layers. The network in the form of the code ``sherry``
has exactly one zero in each four weights of a row, see ``sherry_quantize``. The float twin has no
quantizer. All three have the same initialization and recipe. Every training batch is shifted at
random by up to a pixel.

The test set is a stratified fifth of the data. The recipe was chosen on a validation fifth of the
remaining images (``--validate``, which never evaluates the test set). The stored networks train on
all of the remaining images. The sizes and the recipe are in ``digits.toml``.
"""

import argparse
import json
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..checkpoint.packing import pack_weights
from ..data import DIGITS, SHERRY_DIGITS
from ..environment import pip_install
from ..errors import OutputError
from ..files import check_outputs, new_files
from ..quantize import absmean_quantize, sherry_quantize

try:
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from .layers import FORMS, BitLinear, RMSNorm
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    print(
        f"Training needs PyTorch and scikit-learn: {pip_install('trilith[train]')}", file=sys.stderr
    )
    sys.exit(2)

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_CONFIG, _RECIPE = _DATA["config"], _DATA["recipe"]
_FILES = ("model.safetensors", "float.safetensors", "config.json", "test_images.npz")
_SHERRY_FILES = ("model.safetensors", "config.json")

#: Images uint8[T, 64] and their labels uint8[T].
_Samples = tuple[np.ndarray, np.ndarray]


class _DigitsNetwork(torch.nn.Module):
    """Layers of the sizes ``layer_sizes`` with squared ReLU between them.

    Parameters
    ----------
    form : form of the weights, see ``FORMS``

    Attributes
    ----------
    layers : a norm and a BitLinear each
    """

    def __init__(self, *, form: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(
                RMSNorm(inputs, _CONFIG["rms_norm_eps"]),
                BitLinear(inputs, outputs, form=form),
            )
            for inputs, outputs in pairwise(_CONFIG["layer_sizes"])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map scaled pixels float32[T, 64] to logits float32[T, 10]."""
        for layer in self.layers[:-1]:
            x = layer(x).relu().square()
        return self.layers[-1](x)


def _split(images: np.ndarray, labels: np.ndarray) -> tuple[_Samples, _Samples]:
    """Split off a fifth of the samples, stratified by label.

    Returns
    -------
    The remaining samples, and the fifth.
    """
    kept_images, held_images, kept_labels, held_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=_RECIPE["split_seed"]
    )
    return (kept_images, kept_labels), (held_images, held_labels)


def _scaled(images: np.ndarray) -> torch.Tensor:
    """Scale pixels uint8[T, 64] to the network's inputs, float32[T, 64] from 0 to 1."""
    return torch.from_numpy(images).float() * _CONFIG["input_scale"]


def _shifted(x: torch.Tensor) -> torch.Tensor:
    """Shift each image of x float32[T, 64] by a random offset of its own.

    Offsets are uniform up to ``max_shift`` pixels along both axes. Pixels are interpolated
    bilinearly, and are zero outside the image.
    """
    count = len(x)
    transforms = torch.eye(2, 3).repeat(count, 1, 1)
    # Coordinates run from -1 to 1 over eight pixels: a pixel is 2 / 8.
    transforms[:, :, 2] = (torch.rand(count, 2) * 2 - 1) * _RECIPE["max_shift"] * 2 / 8
    grid = torch.nn.functional.affine_grid(transforms, [count, 1, 8, 8], align_corners=False)
    images = x.view(count, 1, 8, 8)
    return torch.nn.functional.grid_sample(images, grid, align_corners=False).view(count, 64)


def _train(samples: _Samples, *, form: str, seed: int) -> _DigitsNetwork:
    """Train one network with AdamW and cosine decay.

    Parameters
    ----------
    samples : images and labels to train on
    form : form of the weights, see ``FORMS``
    seed : fixes the first weights, the batches and the shifts
    """
    torch.manual_seed(seed)
    network = _DigitsNetwork(form=form)
    x, labels = _scaled(samples[0]), torch.from_numpy(samples[1]).long()
    optimizer = torch.optim.AdamW(network.parameters(), **_RECIPE["optimizer"])
    steps = _RECIPE["epochs"] * -(-len(x) // _RECIPE["batch"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(_RECIPE["epochs"]):
        for batch in torch.randperm(len(x)).split(_RECIPE["batch"]):
            loss = torch.nn.functional.cross_entropy(network(_shifted(x[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


@torch.no_grad()
def _count_correct(network: _DigitsNetwork, samples: _Samples) -> int:
    """Count the samples that the network labels correctly."""
    return int((network(_scaled(samples[0])).argmax(-1).numpy() == samples[1]).sum())


def _packed(network: _DigitsNetwork) -> bytes:
    """Quantize a network and write it as a safetensors file."""
    packed = {}
    for index, (norm, linear) in enumerate(network.layers):
        quantize = sherry_quantize if linear.form == "sherry" else absmean_quantize
        trits, scale = quantize(linear.weight.detach().numpy())
        packed[f"layers.{index}.weight"] = pack_weights(trits)
        packed[f"layers.{index}.weight_scale"] = np.array([scale], np.float32)
        packed[f"layers.{index}.norm.weight"] = norm.weight.detach().numpy()
    return save(packed, metadata={"format": "np"})


def _export(folder: Path, networks: dict[str, _DigitsNetwork], test: _Samples) -> None:
    """Write the networks, the configuration and the test set; equal inputs give equal bytes.

    Parameters
    ----------
    folder : folder to write, made if it is missing; files that exist are replaced
    networks : the network of each form
    test : images and labels of the test set
    """
    master = {}
    for index, (norm, linear) in enumerate(networks["float"].layers):
        master[f"float.layers.{index}.weight"] = linear.weight.detach().numpy()
        master[f"float.layers.{index}.norm.weight"] = norm.weight.detach().numpy()
    config = json.dumps(_CONFIG, indent=2) + "\n"
    with new_files([folder / name for name in _FILES], force=True) as making:
        (making / "model.safetensors").write_bytes(_packed(networks["ternary"]))
        (making / "float.safetensors").write_bytes(save(master, metadata={"format": "np"}))
        (making / "config.json").write_text(config)
        np.savez_compressed(making / "test_images.npz", images=test[0], labels=test[1])
    sherry = folder / SHERRY_DIGITS.name
    with new_files([sherry / name for name in _SHERRY_FILES], force=True) as making:
        (making / "model.safetensors").write_bytes(_packed(networks["sherry"]))
        (making / "config.json").write_text(config)


def main() -> int:
    """Train, print accuracies, and store the networks of seed 0."""
    parser = argparse.ArgumentParser(description="Train the stored digits networks.")
    parser.add_argument(
        "--out", type=Path, default=DIGITS, metavar="DIR", help="folder to write (%(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train seeds 0 to N - 1; 0 is stored"
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="train without the validation fifth, print accuracies on it, and write nothing",
    )
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {options.seeds}")
    if not options.validate:
        try:
            check_outputs([options.out / name for name in _FILES], force=options.force)
            sherry = options.out / SHERRY_DIGITS.name
            check_outputs([sherry / name for name in _SHERRY_FILES], force=options.force)
        except OutputError as error:
            parser.error(str(error))

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    samples, held = _split(digits.data.astype(np.uint8), digits.target.astype(np.uint8))
    if options.validate:
        samples, held = _split(*samples)
    total = len(held[1])
    role = "validation" if options.validate else "test"
    print(f"{len(samples[1])} training images, {total} {role} images")

    correct: dict[str, list[int]] = {form: [] for form in FORMS}
    for seed in range(options.seeds):
        networks = {form: _train(samples, form=form, seed=seed) for form in FORMS}
        for kind, network in networks.items():
            count = _count_correct(network, held)
            correct[kind].append(count)
            print(f"seed {seed} {kind:7} {count}/{total} correct ({count / total:.2%})", flush=True)
        if seed == 0 and not options.validate:
            _export(options.out, networks, held)
            print(f"stored in {options.out}")
    if options.seeds > 1:
        for kind, counts in correct.items():
            print(
                f"{kind:7} over {options.seeds} seeds: mean {np.mean(counts) / total:.2%}, "
                f"{min(counts)} to {max(counts)} of {total} "
                f"({min(counts) / total:.2%} to {max(counts) / total:.2%})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
