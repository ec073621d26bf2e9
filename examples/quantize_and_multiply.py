"""Quantize a matrix and two vectors, multiply them in the simulated engine, compare.

Run it with ``python examples/quantize_and_multiply.py``. It prints the integers of the engine and
of the golden model, the cycles, and the error of quantized activations.
"""

import numpy as np

from trilith.golden import absmax_quantize, absmean_quantize, ternary_matmul
from trilith.hw import PRESETS
from trilith.sim import MatVecSimulator


def main() -> None:
    """Multiply, compare and print."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((300, 500)).astype(np.float32)  # W (N, K)
    x = rng.standard_normal((2, 500)).astype(np.float32)  # x (T, K)

    trits, weight_scale = absmean_quantize(weights)
    q, act_scale = absmax_quantize(x)
    print(f"zeros among the weights: {(trits == 0).mean():.1%}")

    with MatVecSimulator(PRESETS["micro"]) as simulator:
        run = simulator.run(trits, q)
    golden = ternary_matmul(trits, q)
    print(f"engine, first outputs: {run.results[0, :5]}")
    print(f"golden, first outputs: {golden[0, :5]}")
    equal = int((run.results == golden).sum())
    print(f"equal integers: {equal} of {golden.size}")

    # Two vectors take two passes: this engine has one token.
    print(f"cycles: {run.cycles}, utilization {run.counters.utilization:.1%}")

    y = run.results * weight_scale / act_scale
    error = abs(y - x @ (trits * weight_scale).T)
    print(f"mean size of an output: {abs(y).mean():.1f}")
    print(f"its mean error, which int8 activations cause: {error.mean():.3f}")


if __name__ == "__main__":
    main()
