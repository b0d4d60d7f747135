# SPDX-License-Identifier: Apache-2.0
"""IREE (https://iree.dev): one MLIR compiler for processors and for graphics devices.

It compiles for x86-64, Arm and RISC-V processors, CUDA, ROCm and Vulkan, and runs what it compiled
through its own runtime, except on RISC-V, for which there is none to install; a check for Arm on
another machine runs emulated. The compiler crashes on some command lines, so it is only ever
started as a program of its own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import hal.processor

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..child import report
from ..device import DEVICE_OF_TARGET, Device
from ..errors import ArtifactError, CompileError, DeviceError
from ..manifest import Program
from ..target import Target
from ..tensor import Array
from .iree_emulated import PLACE, EmulatedModule, available
from .processor import host_features, runs_here
from .signature import Signature, largest_matrix, operators
from .tool import run_tool

if TYPE_CHECKING:
    import iree.runtime as rt

FILE = "model.vmfb"

_DOUBLE = "--iree-input-demote-f64-to-f32=false"
"""Otherwise numbers of 64 bits are taken for such of 32."""
_LOCAL = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    _DOUBLE,
)
_RISCV = (
    "--iree-llvmcpu-target-triple=riscv64-unknown-linux-gnu",
    "--iree-llvmcpu-target-cpu=generic-rv64",
    "--iree-llvmcpu-target-abi=lp64d",
)
_CHANNELS_LAST = (
    "--iree-preprocessing-pass-pipeline="
    "builtin.module(util.func(iree-preprocessing-convert-conv-to-channels-last))"
)
"""Convolutions are three to four times faster with it, and some end at all only with it."""

_OPSET = "17"
"""Operators of an older ONNX are taken for those of this one: IREE knows few as they were."""

OLDEST = {"cuda": "sm_75", "rocm": "gfx1100"}
"""The architecture when none is named. PTX of Turing runs on everything later; code for an AMD
device runs on its family only."""

_PTX = (60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 120, 121)
"""NVIDIA's architectures for which it compiles. PTX of one runs on every later one."""
_LATER = {88: "", 90: "a", 100: "af", 101: "af", 103: "af", 110: "af", 120: "af", 121: "af"}
"""Others that there are, and letters that may stand behind: PTX without runs on those as well."""
_GFX = (
    *("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1101", "gfx1103", "gfx1150"),
    *("gfx1151", "gfx1200", "gfx1201", "gfx1250"),
)
"""AMD's, for which it compiles."""

_DRIVERS = {"cuda": "cuda", "rocm": "hip", "vulkan": "vulkan"}
"""What IREE calls the driver of a kind of device."""
_REMEDIES = {
    "cuda": "install NVIDIA's driver: libcuda.so",
    "rocm": "install AMD's HIP runtime: libamdhip64.so",
    "vulkan": "apt install mesa-vulkan-drivers, or the vendor's Vulkan driver",
}
_DISGUISED = re.compile("llvmpipe|swiftshader", re.IGNORECASE)
"""Vulkan devices that are made of the processor, by name."""


class IreeBackend(Backend):
    """IREE.

    Its threads on the processor are one pool in a process: the first number asked for holds.
    """

    name = "iree"
    extra = "iree"

    def can_compile(self, target: Target) -> Availability | None:
        """For what the compiler has code generators, where it is installed."""
        if target.kind not in {"cpu", "aarch64", "riscv64", *_DRIVERS}:
            return None
        if find_spec("iree") is None or find_spec("iree.compiler") is None:
            return Availability(
                False, "iree-base-compiler is not installed", "pip install 'open-autoglm[iree]'"
            )
        try:
            _architecture(target)
        except CompileError as error:
            return Availability(False, str(error))
        return Availability(True, f"iree {version('iree-base-compiler')}")

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Import into MLIR, then compile; what convolutions want is always asked for."""
        from iree.compiler.tools.binaries import find_tool

        signature = Signature.of(model)
        _check_types(signature, target)
        tiling = _tiling(model) if target == Target("cpu") else ()
        flags = [*_flags(target), *tiling, _CHANNELS_LAST]
        module, statistics = folder / "model.mlir", folder / "statistics.json"
        report("iree: importing")
        _import(model, module)
        compiler = [find_tool("iree-compile"), str(module), *flags]
        report(f"iree: compiling for {target}")
        dump = f"--iree-scheduling-dump-statistics-file={statistics}"
        run_tool(
            [*compiler, "--iree-scheduling-dump-statistics-format=json", dump, "-o", FILE], folder
        )
        return Compiled(
            {FILE: folder / FILE},
            f"iree {version('iree-base-compiler')}",
            tuple(flags),
            host_features() if target == Target("cpu") else target.features,
            operators(model),
            _dispatches(compiler, folder) if options.explain else {},
            {**signature.to_notes(), "dispatches": _count(statistics)},
        )

    def devices(self) -> Sequence[Device]:
        """What IREE's drivers for Vulkan, CUDA and HIP find."""
        if not _runtime():
            return []
        return [device for kind in _DRIVERS for device in _found(kind)]

    def can_run(self, program: Program, device: Device) -> Availability:
        """Whether the driver finds the device now, or the processor has what the code needs."""
        target = Target.parse(program.target)
        if device.emulated:
            runs = runs_here(target, program.features, device)
            return available(program, device) if runs.here else runs
        if not _runtime():
            return Availability(
                False, "iree-base-runtime is not installed", "pip install 'open-autoglm[iree]'"
            )
        if device.kind != DEVICE_OF_TARGET.get(target.kind, target.kind):
            return Availability(False, f"a program for {target} does not run on {device}")
        if device.kind == "cpu":
            return runs_here(target, program.features, device)
        return _reachable(device)

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Map the module, and give its weights to the device."""
        if device.emulated:
            return EmulatedModule(program, files.path(FILE), device)
        return _Module(program, files.view(FILE), _open(device, threads))


class _Module(Executable):
    """A module of IREE on a device."""

    def __init__(self, program: Program, view: memoryview, device: rt.HalDevice) -> None:
        import iree.runtime as rt

        signature = Signature.from_notes(program.notes)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._rt = rt
        self._device = device
        self._types = [_element_type(rt, spec.dtype) for spec in self.inputs]
        instance = rt.VmInstance()
        try:
            module = rt.VmModule.from_buffer(instance, view, warn_if_copy=False)
            names = [name for name in module.function_names if _is_entry(name)]
            self._function = module.lookup_function(names[0])
        except (IndexError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{FILE} is no module of IREE: {_first_line(error)}") from None
        try:
            hal = rt.create_hal_module(instance, device)
            self._context = rt.VmContext(instance, [hal, module])
        except (IndexError, ValueError, RuntimeError) as error:
            raise DeviceError(f"iree cannot load the program: {_first_line(error)}") from None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copy the inputs to the device, run, and give what it made."""
        arguments = self._rt.VmVariantList(len(self.inputs))
        results = self._rt.VmVariantList(len(self.outputs))
        try:
            for spec, kind in zip(self.inputs, self._types, strict=True):
                arguments.push_ref(self._to_device(inputs[spec.name], kind))
            self._context.invoke(self._function, arguments, results)
            return {
                spec.name: self._to_host(
                    results.get_as_object(index, self._rt.HalBufferView), spec.dtype
                )
                for index, spec in enumerate(self.outputs)
            }
        except (IndexError, ValueError, RuntimeError) as error:
            raise DeviceError(f"iree failed: {_first_line(error)}") from error

    def close(self) -> None:
        """Let go of module and device."""
        del self._context, self._function, self._device

    def _to_device(self, array: Array, kind: rt.HalElementType) -> rt.HalBufferView:
        rt = self._rt
        return self._device.allocator.allocate_buffer_copy(
            rt.MemoryType.DEVICE_LOCAL,
            rt.BufferUsage.DEFAULT,
            self._device,
            np.asarray(array, order="C"),
            kind,
        )

    def _to_host(self, view: rt.HalBufferView, dtype: str) -> Array:
        rt = self._rt
        buffer = view.get_buffer()
        if not int(buffer.allowed_usage()) & int(rt.BufferUsage.MAPPING_SCOPED):
            buffer = self._staged(buffer, view.byte_length)
        mapped = np.frombuffer(buffer.map(), np.uint8, view.byte_length)
        found: Array = mapped.view(dtype).reshape(view.shape).copy()  # it goes with the device
        return found

    def _staged(self, source: rt.HalBuffer, length: int) -> rt.HalBuffer:
        """A copy of a device's buffer in memory that can be mapped."""
        rt = self._rt
        staging = self._device.allocator.allocate_buffer(
            rt.MemoryType.HOST_LOCAL | rt.MemoryType.DEVICE_VISIBLE,
            rt.BufferUsage.TRANSFER | rt.BufferUsage.MAPPING,
            length,
        )
        commands = rt.HalCommandBuffer(self._device)
        commands.copy(source, staging, 0, 0, length, end=True)
        done = self._device.create_semaphore(0)
        self._device.queue_execute(commands, [], [(done, 1)])
        done.wait(1)
        return staging


def _flags(target: Target) -> tuple[str, ...]:
    """What the compiler is told of the target."""
    if target.kind == "cpu" and not target.variant:
        return (*_LOCAL, "--iree-llvmcpu-target-cpu=host")
    if target.kind == "cpu":
        triple = "--iree-llvmcpu-target-triple=x86_64-unknown-linux-gnu"
        return (*_LOCAL, triple, f"--iree-llvmcpu-target-cpu={target.variant}")
    if target.kind == "aarch64":
        triple = "--iree-llvmcpu-target-triple=aarch64-unknown-linux-gnu"
        return (*_LOCAL, triple, "--iree-llvmcpu-target-cpu=generic")
    if target.kind == "riscv64":
        vectors = ",+v,+zvl128b" if target.variant == "v" else ""
        return (*_LOCAL, *_RISCV, f"--iree-llvmcpu-target-cpu-features=+m,+a,+f,+d,+c{vectors}")
    device = f"--iree-hal-target-device={_DRIVERS[target.kind]}"
    if target.kind == "vulkan":
        return (device,)
    return (device, _DOUBLE, f"--iree-{target.kind}-target={_architecture(target)}")


def _architecture(target: Target) -> str:
    """What the compiler is told for a device: the newest that it knows and that runs there.

    Raises:
        CompileError: None does, or there is no such device.
    """
    asked = target.variant or OLDEST.get(target.kind, "")
    if target.kind == "rocm" and asked not in _GFX:
        raise CompileError(f"iree has no code for {asked}; it has for: {', '.join(_GFX)}")
    if target.kind != "cuda":
        return asked
    number, letter = int(re.sub(r"\D", "", asked)), asked.lstrip("sm_0123456789")
    letters = _LATER.get(number, "" if number in _PTX else None)
    if letters is None or letter not in letters:
        known = sorted({*_PTX, *_LATER})
        raise CompileError(
            f"iree has no code for {asked}; it has for: {', '.join(f'sm_{each}' for each in known)}"
        )
    return f"sm_{max(each for each in _PTX if each <= number)}"


def _tiling(model: Path) -> tuple[str, ...]:
    """Weights that are larger than this machine's second cache lie in tiles that it holds.

    docs/autoglm.md has what that was measured to be worth.
    """
    cache = hal.processor.info().caches.get("L2", 0)
    if not 0 < cache < largest_matrix(model):
        return ()
    return ("--iree-opt-data-tiling", f"--iree-llvmcpu-matmul-tile-bytes={cache}")


def _check_types(signature: Signature, target: Target) -> None:
    """Devices of Vulkan need have no numbers of 64 bits: within a model IREE makes do with 32."""
    for spec in signature.inputs + signature.outputs:
        if target.kind == "vulkan" and spec.dtype == "float64":
            raise CompileError(f"{spec}: code for Vulkan has no numbers of 64 bits")


def _import(model: Path, module: Path) -> None:
    """Write a model as MLIR. It is done by the code of IREE's command, in this process."""
    from iree.compiler.tools.import_onnx import __main__ as command

    arguments = ["--opset-version", _OPSET, "-o", str(module), str(model)]
    command.main(command.parse_arguments(arguments))


def _count(statistics: Path) -> int:
    found = json.loads(statistics.read_text("utf-8"))
    return int(found["stream-aggregate"]["execution"]["dispatch-count"])


def _dispatches(compiler: Sequence[str], folder: Path) -> dict[str, int]:
    """What is left after fusion: how often each kernel is started, as the flow dialect has it."""
    report("iree: counting what fusion left")
    flow = folder / "flow.mlir"
    short = "--mlir-elide-elementsattrs-if-larger=16"
    run_tool([*compiler, "--compile-to=flow", short, "-o", str(flow)], folder)
    started = re.findall(r'flow\.dispatch @"?[^":]*"?::@"?([^"(\s]*)', flow.read_text("utf-8"))
    return dict(Counter(re.sub(r".*_dispatch_\d+_", "", name) for name in started))


def _is_entry(name: str) -> bool:
    """Every function has an asynchronous form besides; the entry is called as the graph was."""
    return name != "__init" and not name.endswith("$async")


def _runtime() -> bool:
    return find_spec("iree") is not None and find_spec("iree.runtime") is not None


def _found(kind: str) -> Sequence[Device]:
    import iree.runtime as rt

    try:
        found = rt.get_driver(_DRIVERS[kind]).query_available_devices()
    except (ValueError, RuntimeError):  # no such driver in this machine
        return []
    return [_device(kind, each) for each in found]


def _device(kind: str, found: Mapping[str, Any]) -> Device:
    disguised = kind == "vulkan" and _DISGUISED.search(str(found["name"]))
    details: dict[str, Any] = {"engine": "iree"}
    if disguised:
        details["type"] = "cpu"
    address = str(found["path"]) or str(found["device_id"])
    return Device(0, kind, str(found["name"]), f"{_DRIVERS[kind]}://{address}", details=details)


def _reachable(device: Device) -> Availability:
    import iree.runtime as rt

    remedy = _REMEDIES[device.kind]
    try:
        rt.get_driver(_DRIVERS[device.kind])
    except (ValueError, RuntimeError) as error:
        return Availability(False, _first_line(error), remedy)
    if device.address not in {each.address for each in _found(device.kind)}:
        return Availability(False, f"iree finds no {device.kind} device {device.address!r}", remedy)
    return Availability(True, f"iree {_version()}")


def _open(device: Device, threads: int) -> rt.HalDevice:
    import iree.runtime as rt

    try:
        if device.kind != "cpu":
            return rt.get_device(device.address, cache=False)
        if threads == 1:
            return rt.get_device("local-sync", cache=False)
        if threads:
            rt.flags.parse_flags(f"--task_topology_max_group_count={threads}")
        return rt.get_device("local-task", cache=False)
    except (ValueError, RuntimeError) as error:
        raise DeviceError(f"iree cannot open {device}: {_first_line(error)}") from error


def _element_type(rt: Any, dtype: str) -> rt.HalElementType:
    from iree.runtime.dtypes import map_dtype_to_hal_element_type

    found = map_dtype_to_hal_element_type(np.dtype(dtype))
    if found is None:
        raise ArtifactError(f"iree has no element type for {dtype}")
    return found


def _version() -> str:
    try:
        return version("iree-base-runtime")
    except PackageNotFoundError:
        return "of an unknown version"


def _first_line(error: BaseException) -> str:
    """What IREE says, without the place in its source."""
    text = str(error).split("\n", 1)[0]
    return PLACE.sub("", text).strip()[:400]
