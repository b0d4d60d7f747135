# SPDX-License-Identifier: Apache-2.0
"""What is let through to zeroconf: packets of this link, of each sender so many.

zeroconf bounds its cache, but not what a stranger may make it compute, nor how many services its
browsers remember. A `Gate` stands before each of its sockets. It also knows who sent the packet
that is being worked on, which zeroconf does not tell.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

BYTES_BURST = 8 << 20
"""Bytes of one sender at once."""

BYTES_RATE = 256 << 10
"""Bytes of one sender a second, for long."""

PACKETS_BURST, PACKETS_RATE = 12_000, 1000
"""The same in packets, for each has its price (some 0.3 ms): as many as the roster takes devices
of one sender."""

SENDERS_MAX = 4096
"""Senders that are told apart; of more than these, the one heard longest ago starts anew."""

RECEIVE_BUFFER = 2 << 20
"""Bytes that wait in a socket: a thousand devices answer within 100 ms. The kernel may give less
(net.core.rmem_max)."""

_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_IP_MULTICAST_ALL = 49  # <linux/in.h>


class Gate:
    """What stands before the sockets of one link.

    Args:
        link: Name of the interface.
        clock: Tells the time.

    Attributes:
        link: Name of the interface.
        networks: Those of its addresses; nobody beyond them, and of no link-local address, is let
            through (RFC 6762, sections 5.5 and 11): what answers strangers from afar floods whom
            they name as the sender.
        sender: Who sent the packet that is being worked on, "" when none is.
        dropped: Packets that were not let through.
    """

    def __init__(self, link: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.link = link
        self.networks: tuple[Network, ...] = ()
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
                _prepare(transport.get_extra_info("socket"), self.link)
                transport.set_protocol(_Guarded(self, inner))

    def admits(self, sender: str, size: int) -> bool:
        """May a packet of so many bytes pass? If so, that is counted."""
        now = self._clock()
        if (until := self._banned.get(sender)) is not None:
            if now < until:
                self.dropped += 1
                return False
            del self._banned[sender]
        if sender not in self._budgets and not self._near(sender):
            self.dropped += 1
            return False
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

    def _near(self, sender: str) -> bool:
        ip = ipaddress.ip_address(sender)
        return ip.is_link_local or any(ip in network for network in self.networks)

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
        sender = cast(str, addr[0]).partition("%")[0].removeprefix("::ffff:")
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


def _prepare(sock: socket.socket, link: str) -> None:
    """Hear what comes on this link, not what sockets of other links have joined; with patience."""
    if sock.getsockname()[0] in ("0.0.0.0", "::"):  # noqa: S104 - the one that hears the groups
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        with suppress(PermissionError):  # Linux before 5.7: then IPv6 does not tell links apart.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode() + b"\0")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
