# SPDX-License-Identifier: Apache-2.0
"""The kernel's network interfaces, their addresses and their neighbours, by rtnetlink(7).

The kernel is asked anew each time: there is no state here that could grow old. `Changes` tells
when asking again is worth while.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_addr.h>, <linux/neighbour.h>, <linux/if.h>
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_GETLINK, _RTM_GETADDR, _RTM_GETNEIGH = 18, 22, 30
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWNEIGH = 16, 20, 28
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_UNUSABLE = 0x40 | 0x08  # tentative, or a duplicate
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_UNKNOWN = 0x01 | 0x20 | 0x40  # incomplete, failed, or not asked for
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_MULTICAST = 0x1, 0x8, 0x40, 0x1000

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg
_NEIGH = struct.Struct("=BxxxiHBB")  # struct ndmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface.

    Attributes:
        name: Its name, "eth0".
        index: Its number, as in the scope of a link-local address.
        up: It is up and has a carrier.
        multicast: It can send to groups.
        loopback: It is the loopback.
        mac: Its link-layer address, "02:...", "" where it has none.
        addresses: Its usable addresses with their networks.
    """

    name: str
    index: int
    up: bool
    multicast: bool
    loopback: bool
    mac: str
    addresses: tuple[Address, ...]

    @property
    def ipv4(self) -> list[str]:
        """Its IPv4 addresses."""
        return [str(address.ip) for address in self.addresses if address.version == 4]

    @property
    def ipv6(self) -> list[str]:
        """Its IPv6 addresses, those of one link alone last."""
        found = [address.ip for address in self.addresses if address.version == 6]
        return [str(ip) for ip in sorted(found, key=lambda ip: ip.is_link_local)]


def interfaces() -> list[Interface]:
    """The interfaces of this network namespace, in the kernel's order.

    Raises:
        OSError: The kernel refuses to tell.
    """
    addresses: dict[int, list[Address]] = {}
    for kind, body in _dump(_RTM_GETADDR, _ADDR.pack(0, 0, 0, 0, 0)):
        if kind == _RTM_NEWADDR:
            index, address = _address(body)
            if address:
                addresses.setdefault(index, []).append(address)
    found = []
    for kind, body in _dump(_RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
        if kind == _RTM_NEWLINK:
            _, _, index, flags, _ = _LINK.unpack_from(body)
            attributes = dict(_attributes(body[_LINK.size :]))
            name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0")
            up = flags & _IFF_UP and flags & _IFF_RUNNING
            found.append(
                Interface(
                    name=os.fsdecode(name),
                    index=index,
                    up=bool(up),
                    multicast=bool(flags & _IFF_MULTICAST),
                    loopback=bool(flags & _IFF_LOOPBACK),
                    mac=_mac(attributes.get(_IFLA_ADDRESS, b"")),
                    addresses=tuple(addresses.get(index, ())),
                )
            )
    return found


def neighbours() -> dict[str, str]:
    """The MAC address of each IP address on our links that the kernel has talked to of late."""
    found = {}
    for kind, body in _dump(_RTM_GETNEIGH, _NEIGH.pack(0, 0, 0, 0, 0)):
        if kind != _RTM_NEWNEIGH:
            continue
        _, _, state, _, _ = _NEIGH.unpack_from(body)
        attributes = dict(_attributes(body[_NEIGH.size :]))
        mac = _mac(attributes.get(_NDA_LLADDR, b""))
        address = attributes.get(_NDA_DST, b"")
        if mac and len(address) in (4, 16) and not state & _NUD_UNKNOWN:
            found[str(ipaddress.ip_address(address))] = mac
    return found


class Changes:
    """Tells when an interface or an address comes, goes or changes. To be closed after use."""

    def __init__(self) -> None:
        self._socket = _netlink(_RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR)
        self._socket.setblocking(False)
        # What overflows is no loss: a change is a change. So no ENOBUFS, please.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)

    async def wait(self) -> None:
        """Return when something has changed since the last call, or may have."""
        await asyncio.get_running_loop().sock_recv_into(self._socket, bytearray(65536))
        with suppress(BlockingIOError):
            while True:  # What came together is one change.
                self._socket.recv(65536)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def _netlink(groups: int) -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    link.bind((0, groups))
    return link


def _dump(kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """All answers to a question, each its type and body."""
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    with _netlink(0) as link:
        link.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        while True:
            data = memoryview(link.recv(1 << 18))
            while len(data) >= _HEADER.size:
                length, answer, _, _, _ = _HEADER.unpack_from(data)
                if answer == _NLMSG_DONE or length < _HEADER.size:
                    return
                if answer == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data, _HEADER.size)[0]
                    raise OSError(code, f"netlink: {os.strerror(code)}")
                yield answer, bytes(data[_HEADER.size : length])
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _address(body: bytes) -> tuple[int, Address | None]:
    _, prefix, flags, _, index = _ADDR.unpack_from(body)
    attributes = dict(_attributes(body[_ADDR.size :]))
    if len(more := attributes.get(_IFA_FLAGS, b"")) == 4:
        flags = int.from_bytes(more, sys.byteorder)
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    if flags & _IFA_F_UNUSABLE or len(raw) not in (4, 16):
        return index, None
    ip = ipaddress.ip_address(raw)
    if isinstance(ip, ipaddress.IPv4Address):
        return index, ipaddress.IPv4Interface((ip, prefix))
    return index, ipaddress.IPv6Interface((ip, prefix))


def _mac(address: bytes) -> str:
    return address.hex(":") if len(address) == 6 and any(address) else ""
