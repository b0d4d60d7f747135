# SPDX-License-Identifier: Apache-2.0
"""The server under the application: sockets, TLS, signals, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import math
import re
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ..errors import Error
from .access import Access
from .application import Application
from .head import head_of, may_become
from .limits import Limits
from .shortcut import Passage, Shortcut
from .transport import Joined
from .wake import WakeLatency

LOOPBACK = "127.0.0.1"
"""Where it listens unless it is told otherwise."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""By which it is told to end; a second SIGINT does not wait for requests."""

PATIENCE = 0.1
"""Seconds for which the rest of a plain request is waited for, from its first byte on, before it
takes the long way, which has its deadline."""

_UPGRADE = re.compile(rb"(?im)^upgrade:[^\n]*\n")
"""A wish to speak something else than HTTP/1.1, which a server may ignore (RFC 9110, section 7.8).
uvicorn's parser would take the body for that something else, and lose it."""

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What the kernel says of an address that this machine does not have."""

log = logging.getLogger("autoglm")


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, and a shortcut for plain requests.

    The scope of each request has two more entries: ``certificate``, the client's; and ``beyond``,
    whether there were as many connections as may be already when this one began.

    A head that takes longer than `Limits.head` ends the connection, and so does none within
    uvicorn's time after an answer by the shortcut: the server looks at each connection now and
    then, since a timer for each request would cost every request.
    """

    shortcut: Shortcut
    limits: Limits
    _until = math.inf
    _beyond = False
    _within = False
    _part = b""
    _rest = math.inf
    _passage: Passage | None = None
    _held = b""
    _last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in."""
        super().connection_made(transport)
        self._joined = Joined(transport, self.loop)
        self.transport = self._joined  # type: ignore[assignment]
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._certificate = (tls and tls.getpeercert(binary_form=True)) or b""
        self._until = self.loop.time() + self.limits.head
        self._beyond = len(self.connections) > self.limits.connections

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or was left."""
        if self._passage is not None:
            self._passage.leave()
            self._passage = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the shortcut, where there is one."""
        if self._passage is not None:  # the next request, before this one has its answer
            self._held += data
            self.flow.pause_reading()
            return
        if self._part:
            data, self._part = self._part + data, b""
        else:
            self._rest = math.inf
        between = not self._within and (self.cycle is None or self.cycle.response_complete)
        if between and self._pass(data):
            self._unset_keepalive_if_required()  # of an answer by the long way
            return
        self._go_on(data, between)

    def _pass(self, data: bytes) -> bool:
        """Take the shortcut, or wait for the rest of what would."""
        if self.flow.write_paused or self._beyond:
            return False
        plain = self.shortcut.find(data)
        if plain is None:
            return may_become(data) and self._keep(data)
        known, length, body = plain
        if len(body) < length:
            return self._keep(data)
        if len(body) > length:
            return False
        self._passage = self.shortcut.begin(known, body, self._certificate, self._answer)
        if self._passage is None:
            return False
        self._until = math.inf
        return True

    def _keep(self, data: bytes) -> bool:
        """Wait for the rest; pieces that go on to come do not put off the end of that."""
        self._part = data
        self._until = self._rest = min(self._rest, self.loop.time() + PATIENCE)
        return True

    def _go_on(self, data: bytes, begins: bool) -> None:
        """The long way."""
        head = head_of(data) if begins else b""
        super().data_received(_UPGRADE.sub(b"", head) + data[len(head) :])

    def _answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self._passage = None
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"connection: close\r\n\r\n" if self._last else b"\r\n")
        self._joined.write_all((b"".join(lines), body))
        self.server_state.total_requests += 1
        self._until = self.loop.time() + self.timeout_keep_alive
        if self._last:
            self.transport.close()
        if self._held and not self._last:
            data, self._held = self._held, b""
            self.flow.resume_reading()
            self.data_received(data)

    def shutdown(self) -> None:
        """Answer what was asked, and no more."""
        if self._passage is not None:
            self._last = True
            return
        self._give_up_part()
        super().shutdown()

    def _give_up_part(self) -> None:
        """Let what waits for its rest go the long way."""
        if self._part:
            data, self._part = self._part, b""
            self._go_on(data, begins=True)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._within = True
        self._until = self.loop.time() + self.limits.head
        self.scope["certificate"] = self._certificate  # type: ignore[typeddict-unknown-key]
        self.scope["beyond"] = self._beyond  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """It is there."""
        self._until = math.inf
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """So is the body."""
        self._within = False
        super().on_message_complete()

    def look(self) -> None:
        """End the connection when its next request takes too long."""
        if self.loop.time() <= self._until:
            return
        if self._part:
            self._give_up_part()
        else:
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
        self._sockets: list[socket.socket] = []
        options: dict[str, Any] = {}
        if access is not None:
            options["ssl_context_factory"] = lambda _config, _default: access.context()
        members = {"limits": limits, "shortcut": application.shortcut}
        protocol = type("LimitedProtocol", (Protocol,), members)
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
        """Take the address, load the models, then listen.

        Raises:
            Error: The address cannot be had, or a model cannot be loaded.
        """
        self._sockets = listeners(self.config.host, self.config.port)
        try:
            await self._application.start()
        except BaseException:
            for each in self._sockets:
                each.close()
            raise
        await super().startup(self._sockets)
        if self._began is not None and self.started:
            host, port = self._sockets[0].getsockname()[:2]
            self._began(host, port)

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second."""
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.look()
        self._application.metrics.count()
        if self._wake is not None:
            tally = self._application.tally
            self._wake.look(busy=tally.requests > 0 or tally.done != self._done)
            self._done = tally.done
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Any = None) -> None:
        """Listen no more, answer what is there, give the models back."""
        self._application.stopping = True
        await super().shutdown(self._sockets)
        await self._application.stop()
        if self._wake is not None:
            self._wake.close()


def bare(host: str) -> str:
    """An address as sockets take it: one of version 6 may stand in brackets, as in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def listeners(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to each address of a host, and to one port; they do not listen yet.

    Args:
        host: An address or a name; ``::`` is every address, of IP version 4 too.
        port: TCP; 0 takes any.

    Raises:
        Error: None can be bound, or the port is taken at one of them.
    """
    bound: list[socket.socket] = []
    missing: list[OSError] = []
    try:
        for family, address in _addresses(host, port):
            at = (address[0], port or _port(bound), *address[2:])
            bound += _try(family, at, missing)
        if not bound:
            raise missing[0]
    except OSError as error:
        for each in bound:
            each.close()
        raise Error(_advice(host, port, error)) from None
    return bound


def _addresses(host: str, port: int) -> Iterable[tuple[int, tuple[Any, ...]]]:
    found = socket.getaddrinfo(bare(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return dict.fromkeys((family, address) for family, _, _, _, address in found)


def _port(bound: Sequence[socket.socket]) -> int:
    return int(bound[0].getsockname()[1]) if bound else 0


def _try(family: int, address: tuple[Any, ...], missing: list[OSError]) -> list[socket.socket]:
    """One socket; none for ::1 of localhost, where there is no version 6."""
    try:
        return [_bind(family, address)]
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        missing.append(error)
        return []


def _bind(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def _advice(host: str, port: int, error: OSError) -> str:
    what = {
        errno.EADDRINUSE: "another program has it: end it, or give another --port (0 takes any)",
        errno.EACCES: "ports below 1024 are root's: give another --port",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address: give another --host",
    }
    told = what.get(error.errno or 0, error.strerror or str(error))
    return f"listen on {host}, port {port}: {told}"


def check_host(host: str, access: Access | None) -> None:
    """See that a service that others can reach knows them.

    Raises:
        Error: It would listen beyond the loopback without TLS.
    """
    if access is not None or host == "localhost":
        return
    try:
        alone = ipaddress.ip_address(bare(host)).is_loopback
    except ValueError:
        alone = False
    if not alone:
        raise Error(
            f"listen on {host}: whoever reaches it could use it; give --own FOLDER (hal-ca enrol"
            " makes it) for TLS and tokens, or --host 127.0.0.1"
        )
