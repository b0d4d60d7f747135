# SPDX-License-Identifier: Apache-2.0
"""What a model takes and gives: names, element types, shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError

Array = npt.NDArray[Any]
"""An array of any element type."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: As the source model has it.
        dtype: The element type, as numpy calls it: ``float32``, ``int64`` ...
        shape: Extents; a text is a dynamic one, by its name. The same name is the same extent
            wherever it stands in one call.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"

    def to_json(self) -> dict[str, Any]:
        """As the manifest of an artifact has it."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TensorSpec:
        """From a manifest.

        Raises:
            KeyError, TypeError, ValueError: It is no such description.
        """
        shape = tuple(_extent(extent) for extent in value["shape"])
        return cls(str(value["name"]), np.dtype(value["dtype"]).name, shape)


def _extent(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"an extent is a number or a name, not {value!r}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"an extent is 0 or more, not {value}")
    return value


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, Array]) -> None:
    """Hold the inputs of a call against what the model takes.

    Raises:
        InputError: One is missing, unknown, or of another type or shape; the sentence says which.
    """
    try:
        names = {spec.name for spec in specs}
        for name in inputs:
            if name not in names:
                raise _unknown(specs, inputs, name)
        extents: dict[str, int] = {}
        for spec in specs:
            array = inputs.get(spec.name)
            if array is None:
                raise InputError(f"input {spec.name!r} is missing; the model takes {spec}")
            _check_input(spec, array, extents)
    except (AttributeError, TypeError):  # to look for it each time would cost every call
        raise _no_arrays(specs, inputs) from None


def _unknown(specs: Sequence[TensorSpec], inputs: object, name: object) -> InputError:
    if not isinstance(inputs, Mapping):
        return _no_arrays(specs, inputs)
    return InputError(f"no input {name!r}; the model takes: {', '.join(map(str, specs))}")


def _no_arrays(specs: Sequence[TensorSpec], inputs: object) -> InputError:
    """What is wrong with inputs that are no mapping, or hold what is no array of numpy's."""
    if isinstance(inputs, Mapping):
        for spec in specs:
            value = inputs.get(spec.name)
            if not isinstance(value, np.ndarray):
                return InputError(
                    f"input {spec.name!r} is a {type(value).__name__}, no array of numpy's; the"
                    f" model takes {spec}: numpy.asarray(..., {spec.dtype!r}) makes one"
                )
    return InputError(
        f"inputs are arrays by name, {{name: array}}, not a {type(inputs).__name__}; the model"
        f" takes: {', '.join(map(str, specs))}"
    )


@cache
def _dtype(name: str) -> np.dtype[Any]:
    """An element type by its name: numpy itself would read the name each time."""
    return np.dtype(name)


def _check_input(spec: TensorSpec, array: Array, extents: dict[str, int]) -> None:
    if array.dtype != _dtype(spec.dtype):
        order = "" if array.dtype.isnative else " in the other byte order"
        raise InputError(
            f"input {spec.name!r} is of {array.dtype.name}{order}, the model takes {spec};"
            f" convert it: array.astype({spec.dtype!r})"
        )
    if array.ndim != len(spec.shape):
        raise InputError(f"input {spec.name!r} has shape {array.shape}, the model takes {spec}")
    for extent, wanted in zip(array.shape, spec.shape, strict=True):
        if isinstance(wanted, str):
            wanted = extents.setdefault(wanted, extent)  # noqa: PLW2901 - the name's extent
        if extent != wanted:
            raise InputError(
                f"input {spec.name!r} has shape {array.shape}, the model takes {spec}"
                + (f" with {_known(spec, extents)}" if _known(spec, extents) else "")
            )


def _known(spec: TensorSpec, extents: Mapping[str, int]) -> str:
    named = (extent for extent in spec.shape if isinstance(extent, str) and extent in extents)
    return ", ".join(f"{name} = {extents[name]}" for name in named)
