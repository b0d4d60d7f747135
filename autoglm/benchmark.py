# SPDX-License-Identifier: Apache-2.0
"""How fast a model is on each device, and what power it takes: ``autoglm-runtime --benchmark``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import Error, InputError
from .loaded import Loaded
from .output import check_file, replacement
from .power import Power, meter
from .tensor import Array

WARM = 3
"""Calls before it is timed, at least."""
FEWEST = 10
"""Calls that are timed, at least."""


@dataclass(frozen=True)
class Figures:
    """Of a model on a device.

    Attributes:
        device: Its number, kind and name.
        engine: What ran it, with its version.
        p50_ms: Milliseconds of a call (of a token), the median.
        p99_ms: Milliseconds, that 99 of 100 are within.
        throughput: Per second, one call after the other.
        unit: Of what: ``inferences/s`` or ``tokens/s``.
        calls: How many were timed.
        power: What the device took meanwhile.
        counted: What the device counted, a call, by name; empty where it counts nothing.
    """

    device: str
    engine: str
    p50_ms: float
    p99_ms: float
    throughput: float
    unit: str
    calls: int
    power: Power
    counted: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Absent:
    """A device, or an engine on it, of which there are no figures.

    Attributes:
        device: Which.
        reason: Why.
    """

    device: str
    reason: str


def measure(model: Loaded, inputs: Mapping[str, Array], seconds: float) -> Figures:
    """Time calls of a model where it is loaded.

    Args:
        model: It.
        inputs: Of every call.
        seconds: For how long, at least `FEWEST` calls.

    Raises:
        InputError: The inputs do not fit.
        DeviceError: It failed everywhere.
    """
    for _ in range(WARM):
        model(inputs)
    return timed(model, lambda: model(inputs), seconds, 1, "inferences/s")


def timed(
    model: Loaded, call: Callable[[], object], seconds: float, each: int, unit: str
) -> Figures:
    """Figures of a call, made again and again.

    Args:
        model: What is called; says device and engine.
        call: One call.
        seconds: For how long.
        each: How many inferences, or tokens, one call is.
        unit: Of the throughput.
    """
    gauge = meter(model.device)
    counters = model.counters
    took: list[float] = []
    gauge.begin()
    begin = time.perf_counter()
    while len(took) < FEWEST or time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        call()
        took.append(time.perf_counter() - before)
    elapsed = time.perf_counter() - begin
    power = gauge.end()
    took.sort()
    return Figures(
        str(model.device),
        model.candidate.program.engine,
        took[len(took) // 2] * 1e3 / each,
        took[min(len(took) - 1, len(took) * 99 // 100)] * 1e3 / each,
        len(took) * each / elapsed,
        unit,
        len(took),
        power,
        {name: (n - counters.get(name, 0)) / len(took) for name, n in model.counters.items()},
    )


def as_json(model: str, found: Sequence[Figures | Absent]) -> str:
    """For programs."""
    return json.dumps({"model": model, "devices": [_plain(each) for each in found]}, indent=2)


def _plain(each: Figures | Absent) -> dict[str, Any]:
    plain = asdict(each)
    if isinstance(each, Figures):
        plain["power_w"], plain["power_source"] = each.power.watts, each.power.source
        del plain["power"]
    return plain


def as_rows(found: Sequence[Figures | Absent]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table for people."""
    head = ["DEVICE", "ENGINE", "P50 MS", "P99 MS", "THROUGHPUT", "POWER"]
    rows = []
    for each in found:
        if isinstance(each, Absent):
            rows.append([each.device, "-", "-", "-", "-", f"not available: {each.reason}"])
            continue
        rows.append(
            [
                each.device,
                each.engine,
                f"{each.p50_ms:.3g}",
                f"{each.p99_ms:.3g}",
                ", ".join([f"{each.throughput:.4g} {each.unit}", *_counted(each)]),
                str(each.power),
            ]
        )
    return head, rows


def _counted(figures: Figures) -> list[str]:
    return [f"{count:g} {name} a call" for name, count in figures.counted.items()]


SUFFIXES = (".svg", ".png")


def check_plot(path: Path) -> None:
    """See that a plot can be drawn there, before it is worth measuring.

    Raises:
        InputError: Another suffix.
        OutputError: The file cannot be written.
        Error: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f'plot "{path}": the name ends in neither {" nor ".join(SUFFIXES)}')
    check_file(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise Error(f'plot "{path}": {error}: pip install "open-autoglm[plot]"') from None


def plot(model: str, found: Sequence[Figures | Absent], path: Path) -> None:
    """Draw latency and throughput of each device into a file."""
    check_plot(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    there = [each for each in found if isinstance(each, Figures)]
    names = [f"{each.device}\n{each.engine}" for each in there]
    figure = Figure(figsize=(8, 2 + 1.4 * len(there)), layout="constrained")
    figure.suptitle(model)
    latency, throughput = figure.subplots(1, 2, sharey=True)
    latency.barh(names, [each.p99_ms for each in there], color="lightgrey", label="p99")
    latency.barh(names, [each.p50_ms for each in there], height=0.5, label="p50")
    latency.set_xlabel("ms")
    latency.legend(fontsize="small")
    throughput.barh(names, [each.throughput for each in there], height=0.5)
    throughput.set_xlabel(there[0].unit if there else "")
    # The same figures give the same file, and letters stay letters.
    kind = path.suffix[1:].lower()
    metadata = {"Date": None} if kind == "svg" else None
    with (
        mpl.rc_context({"svg.hashsalt": "autoglm", "svg.fonttype": "none"}),
        replacement(path) as file,
    ):
        figure.savefig(file, format=kind, metadata=metadata)
