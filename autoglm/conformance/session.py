# SPDX-License-Identifier: Apache-2.0
"""A back end under trial, and what was made with it so far: models, artifacts, right values."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from hal.conformance.outcome import Broken, NotApplicable

from .. import artifact
from ..artifact import Artifact
from ..backend import Backend, Compiled, CompileOptions, Executable, Files
from ..backends.signature import Signature
from ..device import DEVICE_OF_TARGET, Device
from ..devices import processor_for
from ..errors import Error
from ..files import ArtifactFiles
from ..manifest import ModelInfo, Program
from ..reference import Reference
from ..target import Target
from ..tensor import Array, TensorSpec
from .models import BASES, Model
from .subject import Subject, no_compile

SEED = 20


class Refused(NotApplicable):
    """A back end does not take a model."""


class Session:
    """What checks work with.

    Attributes:
        subject: What is tried.
        backend: The back end.
        target: What is compiled for.
        folder: Where models and artifacts are; another process may have made them.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject.resolved()
        self.backend: Backend = subject.make()
        self.target = Target.parse(self.subject.target)
        self.folder = folder

    def model(self, model: Model) -> Path:
        """The ONNX file of a model."""
        path = self.folder / f"{model.name}.onnx"
        if not path.exists():
            onnx.save(model.build(), path)
        return path

    def signature(self, model: Model) -> Signature:
        """What it takes and gives."""
        return Signature.of(self.model(model))

    def compiled(self, model: Model) -> tuple[Compiled, Path]:
        """What the back end made of a model, and the artifact with it; compiled once.

        Raises:
            Refused: By the back end, with a reason.
            NotApplicable: It does not compile for the target here.
        """
        if reason := no_compile(self.backend, self.target):
            raise NotApplicable(reason)
        kept, made = self.folder / f"{model.name}.compiled", self.folder / f"{model.name}.glm"
        refused = self.folder / f"{model.name}.refused"
        if refused.exists():
            raise Refused(refused.read_text("utf-8"))
        if not made.exists():
            try:
                compiled = self.compile(model)
            except Refused as reason:
                refused.write_text(str(reason), "utf-8")
                raise
            kept.write_bytes(pickle.dumps(compiled))
            self._write(made, model, compiled)
        found: Compiled = pickle.loads(kept.read_bytes())  # noqa: S301 - written by us, above
        return found, made

    def compile(self, model: Model) -> Compiled:
        """Compile a model now; see `compiled`."""
        folder = self.folder / f"{model.name}.files"
        folder.mkdir(exist_ok=True)
        try:
            return self.backend.compile(
                self.model(model), self.target, CompileOptions(explain=model in BASES), folder
            )
        except Error as error:
            reason = f"it refuses {model.what}: {error}"
        except Exception as error:  # noqa: BLE001 - as the compiler takes it: the engine's fault
            reason = f"its engine fails on {model.what}: {type(error).__name__}: {error}"
        raise Refused(" ".join(reason.split())[:300])

    @cached_property
    def basis(self) -> Model:
        """What most checks work with: the first of `BASES` that the back end takes.

        Where it does not compile for the target here at all, the first of them.

        Raises:
            Broken: It refuses them all.
        """
        refusals = []
        for model in BASES:
            refusal = self._refusal(model)
            if not refusal:
                return model
            refusals.append(refusal)
        raise Broken("; ".join(refusals))

    def _refusal(self, model: Model) -> str:
        """Why the back end does not take a model; empty where it does, or is not asked."""
        try:
            self.compiled(model)
        except Refused as reason:
            return str(reason)
        except NotApplicable:
            pass  # every use of it says why
        return ""

    @cached_property
    def device(self) -> Device:
        """Where programs for the target run here.

        Raises:
            NotApplicable: Nowhere.
        """
        kind, wanted = self.target.kind, self.subject.device
        if kind == "cpu" or kind in DEVICE_OF_TARGET:
            among = [processor_for(self.target)]
        else:
            among = [device for device in self.backend.devices() if device.kind == kind]
        for device in among:
            if not device.problem and wanted in ("", device.address):
                return device
        raise NotApplicable(f"there is no {kind} device here that it can use")

    @contextlib.contextmanager
    def opened(self, model: Model | None = None) -> Iterator[tuple[Program, Files]]:
        """A program of a model, else of the basis, and its files."""
        _, path = self.compiled(model or self.basis)
        with Artifact(path) as opened:
            program = opened.manifest.programs[0]
            files = ArtifactFiles(opened, program)
            try:
                yield program, files
            finally:
                files.close()

    @contextlib.contextmanager
    def loaded(self, model: Model | None = None, threads: int = 0) -> Iterator[Executable]:
        """A model, else the basis, on the device; closed at the end.

        Raises:
            NotApplicable: There is no device, or it says that it cannot run there.
        """
        device = self.device
        with self.opened(model) as (program, files):
            can = self.backend.can_run(program, device)
            if not can.here:
                raise NotApplicable(f"it cannot run on {device}: {can}")
            executable = self.backend.load(program, files, device, threads)
            try:
                yield executable
            finally:
                executable.close()

    def inputs(
        self, model: Model, sizes: Mapping[str, int] | None = None, seed: int = SEED
    ) -> dict[str, Array]:
        """Seeded inputs of a model."""
        random = np.random.default_rng(seed)
        sizes = sizes or model.extents[0]
        return {spec.name: _random(random, spec, sizes) for spec in self.signature(model).inputs}

    def right(self, model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What ONNX Runtime makes of them."""
        return Reference(self.model(model)).run(inputs)

    def _write(self, path: Path, model: Model, compiled: Compiled) -> None:
        """As the compiler writes it."""
        signature = self.signature(model)
        source = hashlib.sha256(self.model(model).read_bytes()).hexdigest()
        info = ModelInfo(model.name, source, signature.inputs, signature.outputs)
        program = Program(
            str(self.target),
            self.backend.name,
            compiled.engine,
            {},
            tuple(compiled.features),
            tuple(compiled.options),
            notes=compiled.notes,
        )
        artifact.write(path, info, [(program, compiled.files)])


def _random(random: np.random.Generator, spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    shape = [sizes[extent] if isinstance(extent, str) else extent for extent in spec.shape]
    kind = np.dtype(spec.dtype)
    if kind.kind == "f":
        return np.asarray(random.standard_normal(shape)).astype(kind)
    low, high = (0, 2) if kind.kind == "b" else (-9 if kind.kind == "i" else 0, 10)
    return np.asarray(random.integers(low, high, shape)).astype(kind)
