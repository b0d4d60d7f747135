# SPDX-License-Identifier: Apache-2.0
"""DNS-SD over ordinary DNS (RFC 6763), for where multicast does not reach; by dnspython.

A domain that lists its devices has, for each type and instance (a zone file's lines):

    _hal-device._tcp            PTR  board1._hal-device._tcp
    board1._hal-device._tcp     SRV  0 0 7362 board1
    board1._hal-device._tcp     TXT  "txtvers=1" "id=6f0c1f9e-..." "protocol=hal/1"
    board1                      A    192.0.2.10
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from . import proof
from .liveness import Liveness, Pace
from .roster import Roster
from .service import TYPES, Service, endpoints, ranked, scoped, sighting
from .sysfs import printable
from .within import together

REFRESH = 60.0
"""Seconds between two looks at a domain."""

INSTANCES_MAX = 5000
"""Services that are read of one domain."""

CONCURRENCY = 32
"""Questions at a time."""

TIMEOUT = 5.0
"""Seconds for an answer, all tries together."""

Ask = Callable[[dns.name.Name, str], Awaitable["dns.message.Message | None"]]
"""Asks for the records of a name and type; None when there are none."""


class DnsError(Exception):
    """A domain cannot be asked; the text says why and what to do."""


class DnsScout:
    """Browses domains for the devices they list, and looks whether they live.

    Args:
        domains: "example.com", "lab.example.com" ...
        servers: Addresses of the name servers to ask; None: those of /etc/resolv.conf.
        port: Their port.
        refresh: Seconds between two looks at a domain.
        pace: How often to look whether a device lives.
    """

    source = "dns"

    def __init__(
        self,
        domains: Sequence[str],
        servers: Sequence[str] | None = None,
        *,
        port: int = 53,
        refresh: float = REFRESH,
        pace: Pace | None = None,
    ) -> None:
        self._domains = domains
        self._servers = servers
        self._port = port
        self._refresh = refresh
        self._pace = pace

    async def run(self, roster: Roster) -> None:
        """Look, until cancelled (see `scout.Scout`)."""
        liveness = Liveness(roster, self._pace, proof.standard())
        follow = [self._follow(domain, roster, liveness) for domain in self._domains]
        try:
            await together((liveness.run(), *follow))
        finally:
            roster.replace(self.source, ())

    async def _follow(self, domain: str, roster: Roster, liveness: Liveness) -> None:
        while True:
            try:
                services = await self._browse(domain)
            except DnsError as error:
                roster.trouble(self.source, str(error), domain)
            else:
                keys = set()
                wrong = ""
                for service in services:
                    key = f"{domain} {service.type} {service.instance}".lower()
                    try:
                        seen = sighting(service, self.source, key)
                    except ValueError as error:
                        wrong = f"{printable(service.instance)} makes no device: {error}"
                        continue
                    liveness.see(seen, endpoints(service))
                    keys.add(key)
                for key in liveness.shown(f"{domain.lower()} ") - keys:
                    liveness.lose(key)
                if not services:
                    wrong = f"lists no devices: there is no PTR record at {TYPES[0]}.{domain}"
                roster.trouble(self.source, wrong, domain)
            await asyncio.sleep(self._refresh)

    async def _browse(self, domain: str) -> list[Service]:
        try:
            name = dns.name.from_text(domain)
            resolver = self._resolver()
        except dns.exception.DNSException as error:
            raise DnsError(f"not to be asked: {error}") from error

        async def ask(question: dns.name.Name, kind: str) -> dns.message.Message | None:
            try:
                answer = await resolver.resolve(question, kind, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                return None
            except (dns.exception.DNSException, OSError) as error:
                raise DnsError(f"no answer from the name server: {error}") from error
            return answer.response

        return await browse(ask, name)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=self._servers is None)
        if self._servers is not None:
            resolver.nameservers = list(self._servers)
            resolver.port = self._port
        resolver.lifetime = TIMEOUT
        return resolver


async def browse(ask: Ask, domain: dns.name.Name, link: str = "") -> list[Service]:
    """The services of all our types that a domain lists.

    Args:
        ask: Asks for records.
        domain: The domain.
        link: The link that addresses without a scope are on.
    """
    room = asyncio.Semaphore(CONCURRENCY)

    async def one(kind: str) -> list[Service]:
        async with room:
            answer = await ask(dns.name.from_text(kind, domain), "PTR")
        if answer is None:
            return []
        names = _names(answer, dns.name.from_text(kind, domain))[:INSTANCES_MAX]
        found = await asyncio.gather(
            *(_resolve(ask, kind, name, answer, room, link) for name in names)
        )
        return [service for service in found if service]

    listed = await asyncio.gather(*map(one, TYPES))
    return [service for services in listed for service in services][:INSTANCES_MAX]


def _names(answer: dns.message.Message, owner: dns.name.Name) -> list[dns.name.Name]:
    targets = [record.target for record in _of(answer.answer, dns.rdatatype.PTR, {owner})]
    return [name for name in dict.fromkeys(targets) if name.is_subdomain(owner) and name != owner]


async def _resolve(
    ask: Ask,
    kind: str,
    name: dns.name.Name,
    known: dns.message.Message,
    room: asyncio.Semaphore,
    link: str,
) -> Service | None:
    """One service; None when it has no host, or no port."""

    async def records(owner: dns.name.Name, wanted: str) -> list[Any]:
        value = dns.rdatatype.from_text(wanted)
        found = _pick(known, owner, value)
        if not found:
            async with room:
                answer = await ask(owner, wanted)
            found = _pick(answer, owner, value) if answer else []
        return found

    hosts = await records(name, "SRV")
    if not hosts:
        return None
    host = min(hosts, key=lambda record: (record.priority, -record.weight))
    texts = await records(name, "TXT")
    found = [*await records(host.target, "A"), *await records(host.target, "AAAA")]
    addresses = ranked(
        [scoped(record.address, link) if link else record.address for record in found]
    )
    if not addresses:
        return None
    strings = texts[0].strings if texts else ()
    return Service(
        type=kind,
        instance=name.labels[0].decode("utf-8", "replace"),
        host=host.target.to_text(omit_final_dot=True),
        port=host.port,
        addresses=addresses,
        text=b"".join(bytes([len(string)]) + string for string in strings),
    )


def _pick(
    answer: dns.message.Message, owner: dns.name.Name, kind: dns.rdatatype.RdataType
) -> list[Any]:
    """The records of a name and type, wherever in an answer (aliases were followed already)."""
    aliases = _of(answer.answer, dns.rdatatype.CNAME)
    owners = {owner, *(record.target for record in aliases)}
    return list(_of((*answer.answer, *answer.additional), kind, owners))


def _of(
    section: Iterable[dns.rrset.RRset],
    kind: dns.rdatatype.RdataType,
    owners: Collection[dns.name.Name] | None = None,
) -> Iterator[Any]:
    """The records of a type, of some names or all. Other classes than IN mean something else."""
    for rrset in section:
        named = owners is None or rrset.name in owners
        if named and rrset.rdtype == kind and rrset.rdclass == dns.rdataclass.IN:
            yield from rrset


def direct(address: str, timeout: float, port: int = 5353) -> Ask:
    """Asks one host's own mDNS responder, by unicast (RFC 6762, 5.5 and 6.7).

    Hosts on one link answer so also where the network lets no multicast through.
    """

    async def ask(name: dns.name.Name, kind: str) -> dns.message.Message | None:
        query = dns.message.make_query(name, kind)
        query.flags = dns.flags.Flag(0)
        try:
            return await dns.asyncquery.udp(
                query, address, timeout=timeout, port=port, ignore_unexpected=True
            )
        except dns.exception.Timeout:
            return None  # A responder says nothing where it has nothing to say.
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise DnsError(f"no answer from {address}: {error}") from error

    return ask
