# SPDX-License-Identifier: Apache-2.0
"""A model made ready for the engines: extents pinned, constants folded, what is of no use left out.

What it computes stays the same; every program is held against the source model afterwards, so a
mistake here is noticed like an engine's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from .errors import ModelError
from .pinning import is_told, pin, plain
from .ready import Clean, Pins
from .tensor import TensorSpec

_SMALL = 1024  # numbers of a constant that may be written out
_OUTSIDE = 1 << 30  # bytes of weights; more are in a file beside, since protobuf ends at 2 GiB


def clean(path: Path, folder: Path, pins: Pins) -> Clean:
    """Make a model ready.

    Args:
        path: An ONNX file that an importer checked.
        folder: For the result, ``model.onnx``.
        pins: What to fix.

    Raises:
        ModelError: As `pinning.pin`; or the model takes or gives what cannot be passed.
    """
    model = _load(path)
    before = _operators(model)
    passes.RemoveInitializersFromInputsPass()(model)
    pin(model, pins)
    said = [value.shape for value in model.graph.outputs]
    _forget_shapes(model)
    notes = _fold(model)
    _recall_shapes(model, said)
    target = folder / "model.onnx"
    outside = _save(model, target)
    return Clean(
        target,
        tuple(_spec(value, "input") for value in model.graph.inputs),
        tuple(_spec(value, "output") for value in model.graph.outputs),
        before,
        _operators(model),
        sum(tensor.size for tensor in _weights(model)),
        notes,
        outside,
    )


def _load(path: Path) -> ir.Model:
    model = ir.load(path)
    for function in model.functions.values():  # which ir.load() leaves out
        ir.external_data.set_base_dir(function.graph, path.parent)
    return model


def _save(model: ir.Model, target: Path) -> bool:
    """Write a model with its weights in it, or beside it when they are many; whether they are.

    Wherever the source model keeps them: what is written needs nothing of the source's folder.
    """
    _load_attributes(model)
    outside = sum(tensor.nbytes for tensor in _weights(model)) > _OUTSIDE
    if not outside:
        ir.external_data.load_to_model(model)
    ir.save(model, target, external_data="model.weights" if outside else None)
    return outside


def _load_attributes(model: ir.Model) -> None:
    """Constants of nodes become part of the file; once folded, those left are few."""
    for node in _nodes(model):
        for name, attribute in node.attributes.items():
            if isinstance(attribute.value, ir.ExternalTensor):
                (tensor,) = ir.external_data.convert_tensors_from_external([attribute.value])
                node.attributes[name] = ir.AttrTensor(name, tensor)


def _forget_shapes(model: ir.Model) -> None:
    """What was said of results no longer holds, or never did; it is inferred anew."""
    for node in model.graph:
        for value in node.outputs:
            value.shape = None


def _recall_shapes(model: ir.Model, said: Sequence[ir.Shape | None]) -> None:
    """Where no number is inferred, what the model says of an output beats a made-up name."""
    for value, shape in zip(model.graph.outputs, said, strict=True):
        if shape is None or (value.shape is not None and len(value.shape) != len(shape)):
            continue
        found = value.shape or [None] * len(shape)
        value.shape = ir.Shape(
            old if is_told(known) and not isinstance(new, int) else new
            for new, old, known in zip(found, shape, plain(shape), strict=True)
        )


def _fold(model: ir.Model) -> tuple[str, ...]:
    from onnxscript import optimizer

    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        optimizer.optimize_ir(model, should_fold=_is_small_fill)
        passes.DeduplicateInitializersPass()(model)
        passes.ShapeInferencePass()(model)
    except Exception as error:  # noqa: BLE001 - the model is as good without
        return (f"constants are not folded: {type(error).__name__}: {error}",)
    return ()


def _is_small_fill(node: ir.Node) -> bool | None:
    """Constants made by ConstantOfShape are not folded for their size; paddings are small ones."""
    if node.op_type != "ConstantOfShape" or node.inputs[0] is None:
        return None
    shape = ir.convenience.get_const_tensor(node.inputs[0])
    return True if shape is not None and np.prod(shape.numpy()) <= _SMALL else None


def _weights(model: ir.Model) -> list[ir.TensorProtocol]:
    return [
        value.const_value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    ]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Those of inner graphs and of functions too."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _operators(model: ir.Model) -> dict[str, int]:
    return dict(Counter(node.op_type for node in _nodes(model)).most_common())


def _spec(value: ir.Value, kind: str) -> TensorSpec:
    if not isinstance(value.type, ir.TensorType) or value.dtype is None:
        raise ModelError(f"{kind} {value.name!r} is {value.type}: only tensors can be passed")
    dtype = value.dtype.numpy()
    if dtype.isbuiltin != 1 or dtype.kind not in "biufc":  # what is in no .npz file, at least
        raise ModelError(
            f"{kind} {value.name!r} is of {value.dtype.name.lower()}, which cannot be passed:"
            " numpy has no such type; let the model take and give another type, by a Cast"
        )
    shape = value.shape
    if shape is None:
        raise ModelError(f"{kind} {value.name!r}: how many axes it has is not known")
    return TensorSpec(
        str(value.name),
        dtype.name,
        tuple(
            extent if isinstance(extent, int) else extent.value or f"{value.name}_{axis}"
            for axis, extent in enumerate(shape)
        ),
    )
