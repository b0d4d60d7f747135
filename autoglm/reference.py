# SPDX-License-Identifier: Apache-2.0
"""What is right: seeded inputs, what ONNX Runtime computes from them, how near a result comes.

The reference is ONNX Runtime on the source model, on the processor, without its optimisations: each
operator as its author wrote it. Products of 8-bit integers are exact, also where ONNX Runtime's own
are not (`autoglm.saturation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import saturation
from .errors import ModelError
from .tensor import Array, TensorSpec

RTOL = 1e-3
"""Relative tolerance, unless another is asked for."""
ATOL = 1e-4
"""Absolute tolerance, unless another is asked for."""
TOKENS = 1000
"""Whole numbers are below it, where the model does not say how many there are."""


@dataclass(frozen=True)
class Difference:
    """How far outputs are from those of the reference.

    Attributes:
        worst: The largest absolute difference.
        complaint: What is out of tolerance; empty when nothing is.
    """

    worst: float
    complaint: str = ""


def extents(
    specs: Sequence[TensorSpec], typical: Mapping[str, int], step: int = 0
) -> dict[str, int]:
    """A number for every dynamic extent.

    Args:
        specs: The inputs.
        typical: Those that were told, by name.
        step: 0 for the extents at which a model is timed; more for others to check it at. Told ones
            stay as they are.
    """
    found: dict[str, int] = {}
    for spec in specs:
        for axis, name in enumerate(spec.shape):
            if isinstance(name, str):
                usual, by = _usual(spec, axis)
                found.setdefault(name, typical.get(name, usual + step * by))
    return found


def _usual(spec: TensorSpec, axis: int) -> tuple[int, int]:
    """Batches of one, pictures of 224 by 224, sequences of 32; and what to vary them by."""
    if axis == 0:
        return 1, 1
    if len(spec.shape) == 4 and axis >= 2:
        return 224, 32
    return 32, 8


def seeded(
    specs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    seed: int,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """Inputs that are the same for the same seed.

    Args:
        specs: What the model takes.
        sizes: A number for each dynamic extent.
        seed: Any number.
        limits: By input, the first whole number that is too large; see `index_limits`.

    Returns:
        Real numbers of a normal distribution, whole ones from 0 on; masks are of ones, since one
        that hides everything makes any model compute nothing.
    """
    random = np.random.default_rng(seed)
    limits = limits or {}
    return {spec.name: _random(random, spec, sizes, limits.get(spec.name)) for spec in specs}


def _random(
    random: np.random.Generator, spec: TensorSpec, sizes: Mapping[str, int], limit: int | None
) -> Array:
    shape = [sizes[extent] if isinstance(extent, str) else extent for extent in spec.shape]
    kind = np.dtype(spec.dtype)
    if "mask" in spec.name.lower():
        return np.ones(shape, kind)
    if kind.kind == "f":
        return np.asarray(random.standard_normal(shape)).astype(kind)
    if kind.kind == "b":
        return np.asarray(random.integers(0, 2, shape)).astype(kind)
    if kind.kind in "iu":
        largest = min(int(np.iinfo(kind).max), TOKENS if limit is None else limit - 1)
        return np.asarray(random.integers(0, max(largest, 0) + 1, shape)).astype(kind)
    raise ModelError(f"input {spec}: no inputs can be made up of this type; give some (--inputs)")


def index_limits(path: Path) -> dict[str, int]:
    """By input, how many rows the table has that it indexes, where that can be seen."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    tables = {each.name: each.dims[0] for each in model.graph.initializer if each.dims}
    same = {each.name: each.name for each in model.graph.input}
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze"}:
            if node.input[0] in same:
                same[node.output[0]] = same[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in tables and node.input[1] in same:
            name = same[node.input[1]]
            found[name] = min(found.get(name, tables[node.input[0]]), tables[node.input[0]])
    return found


class Reference:
    """ONNX Runtime on the source model. One thread at a time.

    Attributes:
        engine: Engine and version.
    """

    def __init__(self, model: Path, values: Mapping[str, float] | None = None) -> None:
        """Load the model.

        Args:
            model: An ONNX file.
            values: Inputs that are the same in every call.

        Raises:
            ModelError: ONNX Runtime cannot.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        try:
            made = saturation.exact(model)
            if made:
                options.add_session_config_entry(saturation.FOLDER, str(model.absolute().parent))
            self._session = onnxruntime.InferenceSession(
                made.SerializeToString() if made else str(model),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:
            raise ModelError(f'"{model}": ONNX Runtime cannot load it: {error}') from error
        self._names = [each.name for each in self._session.get_outputs()]
        self._values = {
            each.name: np.full(each.shape, (values or {})[each.name], _numpy_type(each.type))
            for each in self._session.get_inputs()
            if each.name in (values or {})
        }

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What is right for these inputs.

        Raises:
            ModelError: ONNX Runtime cannot compute it.
        """
        try:
            found = self._session.run(self._names, {**inputs, **self._values})
        except Exception as error:
            raise ModelError(f"the source model does not run on its inputs: {error}") from error
        return dict(zip(self._names, map(np.asarray, found), strict=True))


def _numpy_type(kind: str) -> str:
    """As numpy calls what ONNX Runtime calls tensor(...)."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def difference(
    got: Mapping[str, Array], wanted: Mapping[str, Array], rtol: float, atol: float
) -> Difference:
    """Hold outputs against the reference's.

    Real numbers may differ by ``atol + rtol * abs(wanted)``, NaN is where NaN is wanted; everything
    else is equal.
    """
    worst = 0.0
    for name, want in wanted.items():
        have = got.get(name)
        if have is None:
            return Difference(np.inf, f"output {name!r} is missing")
        if have.dtype != want.dtype or have.shape != want.shape:
            return Difference(
                np.inf,
                f"output {name!r} is {have.dtype}{list(have.shape)}, the source model's is"
                f" {want.dtype}{list(want.shape)}",
            )
        if not want.size:
            continue
        if want.dtype.kind not in "fc":
            if not np.array_equal(have, want):
                wrong = int(np.count_nonzero(have != want))
                return Difference(np.inf, f"output {name!r}: {wrong} of {want.size} are not equal")
            continue
        apart, complaint = _apart(name, have, want, rtol, atol)
        worst = max(worst, apart)
        if complaint:
            return Difference(worst, complaint)
    return Difference(worst)


def _apart(name: str, have: Array, want: Array, rtol: float, atol: float) -> tuple[float, str]:
    same = (have == want) | (np.isnan(have) & np.isnan(want))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(same, 0, np.abs(have.astype(np.float64) - want))
        near = apart <= atol + rtol * np.abs(want.astype(np.float64))
    over = ~same & ~(near & np.isfinite(want))  # infinite ones are the same, or wrong
    apart = np.nan_to_num(apart, nan=np.inf)
    worst = float(apart.max())
    if not over.any():
        return worst, ""
    where = tuple(map(int, np.unravel_index(int(np.argmax(np.where(over, apart, -1))), want.shape)))
    return worst, (
        f"output {name!r}{list(where)} is {have[where]!s}, the source model's is {want[where]!s};"
        f" {int(over.sum())} of {want.size} are further apart than {atol:g} + {rtol:g} of the value"
    )
