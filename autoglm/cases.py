# SPDX-License-Identifier: Apache-2.0
"""What a program is tried with: inputs, and what the source model makes of them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import InputError, ModelError
from .reference import ATOL, RTOL, Reference, extents, index_limits, seeded
from .tensor import Array, TensorSpec, check_inputs

_SETS = 2  # seeded sets of inputs; dynamic extents of the second are others


@dataclass(frozen=True)
class Check:
    """How results are held against the reference's.

    Attributes:
        seed: Of the inputs.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        typical: Dynamic extents at which to check and to time, by name.
        inputs: Inputs of the caller's, instead of seeded ones.
    """

    seed: int = 0
    rtol: float = RTOL
    atol: float = ATOL
    typical: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Array] | None = None


@dataclass(frozen=True)
class Case:
    """Inputs, and what the source model makes of them: two .npz files."""

    inputs: Path
    outputs: Path


def make(
    folder: Path,
    model: Path,
    specs: Sequence[TensorSpec],
    values: Mapping[str, float],
    check: Check,
) -> tuple[list[Case], str]:
    """Make up inputs, or take the caller's, and run the source model on them.

    Args:
        folder: For the files.
        model: The source model.
        specs: What the model takes once it is ready.
        values: The inputs that have become constants.
        check: What was asked for.

    Returns:
        The cases, the one to time first; and the engine that is the reference, with its version.

    Raises:
        ModelError: The source model cannot be loaded, or does not run.
        InputError: The caller's inputs do not fit.
    """
    reference = Reference(model, values)
    if check.inputs is not None:
        check_inputs(specs, check.inputs)
        return [_write(folder, 0, check.inputs, reference.run(check.inputs))], reference.engine
    limits = index_limits(model)
    cases = []
    for number in range(_SETS):
        sizes = extents(specs, check.typical, number)
        try:
            inputs, outputs = _run(reference, specs, sizes, check.seed + number, limits)
        except ModelError as error:
            if number:  # other extents than usual are more than the model can do
                continue
            raise ModelError(_advice(str(error), sizes)) from error
        cases.append(_write(folder, number, inputs, outputs))
    return cases, reference.engine


def _run(
    reference: Reference,
    specs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    seed: int,
    limits: Mapping[str, int],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs that the model runs on; whole numbers may index a table smaller than is usual."""
    inputs = seeded(specs, sizes, seed, limits)
    try:
        return inputs, reference.run(inputs)
    except ModelError:
        whole = [spec.name for spec in specs if np.dtype(spec.dtype).kind in "iu"]
        if not whole:
            raise
        inputs = seeded(specs, sizes, seed, dict.fromkeys(whole, 2) | dict(limits))
        return inputs, reference.run(inputs)


def _advice(text: str, sizes: Mapping[str, int]) -> str:
    tried = ", ".join(f"{name}={size}" for name, size in sizes.items())
    at = f" with {tried}: say which extents are right (--typical NAME=N)," if tried else ":"
    return f"{text}; tried{at} give inputs (--inputs FILE.npz), or make one constant (--set NAME=X)"


def _write(
    folder: Path, number: int, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> Case:
    case = Case(folder / f"inputs{number}.npz", folder / f"outputs{number}.npz")
    save(case.inputs, inputs)
    save(case.outputs, outputs)
    return case


def save(path: Path, named: Mapping[str, Array]) -> None:
    """Write arrays by name, whatever the names: numpy.savez() has arguments of its own."""
    with zipfile.ZipFile(path, "w") as file:
        for name, array in named.items():
            with file.open(f"{name.replace('/', '%2F')}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def arrays(path: Path) -> dict[str, Array]:
    """What `save`, or numpy.savez(), wrote.

    Raises:
        InputError: It is something else, or has pickles in it, which are not run.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name.replace("%2F", "/"): file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f'"{path}" is no .npz file of arrays: {error}') from None
