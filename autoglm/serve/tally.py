# SPDX-License-Identifier: Apache-2.0
"""What the service is answering now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .metrics import Metrics


@dataclass
class Tally:
    """What is being answered, but for what is always answered (`guard.OPEN`).

    Attributes:
        requests: How many.
        bytes: Of their bodies, as far as they have come.
        done: How many have been, so far.
    """

    requests: int = 0
    bytes: int = 0
    done: int = 0


class Visit:
    """One request in the tally, from its head to the end of its answer.

    Args:
        tally: Where it is counted.
        metrics: Told of it in the end.

    Attributes:
        bytes: Of its body, as far as it has come.
    """

    __slots__ = ("_begin", "_metrics", "_tally", "bytes")

    def __init__(self, tally: Tally, metrics: Metrics) -> None:
        self._tally = tally
        self._metrics = metrics
        self._begin = time.perf_counter()
        self.bytes = 0
        tally.requests += 1

    def hold(self, length: int) -> None:
        """Count so many more bytes of its body."""
        self.bytes += length
        self._tally.bytes += length

    def end(self, model: str, status: int) -> None:
        """It is over.

        Args:
            model: That it was for; empty when it was for none.
            status: Of its answer.
        """
        self._tally.requests -= 1
        self._tally.bytes -= self.bytes
        self._tally.done += 1
        self._metrics.tell(model, status, time.perf_counter() - self._begin)
