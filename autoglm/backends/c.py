# SPDX-License-Identifier: Apache-2.0
"""C: a model as plain loops, compiled by the C compiler (docs/light.md).

For ``cpu`` it is a shared object that is called in this process; for ``aarch64`` and ``riscv64``
the static executable of `autoglm.light`, run beside; on an emulated processor under user-mode QEMU.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..device import Device
from ..errors import ArtifactError, CompileError, DeviceError
from ..light.emit import executable, shared_object
from ..light.generate import Generated, engine, generate, nbytes
from ..light.toolchain import FAST, Toolchain, builds_libhal, toolchain
from ..manifest import Program
from ..target import Target
from ..tensor import Array, TensorSpec
from .elf import check_whole
from .signature import operators

SHARED_OBJECT = "model.so"
PROGRAM = "model"
LARGEST = 1_000_000
"""Weights of a model that is compiled for ``cpu``."""


class CBackend(Backend):
    """emx-onnx-cgen and GCC."""

    name: ClassVar[str] = "c"
    extra: ClassVar[str] = "riscv"

    def can_compile(self, target: Target) -> Availability | None:
        """It needs the generator, a compiler, and for other machines what makes libhal for them."""
        chain = toolchain(target)
        if chain is None:
            return None
        if not engine():
            return Availability(
                False, "emx-onnx-cgen is not installed", "pip install open-autoglm[riscv]"
            )
        missing = chain.missing() or (builds_libhal() if target.kind != "cpu" else None)
        return missing or Availability(True, f"{engine()}, {chain.compiler}")

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Compile; the code runs on one thread, whatever the options say."""
        del options
        _refuse_constant_outputs(model)
        if target.kind == "cpu":
            _refuse_slow(model)
        generated = generate(model)
        chain = toolchain(target)
        if chain is None:
            raise CompileError(f"there is no C compiler for {target}")
        if target.kind == "cpu":
            file = folder / SHARED_OBJECT
            shared_object(generated, chain, file)
        else:
            file = folder / PROGRAM
            executable(generated, chain, file)
        return Compiled(
            files={file.name: file},
            engine=engine(),
            options=(*FAST, *chain.flags),
            features=target.features,
            operators=operators(model),
            notes=notes_of(generated, chain),
        )

    def devices(self) -> Sequence[Device]:
        """None but the processor."""
        return ()

    def can_run(self, program: Program, device: Device) -> Availability:
        """On the processor that it is for, this machine's or an emulated one."""
        if device.kind != "cpu" and not device.emulated:
            return Availability(False, f"it runs on the processor, not on {device}")
        machine = str(program.notes.get("machine"))
        if machine != device.machine:
            return Availability(False, f"a program for {machine} does not run on {device.machine}")
        if device.problem:
            return Availability(False, device.problem)
        if SHARED_OBJECT in program.files:
            return Availability(not device.emulated, f"code for {machine}, called in this process")
        by = f", emulated by {Path(device.address).name}" if device.emulated else ""
        return Availability(True, f"a program for {machine}{by}")

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Load the shared object, or start the program."""
        del threads
        inputs = _specs(program, "inputs")
        outputs = _specs(program, "outputs")
        if SHARED_OBJECT in program.files:
            check_whole(files.view(SHARED_OBJECT), SHARED_OBJECT)
            return _Called(files.path(SHARED_OBJECT), inputs, outputs)
        emulator = [device.address] if device.emulated else []
        return _Started([*emulator, str(files.path(PROGRAM))], inputs, outputs)


def _refuse_constant_outputs(model: Path) -> None:
    """emx-onnx-cgen writes nothing where an output is a constant."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    constants = {each.name for each in graph.initializer}
    for node in graph.node:
        if not set(node.input) - constants:
            constants |= set(node.output)
    for output in graph.output:
        if output.name in constants:
            raise CompileError(
                f"output {output.name!r} is a constant, for which no code is written"
            )


def _refuse_slow(model: Path) -> None:
    """Where there are engines for the processor, plain loops are of use for small models only."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    shapes = {each.name: each.dims for each in graph.initializer}
    pictures = any(
        node.op_type == "Conv" and len(shapes.get(node.input[1], ())) > 3 for node in graph.node
    )
    if pictures or sum(map(math.prod, shapes.values())) > LARGEST:
        raise CompileError(
            "plain loops are slower than an engine where a model has convolutions over pictures or"
            f" more than {LARGEST} weights"
        )


def notes_of(generated: Generated, chain: Toolchain) -> dict[str, Any]:
    """What `CBackend.load` needs to know of a program."""
    return {
        "machine": chain.machine,
        "inputs": [spec.to_json() for spec in generated.inputs],
        "outputs": [spec.to_json() for spec in generated.outputs],
    }


def _specs(program: Program, which: str) -> tuple[TensorSpec, ...]:
    try:
        return tuple(TensorSpec.from_json(spec) for spec in program.notes[which])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the program does not say what its {which} are: {error}") from error


class _Model(ctypes.Structure):
    """``struct glm_model``, up to what is used of it."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("input_count", ctypes.c_size_t),
        ("output_count", ctypes.c_size_t),
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("run", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
    )


class _Called(Executable):
    """The shared object, called on the arrays as they are."""

    concurrent = True

    def __init__(
        self, path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        try:
            self._library = ctypes.CDLL(str(path))
            model = _Model.in_dll(self._library, "glm_program")
        except (OSError, ValueError) as error:
            raise ArtifactError(f"load the compiled model: {error}") from error
        if (model.input_count, model.output_count) != (len(inputs), len(outputs)):
            raise ArtifactError("the compiled model has other inputs or outputs than its program")
        self._run = model.run
        self._pointers = (ctypes.c_void_p * len(inputs), ctypes.c_void_p * len(outputs))
        self._made = [
            (spec.name, np.dtype(spec.dtype), [int(extent) for extent in spec.shape])
            for spec in outputs
        ]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Call it, without the GIL."""
        given = [np.ascontiguousarray(inputs[spec.name]) for spec in self.inputs]
        made = {name: np.empty(shape, dtype) for name, dtype, shape in self._made}
        takes, gives = self._pointers
        if self._run(
            takes(*[array.ctypes.data for array in given]),
            gives(*[array.ctypes.data for array in made.values()]),
        ):
            raise DeviceError("run the compiled model: memory is not enough")
        return made

    def close(self) -> None:
        """Nothing is held but the code, which stays mapped."""


class _Started(Executable):
    """The program: tensors go to it, and come from it, by pipes."""

    def __init__(
        self, command: list[str], inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise DeviceError(f"start the compiled program: {error}") from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all inputs, read all outputs."""
        stdin, stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
        given = b"".join(np.ascontiguousarray(inputs[spec.name]).tobytes() for spec in self.inputs)
        # Beside the reading: a program may write before it has read all.
        writer = threading.Thread(target=_write, args=(stdin, given))
        writer.start()
        made = {}
        for spec in self.outputs:
            data = stdout.read(nbytes(spec))
            if len(data) < nbytes(spec):
                writer.join()
                raise DeviceError(f"the compiled program ended: {self._last_words()}")
            made[spec.name] = np.frombuffer(bytearray(data), spec.dtype).reshape(spec.shape)
        writer.join()
        return made

    def _last_words(self) -> str:
        self._process.kill()
        _, said = self._process.communicate()
        return said.decode("utf-8", "replace").strip() or f"status {self._process.returncode}"

    def close(self) -> None:
        """Its input ends, and so does it."""
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise DeviceError("the compiled program has no pipes")
    return pipe


def _write(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended: the reader says so
        pipe.write(data)
        pipe.flush()
