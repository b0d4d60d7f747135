# SPDX-License-Identifier: Apache-2.0
"""Scouts and announcers that run on a host, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from hal.discovery.announcement import Announcement
from hal.discovery.record import Record
from hal.discovery.roster import Roster
from hal.discovery.scout import Scout

from .looking import OnHost
from .namespaces import PATIENCE, Host, listener

T = TypeVar("T")


class Announcer(Protocol):
    """What announces a device: `MdnsAnnouncer`, `SsdpAnnouncer`."""

    async def start(self) -> None: ...
    async def update(self, announcement: Announcement) -> None: ...
    async def stop(self) -> None: ...


class Loop(OnHost):
    """An event loop on a host's network, in which no callback may raise and no task be left."""

    def __init__(self, host: Host) -> None:
        self.errors: list[str] = []
        super().__init__(host, self._wait)

    async def _wait(self) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.errors.append(_told(context))
        )
        await asyncio.Event().wait()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run something there; what it returns is to come."""
        assert self._loop
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End it; nothing may be left that runs in it, and no callback may have raised."""

        async def others() -> int:
            return len(asyncio.all_tasks()) - 3  # besides that of asyncio.run, of _wait, and this

        deadline = time.monotonic() + PATIENCE
        while (left := self.begin(others()).result(PATIENCE)) and time.monotonic() < deadline:
            time.sleep(0.01)
        super().close()
        assert not left, f"{left} tasks were left"
        assert not self.errors, self.errors[0]


def _told(context: dict[str, Any]) -> str:
    """What an event loop says of a callback that raised."""
    error = context.get("exception")
    return f"{context}\n{''.join(traceback.format_exception(error)) if error else ''}"


@contextmanager
def scouting(host: Host, *scouts: Scout) -> Iterator[Roster]:
    """Scouts at work; what they see."""
    roster = Roster()

    async def expire() -> None:
        while True:
            roster.expire()
            await asyncio.sleep(0.1)

    loop = Loop(host)
    works = [expire(), *(scout.run(roster) for scout in scouts)]
    futures = [loop.begin(work) for work in works]
    try:
        yield roster
        assert not [future.result() for future in futures if future.done()]
    finally:
        for future in futures:
            future.cancel()
        loop.close()


class Device:
    """A device that is announced on a host, and takes connections there."""

    def __init__(self, loop: Loop, announcer: Announcer) -> None:
        self._loop = loop
        self.announcer = announcer

    def update(self, announcement: Announcement) -> None:
        self._loop.do(self.announcer.update(announcement))


@contextmanager
def announcing(
    host: Host, device: Announcement, announcer: Callable[[Announcement], Announcer]
) -> Iterator[Device]:
    """Be a device."""
    loop = Loop(host)
    try:
        with host.call(lambda: listener(device.port)):
            said = announcer(device)
            loop.do(said.start())
            try:
                yield Device(loop, said)
            finally:
                loop.do(said.stop())
    finally:
        loop.close()


def until(
    condition: Callable[[], T | bool | None],
    timeout: float = PATIENCE,
    what: Callable[[], object] = str,
) -> T:
    """Wait until a condition holds, and give its value."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value  # type: ignore[return-value]
        assert time.monotonic() < deadline, f"not within {timeout} s; {what()}"
        time.sleep(0.01)


def seen(roster: Roster, id_: str = "", timeout: float = PATIENCE, **members: object) -> Record:
    """Wait for a record (of one id) with these members."""

    def find() -> Record | None:
        for record in roster.snapshot().records:
            if id_ in ("", record.id) and all(getattr(record, n) == v for n, v in members.items()):
                return record
        return None

    return until(find, timeout, roster.snapshot)


def gone(roster: Roster, id_: str = "", timeout: float = PATIENCE) -> None:
    """Wait until there is no record (of one id) any more."""

    def none() -> bool:
        return all(id_ not in ("", record.id) for record in roster.snapshot().records)

    until(none, timeout, roster.snapshot)
