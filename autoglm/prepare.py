# SPDX-License-Identifier: Apache-2.0
"""A model read, made ready, and run once on the reference: the first step of a compile.

It is called in a child (`autoglm.child`): what reads models may crash, and takes much memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import cases, importers
from .cases import Case, Check
from .child import report
from .errors import ModelError
from .importers import Source
from .ready import Clean, Pins
from .tensor import TensorSpec


@dataclass(frozen=True)
class Prepared:
    """What the engines and the checks need.

    Attributes:
        source: The model as it was read.
        clean: The model as the engines get it.
        cases: Inputs, and what is right for them.
        reference: The engine that says so, with its version.
    """

    source: Source
    clean: Clean
    cases: Sequence[Case]
    reference: str


def prepare(model: str, folder: Path, pins: Pins, check: Check) -> Prepared:
    """Read a model, make it ready, and find out what it computes from some inputs.

    Raises:
        ModelError: A typical extent is of none that is dynamic.
        Error: As the importers, `cleanup.clean` and `cases.make`.
    """
    from .cleanup import clean

    made, ready = folder / "source", folder / "clean"
    made.mkdir()
    ready.mkdir()
    source = importers.read(model, made)
    report("making the model ready")
    cleaned = clean(source.path, ready, pins)
    _check_typical(cleaned.inputs, check.typical)
    report("running the source model")
    check = replace(check, typical={**source.typical, **check.typical})
    tried, engine = cases.make(folder, source.path, cleaned.inputs, pins.values, check)
    typical = cases.usual(cleaned.inputs, check)
    source = replace(source, details={**source.details, "typical": typical})
    return Prepared(source, cleaned, tried, engine)


def _check_typical(specs: Sequence[TensorSpec], typical: Mapping[str, int]) -> None:
    dynamic = dict.fromkeys(each for spec in specs for each in spec.shape if isinstance(each, str))
    for name, extent in typical.items():
        if name not in dynamic:
            there = f"there are: {', '.join(dynamic)}" if dynamic else "there is none"
            takes = ", ".join(map(str, specs))
            raise ModelError(f"no dynamic extent is called {name!r}, {there}; it takes {takes}")
        if extent < 1:
            raise ModelError(f"{name!r} is typically {extent}: an extent is 1 or more")
