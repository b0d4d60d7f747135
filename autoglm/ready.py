# SPDX-License-Identifier: Apache-2.0
"""What a model made ready for the engines is, and what is fixed of it before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ModelError
from .tensor import TensorSpec


@dataclass(frozen=True)
class Pins:
    """What is fixed before anything is compiled.

    Attributes:
        extents: Dynamic extents by name: ``{"batch": 1}``.
        shapes: Inputs by name: ``{"x": (1, 3, 224, 224)}``.
        values: Inputs that become constants: ``{"sr": 16000}``. Real numbers are rounded to the
            input's type; whole ones and truth values have to be right.

    Raises:
        ModelError: An extent is not 1 or more.
    """

    extents: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Engines differ in what they make of what is empty."""
        shapes = ((name, extent) for name, shape in self.shapes.items() for extent in shape)
        for name, extent in (*self.extents.items(), *shapes):
            if extent < 1:
                raise ModelError(f"{name!r} is pinned to {extent}: an extent is 1 or more")


@dataclass(frozen=True)
class Clean:
    """A model that is ready.

    Attributes:
        path: The ONNX file, beside it perhaps a file of weights.
        inputs: What it takes.
        outputs: What it gives.
        before: How many operators it had, by type.
        after: How many it has.
        parameters: How many numbers its weights are.
        notes: What could not be done, one sentence each.
        outside: Its weights are in a file beside.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    before: Mapping[str, int]
    after: Mapping[str, int]
    parameters: int
    notes: tuple[str, ...] = ()
    outside: bool = False
