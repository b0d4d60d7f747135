# SPDX-License-Identifier: Apache-2.0
"""Waiting for a limited time, in asyncio.

`asyncio.wait_for` of Python 3.10 and 3.11 forgets that it was cancelled when what it waits for ends
at the same moment (cpython gh-81839): a task that loops around it then never ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
