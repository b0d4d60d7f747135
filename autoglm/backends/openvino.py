# SPDX-License-Identifier: Apache-2.0
"""OpenVINO (https://docs.openvino.ai): processors, and Intel's NPUs.

A program is OpenVINO's IR, which its plug-in for the device compiles when it is loaded.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..device import Device
from ..errors import ArtifactError, CompileError, DeviceError, InputError
from ..manifest import Program
from ..target import Target
from ..tensor import Array
from .signature import Signature, operators

_GRAPH, _WEIGHTS = "model.xml", "model.bin"
_REMEDY = "pip install 'open-autoglm[openvino]'"


class OpenVino(Backend):
    """Every number is kept as it is: nothing is made smaller that the model has in full."""

    name = "openvino"
    extra = "openvino"

    def can_compile(self, target: Target) -> Availability | None:
        """For processors; for NPUs, also where there is none."""
        return _installed() if target.kind in {"cpu", "npu"} else None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Convert to IR; where the device is here, see what its plug-in makes of it."""
        import openvino

        signature = Signature.of(model)
        for spec in signature.inputs + signature.outputs:
            if spec.dtype == "float64":
                raise CompileError(f"{spec}: OpenVINO computes numbers of 64 bits with 32")
        core = _core()
        read = core.read_model(model)
        graph = folder / _GRAPH
        openvino.save_model(read, graph, compress_to_fp16=False)
        fused = Counter[str]()
        if options.explain and target.kind == "cpu":
            made = core.compile_model(read, "CPU", _settings(1))
            fused.update(
                node.get_rt_info()["layerType"].astype(str)
                for node in made.get_runtime_model().get_ops()
            )
        for unreal in ("Input", "Output", "Const"):
            fused.pop(unreal, None)
        return Compiled(
            {_GRAPH: graph, _WEIGHTS: graph.with_suffix(".bin")},
            f"openvino {_version()}",
            tuple(f"{name}={value}" for name, value in _settings(options.threads).items()),
            operators=operators(model),
            fused=dict(fused.most_common()),
            notes=signature.to_notes(),
        )

    def devices(self) -> Sequence[Device]:
        """NPUs."""
        if not _installed().here:
            return ()
        core = _core()
        return [
            Device(0, "npu", str(core.get_property(name, "FULL_DEVICE_NAME")), name)
            for name in core.available_devices
            if name.startswith("NPU")
        ]

    def can_run(self, program: Program, device: Device) -> Availability:
        """On a processor of x86-64 or aarch64, or on an NPU."""
        if device.kind != Target.parse(program.target).kind:
            return Availability(False, f"a program for {program.target} does not run on {device}")
        return _installed()

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Have the plug-in of the device compile it."""
        import openvino

        signature = Signature.from_notes(program.notes)
        plugin = "CPU" if device.kind == "cpu" else device.address
        settings = _settings(threads)
        try:
            weights = _as_if_writable(np.frombuffer(files.view(_WEIGHTS), np.uint8))
            model = _core().read_model(
                bytes(files.view(_GRAPH)), openvino.Tensor(weights, shared_memory=True)
            )
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot read {_GRAPH!r}: {_cause(error)}") from error
        try:
            made = _core().compile_model(model, plugin, settings if plugin == "CPU" else {})
        except RuntimeError as error:
            raise DeviceError(f"{device}: OpenVINO cannot load it: {_cause(error)}") from error
        return _Request(made, signature, weights)


class _Request(Executable):
    """A compiled model, and one request, which is made again and again."""

    def __init__(self, model: Any, signature: Signature, weights: Array) -> None:
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._request = model.create_infer_request()
        self._model = model
        self._weights = weights  # the model may look into it as long as it lives
        ports = enumerate(model.inputs)
        self._inputs = {name: number for number, port in ports for name in port.names}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once."""
        import openvino

        for name, array in inputs.items():
            fit = np.require(array, requirements=["C", "W"])  # a copy only where it must be
            tensor = openvino.Tensor(fit, shared_memory=True)
            self._request.set_input_tensor(self._inputs[name], tensor)
        try:
            self._request.infer()
        except RuntimeError as error:
            text = _cause(error)
            if "alloc" in text or "memory" in text:
                raise DeviceError(f"memory was not enough: {text}") from error
            raise InputError(f"the model cannot compute these inputs: {text}") from error
        return {
            spec.name: self._request.get_output_tensor(number).data.copy()
            for number, spec in enumerate(self.outputs)
        }

    def close(self) -> None:
        """End the request."""
        del self._request, self._model, self._weights


def _as_if_writable(array: Array) -> Array:
    """The same memory: OpenVINO does not write to weights, but takes nothing that is read-only."""
    memory = (ctypes.c_uint8 * array.nbytes).from_address(array.ctypes.data)
    memory.kept = array  # type: ignore[attr-defined]
    return np.asarray(memoryview(memory).cast("B"))


def _settings(threads: int) -> dict[str, Any]:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return {**settings, "INFERENCE_NUM_THREADS": threads} if threads else settings


def _installed() -> Availability:
    if importlib.util.find_spec("openvino") is None:
        return Availability(False, "OpenVINO is not installed", _REMEDY)
    return Availability(True, f"openvino {_version()}")


def _version() -> str:
    import openvino

    return str(openvino.__version__).partition("-")[0]


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _cause(error: Exception) -> str:
    """The last line says why; those before it say where in OpenVINO."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
