# SPDX-License-Identifier: Apache-2.0
"""A model that is ready to be called: `load`."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Collection, Mapping, Sequence

import hal.processor

from .artifact import Artifact
from .backend import Executable, backend
from .closing import Closing
from .device import Device
from .dispatch import Candidate, Choice, choose
from .errors import ArtifactError, DeviceError, Error, InputError
from .files import ArtifactFiles
from .manifest import DECODER, ModelInfo
from .tensor import Array, TensorSpec, check_inputs
from .threads import MOST, check_threads

log = logging.getLogger("autoglm")


def load(
    path: str | os.PathLike[str],
    device: int | str | None = None,
    *,
    threads: int = 0,
    without: Collection[str] = (),
) -> Loaded:
    """Make a model ready on a device.

    Args:
        path: An artifact.
        device: The number, or the kind (``cpu``, ``vulkan`` ...), of the only device to use; None
            for the one on which it is expected to be fastest, and the next when that one fails.
        threads: For one call, where the device is the processor, `threads.MOST` at most; 0 for as
            many as were best when it was compiled, else every one.
        without: Names of candidates that are not to be used (`Candidate.name`).

    Returns:
        The model. The caller closes it, best by ``with``.

    Raises:
        OSError: The artifact cannot be read.
        ArtifactError: It is damaged, or of a later version; the class says which.
        WrongTarget: It holds nothing for the device.
        TargetUnavailable: What it was compiled for, or an engine, is not here.
        DeviceError: There is no such device, or every one failed.
        InputError: It is a language model.
        Error: More threads than there may be.
    """
    check_threads(threads)
    artifact = Artifact(path)
    try:
        _refuse_language(artifact)
        return Loaded(artifact, choose(artifact, device, without), threads)
    except BaseException:
        artifact.close()
        raise


def _refuse_language(artifact: Artifact) -> None:
    if artifact.manifest.model.family == DECODER:
        raise InputError(
            f'load "{artifact.path}": it is a language model, which takes text, not arrays:'
            " autoglm.decoder.load(), or autoglm-runtime --prompt, or as a service"
        )


class Loaded(Closing):
    """A model on a device. Threads may share it; calls wait for one another where the engine must.

    When the device fails, in a call or before, the next candidate is loaded and the call is made
    there: it takes longer, and nobody sees more of it than a warning in the log ``autoglm``.

    Attributes:
        info: The source model.
        choice: Every candidate, and why others were refused.
        candidate: What runs now.
        threads: For one call, where the device is the processor.
        size: Bytes of the artifact.
    """

    info: ModelInfo
    choice: Choice
    candidate: Candidate
    threads: int

    def __init__(self, artifact: Artifact, choice: Choice, threads: int = 0) -> None:
        """Load the first candidate that can be.

        Args:
            artifact: Taken over: `close` closes it.
            choice: From `dispatch.choose`.
            threads: For one call.
        """
        self.info = artifact.manifest.model
        self.choice = choice
        self._artifact = artifact
        self.size = artifact.size
        self._threads = threads
        self._waiting = list(choice.candidates)
        self._reasons: list[str] = []
        self._done: list[tuple[Executable, ArtifactFiles]] = []
        self._lock = threading.Lock()
        self._executable: Executable | None = self._next()

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What it takes."""
        return self.info.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What it gives."""
        return self.info.outputs

    @property
    def device(self) -> Device:
        """Where it runs now."""
        return self.candidate.device

    @property
    def concurrent(self) -> bool:
        """Whether calls of several threads run at once, and not one after the other."""
        return self._executable is not None and self._executable.concurrent

    @property
    def counters(self) -> Mapping[str, int]:
        """What the device has counted since it was loaded, as `Executable.counters`."""
        return self._executable.counters if self._executable is not None else {}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: An array for each of `inputs`; not changed, and not kept.

        Returns:
            An array for each of `outputs`, the caller's own.

        Raises:
            InputError: They do not fit the model.
            DeviceError: Every device failed; the sentence says how each did.
        """
        check_inputs(self.info.inputs, inputs)
        return self.run(inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """As a call, with inputs that `tensor.check_inputs` has seen already."""
        while True:
            executable = self._executable
            if executable is None:
                raise self._closed()
            try:
                if executable.concurrent:
                    return executable.run(inputs)
                with self._lock:
                    if executable is self._executable:
                        return executable.run(inputs)
            except DeviceError as error:
                self._give_up(executable, error)

    async def acall(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """As a call, for asyncio: the event loop goes on meanwhile."""
        return await asyncio.to_thread(self, inputs)

    def close(self) -> None:
        """Give device and artifact back; once nobody is in a call."""
        with self._lock:
            self._executable = None
            self._waiting.clear()
            for executable, files in self._done:
                executable.close()
                files.close()
            self._done.clear()
            self._artifact.close()

    def _give_up(self, executable: Executable, error: DeviceError) -> None:
        """Put the next candidate in the place of one that failed."""
        with self._lock:
            if executable is not self._executable:
                return  # another thread's call has done it
            self._note(error)
            try:  # calls that meet the failed one meanwhile wait for the lock, and try again
                self._executable = self._next()
            except BaseException:
                self._executable = None
                raise

    def _next(self) -> Executable:
        while self._waiting:
            self.candidate = self._waiting.pop(0)
            program = self.candidate.program
            files = ArtifactFiles(self._artifact, program)
            threads = self._threads or (program.latency.threads if program.latency else 0)
            threads = min(threads, MOST)  # the artifact may be of a larger machine
            self.threads = threads or hal.processor.info().cores
            try:
                files.check()
                executable = backend(program.backend).load(
                    program, files, self.candidate.device, threads
                )
            except (Error, OSError, MemoryError) as error:
                files.close()
                if isinstance(error, ArtifactError) and not self._waiting:
                    raise
                self._note(error)
                continue
            self._done.append((executable, files))
            log.info("%s: %s", self.info.name, self.candidate)
            return executable
        raise self._closed()

    def _note(self, error: BaseException) -> None:
        said = str(error) or type(error).__name__  # a MemoryError has no words
        self._reasons.append(f"{self.candidate.name}: {said}")
        left = f", {len(self._waiting)} left" if self._waiting else ", none is left"
        log.warning("%s: %s failed%s: %s", self.info.name, self.candidate.name, left, said)

    def _closed(self) -> DeviceError:
        reasons = "; ".join(self._reasons) or "it was closed"
        return DeviceError(f"run {self.info.name}: no device is left: {reasons}; load it anew")
