# SPDX-License-Identifier: Apache-2.0
"""Programs made and tried: does one compute what the source model does, which one is fastest.

What is called here runs in a child (`autoglm.child`): an engine may take its process with it.
"""

from __future__ import annotations

import math
import mmap
import os
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .backend import Compiled, CompileOptions, Executable, Files, backend
from .cases import Case, arrays
from .child import report
from .device import Device
from .errors import ArtifactError
from .manifest import Program
from .reference import difference
from .target import Target
from .tensor import Array

_ROUNDS = 100  # turns of each contestant, where time allows
_TURN = 0.02  # seconds of one turn, at least one call
_HOPELESS = 3.0  # how many times slower than the fastest one need not be looked at again


def build(
    name: str, model: Path, target: Target, options: CompileOptions, folder: Path
) -> Compiled:
    """Let a back end compile; as `Backend.compile`."""
    return backend(name).compile(model, target, options, folder)


class Built(Files):
    """The files of a program that is in no artifact yet."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def view(self, name: str) -> memoryview:
        """The bytes, mapped."""
        with open(self.path(name), "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def path(self, name: str) -> Path:
        """Where it is."""
        try:
            return self._files[name]
        except KeyError:
            raise ArtifactError(f"there is no file {name!r} in it") from None


@dataclass(frozen=True)
class Subject:
    """A program to be tried. Can be pickled.

    Attributes:
        program: It.
        files: Its files.
        device: Where it runs.
    """

    program: Program
    files: Mapping[str, Path]
    device: Device

    def load(self, threads: int) -> Executable:
        """Make it ready."""
        made = backend(self.program.backend)
        return made.load(self.program, Built(self.files), self.device, threads)


@dataclass(frozen=True)
class Checked:
    """What came of a check.

    Attributes:
        worst: The largest absolute difference.
        complaint: What is out of tolerance; empty when nothing is.
        load_ms: How long loading took.
        call_ms: How long one call took, without haste: the best of a few; endless where that is
            not timed.
    """

    worst: float
    complaint: str
    load_ms: float
    call_ms: float


def check(
    subject: Subject, cases: Sequence[Case], rtol: float, atol: float, threads: int
) -> Checked:
    """Hold a program against the source model.

    Raises:
        Error: It cannot be loaded, or cannot be run.
    """
    began = time.perf_counter()
    loaded = subject.load(threads)
    load_ms = (time.perf_counter() - began) * 1e3
    worst = 0.0
    for case in cases:
        inputs = arrays(case.inputs)
        found = difference(loaded.run(inputs), arrays(case.outputs), rtol, atol)
        worst = max(worst, found.worst)
        if found.complaint:
            return Checked(found.worst, found.complaint, load_ms, math.inf)
    if subject.device.emulated:
        return Checked(worst, "", load_ms, math.inf)
    inputs = arrays(cases[0].inputs)
    return Checked(worst, "", load_ms, min(_once(loaded, inputs) for _ in range(3)) * 1e3)


def _once(loaded: Executable, inputs: Mapping[str, Array]) -> float:
    began = time.perf_counter()
    loaded.run(inputs)
    return time.perf_counter() - began


@dataclass(frozen=True)
class Raced:
    """How fast one contestant is.

    Attributes:
        median_ms: Of its turns.
        p99_ms: Of its calls.
        calls: How many were timed.
        turns: What each turn's calls took on average, by round: turns of the same round compare.
    """

    median_ms: float
    p99_ms: float
    calls: int
    turns: tuple[float, ...] = field(repr=False)


def race(contestants: Sequence[tuple[Subject, int]], case: Case, seconds: float) -> list[Raced]:
    """Time programs against one another, on the same inputs, in one process.

    They take turns, in an order that changes, so that whatever else the machine does hits all
    alike; the first call of a turn is not timed, since it finds the caches full of another's data
    and the threads of another's pool still spinning.

    Args:
        contestants: Programs, with how many threads each has.
        case: The inputs.
        seconds: How long, about; there are at least five rounds.

    Returns:
        One for each contestant.
    """
    inputs = arrays(case.inputs)
    loaded = [subject.load(threads) for subject, threads in contestants]
    calls = [max(1, math.ceil(_TURN / max(_once(each, inputs), 1e-6))) for each in loaded]
    times: list[list[float]] = [[] for _ in loaded]
    turns: list[list[float]] = [[] for _ in loaded]
    order = list(range(len(loaded)))
    shuffle = random.Random(7).shuffle  # noqa: S311 - no secret
    until = time.monotonic() + seconds
    for turn in range(_ROUNDS):
        shuffle(order)
        for number in order:
            _once(loaded[number], inputs)
            taken = [_once(loaded[number], inputs) for _ in range(calls[number])]
            times[number] += taken
            turns[number].append(statistics.median(taken))
        report(f"round {turn + 1} of {_ROUNDS}")
        if time.monotonic() > until and turn >= 4:
            break
    return [_raced(taken, turn) for taken, turn in zip(times, turns, strict=True)]


def _raced(times: Sequence[float], turns: Sequence[float]) -> Raced:
    return Raced(
        statistics.median(turns) * 1e3,
        float(np.percentile(times, 99)) * 1e3,
        len(times),
        tuple(turns),
    )


def hopeless(call_ms: float, best_ms: float) -> bool:
    """Whether a program need not be raced: it is far behind the best already."""
    return call_ms > _HOPELESS * best_ms + 0.05


def ratio(one: Raced, other: Raced) -> float:
    """How many times longer one takes than the other: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(one.turns, other.turns, strict=True))
