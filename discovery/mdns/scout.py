# SPDX-License-Identifier: Apache-2.0
"""Devices that announce themselves by multicast DNS."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zeroconf import (
    BadTypeInNameException,
    DNSQuestionType,
    RecordUpdateListener,
    ServiceStateChange,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf
from zeroconf.const import _TYPE_A, _TYPE_AAAA, _TYPE_PTR

from .. import proof
from ..liveness import Endpoint, Liveness, Pace
from ..multicast import each_link
from ..netlink import Interface
from ..roster import Roster
from ..service import TYPES, Service, endpoints, ranked, scoped, sighting
from ..sysfs import printable
from ..within import end, within
from .gate import Gate
from .segment import port_is_shared, segment

if TYPE_CHECKING:
    from zeroconf import RecordUpdate, Zeroconf

DOMAIN = ".local."

_ADDRESSES = (_TYPE_A, _TYPE_AAAA)

GRACE = 5.0
"""Seconds that a link's devices have to be heard again when its addresses have changed."""


MANY, MANY_MORE, MANY_TIME = 1000, 1.02, 15.0
"""From so many services on, more by this factor within so many seconds: others were not heard."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of one link is remembered.

    Attributes:
        names: Services in all.
        per_origin: Of one sender.
        patience: Services beyond that until the sender is not listened to any more.
        ban: Seconds for which it is not.
        waiting: Services at a time whose address is still to be asked for.
        resolvers: Of them asked for at a time.
        timeout: Seconds for an answer.
        tries: How often a service is asked for.
    """

    names: int = 20_000
    per_origin: int = 12_000
    patience: int = 1000
    ban: float = 60.0
    waiting: int = 4096
    resolvers: int = 32
    timeout: float = 3.0
    tries: int = 3


class MdnsScout:
    """Browses for our devices and for those of `foreign.KINDS`, and looks whether they live.

    Args:
        interfaces: Names of the interfaces to browse on; None: all that can multicast.
        types: Service types to browse for.
        pace: How often to look whether they live.
        bounds: How much to remember of one link.
    """

    source = "mdns"

    def __init__(
        self,
        interfaces: Sequence[str] | None = None,
        *,
        types: Sequence[str] = TYPES,
        pace: Pace | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._interfaces = interfaces
        self._types = types
        self._pace = pace
        self._bounds = bounds or Bounds()

    async def run(self, roster: Roster) -> None:
        """Look, until cancelled (see `scout.Scout`)."""
        liveness = Liveness(roster, self._pace, proof.standard())

        def trouble(cause: str, about: str) -> None:
            roster.trouble(self.source, cause, about)

        def gone(name: str) -> None:
            for key in liveness.shown(f"{name} "):
                liveness.lose(key)

        async def browse(link: Interface) -> None:
            await _Browser(link, self._types, self._bounds, liveness, roster).run()

        looking = asyncio.ensure_future(liveness.run())
        try:
            await each_link(self._interfaces, browse, trouble, gone)
        finally:
            await end((looking,))
            roster.replace(self.source, ())


@dataclass(slots=True)
class _Name:
    """A service that was heard of.

    Attributes:
        key: That of its sighting.
        type: "_iio._tcp.local."
        origin: Who announced it.
        tries: How often its address was asked for.
        resolved: It has become a sighting.
    """

    key: str
    type: str
    origin: str
    tries: int = 0
    resolved: bool = False


@dataclass
class _Browser:
    """The services of one link."""

    link: Interface
    types: Sequence[str]
    bounds: Bounds
    liveness: Liveness
    roster: Roster
    names: dict[str, _Name] = field(default_factory=dict)
    origins: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.gate = Gate(self.link.name)
        self._links = (self.link.name,)
        self._waiting: asyncio.Queue[str] = asyncio.Queue(self.bounds.waiting)
        self._flooded = asyncio.Event()
        self._told: set[str] = set()
        self._question: DNSQuestionType | None = None

    async def run(self) -> None:
        """Browse, until cancelled; after a flood with a new zeroconf, for the old remembers it."""
        before = self.liveness.shown(f"{self.link.name} ")
        try:
            while True:
                self._question = DNSQuestionType.QM if port_is_shared() else None
                async with segment(self.link, self.gate) as mdns:
                    self._trouble("")
                    mdns.zeroconf.async_add_listener(_Refreshes(self, mdns.zeroconf), None)
                    await self._work(mdns, before)
                before = set()
        finally:
            for about in tuple(self._told):
                self._trouble("", about)

    async def _work(self, mdns: AsyncZeroconf, before: set[str]) -> None:
        """Browse and resolve, until there is a flood."""
        jobs = [self._resolve(mdns) for _ in range(self.bounds.resolvers)]
        workers = [asyncio.ensure_future(job) for job in (*jobs, self._browse(mdns))]
        if before:
            workers.append(asyncio.ensure_future(self._forget(before)))
        try:
            ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in ended:
                worker.result()
        finally:
            await end(workers)

    async def _browse(self, mdns: AsyncZeroconf) -> None:
        """Browse, until there is a flood.

        When thousands answer at once, packets are lost; zeroconf asks four times within 15 s. As
        long as that brings many new ones, it is worth asking again.
        """
        types = [kind + DOMAIN for kind in self.types]
        self._flooded.clear()
        while not self._flooded.is_set():
            known = len(self.names)
            browser = AsyncServiceBrowser(
                mdns.zeroconf, types, handlers=[self._changed], question_type=self._question
            )
            try:
                while not self._flooded.is_set():
                    with suppress(asyncio.TimeoutError):
                        await within(MANY_TIME, self._flooded.wait())
                    if len(self.names) >= max(MANY, known * MANY_MORE):
                        break
                    known = len(self.names)
            finally:
                await browser.async_cancel()

    async def _forget(self, keys: set[str]) -> None:
        """Lose what was there before this link's addresses changed, and is not heard again."""
        await asyncio.sleep(GRACE)
        for key in keys - self.names.keys():
            self.liveness.lose(key)
        await asyncio.Event().wait()

    # What follows is called by zeroconf, within the reading of a packet. It raises nothing.

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            self._removed(name)
            return
        key = self._key(name)
        known = self.names.get(key)
        if not self.gate.sender and (known is None or known.resolved):
            return  # A new browser is told what the old one knew: nothing new, or refused before.
        info = _named(service_type, name)
        if info is None:
            return
        if known is None:
            known = _Name(key, service_type, self.gate.sender)
            if self._refuses(known.origin):
                return
            self.names[key] = known
            self.origins[known.origin] += 1
        if info.load_from_cache(zeroconf):
            self._resolved(known, info)
        elif not known.resolved:
            self._ask(name)

    def _told_again(self, zeroconf: Zeroconf, name: str) -> None:
        """What a service lacked may be in zeroconf's cache now."""
        known = self.names.get(self._key(name))
        if known is not None:
            self._changed(zeroconf, known.type, name, ServiceStateChange.Updated)

    def _removed(self, name: str) -> None:
        known = self.names.pop(self._key(name), None)
        if known is not None:
            self.origins[known.origin] -= 1
            self.liveness.lose(known.key)
            self._trouble("", name)

    def _refuses(self, origin: str) -> bool:
        """Is there no room for one more of this sender?"""
        bounds = self.bounds
        if len(self.names) < bounds.names and self.origins[origin] < bounds.per_origin:
            return False
        self.refused[origin] += 1
        if self.refused[origin] < bounds.patience and self.refused.total() < bounds.names:
            return True
        self.refused.clear()
        self.gate.ban(origin, bounds.ban)
        self._trouble(
            f"{origin} announces more services than are remembered ({bounds.per_origin} of one "
            f"sender, {bounds.names} in all); it is not listened to for {bounds.ban:.0f} s",
            "flood",
        )
        self._flooded.set()
        asyncio.get_running_loop().call_later(bounds.ban, self._trouble, "", "flood")
        return True

    def _ask(self, name: str) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(name)

    def _resolved(self, known: _Name, info: AsyncServiceInfo) -> None:
        """Show a service whose address is known."""
        known.resolved, known.tries = True, 0
        kind = info.type.removesuffix(DOMAIN)
        service = Service(
            type=kind,
            instance=info.name.removesuffix(f".{info.type}"),
            host=(info.server or "").rstrip("."),
            port=info.port or 0,
            addresses=ranked(
                [scoped(address, self.link.name) for address in info.parsed_addresses()],
                loopback=self.link.loopback,
            ),
            text=info.text or b"",
        )
        try:
            seen = sighting(service, "mdns", known.key, origin=known.origin, links=self._links)
        except ValueError as error:
            self.liveness.lose(known.key)
            self._trouble(f"its announcement makes no device: {error}", info.name)
            return
        self._trouble("", info.name)
        self.liveness.see(seen, self._endpoints(service))

    def _endpoints(self, service: Service) -> tuple[Endpoint, ...]:
        """Where it may be connected to: on this link or a private network, for it may be a lie."""
        near = filter(self._near, service.addresses)
        return endpoints(replace(service, addresses=tuple(near)))

    def _near(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        return (
            ip.is_private
            or ip.is_link_local
            or any(ip in interface.network for interface in self.link.addresses)
        )

    def _key(self, name: str) -> str:
        return f"{self.link.name} {name.lower()}"

    def _trouble(self, cause: str, about: str = "") -> None:
        if cause:
            self._told.add(about)
        elif about in self._told:
            self._told.discard(about)
        elif about:
            return
        self.roster.trouble("mdns", cause, printable(f"{self.link.name} {about}".strip())[:300])

    # Up to here.

    async def _resolve(self, mdns: AsyncZeroconf) -> None:
        """Ask for the addresses of services that came without."""
        while True:
            name = await self._waiting.get()
            known = self.names.get(self._key(name))
            if known is None or known.resolved:
                continue
            info = AsyncServiceInfo(known.type, name)
            kind = DNSQuestionType.QM if known.tries else self._question
            if await info.async_request(mdns.zeroconf, self.bounds.timeout * 1000, kind):
                if known.key in self.names:
                    # Of a packet it has missed the addresses before the service; the cache has all.
                    info.load_from_cache(mdns.zeroconf)
                    self._resolved(known, info)
                continue
            known.tries += 1
            if known.tries < self.bounds.tries:
                asyncio.get_running_loop().call_later(known.tries * 2.0, self._ask, name)
            else:
                self._trouble("it is announced, but nobody answers for its address", name)


def _named(kind: str, name: str) -> AsyncServiceInfo | None:
    """The service of a name; None for a name that zeroconf takes for none.

    An error out of a handler would stay: zeroconf's browser calls it again at each packet, before
    all that is new.
    """
    try:
        return AsyncServiceInfo(kind, name)
    except BadTypeInNameException:  # Control characters, a label of more than 63 bytes.
        return None


class _Refreshes(RecordUpdateListener):
    """Hears what is told again, which is no change to a browser.

    A service that announces itself again is looked after at once. An address that had expired, but
    was not thrown away yet (zeroconf does so every 10 s), is one that its services lack.
    """

    def __init__(self, browser: _Browser, zeroconf: Zeroconf) -> None:
        self._browser = browser
        self._zeroconf = zeroconf
        self._back: set[str] = set()

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        browser = self._browser
        for update in records:
            if update.old is None or update.new.is_expired(now):
                continue
            if update.new.type == _TYPE_PTR:
                browser.liveness.hurry(browser._key(update.new.alias))  # type: ignore[attr-defined]
            elif update.new.type in _ADDRESSES and update.old.is_expired(now):
                self._back.add(update.new.name)

    def async_update_records_complete(self) -> None:
        for host in self._back:
            for service in self._zeroconf.cache.async_entries_with_server(host):
                self._browser._told_again(self._zeroconf, service.name)
        self._back.clear()
