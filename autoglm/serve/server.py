# SPDX-License-Identifier: Apache-2.0
"""The server under the application: sockets, TLS, signals, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import Error
from .access import Access
from .application import Application
from .limits import Limits
from .transport import Joined
from .wake import WakeLatency

LOOPBACK = "127.0.0.1"
"""Where it listens unless it is told otherwise."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""By which it is told to end; a second SIGINT does not wait for requests."""

log = logging.getLogger("autoglm")


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with the client's certificate in the scope of each request.

    A head that takes longer than `Limits.head` ends the connection: the server looks at each now
    and then, since a timer for each request would cost every request.
    """

    head: float = Limits.head
    _until = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in."""
        super().connection_made(transport)
        self.transport = Joined(transport, self.loop)  # type: ignore[assignment]
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._certificate = (tls and tls.getpeercert(binary_form=True)) or b""
        self._until = self.loop.time() + self.head

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._until = self.loop.time() + self.head
        self.scope["certificate"] = self._certificate  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """It is there."""
        self._until = math.inf
        super().on_headers_complete()

    def look(self) -> None:
        """End the connection when its head takes too long."""
        if self.loop.time() > self._until:
            self.transport.close()


class Server(uvicorn.Server):
    """Serves an application until SIGTERM or SIGINT, then lets requests come to their end.

    Args:
        application: What it serves.
        host: Address to listen on.
        port: TCP; 0 takes any.
        limits: Of the application.
        access: With TLS; None: without.
        began: Called with host and port once it listens and the models are loaded.
        wake: Told whether requests come, and closed in the end; None: processors sleep as they
            like.
    """

    def __init__(
        self,
        application: Application,
        host: str,
        port: int,
        limits: Limits,
        access: Access | None = None,
        began: Callable[[str, int], None] | None = None,
        wake: WakeLatency | None = None,
    ) -> None:
        self._application = application
        self._began = began
        self._wake = wake
        self._done = 0
        options: dict[str, Any] = {}
        if access is not None:
            options["ssl_context_factory"] = lambda _config, _default: access.context()
        protocol = type("LimitedProtocol", (Protocol,), {"head": limits.head})
        super().__init__(
            uvicorn.Config(
                application,
                host,
                port,
                interface="asgi3",
                http=protocol,
                loop="uvloop",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=limits.connections,
                backlog=limits.connections,
                timeout_graceful_shutdown=int(limits.grace),
                **options,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order by SIGTERM and SIGINT; uvicorn's own raises them again in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: Any = None) -> None:
        """Load the models, then listen.

        Raises:
            Error: A model cannot be loaded.
        """
        await self._application.start()
        await super().startup(sockets)
        if self._began is not None and self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._began(host, port)

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second."""
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.look()
        if self._wake is not None:
            tally = self._application.tally
            self._wake.look(busy=tally.requests > 0 or tally.done != self._done)
            self._done = tally.done
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Any = None) -> None:
        """Listen no more, answer what is there, give the models back."""
        self._application.stopping = True
        await super().shutdown(sockets)
        await self._application.stop()
        if self._wake is not None:
            self._wake.close()


def check_host(host: str, access: Access | None) -> None:
    """See that a service that others can reach knows them.

    Raises:
        Error: It would listen beyond the loopback without TLS.
    """
    if access is not None or host == "localhost":
        return
    try:
        alone = ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    if not alone:
        raise Error(
            f"listen on {host}: whoever reaches it could use it; give --own FOLDER (hal-ca enrol"
            " makes it) for TLS and tokens, or --host 127.0.0.1"
        )
