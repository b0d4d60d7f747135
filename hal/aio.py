# SPDX-License-Identifier: Apache-2.0
"""Devices under asyncio: by readiness of the descriptor, without threads.

A call first tries what can be done at once, and only then waits for the descriptor. A task that is
cancelled is cancelled in that wait, when nothing has been read: no byte is lost. Of the loop only
add_reader(), add_writer() and call_at() are used, so any loop that has them will do.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakKeyDictionary

from .errors import Cancelled, InvalidArgument, Timeout, Unsupported, WouldBlock

if TYPE_CHECKING:
    from types import EllipsisType

    from typing_extensions import Buffer

    from ._core import AnyBuffer
    from .device import Device

T = TypeVar("T")

NAMES = {select.POLLIN: "read", select.POLLOUT: "write"}


class Call:
    """One call that is awaited. Its methods run in the loop's thread, but for ``end``."""

    def __init__(self, waits: Waits, device: Device, events: int, limit: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.waits = waits
        self.name = f'{NAMES[events]} "{device.uri}"'
        self.events = events
        self.limit = limit  # in the loop's time; None: never
        self.ends = waits.ends
        self.reads = waits.reads
        self.future: asyncio.Future[bool] | None = None
        self.watched = -1

    async def sleep(self, fd: int = -1) -> None:
        """Sleep until ``fd`` is ready, or wake() is called.

        Raises:
            Timeout: The limit came first.
            Cancelled: end() came first.
        """
        self.future = self.loop.create_future()
        timer = None if self.limit is None else self.loop.call_at(self.limit, self.wake, False)
        self.waits.sleeping.add(self)
        try:
            self.check()
            if fd >= 0 and self.reads != self.waits.reads:
                self.wake()
            elif fd >= 0:
                self.watch(fd)
            good = await self.future
            self.check()  # also when somebody who was ended before passed on the turn
            if not good:
                raise Timeout(f"{self.name}: timed out")
        finally:
            self.waits.sleeping.discard(self)
            self.unwatch()
            if timer is not None:
                timer.cancel()

    def check(self) -> None:
        """Has end() been called since the call began?"""
        if self.ends != self.waits.ends:
            raise Cancelled(f"{self.name}: {self.waits.reason}")

    def watch(self, fd: int) -> None:
        """Have the loop call wake() when the descriptor is ready."""
        add = self.loop.add_reader if self.events == select.POLLIN else self.loop.add_writer
        try:
            add(fd, self.wake)
        except PermissionError:  # epoll(7) refuses what is always ready: a regular file
            self.wake()
        else:
            self.watched = fd

    def unwatch(self) -> None:
        """Stop watching: at the latest before the descriptor is closed and its number used anew."""
        fd, self.watched = self.watched, -1
        if fd >= 0 and self.events == select.POLLIN:
            self.loop.remove_reader(fd)
        elif fd >= 0:
            self.loop.remove_writer(fd)

    def wake(self, good: bool = True) -> None:
        """End the sleep, if there is one."""
        self.unwatch()
        if self.future is not None and not self.future.done():
            self.future.set_result(good)

    def fail(self, reason: str) -> None:
        """End the sleep with Cancelled."""
        self.unwatch()
        if self.future is not None and not self.future.done():
            self.future.set_exception(Cancelled(f"{self.name}: {reason}"))

    def end(self, reason: str) -> None:
        """fail() from any thread. The descriptor is no longer watched when it returns."""
        done = threading.Event()

        def fail() -> None:
            self.fail(reason)
            done.set()

        try:
            if asyncio._get_running_loop() is self.loop:
                fail()
            else:
                self.loop.call_soon_threadsafe(fail)
                done.wait(0.05)  # it takes longer only while the loop itself is held up
        except RuntimeError:  # the loop was closed: nobody waits any more
            pass


class Waits:
    """What is awaited of one device: in each loop and direction one call after the other.

    Attributes:
        sleeping: Calls that sleep.
        ends: Counts end(); who sees another number than before must not go to sleep.
        reads: Counts reads, which may have moved bytes from the descriptor into the library's
            buffer, where those who sleep in another loop would not see them.
        reason: What end() was called with.
    """

    def __init__(self) -> None:
        self.sleeping: set[Call] = set()
        self.ends = 0
        self.reads = 0
        self.reason = ""
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, deque[Call]]] = (
            WeakKeyDictionary()
        )

    def end(self, reason: str) -> None:
        """Every call that is awaited now ends with Cancelled. Any thread."""
        self.reason = reason
        self.ends += 1
        for call in list(self.sleeping):
            call.end(reason)

    def _queue(self, loop: asyncio.AbstractEventLoop, events: int) -> deque[Call]:
        queues = self._queues.get(loop)
        if queues is None:
            queues = {select.POLLIN: deque(), select.POLLOUT: deque()}
            self._queues[loop] = queues
        return queues[events]

    async def run(
        self,
        device: Device,
        events: int,
        timeout: float | EllipsisType | None,
        attempt: Callable[[], T],
    ) -> T:
        """Call ``attempt`` until it no longer raises WouldBlock, waiting for readiness between."""
        seconds = _seconds(device, timeout)
        loop = asyncio.get_running_loop()
        queue = self._queue(loop, events)
        if not queue:
            try:
                return self._done(loop, attempt())
            except WouldBlock:
                if seconds == 0:
                    raise
        call = Call(self, device, events, None if seconds is None else loop.time() + seconds)
        if seconds == 0:
            raise WouldBlock(f"{call.name}: another task has its turn (timeout 0)")
        queue.append(call)
        try:
            while queue[0] is not call:
                await call.sleep()
            while True:
                call.reads = self.reads
                try:
                    return self._done(loop, attempt())
                except WouldBlock:
                    fd = _descriptor(device, events)
                await call.sleep(fd)
        finally:
            queue.remove(call)
            if queue:
                queue[0].wake()

    def _done(self, loop: asyncio.AbstractEventLoop, result: T) -> T:
        """After a call that moved bytes: those who sleep in other loops look again."""
        self.reads += 1
        for call in list(self.sleeping) if self.sleeping else ():
            if call.loop is not loop and call.events == select.POLLIN:
                with contextlib.suppress(RuntimeError):  # that loop was closed
                    call.loop.call_soon_threadsafe(call.wake)
        return result

    async def write(
        self, device: Device, buffer: AnyBuffer, timeout: float | EllipsisType | None
    ) -> int:
        """Write all of ``buffer``, in one turn."""
        with memoryview(cast("Buffer", buffer)) as view, view.cast("B") as data:
            done = 0

            def attempt() -> int:
                nonlocal done
                while done < len(data):
                    done += device.write(data[done:], 0)
                return done

            try:
                return await self.run(device, select.POLLOUT, timeout, attempt)
            except Timeout as error:
                raise Timeout(f"{error} ({done} of {len(data)} bytes were taken)") from None


def _seconds(device: Device, timeout: float | EllipsisType | None) -> float | None:
    if timeout is ...:
        return device.timeout
    if timeout is None or timeout >= 0:
        return timeout
    raise InvalidArgument(
        f"timeout must be 0 or more seconds, or None to wait for ever; got {timeout}"
    )


def _descriptor(device: Device, events: int) -> int:
    try:
        return device.fileno(events)
    except Unsupported:
        raise Unsupported(
            f'{NAMES[events]} "{device.uri}": driver "{device.driver}" gives no descriptor that '
            "asyncio could wait for; use a thread"
        ) from None
