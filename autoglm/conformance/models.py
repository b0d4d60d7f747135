# SPDX-License-Identifier: Apache-2.0
"""The small models that back ends are tried with: operators, element types, dynamic extents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..tensor import Array

_OPSET, _IR = 18, 10
Node = onnx.NodeProto


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: Of a check, and of the file.
        what: What is in it, for people.
        build: Makes it.
        extents: The numbers of dynamic extents that it is run with, one call each.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    name: str
    what: str
    build: Callable[[], onnx.ModelProto]
    extents: Sequence[Mapping[str, int]] = field(default_factory=lambda: [{}])
    rtol: float = 1e-3
    atol: float = 1e-4


def _made(
    nodes: Sequence[Node],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str]]],
    constants: Mapping[str, Array],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "conformance",
        [helper.make_tensor_value_info(name, *about) for name, about in inputs.items()],
        [helper.make_tensor_value_info(name, *about) for name, about in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _weights(*shape: int) -> Array:
    random = np.random.default_rng(sum(shape))
    return np.asarray(random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def _linear() -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [
            node("MatMul", ["x", "w0"], ["m"]),
            node("Add", ["m", "b0"], ["a"]),
            node("Relu", ["a"], ["hidden"]),
            node("Gemm", ["hidden", "w1", "b1"], ["g"], transB=1),
            node("Softmax", ["g"], ["y"], axis=-1),
        ],
        {"x": (TensorProto.FLOAT, [2, 16])},
        {"y": (TensorProto.FLOAT, [2, 8]), "hidden": (TensorProto.FLOAT, [2, 24])},
        {"w0": _weights(16, 24), "b0": _weights(24), "w1": _weights(8, 24), "b1": _weights(8)},
    )


def _convolution() -> onnx.ModelProto:
    node = helper.make_node
    scale = np.linspace(0.5, 1.5, 8, dtype=np.float32)
    return _made(
        [
            node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["c0", "scale", "b0", "b0", "scale"], ["n"]),
            node("Relu", ["n"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["p", "w1"], ["c1"], group=8, pads=[1, 1, 1, 1], strides=[2, 2]),
            node("GlobalAveragePool", ["c1"], ["pool"]),
            node("Flatten", ["pool"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1, 3, 12, 12])},
        {"y": (TensorProto.FLOAT, [1, 8])},
        {"w0": _weights(8, 3, 3, 3), "b0": _weights(8), "w1": _weights(8, 1, 3, 3), "scale": scale},
    )


def _elementwise() -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [
            node("Mul", ["a", "b"], ["ab"]),
            node("Sub", ["ab", "b"], ["s"]),
            node("Abs", ["b"], ["positive"]),
            node("Add", ["positive", "half"], ["divisor"]),
            node("Div", ["s", "divisor"], ["arithmetic"]),
            node("Exp", ["a"], ["e"]),
            node("Sqrt", ["e"], ["root"]),
            node("Log", ["divisor"], ["log"]),
            node("Pow", ["divisor", "half"], ["power"]),
            node("Sum", ["root", "log", "power"], ["functions"]),
            node("Sigmoid", ["a"], ["sigmoid"]),
            node("Tanh", ["b"], ["tanh"]),
            node("Erf", ["a"], ["erf"]),
            node("LeakyRelu", ["b"], ["leaky"], alpha=0.1),
            node("Clip", ["a", "low", "half"], ["clip"]),
            node("Sum", ["sigmoid", "tanh", "erf", "leaky", "clip"], ["activations"]),
            node("Greater", ["a", "b"], ["larger"]),
            node("Where", ["larger", "a", "b"], ["most"]),
            node("ReduceMean", ["most", "last"], ["mean"], keepdims=0),
            node("ReduceMax", ["ab", "last"], ["max"], keepdims=1),
        ],
        {"a": (TensorProto.FLOAT, [2, 3, 4]), "b": (TensorProto.FLOAT, [3, 4])},
        {
            "arithmetic": (TensorProto.FLOAT, [2, 3, 4]),
            "functions": (TensorProto.FLOAT, [2, 3, 4]),
            "activations": (TensorProto.FLOAT, [2, 3, 4]),
            "larger": (TensorProto.BOOL, [2, 3, 4]),
            "mean": (TensorProto.FLOAT, [2, 3]),
            "max": (TensorProto.FLOAT, [2, 3, 1]),
        },
        {
            "half": np.array(0.5, np.float32),
            "low": np.array(-0.5, np.float32),
            "last": np.array([-1]),
        },
    )


def _shapes() -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [
            node("Transpose", ["x"], ["t"], perm=[2, 0, 1]),
            node("Reshape", ["t", "shape"], ["reshaped"]),
            node("Slice", ["x", "starts", "ends", "axes", "steps"], ["sliced"]),
            node("Gather", ["x", "indices"], ["gathered"], axis=2),
            node("Concat", ["sliced", "gathered"], ["joined"], axis=2),
            node("Split", ["x"], ["left", "right"], axis=2, num_outputs=2),
            node("Unsqueeze", ["left", "first"], ["u"]),
            node("Tile", ["u", "twice"], ["tiled"]),
            node("Pad", ["right", "pads", "zero"], ["padded"]),
        ],
        {"x": (TensorProto.FLOAT, [2, 3, 4])},
        {
            "reshaped": (TensorProto.FLOAT, [4, 6]),
            "joined": (TensorProto.FLOAT, [2, 3, 5]),
            "tiled": (TensorProto.FLOAT, [2, 2, 3, 2]),
            "padded": (TensorProto.FLOAT, [2, 5, 2]),
        },
        {
            "shape": np.array([4, -1]),
            "starts": np.array([0]),
            "ends": np.array([4]),
            "axes": np.array([2]),
            "steps": np.array([2]),
            "indices": np.array([3, 0, -2]),
            "first": np.array([0]),
            "twice": np.array([2, 1, 1, 1]),
            "pads": np.array([0, 1, 0, 0, 1, 0]),
            "zero": np.array(7, np.float32),
        },
    )


def _integers() -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [
            node("Add", ["i", "three"], ["sum"]),
            node("Mul", ["j", "j"], ["square"]),
            node("Less", ["i", "three"], ["less"]),
            node("Cast", ["k"], ["real"], to=TensorProto.FLOAT),
            node("Cast", ["u"], ["widened"], to=TensorProto.INT32),
            node("Not", ["b"], ["inverse"]),
        ],
        {
            "i": (TensorProto.INT64, [2, 3]),
            "j": (TensorProto.INT32, [5]),
            "k": (TensorProto.INT8, [4]),
            "u": (TensorProto.UINT8, [4]),
            "b": (TensorProto.BOOL, [3]),
        },
        {
            "sum": (TensorProto.INT64, [2, 3]),
            "square": (TensorProto.INT32, [5]),
            "less": (TensorProto.BOOL, [2, 3]),
            "real": (TensorProto.FLOAT, [4]),
            "widened": (TensorProto.INT32, [4]),
            "inverse": (TensorProto.BOOL, [3]),
        },
        {"three": np.array(3)},
    )


def _product(kind: int, dtype: str) -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [node("MatMul", ["x", "w"], ["m"]), node("Relu", ["m"], ["y"])],
        {"x": (kind, [2, 8])},
        {"y": (kind, [2, 4])},
        {"w": _weights(8, 4).astype(dtype)},
    )


def _half() -> onnx.ModelProto:
    return _product(TensorProto.FLOAT16, "float16")


def _double() -> onnx.ModelProto:
    return _product(TensorProto.DOUBLE, "float64")


def _quantised() -> onnx.ModelProto:
    node = helper.make_node
    # of 7 bits: processors without VNNI saturate sums of two products of 8
    weights = np.random.default_rng(0).integers(-63, 64, (16, 8)).astype(np.int8)
    return _made(
        [
            node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            node("DequantizeLinear", ["w", "ws"], ["wd"]),
            node("MatMul", ["d", "wd"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [2, 16])},
        {"y": (TensorProto.FLOAT, [2, 8])},
        {
            "w": weights,
            "scale": np.array(0.03125, np.float32),
            "zero": np.array(128, np.uint8),
            "ws": np.array(0.015625, np.float32),
        },
    )


def _dynamic() -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [
            node("MatMul", ["x", "w"], ["m"]),
            node("Relu", ["m"], ["y"]),
            node("ReduceSum", ["y", "last"], ["total"], keepdims=0),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 16])},
        {"y": (TensorProto.FLOAT, ["batch", 8]), "total": (TensorProto.FLOAT, ["batch"])},
        {"w": _weights(16, 8), "last": np.array([1])},
    )


def _passing() -> onnx.ModelProto:
    node = helper.make_node
    return _made(
        [
            node("Identity", ["x"], ["same"]),
            node("Identity", ["c"], ["constant"]),
            node("Reshape", ["x", "shape"], ["reshaped"]),
            node("Neg", ["scalar"], ["negated"]),
        ],
        {"x": (TensorProto.FLOAT, [2, 3]), "scalar": (TensorProto.FLOAT, [])},
        {
            "same": (TensorProto.FLOAT, [2, 3]),
            "constant": (TensorProto.FLOAT, [4]),
            "reshaped": (TensorProto.FLOAT, [6]),
            "negated": (TensorProto.FLOAT, []),
        },
        {"c": np.arange(4, dtype=np.float32), "shape": np.array([6])},
    )


LINEAR = Model("linear", "matrix products, bias, ReLU, softmax", _linear)
QUANTISED = Model("quantised", "a linear layer of 8 bits", _quantised)
BASES = (LINEAR, QUANTISED)
"""One of which every back end must take; others may be refused, with a reason."""
PASSING = Model("passing", "outputs that are inputs, or constants; a scalar", _passing)
MODELS = (
    LINEAR,
    Model("convolution", "convolutions, one grouped, normalised and pooled", _convolution),
    Model("elementwise", "arithmetic, functions, activations, comparison, reduction", _elementwise),
    Model("shapes", "reshaping, slicing, gathering, joining, padding", _shapes),
    Model("integers", "whole numbers of 8 to 64 bits, and truth values", _integers),
    Model("half", "numbers of 16 bits", _half, rtol=1e-2, atol=1e-2),
    Model("double", "numbers of 64 bits", _double, rtol=1e-9, atol=1e-9),
    QUANTISED,
    Model("dynamic", "a batch of any size", _dynamic, [{"batch": 3}, {"batch": 1}, {"batch": 5}]),
    PASSING,
)
