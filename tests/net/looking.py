# SPDX-License-Identifier: Apache-2.0
"""Scouts that look from a host, in a thread on its network."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from hal.discovery.liveness import Pace
from hal.discovery.record import Record
from hal.discovery.roster import Roster, Snapshot
from hal.discovery.scout import Scout

from .namespaces import PATIENCE, Host

QUICK = Pace(period=0.3, timeout=0.5, retry=0.1, dormant=0.5)
"""Deaths are found in a second, so that tests need not wait."""


class OnHost:
    """A coroutine that runs in a thread on a host's network until it is closed."""

    def __init__(self, host: Host, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=lambda: host.call(self._run), daemon=True)
        self._thread.start()
        assert self._begun.wait(PATIENCE)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(self._work())
        self._begun.set()
        done, _ = await asyncio.wait((self._task,))
        for task in done:
            if not task.cancelled():
                self._failure = task.exception()

    def do(self, work: Coroutine[Any, Any, None], timeout: float = PATIENCE) -> None:
        """Run something else beside it, to its end."""
        assert self._loop
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def close(self) -> None:
        """Cancel it; it must end, and not by failing."""
        if self._loop and self._task and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it does not end when it is cancelled"
        if self._failure:
            raise self._failure


class Looking(OnHost):
    """Scouts at work.

    Attributes:
        roster: What they have found.
    """

    def __init__(self, host: Host, *scouts: Scout) -> None:
        self.roster = Roster()
        self._news = threading.Event()
        self.roster.listen(self._news.set)

        async def work() -> None:
            await asyncio.gather(*(scout.run(self.roster) for scout in scouts))

        super().__init__(host, work)

    def until(self, condition: Callable[[Snapshot], object], timeout: float = PATIENCE) -> Snapshot:
        """Wait until the set is as wanted."""
        end = time.monotonic() + timeout
        while True:
            self._news.clear()
            begun = time.monotonic()
            snapshot = self.roster.snapshot()
            if condition(snapshot):
                return snapshot
            now = time.monotonic()
            assert now < end, f"not within {timeout} s; there is {shown(snapshot)}"
            time.sleep(4 * (now - begun))  # A large set takes long to look at: let the scouts work.
            self._news.wait(0.1)  # `last_seen` moves without being told.

    def record(self, **wanted: str) -> Record:
        """Wait for a record with such members."""

        def fits(record: Record) -> bool:
            return all(getattr(record, name) == value for name, value in wanted.items())

        found = self.until(lambda snapshot: any(map(fits, snapshot.records)))
        return next(filter(fits, found.records))

    def gone(self, **wanted: str) -> Snapshot:
        """Wait until no record has such members."""
        return self.until(
            lambda snapshot: (
                not any(
                    all(getattr(record, name) == value for name, value in wanted.items())
                    for record in snapshot.records
                )
            )
        )

    def problem(self, text: str) -> str:
        """Wait for a problem that says so."""
        found = self.until(lambda snapshot: any(text in str(p) for p in snapshot.problems))
        return next(str(problem) for problem in found.problems if text in str(problem))

    def __enter__(self) -> Looking:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(shown(self.roster.snapshot()))
        self.close()


def shown(snapshot: Snapshot) -> str:
    """A set as text."""
    lines = [
        f"{r.name} {r.device_class} {r.state} {r.addresses} {r.detail}" for r in snapshot.records
    ]
    return "\n".join(["", *lines[:10], *map(str, snapshot.problems)])
