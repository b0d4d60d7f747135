# SPDX-License-Identifier: Apache-2.0
"""SSDP packets in and out, on every interface, while interfaces come and go.

There are two sockets a family. One is bound to port 1900, shared with every other UPnP program of
the machine, and member of the groups; the other has a port of its own, to which answers come (those
to a shared port would go to whichever program came last) and to which others may send unicast
searches (SEARCHPORT.UPNP.ORG, UPnP Device Architecture 2.0, section 1.2.2). The interface a packet
came by, or leaves by, is told by and to the kernel with each packet (IP_PKTINFO, ip(7); RFC 3542),
so a new interface needs no new socket.

Groups: 239.255.255.250, and with IPv6 ff02::c of the link and ff05::c of the site (UDA 2.0, section
1.1 and annex A). Packets leave with a TTL of 2 (UDA 1.1.2).

Who is believed, and answered: only senders on the link itself, that is with an address in a network
of the interface the packet came by, or link-local, or our own. Packets are read at a bounded rate;
when it is passed the socket rests, and the kernel drops what its buffer does not hold.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import random
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Protocol

from ..foreign import bracketed
from ..multicast import SETTLE, usable
from ..netlink import Changes, Interface
from ..rate import Bucket, Gate
from ..within import within
from .message import PACKET_MAX

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PORT = 1900
GROUP4, GROUP6_LINK, GROUP6_SITE = "239.255.255.250", "ff02::c", "ff05::c"

READ_RATE, READ_BURST = 1000, 3000
"""Packets a second, and at once, that a socket is read for."""

SENDER_RATE, SENDER_BURST = 100, 200
"""Packets a second, and at once, that one sender's are looked into."""

REST = 0.1
"""Seconds that a socket rests when too much comes in."""

OWN_PORTS = (49152, 65535)
"""Of the second socket: those that UDA gives SEARCHPORT.UPNP.ORG."""

_BATCH = 32
"""Packets read before other tasks have their turn."""

_RETRY = 15.0
"""Seconds until a socket or the list of interfaces that failed is tried again."""

# <linux/in.h>, <linux/in6.h>; Python names not all of them.
_IP_PKTINFO, _IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 8, 49, 29
_PKTINFO4 = struct.Struct("=i4s4s")  # struct in_pktinfo: interface, our address, destination
_PKTINFO6 = struct.Struct("=16si")  # struct in6_pktinfo: address, interface
_ANCILLARY = socket.CMSG_SPACE(_PKTINFO6.size)


@dataclass(frozen=True, slots=True)
class Link:
    """One way to a group: an interface, our address on it, and the group.

    Attributes:
        name: The interface's.
        index: The interface's.
        address: Ours, with its network.
        group: Where to.
    """

    name: str
    index: int
    address: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    group: str

    @property
    def family(self) -> socket.AddressFamily:
        """Of the group."""
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6

    @property
    def host(self) -> str:
        """Our address, as the host of a URI."""
        return bracketed(str(self.address.ip))

    @property
    def destination(self) -> str:
        """Group and port, as in the header field HOST."""
        return f"{self.group}:{PORT}" if self.address.version == 4 else f"[{self.group}]:{PORT}"


@dataclass(frozen=True, slots=True)
class Sender:
    """Where a packet came from.

    Attributes:
        address: Its address.
        port: Its port.
        name: Of the interface.
        index: Of the interface.
        scope: Of a link-local IPv6 address.
        own: It came to the socket with a port of its own.
        multicast: It was sent to a group.
    """

    address: IpAddress
    port: int
    name: str
    index: int
    scope: int = 0
    own: bool = False
    multicast: bool = False

    @property
    def host(self) -> str:
        """Its address, as the host of a URI."""
        return bracketed(str(self.address))

    def __str__(self) -> str:
        zone = f"%{self.name}" if self.address.version == 6 and self.address.is_link_local else ""
        return f"{self.address}{zone}"


class Listener(Protocol):
    """What a transport tells its user. Nothing may be raised, and nothing may wait."""

    def heard(self, packet: bytes, sender: Sender) -> None:
        """A packet came."""

    def linked(self, old: Collection[Link], new: Collection[Link]) -> None:
        """The links have changed."""

    def trouble(self, cause: str, about: str) -> None:
        """Something (an interface, a socket) does not work, or (cause "") works again."""


class Transport:
    """The sockets. To be closed after use; all in one event loop.

    Args:
        listener: Who is told.
        names: The interfaces to use, as for `multicast.usable`.
    """

    def __init__(self, listener: Listener, names: Sequence[str] | None = None) -> None:
        self.links: tuple[Link, ...] = ()
        self._listener = listener
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._shared: dict[socket.AddressFamily, socket.socket] = {}
        self._own: dict[socket.AddressFamily, socket.socket] = {}
        self._joined: set[tuple[socket.AddressFamily, int, str]] = set()
        self._interfaces: dict[int, Interface] = {}
        self._ours: frozenset[IpAddress] = frozenset()
        self._rests: dict[socket.socket, asyncio.TimerHandle] = {}
        self._wrong: dict[str, str] = {}
        self._unsent: dict[str, str] = {}
        self.dropped = 0

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all sockets back."""
        for timer in self._rests.values():
            timer.cancel()
        self._rests.clear()
        for entry in (*self._shared.values(), *self._own.values()):
            self._loop.remove_reader(entry)
            entry.close()
        self._shared.clear()
        self._own.clear()
        self._joined.clear()
        for about in (*self._wrong, *self._unsent):
            self._listener.trouble("", about)
        self._wrong.clear()
        self._unsent.clear()

    async def follow(self) -> None:
        """Keep to the interfaces as they come and go, until cancelled."""
        while True:
            await self._follow()
            await asyncio.sleep(_RETRY)

    async def _follow(self) -> None:
        """The same, until the kernel tells no more of changes."""
        try:
            with closing(Changes()) as changes:
                self._listener.trouble("", "changes of interfaces")
                while True:
                    self.refresh()
                    if not self._wrong:
                        await changes.wait()
                    else:
                        with suppress(asyncio.TimeoutError):
                            await within(_RETRY, changes.wait())
                    await asyncio.sleep(SETTLE)
        except OSError as error:  # No netlink here: looking now and then will have to do.
            self._listener.trouble(str(error), "changes of interfaces")
            self.refresh()

    def refresh(self) -> None:
        """Look at the interfaces now."""
        wrong: dict[str, str] = {}
        try:
            self._refresh(wrong)
        except OSError as error:
            wrong["interfaces"] = str(error)
        for about in self._wrong.keys() | wrong.keys():
            if self._wrong.get(about) != wrong.get(about):
                self._listener.trouble(wrong.get(about, ""), about)
        self._wrong = wrong

    def _refresh(self, wrong: dict[str, str]) -> None:
        found, troubles = usable(self._names)
        wrong.update(troubles)
        self._interfaces = {interface.index: interface for interface in found}
        self._ours = frozenset(address.ip for entry in found for address in entry.addresses)
        links = tuple(link for interface in found for link in _links(interface))
        for family in sorted({link.family for link in links}):
            self._open(family, wrong)
        self._join(links, wrong)
        for about in self._unsent.keys() - {f"{link.name} {link.group}" for link in links}:
            self._sent(about, "")
        old, self.links = self.links, links
        if old != links:
            self._listener.linked(old, links)

    # ---- sockets ----------------------------------------------------------------------------

    def _open(self, family: socket.AddressFamily, wrong: dict[str, str]) -> None:
        version = "IPv4" if family == socket.AF_INET else "IPv6"
        for what, sockets, bind in (
            ("own port", self._own, _bind_own),
            ("port 1900", self._shared, _bind_shared),
        ):
            if family in sockets:
                continue
            try:
                sockets[family] = self._listen(_socket(family, bind))
            except OSError as error:
                held = error.errno == errno.EADDRINUSE
                advice = "; is there a UPnP program that does not share it?" if held else ""
                wrong[f"{version} {what}"] = f"{error.strerror}{advice}"

    def _listen(self, entry: socket.socket) -> socket.socket:
        now = self._loop.time
        gates = Bucket(READ_RATE, READ_BURST, now()), Gate(SENDER_RATE, SENDER_BURST, now)
        self._loop.add_reader(entry, self._read, entry, gates)
        return entry

    def _join(self, links: Iterable[Link], wrong: dict[str, str]) -> None:
        wanted = {
            (link.family, link.index, link.group) for link in links if link.family in self._shared
        }
        for family, index, group in self._joined - wanted:
            with suppress(OSError):  # The interface may be gone, and the membership with it.
                _membership(self._shared[family], index, group, join=False)
        for family, index, group in sorted(wanted - self._joined):
            cause = _joined(self._shared[family], index, group)
            if cause:
                wanted.discard((family, index, group))
                wrong[self._interfaces[index].name] = f"join {group}: {cause}"
        self._joined = wanted

    def _read(self, entry: socket.socket, gates: tuple[Bucket, Gate]) -> None:
        everything, senders = gates
        for _ in range(_BATCH):
            if not everything.take(self._loop.time()):
                self._loop.remove_reader(entry)
                self._rests[entry] = self._loop.call_later(REST, self._wake, entry, gates)
                return
            try:
                packet, ancillary, _, address = entry.recvmsg(PACKET_MAX + 1, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:  # An ICMP error of something sent before.
                continue
            if len(packet) > PACKET_MAX:
                self.dropped += 1
                continue
            sender = self._sender(entry, ancillary, address)
            if sender is None or not senders.admit(str(sender)):
                self.dropped += 1
                continue
            self._listener.heard(packet, sender)

    def _wake(self, entry: socket.socket, gates: tuple[Bucket, Gate]) -> None:
        del self._rests[entry]
        self._loop.add_reader(entry, self._read, entry, gates)

    def _sender(
        self,
        entry: socket.socket,
        ancillary: list[tuple[int, int, bytes]],
        address: tuple[str, int] | tuple[str, int, int, int],
    ) -> Sender | None:
        """Who sent it; None when he is not on one of our links."""
        arrival = _arrival(ancillary)
        if arrival is None:
            return None
        index, destination = arrival
        ip = ipaddress.ip_address(address[0].partition("%")[0])
        scope = address[3] if len(address) == 4 else 0
        interface = self._interfaces.get(scope or index)
        if ip in self._ours:  # It comes by the loopback: see by which address instead.
            interface = interface or next(
                entry for entry in self._interfaces.values() if _has(entry, ip)
            )
        elif interface is None or not _near(interface, ip):
            return None
        return Sender(
            address=ip,
            port=address[1],
            name=interface.name,
            index=interface.index,
            scope=scope,
            own=entry is self._own.get(entry.family),
            multicast=destination.is_multicast,
        )

    @property
    def macs(self) -> dict[str, str]:
        """Our own MAC addresses by our IP addresses: we are no neighbour of ours."""
        return {
            str(address.ip): interface.mac
            for interface in self._interfaces.values()
            for address in interface.addresses
            if interface.mac
        }

    # ---- sending ----------------------------------------------------------------------------

    def port(self, link: Link) -> int:
        """Of our own socket: where answers to a search come to, and unicast searches may go to."""
        entry = self._own.get(link.family)
        return int(entry.getsockname()[1]) if entry else 0

    def multicast(self, packet: bytes, link: Link) -> None:
        """Send a packet to the group of a link."""
        entry = self._own.get(link.family)
        if entry is None or link not in self.links:
            return
        about, cause = f"{link.name} {link.group}", ""
        try:
            self._send(entry, packet, link, (link.group, PORT))
        except OSError as error:
            cause = f"send: {error.strerror}; is multicast filtered here?"
        self._sent(about, cause)

    def _sent(self, about: str, cause: str) -> None:
        """Something was sent to a group of a link, or why not; told when it is news."""
        if cause != self._unsent.get(about, ""):
            self._unsent[about] = cause
            self._listener.trouble(cause, about)
        if not cause:
            self._unsent.pop(about, None)

    def answer(self, packet: bytes, sender: Sender) -> None:
        """Send a packet back to where one came from, by the socket that it came to."""
        self._unicast(self._own if sender.own else self._shared, packet, sender, sender.port)

    def ask(self, packet: bytes, sender: Sender, port: int) -> None:
        """Send a packet to a port of a sender, so that answers come to our own."""
        self._unicast(self._own, packet, sender, port)

    def _unicast(
        self,
        sockets: Mapping[socket.AddressFamily, socket.socket],
        packet: bytes,
        to: Sender,
        port: int,
    ) -> None:
        link = self.route(to)
        entry = sockets.get(link.family) if link else None
        if link and entry:
            with suppress(OSError):  # He has gone, or has no room: there will be a next time.
                self._send(entry, packet, link, (str(to.address), port))

    def route(self, sender: Sender) -> Link | None:
        """The link to him: that with our address in his network, else another on his interface."""
        version = sender.address.version
        near = [
            link
            for link in self.links
            if link.index == sender.index and link.address.version == version
        ]
        fitting = (link for link in near if sender.address in link.address.network)
        return next(fitting, near[0] if near else None)

    def _send(
        self, entry: socket.socket, packet: bytes, link: Link, target: tuple[str, int]
    ) -> None:
        own = link.address.ip.packed
        if link.family == socket.AF_INET:
            info = _PKTINFO4.pack(link.index, own, b"\0" * 4)
            ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, info)]
            destination: tuple[str, int] | tuple[str, int, int, int] = target
        else:
            info = _PKTINFO6.pack(own, link.index)
            ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
            destination = (*target, 0, link.index)
        with suppress(BlockingIOError):  # No room in the buffer: lost, as on the wire.
            entry.sendmsg([packet], ancillary, 0, destination)


def _links(interface: Interface) -> Iterable[Link]:
    name, index = interface.name, interface.index
    wide = True
    for address in interface.addresses:
        if address.version == 4:
            yield Link(name, index, address, GROUP4)
        elif interface.loopback:
            continue  # There is no route to groups of IPv6.
        elif address.ip.is_link_local:
            yield Link(name, index, address, GROUP6_LINK)
        elif wide:  # One is enough: all reach the same group.
            wide = False
            yield Link(name, index, address, GROUP6_SITE)


def _near(interface: Interface, ip: IpAddress) -> bool:
    return ip.is_link_local or any(ip in address.network for address in interface.addresses)


def _has(interface: Interface, ip: IpAddress) -> bool:
    return any(ip == address.ip for address in interface.addresses)


def _arrival(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int, IpAddress] | None:
    """The interface a packet came by, and the address it was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= _PKTINFO4.size:
            index, _, raw = _PKTINFO4.unpack_from(data)
            return index, ipaddress.IPv4Address(raw)
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(data) >= 20:
            raw, index = _PKTINFO6.unpack_from(data)
            return index, ipaddress.IPv6Address(raw)
    return None


def _socket(family: socket.AddressFamily, bind: Callable[[socket.socket], None]) -> socket.socket:
    entry = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET:
            entry.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            entry.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            entry.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        else:
            entry.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            entry.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            with suppress(OSError):  # Linux 4.20
                entry.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            entry.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 2)
        bind(entry)
    except BaseException:
        entry.close()
        raise
    return entry


def _bind_shared(entry: socket.socket) -> None:
    entry.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    entry.bind(("", PORT))


def _bind_own(entry: socket.socket) -> None:
    for _ in range(20):
        with suppress(OSError):
            entry.bind(("", random.randint(*OWN_PORTS)))  # noqa: S311 - no secret
            return
    entry.bind(("", 0))


def _joined(entry: socket.socket, index: int, group: str) -> str:
    """Join a group; why it failed, "" when it did not."""
    try:
        _membership(entry, index, group, join=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _membership(entry: socket.socket, index: int, group: str, *, join: bool) -> None:
    if entry.family == socket.AF_INET:
        request = struct.pack("=4s4si", socket.inet_aton(group), b"\0" * 4, index)
        action = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
        entry.setsockopt(socket.IPPROTO_IP, action, request)
    else:
        request = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, group), index)
        action = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
        entry.setsockopt(socket.IPPROTO_IPV6, action, request)
