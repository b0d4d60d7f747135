# SPDX-License-Identifier: Apache-2.0
"""Calls that run beside the check, in threads of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .outcome import Broken
from .subject import WAIT

T = TypeVar("T")


class Task(Generic[T]):
    """A call in a thread; ``seconds`` and ``ended`` tell when it ended."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._values: list[T] = []
        self._errors: list[Exception] = []
        self.ended = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._call())
        except Exception as error:  # noqa: BLE001 - raised again by result()
            self._errors.append(error)
        self.ended = time.monotonic()

    def result(self, what: str, timeout: float = 4 * WAIT) -> T:
        """What the call returned; a call that does not end breaks the contract."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise Broken(f"{what} did not end within {timeout:.0f} s")
        if self._errors:
            raise self._errors[0]
        return self._values[0]

    @property
    def waits(self) -> bool:
        """Does it still run?"""
        return self._thread.is_alive()
