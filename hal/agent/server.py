# SPDX-License-Identifier: Apache-2.0
"""The listener of an agent: who comes in, how many, and one thread a link."""

from __future__ import annotations

import logging
import socket
import time
from typing import Final

from hal._link import Context, Link
from hal.errors import Error
from hal.link.credentials import Credentials
from hal.link.listener import LOOPBACK, Bounds, Listener
from hal.link.token import Judge

from .audit import Audit, reason_of
from .leases import Leases
from .peer import Peer
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
        leases: What is served.
        address: Host and port to listen on; port 0 takes any.
    """

    def __init__(
        self,
        credentials: Credentials,
        leases: Leases,
        address: tuple[str, int] = (LOOPBACK, PORT),
    ) -> None:
        self._credentials = credentials
        self._leases = leases
        self._audit = Audit(None)
        self._context = Context(str(credentials.folder))
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

    def _attend(self, connection: socket.socket, host: str) -> None:
        until = time.monotonic() + PATIENCE
        link = Link(self._context, connection.fileno())
        try:
            peer = Peer.of(link.handshake(until), host)
            log.info("%s: link of %s", host, peer)
            own = lambda: self._credentials.token  # noqa: E731
            Session(link, peer, self._leases, self._judge, own, self._audit).run(until)
        except (Error, ValueError) as refusal:
            self._audit.note("refused", reason_of(refusal), detail=str(refusal), address=host)
