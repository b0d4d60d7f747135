# SPDX-License-Identifier: Apache-2.0
"""What a measurement tells. Plain data: frozen, comparable, ``as_dict()`` for JSON.

Units: bytes, seconds, bytes per second; a line is 64 bytes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

LINE = 64
"""Bytes of a line, on every machine."""

Unit = Literal["B/s", "s"]


@dataclass(frozen=True)
class Figure:
    """A figure from several rounds.

    Attributes:
        median: Of the rounds.
        low: The least.
        high: The greatest.
        rounds: How many.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The figure that rounds make; at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a part of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Point:
    """One measured access.

    Attributes:
        memory: "target"; "target, write-combining"; "dram" and "dram, huge pages" to compare with.
        pattern: "read", "read-random", "latency" ...: the table in docs/perf.md.
        block: Bytes that were gone through.
        threads: How many at once, each in a part of the block.
        width: Bytes of an access to device memory; 0: memory.
        unit: "B/s", or "s" for one of accesses that wait for one another.
        figure: The figure.
        disturbed: Whether several threads had to share processors with other programs: then it is
            too low, and compared with nothing.
        counters: By name, per line. Scaled where they had to share the processor's counters.
    """

    memory: str
    pattern: str
    block: int
    threads: int
    width: int
    unit: Unit
    figure: Figure
    disturbed: bool
    counters: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Bytes per second, whatever the unit."""
        return self.rates[1]

    @property
    def rates(self) -> tuple[float, float, float]:
        """Lowest, median, highest in bytes per second, whatever the unit."""
        figure = self.figure
        if self.unit == "B/s":
            return figure.low, figure.median, figure.high
        moved = (self.width or LINE) * self.threads
        return moved / figure.high, moved / figure.median, moved / figure.low


@dataclass(frozen=True)
class Missing:
    """What was not measured.

    Attributes:
        what: Patterns, or what else.
        reason: Why.
        advice: What to do for it; "": nothing helps here.
    """

    what: str
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class Event:
    """A counter of the processor.

    Attributes:
        name: "cycles", "cache-misses" ...
        available: Whether it counted.
        share: Part of the time that it had a hardware counter; below 1 its counts are scaled.
        reason: Why it is not available; "": it is.
        advice: What to do for it.
    """

    name: str
    available: bool
    share: float
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Loads:
    """What samples of single loads showed: of those that wait for one another, largest block.

    Attributes:
        count: How many.
        cycles: Median of what they took, cycles of the processor.
        slow: What one in ten took, or more.
        from_dram: Part of them that DRAM answered.
    """

    count: int
    cycles: float
    slow: float
    from_dram: float


@dataclass(frozen=True)
class Comparison:
    """A naive and an improved access, both measured here.

    Attributes:
        name: "alignment", "prefetch" ...
        block: Bytes that were gone through.
        naive: What is compared.
        improved: With what.
        unit: Of both values.
        naive_value: Median.
        improved_value: Median.
        ratio: How many times faster the improved one is.
        certain: Whether every round of the one was faster than any of the other.
        advice: What follows.
    """

    name: str
    block: int
    naive: str
    improved: str
    unit: Unit
    naive_value: float
    improved_value: float
    ratio: float
    certain: bool
    advice: str


@dataclass(frozen=True)
class Bound:
    """What holds an access back (the rule is in hal/perf/bound.py and docs/perf.md).

    Attributes:
        access: "sequential read", "random read", "dependent read".
        kind: "device", "bandwidth", "tlb", "latency" or "parallelism".
        in_flight: Lines on their way at a time: rate x latency / 64 (Little's law).
        statement: One sentence, with the figures it follows from.
        advice: What would help.
    """

    access: str
    kind: str
    in_flight: float
    statement: str
    advice: str


@dataclass(frozen=True)
class Target:
    """What was measured.

    Attributes:
        name: Its URI, or what kind of buffer it is.
        size: Bytes that it has.
        kind: "ordinary", "persistent", "cxl", "write-combining", "uncached", "unknown": what
            hal.cache.query() says.
        flush: Whether stores need a flush to arrive, as it says.
        page: Bytes of its pages; 0: not known.
        device_memory: Whether every access goes to a device.
        written: Whether it was written to.
        reason: Where kind and flush come from.
    """

    name: str
    size: int
    kind: str
    flush: str
    page: int
    device_memory: bool
    written: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """What hal.perf.measure() gives.

    Attributes:
        target: What was measured.
        threads: Of the accesses by block size.
        processors: Which this process may use.
        cache: Bytes of the last-level cache; 0: not known.
        seconds: What it took.
        stopped: "" when all was measured as planned; "cancelled", or "time": fewer rounds then.
        points: All that was measured.
        comparisons: Naive and improved.
        bounds: What holds it back.
        events: The processor's counters, and why not.
        loads: What single loads took, where the processor can tell; None: "mem-loads" in `events`
            says why not.
        missing: What was not measured, and why.
        notes: What to know when reading the figures.
    """

    target: Target
    threads: int
    processors: int
    cache: int
    seconds: float
    stopped: str
    points: tuple[Point, ...]
    comparisons: tuple[Comparison, ...]
    bounds: tuple[Bound, ...]
    events: tuple[Event, ...]
    loads: Loads | None
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]

    def point(
        self, pattern: str, *, memory: str = "target", block: int = 0, threads: int = 0
    ) -> Point | None:
        """A measured access; None: it was not.

        Args:
            pattern: Its name.
            memory: Which memory.
            block: Bytes; 0: the largest.
            threads: How many; 0: those of the report.
        """
        return find(self.points, pattern, memory, block, threads or self.threads)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as docs/hal-probe.schema.json describes it."""
        return asdict(self)


def find(
    points: Sequence[Point], pattern: str, memory: str, block: int, threads: int, width: int = -1
) -> Point | None:
    """The point with these properties, of the largest block where that is 0."""
    fitting = [
        point
        for point in points
        if (point.pattern, point.memory, point.threads) == (pattern, memory, threads)
        and block in {0, point.block}
        and width in {-1, point.width}
    ]
    return max(fitting, key=lambda point: (point.block, point.width), default=None)
