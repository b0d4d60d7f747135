# SPDX-License-Identifier: Apache-2.0
"""The int8 GEMM unit on an FPGA: linear layers of quantised models there, the rest elsewhere.

The rest is ONNX Runtime's, on the processor. The unit is a HAL device of the
driver ``gemm``, simulated or on a board (docs/fpga.md).
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import hal

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..device import Device
from ..errors import ArtifactError, DeviceError, InputError
from ..fpga.layer import Layer
from ..fpga.partition import Segment, partition
from ..manifest import Program
from ..saturation import make_exact
from ..target import Target
from ..tensor import Array, TensorSpec

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SIMULATED = "gemm:"
PLAN = "plan.json"
"""The parts in their order: a layer as `Layer.to_json` has it, a segment by its file."""

_TILE = "8 x 256 x 8"
"""Rows, depth and columns that the unit multiplies at once."""

_log = logging.getLogger(__name__)


class Fpga(Backend):
    """The unit, and ONNX Runtime for what is between its layers."""

    name: ClassVar[str] = "fpga"
    extra: ClassVar[str] = "fpga"

    def can_compile(self, target: Target) -> Availability | None:
        """Cutting a model needs no board."""
        if target.kind != "fpga":
            return None
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            return Availability(False, str(error), "pip install open-autoglm[fpga]")
        del onnx
        return Availability(True, f"int8 GEMM unit, onnxruntime {onnxruntime.__version__}")

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Cut the model at its linear layers."""
        del target, options
        import onnx
        import onnxruntime

        loaded = onnx.load(model)
        parts = partition(loaded)
        plan = [_write(part, number, folder) for number, part in enumerate(parts)]
        (folder / PLAN).write_text(json.dumps(plan), "ascii")
        layers = [part for part in parts if isinstance(part, Layer)]
        return Compiled(
            files={path.name: path for path in sorted(folder.iterdir())},
            engine=f"gemm, onnxruntime {onnxruntime.__version__}",
            operators=dict(Counter(node.op_type for node in loaded.graph.node)),
            fused={
                **{f"unit: {kind}": n for kind, n in Counter(p.kind for p in layers).items()},
                "processor": len(parts) - len(layers),
            },
            notes={
                "inputs": [spec.to_json() for spec in _specs(loaded.graph.input, loaded.graph)],
                "outputs": [spec.to_json() for spec in _specs(loaded.graph.output, loaded.graph)],
                "layers": len(layers),
            },
        )

    def devices(self) -> Sequence[Device]:
        """The simulated unit, and the boards that have a name: ``hal.bind("fpga", "gemm:...")``."""
        bound = [uri for uri in hal.bindings().values() if uri.startswith("gemm:")]
        return [_device(uri) for uri in dict.fromkeys([*sorted(bound), SIMULATED])]

    def can_run(self, program: Program, device: Device) -> Availability:
        """On a unit that can be opened."""
        if device.kind != "fpga":
            return Availability(False, f"it needs a GEMM unit, which {device} is not")
        problem = device.problem or _problem(device.address)
        if problem:
            return Availability(False, problem)
        return Availability(True, f"{program.notes.get('layers')} layers on {device.name}")

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Open the unit, and make a session of each part for the processor."""
        try:
            plan = json.loads(bytes(files.view(PLAN)))
            steps = [_read(part, files, threads) for part in plan]
            inputs = tuple(TensorSpec.from_json(spec) for spec in program.notes["inputs"])
            outputs = tuple(TensorSpec.from_json(spec) for spec in program.notes["outputs"])
        except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"the plan of the program is ill-formed: {error}") from error
        try:
            unit = hal.Gemm.open(device.address)
        except hal.Error as error:
            raise DeviceError(f"{device}: {error}") from error
        _log.info(
            "%s: %d layers on the unit (tiles of %s), %d parts on the processor with %s",
            device,
            layers := sum(isinstance(step, Layer) for step in steps),
            _TILE,
            len(steps) - layers,
            f"{threads} threads" if threads else "every core",
        )
        return Partitioned(inputs, outputs, steps, unit, device)


def _device(uri: str) -> Device:
    """A unit, and whether it is there."""
    simulated = uri == SIMULATED
    name = "int8 GEMM unit, simulated" if simulated else f"int8 GEMM unit at {uri[5:]}"
    details = {"tile": _TILE, "simulated": simulated}
    return Device(0, "fpga", name, uri, problem=_problem(uri), details=details)


def _problem(uri: str) -> str:
    """Why there is no unit; empty where one can be opened."""
    try:
        hal.Gemm.open(uri).close()
    except hal.Error as error:
        return str(error)
    return ""


# ---- the files -----------------------------------------------------------------------------------


def _write(part: Segment | Layer, number: int, folder: Path) -> dict[str, Any]:
    if isinstance(part, Segment):
        make_exact(part.model)
        file = folder / f"{number}.onnx"
        file.write_bytes(part.model.SerializeToString())
        return {"file": file.name, "inputs": part.inputs, "outputs": part.outputs}
    file = folder / f"{number}.npz"
    np.savez(file, **part.arrays())  # type: ignore[arg-type] # numpy's stub takes them for options
    return {"file": file.name, "layer": part.to_json()}


@dataclass(frozen=True)
class Session:
    """A segment, ready to run on the processor."""

    session: onnxruntime.InferenceSession
    inputs: Sequence[str]
    outputs: Sequence[str]

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The values that it makes."""
        made = self.session.run(self.outputs, {name: values[name] for name in self.inputs})
        return dict(zip(self.outputs, map(np.asarray, made), strict=True))


def _read(part: Mapping[str, Any], files: Files, threads: int) -> Session | Layer:
    import onnxruntime

    data = files.view(part["file"])
    if "layer" in part:
        with np.load(io.BytesIO(data)) as arrays:  # pickled objects are refused
            return Layer.of(part["layer"], dict(arrays))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            bytes(data), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ArtifactError(f"ONNX Runtime cannot load {part['file']!r}: {error}") from error
    return Session(session, part["inputs"], part["outputs"])


def _specs(values: Sequence[onnx.ValueInfoProto], graph: onnx.GraphProto) -> list[TensorSpec]:
    import onnx

    weights = {each.name for each in graph.initializer}
    found = []
    for each in values:
        if each.name in weights:
            continue
        tensor = each.type.tensor_type
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{each.name}_{axis}"
            for axis, dim in enumerate(tensor.shape.dim)
        )
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        found.append(TensorSpec(each.name, np.dtype(dtype).name, shape))
    return found


# ---- running -------------------------------------------------------------------------------------


class Partitioned(Executable):
    """The parts, one after the other."""

    def __init__(
        self,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        steps: Sequence[Session | Layer],
        unit: hal.Gemm,
        device: Device,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._steps, self._unit, self._device = steps, unit, device
        self._counted = _counted(unit)

    @property
    def counters(self) -> dict[str, int]:
        """Runs of the unit, and the clocks they took."""
        return self._counted

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run each part; what the unit did is counted, and logged for debugging."""
        values = dict(inputs)
        try:
            for step in self._steps:
                self._run(step, values)
            before, self._counted = self._counted, _counted(self._unit)
        except hal.Error as error:
            raise DeviceError(f"{self._device}: {error}") from error
        tiles, cycles = (self._counted[name] - count for name, count in before.items())
        _log.debug("%s: %d tiles in %d cycles", self._device, tiles, cycles)
        return {spec.name: values[spec.name] for spec in self.outputs}

    def _run(self, step: Session | Layer, values: dict[str, Array]) -> None:
        if isinstance(step, Layer):
            values[step.name] = step.run(values, self._unit.multiply)
            return
        try:
            values.update(step.run(values))
        except Exception as error:
            raise InputError(f"the model cannot compute these inputs: {error}") from error

    def close(self) -> None:
        """Give the unit back."""
        self._unit.close()


def _counted(unit: hal.Gemm) -> dict[str, int]:
    return {"tiles": unit.tiles, "cycles": unit.cycles}
