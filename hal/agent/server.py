# SPDX-License-Identifier: Apache-2.0
"""The listener of an agent: who comes in, how many, and one thread a link."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import threading
import time
from typing import Final

from cryptography import x509

from hal.errors import Error
from hal.link import tls
from hal.link.credentials import Credentials
from hal.link.identity import identity_of
from hal.link.token import Judge

from .exports import Exports
from .session import Session

PORT: Final = 7362
PATIENCE: Final = 2.0
"""Seconds from the connection to the end of HELLO."""
LINKS: Final = 256
PER_ADDRESS: Final = 64

log = logging.getLogger("hal.agent")


class Agent:
    """Serves exported devices.

    Args:
        credentials: This device's.
        exports: What is served.
        address: Host and port to listen on; port 0 takes any.
    """

    def __init__(
        self, credentials: Credentials, exports: Exports, address: tuple[str, int] = ("", PORT)
    ) -> None:
        self._credentials = credentials
        self._exports = exports
        self._context = tls.listener_context(credentials)
        self._judge = Judge(credentials.token_key, credentials.ca, credentials.identity.id)
        self._lock = threading.Lock()
        self._links: dict[socket.socket, str] = {}
        self._listener = socket.create_server(address, backlog=LINKS)
        self._listener.setblocking(False)
        self._stop, self._stopped = socket.socketpair()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Serve until `stop`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while self._stopped not in [key.fileobj for key, _ in selector.select()]:
                self._accept()
        self._listener.close()
        self._stopped.close()
        self._end_links()

    def stop(self) -> None:
        """End `serve` and every link; from any thread."""
        self._stop.close()

    def _end_links(self) -> None:
        with self._lock:
            links = list(self._links)
        for link in links:
            with contextlib.suppress(OSError):  # It has ended by itself.
                link.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + PATIENCE
        while self._links and time.monotonic() < until:
            time.sleep(0.01)

    def _accept(self) -> None:
        try:
            link, address = self._listener.accept()
        except OSError as error:
            log.warning("accept: %s", error)
            time.sleep(0.01)
            return
        host = str(address[0])
        with self._lock:
            same = sum(1 for other in self._links.values() if other == host)
            full = len(self._links) >= LINKS or same >= PER_ADDRESS
            if not full:
                self._links[link] = host
        if full:
            log.warning("%s: refused: too many links", host)
            link.close()
            return
        threading.Thread(target=self._serve_one, args=(link, host), daemon=True).start()

    def _serve_one(self, link: socket.socket, host: str) -> None:
        until = time.monotonic() + PATIENCE
        try:
            self._attend(link, host, until)
        except (OSError, ValueError) as error:
            log.warning("%s: %s", host, error)
        finally:
            link.close()
            with self._lock:
                del self._links[link]

    def _attend(self, link: socket.socket, host: str, until: float) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        link.settimeout(PATIENCE)
        duplicate = link.dup()
        with self._context.wrap_socket(duplicate, server_side=True) as secure:
            if secure.selected_alpn_protocol() != tls.PROTOCOL:
                log.warning("%s: refused: the protocol is not %s", host, tls.PROTOCOL)
                return
            who = identity_of(x509.load_der_x509_certificate(secure.getpeercert(True) or b""))
            session = Session(
                secure, self._exports, self._judge, self._credentials.token, f"{who} at {host}"
            )
            log.info("%s: link of %s", host, who)
            try:
                session.run(until)
            except Error as refusal:
                log.warning("%s: refused: %s", host, refusal)
            except ssl.SSLError as error:
                log.warning("%s: %s", host, error)
