# SPDX-License-Identifier: Apache-2.0
"""A device of ours on a host: it listens, and is announced."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hal.discovery.announcement import Announcement
from hal.discovery.mdns import MdnsAnnouncer

from .looking import OnHost
from .namespaces import PATIENCE, Host, listener

PORT = 7362


@dataclass
class Device:
    """A device that is announced.

    Attributes:
        announcement: What it says.
        troubles: What its announcer has told, by link.
    """

    announcement: Announcement
    troubles: list[tuple[str, str]] = field(default_factory=list)
    announcer: MdnsAnnouncer | None = None
    ready: threading.Event = field(default_factory=threading.Event)
    _running: OnHost | None = None

    @property
    def id(self) -> str:
        return self.announcement.id

    async def _work(self) -> None:
        with listener(PORT):
            self.announcer = MdnsAnnouncer(
                self.announcement, trouble=lambda cause, link: self.troubles.append((link, cause))
            )
            await self.announcer.start()
            self.ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                await self.announcer.stop()

    def update(self, announcement: Announcement) -> None:
        assert self._running and self.announcer
        self._running.do(self.announcer.update(announcement))


@contextmanager
def device(host: Host, model: str = "Board", own_id: str = "", **said: object) -> Iterator[Device]:
    """A device that is announced by mDNS, from the start to the end of the block."""
    own = Device(Announcement(own_id or str(uuid.uuid4()), PORT, model, **said))  # type: ignore[arg-type]
    own._running = OnHost(host, own._work)
    try:
        assert own.ready.wait(PATIENCE)
        yield own
    finally:
        own._running.close()
