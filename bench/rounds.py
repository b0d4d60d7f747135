# SPDX-License-Identifier: Apache-2.0
"""Interleaved rounds: contestants take turns, so that what the machine does else hits all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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


def quiet() -> None:
    """Return when no thread of this process is busy: those of an engine spin on after a call."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        spent = time.process_time()
        time.sleep(_LULL)
        if time.process_time() - spent < _LULL / 4:
            return


def medians(
    contestants: Mapping[str, Contestant],
    *,
    rounds: int = 301,
    batch: int = 1,
    warm: int = 0,
    before: Contestant | None = None,
    after: Contestant | None = None,
) -> dict[str, float]:
    """Median time of one call of each contestant, in nanoseconds.

    Args:
        contestants: What to time, by name. Each call is one operation.
        rounds: How often each takes its turn; the order changes from round to round.
        batch: Calls a turn, timed together.
        warm: Calls before them, untimed: they find the caches full of another's data.
        before: Called before each turn, untimed.
        after: Called after each turn, untimed.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    calls = range(batch)
    shuffle = random.Random(7).shuffle
    for turn in range(-max(rounds // 20, 3), rounds):
        shuffle(order)
        for name in order:
            call = contestants[name]
            if before:
                before()
            for _ in range(warm):
                call()
            start = time.perf_counter_ns()
            for _ in calls:
                call()
            took = time.perf_counter_ns() - start
            if after:
                after()
            if turn >= 0:
                times[name].append(took / batch)
    return {name: statistics.median(taken) for name, taken in times.items()}
