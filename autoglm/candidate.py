# SPDX-License-Identifier: Apache-2.0
"""What one engine made of a model for one target, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import trial
from .backend import Backend, Compiled, backend
from .device import DEVICE_OF_TARGET, Device
from .devices import processor_for
from .manifest import Program
from .target import Target
from .trial import Checked, Raced, Subject

REFERENCE = "onnxruntime"
"""The back end that no other is kept for unless it is faster."""
NOISE = 0.02
"""By how much, of the time, it has to be."""
WAKE_MS = 0.05
"""What waking sleeping threads takes, in milliseconds."""


@dataclass
class Candidate:
    """A program that may get into the artifact.

    Attributes:
        program: It, as far as it is known.
        files: Its files.
        problem: Why it is not kept; empty when nothing is wrong with it.
        wrong: It computes something else than the source model.
        operators: How many operators the engine got, by type.
        fused: How many kernels it made of them, by name; empty where it does not tell.
        size: Bytes of its files.
        compile_s: How long compiling took, in seconds.
        compile_memory: The most bytes that took.
        device: Where it was tried, an emulated processor perhaps; None where it cannot run here.
        checked: What came of the check.
        memory: The most bytes of a process that loads and runs it.
        raced: How fast it is, by number of threads.
        threads: The number of threads at which it is fastest.
        chosen: It is in the artifact.
    """

    program: Program
    files: Mapping[str, Path] = field(default_factory=dict)
    problem: str = ""
    wrong: bool = False
    operators: Mapping[str, int] = field(default_factory=dict)
    fused: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    compile_s: float = 0.0
    compile_memory: int = 0
    device: Device | None = None
    checked: Checked | None = None
    memory: int = 0
    raced: dict[int, Raced] = field(default_factory=dict)
    threads: int = 0
    chosen: bool = False

    @property
    def backend(self) -> str:
        """Name of the back end."""
        return self.program.backend

    @property
    def target(self) -> str:
        """What it was compiled for."""
        return self.program.target

    @property
    def call_ms(self) -> float:
        """How long a call took when it was checked."""
        return self.checked.call_ms if self.checked else float("inf")

    @property
    def best(self) -> Raced:
        """Its race with the best number of threads."""
        return self.raced[self.threads]

    @property
    def standing(self) -> str:
        """What came of it, in a few words."""
        if self.problem:
            return self.problem
        if self.checked is None:
            return f"not checked: {self.program.unchecked}"
        return f"at most {self.checked.worst:.2g} off"

    def take(self, made: Compiled) -> None:
        """Take what the back end made, and find a device for it."""
        self.files, self.operators, self.fused = made.files, made.operators, made.fused
        self.size = sum(path.stat().st_size for path in made.files.values())
        self.program = replace(
            self.program,
            engine=made.engine,
            files=dict.fromkeys(made.files, ""),
            features=made.features,
            options=made.options,
            notes=made.notes,
        )
        self.device, reason = where(self.program)
        if self.device is None:
            self.program = replace(self.program, unchecked=reason)
        elif self.device.emulated:
            self.program = replace(self.program, unchecked=f"not timed: {reason}")

    @property
    def emulated(self) -> bool:
        """It was tried on an emulated processor: what it took says nothing."""
        return self.device is not None and self.device.emulated

    def subject(self) -> Subject:
        """It, ready to be tried; it must have a device."""
        if self.device is None:
            raise RuntimeError(f"{self.backend} cannot run {self.target} here")
        return Subject(self.program, self.files, self.device)


def best_threads(raced: Mapping[int, Raced]) -> int:
    """The number of threads that is fastest when calls do not follow one another at once.

    In a race they do. Otherwise all threads but the caller's sleep by then, and it wakes them.
    """
    return min(raced, key=lambda count: raced[count].median_ms + (WAKE_MS if count > 1 else 0))


def fastest(near: Sequence[Candidate]) -> tuple[Candidate, str]:
    """The fastest, and why: the reference's own engine, unless another is so by more than noise."""
    found = min(near, key=lambda each: each.best.median_ms)
    known = next((each for each in near if each.backend == REFERENCE), None)
    if known is None or found is known:
        return found, f"{found.backend} is the fastest"
    ratio = trial.ratio(found.best, known.best)
    told = f"{found.backend} takes {ratio:.2f} of the time of {REFERENCE}"
    return (known, f"{told}: no more than noise") if ratio > 1 - NOISE else (found, told)


def where(program: Program) -> tuple[Device | None, str]:
    """The device on which a program can be tried here, and by what; or None, and why."""
    made = backend(program.backend)
    target = Target.parse(program.target)
    reasons = []
    for device in _devices(made, target):
        if device.problem and not device.emulated:  # some can do without the emulator
            reasons.append(f"{device}: {device.problem}")
            continue
        can = made.can_run(program, device)
        if can.here:
            return device, can.reason
        reasons.append(f"{device}: {can}")
    return None, "; ".join(reasons) or f"this machine has no device of kind {target.kind!r}"


def _devices(made: Backend, target: Target) -> list[Device]:
    """Those of a target's kind."""
    if target.kind == "cpu" or target.kind in DEVICE_OF_TARGET:
        return [processor_for(target)]
    return [device for device in made.devices() if device.kind == target.kind]
