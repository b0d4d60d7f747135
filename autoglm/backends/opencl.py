# SPDX-License-Identifier: Apache-2.0
"""OpenCL: tinygrad writes the kernels (kernels.py), any driver of OpenCL 1.2 runs them.

An artifact has the kernels as OpenCL C, which each device's driver builds when it is loaded. To run
one takes pyopencl (https://documen.tician.de/pyopencl) and a driver, not tinygrad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..child import report
from ..device import Device
from ..errors import ArtifactError, CompileError, DeviceError
from ..manifest import Program
from ..target import Target
from ..tensor import Array
from . import kernels
from .kernels import Launch, Plan
from .signature import Signature, operators

if TYPE_CHECKING:
    import pyopencl as cl

_INSTALL = "pip install 'open-autoglm[opencl]'"
_DRIVER = "apt install pocl-opencl-icd, or the vendor's OpenCL driver"


class OpenclBackend(Backend):
    """Any OpenCL device."""

    name = "opencl"
    extra = "opencl"

    def can_compile(self, target: Target) -> Availability | None:
        """For OpenCL, where tinygrad and a device for it to build the kernels on are here."""
        if target.kind != "opencl":
            return None
        for module in ("tinygrad", "pyopencl"):
            if find_spec(module) is None:
                return Availability(False, f"{module} is not installed", _INSTALL)
        if not _found():
            return Availability(False, "there is no OpenCL device to build kernels on", _DRIVER)
        return Availability(True, f"tinygrad {version('tinygrad')}")

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Have the kernels written. They are of one shape: no extent may be dynamic.

        Raises:
            CompileError: One is, or tinygrad cannot.
        """
        signature = Signature.of(model)
        if signature.dynamic:
            raise CompileError(
                f"kernels are of one shape, and {', '.join(signature.dynamic)} has no number:"
                f" pin it, --pin {signature.dynamic[0]}=1"
            )
        report("tinygrad: writing kernels")
        made = kernels.lower(model, signature)
        files = {
            kernels.SOURCE: made.source.encode(),
            kernels.PLAN: made.plan.to_json().encode(),
            kernels.WEIGHTS: made.weights,
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return Compiled(
            {name: folder / name for name in files},
            f"tinygrad {version('tinygrad')}",
            operators=operators(model),
            fused=made.launched,
            notes={
                **signature.to_notes(),
                "extensions": list(made.extensions),
                "work_group": made.group,
            },
        )

    def devices(self) -> Sequence[Device]:
        """Every device of every platform."""
        return [_device(address, device) for address, device in _found().items()]

    def can_run(self, program: Program, device: Device) -> Availability:
        """Whether the device is there and has what the kernels need."""
        if device.kind != "opencl":
            return Availability(False, f"a program for {program.target} does not run on {device}")
        if find_spec("pyopencl") is None:
            return Availability(False, "pyopencl is not installed", _INSTALL)
        found = _found().get(device.address)
        if found is None:
            return Availability(False, f"there is no OpenCL device {device.address!r}", _DRIVER)
        lacking = sorted({*program.notes.get("extensions", ())} - device.features)
        if lacking:
            return Availability(False, f"{device.name} lacks {', '.join(lacking)}")
        largest, wanted = found.max_work_group_size, program.notes.get("work_group", 1)
        if wanted > largest:
            return Availability(
                False, f"{device.name} has work groups of {largest}, {wanted} are needed"
            )
        return Availability(True, f"{found.platform.name.strip()} {found.driver_version.strip()}")

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Build the kernels, and give the weights to the device."""
        found = _found().get(device.address)
        if found is None:
            raise DeviceError(f"open {device}: there is no such OpenCL device any more")
        return _Queue(program, files, found)


class _Queue(Executable):
    """Kernels with their arguments set, and the queue that they are put into."""

    def __init__(self, program: Program, files: Files, device: cl.Device) -> None:
        import pyopencl as cl

        signature = Signature.from_notes(program.notes)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._cl = cl
        self._name = device.name.strip()
        plan = Plan.from_json(files.view(kernels.PLAN))
        if (len(plan.inputs), len(plan.outputs)) != (len(self.inputs), len(self.outputs)):
            raise ArtifactError(f"{kernels.PLAN} has other inputs or outputs than the program")
        try:
            self._context = cl.Context([device])
            self._queue = cl.CommandQueue(self._context)
            source = bytes(files.view(kernels.SOURCE)).decode("utf-8", "replace")
            built = cl.Program(self._context, source).build(["-w"])
            buffers = self._kept = self._buffers(plan, files.view(kernels.WEIGHTS))
            for launch in plan.once:
                self._start(*self._bound(built, launch, buffers))
            self._steps = [self._bound(built, launch, buffers) for launch in plan.always]
            self._queue.finish()
        except cl.Error as error:
            raise DeviceError(f"load on {self._name}: {_sentence(error)}") from error
        self._given = [buffers[number] for number in plan.inputs]
        self._made = [buffers[number] for number in plan.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copy the inputs to the device, start every kernel, and copy the outputs back."""
        cl = self._cl
        results = {
            spec.name: np.empty(tuple(map(int, spec.shape)), spec.dtype) for spec in self.outputs
        }
        try:
            for spec, buffer in zip(self.inputs, self._given, strict=True):
                array = np.asarray(inputs[spec.name], order="C")
                cl.enqueue_copy(self._queue, buffer, array, is_blocking=False)
            for kernel, size, group in self._steps:
                self._start(kernel, size, group)
            for array, buffer in zip(results.values(), self._made, strict=True):
                cl.enqueue_copy(self._queue, array, buffer, is_blocking=False)
            self._queue.finish()
        except cl.Error as error:
            raise DeviceError(f"run on {self._name}: {_sentence(error)}") from error
        return results

    def close(self) -> None:
        """Release kernels, buffers, queue."""
        self._steps.clear()
        self._kept.clear()
        self._given.clear()
        self._made.clear()
        del self._queue, self._context

    def _buffers(self, plan: Plan, weights: memoryview) -> list[Any]:
        """Every buffer that is used; weights are copied into theirs."""
        cl = self._cl
        launches = plan.once + plan.always
        used = {*plan.inputs, *plan.outputs, *(n for each in launches for n in each.buffers)}
        made: list[Any] = []
        for number, size in enumerate(plan.sizes):
            flags = cl.mem_flags.READ_WRITE
            made.append(cl.Buffer(self._context, flags, size) if number in used else None)
        for number, offset in plan.weights.items():
            content = weights[offset : offset + plan.sizes[number]]
            if len(content) != plan.sizes[number]:
                raise ArtifactError(f"{kernels.WEIGHTS} ends before {kernels.PLAN} says")
            cl.enqueue_copy(self._queue, made[number], np.frombuffer(content, np.uint8))
        return made

    def _bound(
        self, program: cl.Program, launch: Launch, buffers: Sequence[Any]
    ) -> tuple[cl.Kernel, tuple[int, ...], tuple[int, ...] | None]:
        kernel = self._cl.Kernel(program, launch.kernel)
        kernel.set_args(*(buffers[number] for number in launch.buffers))
        return kernel, launch.size, launch.group

    def _start(
        self, kernel: cl.Kernel, size: tuple[int, ...], group: tuple[int, ...] | None
    ) -> None:
        self._cl.enqueue_nd_range_kernel(self._queue, kernel, size, group)


def _found() -> Mapping[str, cl.Device]:
    """Every OpenCL device, by its address."""
    if find_spec("pyopencl") is None:
        return {}
    import pyopencl as cl

    found = {}
    try:
        for place, platform in enumerate(cl.get_platforms()):
            for number, device in enumerate(platform.get_devices()):
                found[f"opencl:{place}/{number}"] = device
    except cl.Error:  # no platform, or one without a device
        pass
    return found


def _device(address: str, device: cl.Device) -> Device:
    import pyopencl as cl

    kinds = {cl.device_type.CPU: "cpu", cl.device_type.GPU: "gpu"}
    return Device(
        0,
        "opencl",
        device.name.strip(),
        address,
        frozenset(device.extensions.split()),
        device.global_mem_size,
        details={
            "type": next((kind for bit, kind in kinds.items() if device.type & bit), "accelerator"),
            "platform": device.platform.name.strip(),
            "version": device.version.strip(),
            "units": device.max_compute_units,
        },
    )


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
