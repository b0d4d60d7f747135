# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime (https://onnxruntime.ai), on processors: runs everything, and is the reference.

Products of 8-bit integers that a processor without VNNI would get wrong are made exact: for this
processor when compiling, for any when loading on one that needs it (`autoglm.saturation`).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import hal.processor

from .. import saturation
from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..device import Device
from ..errors import ArtifactError, DeviceError, InputError
from ..manifest import Program
from ..target import Target
from ..tensor import Array, TensorSpec

if TYPE_CHECKING:
    import onnxruntime

_MODEL, _WEIGHTS = "model.onnx", "model.weights"
_SPIN = "500"
"""Microseconds that a thread waits for its next part without sleeping: as long as it takes until
the next call of a client that makes one after the other. By default it is more than 50 ms, in which
it takes a processor from others."""
_LARGER = 1.25  # how much constants that were folded may add to what is kept


class OnnxRuntime(Backend):
    """Models optimised ahead: once for every processor, or for this one."""

    name = "onnxruntime"
    extra = "cpu"

    def can_compile(self, target: Target) -> Availability | None:
        """Processors for which there is a wheel of it."""
        return _installed() if target.kind in {"cpu", "aarch64"} else None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Fuse operators ahead, so that loading does not have to."""
        import onnxruntime

        here = target == Target("cpu")
        exact = saturation.exact(model)
        made = exact if here and saturation.saturates(hal.processor.info()) else None
        level = "all" if here else "extended"
        kept = folder / _MODEL
        weights = model.with_name(_WEIGHTS)
        source = made.SerializeToString() if made else str(model)
        session = _session(onnxruntime, source, level, 1, kept, beside=model.parent)
        fused = _operators(kept)
        del session
        folded = not weights.exists() and kept.stat().st_size <= _LARGER * model.stat().st_size
        files = {_MODEL: kept}
        if not folded:
            if isinstance(source, bytes):
                kept.write_bytes(source)
            else:
                shutil.copyfile(model, kept)
            if weights.exists():
                files[_WEIGHTS] = weights
        return Compiled(
            files,
            f"onnxruntime {onnxruntime.__version__}",
            (f"graph_optimization_level={level}", *([saturation.OPTION] if made else [])),
            tuple(sorted(hal.processor.info().features & _SIMD)) if here and folded else (),
            _operators(model),
            fused,
            {"optimised": folded, "saturates": exact is not None and made is None},
        )

    def devices(self) -> Sequence[Device]:
        """None besides the processor."""
        return ()

    def can_run(self, program: Program, device: Device) -> Availability:
        """On a processor with the features that the program needs.

        What is optimised for any processor is one graph for all of them: for an emulated one it is
        run by this machine's engine.
        """
        if device.kind == Target.parse(program.target).kind and device.emulated:
            here = _installed()
            return Availability(True, any_processors(here.reason)) if here.here else here
        if device.kind != "cpu":
            return Availability(False, f"onnxruntime runs on the processor, not on {device}")
        lacking = [name for name in program.features if name not in device.features]
        if lacking:
            return Availability(False, f"the processor lacks {', '.join(lacking)}")
        return _installed()

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Make a session."""
        import onnxruntime

        threads = threads or hal.processor.info().cores
        level = "all"
        kept = files.view(_MODEL)
        model: memoryview | bytes = kept
        if program.notes.get("saturates", True) and saturation.saturates(hal.processor.info()):
            model = _exact(kept)
        outside = {_WEIGHTS: files.view(_WEIGHTS)} if _WEIGHTS in program.files else {}
        try:
            session = _session(onnxruntime, model, level, threads, outside=outside)
        except MemoryError as error:
            raise DeviceError(f"{device}: memory is not enough for the model") from error
        except Exception as error:
            text = f"onnxruntime {onnxruntime.__version__} cannot load {_MODEL!r}: {error}"
            if "bad_alloc" in str(error) or "allocate memory" in str(error):
                raise DeviceError(f"{device}: memory is not enough: {text}") from error
            raise ArtifactError(text) from error
        return _Session(session)


_SIMD = frozenset({"avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_tile"})
"""What layouts that are chosen for this very processor depend on."""


class _Session(Executable):
    """A session of ONNX Runtime; any number of threads may run it."""

    concurrent = True

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = tuple(map(_spec, session.get_inputs()))
        self.outputs = tuple(map(_spec, session.get_outputs()))
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once."""
        try:
            found = self._session.run(self._names, inputs)
        except Exception as error:
            text = str(error)
            if "bad_alloc" in text or "allocate memory" in text:
                raise DeviceError(f"memory was not enough: {text}") from error
            raise InputError(f"the model cannot compute these inputs: {text}") from error
        return dict(zip(self._names, found, strict=True))

    def close(self) -> None:
        """End the session."""
        del self._session


def any_processors(engine: str) -> str:
    """By what a graph for another machine's processor was run here.

    Args:
        engine: ONNX Runtime, with its version.
    """
    return f"the graph is any processor's: {engine} ran it on {platform.machine()}"


def _installed() -> Availability:
    if importlib.util.find_spec("onnxruntime") is None:
        return Availability(
            False, "ONNX Runtime is not installed", "pip install 'open-autoglm[cpu]'"
        )
    import onnxruntime

    return Availability(True, f"onnxruntime {onnxruntime.__version__}")


def _session(
    engine: Any,
    model: str | memoryview | bytes,
    level: str,
    threads: int,
    kept: Path | None = None,
    outside: Mapping[str, memoryview] | None = None,
    beside: Path | None = None,
) -> onnxruntime.InferenceSession:
    options = engine.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    affinities = _affinities(threads)
    if affinities:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN)
    options.graph_optimization_level = getattr(
        engine.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}"
    )
    if kept:
        options.optimized_model_filepath = str(kept)
    if beside:
        options.add_session_config_entry(saturation.FOLDER, str(beside.absolute()))
    if outside:
        views = list(outside.values())
        options.add_external_initializers_from_files_in_memory(
            list(outside), views, [view.nbytes for view in views]
        )
    data = bytes(model) if isinstance(model, memoryview) else model
    return engine.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _exact(model: memoryview) -> memoryview | bytes:
    """For this processor, a model that was kept as it is for those that do not need it changed.

    Source models are, and programs that do not say what they are.
    """
    import onnx

    try:
        loaded = onnx.load_from_string(bytes(model))
    except Exception as error:  # whatever protobuf raises
        raise ArtifactError(f"{_MODEL!r} is no model: {error}") from error
    return loaded.SerializeToString() if saturation.make_exact(loaded) else model


def _affinities(threads: int) -> str:
    """A processor for each thread but the caller's, where the model has them all.

    So it is by default too, but not where a number of threads is asked for; without, a thread that
    is woken may land on the caller's processor. Fewer threads stay free, for other models.
    """
    processors = sorted(os.sched_getaffinity(0))
    if threads != len(processors):
        return ""
    return ";".join(str(number + 1) for number in processors[1:])


def _operators(path: Path) -> dict[str, int]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return dict(Counter(node.op_type for node in graph.node).most_common())


_TYPES = {"float": "float32", "double": "float64"}


def _spec(value: Any) -> TensorSpec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(
        extent if isinstance(extent, (int, str)) else f"{value.name}_{axis}"
        for axis, extent in enumerate(value.shape)
    )
    return TensorSpec(value.name, np.dtype(_TYPES.get(kind, kind)).name, shape)
