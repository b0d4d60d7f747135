# SPDX-License-Identifier: Apache-2.0
"""Long work done ahead of the tests that need it, on the processor that they leave idle.

Most tests use one processor and much of the time none. What takes a compiler minutes is therefore
begun as soon as the tests are collected, one piece after the other, in one thread; the test that
needs a piece waits for it, or does it by itself when its turn had not come yet.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

_lock = Lock()
_executor = ThreadPoolExecutor(1, "ahead")
_begun: dict[str, Future[Any]] = {}


def begin(key: str, work: Callable[[], object]) -> None:
    """Do a piece of work ahead. What it returns or raises is kept for `result`."""
    with _lock:
        if key not in _begun:
            _begun[key] = _executor.submit(work)


def result(key: str, work: Callable[[], T]) -> T:
    """What a piece of work gave; it is done once in a test run, here if not ahead.

    Raises:
        BaseException: What the work raised; again at each call.
    """
    with _lock:
        begun = _begun.get(key)
        mine = begun is None or begun.cancel()
        future = Future() if begun is None or mine else begun
        _begun[key] = future
        if mine:
            future.set_running_or_notify_cancel()  # nobody else takes it over
    if mine:
        _do(future, work)
    value: T = future.result()
    return value


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again by result()
        future.set_exception(error)


def stop() -> None:
    """Begin nothing more."""
    _executor.shutdown(wait=True, cancel_futures=True)
