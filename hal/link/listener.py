# SPDX-License-Identifier: Apache-2.0
"""A listening socket with a thread a connection, and bounds on how many there are."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
"""Where everything listens unless it is told otherwise."""
_RECOVER = 0.01
"""Seconds until the next try when the machine has no descriptors left."""

log = logging.getLogger("hal.link")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections there may be at one time; the next ones are closed at once.

    Attributes:
        total: In all.
        per_address: Of one address.
    """

    total: int
    per_address: int


class Listener:
    """Accepts connections until it is stopped.

    Args:
        address: Host and port; "" is every IPv4 address, "::" every address; port 0 takes any.
        bounds: How many.
        attend: Serves one connection (the socket, the other end's address), in a thread of its own.
            The socket is closed after it. What it raises as OSError or ValueError is logged.
    """

    def __init__(
        self,
        address: tuple[str, int],
        bounds: Bounds,
        attend: Callable[[socket.socket, str], None],
    ) -> None:
        self._bounds = bounds
        self._attend = attend
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
        self._socket = socket.create_server(
            address, family=family, backlog=bounds.total, dualstack_ipv6=both
        )
        self._socket.setblocking(False)
        self._stop, self._stopped = socket.socketpair()
        self._lock = threading.Lock()
        self._guests: dict[threading.Thread, tuple[socket.socket, str]] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def serve(self, *, cut: bool) -> None:
        """Accept until `stop`, then wait for those being served.

        Args:
            cut: End their connections, rather than let them come to their end.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while self._stopped not in [key.fileobj for key, _ in selector.select()]:
                self._accept()
        self._socket.close()
        self._stopped.close()
        with self._lock:
            guests = dict(self._guests)
        for thread, (link, _) in guests.items():
            if cut:
                with contextlib.suppress(OSError):  # It has ended by itself.
                    link.shutdown(socket.SHUT_RDWR)
            thread.join()

    def stop(self) -> None:
        """End `serve`; from any thread or signal handler, more than once."""
        self._stop.close()

    def _accept(self) -> None:
        try:
            link, address = self._socket.accept()
        except OSError as error:  # The guest went away, or there are no descriptors left.
            log.warning("accept: %s", error)
            time.sleep(_RECOVER)
            return
        host = str(address[0])
        thread = threading.Thread(target=self._guest, args=(link, host), daemon=True)
        with self._lock:
            count = Counter(other for _, other in self._guests.values())
            full = count.total() >= self._bounds.total or count[host] >= self._bounds.per_address
            if not full:
                self._guests[thread] = link, host
        if full:
            log.warning("%s: refused: too many connections", host)
            link.close()
            return
        thread.start()

    def _guest(self, link: socket.socket, host: str) -> None:
        try:
            with link:
                self._attend(link, host)
        except (OSError, ValueError) as error:
            log.warning("%s: %s", host, error)
        finally:
            with self._lock:
                del self._guests[threading.current_thread()]
