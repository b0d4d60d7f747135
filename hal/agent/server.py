# SPDX-License-Identifier: Apache-2.0
"""The listener of an agent: who comes in, how many, and one thread a link."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from typing import Final

from cryptography import x509

from hal.errors import Error
from hal.link import tls
from hal.link.credentials import Credentials
from hal.link.identity import identity_of
from hal.link.listener import LOOPBACK, Bounds, Listener
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
        self,
        credentials: Credentials,
        exports: Exports,
        address: tuple[str, int] = (LOOPBACK, PORT),
    ) -> None:
        self._credentials = credentials
        self._exports = exports
        self._context = tls.listener_context(credentials)
        self._judge = Judge(credentials.token_key, credentials.ca, credentials.identity.id)
        self._listener = Listener(address, Bounds(LINKS, PER_ADDRESS), self._attend)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    def serve(self) -> None:
        """Serve until `stop`."""
        self._listener.serve(cut=True)

    def stop(self) -> None:
        """End `serve` and every link; from any thread or signal handler."""
        self._listener.stop()

    def _attend(self, link: socket.socket, host: str) -> None:
        until = time.monotonic() + PATIENCE
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        link.settimeout(PATIENCE)
        # A duplicate: wrapping takes the socket over, and the listener must be able to end it.
        with self._context.wrap_socket(link.dup(), server_side=True) as secure:
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
