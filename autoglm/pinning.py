# SPDX-License-Identifier: Apache-2.0
"""What is fixed of a model's inputs before anything is compiled: constants, shapes, extents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from .errors import ModelError
from .ready import Pins

_NAMELESS = (None, "", "?")  # what stands for an extent that may be any

Extent = int | str | None


def pin(model: ir.Model, pins: Pins) -> None:
    """Fix what is asked for, and give each extent that stays dynamic a name.

    Raises:
        ModelError: A pin fits nothing, or contradicts another one; or an input is always empty.
    """
    for name, number in pins.values.items():
        _make_constant(model, name, number)
    for value in model.graph.inputs:
        if 0 in extents(value):
            raise ModelError(
                f"input {value.name!r} is {value.shape}: an extent of 0 is not supported;"
                " export the model with one that is dynamic, or 1 or more"
            )
    _name_extents(model)
    known = {extent for value in _passed(model) for extent in extents(value)}
    for name in pins.extents:
        if name not in known:
            takes = ", ".join(f"{value.name}{value.shape}" for value in model.graph.inputs)
            raise ModelError(f"no extent is called {name!r}; the model takes: {takes}")
    pinned = _pin_shapes(model, pins)
    for value in _passed(model):
        value.shape = ir.Shape(
            pinned.get(extent, extent) if isinstance(extent, str) else extent
            for extent in extents(value)
        )


def extents(value: ir.Value) -> list[Extent]:
    """The extents of an input or output.

    Raises:
        ModelError: How many there are is not known.
    """
    if value.shape is None:
        raise ModelError(f"{value.name!r}: how many axes it has is not known")
    return plain(value.shape)


def plain(shape: ir.Shape) -> list[Extent]:
    """Its extents: each a number, a name, or None."""
    return [extent if isinstance(extent, int) else extent.value for extent in shape]


def is_told(extent: Extent) -> bool:
    """Whether it is a number or a name, not one of what stands for any."""
    return extent > 0 if isinstance(extent, int) else extent not in _NAMELESS


def _input(model: ir.Model, name: str) -> ir.Value:
    for value in model.graph.inputs:
        if value.name == name:
            return value
    names = ", ".join(str(value.name) for value in model.graph.inputs)
    raise ModelError(f"no input {name!r}; the model takes: {names}")


# ---- constants -----------------------------------------------------------------------------------


def _make_constant(model: ir.Model, name: str, number: float) -> None:
    value = _input(model, name)
    shape = [extent for extent in value.shape or () if isinstance(extent, int)]
    if value.dtype is None or value.shape is None or len(shape) != len(value.shape):
        raise ModelError(f"input {name!r} cannot be made a constant: its shape is not known")
    takes = _is_no_value(value.dtype, number)
    if takes:
        raise ModelError(f"input {name!r} cannot be made the constant {number!r}: it takes {takes}")
    array = np.full(shape, number, value.dtype.numpy())
    value.const_value = ir.tensor(array, name=name, dtype=value.dtype)
    model.graph.inputs.remove(value)
    model.graph.register_initializer(value)


def _is_no_value(dtype: ir.DataType, number: float) -> str:
    """What values an element type has, when a number is none of them; else empty.

    Real numbers are rounded to the nearest one; infinities and NaN are what they say.
    """
    if dtype == ir.DataType.BOOL:
        return "" if number in (0, 1) else "0 or 1"
    if dtype.is_integer():
        values = 1 << dtype.bitwidth
        least = -values // 2 if dtype.is_signed() else 0
        most = least + values - 1
        right = least <= number <= most and number == int(number)
        return "" if right else f"whole numbers from {least} to {most}"
    if dtype.is_floating_point():
        right = _stays(dtype.numpy(), number)
        return "" if right else f"{dtype.numpy().name}, which has no such number"
    return f"{dtype.name.lower()}, and a constant is a number"


def _stays(dtype: np.dtype[Any], number: float) -> bool:
    """Whether a number is finite, infinite or NaN as an element of a type, too."""
    try:
        given = float(number)
    except OverflowError:  # a whole number with hundreds of digits
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        kept = float(np.asarray(given).astype(dtype))
    return math.isfinite(kept) == math.isfinite(given) and math.isnan(kept) == math.isnan(given)


# ---- shapes --------------------------------------------------------------------------------------


def _passed(model: ir.Model) -> list[ir.Value]:
    """What it takes and gives; what it gives may be without a shape, which is inferred later."""
    told = (value for value in model.graph.outputs if value.shape is not None)
    return [*model.graph.inputs, *told]


def _name_extents(model: ir.Model) -> None:
    """A name for each dynamic extent that has none; ``?`` and -1 stand for many different ones."""
    for value in model.graph.inputs:
        value.shape = ir.Shape(
            extent if is_told(extent) else f"{value.name}_{axis}"
            for axis, extent in enumerate(extents(value))
        )


def _pin_shapes(model: ir.Model, pins: Pins) -> dict[str, int]:
    """Pin the shapes that are told; dynamic extents by name, those of the shapes among them."""
    pinned = dict(pins.extents)
    told = dict.fromkeys(pinned, "by its name")
    for name, wanted in pins.shapes.items():
        value = _input(model, name)
        found = extents(value)
        if len(found) != len(wanted) or any(
            isinstance(extent, int) and extent != number
            for extent, number in zip(found, wanted, strict=True)
        ):
            raise ModelError(f"input {name!r} is {value.shape}, it cannot be pinned to {wanted}")
        for extent, number in zip(found, wanted, strict=True):
            if not isinstance(extent, str):
                continue
            by = f"by the shape of {name!r}"
            if pinned.setdefault(extent, number) != number:  # the same name is the same extent
                raise ModelError(
                    f"extent {extent!r} is pinned to {pinned[extent]} {told[extent]},"
                    f" and to {number} {by}: it can be one only"
                )
            told.setdefault(extent, by)
    return pinned
