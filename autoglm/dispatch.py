# SPDX-License-Identifier: Apache-2.0
"""Which program of an artifact runs on which device: every pair is judged, and says why.

What cannot run is refused with its reason. What can is ordered by the milliseconds that one call is
expected to take: as measured when it was compiled, else estimated from what was measured and from
the kind of device; more when the device is busy.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from .artifact import Artifact
from .backend import backends, broken
from .device import DEVICE_OF_TARGET, Device
from .devices import devices as all_devices
from .devices import named, this_processor
from .errors import DeviceError, TargetUnavailable, WrongTarget
from .manifest import Program
from .target import Target

SOURCE = Program("cpu", "onnxruntime", "source model", {})
"""How the source model that an artifact keeps is run when nothing else can be."""

GUESSES = {"cuda": 0.1, "rocm": 0.1, "mlu": 0.1, "npu": 0.3, "vulkan": 0.5, "opencl": 0.7}
"""Time on a device against the processor's, where nothing was measured. A rule of thumb: what was
measured counts more, and `Device.details` of a device that is the processor in disguise says so."""
IN_DISGUISE = 30.0
"""The same for a graphics or OpenCL device that is made of the processor (lavapipe, PoCL)."""

log = logging.getLogger("autoglm")


@dataclass(frozen=True)
class Candidate:
    """A program on a device that can run it.

    Attributes:
        program: What would run.
        device: Where.
        cost: Milliseconds that a call is expected to take.
        why: What `cost` was made from.
    """

    program: Program
    device: Device
    cost: float
    why: str

    @property
    def name(self) -> str:
        """One word for it, the same in every process: ``0/cpu:x86-64-v3/openvino``."""
        return f"{self.device.number}/{self.program.target}/{self.program.engine}"

    def __str__(self) -> str:
        return f"{self.program.engine} on {self.device}: {self.why}"


@dataclass(frozen=True)
class Choice:
    """What may run, the best first, and what may not.

    Attributes:
        candidates: One or more.
        refused: Why each other pair cannot, a sentence each.
    """

    candidates: tuple[Candidate, ...]
    refused: tuple[str, ...] = ()

    def explain(self) -> str:
        """For people, a line each."""
        first, *rest = self.candidates
        lines = [f"chosen: {first}", *(f"next:   {each}" for each in rest)]
        return "\n".join(lines + [f"not:    {reason}" for reason in self.refused])


def choose(
    artifact: Artifact, device: int | str | None = None, without: Collection[str] = ()
) -> Choice:
    """Judge every program on every device.

    Args:
        artifact: What holds the programs.
        device: The number, or the kind, of the only device to use; None for the best.
        without: Names of candidates (`Candidate.name`) that are not to be used.

    Raises:
        DeviceError: There is no such device, or it has a problem.
        WrongTarget: The artifact holds nothing for the device, or the processor lacks a feature.
        TargetUnavailable: What it was compiled for is not in this machine.
    """
    programs = _programs(artifact)
    there = _there(programs, device)
    found: list[Candidate] = []
    refused: list[str] = []
    least = min((p.latency.median_ms for p in programs if p.latency), default=1.0)
    for program in programs:
        fits = [each for each in there if each.kind == _kind(program)]
        if not fits:
            reason = (
                "no such device" if device is None else "it was compiled for another kind of device"
            )
            refused.append(f"{program.engine} for {program.target}: {reason}")
        for each in fits:
            reason = _refusal(artifact, program, each)
            if reason:
                refused.append(f"{program.engine} for {program.target} on {each}: {reason}")
            else:
                found.append(Candidate(program, each, *_cost(program, each, least)))
    found = [each for each in found if each.name not in without]
    if not found:
        raise _nothing(artifact, device, there, refused)
    found.sort(key=lambda each: (each.program.engine == SOURCE.engine, each.cost))
    if device is None and found[0].program.engine == SOURCE.engine:
        log.warning(
            '"%s": what it was compiled for is not used, the source model runs on the processor:'
            " %s",
            artifact.path,
            "; ".join(refused) or "it is left out",
        )
    return Choice(tuple(found), tuple(refused))


def _programs(artifact: Artifact) -> list[Program]:
    """Those of the artifact, and its source model, which is run when nothing else can be."""
    programs = list(artifact.manifest.programs)
    blob = artifact.manifest.source
    if blob:
        programs.append(replace(SOURCE, files={"model.onnx": blob}))
    return programs


def _kind(program: Program) -> str:
    kind = Target.parse(program.target).kind
    return DEVICE_OF_TARGET.get(kind, kind)


def _there(programs: Iterable[Program], device: int | str | None) -> Sequence[Device]:
    """The devices to judge. Engines are asked for theirs only where one may be chosen."""
    if device is None and all(_kind(program) == "cpu" for program in programs):
        return [this_processor()]
    if str(device) in {"0", "cpu"}:
        return [this_processor()]
    there = all_devices()
    if device is None:
        return there
    chosen = named(device, there)
    if chosen.problem:
        raise DeviceError(f"{chosen}: {chosen.problem}")
    return [chosen]


def _refusal(artifact: Artifact, program: Program, device: Device) -> str:
    """Why it cannot; empty when it can."""
    if device.problem:
        return device.problem
    target = Target.parse(program.target)
    if target.kind in DEVICE_OF_TARGET and os.uname().machine != target.kind:
        return f"this machine is {os.uname().machine}"
    if device.kind == "cpu":
        lacking = sorted({*program.features, *target.features} - device.features)
        if lacking:
            return f"the processor lacks {', '.join(lacking)}"
    need = sum(artifact.manifest.blobs[blob].length for blob in program.files.values())
    if 0 < device.free < need:
        return f"it needs {need >> 20} MiB and more, {device.free >> 20} MiB are free"
    engine = backends().get(program.backend)
    if engine is None:
        why = broken().get(program.backend, "it is not installed")
        return f"back end {program.backend!r}: {why}"
    can = engine.can_run(program, device)
    return "" if can.here else str(can)


def _cost(program: Program, device: Device, least: float) -> tuple[float, str]:
    """Milliseconds for a call, and what they were made from."""
    if program.latency:
        cost = program.latency.median_ms
        why = f"{cost:.3g} ms measured on {program.latency.machine}"
    elif device.details.get("type") == "cpu" and device.kind != "cpu":
        cost = least * IN_DISGUISE
        why = f"{cost:.3g} ms estimated: it is the processor in disguise"
    else:
        cost = least * GUESSES.get(device.kind, 1.0)
        why = f"{cost:.3g} ms estimated by its kind"
    load = float(device.details.get("load", 0.0))
    if load > 0:
        cost *= 1 + load
        why += f", {cost:.3g} ms with its load of {load:.2f}"
    return cost, why


def _nothing(
    artifact: Artifact, device: int | str | None, there: Sequence[Device], refused: Sequence[str]
) -> WrongTarget | TargetUnavailable:
    where = "here" if device is None else f"on {there[0]}"
    text = f'run "{artifact.path}": nothing in it can be run {where}: ' + "; ".join(refused)
    return WrongTarget(text) if device is not None else TargetUnavailable(text)
