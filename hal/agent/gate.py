# SPDX-License-Identifier: Apache-2.0
"""How many may come in: connections that have not proved themselves, and links that have.

When there are too many of the first kind, the oldest goes and the new one has its place. Whoever
has a certificate needs some milliseconds for the handshake, so a flood of connections that say
nothing shuts nobody out who does.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections import Counter

from .config import Limits


class Gate:
    """Counts them. Threads may share it.

    Args:
        limits: How many of each kind; may be changed at any time.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._half_open: dict[socket.socket, str] = {}  # The oldest first.
        self._links: dict[socket.socket, uuid.UUID] = {}
        self._pushed_out: set[socket.socket] = set()

    @property
    def links(self) -> int:
        """How many have proved themselves."""
        return len(self._links)

    @property
    def half_open(self) -> int:
        """How many have not, yet."""
        return len(self._half_open)

    def enter(self, connection: socket.socket, host: str) -> None:
        """Take a new connection in; another one may have to go for it."""
        with self._lock:
            hosts = Counter(self._half_open.values())
            if hosts[host] >= self.limits.per_address:
                self._push_out(host)
            elif hosts.total() >= self.limits.half_open:
                self._push_out(hosts.most_common(1)[0][0])
            self._half_open[connection] = host

    def admit(self, connection: socket.socket, who: uuid.UUID) -> str:
        """Let a connection be a link, once it is proved who is there.

        Returns:
            Why not; "": it is one.
        """
        with self._lock:
            self._half_open.pop(connection, None)
            count = Counter(self._links.values())
            if count[who] >= self.limits.per_identity:
                return f"{count[who]} links of this controller are open, and no more are allowed"
            if count.total() >= self.limits.links:
                return f"{count.total()} links are open, and no more are allowed"
            self._links[connection] = who
            return ""

    def leave(self, connection: socket.socket) -> bool:
        """A connection has ended.

        Returns:
            Whether it had to go for another one.
        """
        with self._lock:
            self._half_open.pop(connection, None)
            self._links.pop(connection, None)
            pushed_out = connection in self._pushed_out
            self._pushed_out.discard(connection)
            return pushed_out

    def _push_out(self, host: str) -> None:
        oldest = next(c for c, other in self._half_open.items() if other == host)
        del self._half_open[oldest]
        self._pushed_out.add(oldest)
        with contextlib.suppress(OSError):  # It has ended by itself.
            oldest.shutdown(socket.SHUT_RDWR)
