# SPDX-License-Identifier: Apache-2.0
"""Being announced by multicast DNS."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from zeroconf import NonUniqueNameException, RecordUpdateListener, ServiceInfo
from zeroconf.const import _TYPE_TXT

from .. import txt
from ..announcement import Announcement
from ..multicast import Trouble, each_link, usable
from ..netlink import Interface
from ..within import end, within
from .gate import Gate
from .segment import segment

if TYPE_CHECKING:
    from zeroconf import RecordUpdate, Zeroconf
    from zeroconf.asyncio import AsyncZeroconf

TYPE = f"{txt.SERVICE}.local."

START = 5.0
"""Seconds that `start` waits at most; announcing takes 1.7 (three probes, RFC 6762, 8.1)."""

LOOKUP = 1500
"""Milliseconds to find out who else has our name."""

REPEAT = 2.0
"""Seconds after which a name is announced again that another gave up with a goodbye."""

_log = logging.getLogger(__name__)


def _logged(cause: str, about: str) -> None:
    if cause:
        _log.warning("announce by mDNS %s: %s", about, cause)


class MdnsAnnouncer:
    """Announces a device on every link, as the links come and go.

    The name is the device's UUID. Who has it already is either this very process, heard on another
    link to the same network (the same `boot`), or a clone: then that is told, and the device goes
    by "<uuid>-2", so that whoever looks sees both and knows of the clone too.

    Args:
        announcement: The device.
        interfaces: Names of the interfaces to announce it on; None: all that can multicast.
        trouble: Told what is wrong, by link; None: it is logged.
    """

    def __init__(
        self,
        announcement: Announcement,
        interfaces: Sequence[str] | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self._announcement = announcement
        self._interfaces = interfaces
        self._trouble = trouble or _logged
        self._task: asyncio.Task[None] | None = None
        self._voices: dict[str, _Voice] = {}
        self._tried: set[str] = set()
        self._ready = asyncio.Event()

    @property
    def announced(self) -> tuple[str, ...]:
        """Names of the links on which the device is announced now."""
        return tuple(name for name, voice in self._voices.items() if voice.info)

    async def start(self) -> None:
        """Begin; the device is announced on return, where that is possible within `START`."""

        def trouble(cause: str, about: str) -> None:
            if cause:
                self._done(about)
            self._trouble(cause, about)

        self._task = asyncio.ensure_future(each_link(self._interfaces, self._speak, trouble))
        with suppress(asyncio.TimeoutError):
            await within(START, self._ready.wait())

    async def update(self, announcement: Announcement) -> None:
        """Announce what has changed. The id and the boot stay as they are."""
        if announcement.id != self._announcement.id:
            raise ValueError("the id of a device does not change; stop, and announce another")
        self._announcement = announcement
        await asyncio.gather(*(voice.update(announcement) for voice in self._voices.values()))

    async def stop(self) -> None:
        """Say goodbye on every link."""
        if self._task is not None:
            task, self._task = self._task, None
            await end((task,))

    async def _speak(self, link: Interface) -> None:
        async with segment(link, Gate(link.name)) as mdns:
            voice = _Voice(mdns, link, self._announcement, self._trouble)
            self._voices[link.name] = voice
            try:
                if voice.addresses:
                    await voice.announce()
                self._done(link.name)
                await voice.defend()
            finally:
                del self._voices[link.name]

    def _done(self, name: str) -> None:
        """It was tried on a link; when on all, `start` may return."""
        self._tried.add(name)
        links, _ = usable(self._interfaces)
        if self._tried >= {link.name for link in links}:
            self._ready.set()


class _Voice:
    """The announcement on one link.

    Attributes:
        info: What is announced, None before.
    """

    def __init__(
        self, mdns: AsyncZeroconf, link: Interface, announcement: Announcement, trouble: Trouble
    ) -> None:
        self.info: ServiceInfo | None = None
        self._mdns = mdns
        self._link = link
        self._announcement = announcement
        self._trouble = trouble
        self._conflict = asyncio.Event()
        self._other = ""

    async def announce(self) -> None:
        """Probe for the name and announce it, or another one where a clone has it."""
        name, alarm = self._announcement.id, ""
        for attempt in range(2, 100):
            info = self._service(name)
            try:
                await (await self._mdns.async_register_service(info))
            except NonUniqueNameException:
                other = await self._mdns.async_get_service_info(TYPE, info.name, LOOKUP)
                if other is not None and self._ourselves(other.text):
                    await (
                        await self._mdns.async_register_service(info, cooperating_responders=True)
                    )
                    break
                where = ", ".join(other.parsed_addresses()) if other else "an unknown address"
                alarm = alarm or where
                name = f"{self._announcement.id}-{attempt}"
            else:
                break
        self.info = info
        self._trouble(self._alarm(alarm) if alarm else "", self._link.name)

    async def update(self, announcement: Announcement) -> None:
        """Announce what has changed."""
        self._announcement = announcement
        if self.info is not None:
            self.info = self._service(self.info.name.partition(".")[0])
            await (await self._mdns.async_update_service(self.info))

    async def defend(self) -> None:
        """Until cancelled: when another speaks under our name, the smaller `boot` keeps it.

        That happens when both began at once (RFC 6762, section 9).
        """
        self._mdns.zeroconf.async_add_listener(_Conflicts(self), None)
        while True:
            await self._conflict.wait()
            self._conflict.clear()
            if self.info is None:
                continue
            self._trouble(self._alarm("an address not told yet"), self._link.name)
            if self._other < self._announcement.boot:
                await (await self._mdns.async_unregister_service(self.info))
                await asyncio.sleep(REPEAT)
                await self.announce()
            else:
                await asyncio.sleep(REPEAT)
                await (await self._mdns.async_update_service(self.info))

    def heard(self, name: str, text: bytes) -> None:
        """Somebody, perhaps ourselves, says a TXT record."""
        if self.info is None or name.lower() != self.info.name.lower():
            return
        boot = _boot(text)
        if boot and boot != self._announcement.boot:
            self._other = boot
            self._conflict.set()

    def _ourselves(self, text: bytes | None) -> bool:
        return _boot(text or b"") == self._announcement.boot

    def _alarm(self, where: str) -> str:
        return (
            f"another device announces our id {self._announcement.id} too (at {where}): a clone, "
            'perhaps of the disk image; on one of them, remove "device.json" of the state folder'
        )

    @property
    def addresses(self) -> list[str]:
        """Those of the link's addresses that the device listens on."""
        bound = {
            ipaddress.ip_address(name.partition("%")[0]) for name in self._announcement.addresses
        }
        own = [address.ip for address in self._link.addresses]
        return [str(address) for address in own if not bound or address in bound]

    def _service(self, name: str) -> ServiceInfo:
        return ServiceInfo(
            TYPE,
            f"{name}.{TYPE}",
            port=self._announcement.port,
            properties=self._announcement.text(),
            server=f"{name}.local.",
            parsed_addresses=self.addresses,
        )


class _Conflicts(RecordUpdateListener):
    """Hears TXT records."""

    def __init__(self, voice: _Voice) -> None:
        self._voice = voice

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        for update in records:
            if update.new.type == _TYPE_TXT and not update.new.is_expired(now):
                self._voice.heard(update.new.name, getattr(update.new, "text", b""))


def _boot(text: bytes) -> str:
    try:
        return txt.decode(txt.parse(text)).boot
    except ValueError:
        return ""
