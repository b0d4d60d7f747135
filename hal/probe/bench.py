# SPDX-License-Identifier: Apache-2.0
"""hal-probe bench: how fast a memory device is, and what holds it back (docs/perf.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import hal
from hal import perf
from hal.perf import size
from hal.perf.plan import TARGET

from . import output
from .outcome import Exit, Failure
from .target import find, look

TIMEOUT = 5.0
"""Seconds that opening may take."""

CANCELLED = 130
"""Exit code as a shell says of a program that SIGINT ended."""

READING = ("read", "read-random", "latency", "copy-out")
WRITING = ("write", "write-random", "write-nt", "copy-in", "copy-in-nt")
DEVICE = ("load", "latency", "store")

HEADS = {
    "read": "READ",
    "read-random": "RANDOM",
    "latency": "LATENCY",
    "copy-out": "COPY OUT",
    "write": "WRITE",
    "write-random": "RANDOM",
    "write-nt": "STREAM",
    "copy-in": "COPY IN",
    "copy-in-nt": "STREAM IN",
    "load": "LOAD",
    "store": "STORE",
}


def run(
    device: str,
    *,
    most: str,
    seconds: float,
    rounds: int,
    threads: int,
    write: bool,
    registers: bool,
    plot: str,
    json: bool,
) -> int:
    """Measure a device and report."""
    largest = size.parse(most) if most else 0
    if plot:
        _check(plot)
    target = find(device, look())
    if not target.uri:
        raise Failure(
            f'bench "{device}": no HAL driver serves it', Exit.FAILED, hal.Unsupported.kind,
            [f"hal-probe show {device}"],
        )  # fmt: skip
    with hal.open(target.uri, timeout=TIMEOUT) as opened:
        report = perf.measure(
            opened,
            most=largest,
            seconds=seconds,
            rounds=rounds,
            threads=threads,
            write=write,
            registers=registers,
        )
    if json:
        output.emit("bench", report.as_dict())
    else:
        _print(report)
    if plot:
        _plot(report, plot)
        if not json:
            output.say(f"Drawn into {plot}.")
    return CANCELLED if report.stopped == "cancelled" else Exit.OK


def _check(path: str) -> None:
    from hal.perf.picture import check

    try:
        check(path)
    except hal.Unsupported as error:
        raise Failure.of(error, ["pip install 'open-autoglm[plot]'"]) from None


def _plot(report: perf.Report, path: str) -> None:
    try:
        perf.plot(report, path)
    except OSError as error:
        if isinstance(error, hal.Error):
            raise
        code = Exit.PERMISSION if isinstance(error, PermissionError) else Exit.FAILED
        raise Failure(f'plot "{path}": {error.strerror}', code, "other") from error


# ---- for people ---------------------------------------------------------------------------------


def _print(report: perf.Report) -> None:
    _head(report)
    for patterns in (DEVICE,) if report.target.device_memory else (READING, WRITING):
        _sweep(report, patterns)
    _comparisons(report)
    _bounds(report)
    _counters(report)
    if report.missing:
        output.say()
        output.say("Not measured", "bold")
        for missing in report.missing:
            _reason(missing.what, missing.reason, missing.advice)
    for note in report.notes:
        output.say()
        output.say(f"Note: {note}.")


def _head(report: perf.Report) -> None:
    target = report.target
    output.say(target.name, "bold")
    kind = f"{target.kind} memory" if not target.device_memory else f"device memory, {target.kind}"
    pages = f"pages of {size.text(target.page)}" if target.page else ""
    facts = {
        "memory": ", ".join(filter(None, (kind, size.text(target.size), pages))),
        "flush": f"{target.flush} ({target.reason})",
        "threads": f"{report.threads} of {report.processors} processors",
        "cache": f"{size.text(report.cache)}, the last level" if report.cache else "",
        "measured": f"{report.seconds:.1f} s{_stopped(report)}",
    }
    output.facts(facts)


def _stopped(report: perf.Report) -> str:
    return {
        "": "",
        "time": "; the time was over before all rounds were done",
        "cancelled": "; cancelled: what follows was measured so far",
    }[report.stopped]


def _sweep(report: perf.Report, patterns: Sequence[str]) -> None:
    """A table of the figures by block size."""
    points = {
        (point.block, point.pattern): point
        for point in sorted(report.points, key=lambda point: point.width)
        if point.memory == TARGET and point.threads == report.threads
    }
    shown = [name for name in patterns if any(name == pattern for _, pattern in points)]
    if not shown:
        return
    output.say()
    units = {"B/s": "GB/s", "s": "ns"}
    unit = {pattern: units[point.unit] for (_, pattern), point in points.items()}
    head = ("BLOCK", *(f"{HEADS[name]} {unit[name]}" for name in shown))
    blocks = sorted({block for block, name in points if name in shown})
    rows = [
        (size.text(block), *(_figure(points.get((block, name))) for name in shown))
        for block in blocks
    ]
    output.table(head, rows)


def _figure(point: perf.Point | None) -> str:
    """Median, and how far the rounds lie apart."""
    if point is None:
        return "-"
    scale = 1e9 if point.unit == "s" else 1e-9
    return f"{point.figure.median * scale:.3g} ±{point.figure.spread / 2:.0%}"


def _value(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1e9:.3g} ns"
    return f"{value / 1e9:.3g} GB/s" if value >= 1e9 else f"{value / 1e6:.3g} MB/s"


def _comparisons(report: perf.Report) -> None:
    for index, pair in enumerate(report.comparisons):
        if index == 0:
            output.say()
            output.say("Naive and improved, in the largest block", "bold")
        doubt = "" if pair.certain else " (rounds overlap)"
        output.say(f"{pair.name}: {pair.ratio:.2f} times{doubt}")
        rows = (
            (f"    {_value(pair.naive_value, pair.unit)}", pair.naive),
            (f"    {_value(pair.improved_value, pair.unit)}", pair.improved),
            ("    ->", pair.advice),
        )
        output.table((), rows)


def _bounds(report: perf.Report) -> None:
    for index, bound in enumerate(report.bounds):
        if index == 0:
            output.say()
            output.say("What holds it back, in the largest block", "bold")
        output.say(f"{bound.access}: {bound.statement}.")
        output.table((), [("    ->", bound.advice)])


def _counters(report: perf.Report) -> None:
    """Counts of a line in the largest block, and why there are none."""
    output.say()
    output.say("The processor's counters", "bold")
    largest = max((p.block for p in report.points if p.memory == TARGET), default=0)
    names = ("read", "read-random", "latency", "load")
    found = [
        point
        for name in names
        if (point := report.point(name, block=largest)) is not None and point.counters
    ]
    counting = [event for event in report.events if event.available]
    if found and counting:
        head = ("A LINE", *(point.pattern for point in found))
        rows = [
            (event.name, *(f"{p.counters.get(event.name, 0):.3g}" for p in found))
            for event in counting
        ]
        output.table(head, rows)
    for event in counting:
        if event.share < 1:
            output.say(
                f"{event.name}: scaled, it had a hardware counter {event.share:.0%} of the time"
            )
    if report.loads:
        loads = report.loads
        output.say(
            f"mem-loads: {loads.count} sampled, median {loads.cycles:g} cycles, one in ten "
            f"{loads.slow:g} or more, {loads.from_dram:.0%} from DRAM"
        )
    for (reason, advice), missing in _reasons(report.events).items():
        _reason(", ".join(missing), f"not available: {reason}", advice)


def _reasons(events: Iterable[perf.Event]) -> dict[tuple[str, str], list[str]]:
    """Names of the events that do not count, by why not and what to do."""
    found: dict[tuple[str, str], list[str]] = {}
    for event in events:
        if not event.available:
            found.setdefault((event.reason, event.advice), []).append(event.name)
    return found


def _reason(what: str, reason: str, advice: str) -> None:
    output.say(f"{what}: {reason}")
    if advice:
        output.command(advice)
