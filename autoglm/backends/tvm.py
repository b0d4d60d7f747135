# SPDX-License-Identifier: Apache-2.0
"""Apache TVM (https://tvm.apache.org): Relax and LLVM into a shared object for a processor.

Shared objects for this machine run here; those for Arm and RISC-V are for a machine with TVM's
runtime, which its packages bring for x86-64 and Arm only; on another machine nothing runs them,
not even emulated, so nothing checks them there. Nothing is tuned.
"""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..child import report
from ..device import Device
from ..errors import ArtifactError, DeviceError
from ..manifest import Program
from ..target import Target
from ..tensor import Array
from .elf import check_whole
from .processor import host_level, runs_here
from .signature import Signature, operators

FILE = "model.so"

_INSTALL = "pip install 'open-autoglm[tvm]'"
_TARGETS: Mapping[str, Mapping[str, Any]] = {
    "aarch64": {"mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]},
    "riscv64": {
        "mtriple": "riscv64-linux-gnu",
        "mcpu": "generic-rv64",
        "mattr": ["+m", "+a", "+f", "+d", "+c"],
        "mabi": "lp64d",
    },
}
"""What LLVM is told of other processors."""
_THREADS_BIG = 1  # of TVM's runtime.config_threadpool: the fastest cores first


class TvmBackend(Backend):
    """TVM. Its threads are one pool in a process: the last number asked for holds."""

    name = "tvm"
    extra = "tvm"

    def can_compile(self, target: Target) -> Availability | None:
        """For processors, where TVM and a linker for the target are here."""
        if target.kind not in {"cpu", *_TARGETS}:
            return None
        if find_spec("tvm") is None:
            return Availability(False, "apache-tvm is not installed", _INSTALL)
        compiler = _linker(target)
        if shutil.which(compiler) is None:
            package = "-".join(["g++", *compiler.split("-")[:-1]])  # as Debian calls it
            return Availability(False, f"no {compiler} to link with", f"apt install {package}")
        return Availability(True, f"tvm {version('apache-tvm')}")

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Import into Relax, fuse, generate code, link."""
        import onnx
        import tvm
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx
        from tvm.support import cc

        report("tvm: importing")
        module = from_onnx(onnx.load(model), keep_params_in_input=False)
        module = relax.get_pipeline("zero")(module)
        told = _told(target)
        report(f"tvm: compiling for {target}")
        built = tvm.compile(module, tvm.target.Target(told))
        built.export_library(str(folder / FILE), fcompile=cc.cross_compiler(_linker(target)))
        return Compiled(
            {FILE: folder / FILE},
            f"tvm {version('apache-tvm')}",
            tuple(f"{name}={value}" for name, value in told.items()),
            Target("cpu", str(told.get("mcpu", ""))).features,
            operators(model),
            _kernels(module),
            Signature.of(model).to_notes(),
        )

    def devices(self) -> Sequence[Device]:
        """None: only the processor is used."""
        return []

    def can_run(self, program: Program, device: Device) -> Availability:
        """On this machine's processor, when the code is for it; on none that is emulated."""
        if device.emulated:
            return Availability(False, "TVM's runtime is not run emulated")
        if device.kind != "cpu":
            return Availability(False, f"a program for {program.target} does not run on {device}")
        if find_spec("tvm") is None:
            return Availability(False, "apache-tvm is not installed", _INSTALL)
        return runs_here(Target.parse(program.target), program.features, device)

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Load the shared object, and start its virtual machine."""
        return _Machine(program, files, threads)


class _Machine(Executable):
    """A shared object of TVM, in this process."""

    def __init__(self, program: Program, files: Files, threads: int) -> None:
        import tvm
        import tvm_ffi
        from tvm import relax

        signature = Signature.from_notes(program.notes)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        check_whole(files.view(FILE), FILE)
        try:
            # tvm.runtime's own follows the link that the path is, to a name without .so
            library = tvm_ffi.load_module(files.path(FILE), keep_module_alive=False)
            self._machine = relax.VirtualMachine(library, tvm.cpu())
            self._main = self._machine["main"]
        except Exception as error:  # of no one kind: what dlopen(3) says, what TVM says
            raise ArtifactError(f"{FILE} is no program of TVM: {_first_line(error)}") from error
        self._tensor = tvm.runtime.tensor
        if threads:
            tvm.get_global_func("runtime.config_threadpool")(_THREADS_BIG, threads)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copy the inputs, run, and copy what it made."""
        try:
            given = [self._tensor(np.asarray(inputs[spec.name], order="C")) for spec in self.inputs]
            made = self._main(*given)
            results = [made] if len(self.outputs) == 1 and hasattr(made, "numpy") else list(made)
            return {
                spec.name: result.numpy()
                for spec, result in zip(self.outputs, results, strict=True)
            }
        except Exception as error:
            raise DeviceError(f"tvm failed: {_first_line(error)}") from error

    def close(self) -> None:
        """Let go of the program."""
        del self._main, self._machine


def _told(target: Target) -> dict[str, Any]:
    if target.kind == "cpu":
        mcpu = target.variant or host_level()
        return {"kind": "llvm", **({"mcpu": mcpu} if mcpu else {})}
    told: dict[str, Any] = {"kind": "llvm", **_TARGETS[target.kind]}
    if target.variant == "v":
        told["mattr"] = [*told["mattr"], "+v"]
    return told


def _linker(target: Target) -> str:
    """The C++ compiler that links for a target."""
    kind = "x86_64" if target.variant.startswith("x86-64") else target.kind
    if kind in {"cpu", platform.machine()}:
        return "g++"
    return f"{kind}-linux-gnu-g++"


def _kernels(module: Any) -> dict[str, int]:
    """How often each kernel that fusion left is called."""
    from tvm import relax

    called: Counter[str] = Counter()

    def look(expression: Any) -> None:
        if isinstance(expression, relax.Call) and "call_tir" in str(expression.op):
            called[expression.args[0].name_hint] += 1

    relax.analysis.post_order_visit(module["main"], look)
    return dict(called)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:400]
