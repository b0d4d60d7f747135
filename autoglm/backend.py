# SPDX-License-Identifier: Apache-2.0
"""What an engine has to do to be a back end, and which back ends there are.

A back end is a class below `Backend`, named by an entry point of the group ``autoglm.backends``::

    [project.entry-points."autoglm.backends"]
    acme = "acme_autoglm:AcmeBackend"

docs/backends.md is the guide; ``autoglm.conformance`` holds one against this contract.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from .device import Device
from .errors import Error
from .manifest import Program
from .target import Target
from .tensor import Array, TensorSpec

GROUP = "autoglm.backends"
"""The group of entry points."""


@dataclass(frozen=True)
class Availability:
    """Whether something can be done here.

    Attributes:
        here: It can.
        reason: Why not, one sentence; or what will do it, with its version.
        remedy: What to type to change that; empty where nothing helps.
    """

    here: bool
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.reason + (f" ({self.remedy})" if self.remedy else "")


@dataclass(frozen=True)
class CompileOptions:
    """What a compile was asked for besides its target.

    Attributes:
        threads: How many threads one call will have at run time; 0 for every processor.
        explain: Also find out what `Compiled` says of operators; may cost time.
    """

    threads: int = 0
    explain: bool = False


@dataclass(frozen=True)
class Compiled:
    """What a back end made of a model. Everything in it can be written as JSON.

    Attributes:
        files: What goes into the artifact, by the name under which `Backend.load` asks for it.
        engine: Engine and version.
        options: What the engine was told.
        features: What the processor must have, by the names of /proc/cpuinfo.
        operators: How many operators, by type, before the engine's fusion.
        fused: How many kernels (dispatches) are left after it, by name; empty when it cannot tell.
        notes: What `Backend.load` needs to know.
    """

    files: Mapping[str, Path]
    engine: str
    options: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    fused: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


class Files(ABC):
    """The files of one program of an artifact, as `Backend.load` reads them."""

    @abstractmethod
    def view(self, name: str) -> memoryview:
        """The bytes, mapped read-only, checked, without a copy.

        Raises:
            ArtifactError: There is none of that name, or its checksum does not hold.
        """

    @abstractmethod
    def path(self, name: str) -> Path:
        """A path with the bytes, for engines that read files only; it lives as long as the program.

        Raises:
            ArtifactError: As `view`.
        """


class Executable(ABC):
    """A model on a device, ready to run.

    One thread at a time calls `run`, unless `concurrent` is true. It is made, called and closed in
    one process.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
        concurrent: Several threads may call `run` at once.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    concurrent: bool = False

    @property
    def counters(self) -> Mapping[str, int]:
        """What the device has counted since it was loaded, by name; empty where it counts nothing.

        Read between calls. Each only grows, and is the same for the same call: clocks, not seconds.
        """
        return {}

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: One array for each of `inputs`, of its type and shape: the caller has checked
                them. They are not changed, and not kept after the call.

        Returns:
            One array for each of `outputs`, the caller's own.

        Raises:
            DeviceError: The device failed, or is lost; the executable is of no more use.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the device back. Nobody is in `run`; nothing is called after it."""


class Backend(ABC):
    """An engine that compiles models for targets, and runs what it compiled.

    A back end is made without arguments, cheaply: it imports its engine when it is first needed.
    `compile` runs in a child process of its own, with limits of time and memory, so an engine may
    crash or hang; the other calls must not.

    Attributes:
        name: What artifacts and people call it.
        extra: The extra of open-autoglm that brings the engine: ``pip install open-autoglm[cpu]``.
    """

    name: ClassVar[str]
    extra: ClassVar[str]

    @abstractmethod
    def can_compile(self, target: Target) -> Availability | None:
        """Whether it can compile for a target here; None when it never does."""

    @abstractmethod
    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Compile.

        Args:
            model: An ONNX file, checked and cleaned up.
            target: One for which `can_compile` said yes.
            options: What else was asked for.
            folder: Empty, for the files of the result.

        Raises:
            Error: It cannot; the sentence says why. Anything else that is raised is taken as a
                fault of the engine.
        """

    @abstractmethod
    def devices(self) -> Sequence[Device]:
        """The devices that it could run on, besides the processor, with number 0 each.

        Those that are there but cannot be used say why, in `Device.problem`.
        """

    @abstractmethod
    def can_run(self, program: Program, device: Device) -> Availability:
        """Whether a program of its own can be run on a device here: why not, or by what.

        The device may be an emulated processor (`Device.emulated`), for a check when compiling.
        """

    @abstractmethod
    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Make a program ready on a device.

        Args:
            program: One that `can_run` said yes to.
            files: Its files.
            device: Where.
            threads: For one call, where the device is the processor; 0 for every one.

        Raises:
            DeviceError: The device cannot be had, or lacks memory.
            ArtifactError: The files are not what `compile` made.
        """


@cache
def _installed() -> Mapping[str, Backend | str]:
    """Every entry point by name: its back end, or why it is none."""
    found: dict[str, Backend | str] = {}
    for point in sorted(entry_points(group=GROUP)):
        try:
            made = point.load()()
        except Exception as error:  # noqa: BLE001 - another's package must not be in the way of ours
            found[point.name] = f"{point.value}: {type(error).__name__}: {error}"
            continue
        is_one = isinstance(made, Backend)
        found[point.name] = made if is_one else f"{point.value} is no autoglm.backend.Backend"
    return found


def backends() -> Mapping[str, Backend]:
    """Every back end that is installed, by name."""
    return {name: found for name, found in _installed().items() if isinstance(found, Backend)}


def broken() -> Mapping[str, str]:
    """The entry points that are no back end, and why."""
    return {name: found for name, found in _installed().items() if isinstance(found, str)}


def backend(name: str) -> Backend:
    """The back end of that name.

    Raises:
        Error: It is not installed, or is broken.
    """
    found = _installed().get(name, "it is not installed")
    if isinstance(found, str):
        raise Error(f"no back end {name!r}: {found}; there are: {', '.join(backends())}")
    return found
