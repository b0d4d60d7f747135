# SPDX-License-Identifier: Apache-2.0
"""What a program is tried with: inputs, and what the source model makes of them."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from .errors import InputError, ModelError
from .output import replacement
from .reference import ATOL, RTOL, Reference, extents, index_limits, seeded
from .tensor import Array, TensorSpec, check_inputs

_SETS = 2  # seeded sets of inputs; dynamic extents of the second are others
_SINGLE = b"\x93NUMPY"  # how a .npy file begins: one array, without a name
_BROKEN = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)  # what numpy and zipfile raise for a file that is not right


@dataclass(frozen=True)
class Check:
    """How results are held against the reference's.

    Attributes:
        seed: Of the inputs; 0 or more.
        rtol: Relative tolerance; finite, 0 or more.
        atol: Absolute tolerance; finite, 0 or more.
        typical: Dynamic extents at which to check and to time, by name.
        inputs: Inputs of the caller's, instead of seeded ones.

    Raises:
        InputError: Seed or tolerance is out of range.
    """

    seed: int = 0
    rtol: float = RTOL
    atol: float = ATOL
    typical: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Array] | None = None

    def __post_init__(self) -> None:
        """Nothing would be right, or everything, by tolerances that are no numbers."""
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: a seed is 0 or more")
        for name, bound in (("rtol", self.rtol), ("atol", self.atol)):
            if not (math.isfinite(bound) and bound >= 0):
                raise InputError(f"{name} {bound:g}: a tolerance is a finite number, 0 or more")


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
    for path, named in ((case.inputs, inputs), (case.outputs, outputs)):
        with open(path, "wb") as file:
            _put(file, named)
    return case


def usual(specs: Sequence[TensorSpec], check: Check) -> dict[str, int]:
    """The dynamic extents at which a model is timed, by name.

    Args:
        specs: What it takes.
        check: Its inputs fit, where it has some.
    """
    if check.inputs is None:
        return extents(specs, check.typical)
    return {
        name: size
        for spec in specs
        for name, size in zip(spec.shape, check.inputs[spec.name].shape, strict=True)
        if isinstance(name, str)
    }


def save(path: Path, named: Mapping[str, Array]) -> None:
    """Write arrays by name: whole, or not at all.

    Args:
        path: Where to; replaced when it is there, behind a link where it is one.
        named: Whatever the names: numpy.savez() has arguments of its own.

    Raises:
        OutputError: It cannot be written, or what is there is no regular file.
    """
    with replacement(path) as file:
        _put(file, named)


def _put(to: IO[bytes], named: Mapping[str, Array]) -> None:
    with zipfile.ZipFile(to, "w") as file:
        for name, array in named.items():
            with file.open(f"{name.replace('/', '%2F')}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def arrays(path: Path) -> dict[str, Array]:
    """What `save`, or numpy.savez(), wrote, in the byte order of this machine.

    Raises:
        InputError: It is something else, or has pickles in it, which are not run.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for who writes it
            raise InputError(f'read "{path}": it is no regular file')
        with open(path, "rb") as file:
            if file.read(len(_SINGLE)) == _SINGLE:
                raise InputError(
                    f'read "{path}": it is a single array, which has no name:'
                    " numpy.savez(FILE, NAME=array) makes a file of named ones"
                )
    except OSError as error:
        raise InputError(f'read "{path}": {error.strerror}') from None
    if not zipfile.is_zipfile(path):
        raise InputError(f'"{path}" is no .npz file of arrays, as numpy.savez() writes it')
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name.replace("%2F", "/"): _array(path, found, name) for name in found.files}
    except _BROKEN as error:
        raise InputError(f'"{path}" is no .npz file of arrays: {error}') from None


def _array(path: Path, found: Mapping[str, Array], name: str) -> Array:
    """One of them; where numpy would tell how to run what is not trusted, we do not."""
    try:
        array = found[name]
    except _BROKEN as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f'read "{path}": {name!r} holds Python objects, not numbers: convert it:'
                " array.astype(...)"
            ) from None
        raise InputError(f'read "{path}": {name!r} cannot be read: {error}') from None
    if not isinstance(array, np.ndarray):
        raise InputError(f'read "{path}": {name!r} is no array: numpy.savez() writes such files')
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
