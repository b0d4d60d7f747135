# SPDX-License-Identifier: Apache-2.0
"""The devices there are, followed while they come and go.

    with hal.watch("class=serial") as watch:
        for change in watch:
            for record in change.added:
                print("new:", record.name, record.uri)

The first change is the whole set as it is; each further one has again the whole set and what is
different since the one before. Nothing is queued: who takes his time gets one change with
everything that happened meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from ..errors import Closed, Forked
from .bell import Bell
from .change import Change
from .engine import Engine
from .query import Query
from .record import Record

__all__ = ["Change", "Changes", "Watch"]

_log = logging.getLogger("hal.discovery")


class Changes:
    """One consumer of a watch, which remembers what it has seen.

    A `Watch` is one; `Watch.changes` makes more. One thread or task uses it at a time; `close` may
    be called from any.
    """

    def __init__(self, engine: Engine, owner: Changes | None = None) -> None:
        self._engine = engine
        self._owner = owner  # While this is in use, so is the watch.
        self._pid = os.getpid()
        self._bell = Bell()
        self._seen = engine.nothing
        self._abandoned = weakref.finalize(self, engine.detach, self._bell)
        engine.attach(self._bell)

    def fileno(self) -> int:
        """A descriptor that is readable when there is news, for poll(2) and its kin.

        It belongs to this object. Do not read it: `next(0)` does, and gives None when all is as it
        was again.

        Raises:
            Closed: It was closed.
        """
        self._check()
        if self._bell.closed:
            raise Closed("watch devices: it was closed")
        return self._bell.fileno()

    def next(self, timeout: float | None = None) -> Change | None:
        """Wait for the next change.

        Args:
            timeout: Seconds; 0 only looks, None waits for ever.

        Returns:
            The change; None when there was none in that time, or it was closed.

        Raises:
            Forked: This is a child of the process that made the watch.
        """
        self._check()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._bell.closed:
            if (change := self._take()) is not None:
                return change
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self._bell.wait(left)
        return None

    def __iter__(self) -> Changes:
        return self

    def __next__(self) -> Change:
        change = self.next()
        if change is None:
            raise StopIteration
        return change

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        self._check()
        loop = asyncio.get_running_loop()
        while not self._bell.closed:
            if (change := self._take()) is not None:
                return change
            with self._bell.held() as descriptor:
                if descriptor < 0:
                    break
                news = loop.create_future()
                loop.add_reader(descriptor, _arrive, news)
                try:
                    await news
                finally:
                    loop.remove_reader(descriptor)
        raise StopAsyncIteration

    def close(self) -> None:
        """End it; who waits for a change is woken. Closing again is no error."""
        if os.getpid() == self._pid:
            self._engine.detach(self._bell)

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise Forked("watch devices: the watch is of the parent process: make one of your own")

    def _take(self) -> Change | None:
        """What is different since the last call; None when nothing is."""
        self._bell.silence()
        now, before = self._engine.published, self._seen
        if now is before:
            return None
        self._seen = now
        change = Change.between(before, now)
        first = before is self._engine.nothing
        told = first or change.differs or now.problems != before.problems
        return change if told else None


class Watch(Changes):
    """The devices that a query asks for, followed by a thread of its own until it is closed.

    It is an iterator of changes, in threads and in asyncio; `next` takes a timeout, `fileno` gives
    what poll(2) waits for, `subscribe` calls back. Close it, best by ``with``; one that is dropped
    or still there at the end of the process closes itself.

    The thread runs the sources; it never runs code of yours. It is not there in a forked child:
    there the methods raise `hal.Forked`, and closing does nothing.

    Args:
        query: Which devices, see `Query`; "" for all.
        network: Search the network too, by mDNS and SSDP.
        hosts: Machines to ask by name or address where multicast does not reach.
        domains: Domains to search by unicast DNS.
        interfaces: Names of the network interfaces to search on; None for all.

    Raises:
        InvalidArgument: The query is ill-formed.
    """

    def __init__(
        self,
        query: str = "",
        *,
        network: bool = True,
        hosts: Sequence[str] = (),
        domains: Sequence[str] = (),
        interfaces: Sequence[str] | None = None,
    ) -> None:
        self.query = Query.parse(query)
        names: list[tuple[str, tuple[object, ...]]] = [("local", ())]
        if not self.query.local:
            names += [(name, (interfaces,)) for name in ("mdns", "ssdp") if network]
            names += [("static", (tuple(hosts),))] if hosts else []
            names += [("dns", (tuple(domains),))] if domains else []
        engine = Engine(self.query, names)
        super().__init__(engine)
        self._end = weakref.finalize(self, engine.stop)
        engine.start()

    @property
    def records(self) -> tuple[Record, ...]:
        """The set now; what `next` gives is not touched by it."""
        self._check()
        return self._engine.now().records

    def searching(self) -> float:
        """For how many seconds all sources have been searching; 0 while one still starts."""
        return self._engine.searching()

    def changes(self) -> Changes:
        """A further consumer, which begins with the whole set.

        It ends with the watch; the caller may close it before.
        """
        self._check()
        return Changes(self._engine, self)

    def subscribe(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Call back at each change, the whole set first, in a thread made for it.

        A callback that takes long is called less often, with everything that happened meanwhile;
        one that raises is logged (logger "hal.discovery") and called again at the next change.

        Returns:
            What ends it; a call that is running is waited for, but not by itself.
        """
        changes = self.changes()
        thread = threading.Thread(
            target=_deliver, args=(changes, callback), name="hal-watch-callback", daemon=True
        )
        thread.start()

        def end() -> None:
            changes.close()
            if thread is not threading.current_thread():
                thread.join()

        return end

    def close(self) -> None:
        """Stop the sources and end all consumers. Closing again is no error."""
        if os.getpid() == self._pid:
            self._end()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _deliver(changes: Iterable[Change], callback: Callable[[Change], object]) -> None:
    for change in changes:
        _call(callback, change)


def _call(callback: Callable[[Change], object], change: Change) -> None:
    try:
        callback(change)
    except Exception:  # noqa: BLE001 - it is the caller's code
        _log.exception("watch devices: the callback %r failed", callback)


def _arrive(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
