# SPDX-License-Identifier: Apache-2.0
"""One model, twice: for a call that is alone, and for calls that share the processors.

A call that is alone is fastest on every processor. Many at once get more done on few threads each,
which do not wait for one another: magika's model on two processors answered 32 clients 1.2 times as
often so. The second has weights of its own, so only small models have one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from .errors import Error
from .loaded import Loaded

SMALL = 64 << 20
"""Bytes of an artifact that is worth loading twice."""

log = logging.getLogger("autoglm")


class Crowd:
    """Gives each call the one that suits it. Any thread may call.

    Args:
        alone: For a call while there is no other.
        among: For a call among others; None: the same.
    """

    def __init__(self, alone: Loaded, among: Loaded | None = None) -> None:
        self.alone = alone
        self.among = among or alone
        self._busy = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, alone: Loaded, calls: int, load: Callable[[int], Loaded]) -> Crowd:
        """With a second one where that is worth it.

        Args:
            alone: The first.
            calls: How many are made at once.
            load: Loads it again, with so many threads.
        """
        threads = max(1, len(os.sched_getaffinity(0)) // calls)
        cpu = alone.device.kind == "cpu"
        if not (cpu and alone.concurrent and alone.threads > threads and alone.size <= SMALL):
            return cls(alone)
        try:
            return cls(alone, load(threads))
        except (Error, OSError, MemoryError) as error:
            log.warning("%s: calls at once share one copy: %s", alone.info.name, error)
            return cls(alone)

    def idle(self) -> bool:
        """Whether no call is being made."""
        return not self._busy

    def enter(self) -> Loaded:
        """The one to make a call with, until `leave`."""
        with self._lock:
            model = self.among if self._busy else self.alone
            self._busy += 1
        return model

    def leave(self) -> None:
        """The call is over."""
        with self._lock:
            self._busy -= 1
