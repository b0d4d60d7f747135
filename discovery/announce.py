# SPDX-License-Identifier: Apache-2.0
"""Being a device on the network: announced by mDNS and by SSDP at once.

announcer = Announcer(Announcement(device_id.load().id, port=7362, model="Board X"))
await announcer.start()
...
await announcer.stop()      # says goodbye
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from .announcement import Announcement

PROTOCOLS = ("mdns", "ssdp")

Told = Callable[[str, str, str], None]
"""Takes a protocol, what is wrong ("": nothing any more), and the link it is wrong on."""


class Voice(Protocol):
    """What announces by one protocol."""

    @property
    def announced(self) -> tuple[str, ...]:
        """Names of the links on which the device is announced now."""

    async def start(self) -> None:
        """Begin; the device is announced on return, where that is possible."""

    async def update(self, announcement: Announcement) -> None:
        """Announce what has changed."""

    async def stop(self) -> None:
        """Say goodbye."""


class Announcer:
    """Announces a device by several protocols.

    Args:
        announcement: The device.
        interfaces: Names of the interfaces to announce it on; None: all that can multicast.
        protocols: Of `PROTOCOLS`.
        told: Told what is wrong; None: it is logged.
    """

    def __init__(
        self,
        announcement: Announcement,
        interfaces: Sequence[str] | None = None,
        *,
        protocols: Sequence[str] = PROTOCOLS,
        told: Told | None = None,
    ) -> None:
        self._voices = {
            name: _voice(name, announcement, interfaces, told)
            for name in PROTOCOLS
            if name in protocols
        }

    @property
    def announced(self) -> dict[str, tuple[str, ...]]:
        """For each protocol, the names of the links on which the device is announced now."""
        return {name: voice.announced for name, voice in self._voices.items()}

    async def start(self) -> None:
        """Begin; the device is announced on return, where that is possible (some 2 s)."""
        await asyncio.gather(*(voice.start() for voice in self._voices.values()))

    async def update(self, announcement: Announcement) -> None:
        """Announce what has changed; the id stays as it is."""
        await asyncio.gather(*(voice.update(announcement) for voice in self._voices.values()))

    async def stop(self) -> None:
        """Say goodbye by all protocols."""
        await asyncio.gather(*(voice.stop() for voice in self._voices.values()))


def _voice(
    name: str, announcement: Announcement, interfaces: Sequence[str] | None, told: Told | None
) -> Voice:
    def trouble(cause: str, about: str) -> None:
        if told is not None:
            told(name, cause, about)

    given = trouble if told is not None else None
    if name == "mdns":
        from .mdns import MdnsAnnouncer

        return MdnsAnnouncer(announcement, interfaces, given)
    from .ssdp.announcer import SsdpAnnouncer

    return SsdpAnnouncer(announcement, interfaces, given)
