# SPDX-License-Identifier: Apache-2.0
"""A back end whose devices fail, in the way that the program's notes name.

load      the device cannot be had
lost      it is lost in the third call
always    it fails in each call
crash     the process dies in a call (with ``once``, a file's path: only the first time)
poison    the process reads where nothing is, in a call whose k is 13
hang      a call does not end
slow      a call takes ``seconds``
hungry    a call asks for more memory than there may be
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autoglm.backend import (
    Availability,
    Backend,
    Compiled,
    CompileOptions,
    Executable,
    Files,
    backend,
)
from autoglm.device import Device
from autoglm.errors import DeviceError
from autoglm.manifest import Program
from autoglm.target import Target
from autoglm.tensor import Array


class Faulty(Backend):
    name = "faulty"
    extra = "none"

    def can_compile(self, target: Target) -> Availability | None:
        return None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        raise DeviceError("it compiles nothing")

    def devices(self) -> Sequence[Device]:
        return (Device(0, "vulkan", "a device that fails", "faulty:0"),)

    def can_run(self, program: Program, device: Device) -> Availability:
        return Availability(device.address == "faulty:0", "faulty")

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        if "load" in program.notes:
            raise DeviceError(f"{device}: it cannot be had")
        processor = Device(0, "cpu", "the processor", "cpu")
        engine = backend("onnxruntime").load(program, files, processor, 1)
        return _Faulty(engine, program, device)


class _Faulty(Executable):
    def __init__(self, engine: Executable, program: Program, device: Device) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._engine = engine
        self._notes = program.notes
        self._device = device
        self._calls = 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._calls += 1
        notes = self._notes
        if "always" in notes or ("lost" in notes and self._calls == 3):
            raise DeviceError(f"{self._device}: it was lost")
        if "crash" in notes and _first(notes.get("once")):
            os.kill(os.getpid(), signal.SIGKILL)
        if "poison" in notes and inputs["k"][0] == 13:
            ctypes.string_at(0)
        if "hang" in notes:
            time.sleep(1000)
        if "slow" in notes:
            time.sleep(notes["seconds"])
        if "hungry" in notes and inputs["k"][0] == 13:
            np.ones(1 << 32)
        return self._engine.run(inputs)

    def close(self) -> None:
        self._engine.close()


def _first(path: str | None) -> bool:
    """Whether this is the first time that a file is asked for; without one, it always is."""
    if path is None:
        return True
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
