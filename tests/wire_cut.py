# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that can be cut, so that a link is lost where a test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """Carries connections to a port of this machine.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._deaf = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lead(self, to: int) -> None:
        """Carry what comes from now on to another port."""
        self._to = to

    def deafen(self) -> None:
        """Lose what the far end sends from now on."""
        self._deaf = True

    def cut(self) -> None:
        """End every connection; the next ones are carried again."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self._deaf = False
        for near, far in pairs:
            for end in (near, far):
                with contextlib.suppress(OSError):  # It has ended by itself.
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End."""
        self._listener.shutdown(socket.SHUT_RDWR)  # Whoever waits in it is woken.
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # It was closed.
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # Nobody listens there.
                near.close()
                continue
            for end in (near, far):  # Before anybody may cut it, and close them.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                deaf = source is far
                threading.Thread(target=self._carry, args=(source, sink, deaf), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, from_far: bool) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(65536):
                if not (from_far and self._deaf):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
