# SPDX-License-Identifier: Apache-2.0
"""A linear layer of a quantised model: its product is the unit's, what is around it is here.

The unit multiplies int8 by int8. An unsigned operand goes there less 128; zero points are taken off
afterwards, by the sums of rows and columns: with a' = a - oa and z' = z - o,

    sum (a - za)(b - zb) = sum a'b' - za' sum b' - zb' sum a' + k za' zb'

which is exact as long as it fits into 32 bits, as ONNX has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tensor import Array

if TYPE_CHECKING:
    import onnx

Multiply = Callable[[Array, Array], Array]
"""int8 (m, k) times int8 (k, n) is int32 (m, n)."""
_PLAIN = ("kind", "name", "source", "zero", "zero_point")
_WEIGHTS = ("weights", "weight_zero", "scale", "bias", "output_zero")


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        kind: ``integer`` gives the sums (MatMulInteger), ``quantised`` quantises them again
            (QLinearMatMul), ``real`` gives them as real numbers (MatMul, Gemm between
            DequantizeLinear and whatever follows).
        name: Of its result; it becomes a value of that name.
        source: Name of the value that it multiplies.
        zero: Name of the zero point of that value, where it is computed; empty: it is `zero_point`.
        zero_point: Its zero point.
        weights: int8 or uint8 (k, n).
        weight_zero: Zero points of the weights: one, or n.
        scale: What a sum is multiplied by: one number, or n; nothing for ``integer``.
        bias: What is added to a real result: one number, n, or nothing.
        output_zero: The zero point of a quantised result, and its type.
    """

    kind: str
    name: str
    source: str
    zero: str
    zero_point: int
    weights: Array
    weight_zero: Array
    scale: Array | None = None
    bias: Array | None = None
    output_zero: Array | None = None
    _signed: Array = field(init=False, repr=False)
    _sums: Array = field(init=False, repr=False)
    _weight_zero: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        offset = _offset(self.weights)
        object.__setattr__(self, "_signed", np.ascontiguousarray(_signed(self.weights)))
        object.__setattr__(self, "_sums", self._signed.sum(0, dtype=np.int32))
        object.__setattr__(self, "_weight_zero", self.weight_zero.astype(np.int32) - offset)

    @property
    def inputs(self) -> list[str]:
        """The values that it needs."""
        return [self.source, *([self.zero] if self.zero else [])]

    def run(self, values: Mapping[str, Array], multiply: Multiply) -> Array:
        """Its result.

        Args:
            values: Those of `inputs`.
            multiply: The unit.
        """
        a = values[self.source]
        zero = np.asarray(values[self.zero] if self.zero else self.zero_point).astype(np.int32)
        rows = _signed(a.reshape(-1, a.shape[-1]))
        k, n = self._signed.shape
        sums = multiply(rows, self._signed) if rows.size else np.zeros((len(rows), n), np.int32)
        zero = zero.reshape(-1)[:1] - _offset(a)
        sums -= zero * self._sums
        if self._weight_zero.any():
            sums -= rows.sum(1, dtype=np.int32)[:, None] * self._weight_zero
            sums += np.int32(k) * zero * self._weight_zero
        return self._finish(sums).reshape(*a.shape[:-1], n)

    def _finish(self, sums: Array) -> Array:
        if self.scale is None:
            return sums
        real: Array = sums.astype(np.float32) * self.scale
        if self.output_zero is None:
            return real if self.bias is None else real + self.bias
        limits = np.iinfo(self.output_zero.dtype)
        whole: Array = np.rint(real) + self.output_zero.astype(np.float32)
        return np.clip(whole, limits.min, limits.max).astype(self.output_zero.dtype)

    def to_json(self) -> dict[str, Any]:
        """What is not an array."""
        return {key: getattr(self, key) for key in _PLAIN}

    def arrays(self) -> dict[str, Array]:
        """What is."""
        return {key: getattr(self, key) for key in _WEIGHTS if getattr(self, key) is not None}

    @classmethod
    def of(cls, value: Mapping[str, Any], arrays: Mapping[str, Any]) -> Layer:
        """From `to_json` and `arrays`."""
        return cls(**value, **arrays)


def _signed(array: Array) -> Array:
    """As int8: an unsigned one less 128."""
    if array.dtype == np.uint8:
        signed: Array = (array ^ 0x80).view(np.int8)
        return signed
    return array


def _offset(array: Array) -> int:
    return 128 if array.dtype == np.uint8 else 0


# ---- which nodes are layers ----------------------------------------------------------------------


class Finder:
    """Finds the layers of a graph.

    Args:
        graph: It.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        self._arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}

    def layer(self, node: onnx.NodeProto) -> Layer | None:
        """The node as a layer, None when it is none."""
        makers = {
            "MatMulInteger": self._integer,
            "QLinearMatMul": self._quantised,
            "MatMul": self._real,
            "Gemm": self._real,
        }
        maker = makers.get(node.op_type)
        found = maker(node) if maker and node.domain in {"", "ai.onnx"} else None
        return found if found and _fits(found) else None

    def _constant(self, name: str) -> Array | None:
        return self._arrays.get(name)

    def _integer(self, node: onnx.NodeProto) -> Layer | None:
        names = [*node.input, "", ""][:4]
        weights, weight_zero = self._constant(names[1]), self._constant(names[3])
        if weights is None or (names[3] and weight_zero is None):
            return None
        zero = self._constant(names[2])
        if zero is not None and zero.size != 1:
            return None
        return Layer(
            "integer",
            node.output[0],
            names[0],
            names[2] if zero is None else "",
            0 if zero is None else int(zero.reshape(())),
            weights,
            _flat(weight_zero, weights),
        )

    def _quantised(self, node: onnx.NodeProto) -> Layer | None:
        constants = [self._constant(name) for name in node.input[1:]]
        if any(each is None for each in constants):
            return None
        scale, zero, weights, weight_scale, weight_zero, to, to_zero = map(np.asarray, constants)
        if scale.size != 1 or zero.size != 1 or to.size != 1 or to_zero.size != 1:
            return None
        return Layer(
            "quantised",
            node.output[0],
            node.input[0],
            "",
            int(zero.reshape(())),
            weights,
            _flat(weight_zero, weights),
            (scale.reshape(-1) * weight_scale.reshape(-1) / to.reshape(-1)).astype(np.float32),
            None,
            to_zero.reshape(-1),
        )

    def _real(self, node: onnx.NodeProto) -> Layer | None:
        """MatMul or Gemm of two that were quantised."""
        from onnx import helper

        told = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if told.get("transA", 0) or told.get("alpha", 1.0) != 1 or told.get("beta", 1.0) != 1:
            return None
        made, kept = (self._makers.get(name) for name in node.input[:2])
        if not made or not kept or {made.op_type, kept.op_type} != {"DequantizeLinear"}:
            return None
        scale, zero = (self._constant(name) for name in [*made.input, ""][1:3])
        weights, weight_scale, weight_zero = (
            self._constant(name) for name in [*kept.input, ""][:3]
        )
        bias = self._constant(node.input[2]) if len(node.input) > 2 else None
        if scale is None or weights is None or weight_scale is None or scale.size != 1:
            return None
        if (len(made.input) > 2 and zero is None) or (len(node.input) > 2 and bias is None):
            return None
        if weight_scale.size > 1 and told.get("transB", 0) == _axis(kept, weights):
            return None  # scales of rows: they cannot be taken out of the sum
        if told.get("transB", 0):
            weights = weights.T
        return Layer(
            "real",
            node.output[0],
            made.input[0],
            "",
            0 if zero is None else int(zero.reshape(())),
            np.ascontiguousarray(weights),
            _flat(weight_zero, weights),
            (scale.reshape(-1) * weight_scale.reshape(-1)).astype(np.float32),
            bias,
        )


def _axis(node: onnx.NodeProto, weights: Array) -> int:
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
    return int(axis) % max(weights.ndim, 1)


def _flat(zero: Array | None, weights: Array) -> Array:
    return np.zeros(1, weights.dtype) if zero is None else zero.reshape(-1)


def _fits(layer: Layer) -> bool:
    """Whether the unit can do it: weights of 8 bits, a matrix; what is added, one row."""
    if layer.weights.ndim != 2 or layer.weights.dtype not in (np.int8, np.uint8):
        return False
    columns = layer.weights.shape[1]
    rows = [each for each in (layer.weight_zero, layer.scale) if each is not None]
    if layer.bias is not None and layer.bias.shape not in {(), (1,), (columns,), (1, columns)}:
        return False
    return all(each.size in (1, columns) for each in rows)
