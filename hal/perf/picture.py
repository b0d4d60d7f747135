# SPDX-License-Identifier: Apache-2.0
"""A report as a picture, by matplotlib: rates and latency by block size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hal.errors import InvalidArgument, Unsupported

from .plan import TARGET
from .report import Point, Report
from .size import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png")


def check(path: str | Path) -> None:
    """Whether a plot can be drawn there: before it is worth measuring.

    Raises:
        InvalidArgument: Another suffix.
        Unsupported: matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InvalidArgument(f'plot "{path}": the name ends in neither {" nor ".join(SUFFIXES)}')
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise Unsupported(
            f'plot "{path}": {error}: it is in the extra "plot" '
            "(pip install 'open-autoglm[plot]')"
        ) from None


def draw(report: Report, path: str | Path) -> None:
    """Draw a report into a file."""
    check(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    figure.suptitle(report.target.name)
    rates, latency = figure.subplots(2, 1, sharex=True)
    _lines(rates, report, "B/s", 1e9)
    rates.set_ylabel("GB/s")
    _lines(latency, report, "s", 1e-9)
    latency.set_ylabel("ns a load that waits for the one before")
    latency.set_xlabel("block")
    for axes in (rates, latency):
        if report.cache and not report.target.device_memory:
            axes.axvline(report.cache, color="grey", linestyle=":", label="last-level cache")
        axes.grid(visible=True, alpha=0.3)
        if axes.has_data():
            axes.legend(fontsize="small")
    # The same report gives the same file, and letters stay letters.
    with mpl.rc_context({"svg.hashsalt": "hal", "svg.fonttype": "none"}):
        suffix = Path(path).suffix.lower()
        metadata = {"Date": None} if suffix == ".svg" else None
        figure.savefig(path, format=suffix[1:], dpi=150, metadata=metadata)


def _lines(axes: Axes, report: Report, unit: str, scale: float) -> None:
    """One line a pattern, with a band from its slowest to its fastest round."""
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    points = [p for p in report.points if p.unit == unit and p.memory == TARGET
              and p.threads == report.threads]  # fmt: skip
    sizes = sorted({p.block for p in points})
    axes.set_xticks(sizes, [text(size) for size in sizes])
    for name in dict.fromkeys((p.pattern, p.width) for p in points):
        line = sorted((p for p in points if (p.pattern, p.width) == name), key=_block)
        if len(line) < 2 < len(sizes):
            continue  # measured on the largest block alone: in the comparisons
        label = f"{name[0]}, {name[1]} bytes" if name[1] else name[0]
        blocks = [p.block for p in line]
        (drawn,) = axes.plot(blocks, [p.figure.median / scale for p in line], "o-", label=label)
        axes.fill_between(
            blocks,
            [p.figure.low / scale for p in line],
            [p.figure.high / scale for p in line],
            color=drawn.get_color(),
            alpha=0.15,
        )


def _block(point: Point) -> int:
    return point.block
