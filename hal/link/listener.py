# SPDX-License-Identifier: Apache-2.0
"""Listening sockets with a thread a connection, and bounds on how many there are."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
        sockets: Listening ones to use instead of `address`; they are taken over.
        turned_away: Told the address of each connection that was one too many; None: it is logged.

    Attributes:
        addresses: Every host and port where it listens.
        bounds: May be changed at any time.
        turned: When it last answered `poke`, as `time.monotonic()`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        bounds: Bounds,
        attend: Callable[[socket.socket, str], None],
        *,
        sockets: Sequence[socket.socket] = (),
        turned_away: Callable[[str], None] | None = None,
    ) -> None:
        self.bounds = bounds
        self.turned = time.monotonic()
        self._attend = attend
        self._turned_away = turned_away or _log_turned_away
        self._sockets = list(sockets) or [_listening(address, bounds.total)]
        for one in self._sockets:
            one.setblocking(False)
        self.addresses: list[tuple[str, int]] = [one.getsockname()[:2] for one in self._sockets]
        self._stop, self._stopped = socket.socketpair()
        self._lock = threading.Lock()
        self._guests: dict[threading.Thread, tuple[socket.socket, str]] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.addresses[0][1]

    def serve(self, *, cut: bool, patience: float | None = None) -> None:
        """Accept until `stop`, then wait for those being served.

        Args:
            cut: End their connections, rather than let them come to their end.
            patience: Seconds to wait for them in all; None: until they have ended.
        """
        with selectors.DefaultSelector() as selector:
            for one in (*self._sockets, self._stopped):
                selector.register(one, selectors.EVENT_READ)
            while all(self._turn(key.fileobj) for key, _ in selector.select()):
                pass
        for one in (*self._sockets, self._stopped):
            one.close()
        with self._lock:
            guests = dict(self._guests)
        if cut:
            for link, _ in guests.values():
                with contextlib.suppress(OSError):  # It has ended by itself.
                    link.shutdown(socket.SHUT_RDWR)
        until = None if patience is None else time.monotonic() + patience
        for thread in guests:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def stop(self) -> None:
        """End `serve`; from any thread or signal handler, more than once."""
        self._stop.close()

    def poke(self) -> None:
        """Ask it for a sign of life, `turned`; from any thread."""
        with contextlib.suppress(OSError):  # It was stopped, or has many such questions already.
            self._stop.send(b"?", socket.MSG_DONTWAIT)

    def _turn(self, ready: object) -> bool:
        """Do what there is to do; False: it was stopped."""
        self.turned = time.monotonic()
        if ready is self._stopped:
            return bool(self._stopped.recv(64))
        for one in self._sockets:
            if one is ready:
                self._accept(one)
        return True

    def _accept(self, listening: socket.socket) -> None:
        try:
            link, address = listening.accept()
        except BlockingIOError:  # Another process that has the same socket took it.
            return
        except OSError as error:  # The guest went away, or there are no descriptors left.
            log.warning("accept: %s", error)
            time.sleep(_RECOVER)
            return
        host = str(address[0]).removeprefix("::ffff:")  # IPv4 on a socket of both (RFC 4291).
        thread = threading.Thread(target=self._guest, args=(link, host), daemon=True)
        with self._lock:
            count = Counter(other for _, other in self._guests.values())
            full = count.total() >= self.bounds.total or count[host] >= self.bounds.per_address
            if not full:
                self._guests[thread] = link, host
        if full:
            self._turned_away(host)
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


def _listening(address: tuple[str, int], backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=backlog, dualstack_ipv6=both)


def _log_turned_away(host: str) -> None:
    log.warning("%s: refused: too many connections", host)
