# SPDX-License-Identifier: Apache-2.0
"""A decoder as ONNX, twice: of plain operators over a whole sequence, and with a cache.

`plain` is the source model: nothing but operators of ONNX 18, each as the papers have it; any
engine can take it, and it is what `cached` is checked against. `cached` computes only what is new:
keys and values of the tokens before stay where they are, in buffers that the caller owns
(GroupQueryAttention of ONNX Runtime, com.microsoft, writes into them).

Both keep their weights outside, in the one file that `weights` lays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .config import DecoderConfig
from .weights import FILE, layout

if TYPE_CHECKING:
    from ..tensor import Array

_CONTRIB = "com.microsoft"
_MASKED = np.float32(-3e38)


class _Graph:
    """Nodes, as they are added; every result has a name of its own."""

    def __init__(self, config: DecoderConfig) -> None:
        self.config = config
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One operator with one output; its name."""
        return self.split(operator, 1, *inputs, domain=domain, **attributes)[0]

    def split(
        self, operator: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """One operator with several outputs; their names."""
        names = [f"{operator}_{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return names

    def constant(self, values: Array | Sequence[int]) -> str:
        name = f"constant_{len(self.constants)}"
        array = values if isinstance(values, np.ndarray) else np.asarray(values, np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def name_last(self, *names: str) -> None:
        """Call the outputs of the last operator so; an empty name is for one that nobody wants."""
        del self.nodes[-1].output[:]
        self.nodes[-1].output.extend(names)

    def model(
        self,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        opsets: dict[str, int],
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "decoder", inputs, outputs, [*self.constants, *self._outside()]
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*each) for each in opsets.items()],
            ir_version=9,
            producer_name="open-autoglm",
        )

    def _outside(self) -> list[onnx.TensorProto]:
        tensors = []
        for name, place in layout(self.config).items():
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=place.shape)
            tensor.data_location = TensorProto.EXTERNAL
            where = {"location": FILE, "offset": place.offset, "length": place.length}
            for key, value in where.items():
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
        return tensors


# ---- plain ---------------------------------------------------------------------------------------


def plain(config: DecoderConfig) -> onnx.ModelProto:
    """The whole sequence at once.

    ``input_ids`` int64[batch, sequence] to ``logits`` float32[batch, sequence, vocabulary].
    """
    graph = _Graph(config)
    shape = graph.add("Shape", "input_ids")
    length = graph.add("Gather", shape, graph.constant(np.array(1, np.int64)))
    mask = _mask(graph, length)
    turns = [_until(graph, table, length) for table in ("cos", "sin")]
    state = graph.add("Gather", "embed", "input_ids")
    for layer in range(config.layers):
        normed = _rms(graph, state, f"{layer}.attention.norm")
        state = graph.add("Add", state, _attention(graph, layer, normed, mask, turns))
        normed = _rms(graph, state, f"{layer}.mlp.norm")
        both = graph.add("MatMul", normed, f"{layer}.mlp.gate_up")
        gate, up = graph.split("Split", 2, both, axis=-1, num_outputs=2)
        gate = graph.add("Mul", gate, graph.add("Sigmoid", gate))
        state = graph.add(
            "Add", state, graph.add("MatMul", graph.add("Mul", gate, up), f"{layer}.mlp.down")
        )
    rows = graph.add("Reshape", _rms(graph, state, "norm"), graph.constant([-1, config.hidden]))
    logits = graph.add("Gemm", rows, "embed" if config.tied else "head", transB=1)
    full = graph.add("Concat", shape, graph.constant([config.vocabulary]), axis=0)
    graph.add("Reshape", logits, full)
    graph.name_last("logits")
    return graph.model(
        [_value("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [_value("logits", TensorProto.FLOAT, ["batch", "sequence", config.vocabulary])],
        {"": 18},
    )


def _rms(graph: _Graph, state: str, weight: str) -> str:
    """Root mean square normalisation, https://arxiv.org/abs/1910.07467."""
    axes = graph.constant([-1])
    mean = graph.add("ReduceMean", graph.add("Mul", state, state), axes)
    epsilon = graph.constant(np.array(graph.config.epsilon, np.float32))
    root = graph.add("Sqrt", graph.add("Add", mean, epsilon))
    return graph.add("Mul", graph.add("Div", state, root), weight)


def _mask(graph: _Graph, length: str) -> str:
    """[sequence, sequence]: nothing where a token may look, `_MASKED` where it may not."""
    zero, one = graph.constant(np.array(0, np.int64)), graph.constant(np.array(1, np.int64))
    places = graph.add("Range", zero, length, one)
    rows = graph.add("Unsqueeze", places, graph.constant([1]))
    seen = graph.add("LessOrEqual", places, rows)
    nothing = graph.constant(np.array(0, np.float32))
    return graph.add("Where", seen, nothing, graph.constant(np.array(_MASKED)))


def _until(graph: _Graph, table: str, length: str) -> str:
    """The first `length` rows of a table."""
    end = graph.add("Unsqueeze", length, graph.constant([0]))
    return graph.add("Slice", table, graph.constant([0]), end, graph.constant([0]))


def _attention(graph: _Graph, layer: int, normed: str, mask: str, turns: Sequence[str]) -> str:
    config = graph.config
    groups = config.heads // config.kv_heads
    query, key, value = (
        graph.add("Transpose", each, perm=[0, 2, 1, 3]) for each in _heads(graph, layer, normed)
    )
    query, key = (_turned(graph, each, turns) for each in (query, key))
    query = graph.add(
        "Reshape", query, graph.constant([0, config.kv_heads, groups, -1, config.head])
    )
    key, value = (graph.add("Unsqueeze", each, graph.constant([2])) for each in (key, value))
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 2, 4, 3]))
    scale = graph.constant(np.array(config.head**-0.5, np.float32))
    scores = graph.add("Add", graph.add("Mul", scores, scale), mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    mixed = graph.add("Reshape", mixed, graph.constant([0, config.heads, -1, config.head]))
    mixed = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", mixed, graph.constant([0, 0, config.heads * config.head]))
    return graph.add("MatMul", mixed, f"{layer}.attention.output")


def _heads(graph: _Graph, layer: int, normed: str) -> list[str]:
    """Query, key and value, each [batch, sequence, heads, head]."""
    config = graph.config
    packed = _packed(graph, layer, normed)
    widths = [heads * config.head for heads in (config.heads, config.kv_heads, config.kv_heads)]
    parts = graph.split("Split", 3, packed, graph.constant(widths), axis=-1)
    shape = graph.constant([0, 0, -1, config.head])
    parts = [graph.add("Reshape", part, shape) for part in parts]
    if config.head_norm:
        for place, name in enumerate(("query_norm", "key_norm")):
            parts[place] = _rms(graph, parts[place], f"{layer}.attention.{name}")
    return parts


def _packed(graph: _Graph, layer: int, normed: str) -> str:
    packed = graph.add("MatMul", normed, f"{layer}.attention.qkv")
    if graph.config.qkv_bias:
        packed = graph.add("Add", packed, f"{layer}.attention.qkv_bias")
    return packed


def _turned(graph: _Graph, state: str, turns: Sequence[str]) -> str:
    """Rotary positions: the first half of a head with the second, as Qwen's weights want it."""
    cos, sin = turns
    first, second = graph.split("Split", 2, state, axis=-1, num_outputs=2)

    def product(left: str, right: str) -> str:
        return graph.add("Mul", left, right)

    return graph.add(
        "Concat",
        graph.add("Sub", product(first, cos), product(second, sin)),
        graph.add("Add", product(second, cos), product(first, sin)),
        axis=-1,
    )


# ---- cached --------------------------------------------------------------------------------------


def cached(config: DecoderConfig) -> onnx.ModelProto:
    """The next tokens of each sequence, and the logits after the last of them.

    =========================== =============================== =================================
    ``input_ids``               int64[batch, sequence]          sequence > 1 with batch 1 only
    ``seqlens_k``               int32[batch]                    tokens with the new ones, less one
    ``total_sequence_length``   int32[]                         the largest of them, not less one
    ``past_key_values.N.key``   float32[batch, kv_heads,        of layer N; ``value`` likewise
                                capacity, head]
    ``logits``                  float32[batch, vocabulary]
    ``present.N.key``           as the past ones                bound to the same memory
    =========================== =============================== =================================
    """
    graph = _Graph(config)
    state = graph.add("Gather", "embed", "input_ids")
    normed = graph.add(
        "SimplifiedLayerNormalization", state, "0.attention.norm", epsilon=config.epsilon, axis=-1
    )
    for layer in range(config.layers):
        mixed = _cached_attention(graph, layer, normed)
        normed, state = _skip(graph, state, mixed, f"{layer}.mlp.norm")
        both = graph.add("MatMul", normed, f"{layer}.mlp.gate_up")
        gate, up = graph.split("Split", 2, both, axis=-1, num_outputs=2)
        gate = graph.add("QuickGelu", gate, domain=_CONTRIB, alpha=1.0)  # which is SiLU
        down = graph.add("MatMul", graph.add("Mul", gate, up), f"{layer}.mlp.down")
        after = "norm" if layer + 1 == config.layers else f"{layer + 1}.attention.norm"
        normed, state = _skip(graph, state, down, after)
    last = graph.add("Gather", normed, graph.constant(np.array(-1, np.int64)), axis=1)
    graph.add("Gemm", last, "embed" if config.tied else "head", transB=1)
    graph.name_last("logits")
    capacity: list[int | str] = ["batch", config.kv_heads, "capacity", config.head]
    names = config.cache_names()
    return graph.model(
        [
            _value("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            _value("seqlens_k", TensorProto.INT32, ["batch"]),
            _value("total_sequence_length", TensorProto.INT32, []),
            *(_value(past, TensorProto.FLOAT, capacity) for past, _ in names),
        ],
        [
            _value("logits", TensorProto.FLOAT, ["batch", config.vocabulary]),
            *(_value(present, TensorProto.FLOAT, capacity) for _, present in names),
        ],
        {"": 18, _CONTRIB: 1},
    )


def _cached_attention(graph: _Graph, layer: int, normed: str) -> str:
    config = graph.config
    if config.head_norm:
        parts = _normed_heads(graph, layer, normed)
    else:
        parts = [_packed(graph, layer, normed), "", ""]
    (key_in, key_out), (value_in, value_out) = config.cache_names()[2 * layer : 2 * layer + 2]
    mixed, _, _ = graph.split(
        "GroupQueryAttention",
        3,
        *parts,
        key_in,
        value_in,
        "seqlens_k",
        "total_sequence_length",
        "cos",
        "sin",
        domain=_CONTRIB,
        num_heads=config.heads,
        kv_num_heads=config.kv_heads,
        do_rotary=1,
    )
    graph.name_last(mixed, key_out, value_out)
    return graph.add("MatMul", mixed, f"{layer}.attention.output")


def _normed_heads(graph: _Graph, layer: int, normed: str) -> list[str]:
    """Query, key and value, each [batch, sequence, heads * head], query and key normed by head."""
    config = graph.config
    widths = [heads * config.head for heads in (config.heads, config.kv_heads, config.kv_heads)]
    packed = _packed(graph, layer, normed)
    parts = graph.split("Split", 3, packed, graph.constant(widths), axis=-1)
    by_head = graph.constant([0, 0, -1, config.head])
    for place, name in enumerate(("query_norm", "key_norm")):
        heads = graph.add("Reshape", parts[place], by_head)
        heads = graph.add(
            "SimplifiedLayerNormalization",
            heads,
            f"{layer}.attention.{name}",
            epsilon=config.epsilon,
            axis=-1,
        )
        parts[place] = graph.add("Reshape", heads, graph.constant([0, 0, widths[place]]))
    return parts


def _skip(graph: _Graph, state: str, added: str, weight: str) -> tuple[str, str]:
    """The sum, and what it is when normed, which comes first."""
    normed, _, _, total = graph.split(
        "SkipSimplifiedLayerNormalization",
        4,
        state,
        added,
        weight,
        domain=_CONTRIB,
        epsilon=graph.config.epsilon,
    )
    graph.name_last(normed, "", "", total)
    return normed, total


def _value(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
