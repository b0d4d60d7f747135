# SPDX-License-Identifier: Apache-2.0
"""What runs a watch: a thread with an event loop, the sources in it, and what they have found."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import Final, NoReturn

from .bell import Bell
from .change import all_alike
from .query import Query
from .record import Record
from .roster import Roster, Snapshot
from .scout import Scout
from .within import within

SCOUTS: Final = {
    "local": ("local", "LocalScout"),
    "mdns": ("mdns", "MdnsScout"),
    "ssdp": ("ssdp", "SsdpScout"),
    "static": ("static", "StaticScout"),
    "dns": ("static", "DnsScout"),
}
"""Where each source's scout is: module and class. They are imported when they are needed."""

_PAUSE = 0.02
"""Seconds between two publications: what happens within is one change."""

_SHARE = 4
"""Publishing takes at most one part in this of the time, however large the set is."""

_FIRST_LOOK = 30.0
"""Seconds that the first publication waits for the first look at this machine."""

_HEAD_START = 0.5
"""Seconds at most that the others wait for the first look: importing them would hold it up."""

_TICK = 1.0
"""Seconds at most between two looks for what is past its time."""

_RETRY = (1.0, 30.0)
"""First and longest pause before a scout that failed starts again, seconds."""

_log = logging.getLogger("hal.discovery")


class Engine:
    """The sources of a watch and what it publishes. Any thread may call any method.

    Args:
        query: Which records to publish.
        scouts: Which sources, by name in `SCOUTS`, with their arguments.
        roster: Where the sources put what they see.

    Attributes:
        nothing: What is published before the first look.
        published: The set that consumers compare with the one they saw last.
    """

    def __init__(
        self,
        query: Query,
        scouts: Sequence[tuple[str, tuple[object, ...]]],
        roster: Roster | None = None,
    ) -> None:
        self.nothing = self.published = Snapshot(0, (), ())
        self._roster = roster or Roster()
        self._filter = Filter(query)
        self._scouts = scouts
        self._lock = threading.Lock()
        self._bells: list[Bell] = []
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = {name for name, _ in scouts}
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="hal-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the sources, the thread and all consumers, and wait for it (not in the thread)."""
        with self._lock:
            self._ended = True
            loop, bells, self._bells = self._loop, self._bells, []
        for bell in bells:
            bell.close()
        if loop is not None:
            loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def attach(self, bell: Bell) -> None:
        """Ring this when something is published; at once when something is. Closed if ended."""
        with self._lock:
            if not self._ended:
                self._bells.append(bell)
        if self._ended:
            bell.close()
        elif self.published is not self.nothing:
            bell.ring()

    def detach(self, bell: Bell) -> None:
        """Ring this no more, and close it."""
        with self._lock:
            self._bells = [other for other in self._bells if other is not bell]
        bell.close()

    def now(self) -> Snapshot:
        """The set at this moment."""
        snapshot = self._roster.snapshot()
        return Snapshot(
            snapshot.generation, self._filter.query.of(snapshot.records), snapshot.problems
        )

    def searching(self) -> float:
        """For how many seconds all sources have been searching; 0 while one still starts."""
        return 0.0 if self._starting else time.monotonic() - self._began

    # What follows runs in the thread.

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._stop, self._news = asyncio.Event(), asyncio.Event()
        self._looked = asyncio.Event()
        if all(name != "local" for name, _ in self._scouts):
            self._looked.set()
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._ended:
                self._stop.set()
        unlisten = self._roster.listen(self._hear)
        jobs = [self._publish(), self._expire(), *(self._keep(*scout) for scout in self._scouts)]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await self._stop.wait()
        finally:
            with self._lock:
                self._loop = None
            unlisten()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _hear(self) -> None:
        """The roster has changed: called in whatever thread changed it."""
        with self._lock:
            if self._loop is not None and not self._news.is_set():
                self._loop.call_soon_threadsafe(self._news.set)

    async def _publish(self) -> NoReturn:
        """Publish what is new, not more often than is useful."""
        await self._first_look()
        while True:
            begun = time.monotonic()
            self._news.clear()
            self._publish_now()
            spent = time.monotonic() - begun
            await asyncio.sleep(max(_PAUSE, _SHARE * spent))
            await self._news.wait()

    async def _first_look(self) -> None:
        try:
            await within(_FIRST_LOOK, self._looked.wait())
        except asyncio.TimeoutError:
            _log.warning("the first look at this machine takes more than %.0f s", _FIRST_LOOK)

    def _publish_now(self) -> None:
        snapshot, old = self._roster.snapshot(), self.published
        records = self._filter(snapshot.records)
        alike = snapshot.problems == old.problems and all_alike(old.records, records)
        if alike and old is not self.nothing:
            return
        self.published = Snapshot(old.generation + 1, records, snapshot.problems)
        with self._lock:
            bells = list(self._bells)
        for bell in bells:
            bell.ring()

    async def _expire(self) -> NoReturn:
        while True:
            following = self._roster.expire()
            pause = _TICK if following is None else following - time.monotonic()
            await asyncio.sleep(min(max(pause, _PAUSE), _TICK))

    async def _keep(self, name: str, arguments: tuple[object, ...]) -> None:
        """Run a scout; whatever goes wrong with it is told, and it is tried again."""
        pause = _RETRY[0]
        while True:
            try:
                scout = await self._scout(name, arguments)
                self._begin(name)
                await scout.run(self._roster)
                return
            except ImportError as error:
                self._roster.trouble(name, f"not installed: {error}")
                return
            except Exception as error:  # noqa: BLE001 - a scout may fail in any way
                _log.exception("the search by %s failed", name)
                self._roster.trouble(name, f"failed, is tried again: {error!r}", "search")
            finally:
                self._begin(name)
                if name == "local":
                    self._looked.set()  # At the latest now: nobody waits for it in vain.
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY[1])
            self._roster.trouble(name, "", "search")

    def _begin(self, name: str) -> None:
        if name in self._starting:
            self._began = time.monotonic()
            self._starting.discard(name)

    async def _scout(self, name: str, arguments: tuple[object, ...]) -> Scout:
        if name == "local":
            arguments = (self._looked.set,)
        else:
            with contextlib.suppress(asyncio.TimeoutError):  # This machine comes first.
                await within(_HEAD_START, self._looked.wait())
        module, noun = SCOUTS[name]
        # Imports take long; in a thread they do not keep the other scouts waiting.
        loaded = await asyncio.to_thread(importlib.import_module, f".{module}", __package__)
        scout: Scout = getattr(loaded, noun)(*arguments)
        return scout


class Filter:
    """A query that asks each record once, however often the set is published.

    Args:
        query: The query.
    """

    def __init__(self, query: Query) -> None:
        self.query = query
        self._asked: dict[int, tuple[Record, bool]] = {}

    def __call__(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """Those of the records that are asked for."""
        if not self.query.conditions:
            return records
        asked = {}
        for record in records:
            known = self._asked.get(id(record))
            fits = known[1] if known and known[0] is record else self.query(record)
            asked[id(record)] = record, fits
        self._asked = asked
        return tuple(record for record, fits in asked.values() if fits)
