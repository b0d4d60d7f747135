# SPDX-License-Identifier: Apache-2.0
"""Products of 8-bit integers that ONNX Runtime gets wrong on some processors, made right.

On an x86-64 processor without VNNI it multiplies unsigned by signed bytes with VPMADDUBSW, which
adds two products in 16 bits and saturates: 255 * 100 + 255 * 100 is 32767 there. Signed by signed
and unsigned by unsigned is exact everywhere. So one operand is given the other's type, and its zero
point moved as far, which changes no result.

The entry ``session.x64quantprecision`` of ONNX Runtime is not enough: it is one of the
optimisations, passes over QLinearMatMul, and breaks layers of signed by signed.

Sources: PMADDUBSW in Intel's "64 and IA-32 Architectures Software Developer's Manual", volume 2;
ONNX Runtime's onnxruntime_session_options_config_keys.h; the operators' definitions by ONNX, and
by ONNX Runtime's ContribOperators.md. Any thread may call what is here, for a model of its own.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hal.processor import Processor

from .tensor import Array

if TYPE_CHECKING:
    import onnx

OPTION = "byte_products=of_one_type"
"""How a program says that they were made so; see `make_exact`."""
FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's entry for where weights are that are outside of a model that is no file."""
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""A processor that has one of them adds in 32 bits."""
_SMALL = 64
"""255 * 64 * 2 fits into 16 bits, signed: weights of 7 bits do not saturate."""


@dataclass(frozen=True)
class _Operand:
    """Where a node has what may be given another type.

    Attributes:
        value: Input that is multiplied.
        zero: Input that is its zero point, of the same type; perhaps left out.
        scale: Input with the shape that the zero point has; -1: it is a scalar.
    """

    value: int
    zero: int
    scale: int = -1


@dataclass(frozen=True)
class _Product:
    """An operator that multiplies bytes.

    Attributes:
        by: Input that keeps its type; -1: real numbers, which the operator makes unsigned bytes.
        by_zero: Input that is its zero point.
        operands: Those that are multiplied by it.
    """

    by: int
    by_zero: int
    operands: tuple[_Operand, ...]


_INTEGER = _Product(0, 2, (_Operand(1, 3),))
_LINEAR = _Product(0, 2, (_Operand(3, 5, 4),))
_PRODUCTS = {
    "MatMulInteger": _INTEGER,
    "ConvInteger": _INTEGER,
    "QLinearMatMul": _LINEAR,
    "QLinearConv": _LINEAR,
    "QGemm": _LINEAR,
    "MatMulIntegerToFloat": _Product(0, 4, (_Operand(1, 5, 3),)),
    "DynamicQuantizeMatMul": _Product(-1, -1, (_Operand(1, 3, 2),)),
    "DynamicQuantizeLSTM": _Product(-1, -1, (_Operand(1, 9, 8), _Operand(2, 11, 10))),
    "QAttention": _Product(0, 6, (_Operand(1, 7, 4),)),
}
_REAL = frozenset({"MatMul", "Gemm", "Conv"})
"""They become products of bytes where both operands are of DequantizeLinear."""
_DEQUANTIZED = _Operand(0, 2, 1)


def saturates(processor: Processor) -> bool:
    """Whether a processor gets them wrong."""
    return processor.architecture == "x86_64" and not VNNI & processor.features


def exact(path: Path) -> onnx.ModelProto | None:
    """A model whose products are exact on every processor.

    Weights that are outside of the file stay there.

    Args:
        path: An ONNX file.

    Returns:
        None where those of the file are.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    return model if make_exact(model) else None


def make_exact(model: onnx.ModelProto) -> bool:
    """Change a model so that its products are exact on every processor.

    Args:
        model: It. Weights that it has outside are taken for large ones, unread.

    Returns:
        Whether there was anything to change.
    """
    import onnx

    if not _multiplies(model.graph):
        return False
    inferred = model
    with contextlib.suppress(onnx.shape_inference.InferenceError, ValueError):
        inferred = onnx.shape_inference.infer_shapes(model)
    return _Graph(model.graph, inferred.graph).mend()


def _multiplies(graph: onnx.GraphProto) -> bool:
    kinds = {"DequantizeLinear", *_PRODUCTS}
    return any(node.op_type in kinds or any(map(_multiplies, _inner(node))) for node in graph.node)


def _inner(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


def _used(graph: onnx.GraphProto) -> set[str]:
    found = {each.name for each in graph.output}
    for node in graph.node:
        found.update(node.input)
        for inner in _inner(node):
            found |= _used(inner)
    return found


class _Graph:
    """A graph at work, with what it sees of those around it."""

    def __init__(
        self, graph: onnx.GraphProto, inferred: onnx.GraphProto, around: _Graph | None = None
    ) -> None:
        self._graph = graph
        own = {each.name: each for each in graph.initializer}
        own |= {
            node.output[0]: attribute.t
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        types = {each.name: each.type.tensor_type.elem_type for each in values}
        types |= {name: each.data_type for name, each in own.items()}
        for each in graph.input:  # what is there by default, a call may bring another
            own.pop(each.name, None)
        self._types: dict[str, int] = {**(around._types if around else {}), **types}
        self._constants: dict[str, onnx.TensorProto]
        self._constants = {**(around._constants if around else {}), **own}
        self._nodes: list[onnx.NodeProto] = []
        self._others: dict[str, str] = {}
        self._numbers: Iterator[int] = around._numbers if around else itertools.count()

    def mend(self) -> bool:
        """Change it; whether there was anything to change."""
        changed = False
        dequantized = self._dequantized()
        for node in self._graph.node:
            for graph in _inner(node):
                changed |= _Graph(graph, graph, self).mend()
            for operand in self._mixed(node, dequantized):
                self._replace(node, operand)
                changed = True
            self._nodes.append(node)
        if self._others:
            nodes = [type(node).FromString(node.SerializeToString()) for node in self._nodes]
            del self._graph.node[:]
            self._graph.node.extend(nodes)
            self._drop(self._others.keys() - _used(self._graph))
        return changed

    def _drop(self, names: set[str]) -> None:
        """Constants that nothing needs any more."""
        for each in [each for each in self._graph.initializer if each.name in names]:
            self._graph.initializer.remove(each)

    def _dequantized(self) -> set[str]:
        """Results of DequantizeLinear that are multiplied by one of unsigned bytes."""
        from onnx import TensorProto

        made = {
            node.output[0]: node
            for node in self._graph.node
            if node.op_type == "DequantizeLinear"
            and not any(attribute.name == "block_size" for attribute in node.attribute)
        }
        return {
            node.input[1]
            for node in self._graph.node
            if node.op_type in _REAL
            and made.keys() >= set(node.input[:2])
            and self._types.get(made[node.input[0]].input[0]) == TensorProto.UINT8
        }

    def _mixed(self, node: onnx.NodeProto, dequantized: set[str]) -> list[_Operand]:
        """The operands of a node that saturate: of the other type than what they meet."""
        from onnx import TensorProto

        if node.op_type == "DequantizeLinear" and node.output[0] in dequantized:
            return [_DEQUANTIZED] if self._large(node.input[0]) else []
        product = _PRODUCTS.get(node.op_type)
        if product is None:
            return []
        by = TensorProto.UINT8 if product.by < 0 else self._type(node, product)
        if node.op_type == "ConvInteger":  # it multiplies weights by values, in this order
            unsigned = self._types.get(node.input[1]) == TensorProto.UINT8
            return list(product.operands) if unsigned and by == TensorProto.INT8 else []
        if by == TensorProto.INT8:
            return []
        return [each for each in product.operands if self._large(node.input[each.value])]

    def _type(self, node: onnx.NodeProto, product: _Product) -> int:
        """Of what a node multiplies by; 0 where nothing says it."""
        zero = _input(node, product.by_zero)
        return self._types.get(zero) or self._types.get(node.input[product.by]) or 0

    def _large(self, name: str) -> bool:
        """Whether they are signed bytes that may need more than 7 bits."""
        from onnx import TensorProto, numpy_helper

        if self._types.get(name) != TensorProto.INT8:
            return False
        known = self._constants.get(name)
        if known is None or known.external_data:
            return True
        weights = numpy_helper.to_array(known)
        return bool(weights.size and (weights.min() < -_SMALL or weights.max() > _SMALL))

    def _replace(self, node: onnx.NodeProto, operand: _Operand) -> None:
        """Give an operand the other type, and its zero point."""
        node.input.extend([""] * (operand.zero + 1 - len(node.input)))
        value, zero = node.input[operand.value], node.input[operand.zero]
        if not zero:
            scale = self._constants.get(_input(node, operand.scale))
            zero = f"{value}/zero/{next(self._numbers)}"
            self._constant(zero, np.zeros(scale.dims if scale else (), self._numpy(value)))
        node.input[operand.value] = self._other(value)
        node.input[operand.zero] = self._other(zero)

    def _other(self, name: str) -> str:
        """The same numbers in the other type: 128 more in the unsigned one."""
        from onnx import TensorProto, helper, numpy_helper

        if name in self._others:
            return self._others[name]
        kind, by = (np.uint8, 128) if self._numpy(name) == np.int8 else (np.int8, -128)
        other = self._others[name] = f"{name}/{kind.__name__}/{next(self._numbers)}"
        known = self._constants.get(name)
        if known is not None and not known.external_data:
            array = numpy_helper.to_array(known).astype(np.int32) + by
            self._constant(other, array.astype(kind))
            return other
        self._constant(f"{other}/by", np.array(by, np.int32))
        to = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        whole, moved = f"{other}/whole", f"{other}/moved"
        self._nodes += [
            helper.make_node("Cast", [name], [whole], to=TensorProto.INT32),
            helper.make_node("Add", [whole, f"{other}/by"], [moved]),
            helper.make_node("Cast", [moved], [other], to=to),
        ]
        self._types[other] = to
        return other

    def _constant(self, name: str, array: Array) -> None:
        from onnx import numpy_helper

        made = numpy_helper.from_array(array, name)
        self._graph.initializer.append(made)
        self._constants[name], self._types[name] = made, made.data_type

    def _numpy(self, name: str) -> np.dtype[Any]:
        from onnx import helper

        return np.dtype(helper.tensor_dtype_to_np_dtype(self._types[name]))


def _input(node: onnx.NodeProto, index: int) -> str:
    """Its name; empty where it is left out."""
    return node.input[index] if 0 <= index < len(node.input) else ""
