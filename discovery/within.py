# SPDX-License-Identifier: Apache-2.0
"""Waiting for a limited time, and ending tasks, in asyncio.

`asyncio.wait_for` of Python 3.10 and 3.11 forgets that it was cancelled when what it waits for ends
at the same moment (cpython gh-81839): a task that loops around it then never ends. And
`asyncio.gather`, when cancelled, cancels once more what is already closing its sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, or raises.

    Raises:
        TimeoutError: It took longer (`asyncio.TimeoutError`); it has been cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        await end((task,))


async def together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run jobs side by side until all have ended, one fails, or this is cancelled; then end all.

    Raises:
        Exception: What the first one that failed has raised.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end(tasks)


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks, once each, and wait until they have ended, even if cancelled meanwhile.

    What they raise at last is of no interest: asyncio would complain that nobody asked for it.
    """
    tasks = tuple(tasks)
    left = {task for task in tasks if not task.done()}
    cancelled = False
    for task in left:
        task.cancel()
    while left:
        cancelled = await _interrupted(left) or cancelled
        left = {task for task in left if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()
    if cancelled:
        raise asyncio.CancelledError


async def _interrupted(tasks: Iterable[asyncio.Future[Any]]) -> bool:
    """Wait for tasks. Was it cancelled?"""
    try:
        await asyncio.wait(tuple(tasks))
    except asyncio.CancelledError:
        return True
    return False
