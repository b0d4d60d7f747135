# SPDX-License-Identifier: Apache-2.0
"""Back ends that fail in the ways in which engines fail. A test installs them for itself."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import onnx
from onnx import numpy_helper

from autoglm.backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from autoglm.backends.iree import IreeBackend
from autoglm.backends.onnxruntime import OnnxRuntime
from autoglm.device import Device
from autoglm.errors import CompileError
from autoglm.manifest import Program
from autoglm.target import Target


class _Faulty(OnnxRuntime):
    def can_compile(self, target: Target) -> Availability | None:
        return Availability(True, "it says so") if target.kind == "cpu" else None


class Crashes(_Faulty):
    """As IREE's compiler does on a list of targets."""

    name = "crashes"

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        print("LLVM ERROR: out of registers", file=sys.stderr, flush=True)
        ctypes.string_at(0)
        raise AssertionError


class Hangs(_Faulty):
    name = "hangs"

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        time.sleep(600)
        raise AssertionError


class Swells(_Faulty):
    """Takes memory without end."""

    name = "swells"

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1) * (1 << 20)))
            time.sleep(0.001)


class Refuses(_Faulty):
    name = "refuses"

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        raise CompileError("it has no operator 'Relu'")


class _Altered(Backend):
    """The weights of what it compiles are a hundredth too large."""

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        changed = onnx.load(model)
        for tensor in changed.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype.kind == "f":
                tensor.CopyFrom(
                    numpy_helper.from_array(array * array.dtype.type(1.01), tensor.name)
                )
        onnx.save(changed, folder / "changed.onnx")
        return super().compile(  # type: ignore[safe-super]  # of the class beside this one
            folder / "changed.onnx", target, options, folder
        )


class Wrong(_Altered, _Faulty):
    name = "wrong"


class WrongInIree(_Altered, IreeBackend):
    name = "wrong-in-iree"


class NotHere(IreeBackend):
    """Compiles for every target but this processor."""

    name = "not-here"

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        if target.kind == "cpu":
            raise CompileError("not for this one")
        return super().compile(model, target, options, folder)


class CrashesLater(_Faulty):
    """Passes the check, and crashes when it is timed: there it is told how many threads it has."""

    name = "crashes-later"

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        if threads:
            ctypes.string_at(0)
        return super().load(program, files, device, threads)


class CrashesAtRun(_Faulty):
    """Compiles well, and takes the process with it when it is run."""

    name = "crashes-at-run"

    def load(self, *_: object) -> None:  # type: ignore[override]
        ctypes.string_at(0)
