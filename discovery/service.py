# SPDX-License-Identifier: Apache-2.0
"""What DNS-SD says of one service, from whichever network, and the sighting that makes."""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from . import foreign, matching, txt
from .foreign import bracketed
from .merge import is_link_local
from .record import Record
from .sighting import Sighting
from .sysfs import printable

TYPES = (txt.SERVICE, *foreign.KINDS)
"""The service types that say: there is a device."""

ADDRESSES_MAX = 16
"""Addresses kept of one service; the best ones."""


ENDPOINTS_MAX = 4
"""Addresses of a device that are tried in turn."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service, resolved.

    Attributes:
        type: "_iio._tcp".
        instance: Its name.
        host: The host it is on, without the final dot.
        port: The port it listens on.
        addresses: The host's; a link-local one has its scope ("fe80::1%eth0").
        text: Its TXT record.
    """

    type: str
    instance: str
    host: str
    port: int
    addresses: tuple[str, ...]
    text: bytes = b""


def ranked(addresses: Iterable[str], *, loopback: bool = False) -> tuple[str, ...]:
    """The addresses a device can be at, the likeliest to work first: IPv4, IPv6, link-local.

    Groups, "any", broadcast, and link-local ones without their link are none. Nor is the loopback:
    whoever announces that on a network would have us talk to ourselves.

    Args:
        addresses: As text, with scope.
        loopback: They were heard on the loopback, so they may be of it.
    """
    found = {}
    for address in addresses:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            continue
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        plain = mapped or ip
        if plain.is_multicast or plain.is_unspecified or (plain.is_loopback and not loopback):
            continue
        if plain.is_reserved and plain.version == 4:
            continue
        on_link = isinstance(plain, ipaddress.IPv6Address) and plain.is_link_local
        if on_link and "%" not in str(plain):
            continue  # Nobody knows on which link.
        found[str(plain)] = (2 if on_link else 1 if plain.version == 6 else 0, str(plain))
    return tuple(sorted(found, key=lambda address: found[address])[:ADDRESSES_MAX])


def scoped(address: str, link: str) -> str:
    """An address with the link it is on, where it means nothing without (IPv6 link-local)."""
    return f"{address}%{link}" if is_link_local(address) and "%" not in address else address


def sighting(
    service: Service, source: str, key: str, *, origin: str = "", links: tuple[str, ...] = ()
) -> Sighting:
    """The sighting that a service makes. It is not trusted: nothing proves what it says.

    Args:
        service: The service.
        source: Who heard of it.
        key: Which of the source's sightings it is.
        origin: Address it was heard from.
        links: The network interface it was heard by.

    Raises:
        ValueError: It says nothing that makes a device; the text says what is wrong.
    """
    if not service.addresses:
        raise ValueError("it has no address that can be reached")
    if not 0 < service.port < 65536:
        raise ValueError(f"its port is {service.port}")
    shown = tuple(
        f"[{ip}]:{service.port}" if ":" in ip else f"{ip}:{service.port}"
        for ip in service.addresses
    )
    places = [f"ip {address}" for address in service.addresses]
    if service.type == txt.SERVICE:
        record, boot = _ours(service, source, shown)
        places += [f"boot {boot}"] if boot else []
    else:
        record = _foreign(service, source, shown)
        places += [f"host {record.host.lower()}"] if record.host else []
    record = matching.with_driver(record, "dnssd", [service.type], shown[0])
    return Sighting(source, key, record, frozenset(places), origin, links=links)


def endpoints(service: Service) -> tuple[tuple[str, int], ...]:
    """Where it may be connected to, to see whether it lives; empty where that might disturb it."""
    if service.type != txt.SERVICE and not foreign.KINDS[service.type].connect:
        return ()
    return tuple((address, service.port) for address in service.addresses[:ENDPOINTS_MAX])


def _ours(service: Service, source: str, addresses: tuple[str, ...]) -> tuple[Record, str]:
    """The record of a HAL device, and its boot."""
    read = txt.parse(service.text)
    said = txt.decode(read)
    properties = {
        "protocol": sys.intern(said.protocol),
        "version": said.version,
        "capabilities": ",".join([*said.capabilities, *([f"+{said.more}"] if said.more else [])]),
        sys.intern(f"service.{service.type}"): sys.intern(str(service.port)),
    }
    record = Record(
        id=said.id,
        identity=f"announced {said.id}",
        name=f"hal-{said.id[:8]}",
        device_class="remote",
        model=said.model,
        uri=f"hal://{bracketed(service.addresses[0])}:{service.port}",
        addresses=addresses,
        properties={name: value for name, value in properties.items() if value},
        state="announced",
        detail=read.problem,
        host=service.addresses[0] if service.host.startswith(said.id) else printable(service.host),
        trust="unverified",
        sources=(source,),
        last_seen=time.time(),
    )
    return record, said.boot


def _foreign(service: Service, source: str, addresses: tuple[str, ...]) -> Record:
    kind = foreign.KINDS[service.type]
    read = txt.parse(service.text)
    said = foreign.product(kind, read)
    name = printable(service.instance)
    id_, told = foreign.identify(said, kind.device_class, name)
    # With a name of their own, so that nobody can say what is for us to say ("uri.visa").
    properties = {f"txt.{key}": read.text(key) for key in read.pairs if read.pairs[key] is not None}
    properties[f"service.{service.type}"] = str(service.port)
    if kind.uri:
        uri = kind.uri(service.addresses[0], service.port)
        properties[f"uri.{kind.tool}"] = uri
        addresses = (uri, *addresses)
    return Record(
        id=id_,
        identity=told,
        name=name,
        device_class=kind.device_class,
        vendor=said.vendor,
        model=said.model or kind.what,
        serial=said.serial,
        addresses=addresses,
        properties=properties,
        state="announced",
        detail=read.problem,
        host=printable(service.host),
        trust="unverified",
        sources=(source,),
        last_seen=time.time(),
    )
