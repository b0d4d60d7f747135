# SPDX-License-Identifier: Apache-2.0
"""What is let through to zeroconf: packets of this link, of each sender so many.

zeroconf bounds its cache, but not what a stranger may make it compute, nor how many services its
browsers remember. A `Gate` stands before each of its sockets. It also knows who sent the packet
that is being worked on, which zeroconf does not tell.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

BYTES_BURST = 16 << 20
"""Bytes of one sender at once: 10,000 devices, announced three times."""

BYTES_RATE = 256 << 10
"""Bytes of one sender a second, for long."""

PACKETS_BURST, PACKETS_RATE = 40_000, 1000
"""The same in packets, for each has its price."""

SENDERS_MAX = 4096
"""Senders that are told apart; of more than these, the one heard longest ago starts anew."""

RECEIVE_BUFFER = 2 << 20
"""Bytes that wait in a socket: a thousand devices answer within 100 ms. The kernel may give less
(net.core.rmem_max)."""

_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29  # <linux/in.h>, <linux/in6.h>


class Gate:
    """What stands before the sockets of one link.

    Attributes:
        sender: Who sent the packet that is being worked on, "" when none is.
        dropped: Packets that were not let through.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.sender = ""
        self.dropped = 0
        self._clock = clock
        self._budgets: dict[str, tuple[float, float, float]] = {}
        self._banned: dict[str, float] = {}

    def guard(self, mdns: AsyncZeroconf) -> None:
        """Stand before those sockets that have no gate yet, and keep other links' packets out."""
        for wrapped in mdns.zeroconf.engine.readers:
            transport = wrapped.transport
            inner = transport.get_protocol()
            if not isinstance(inner, _Guarded):
                _prepare(transport.get_extra_info("socket"))
                transport.set_protocol(_Guarded(self, inner))

    def admits(self, sender: str, size: int) -> bool:
        """May a packet of so many bytes pass? If so, that is counted."""
        now = self._clock()
        if (until := self._banned.get(sender)) is not None:
            if now < until:
                self.dropped += 1
                return False
            del self._banned[sender]
        size_left, packets_left, at = self._budgets.pop(
            sender, (float(BYTES_BURST), float(PACKETS_BURST), now)
        )
        size_left = min(BYTES_BURST, size_left + (now - at) * BYTES_RATE)
        packets_left = min(PACKETS_BURST, packets_left + (now - at) * PACKETS_RATE)
        admitted = size_left >= size and packets_left >= 1
        if admitted:
            size_left, packets_left = size_left - size, packets_left - 1
        else:
            self.dropped += 1
        self._budgets[sender] = size_left, packets_left, now
        if len(self._budgets) > SENDERS_MAX:
            del self._budgets[next(iter(self._budgets))]
        return admitted

    def ban(self, sender: str, seconds: float) -> None:
        """Let nothing of a sender through for a while."""
        if len(self._banned) >= SENDERS_MAX:
            del self._banned[next(iter(self._banned))]
        self._banned[sender] = self._clock() + seconds


class _Guarded(asyncio.DatagramProtocol):
    """Passes to zeroconf's listener what the gate admits."""

    def __init__(self, gate: Gate, inner: Any) -> None:
        self._gate = gate
        self._inner = inner

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        sender = cast(str, addr[0]).partition("%")[0]
        if not self._gate.admits(sender, len(data)):
            return
        self._gate.sender = sender
        try:
            self._inner.datagram_received(data, addr)
        finally:
            self._gate.sender = ""

    def error_received(self, exc: Exception) -> None:
        self._inner.error_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)


def _prepare(sock: socket.socket) -> None:
    """Hear the groups joined on this link, not those that others joined (Linux); with patience."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
