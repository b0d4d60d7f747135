# SPDX-License-Identifier: Apache-2.0
"""Back ends that are wrong, each in one way that the conformance suite must notice.

The one they are made from, `Interpreter`, is right: onnx.reference, as autoglm-new-backend has it.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoglm.backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from autoglm.backends.signature import Signature, operators
from autoglm.device import Device
from autoglm.errors import ArtifactError, CompileError, DeviceError, Error
from autoglm.manifest import Program
from autoglm.target import Target
from autoglm.tensor import Array

FILE = "model.onnx"


class Interpretation(Executable):
    """A model, interpreted."""

    def __init__(self, program: Program, model: memoryview) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        signature = Signature.from_notes(program.notes)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        try:
            loaded = onnx.load_model_from_string(bytes(model))
            self.evaluator = ReferenceEvaluator(loaded)
        except Exception as error:
            raise ArtifactError(f"{FILE} is no model: {error}") from error
        if not loaded.graph.output:
            raise ArtifactError(f"{FILE} has no outputs")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        try:
            found = self.evaluator.run([spec.name for spec in self.outputs], dict(inputs))
        except Exception as error:
            raise DeviceError(str(error)) from error
        results = (np.array(array) for array in found)
        return {spec.name: result for spec, result in zip(self.outputs, results, strict=True)}

    def close(self) -> None:
        pass


class Interpreter(Backend):
    """Right. Those below have `caught_by`, the check that must fail, and `seen`, what it says."""

    name = "interpreter"
    extra = "cpu"
    executable: ClassVar[type[Interpretation]] = Interpretation
    caught_by: ClassVar[str] = ""
    seen: ClassVar[str] = ""

    def can_compile(self, target: Target) -> Availability | None:
        return Availability(True, "it does") if target == Target("cpu") else None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        import onnx
        from onnx.reference import ReferenceEvaluator

        ReferenceEvaluator(onnx.load(model))
        shutil.copyfile(model, folder / FILE)
        notes = Signature.of(model).to_notes()
        return Compiled({FILE: folder / FILE}, "interpreter 1", (), (), operators(model), {}, notes)

    def devices(self) -> Sequence[Device]:
        return []

    def can_run(self, program: Program, device: Device) -> Availability:
        return Availability(device.kind == "cpu", "it runs on processors")

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        return self.executable(program, files.view(FILE))


ALL: list[type[Interpreter]] = []


def broken(caught_by: str, seen: str) -> Any:
    """Put a class among `ALL`; a broken way of running becomes a back end that runs so."""

    def mark(thing: type) -> type:
        made = thing
        if issubclass(thing, Interpretation):
            made = type(
                thing.__name__, (Interpreter,), {"executable": thing, "__module__": __name__}
            )
        made.caught_by, made.seen = caught_by, seen  # type: ignore[attr-defined]
        ALL.append(made)
        return made

    return mark


# ---- what is said --------------------------------------------------------------------------------


@broken("named", "no such word")
class CapitalName(Interpreter):
    name = "Interpreter 2"


@broken("targets", "without a reason")
class SaysNoWithoutReason(Interpreter):
    def can_compile(self, target: Target) -> Availability | None:
        return Availability(target.kind == "cpu", "")


@broken("targets", "and then")
class ChangesItsMind(Interpreter):
    asked = 0

    def can_compile(self, target: Target) -> Availability | None:
        self.asked += 1
        return Availability(target.kind == "cpu" or self.asked % 2 == 0, "sometimes")


@broken("honest", "it says that it compiles for mlu")
class PromisesMlu(Interpreter):
    def can_compile(self, target: Target) -> Availability | None:
        return Availability(True, "of course") if target.kind in {"cpu", "mlu"} else None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        if target.kind == "mlu":
            raise Error("not really")
        return super().compile(model, target, options, folder)


@broken("honest", "it compiles for aarch64, and says")
class CompilesAnything(Interpreter):
    def can_compile(self, target: Target) -> Availability | None:
        return Availability(target == Target("cpu"), "for cpu") if target.kind != "npu" else None


@broken("devices", "numbered|number 0")
class NumbersItsDevices(Interpreter):
    def devices(self) -> Sequence[Device]:
        return [Device(7, "vulkan", "mine", "vulkan:0")]


@broken("devices", "one address")
class SameDeviceTwice(Interpreter):
    def devices(self) -> Sequence[Device]:
        return [Device(0, "vulkan", "mine", "vulkan:0")] * 2


@broken("elsewhere", "could run on a aarch64 device")
class RunsAnywhere(Interpreter):
    def can_run(self, program: Program, device: Device) -> Availability:
        return Availability(True, "why not")


@broken("features", "could run without")
class IgnoresFeatures(Interpreter):
    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        return replace(super().compile(model, target, options, folder), features=("sse4_2",))


# ---- what is compiled ----------------------------------------------------------------------------


@broken("compiled", "not plain|otherwise from JSON")
class NotesOfObjects(Interpreter):
    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        made = super().compile(model, target, options, folder)
        return replace(made, notes={**made.notes, "shape": (1, 2)})


@broken("compiled", "it refuses matrix products.*; it refuses a linear layer of 8 bits")
class RefusesEveryModel(Interpreter):
    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        raise CompileError("not that one")


@broken("explained", "it tells of")
class InventsOperators(Interpreter):
    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        made = super().compile(model, target, options, folder)
        return replace(made, operators={"Conv": 1})


@broken("no_model", "as if nothing were wrong")
class TakesAnything(Interpreter):
    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        try:
            return super().compile(model, target, options, folder)
        except Exception:  # noqa: BLE001 - that is what is wrong with it
            shutil.copyfile(model, folder / FILE)
            return Compiled({FILE: folder / FILE}, "interpreter 1")


# ---- what is computed ----------------------------------------------------------------------------


@broken("values_linear", "further apart")
class SlightlyWrong(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: array * np.float32(1.01) for name, array in super().run(inputs).items()}


@broken("values_double", "float32")
class LosesBits(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = super().run(inputs)
        return {
            name: array.astype(np.float32) if array.dtype == np.float64 else array
            for name, array in found.items()
        }


@broken("values_dynamic", r"\{'batch': 1\}")
class RemembersItsFirstShape(Interpretation):
    rows = 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.rows = self.rows or len(next(iter(inputs.values())))
        padded = {
            name: np.resize(each, (self.rows, *each.shape[1:])) for name, each in inputs.items()
        }
        return super().run(padded)


@broken("values_linear", "it gives")
class OutputsInAnyOrder(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(reversed(super().run(inputs).items()))


@broken("again", "other inputs give the same")
class RemembersItsFirstResult(Interpretation):
    first: dict[str, Array] | None = None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.first = self.first or super().run(inputs)
        return {name: array.copy() for name, array in self.first.items()}


# ---- how it is called ----------------------------------------------------------------------------


@broken("described", "the model")
class ForgetsExtents(Interpretation):
    def __init__(self, program: Program, model: memoryview) -> None:
        super().__init__(program, model)
        self.inputs = tuple(replace(spec, shape=spec.shape[::-1]) for spec in self.inputs)


@broken("wrong_inputs", "no input 'x'")
class TakesNothing(Interpretation):
    def __init__(self, program: Program, model: memoryview) -> None:
        super().__init__(program, model)
        self.inputs = ()


@broken("inputs_kept", "changed an input")
class ScalesInPlace(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = super().run(inputs)
        for array in inputs.values():
            array.setflags(write=True)
            array[...] = 0
        return found


@broken("inputs_kept", "read-only")
class WantsToWrite(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for array in inputs.values():
            if not array.flags.writeable:
                raise DeviceError("an input is read-only")
        return super().run(inputs)


@broken("inputs_let_go", "refers to an input")
class KeepsInputs(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.kept = list(inputs.values())
        return super().run(inputs)


@broken("outputs_own", "cannot be written to|changes|changed|after")
class LendsItsOutputs(Interpretation):
    lent: ClassVar[dict[str, Array]] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for name, array in super().run(inputs).items():
            kept = self.lent.setdefault(name, array)
            kept[...] = array
        return dict(self.lent)


@broken("outputs_own", "after close")
class TakesOutputsBack(Interpretation):
    given: list[Array]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = super().run(inputs)
        self.given = list(found.values())
        return found

    def close(self) -> None:
        for array in getattr(self, "given", []):
            array[...] = 0


@broken("other_thread", "thread")
class OneThreadOnly(Interpretation):
    def __init__(self, program: Program, model: memoryview) -> None:
        super().__init__(program, model)
        self.mine = threading.get_ident()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if threading.get_ident() != self.mine:
            raise DeviceError("another thread")
        return super().run(inputs)


@broken("concurrent", "one thread got|busy")
class ClaimsConcurrent(Interpretation):
    concurrent = True

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.current = inputs
        os.sched_yield()
        threading.Event().wait(0.001)
        return super().run(self.current)


@broken("gives_back", "descriptors")
class KeepsDescriptors(Interpretation):
    def __init__(self, program: Program, model: memoryview) -> None:
        super().__init__(program, model)
        self.left = os.dup(0)


# ---- what is damaged -----------------------------------------------------------------------------


@broken("checksums", "instead")
class HidesChecksums(Interpreter):
    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        try:
            return super().load(program, files, device, threads)
        except ArtifactError as error:
            raise DeviceError(str(error)) from None


@broken("damaged_files", "it raises")
class TrustsFiles(Interpreter):
    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        if len(files.view(FILE)) < 16:
            raise IndexError("index out of range")
        return super().load(program, files, device, threads)


@broken("damaged_files", "and it runs")
class PlaysOn(Interpreter):
    """With what it loaded before."""

    last: ClassVar[Executable | None] = None

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        try:
            return super().load(program, files, device, threads)
        except ArtifactError:
            return super().load(program, Kept(Path(__file__).parent), device, threads)


class Kept(Files):
    """A model that is always there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def view(self, name: str) -> memoryview:
        from autoglm.conformance.models import LINEAR

        return memoryview(LINEAR.build().SerializeToString())

    def path(self, name: str) -> Path:
        return self.folder / name


@broken("damaged_notes", "KeyError")
class TrustsNotes(Interpreter):
    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        program.notes["inputs"]
        return super().load(program, files, device, threads)


# ---- not one of ALL ------------------------------------------------------------------------------


class _Crash(Interpretation):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(inputs)


class Dies(Interpreter):
    """Takes its process with it when it runs."""

    executable = _Crash
