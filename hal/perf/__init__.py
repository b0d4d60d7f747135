# SPDX-License-Identifier: Apache-2.0
"""How fast memory is, and what holds it back (docs/perf.md).

    from hal import perf

    with hal.open("memory:/dev/dax0.0") as device:
        report = perf.measure(device, seconds=5)
    report.point("read").figure.median          # bytes per second, largest block
    report.point("latency", block=4096)         # of a small one
    for bound in report.bounds:
        print(bound.access, bound.kind, bound.statement)
    perf.plot(report, "memory.svg")             # needs open-autoglm[plot]

Any buffer will do: ``perf.measure(array)``. Nothing is written to what holds data unless
``write=True``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bound import Evidence, judge
from .report import Bound, Comparison, Event, Figure, Loads, Missing, Point, Report, Target
from .session import measure

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Bound",
    "Comparison",
    "Event",
    "Evidence",
    "Figure",
    "Loads",
    "Missing",
    "Point",
    "Report",
    "Target",
    "judge",
    "measure",
    "plot",
]


def plot(report: Report, path: str | Path) -> None:
    """Draw a report: rates and latency by block size.

    Args:
        report: What to draw.
        path: The file, ``.svg`` or ``.png``.

    Raises:
        InvalidArgument: Another suffix.
        Unsupported: matplotlib is not installed: ``pip install 'open-autoglm[plot]'``.
        OSError: The file cannot be written.
    """
    from .picture import draw

    draw(report, path)
