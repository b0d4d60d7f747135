# SPDX-License-Identifier: Apache-2.0
"""Working on a request no longer than its deadline, and no longer than its client is there."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

from .answer import ClientGone

PATIENCE = 0.02
"""Seconds before it is looked whether the client has left: most requests are answered by then."""


class Deadline:
    """Ends the block by `asyncio.TimeoutError` after some seconds. One task uses it.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.until = self._loop.time() + seconds
        self._passed = False
        self._timer: asyncio.TimerHandle

    def shorten(self, seconds: float) -> None:
        """Let it be earlier, so many seconds from now; never later than it was."""
        self.until = min(self.until, self._loop.time() + seconds)
        self._timer.cancel()
        self._timer = self._loop.call_at(self.until, self._pass)

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it runs in an event loop
        self._task = task
        self._timer = self._loop.call_at(self.until, self._pass)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._passed and isinstance(error, asyncio.CancelledError):
            raise asyncio.TimeoutError from error


class Attendance:
    """Ends the block by `ClientGone` when the client leaves. One task uses it.

    The body of the request has been read: what comes next from `receive` is that it has gone.

    Args:
        receive: Of the request.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watch: asyncio.Task[None] | None = None

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()

    def _begin(self) -> None:
        self._watch = asyncio.ensure_future(self._look())

    def __enter__(self) -> Attendance:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it runs in an event loop
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError):
            raise ClientGone from error
