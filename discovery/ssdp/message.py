# SPDX-License-Identifier: Apache-2.0
"""One SSDP message: a start line and header fields in one UDP packet.

UPnP Device Architecture 2.0 (UDA), sections 1.1.1 to 1.1.3: a message has the form of an HTTP/1.1
message (RFC 9112) without a body. Names of header fields are read in any case and written in upper
case: there are devices that know only that (SoapyRemote compares "MAN:" byte by byte).

What is read comes from strangers. A packet that is longer, or says more, than the limits below
allow, or that contradicts itself, is refused whole, with `MessageError`; a single field that makes
no sense reads as if it were not there. Parsing costs time and memory linear in the packet's size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PACKET_MAX = 4096
"""Bytes of a packet. Those of honest devices have 200 to 600; one Ethernet frame carries 1472."""

FIELDS_MAX = 40
"""Header fields. UDA 2.0 defines 19 in all."""

LINE_MAX = 1300
"""Bytes of a line."""

VALUE_MAX = 1250
"""Characters of a value; ours have 1200 at most (a TXT record of 400 bytes, percent-encoded)."""

MAX_AGE_DEFAULT = 1800
"""Seconds a message without a CACHE-CONTROL holds (UDA 1.2.2 asks for at least so much)."""

MX_MAX = 5
"""Seconds: a device takes a greater MX for this (UDA 1.3.2)."""

NUMBER_MAX = 2**31 - 1
"""Of BOOTID.UPNP.ORG and NEXTBOOTID.UPNP.ORG (UDA 1.2.2)."""

ALIVE, BYEBYE, UPDATE, DISCOVER = "ssdp:alive", "ssdp:byebye", "ssdp:update", "ssdp:discover"

_NOTIFY = re.compile(rb"(NOTIFY|M-SEARCH) \* HTTP/1\.[01]")
_ANSWER = re.compile(rb"HTTP/1\.[01] 200(?: [ -~]*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,20})(?!\d)", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,20}", re.ASCII)
_UUID = re.compile(r"uuid:([^\s:]{1,68})(?:::(.*))?", re.IGNORECASE)


class MessageError(ValueError):
    """A packet that is no SSDP message, or breaks a limit."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, as read or to be sent.

    Attributes:
        kind: "NOTIFY", "M-SEARCH", or "200" for the answer to a search.
        fields: Header fields by their names in upper case; no value has control characters.
    """

    kind: str
    fields: Mapping[str, str]

    def get(self, name: str) -> str:
        """A field's value, "" when it is not there."""
        return self.fields.get(name, "")

    @property
    def target(self) -> str:
        """What is notified of (NT) or searched for (ST)."""
        return self.get("NT" if self.kind == "NOTIFY" else "ST")

    @property
    def uuid(self) -> str:
        """The device that USN names (UDA 1.1.4), in lower case; "" without one."""
        found = _UUID.fullmatch(self.get("USN"))
        return found[1].lower() if found else ""

    @property
    def max_age(self) -> int:
        """Seconds the message holds, as it says; `MAX_AGE_DEFAULT` when it does not say."""
        found = _MAX_AGE.search(self.get("CACHE-CONTROL"))
        return int(found[1]) if found else MAX_AGE_DEFAULT

    @property
    def mx(self) -> int | None:
        """Seconds an answer may wait, at most `MX_MAX`; None when it is absent or wrong."""
        seconds = self._number("MX")
        return min(seconds, MX_MAX) if seconds else None

    @property
    def boot(self) -> int | None:
        """BOOTID.UPNP.ORG; None when it is absent (UDA 1.0) or wrong."""
        return self._bounded("BOOTID.UPNP.ORG", NUMBER_MAX)

    @property
    def next_boot(self) -> int | None:
        """NEXTBOOTID.UPNP.ORG of an ssdp:update (UDA 1.2.4)."""
        return self._bounded("NEXTBOOTID.UPNP.ORG", NUMBER_MAX)

    @property
    def search_port(self) -> int | None:
        """SEARCHPORT.UPNP.ORG: where unicast searches go; 49152 .. 65535 (UDA 1.2.2)."""
        port = self._bounded("SEARCHPORT.UPNP.ORG", 65535)
        return port if port is not None and port >= 49152 else None

    def _number(self, name: str) -> int | None:
        text = self.get(name)
        return int(text) if _NUMBER.fullmatch(text) else None

    def _bounded(self, name: str, most: int) -> int | None:
        number = self._number(name)
        return number if number is not None and number <= most else None

    def __bytes__(self) -> bytes:
        """The packet.

        Raises:
            MessageError: A name or a value would break out of its line, or a limit is passed.
        """
        start = "HTTP/1.1 200 OK" if self.kind == "200" else f"{self.kind} * HTTP/1.1"
        lines = [start]
        for name, value in self.fields.items():
            if (
                not _NAME.fullmatch(name.encode())
                or not value.isprintable()
                or len(value) > VALUE_MAX
            ):
                raise MessageError(f'send "{name}": not a header field ({value[:40]!r})')
            line = f"{name.upper()}: {value}"
            if len(line.encode()) > LINE_MAX:
                raise MessageError(f'send "{name}": a line of more than {LINE_MAX} bytes')
            lines.append(line)
        packet = "\r\n".join([*lines, "", ""]).encode()
        if len(packet) > PACKET_MAX:
            raise MessageError(f"send {self.kind}: {len(packet)} bytes (at most {PACKET_MAX})")
        return packet


def parse(packet: bytes) -> Message:
    """Read a packet.

    Raises:
        MessageError: It is no SSDP message, breaks a limit, or says one thing in two ways.
    """
    if len(packet) > PACKET_MAX:
        raise MessageError(f"read packet: {len(packet)} bytes (at most {PACKET_MAX})")
    head = packet.partition(b"\r\n\r\n")[0]
    start, *lines = head.split(b"\n", FIELDS_MAX + 2)
    return Message(_kind(start.rstrip(b"\r")), _fields(lines))


def _kind(start: bytes) -> str:
    found = _NOTIFY.fullmatch(start)
    if found:
        return found[1].decode()
    if _ANSWER.fullmatch(start):
        return "200"
    raise MessageError(f"read start line: not of SSDP ({start[:40]!r})")


def _fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for index, line in enumerate(lines):
        content = line.rstrip(b"\r")
        if not content:
            break
        if index == FIELDS_MAX:
            raise MessageError(f"read header: more than {FIELDS_MAX} fields")
        name, value = _field(content)
        if fields.setdefault(name, value) != value:
            raise MessageError(f'read "{name}": said twice, differently')
    return fields


def _field(line: bytes) -> tuple[str, str]:
    if len(line) > LINE_MAX:
        raise MessageError(f"read header: a line of {len(line)} bytes (at most {LINE_MAX})")
    name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(name):
        raise MessageError(f"read header: not a field ({line[:40]!r})")
    text = plain(value.decode("utf-8", "replace").replace("\t", " ")).strip(" ")
    if len(text) > VALUE_MAX:
        raise MessageError(f"read header: a value of {len(text)} characters (at most {VALUE_MAX})")
    return name.decode("ascii").upper(), text


def plain(text: str) -> str:
    """The text without control, format and unprintable characters."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))
