# SPDX-License-Identifier: Apache-2.0
"""What a device of ours says by SSDP: notices, and answers to searches.

UPnP Device Architecture (UDA) 2.0, sections 1.2 and 1.3.3. A device without embedded devices and
services has three names: as a root device, by its UUID, and by its type.

LOCATION is "hal://ADDRESS:PORT/", where the device listens for the secure link, and no description
document: there is no web server, and nothing is told to whom has not proved who he is. Control
points that fetch descriptions leave such a device alone; there is a precedent, SoapyRemote's
"tcp://HOST:PORT". What the document would say is in the header field `heard.TEXT_FIELD`.
"""

from __future__ import annotations

import ipaddress
import zlib
from dataclasses import dataclass, replace
from email.utils import formatdate

from ..announcement import Announcement
from .heard import TEXT_FIELD, text_field
from .kinds import HAL_TYPE
from .message import ALIVE, BYEBYE, DISCOVER, UPDATE, Message
from .search import ALL, product
from .transport import Link

ROOT = "upnp:rootdevice"


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A device, and how it is announced now.

    Attributes:
        device: What it says of itself.
        boot: Its BOOTID.
        max_age: Seconds for which an announcement holds.
    """

    device: Announcement
    boot: int
    max_age: int

    @property
    def config(self) -> int:
        """CONFIGID.UPNP.ORG, 0 .. 2^24 - 1: another one when it says other things (UDA 1.2.2).

        A restart alone changes nothing of it.
        """
        said = replace(self.device, boot="0" * 8)
        return zlib.crc32(said.text() + b"%d" % said.port) & 0xFFFFFF

    def reachable(self, link: Link) -> bool:
        """Does it listen on our address of this link?"""
        bound = {ipaddress.ip_address(text.partition("%")[0]) for text in self.device.addresses}
        return not bound or link.address.ip in bound

    @property
    def names(self) -> dict[str, str]:
        """Its notification types (NT, ST) and the USN of each (UDA 1.2.2, table 1-1)."""
        own = f"uuid:{self.device.id}"
        return {ROOT: f"{own}::{ROOT}", own: own, HAL_TYPE: f"{own}::{HAL_TYPE}"}

    def sought(self, target: str) -> list[str]:
        """Those of its names that a search asks for."""
        if target == ALL:
            return list(self.names)
        if target.lower().startswith("uuid:"):
            target = target.lower()
        return [target] if target in self.names else []

    def alive(self, link: Link, search_port: int) -> list[Message]:
        """Notices that it is there (UDA 1.2.2)."""
        return [
            Message(
                "NOTIFY",
                {
                    "HOST": link.destination,
                    "CACHE-CONTROL": f"max-age={self.max_age}",
                    "LOCATION": self._location(link),
                    "NT": name,
                    "NTS": ALIVE,
                    "SERVER": product(),
                    "USN": usn,
                    **self._numbers(),
                    "SEARCHPORT.UPNP.ORG": str(search_port),
                    TEXT_FIELD: text_field(self.device.text()),
                },
            )
            for name, usn in self.names.items()
        ]

    def byebye(self, link: Link) -> list[Message]:
        """Notices that it goes (UDA 1.2.3)."""
        return [
            Message(
                "NOTIFY",
                {
                    "HOST": link.destination,
                    "NT": name,
                    "NTS": BYEBYE,
                    "USN": usn,
                    **self._numbers(),
                },
            )
            for name, usn in self.names.items()
        ]

    def update(self, link: Link, following: int, search_port: int) -> list[Message]:
        """Notices that its BOOTID will be another from now on (UDA 1.2.4)."""
        return [
            Message(
                "NOTIFY",
                {
                    "HOST": link.destination,
                    "LOCATION": self._location(link),
                    "NT": name,
                    "NTS": UPDATE,
                    "USN": usn,
                    **self._numbers(),
                    "NEXTBOOTID.UPNP.ORG": str(following),
                    "SEARCHPORT.UPNP.ORG": str(search_port),
                },
            )
            for name, usn in self.names.items()
        ]

    def answer(self, name: str, link: Link, search_port: int) -> Message:
        """An answer to a search (UDA 1.3.3)."""
        return Message(
            "200",
            {
                "CACHE-CONTROL": f"max-age={self.max_age}",
                "DATE": formatdate(usegmt=True),
                "EXT": "",
                "LOCATION": self._location(link),
                "SERVER": product(),
                "ST": name,
                "USN": self.names[name],
                **self._numbers(),
                "SEARCHPORT.UPNP.ORG": str(search_port),
                TEXT_FIELD: text_field(self.device.text()),
            },
        )

    def _location(self, link: Link) -> str:
        return f"hal://{link.host}:{self.device.port}/"

    def _numbers(self) -> dict[str, str]:
        return {"BOOTID.UPNP.ORG": str(self.boot), "CONFIGID.UPNP.ORG": str(self.config)}


def is_search(message: Message) -> bool:
    """Is this a search that must be looked into (UDA 1.3.2)?"""
    return message.kind == "M-SEARCH" and message.get("MAN").strip('"') == DISCOVER
