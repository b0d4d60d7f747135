# SPDX-License-Identifier: Apache-2.0
"""Listening sockets with a thread a connection, and bounds on how many there are."""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
"""Where everything listens unless it is told otherwise."""
SPARE = 8
"""Threads that have nothing to do, at most: one that is there is quicker than one that is made."""
_SPARE_TIME = 0.1
"""Seconds for which such a thread waits for something to do."""
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
        self._selector = selectors.DefaultSelector()
        for one in (*self._sockets, self._stopped):
            self._selector.register(one, selectors.EVENT_READ)
        self._guests: dict[socket.socket, str] = {}
        self._changed = threading.Condition()  # Over the guests, and how many threads are spare.
        self._spare = 0
        self._next: queue.SimpleQueue[tuple[socket.socket, str] | None] = queue.SimpleQueue()

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
        with self._selector:
            while all(self._turn(key.fileobj) for key, _ in self._selector.select()):
                pass
        for one in (*self._sockets, self._stopped):
            one.close()
        with self._changed:
            if cut:
                for link in self._guests:
                    with contextlib.suppress(OSError):  # It has ended by itself.
                        link.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._guests, patience)
            for _ in range(self._spare):
                self._next.put(None)
            self._spare = 0

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
        with self._changed:
            count = Counter(self._guests.values())
            full = count.total() >= self.bounds.total or count[host] >= self.bounds.per_address
            spare = not full and self._spare > 0
            if not full:
                self._guests[link] = host
                self._spare -= spare
        if full:
            self._turned_away(host)
            link.close()
        elif spare:
            self._next.put((link, host))
        else:
            threading.Thread(target=self._serve_guests, args=(link, host), daemon=True).start()

    def _serve_guests(self, link: socket.socket, host: str) -> None:
        """Be the thread of a connection, and then of others."""
        guest: tuple[socket.socket, str] | None = link, host
        while guest is not None:
            guest = self._next_guest() if self._serve_guest(*guest) else None

    def _serve_guest(self, link: socket.socket, host: str) -> bool:
        """Whether this thread is spare then."""
        try:
            with link:
                self._attend(link, host)
        except (OSError, ValueError) as error:
            log.warning("%s: %s", host, error)
        finally:
            with self._changed:
                del self._guests[link]
                stays = self._spare < SPARE and self._stop.fileno() >= 0
                self._spare += stays
                self._changed.notify_all()
        return stays

    def _next_guest(self) -> tuple[socket.socket, str] | None:
        try:
            return self._next.get(timeout=_SPARE_TIME)
        except queue.Empty:
            with self._changed:
                if self._spare:
                    self._spare -= 1
                    return None
            return self._next.get()  # Each that was spare is counted on: something comes.


def _listening(address: tuple[str, int], backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=backlog, dualstack_ipv6=both)


def _log_turned_away(host: str) -> None:
    log.warning("%s: refused: too many connections", host)
