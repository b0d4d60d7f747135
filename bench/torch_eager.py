# SPDX-License-Identifier: Apache-2.0
"""PyTorch as a peer: the operators of a trained ONNX model, one after the other, eagerly.

No importer of ONNX takes these models (onnx2torch 1.5.15 has one of six), so here are the operators
that they are made of, as ONNX defines them, and no more; silero-vad has its own form for PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

from autoglm.errors import CompileError
from autoglm.tensor import Array

Tensor = Any
"""Of PyTorch, whose types are not read here (pyproject.toml)."""
Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor]


class Graph:
    """A model, ready to be called. What is constant is made a number or a list once.

    Raises:
        CompileError: It has an operator that is not here.
    """

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        missing = sorted({node.op_type for node in graph.node} - set(_OPERATORS))
        if missing:
            raise CompileError(f"no {', '.join(missing)} here")
        self.inputs = [each.name for each in graph.input]
        self.outputs = [each.name for each in graph.output]
        self.constants = {each.name: _tensor(each) for each in graph.initializer}
        self.steps = [
            (_OPERATORS[node.op_type], tuple(node.input), node.output[0], _attributes(node))
            for node in graph.node
        ]

    def __call__(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        values: dict[str, Any] = {**self.constants, **inputs, "": None}
        with torch.inference_mode():
            for operator, takes, gives, attributes in self.steps:
                values[gives] = operator(attributes, *(values[name] for name in takes))
        return [values[name] for name in self.outputs]


def _tensor(constant: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(constant)))


def _attributes(node: onnx.NodeProto) -> Attributes:
    found = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {key: text.decode() if isinstance(text, bytes) else text for key, text in found.items()}


def to_torch(inputs: Mapping[str, Array]) -> dict[str, Tensor]:
    """The same arrays, as tensors."""
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def _plain(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""
    return lambda _, *values: function(*values)


def _numbers(values: Tensor | None, otherwise: Sequence[int] = ()) -> list[int]:
    return list(otherwise) if values is None else values.flatten().tolist()


def _padded(a: Attributes, x: Tensor, value: float = 0.0) -> Tensor:
    """With what Conv and MaxPool have at their edges."""
    axes = x.dim() - 2
    pads = list(a.get("pads", [0] * 2 * axes))
    if a.get("auto_pad", "NOTSET") == "SAME_UPPER":
        strides = a.get("strides", [1] * axes)
        for axis, (size, kernel, stride) in enumerate(
            zip(x.shape[2:], a["kernel_shape"], strides, strict=True)
        ):
            more = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads[axis], pads[axis + axes] = more // 2, more - more // 2
    if not any(pads):
        return x
    ends = [end for axis in reversed(range(axes)) for end in (pads[axis], pads[axis + axes])]
    return functional.pad(x, ends, value=value)


def _conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    convolve = functional.conv1d if w.dim() == 3 else functional.conv2d
    ones = [1] * (w.dim() - 2)
    strides, dilations = a.get("strides", ones), a.get("dilations", ones)
    x = _padded({**a, "kernel_shape": w.shape[2:]}, x)
    return convolve(x, w, b, strides, 0, dilations, a.get("group", 1))


def _reduce(name: str) -> Operator:
    def reduce(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = _numbers(axes, a.get("axes", ()))
        if not over and a.get("noop_with_empty_axes"):
            return x
        over = over or list(range(x.dim()))
        found: Tensor = getattr(torch, name)(x, dim=over, keepdim=bool(a.get("keepdims", 1)))
        return found

    return reduce


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _numbers(shape)
    if not a.get("allowzero"):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze(tuple(_numbers(axes, a.get("axes", range(x.dim())))))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    rank = x.dim() + len(wanted := _numbers(axes, a.get("axes", ())))
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _slice(
    _: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    for axis, start, end, step in zip(
        _numbers(axes, range(len(starts))),
        _numbers(starts),
        _numbers(ends),
        _numbers(steps, [1] * len(starts)),
        strict=True,
    ):
        x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
    return x


def _resize(_: Attributes, x: Tensor, _roi: object, scales: Tensor, *_sizes: object) -> Tensor:
    return functional.interpolate(x, scale_factor=scales[2:].tolist(), mode="nearest")


def _gather_nd(_: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    return x[tuple(indices.unbind(-1))]


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.layer_norm(x, scale.shape, scale, bias, a.get("epsilon", 1e-5))


def _cast(a: Attributes, x: Tensor) -> Tensor:
    kind = helper.tensor_dtype_to_np_dtype(a["to"])
    return x.to(getattr(torch, np.dtype(kind).name))


_OPERATORS: Mapping[str, Operator] = {
    **{
        name: _plain(getattr(torch, name.lower()))
        for name in ("Add", "Mul", "Sub", "Div", "Pow", "Sqrt", "Exp", "Erf", "Tanh", "Relu")
    },
    **{name: _plain(getattr(torch, name.lower())) for name in ("Sigmoid", "Reciprocal", "IsNaN")},
    "And": _plain(torch.logical_and),
    "AveragePool": lambda a, x: functional.avg_pool2d(x, a["kernel_shape"], a["strides"]),
    "BatchNormalization": lambda a, x, scale, b, mean, var: functional.batch_norm(
        x, mean, var, scale, b, eps=a.get("epsilon", 1e-5)
    ),
    "Cast": _cast,
    "Clip": lambda _, x, low=None, high=None: torch.clamp(x, low, high),
    "Concat": lambda a, *values: torch.cat(values, a["axis"]),
    "Conv": _conv,
    "ConvTranspose": lambda a, x, w, b=None: functional.conv_transpose2d(
        x, w, b, a["strides"], 0, 0, a["group"]
    ),
    "Equal": _plain(torch.eq),
    "Gather": lambda _, x, indices: functional.embedding(indices, x),
    "GatherND": _gather_nd,
    "GlobalAveragePool": lambda _, x: x.mean(tuple(range(2, x.dim())), keepdim=True),
    "GlobalMaxPool": lambda _, x: x.amax(tuple(range(2, x.dim())), keepdim=True),
    "HardSigmoid": lambda a, x: torch.clamp(x * a["alpha"] + a["beta"], 0, 1),
    "LayerNormalization": _layer_norm,
    "MatMul": _plain(torch.matmul),
    "Max": _plain(torch.maximum),
    "MaxPool": lambda a, x: functional.max_pool2d(
        _padded(a, x, -torch.inf), a["kernel_shape"], a["strides"]
    ),
    "ReduceMax": _reduce("amax"),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Squeeze": _squeeze,
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
