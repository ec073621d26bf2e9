"""Quantizers and elementwise operators of QONNX, as functions of float32 arrays.

The rules are those of the package ``qonnx`` 1.0 (``custom_op.general``: Quant, BipolarQuant,
MultiThreshold), and of ONNX for the standard operators. Each function here reads a node, and
refuses what it does not compute exactly so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..checkpoint.onnx_graph import OnnxNode
from ..input_files import shown

__all__ = [
    "ELEMENTWISE",
    "QUANTIZERS",
    "Constants",
    "Quantizer",
    "Step",
    "batch_normalization",
    "check_attributes",
    "check_broadcast",
    "check_operands",
    "elementwise",
    "in_parts",
    "multi_threshold",
    "read_quantizer",
]

#: Function of float32[T, ...] that returns an array of the same shape.
Step = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Constants of a graph by name.
Constants = Mapping[str, NDArray[Any]]

#: Operators of one constant and one value.
ELEMENTWISE: dict[str, Callable[..., NDArray[Any]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}

#: Least and largest number of inputs of each operator that is read; all have one output.
_INPUTS = {
    "Constant": (0, 0),
    **dict.fromkeys(("Transpose", "Relu", "Identity", "Flatten"), (1, 1)),
    **dict.fromkeys((*ELEMENTWISE, "BipolarQuant", "MultiThreshold", "MatMul", "Reshape"), (2, 2)),
    **dict.fromkeys(("Quant", "IntQuant"), (4, 4)),
    "Gemm": (2, 3),
    "BatchNormalization": (5, 5),
}

#: Operators that round to integers.
QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant")

#: Domains of the operators of QONNX: the package's, and those of older exporters.
_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")

#: Values of a constant that are computed at once.
_PART = 2**16

#: Largest bit width that is read, which biases have. Limits above 2²⁴ are rounded to float32, as in
#: QONNX.
_MOST_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """A function from floats to integers, ``q = integers(x)`` and ``x ≈ q · scale``.

    Parameters
    ----------
    rule : function of float32[...] and of steps, which broadcast to it, to integral float32
    step : what the rule divides by
    scale : float32, or an array that broadcasts to the shape of the weights; the step, times the
        factors that follow
    low, high : smallest and largest integer
    bits : bit width that the file states; 1 for bipolar values, −1 and +1
    """

    rule: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
    step: NDArray[np.float32]
    scale: NDArray[np.float32]
    low: int
    high: int
    bits: int

    def integers(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Quantize float32[T, ...] to integral float32 of the same shape."""
        return self.rule(x, self.step)

    def constant(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Quantize a large array a part at a time.

        Returns
        -------
        int8 of the same shape where it holds all integers, else float32
        """
        kind = np.int8 if self.low >= -128 and self.high <= 127 else np.float32
        return in_parts(self.rule, kind, x, self.step)

    def floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Quantize, and multiply by the scale, as a node of QONNX does."""
        return self.integers(x) * self.scale


def in_parts(
    function: Callable[..., NDArray[Any]], kind: DTypeLike, *arrays: NDArray[Any]
) -> NDArray[Any]:
    """Apply a function of each place, without other arrays of the whole size.

    Parameters
    ----------
    function : takes parts of the arrays, and returns an array of the same shape
    kind : type of the result; the values are converted to it
    arrays : float32 or int8, which broadcast
    """
    parts = np.nditer(
        [*arrays, None],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[*(["readonly"] for _ in arrays), ["writeonly", "allocate"]],
        op_dtypes=[*([np.float32] * len(arrays)), kind],
        buffersize=_PART,
    )
    with parts:
        for *values, out in parts:
            out[...] = function(*values)
        return parts.operands[-1]


def check_attributes(node: OnnxNode, known: Mapping[str, Any]) -> dict[str, Any]:
    """Read the attributes of a node.

    Parameters
    ----------
    node : the node
    known : legal attributes with their defaults, whose types the values must have; ``...`` stands
        for an attribute that is read by nobody

    Returns
    -------
    The values by name.

    Raises
    ------
    CheckpointError
        If the node has another attribute, or a value is of another type.
    """
    for name, value in node.attributes.items():
        if name not in known:
            raise node.refuse(
                f"the attribute {shown(name)} is not understood; results without it may be wrong, "
                "so export the network without it"
            )
        default = known[name]
        if default is not ... and type(value) is not type(default):
            raise node.refuse(
                f"the attribute {name} must be of the type {type(default).__name__}, not "
                f"{type(value).__name__}; export the network again"
            )
    return {**known, **node.attributes}


def _constant(node: OnnxNode, place: int, what: str, constants: Constants) -> NDArray[np.float32]:
    """Find a float input of a node that must be constant."""
    name = node.inputs[place]
    if name not in constants:
        raise node.refuse(
            f"its {what} must be constant, not computed from the input ({shown(name)}); export "
            "the network in its evaluation mode"
        )
    value = constants[name]
    if value.dtype != np.float32:
        raise node.refuse(f"its {what} must be float32, not {value.dtype}; export it in float32")
    return value


def _number(node: OnnxNode, place: int, what: str, constants: Constants) -> float:
    """Find an input of a node that must be one constant number."""
    value = _constant(node, place, what, constants)
    if value.size != 1:
        raise node.refuse(f"its {what} must be one number, not of shape {value.shape}")
    return float(value.reshape(()))


def _check_flag(node: OnnxNode, name: str, value: int) -> bool:
    """Refuse an attribute that is neither 0 nor 1."""
    if value not in (0, 1):
        raise node.refuse(f"{name} must be 0 or 1, not {value}; export the network again")
    return bool(value)


def _check_domain(node: OnnxNode) -> None:
    """Refuse an operator that only has the name of one of QONNX."""
    if node.domain not in _DOMAINS:
        raise node.refuse(
            f"its domain must be {', '.join(_DOMAINS[:-1])} or {_DOMAINS[-1]}, not "
            f"{shown(node.domain)}; export the network as QONNX"
        )


def check_operands(node: OnnxNode) -> None:
    """Refuse a node that has more or fewer inputs or outputs than its operator.

    Parameters
    ----------
    node : the node; one of an operator or a domain that is not read passes

    Raises
    ------
    CheckpointError
        If the numbers are wrong, or an input that the operator needs, or the output, has no name.
    """
    if node.op not in _INPUTS or node.domain not in ("", *_DOMAINS):
        return
    least, most = _INPUTS[node.op]
    legal = least <= len(node.inputs) <= most and all(node.inputs[:least])
    if not legal or len(node.outputs) != 1 or not node.outputs[0]:
        number = f"{least} or {most}" if most > least else f"{least}"
        inputs, outputs = (sum(map(bool, names)) for names in (node.inputs, node.outputs))
        raise node.refuse(
            f"it must have {number} input{'s' * (most != 1)} and one output, each with a name, not "
            f"{inputs} and {outputs}; export the network again"
        )


def read_quantizer(node: OnnxNode, constants: Constants) -> Quantizer:
    """Read a Quant (also called IntQuant) or a BipolarQuant.

    Quant computes ``rint(clip(x / scale, low, high))`` in float32, ties to even. BipolarQuant, and
    Quant of one signed bit, compute +1 for x ≥ 0 and −1 otherwise.

    Parameters
    ----------
    node : the node; its first input is not looked at
    constants : constants of the graph

    Raises
    ------
    CheckpointError
        If a parameter is not constant, the zero point is not 0, the rounding is another one, or a
        value is not legal.
    """
    _check_domain(node)
    scale = _constant(node, 1, "scale", constants)
    if not scale.size or not (scale > 0).all():
        least = scale.min(initial=np.inf)
        raise node.refuse(f"its scales must be above 0, not {least:g}; export the network again")
    if node.op == "BipolarQuant":
        check_attributes(node, {})
        return Quantizer(rule=_signs, step=scale, scale=scale, low=-1, high=1, bits=1)
    zero_point = _constant(node, 2, "zero point", constants)
    if zero_point.any():
        found = zero_point[zero_point != 0][0]
        raise node.refuse(f"its zero point must be 0, not {found:g}; quantize symmetrically")
    bits = _number(node, 3, "bit width", constants)
    if bits != int(bits) or not 1 <= bits <= _MOST_BITS:
        raise node.refuse(
            f"its bit width must be an integer from 1 to {_MOST_BITS}, not {bits:g}; quantize to "
            "such a width"
        )
    bits = int(bits)
    for name in ("signed", "narrow"):
        if name not in node.attributes:
            raise node.refuse(f"the attribute {name} is missing; export the network again")
    values = check_attributes(node, {"signed": 1, "narrow": 1, "rounding_mode": "ROUND"})
    mode = values["rounding_mode"]
    if mode.upper() not in ("ROUND", "HALF_EVEN"):
        raise node.refuse(
            f"rounding_mode must be ROUND, to nearest with ties to even, not {shown(mode)}; "
            "train and export with this mode"
        )
    signed = _check_flag(node, "signed", values["signed"])
    narrow = _check_flag(node, "narrow", values["narrow"])
    if signed and bits == 1:
        return Quantizer(rule=_signs, step=scale, scale=scale, low=-1, high=1, bits=1)
    low = narrow - 2 ** (bits - 1) if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    return Quantizer(
        rule=lambda x, step: np.rint(np.clip(x / step, low, high)),
        step=scale,
        scale=scale,
        low=low,
        high=high,
        bits=bits,
    )


def _signs(x: NDArray[np.float32], _: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute +1 for x ≥ 0, else −1."""
    return np.where(x >= 0, np.float32(1), np.float32(-1))


def multi_threshold(node: OnnxNode, constants: Constants, channels: int) -> Quantizer:
    """Read a MultiThreshold: the number of thresholds that are at most x.

    Its value is ``out_scale · count + out_bias``, which must be an integer times ``out_scale``.

    Parameters
    ----------
    node : the node
    constants : constants of the graph
    channels : size of the value's last axis; the value has two

    Raises
    ------
    CheckpointError
        If a parameter is not legal.
    """
    _check_domain(node)
    thresholds = _constant(node, 1, "thresholds", constants)
    if thresholds.ndim != 2 or not thresholds.size or len(thresholds) not in (1, channels):
        raise node.refuse(
            f"its thresholds must have the shape (1 or {channels}, steps), not {thresholds.shape}"
        )
    known = {"out_dtype": "", "out_scale": 1.0, "out_bias": 0.0, "data_layout": "NC"}
    values = check_attributes(node, known)
    if values["data_layout"] not in ("", "NC"):
        raise node.refuse(f"data_layout must be NC, not {shown(values['data_layout'])}")
    scale, bias = values["out_scale"], values["out_bias"]
    if not 0 < scale < np.inf or not np.isfinite(bias) or bias / scale != round(bias / scale):
        raise node.refuse(
            f"out_scale must be above 0, and out_bias a multiple of it, not {scale:g} and {bias:g}"
        )
    low, steps = round(bias / scale), thresholds.shape[1]

    def rule(x: NDArray[np.float32], _: NDArray[np.float32]) -> NDArray[np.float32]:
        # A step at a time: all steps at once would take as much memory again for each.
        count = np.zeros(x.shape, np.float32)
        for step in thresholds.T:
            count += x >= step
        return count + np.float32(low)

    return Quantizer(
        rule=rule,
        step=np.full((), scale, np.float32),
        scale=np.full((), scale, np.float32),
        low=low,
        high=low + steps,
        bits=max(2, steps.bit_length()),
    )


def elementwise(node: OnnxNode, value: str, constants: Constants, shape: tuple[int, ...]) -> Step:
    """Read an Add, Sub, Mul or Div of a value and a constant.

    Parameters
    ----------
    node : the node
    value : name of the value
    constants : constants of the graph
    shape : sizes of the value, without the first axis

    Raises
    ------
    CheckpointError
        If no operand is constant, or the constant has another value for each input vector.
    """
    check_attributes(node, {})
    first = node.inputs[0] == value
    operand = _constant(node, int(first), "second operand" if first else "first operand", constants)
    if not first and node.op in ("Sub", "Div"):
        raise node.refuse("its second operand must be constant, not its first; exchange them")
    check_broadcast(node, operand, shape)
    function = ELEMENTWISE[node.op]
    if node.op == "Div" and not operand.all():
        raise node.refuse("its divisor must not be 0; mend the network")
    return lambda x: function(x, operand)


def check_broadcast(node: OnnxNode, operand: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse a constant that changes the shape of a value, or depends on the input vector."""
    try:
        same = np.broadcast_shapes((1, *shape), operand.shape) == (1, *shape)
    except ValueError:
        same = False
    if not same:
        raise node.refuse(
            f"its constant of shape {operand.shape} must broadcast to a value of shape "
            f"{('T', *shape)}".replace("'", "")
            + "; export the network again"
        )


def batch_normalization(node: OnnxNode, constants: Constants, shape: tuple[int, ...]) -> Step:
    """Read a BatchNormalization of inference: one factor and one offset for each channel.

    Parameters
    ----------
    node : the node
    constants : constants of the graph
    shape : sizes of the value, without the first axis

    Raises
    ------
    CheckpointError
        If it is for training, or a parameter is not legal.
    """
    known = {"epsilon": 1e-5, "momentum": ..., "training_mode": 0, "spatial": 1}
    values = check_attributes(node, known)
    if values["training_mode"] or not values["spatial"]:
        raise node.refuse("it must be for inference; export the network in its evaluation mode")
    if len(shape) != 1:
        raise node.refuse(
            f"its input must have one axis beside the first, not {len(shape)}; flatten it before"
        )
    names = ("scale", "offset", "mean", "variance")
    scale, offset, mean, variance = (
        _constant(node, place, name, constants) for place, name in enumerate(names, 1)
    )
    for name, one in zip(names, (scale, offset, mean, variance), strict=True):
        if one.shape != shape:
            raise node.refuse(f"its {name} must have the shape {shape}, not {one.shape}")
    epsilon = np.float32(values["epsilon"])
    if not (variance + epsilon > 0).all():
        raise node.refuse("its variance plus epsilon must be above 0; train the network again")
    factor = (scale / np.sqrt(variance + epsilon)).astype(np.float32)
    shift = offset - mean * factor
    return lambda x: np.add(x * factor, shift, dtype=np.float32)
