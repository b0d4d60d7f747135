# SPDX-License-Identifier: Apache-2.0
"""The host's end of one of the guest's serial lines."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from .qmp import connect


class Chardev:
    """A serial line's other end: keeps what arrives, or sends it straight back.

    Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Connect to the socket that QEMU has for the line."""
        self._peer = connect(path, timeout=20)
        self._arrived = bytearray()
        self._echo = False
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name=path.stem, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._next():
            if self._echo:
                self.send(data)
                continue
            with self._changed:
                self._arrived += data
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _next(self) -> bytes:
        try:
            return self._peer.recv(65536)
        except OSError:  # the guest has ended
            return b""

    def send(self, data: bytes) -> None:
        """Send bytes to the guest."""
        self._peer.sendall(data)

    def receive(self, size: int, timeout: float) -> bytes:
        """Give the next ``size`` bytes, or those that came within ``timeout`` seconds."""
        end = time.monotonic() + timeout
        with self._changed:
            while len(self._arrived) < size and not self._ended:
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            data = bytes(self._arrived[:size])
            del self._arrived[:size]
        return data

    def echo(self, on: bool) -> None:
        """From now on send everything back as it comes, or keep it again."""
        self._echo = on

    def clear(self) -> None:
        """Forget what has arrived."""
        with self._changed:
            self._arrived.clear()

    def close(self) -> None:
        """Hang up."""
        self._peer.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._peer.close()
