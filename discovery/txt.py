# SPDX-License-Identifier: Apache-2.0
"""TXT records of DNS-SD services (RFC 6763, section 6), and what a device of ours says in one.

A TXT record is a sequence of strings of at most 255 bytes, each with its length before it and of
the form `key=value`. What is read comes from strangers: any bytes give a result, in time linear in
their number, and what breaks a limit is left out and told.

A HAL device says:

    txtvers=1                     version of this list
    id=<uuid>                     who it is
    version=<text>                of its software
    protocol=hal/1                what it speaks on the announced port
    model=<text>                  what it is
    capabilities=i2c,gpio,+3      what it has; "+3": that much more did not fit
    boot=<8 hexadecimal digits>   made anew by each start

Readers also take `ver`, `proto` and `cap`. One process announces one `boot` on all its networks, so
it is told apart from a clone of it, which has the same `id`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .sysfs import printable

SERVICE = "_hal-device._tcp"
PROTOCOL = "hal/1"
"""What a device of ours speaks on the port it announces."""

VERSION = "1"
"""Of the list of keys (`txtvers`)."""

ANNOUNCED_MAX = 400
"""Bytes of the record we announce: with all else it fits one packet of 1460 bytes."""

READ_MAX = 2048
"""Bytes of a record that we read (RFC 6763, 6.2: beyond 1300 is not recommended)."""

PAIRS_MAX = 64
"""Pairs that we read; further ones are left out."""

STRING_MAX = 255

_KEY = re.compile(rb"[ -<>-~]{1,64}")  # Printable US-ASCII without "="; RFC 6763, 6.4.
_BOOT = re.compile(r"[0-9a-f]{8}")
_CAPABILITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


@dataclass(frozen=True, slots=True)
class Txt:
    """What a TXT record says.

    Attributes:
        pairs: Keys in lower case and their values; None for a key alone.
        problem: What was left out and why, "" when nothing was.
    """

    pairs: Mapping[str, bytes | None]
    problem: str = ""

    def text(self, *keys: str) -> str:
        """The value of the first key that is there, without control characters; else ""."""
        for key in keys:
            if (value := self.pairs.get(key)) is not None:
                return printable(value.decode("utf-8", "replace"))
        return ""


def parse(data: bytes) -> Txt:
    """Read a TXT record. Whatever the bytes are, it raises nothing."""
    if len(data) > READ_MAX:
        return Txt({}, f"TXT record of {len(data)} bytes, more than {READ_MAX}: not read")
    pairs: dict[str, bytes | None] = {}
    problem = ""
    at = 0
    while at < len(data):
        string = data[at + 1 : at + 1 + data[at]]
        if len(string) < data[at]:
            problem = "TXT record ends within a string"
            break
        at += 1 + data[at]
        key, separator, value = string.partition(b"=")
        if not string or not key:
            continue  # RFC 6763, 6.1 and 6.4: to be ignored.
        if not _KEY.fullmatch(key):
            problem = "TXT record has a key that is no plain text"
        elif len(pairs) == PAIRS_MAX:
            problem = f"TXT record has more than {PAIRS_MAX} keys"
            break
        else:  # The first of equal keys counts.
            pairs.setdefault(key.decode("ascii").lower(), value if separator else None)
    return Txt(pairs, problem)


def build(pairs: Iterable[tuple[str, str | bytes | None]], limit: int = ANNOUNCED_MAX) -> bytes:
    """Make a TXT record.

    Args:
        pairs: Keys and their values; None: the key alone.
        limit: Bytes it may have.

    Raises:
        ValueError: A key is no key, a pair or the whole is too long; the text says which and why.
    """
    strings, seen = [], set()
    for key, value in pairs:
        name = key.encode("ascii", "replace")
        if not _KEY.fullmatch(name) or name != key.encode():
            raise ValueError(
                f'TXT key "{printable(key)}": not 1 to 64 letters of ASCII without "="'
            )
        if key.lower() in seen:
            raise ValueError(f'TXT key "{key}": given twice')
        seen.add(key.lower())
        data = value.encode() if isinstance(value, str) else value
        string = name if data is None else name + b"=" + data
        if len(string) > STRING_MAX:
            raise ValueError(
                f'TXT key "{key}": with its value {len(string)} bytes, at most {STRING_MAX} fit'
            )
        strings.append(bytes([len(string)]) + string)
    record = b"".join(strings)
    if len(record) > limit:
        raise ValueError(f"TXT record: {len(record)} bytes, at most {limit} fit")
    return record


@dataclass(frozen=True, slots=True)
class DeviceText:
    """What a HAL device says of itself.

    Attributes:
        id: Its UUID.
        version: Of its software.
        protocol: What it speaks on the announced port.
        model: What it is.
        capabilities: What it has: "i2c", "gpio" ...
        boot: 8 hexadecimal digits that each start makes anew; "" where it does not say.
        more: How many capabilities were left out for room.
    """

    id: str
    version: str = ""
    protocol: str = PROTOCOL
    model: str = ""
    capabilities: tuple[str, ...] = ()
    boot: str = ""
    more: int = 0

    def encode(self) -> bytes:
        """The TXT record, of at most `ANNOUNCED_MAX` bytes; capabilities give way.

        Raises:
            ValueError: Something is ill-formed, or too long; the text says what.
        """
        fixed: list[tuple[str, str | bytes | None]] = [
            ("txtvers", VERSION),
            ("id", canonical(self.id)),
            ("version", _plain("version", self.version)),
            ("protocol", _plain("protocol", self.protocol)),
            ("model", _plain("model", self.model)),
        ]
        if self.boot:
            if not _BOOT.fullmatch(self.boot):
                raise ValueError(f'boot "{printable(self.boot)}": not 8 hexadecimal digits')
            fixed.append(("boot", self.boot))
        for capability in self.capabilities:
            if not _CAPABILITY.fullmatch(capability):
                raise ValueError(
                    f'capability "{printable(capability)}": not 1 to 32 of a-z 0-9 . _ -'
                )
        room = ANNOUNCED_MAX - len(build(fixed))
        pair = ("capabilities", fitting(self.capabilities, room - 1 - len("capabilities=")))
        return build([*fixed, pair])


def fitting(capabilities: tuple[str, ...], room: int) -> str:
    """As many capabilities as fit, with commas; then "+N" for the N others.

    Raises:
        ValueError: Not even that "+N" fits.
    """
    room = min(room, STRING_MAX - len("capabilities="))
    for kept in range(len(capabilities), -1, -1):
        left_out = len(capabilities) - kept
        text = ",".join([*capabilities[:kept], *([f"+{left_out}"] if left_out else [])])
        if len(text) <= room:
            return text
    raise ValueError("TXT record: no room for capabilities; shorten the model or the version")


def decode(txt: Txt) -> DeviceText:
    """What a HAL device's TXT record says.

    Raises:
        ValueError: It is none of a HAL device: no `id`, or one that is no UUID; a `txtvers` that is
            not ours. The text says which.
    """
    version = txt.text("txtvers")
    if version and version != VERSION:
        raise ValueError(f'txtvers "{version[:16]}": only {VERSION} is known here')
    named = [name for name in txt.text("capabilities", "cap").split(",") if name]
    more = int(named.pop()[1:]) if named and re.fullmatch(r"\+[0-9]{1,4}", named[-1]) else 0
    boot = txt.text("boot")
    return DeviceText(
        id=canonical(txt.text("id")),
        version=txt.text("version", "ver"),
        protocol=txt.text("protocol", "proto"),
        model=txt.text("model"),
        capabilities=tuple(name for name in named if _CAPABILITY.fullmatch(name)),
        boot=boot if _BOOT.fullmatch(boot) else "",
        more=more,
    )


def canonical(text: str) -> str:
    """A UUID in its usual form, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".

    Raises:
        ValueError: It is none.
    """
    if not text:
        raise ValueError("no id")
    try:
        found = uuid.UUID(text) if len(text) <= 45 else None
    except ValueError:
        found = None
    if found is None or not found.int:
        raise ValueError(f'id "{printable(text[:64])}": no UUID')
    return str(found)


def _plain(what: str, text: str) -> str:
    if not text.isprintable():
        raise ValueError(f'{what} "{printable(text)}": has control characters')
    return text
