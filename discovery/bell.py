# SPDX-License-Identifier: Apache-2.0
"""What wakes one who waits, in any thread or event loop."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator


class Bell:
    """An eventfd(2) that may be closed while others wait for it: they are woken first.

    Any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._waiting = 0
        self.closed = False

    def fileno(self) -> int:
        """The descriptor, readable while it rings; -1 once closed."""
        return -1 if self.closed else self._descriptor

    def ring(self) -> None:
        """Wake those who wait, and the next who does."""
        with self._lock:
            if not self.closed:
                self._write()

    def silence(self) -> None:
        """It rings no more, until the next `ring`."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self.closed:
                os.eventfd_read(self._descriptor)

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """The descriptor, which stays open while it is held; -1 when it is closed already."""
        with self._lock:
            descriptor = self.fileno()
            self._waiting += 1
        try:
            yield descriptor
        finally:
            with self._lock:
                self._waiting -= 1
                self._shut()

    def wait(self, seconds: float | None) -> None:
        """Wait until it rings or is closed, at most so long (None: for ever)."""
        with self.held() as descriptor:
            if descriptor >= 0:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                poll.poll(None if seconds is None else max(seconds, 0) * 1000)

    def close(self) -> None:
        """Wake those who wait, for the last time. Closing again is no error."""
        with self._lock:
            if not self.closed:
                self._write()
                self.closed = True
                self._shut()

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):  # It has rung 2^64 - 2 times unheard.
            os.eventfd_write(self._descriptor, 1)

    def _shut(self) -> None:
        if self.closed and not self._waiting and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
