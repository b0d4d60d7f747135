# SPDX-License-Identifier: Apache-2.0
"""A measurement: rounds over all that is planned, then what follows from the figures."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from hal.device import Device
from hal.errors import InvalidArgument, Unsupported

from . import counters, kernels, pages, samples
from .bound import Evidence, judge
from .compare import compare, helps
from .counters import NOTHING, Count, Counters, Wanted
from .kernels import Loop, Memory, Run
from .plan import DRAM, HUGE, TARGET, Plan, Probe, plan
from .report import (
    LINE,
    Bound,
    Comparison,
    Event,
    Figure,
    Loads,
    Missing,
    Point,
    Report,
    Target,
    find,
)
from .size import text
from .subject import Subject, subject

if TYPE_CHECKING:
    from hal._core import AnyBuffer

LONGEST = 0.025
"""Seconds of one run at most: so often can be cancelled."""

SHORTEST = 0.0002
"""Seconds of one run at least: a clock tick must be nothing beside it."""


QUIET = 0.9
"""Part of the time that each of several threads must have had a processor for a round to count."""

ROUGH = 0.25
"""A spread of the rounds, as a part of the median, from which on the report warns."""


@dataclass
class Tally:
    """What was seen of a probe."""

    rates: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    lines: int = 0
    counts: dict[Wanted, Count] = field(default_factory=dict)


def measure(
    target: Device | AnyBuffer,
    *,
    most: int = 0,
    seconds: float = 10.0,
    rounds: int = 5,
    threads: int = 1,
    write: bool = False,
    registers: bool = False,
) -> Report:
    """Measure how fast memory is, and say what holds it back.

    Reading in order and in random order, latency, copying; writing where that is allowed; by block
    size. Each figure is the median of rounds that go through all patterns in turn, so that a
    disturbance hits all of them alike. Ctrl-C (KeyboardInterrupt) ends it early: the report then
    has what was measured so far, and says so.

    Args:
        target: A device that can be mapped, or any buffer in one piece (a numpy array). Nothing is
            written to it, ``memory:memfd:`` excepted, which opening has made.
        most: Bytes of the largest block; 0: as many as there are. Blocks are powers of two.
        seconds: What it may take, about: the pages of large devices are touched besides.
        rounds: How many, at most.
        threads: At once, each in a part of the block.
        write: Overwrite what is there, to measure writing, too.
        registers: Read device memory even if reading may have effects there.

    Returns:
        The report; bytes, seconds, bytes per second.

    Raises:
        InvalidArgument: The buffer is not in one piece, too small, or not to be written; or a
            number is out of range.
        Unsupported: The device cannot be mapped, or has registers and `registers` is not given.

    Threads: any; one measurement at a time gives true figures. The GIL is let go while a loop runs.
    Traps: an access to a bad page of persistent memory is the signal SIGBUS (docs/memory.md).
    """
    _check("most", most, 0, 1 << 62)
    _check("seconds", seconds, 0.01, 86400)
    _check("rounds", rounds, 1, 1000)
    _check("threads", threads, 1, 1024)
    begun, switched = time.monotonic(), _switches()
    processors = len(os.sched_getaffinity(0))
    with subject(target, write=write, registers=registers) as what:
        notes = _touch(what, most, seconds)
        about = _with_pages(what)
        planned = plan(what, most, threads, processors)
        uncore, why_not = counters.memory_controllers()
        with Counters((*counters.GENERIC, *uncore)) as counting:
            session = _Session(planned, counting, processors)
            stopped = session.run(begun + seconds, rounds)
        sampled = _sample(planned.probes[0].block, what.memory)
    points = session.points()
    comparisons = compare(points, about, threads, processors)
    return Report(
        target=about,
        threads=threads,
        processors=processors,
        cache=pages.last_level_cache(),
        seconds=time.monotonic() - begun,
        stopped=stopped,
        points=points,
        comparisons=comparisons,
        bounds=bounds(points, comparisons, about.page, threads),
        events=(*session.events(why_not), *([sampled] if isinstance(sampled, Event) else [])),
        loads=None if isinstance(sampled, Event) else sampled,
        missing=(*planned.missing, *session.missing()),
        notes=(*notes, *_notes(points, about, threads), *_quiet(points, _switches() - switched)),
    )


def _with_pages(what: Subject) -> Target:
    """What is measured, with the size of its pages: known once they are there."""
    if what.target.device_memory:
        return what.target
    return replace(what.target, page=pages.page_size(what.memory.address))


def _sample(block: int, memory: Memory) -> Loads | Event:
    """What loads that wait for one another take, each by itself."""
    loop = Loop(memory, kernels.LATENCY, block)
    return samples.loads(lambda: loop.run(LONGEST))


def _check(name: str, value: float, least: float, greatest: float) -> None:
    if not least <= value <= greatest:
        raise InvalidArgument(f"measure: {name} is {value}, not {least} .. {greatest}")


def _touch(what: Subject, most: int, seconds: float) -> list[str]:
    """Have the pages mapped, so that page faults are in no figure."""
    if what.target.device_memory:
        return []
    size = min(what.memory.size, most or what.memory.size)
    lines = size // LINE
    writes = what.anonymous or what.writable  # contents stay
    pattern = kernels.TOUCH_WRITE if writes else kernels.TOUCH
    run = Loop(what.memory, pattern, what.memory.size).run(max(seconds / 4, 0.01), lines)
    if run.lines < lines:
        return [
            f"only {text(run.lines * LINE)} of {text(size)} could be touched before, in "
            f"{run.seconds:.2g} s: page faults are in the figures of the largest blocks"
        ]
    return []


class _Session:
    """Rounds over a plan."""

    def __init__(self, planned: Plan, counting: Counters, processors: int) -> None:
        self._plan = planned
        self._processors = processors
        self._counting = counting
        self._wanted = counting.counting
        self._tallies = [Tally() for _ in planned.probes]
        self._unsupported: list[Missing] = []

    def run(self, deadline: float, rounds: int) -> str:
        """Measure until the rounds are done, the time is over, or Ctrl-C is pressed."""
        room = max(deadline - time.monotonic(), 0.0)
        each = room / (rounds * max(len(self._plan.probes), 1)) / 2  # half of it for warming up
        each = min(max(each, SHORTEST), LONGEST)
        try:
            for number in range(rounds):
                for probe, tally in zip(self._plan.probes, self._tallies, strict=True):
                    if number and time.monotonic() > deadline:
                        return "time"
                    self._one(probe, tally, each)
        except KeyboardInterrupt:
            return "cancelled"
        return ""

    def _one(self, probe: Probe, tally: Tally, seconds: float) -> None:
        if any(missing.what == probe.pattern.name for missing in self._unsupported):
            return
        before = self._counting.read()
        try:
            run = probe.loop.run(seconds)
        except Unsupported as error:
            self._unsupported.append(Missing(probe.pattern.name, str(error)))
            return
        after = self._counting.read()
        self._add(tally, run, [new - old for new, old in zip(after, before, strict=True)])

    def _add(self, tally: Tally, run: Run, counts: Sequence[Count]) -> None:
        tally.rates.append(run.rate)
        tally.shares.append(run.share)
        tally.lines += run.lines
        for event, count in zip(self._wanted, counts, strict=True):
            tally.counts[event] = tally.counts.get(event, NOTHING) + count

    def points(self) -> tuple[Point, ...]:
        """What was measured."""
        measured = zip(self._plan.probes, self._tallies, strict=True)
        return tuple(
            _point(probe, tally, self._processors) for probe, tally in measured if tally.rates
        )

    def missing(self) -> list[Missing]:
        """What was planned and not measured."""
        late = [
            f"{probe.pattern.name} ({probe.memory}, {text(probe.block)})"
            for probe, tally in zip(self._plan.probes, self._tallies, strict=True)
            if not tally.rates
            and all(probe.pattern.name != missing.what for missing in self._unsupported)
        ]
        if not late:
            return self._unsupported
        what = late[0] if len(late) == 1 else f"{late[0]} and {len(late) - 1} more"
        return [*self._unsupported, Missing(what, "stopped before its turn")]

    def events(self, why_not: Event | None) -> tuple[Event, ...]:
        """The counters, and why not."""
        shares: dict[str, float] = {}
        for tally in self._tallies:
            _, seen = counters.per_line(tally.counts, tally.lines)
            for name, share in seen.items():
                shares[name] = min(shares.get(name, 1.0), share)
        found = [Event(name, share > 0, share, *_never(share)) for name, share in shares.items()]
        return (*found, *self._counting.refused, *([why_not] if why_not else []))


def _never(share: float) -> tuple[str, str]:
    if share > 0:
        return "", ""
    return ("it never had a hardware counter: others (perf, the NMI watchdog) hold them",
            "sudo sysctl kernel.nmi_watchdog=0")  # fmt: skip


def _quiet_rounds(probe: Probe, tally: Tally, processors: int) -> list[float]:
    """Rates of the rounds in which several threads had a processor each; of one, all rounds.

    A single thread is timed by the time that it had a processor.
    """
    if not 1 < probe.threads <= processors:
        return tally.rates
    both = zip(tally.rates, tally.shares, strict=True)
    return [rate for rate, share in both if share >= QUIET]


def _point(probe: Probe, tally: Tally, processors: int) -> Point:
    quiet = _quiet_rounds(probe, tally, processors)
    rates = quiet or tally.rates
    values = (
        [probe.threads / rate for rate in rates]
        if probe.pattern.unit == "s"
        else [rate * LINE for rate in rates]
    )
    return Point(
        memory=probe.memory,
        pattern=probe.pattern.name,
        block=probe.block,
        threads=probe.threads,
        width=probe.loop.memory.width,
        unit=probe.pattern.unit,
        figure=Figure.of(values),
        disturbed=not quiet,
        counters=counters.per_line(tally.counts, tally.lines)[0],
    )


# ---- what follows -------------------------------------------------------------------------------


def bounds(
    points: Sequence[Point], comparisons: Sequence[Comparison], page: int, threads: int
) -> tuple[Bound, ...]:
    """What holds the accesses to the largest block, where they and the latency were measured."""
    latency = find(points, "latency", TARGET, 0, threads)
    if latency is None:
        return ()
    largest = [p for p in points if p.memory == TARGET and p.block == latency.block]
    reads = [p for p in largest if p.pattern.startswith(("read", "load")) and not p.disturbed]
    peak = max((*reads, latency), key=lambda point: point.rate)
    others = [p for p in points if p.memory == DRAM and not p.disturbed]
    gain = translation(points, latency, page, threads)
    huge = page >= pages.huge_size() > 0
    found = []
    for access, pattern in (
        ("sequential read", "load" if latency.width else "read"),
        ("random read", "read-random"),
        ("dependent read", "latency"),
    ):
        point = find(points, pattern, TARGET, latency.block, threads)
        if point is not None:
            evidence = Evidence(
                access,
                rate=point.rate,
                latency=latency.figure.median,
                peak=peak.rate,
                peak_threads=peak.threads,
                dram=max((p.rate for p in others), default=0.0),
                translation=None if access == "sequential read" else gain,
                width=latency.width,
                threads=threads,
            )
            found.append(judge(evidence, helps(access, comparisons, huge=huge)))
    return tuple(found)


def translation(points: Sequence[Point], latency: Point, page: int, threads: int) -> float | None:
    """Seconds of a load's latency that huge pages would take away, as DRAM shows it here.

    Where the block is larger than the DRAM that was measured, it is more. None: the pages are huge
    already, that of DRAM was not measured, or its rounds overlap.
    """
    ordinary = find(points, "latency", DRAM, 0, threads)
    huge = find(points, "latency", HUGE, 0, threads)
    if latency.width or ordinary is None or huge is None or page >= pages.huge_size():
        return None
    if huge.figure.high >= ordinary.figure.low:
        return None
    return min(ordinary.figure.median - huge.figure.median, latency.figure.median)


def _notes(points: Sequence[Point], target: Target, threads: int) -> list[str]:
    notes = []
    largest = max((p.block for p in points if p.memory == TARGET), default=0)
    level = pages.last_level_cache()
    if not target.device_memory and 0 < largest <= level:
        notes.append(
            f"the largest block, {text(largest)}, fits into the last-level cache of {text(level)}: "
            "the figures are the cache's, not the memory's"
        )
    if target.page == 0 and not target.device_memory:
        notes.append("the size of its pages is not known")
    for pattern, name in (("read", "reading in order"), ("latency", "latency")):
        here = find(points, "load" if pattern == "read" and target.device_memory else pattern,
                    TARGET, 0, threads)  # fmt: skip
        dram = find(points, pattern, DRAM, 0, threads)
        if here is not None and dram is not None:
            notes.append(_against(name, here, dram))
    return notes


def _switches() -> int:
    """How often another program took the processor away."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _quiet(points: Sequence[Point], switches: int) -> list[str]:
    """What tells that the machine had other work."""
    notes = []
    disturbed = [point for point in points if point.disturbed]
    if disturbed:
        threads = max(point.threads for point in disturbed)
        notes.append(
            f"other programs had the processors while {threads} threads ran, in every round: their "
            "figures are too low, and compared with nothing"
        )
    spreads = [point.figure.spread for point in points]
    if not spreads or median(spreads) < ROUGH:
        return notes
    return [
        *notes,
        f"the rounds of half of the figures differ by {median(spreads):.0%} or more, and other "
        f"programs took the processor {switches} times: these figures are rough",
    ]


def _against(name: str, here: Point, dram: Point) -> str:
    if here.unit == "s":
        mine, other = (f"{p.figure.median * 1e9:.3g} ns" for p in (here, dram))
    else:
        mine, other = (f"{p.rate / 1e9:.3g} GB/s" for p in (here, dram))
    ratio = here.figure.median / dram.figure.median
    return f"{name}: {mine}; DRAM in blocks of {text(dram.block)}: {other}; {ratio:.2f} of it"
