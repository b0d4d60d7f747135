# SPDX-License-Identifier: Apache-2.0
"""What a model takes and gives, for back ends whose engine's own file does not say it in full."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArtifactError, ModelError
from ..tensor import TensorSpec

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in its order.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, model: Path) -> Signature:
        """Of an ONNX file.

        Raises:
            ModelError: Something it takes or gives is no tensor that numpy has.
        """
        import onnx

        graph = onnx.load(model, load_external_data=False).graph
        constants = {each.name for each in graph.initializer}
        return cls(
            tuple(_spec(each) for each in graph.input if each.name not in constants),
            tuple(_spec(each) for each in graph.output),
        )

    @property
    def dynamic(self) -> tuple[str, ...]:
        """The names of extents that are not known before a call, sorted."""
        specs = self.inputs + self.outputs
        return tuple(sorted({each for spec in specs for each in spec.shape if type(each) is str}))

    def to_notes(self) -> dict[str, Any]:
        """For `Compiled.notes`."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Signature:
        """From `Program.notes`.

        Raises:
            ArtifactError: They are not what `to_notes` gave.
        """
        try:
            return cls(_specs(notes["inputs"]), _specs(notes["outputs"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the program's notes do not say what it takes and gives ({error!r})"
            ) from None


def operators(model: Path) -> dict[str, int]:
    """How many operators of each type an ONNX file has, subgraphs left out."""
    import onnx

    counts: dict[str, int] = {}
    for node in onnx.load(model, load_external_data=False).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def largest_matrix(model: Path) -> int:
    """Bytes of the largest constant that MatMul or Gemm of an ONNX file multiplies by; 0: none."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    used = {name for node in graph.node if node.op_type in _PRODUCTS for name in node.input}
    return max((_length(each) for each in graph.initializer if each.name in used), default=0)


_PRODUCTS = frozenset({"MatMul", "Gemm"})


def _length(tensor: onnx.TensorProto) -> int:
    import onnx

    dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * dtype.itemsize)


def _specs(values: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.from_json(value) for value in values)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    if not value.type.HasField("tensor_type"):
        raise ModelError(f"{value.name!r} is no tensor; only tensors can be passed")
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name).name
    except (KeyError, TypeError) as error:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ModelError(f"{value.name!r} is of {name}, which numpy does not have") from error
    shape: list[int | str] = []
    for axis, extent in enumerate(tensor.shape.dim):
        known = extent.HasField("dim_value")
        shape.append(extent.dim_value if known else extent.dim_param or f"{value.name}_{axis}")
    return TensorSpec(value.name, dtype, tuple(shape))
