# SPDX-License-Identifier: Apache-2.0
"""How much one sender, and all together, may make us do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Bucket:
    """Tokens that come back with time; each act takes one.

    Args:
        rate: Tokens a second.
        burst: The most there are.
        now: The time at which it is full.
    """

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._then = now

    def take(self, now: float) -> bool:
        """Take a token. False when there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self, now: float) -> float:
        """Take a token that may not be there yet. Seconds until it is."""
        self._fill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def _fill(self, now: float) -> None:
        now = max(now, self._then)
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now


class Gate:
    """A bucket for each sender; those heard of longest ago are forgotten first.

    Args:
        rate: Acts a second of one sender.
        burst: Acts at once of one sender.
        clock: The time, monotonic.
        senders: How many are remembered.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float], senders: int = 1024
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._senders = senders
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def admit(self, sender: str) -> bool:
        """May this sender act once more?"""
        now = self._clock()
        bucket = self._buckets.get(sender)
        if bucket is None:
            bucket = self._buckets[sender] = Bucket(self._rate, self._burst, now)
            if len(self._buckets) > self._senders:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(sender)
        return bucket.take(now)
