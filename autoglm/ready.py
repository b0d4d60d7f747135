# SPDX-License-Identifier: Apache-2.0
"""What a model made ready for the engines is, and what is fixed of it before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .tensor import TensorSpec


@dataclass(frozen=True)
class Pins:
    """What is fixed before anything is compiled.

    Attributes:
        extents: Dynamic extents by name: ``{"batch": 1}``.
        shapes: Inputs by name: ``{"x": (1, 3, 224, 224)}``.
        values: Inputs that become constants: ``{"sr": 16000}``.
    """

    extents: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


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
