# SPDX-License-Identifier: Apache-2.0
"""A model made ready for the engines: extents pinned, constants folded, what is of no use left out.

What it computes stays the same; every program is held against the source model afterwards, so a
mistake here is noticed like an engine's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from .errors import ModelError
from .ready import Clean, Pins
from .tensor import TensorSpec

_SMALL = 1024  # numbers of a constant that may be written out
_NAMELESS = (None, "", "?")  # what stands for an extent that may be any
_OUTSIDE = 1 << 30  # bytes of weights; more are in a file beside, since protobuf ends at 2 GiB


def clean(path: Path, folder: Path, pins: Pins) -> Clean:
    """Make a model ready.

    Args:
        path: An ONNX file that an importer checked.
        folder: For the result, ``model.onnx``.
        pins: What to fix.

    Raises:
        ModelError: A pin fits nothing, or the model takes or gives what no array can hold.
    """
    model = _load(path)
    before = _operators(model)
    passes.RemoveInitializersFromInputsPass()(model)
    _pin_values(model, pins.values)
    _pin_shapes(model, pins)
    _name_extents(model)
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


def _pin_values(model: ir.Model, values: Mapping[str, float]) -> None:
    for name, number in values.items():
        value = _input(model, name)
        shape = [extent for extent in value.shape or () if isinstance(extent, int)]
        if value.dtype is None or value.shape is None or len(shape) != len(value.shape):
            raise ModelError(f"input {name!r} cannot be made a constant: its shape is not known")
        value.const_value = ir.tensor(
            np.full(shape, number, value.dtype.numpy()), name=name, dtype=value.dtype
        )
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)


def _pin_shapes(model: ir.Model, pins: Pins) -> None:
    pinned = dict(pins.extents)
    for name, wanted in pins.shapes.items():
        value = _input(model, name)
        extents = _extents(value)
        if len(extents) != len(wanted) or any(
            isinstance(extent, int) and extent > 0 and extent != number
            for extent, number in zip(extents, wanted, strict=True)
        ):
            raise ModelError(f"input {name!r} is {value.shape}, it cannot be pinned to {wanted}")
        value.shape = ir.Shape(wanted)
        pinned |= {  # the same name is the same extent elsewhere
            extent: number
            for extent, number in zip(extents, wanted, strict=True)
            if isinstance(extent, str) and extent not in _NAMELESS
        }
    names: set[int | str | None] = set()
    for value in (*model.graph.inputs, *model.graph.outputs):
        extents = _extents(value)
        names.update(extents)
        value.shape = ir.Shape([pinned.get(str(extent), extent) for extent in extents])
    for name in pins.extents:
        if name not in names:
            takes = ", ".join(f"{value.name}{value.shape}" for value in model.graph.inputs)
            raise ModelError(f"no extent is called {name!r}; the model takes: {takes}")


def _extents(value: ir.Value) -> list[int | str | None]:
    if value.shape is None:
        raise ModelError(f"{value.name!r}: how many axes it has is not known")
    return [extent if isinstance(extent, int) else extent.value for extent in value.shape]


def _name_extents(model: ir.Model) -> None:
    """A name for each dynamic extent that has none; ``?`` and -1 stand for many different ones."""
    for value in model.graph.inputs:
        value.shape = ir.Shape(
            f"{value.name}_{axis}"
            if extent in _NAMELESS or (isinstance(extent, int) and extent <= 0)
            else extent
            for axis, extent in enumerate(_extents(value))
        )


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
            new if isinstance(new, int) or not _is_told(old) else old
            for new, old in zip(found, shape, strict=True)
        )


def _is_told(extent: int | ir.SymbolicDim) -> bool:
    return extent > 0 if isinstance(extent, int) else extent.value not in _NAMELESS


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


def _input(model: ir.Model, name: str) -> ir.Value:
    for value in model.graph.inputs:
        if value.name == name:
            return value
    names = ", ".join(str(value.name) for value in model.graph.inputs)
    raise ModelError(f"no input {name!r}; the model takes: {names}")


def _spec(value: ir.Value, kind: str) -> TensorSpec:
    if not isinstance(value.type, ir.TensorType) or value.dtype is None:
        raise ModelError(f"{kind} {value.name!r} is {value.type}: only tensors can be passed")
    try:
        dtype = np.dtype(value.dtype.numpy().name).name
    except TypeError as error:
        raise ModelError(f"{kind} {value.name!r}: numpy has no {value.dtype.name}") from error
    shape = value.shape
    if shape is None:
        raise ModelError(f"{kind} {value.name!r}: how many axes it has is not known")
    return TensorSpec(
        str(value.name),
        dtype,
        tuple(
            extent if isinstance(extent, int) else extent.value or f"{value.name}_{axis}"
            for axis, extent in enumerate(shape)
        ),
    )
