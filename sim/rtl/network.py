"""Networks from QONNX files on the Verilated engine, against the golden model."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.codes import CODES, CodeError
from ...golden.errors import CheckpointError
from ...golden.network.qonnx import QonnxNetwork
from ...hw.config import MatVecConfig
from .cases import CaseResult, case_result
from .product import EngineMatmul
from .simulator import MatVecSimulator

__all__ = ["NetworkRun", "network_config", "run_network"]


@dataclass(frozen=True, kw_only=True)
class NetworkRun:
    """The outcome of a network on the engine.

    Parameters
    ----------
    cases : a result for each product, whose integers are compared with those of the golden model
    outputs : float32[T, ...]
    """

    cases: list[CaseResult]
    outputs: NDArray[np.float32]


def network_config(
    network: QonnxNetwork, config: MatVecConfig, given: dict[str, Any]
) -> MatVecConfig:
    """Make the configuration of an engine that runs a network.

    Parameters
    ----------
    network : the network; it decides the width of the activations, and the least maxima
    config : configuration to start from
    given : fields that were asked for; they must be large enough

    Raises
    ------
    ValueError
        If a field is not legal.
    CheckpointError
        If the network does not fit the fields that were asked for, or any engine.
    """
    shapes = [layer.linear.weight.shape for layer in network.layers]
    needed = {
        "act_bits": network.act_bits,
        "k_max": max(k for _, k in shapes),
        "n_max": max(n for n, _ in shapes),
    }
    config = replace(config, act_bits=needed["act_bits"])
    try:
        largest = {name: max(needed[name], getattr(config, name)) for name in ("k_max", "n_max")}
        config = replace(config, **largest)
    except ValueError as error:
        raise CheckpointError(f"{network.path}: too large for every engine: {error}") from None
    config = replace(config, **given)
    for name, least in needed.items():
        if getattr(config, name) < least:
            raise CheckpointError(
                f"{network.path}: {name} must be {least} or more for this network, not "
                f"{getattr(config, name)}; give --{name.replace('_', '-')} {least}, or leave it out"
            )
    code = CODES[config.code]
    for layer in network.layers:
        trits = layer.linear.weight.trits
        try:
            code.check(code.fill(trits, trits.shape[1] + -trits.shape[1] % code.span))
        except CodeError as error:
            raise CheckpointError(
                f"{network.path}: node {layer.node}: {error}; give another --code"
            ) from None
    return config


def run_network(golden: QonnxNetwork, x: NDArray[np.float32], config: MatVecConfig) -> NetworkRun:
    """Run a network on the engine, and compare every product with the golden model.

    Parameters
    ----------
    golden : the network, whose products are computed in NumPy
    x : inputs float32[T, ...]
    config : configuration of the engine, see ``network_config``

    Returns
    -------
    The outcome; the last case fails too if an output differs from the golden model's.

    Raises
    ------
    CheckpointError, ActivationError
        See ``QonnxNetwork``.
    ToolchainError, SimulationError
        See ``MatVecSimulator``.
    """
    wanted = golden.forward(x)
    with MatVecSimulator(config) as simulator:
        multiply = EngineMatmul(simulator)
        network = QonnxNetwork.load(golden.path, matmul=multiply)
        outputs = network.forward(x)
    cases = []
    for layer, product in zip(network.layers, multiply.products.values(), strict=True):
        n, k = layer.linear.weight.shape
        shape = f"{n}x{k}x{len(x)}"
        cases.append(case_result(config, product, part="network", name=layer.node, shape=shape))
    if not np.array_equal(outputs, wanted) and cases[-1].passed:
        detail = "the outputs differ from those of the golden model"
        cases[-1] = replace(cases[-1], passed=False, detail=detail)
    return NetworkRun(cases=cases, outputs=outputs)
