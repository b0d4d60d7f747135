# SPDX-License-Identifier: Apache-2.0
"""Working on a request no longer than its deadline, and no longer than its client is there."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from .answer import ClientGone

PATIENCE = 0.02
"""Seconds before it is looked whether the client has left: most requests are answered by then."""


class Deadline:
    """Ends the block by `asyncio.TimeoutError` after some seconds. One task uses it.

    It has one timer, which a request that is answered at once starts and stops, and no more.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + seconds
        self._receive: Receive | None = None
        self._watch: asyncio.Task[None] | None = None
        self._woken = self._passed = self._gone = False

    def attend(self, receive: Receive) -> None:
        """From now on the block ends by `ClientGone` too: when the client leaves.

        Args:
            receive: Of the request. Its body has been read: what comes next is that it has gone.
        """
        self._receive = receive
        if self._woken:
            self._watch = self._loop.create_task(self._look(receive))

    def _wake(self) -> None:
        if self._loop.time() >= self._until:
            self._passed = True
            self._task.cancel()
            return
        self._woken = True
        self._timer = self._loop.call_at(self._until, self._wake)
        if self._receive is not None:
            self.attend(self._receive)

    async def _look(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()

    def __enter__(self) -> Deadline:
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - it runs in an event loop
        self._task = task
        first = min(self._until, self._loop.time() + PATIENCE)
        self._timer = self._loop.call_at(first, self._wake)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if isinstance(error, asyncio.CancelledError):
            if self._passed:
                raise asyncio.TimeoutError from error
            if self._gone:
                raise ClientGone from error
