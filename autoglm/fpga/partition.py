# SPDX-License-Identifier: Apache-2.0
"""A graph cut at its linear layers: between them, models of their own for the processor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import CompileError
from .layer import Finder, Layer

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Segment:
    """Nodes that the processor runs in one go.

    Attributes:
        model: They, as a model.
        inputs: The values it takes.
        outputs: The values it gives, that something later needs.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def partition(model: onnx.ModelProto) -> list[Segment | Layer]:
    """Cut a model: its parts in the order in which they can run.

    Raises:
        CompileError: It has no linear layer that the unit could do, or cannot be cut.
    """
    finder = Finder(model.graph)
    layers = [finder.layer(node) for node in model.graph.node]
    nodes = list(zip(model.graph.node, layers, strict=True))
    if not any(layers):
        raise CompileError(
            "no linear layer is quantised (MatMulInteger, QLinearMatMul, or MatMul and Gemm between"
            " DequantizeLinear): quantise the model first, with onnxruntime.quantization for one"
        )
    wanted = {each.name for each in model.graph.output}
    return _Cut(model, _alive(nodes, wanted), wanted).parts()


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value. ONNX Runtime knows, of operators beyond ONNX as well."""
    import onnx
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {each.name for each in probe.graph.output}
    made = [name for node in probe.graph.node for name in node.output if name and name not in known]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise CompileError(f"ONNX Runtime cannot read the model: {error}") from error
    numbers = onnx.TensorProto.DataType
    return {
        each.name: numbers.Value(each.type.removeprefix("tensor(").removesuffix(")").upper())
        for each in (*session.get_inputs(), *session.get_outputs())
        if each.type.startswith("tensor(")
    }


Node = tuple["onnx.NodeProto", Layer | None]


def _alive(nodes: Sequence[Node], wanted: Iterable[str]) -> list[Node]:
    """Without what nothing needs: the DequantizeLinear of a layer's operands, for one."""
    needed = set(wanted)
    kept = []
    for node, layer in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(_needs(node, layer))
            kept.append((node, layer))
    return kept[::-1]


def _needs(node: onnx.NodeProto, layer: Layer | None) -> set[str]:
    """The values that a node reads, those of its inner graphs included."""
    if layer:
        return set(layer.inputs)
    found = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                found |= _needs(inner, None)
    return found - {""}


class _Cut:
    """The work of cutting one model."""

    def __init__(
        self, model: onnx.ModelProto, nodes: Sequence[Node], wanted: Iterable[str]
    ) -> None:
        self.model = model
        self.left = list(nodes)
        self.wanted = set(wanted)
        graph = model.graph
        self.constants = {each.name: each for each in graph.initializer}
        self.types = _types(model)
        self.made = {name for node, _ in nodes for name in node.output}
        self.known = {each.name for each in graph.input} | set(self.constants)

    def parts(self) -> list[Segment | Layer]:
        found: list[Segment | Layer] = []
        while self.left:
            nodes = self._take_nodes()
            if nodes:
                found.append(self._segment(nodes))
            layers = self._take_layers()
            if not nodes and not layers:
                raise CompileError("the nodes of the model are in no order in which they could run")
            found += layers
        return found

    def _ready(self, needs: Iterable[str]) -> bool:
        """Whether all are there; names that no node makes are an inner graph's own."""
        return all(name in self.known or name not in self.made for name in needs)

    def _take_nodes(self) -> list[onnx.NodeProto]:
        taken, left = [], []
        for node, layer in self.left:
            if layer is None and self._ready(_needs(node, layer)):
                taken.append(node)
                self.known.update(node.output)
            else:
                left.append((node, layer))
        self.left = left
        return taken

    def _take_layers(self) -> list[Layer]:
        ready = [each for _, each in self.left if each and self._ready(each.inputs)]
        self.left = [(node, each) for node, each in self.left if each not in ready]
        self.known.update(layer.name for layer in ready)
        return ready

    def _segment(self, nodes: Sequence[onnx.NodeProto]) -> Segment:
        from onnx import helper

        made = {name for node in nodes for name in node.output if name}
        reads = set().union(*(_needs(node, None) for node in nodes))
        later = self.wanted.union(*(_needs(node, layer) for node, layer in self.left))
        inputs = sorted((reads - made - set(self.constants)) & self.known)
        outputs = sorted(made & later)
        graph = helper.make_graph(
            nodes,
            "segment",
            [self._type(name) for name in inputs],
            [self._type(name) for name in outputs],
            [self.constants[name] for name in sorted(reads & set(self.constants))],
        )
        model = helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )
        model.functions.extend(self.model.functions)
        return Segment(model, tuple(inputs), tuple(outputs))

    def _type(self, name: str) -> onnx.ValueInfoProto:
        from onnx import helper

        if name not in self.types:
            raise CompileError(f"{name!r} is no tensor: the model cannot be cut there")
        return helper.make_tensor_value_info(name, self.types[name], None)
