# SPDX-License-Identifier: Apache-2.0
"""What an artifact says of itself: the JSON in it, as dataclasses (docs/artifact.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .tensor import TensorSpec

GRAPH, DECODER = "graph", "decoder"
"""The families of models: arrays in and out, and language models that generate."""


@dataclass(frozen=True)
class Blob:
    """A run of bytes in the artifact.

    Attributes:
        offset: From the beginning of the file, a multiple of `artifact.ALIGNMENT`.
        length: In bytes.
        sha256: Of those bytes, in hexadecimal.
    """

    offset: int
    length: int
    sha256: str


@dataclass(frozen=True)
class ModelInfo:
    """The source model.

    Attributes:
        name: For people: a file's stem, or a recipe's name.
        sha256: Of the source ONNX, in hexadecimal.
        inputs: What it takes.
        outputs: What it gives.
        family: `GRAPH` or `DECODER`.
        details: What the family needs besides, such as a decoder's configuration, and where the
            weights come from; of a graph, ``typical``.
    """

    name: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    family: str = GRAPH
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def typical(self) -> Mapping[str, int]:
        """The dynamic extents at which it was timed, by name; empty where the maker kept none."""
        found: Mapping[str, int] = self.details.get("typical", {})
        return found


@dataclass(frozen=True)
class Accuracy:
    """How near the program came to the reference on seeded inputs.

    Attributes:
        reference: The engine that ran the source model, with its version.
        seed: Of the inputs.
        rtol: Relative tolerance that was held.
        atol: Absolute tolerance that was held.
        worst: The largest absolute difference seen.
    """

    reference: str
    seed: int
    rtol: float
    atol: float
    worst: float


@dataclass(frozen=True)
class Latency:
    """How long one call took on the machine that compiled.

    Attributes:
        median_ms: Milliseconds.
        p99_ms: Milliseconds.
        calls: How many were timed.
        machine: Which machine that was.
        threads: How many each call had: the number that was best there; 0 for every one.
    """

    median_ms: float
    p99_ms: float
    calls: int
    machine: str
    threads: int = 0


@dataclass(frozen=True)
class Program:
    """The model as compiled by one engine for one target.

    Attributes:
        target: What it was compiled for, as text: ``cpu:x86-64-v3``.
        backend: Name of the back end that made it and can load it.
        engine: Engine and version: ``iree 3.13.0``.
        files: Blob of each file that the back end made, by the file's name.
        features: What the processor must have, by the names of /proc/cpuinfo.
        options: What the engine was told.
        accuracy: The check against the reference; None where nothing on the machine that compiled
            can run it, and then `unchecked` says why.
        unchecked: Why there is no check or no latency; empty when there are both. Where only the
            latency is missing it begins with "not timed: ", and says what ran in place of the
            target.
        latency: None where it could not run, or not on the target itself.
        notes: What the back end keeps for itself.
    """

    target: str
    backend: str
    engine: str
    files: Mapping[str, str]
    features: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    accuracy: Accuracy | None = None
    unchecked: str = ""
    latency: Latency | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """All of it.

    Attributes:
        model: The source model.
        programs: One or more.
        blobs: By name.
        source: Name of the blob with the source ONNX, kept as fall-back; empty when there is none.
        maker: What wrote the file: ``open-autoglm 0.1.0``.
    """

    model: ModelInfo
    programs: tuple[Program, ...]
    blobs: Mapping[str, Blob]
    source: str = ""
    maker: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "maker": self.maker,
            "model": {
                "name": self.model.name,
                "sha256": self.model.sha256,
                "family": self.model.family,
                "inputs": [spec.to_json() for spec in self.model.inputs],
                "outputs": [spec.to_json() for spec in self.model.outputs],
                "details": dict(self.model.details),
            },
            "programs": [_program_to_json(program) for program in self.programs],
            "blobs": {name: vars(blob) for name, blob in self.blobs.items()},
            "source": self.source,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """From plain values.

        Raises:
            KeyError, TypeError, ValueError: It is no manifest, or names a blob that is not there.
        """
        model = value["model"]
        manifest = cls(
            ModelInfo(
                str(model["name"]),
                str(model["sha256"]),
                tuple(TensorSpec.from_json(spec) for spec in model["inputs"]),
                tuple(TensorSpec.from_json(spec) for spec in model["outputs"]),
                str(model["family"]),
                _details(model["details"]),
            ),
            tuple(_program_from_json(program) for program in value["programs"]),
            {str(name): _blob_from_json(blob) for name, blob in value["blobs"].items()},
            str(value["source"]),
            str(value["maker"]),
        )
        _check_names(manifest)
        return manifest


def _details(value: Mapping[str, Any]) -> dict[str, Any]:
    for name, extent in value.get("typical", {}).items():
        if type(extent) is not int or extent < 0:
            raise ValueError(f"typical {name!r}: an extent is 0 or more, not {extent!r}")
    return dict(value)


def _program_to_json(program: Program) -> dict[str, Any]:
    return {
        "target": program.target,
        "backend": program.backend,
        "engine": program.engine,
        "files": dict(program.files),
        "features": list(program.features),
        "options": list(program.options),
        "accuracy": program.accuracy and vars(program.accuracy),
        "unchecked": program.unchecked,
        "latency": program.latency and vars(program.latency),
        "notes": dict(program.notes),
    }


def _program_from_json(value: Mapping[str, Any]) -> Program:
    accuracy, latency = value["accuracy"], value["latency"]
    return Program(
        str(value["target"]),
        str(value["backend"]),
        str(value["engine"]),
        {str(name): str(blob) for name, blob in value["files"].items()},
        tuple(map(str, value["features"])),
        tuple(map(str, value["options"])),
        accuracy and Accuracy(**accuracy),
        str(value["unchecked"]),
        latency and Latency(**latency),
        dict(value["notes"]),
    )


def _blob_from_json(value: Mapping[str, Any]) -> Blob:
    blob = Blob(int(value["offset"]), int(value["length"]), str(value["sha256"]))
    if blob.offset < 0 or blob.length < 0:
        raise ValueError("a blob begins before the file, or has less than no bytes")
    return blob


def _check_names(manifest: Manifest) -> None:
    named = [name for program in manifest.programs for name in program.files.values()]
    for name in named + ([manifest.source] if manifest.source else []):
        if name not in manifest.blobs:
            raise ValueError(f"no blob {name!r}")
