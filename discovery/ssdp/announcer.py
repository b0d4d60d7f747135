# SPDX-License-Identifier: Apache-2.0
"""Being announced by SSDP."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from .. import device_id
from ..announcement import Announcement
from ..multicast import Trouble
from ..within import end
from .advertisement import Advertisement
from .boot import BootCounter
from .message import MAX_AGE_DEFAULT, Message, MessageError, parse
from .responder import Responder
from .transport import Link, Sender, Transport

FILE = "ssdp-bootid"
"""File of the state folder (`device_id.folder`) that keeps the BOOTID."""

REPEATS = 3
"""Times that a set of notices is sent at the start, for UDP loses packets (UDA 1.2.1)."""

REPEAT_AFTER = 0.2
"""Seconds between these, about."""

PAUSE = 2.0
"""Seconds between new BOOTIDs for new addresses, at least: whoever sends router advertisements can
make addresses come and go."""

AGE_LEAST = 20
"""Least `max_age`: a device is announced anew after less than half of it."""

_log = logging.getLogger(__name__)


def _logged(cause: str, about: str) -> None:
    if cause:
        _log.warning("announce by SSDP %s: %s", about, cause)


class SsdpAnnouncer:
    """Announces a device on every link as the links come and go, and answers searches for it.

    UPnP Device Architecture (UDA) 2.0, section 1.2: notices of what there is at the start and again
    before half of max-age is over, at random times; when an address comes or what it says changes,
    its BOOTID grows, which ssdp:update tells those who know it; ssdp:byebye when it goes.

    Args:
        announcement: The device.
        interfaces: Names of the interfaces to announce it on; None: all that can multicast.
        trouble: Told what is wrong, by link; None: it is logged.
        state: File that keeps the BOOTID; None: `FILE` of the state folder.
        max_age: Seconds for which an announcement holds. UDA asks for 1800 at least; less tells
            sooner of a death without goodbye, for more packets.
    """

    def __init__(
        self,
        announcement: Announcement,
        interfaces: Sequence[str] | None = None,
        trouble: Trouble | None = None,
        *,
        state: Path | None = None,
        max_age: int = MAX_AGE_DEFAULT,
    ) -> None:
        if max_age < AGE_LEAST:
            raise ValueError(f"announce by SSDP: max-age {max_age}: at least {AGE_LEAST}")
        self._advertisement = Advertisement(announcement, 0, max_age)
        self._interfaces = interfaces
        self._trouble = trouble or _logged
        self._boots = BootCounter(state or device_id.folder() / FILE)
        self._voice: _Voice | None = None

    @property
    def announced(self) -> tuple[str, ...]:
        """Names of the links on which the device is announced now."""
        return self._voice.announced if self._voice else ()

    async def start(self) -> None:
        """Begin; the first notices are sent on return."""
        if self._voice is None:
            advertisement = replace(self._advertisement, boot=self._boot())
            self._voice = _Voice(advertisement, self._interfaces, self._trouble, self._boot)
            await self._voice.start()

    async def update(self, announcement: Announcement) -> None:
        """Announce what has changed. The id stays as it is."""
        if announcement.id != self._advertisement.device.id:
            raise ValueError("the id of a device does not change; stop, and announce another")
        self._advertisement = replace(self._advertisement, device=announcement)
        if self._voice is not None:
            await self._voice.update(announcement)

    async def stop(self) -> None:
        """Say goodbye on every link."""
        voice, self._voice = self._voice, None
        if voice is not None:
            await voice.stop()

    def _boot(self) -> int:
        try:
            number = self._boots.next()
        except OSError as error:
            number = self._boots.last
            self._trouble(f"cannot be kept: {error}; it is taken from the clock", "BOOTID")
        else:
            self._trouble("", "BOOTID")
        return number


class _Voice:
    """One time of being announced, from start to stop."""

    def __init__(
        self,
        advertisement: Advertisement,
        names: Sequence[str] | None,
        trouble: Trouble,
        boot: Callable[[], int],
    ) -> None:
        self._said = advertisement
        self.trouble = trouble
        self._boot = boot
        self._transport = Transport(self, names)
        self._responder = Responder(self._transport, lambda: self._said)
        self._works: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._relinking: asyncio.Future[None] | None = None
        self._relinked = 0.0
        self._known: list[Link] = []

    @property
    def announced(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(link.name for link in self._links()))

    async def start(self) -> None:
        await asyncio.sleep(random.uniform(0, 0.1))  # noqa: S311 - UDA 1.2.1: not all at once
        self._transport.refresh()
        await asyncio.sleep(0)  # The first notices are sent on return.
        self._do(self._transport.follow())
        self._do(self._again())

    async def update(self, device: Announcement) -> None:
        if device.port != self._said.device.port or device.addresses != self._said.device.addresses:
            self._byebye()  # LOCATION is another: it begins anew.
            self._said = replace(self._said, device=device, boot=self._boot())
        else:
            self._renew(self._links())
            self._said = replace(self._said, device=device)
        self._announce(self._links())

    async def stop(self) -> None:
        try:
            await end(tuple(self._works))
            self._responder.close()  # What says goodbye answers no more.
            for delay in (REPEAT_AFTER / 2, 0):
                self._byebye()
                await asyncio.sleep(delay)
        finally:
            self._responder.close()
            self._transport.close()

    # ---- what the transport tells -----------------------------------------------------------

    def heard(self, packet: bytes, sender: Sender) -> None:
        """A packet came."""
        try:
            message = parse(packet)
        except MessageError:
            return
        self._responder.heard(message, sender)

    def linked(self, old: Collection[Link], new: Collection[Link]) -> None:
        """The links have changed."""
        if self._relinking is None or self._relinking.done():
            self._relinking = self._do(self._relink())

    async def _relink(self) -> None:
        """Announce on new links; those known are told of the new BOOTID first (UDA 1.2.4)."""
        if self._relinked:
            await asyncio.sleep(self._relinked + PAUSE - self._loop.time())
        known, self._known = self._known, self._links()
        if all(link in known for link in self._known):
            return  # What is gone can be told nothing.
        if self._relinked:
            self._renew([link for link in known if link in self._known])
        self._relinked = self._loop.time()
        self._announce(self._known)

    # ---- what is sent ------------------------------------------------------------------------

    def _links(self) -> list[Link]:
        return [link for link in self._transport.links if self._said.reachable(link)]

    def _renew(self, links: Iterable[Link]) -> None:
        """Take the next BOOTID, and tell of it."""
        following = self._boot()
        for link in links:
            self._send(link, self._said.update(link, following, self._transport.port(link)))
        self._said = replace(self._said, boot=following)

    def _announce(self, links: Sequence[Link]) -> None:
        """The set of notices, now and some more times."""
        self._alive(links)
        self._do(self._repeat(links))

    async def _repeat(self, links: Sequence[Link]) -> None:
        for _ in range(REPEATS - 1):
            await asyncio.sleep(REPEAT_AFTER * random.uniform(0.8, 1.5))  # noqa: S311 - jitter
            self._alive(links)

    async def _again(self) -> None:
        """The set of notices before half of max-age is over (UDA 1.2.2), until cancelled."""
        while True:
            await asyncio.sleep(self._said.max_age * random.uniform(0.35, 0.48))  # noqa: S311
            self._alive(self._links())

    def _alive(self, links: Iterable[Link]) -> None:
        for link in links:
            self._send(link, self._said.alive(link, self._transport.port(link)))

    def _byebye(self) -> None:
        for link in self._links():
            self._send(link, self._said.byebye(link))

    def _send(self, link: Link, messages: Iterable[Message]) -> None:
        for message in messages:
            self._transport.multicast(bytes(message), link)

    def _do(self, work: Awaitable[None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return task
