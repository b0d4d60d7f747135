# SPDX-License-Identifier: Apache-2.0
"""Interleaved rounds: contestants take turns, so that what the machine does else hits all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

Contestant = Callable[[], object]
_LULL = 0.004  # seconds


class Unavailable(Exception):
    """What a group measures on is not to be had here; the text says why."""


@dataclass(frozen=True)
class Row:
    """One comparison, a line of the report.

    Attributes:
        name: What was done.
        ours: Median of ours, in ``unit``.
        theirs: Median a peer, in ``unit``.
        goal: What the ratio to the peer that counts must reach, as text: ``"<= 1.10"``.
        ratio: Ours against that peer (or theirs against ours, where the goal is ``>=``).
        unit: Of the medians; "" where the ratio alone means something.
        note: What one must know to read the figure.
    """

    name: str
    ours: float
    theirs: Mapping[str, float]
    goal: str = ""
    ratio: float | None = None
    unit: str = "ns"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or no figure."""
        if not self.goal or self.ratio is None:
            return None
        relation, bound = self.goal.split()[:2]
        return self.ratio <= float(bound) if relation == "<=" else self.ratio >= float(bound)


def quiet(processes: Iterable[int] = ()) -> None:
    """Return when nobody measured here is busy: threads of an engine spin on after a call.

    Or after a second: some never stop, and then every contestant has that against it.

    Args:
        processes: Those besides this one, with their children.
    """
    clocks = [time.CLOCK_PROCESS_CPUTIME_ID, *map(_clock, _families(processes))]
    until = time.monotonic() + 1
    while time.monotonic() < until:
        spent = sum(map(time.clock_gettime, clocks))
        time.sleep(_LULL)
        if sum(map(time.clock_gettime, clocks)) - spent < _LULL / 4:
            return


def _families(processes: Iterable[int]) -> Iterator[int]:
    for process in processes:
        yield process
        children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii")
        yield from _families(map(int, children.split()))


def _clock(process: int) -> int:
    """The clock of a process's time on processors, as clock_getcpuclockid(3) numbers it."""
    return ~process << 3 | 2


def medians(
    contestants: Mapping[str, Contestant],
    *,
    rounds: int = 301,
    batch: int = 1,
    before: Contestant | None = None,
    after: Contestant | None = None,
) -> dict[str, float]:
    """Median time of one call of each contestant, in nanoseconds.

    Args:
        contestants: What to time, by name. Each call is one operation.
        rounds: How often each takes its turn; the order changes from round to round.
        batch: Calls a turn, timed together.
        before: Called before each turn, untimed.
        after: Called after each turn, untimed.
    """
    found = turns(contestants, rounds, batch=batch, before=before, after=after)
    return {name: statistics.median(chain(*taken)) for name, taken in found.items()}


def turns(
    contestants: Mapping[str, Contestant],
    rounds: int,
    *,
    timings: int = 1,
    batch: int = 1,
    warm: int = 0,
    before: Contestant | None = None,
    after: Contestant | None = None,
) -> dict[str, list[list[float]]]:
    """Times of one call in each turn of each contestant, in nanoseconds; turns of a round compare.

    Args:
        contestants: As `medians` takes them.
        rounds: As there.
        timings: Of a turn.
        batch: Calls of a timing.
        warm: Calls before them, untimed: they find the caches full of another's data.
        before: As there.
        after: As there.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in contestants}
    order = list(contestants)
    shuffle = random.Random(7).shuffle
    for turn in range(-max(rounds // 20, 3), rounds):
        shuffle(order)
        for name in order:
            call = contestants[name]
            if before:
                before()
            for _ in range(warm):
                call()
            taken = [_timed(call, batch) for _ in range(timings)]
            if after:
                after()
            if turn >= 0:
                times[name].append(taken)
    return times


def middle(figures: Sequence[float]) -> tuple[float, float, float]:
    """Median, and the range in which it lies by 95 per cent (the bootstrap's percentiles)."""
    again = np.random.default_rng(7).choice(np.asarray(figures), (2000, len(figures)))
    low, high = np.percentile(np.median(again, axis=1), [2.5, 97.5])
    return float(np.median(figures)), float(low), float(high)


def _timed(call: Contestant, calls: int) -> float:
    """Nanoseconds of one call, on average."""
    some = range(calls)
    start = time.perf_counter_ns()
    for _ in some:
        call()
    return (time.perf_counter_ns() - start) / calls
