# SPDX-License-Identifier: Apache-2.0
"""Devices at hosts that were named: for networks that carry no multicast."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dns.name

from . import proof
from .foreign import bracketed
from .identity import NAMESPACE
from .liveness import Liveness, Pace
from .record import Record
from .roster import Roster
from .service import Service, endpoints, ranked, sighting
from .sighting import Sighting
from .unicast import DnsError, DnsScout, browse, direct
from .within import together, within

__all__ = ["PORT", "DnsScout", "StaticScout", "parse"]

PORT = 7362
"""Where a device of ours is looked for when no port is given."""

REFRESH = 60.0
"""Seconds between two looks at what a host offers; whether it lives is looked at by `liveness`."""

RETRY = 5.0
"""Seconds until a name that is not known is asked for again."""

HOSTS_MAX = 1024

_ANSWER = 1.0
"""Seconds that a host has to answer the question what it offers; few do."""

_HOST = re.compile(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """A named host.

    Attributes:
        host: Its name or address.
        port: The port a device of ours would listen on.
    """

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


def parse(text: str) -> Target:
    """Read "host", "host:port", "192.0.2.1:7362", "[2001:db8::1]:7362" or "2001:db8::1".

    Raises:
        ValueError: It is none of these; the text says so.
    """
    try:
        return Target(str(ipaddress.ip_address(text)))
    except ValueError:
        pass
    match = _HOST.fullmatch(text.strip())
    host = (match[1] or match[3]) if match else ""
    port = int((match[2] or match[4] or PORT) if match else 0)
    if not host or not 0 < port < 65536 or len(host) > 253:
        raise ValueError(f'host "{text}": not a name or address, with or without ":port"')
    return Target(host, port)


class StaticScout:
    """Looks at hosts that were named.

    Each is asked by unicast which services it offers; one that tells (a device of ours, and all
    that has avahi, on the same link) is listed as if multicast had told. One that does not is
    listed by its name, once its port answers or has been silent for a while, and is never lost:
    somebody asked for it.

    Args:
        hosts: Each "host" or "host:port", see `parse`.
        refresh: Seconds between two looks at what a host offers.
        pace: How often to look whether it lives.

    Raises:
        ValueError: One is ill-formed, or there are too many.
    """

    source = "static"

    def __init__(
        self, hosts: Sequence[str], *, refresh: float = REFRESH, pace: Pace | None = None
    ) -> None:
        if len(hosts) > HOSTS_MAX:
            raise ValueError(f"{len(hosts)} hosts are named, at most {HOSTS_MAX} can be")
        self._targets = list(dict.fromkeys(map(parse, hosts)))
        self._refresh = refresh
        self._pace = replace(pace or Pace(), lost_after=1 << 30)

    async def run(self, roster: Roster) -> None:
        """Look, until cancelled (see `scout.Scout`)."""
        liveness = Liveness(roster, self._pace, proof.standard())
        follow = [self._follow(target, roster, liveness) for target in self._targets]
        try:
            await together((liveness.run(), *follow))
        finally:
            roster.replace(self.source, ())

    async def _follow(self, target: Target, roster: Roster, liveness: Liveness) -> None:
        while True:
            try:
                addresses = await _addresses(target)
            except OSError as error:
                cause = (
                    f"its address cannot be found: {error.strerror}; look at its name and at DNS"
                )
                roster.trouble(self.source, cause, target.host)
                await asyncio.sleep(RETRY)
                continue
            roster.trouble(self.source, "", target.host)
            self._show(target, addresses, await _offered(addresses), liveness)
            await asyncio.sleep(self._refresh)

    def _show(
        self,
        target: Target,
        addresses: tuple[str, ...],
        services: list[Service],
        liveness: Liveness,
    ) -> None:
        shown = set()
        for service in services:
            key = f"{target} {service.type} {service.instance}".lower()
            try:
                seen = sighting(service, self.source, key)
            except ValueError:
                continue  # It makes no device; the host itself is shown then.
            liveness.see(seen, endpoints(service))
            shown.add(key)
        if not shown:
            seen = _plain(target, addresses)
            liveness.see(seen, tuple((ip, target.port) for ip in addresses[:4]), unsaid=True)
            shown.add(seen.key)
        for key in liveness.shown(str(target)) - shown:
            liveness.lose(key)


def _plain(target: Target, addresses: tuple[str, ...]) -> Sighting:
    """What is known of a host that tells nothing: where it is."""
    record = Record(
        id=str(uuid.uuid5(NAMESPACE, f"address {target}")),
        identity=f"address {target}",
        name=target.host,
        device_class="remote",
        uri=f"hal://{target}",
        addresses=tuple(str(Target(address, target.port)) for address in addresses),
        state="announced",
        host=target.host,
        trust="unverified",
        sources=("static",),
        last_seen=time.time(),
    )
    return Sighting("static", str(target), record, frozenset(f"ip {ip}" for ip in addresses))


async def _addresses(target: Target) -> tuple[str, ...]:
    """The addresses of a host.

    Raises:
        OSError: There are none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    names = [
        socket.getnameinfo(entry[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        for entry in found
    ]
    addresses = ranked(names, loopback=True)
    if not addresses:
        raise OSError(0, "no address that can be connected to")
    return addresses


async def _offered(addresses: tuple[str, ...]) -> list[Service]:
    """The services that a host tells of itself, empty when it tells none."""
    for address in addresses[:2]:
        ask = direct(address, _ANSWER)
        try:
            browsing = browse(ask, dns.name.from_text("local"), address.partition("%")[2])
            found = await within(3 * _ANSWER, browsing)
        except (DnsError, asyncio.TimeoutError):
            continue
        return [service for service in found if set(service.addresses) & set(addresses)]
    return []
