# SPDX-License-Identifier: Apache-2.0
"""Where ACPI's tables say that I2C devices are: the kernel does not show the addresses in sysfs.

The byte code of the tables (ACPI Specification 6.5, chapter 20) is not run. Devices are found by
their definitions, and in each the resource descriptors of I2C connections (section 6.4.3.8.2.1)
that it holds. A device whose descriptors differ, because a method chooses among them, is left out.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_FOLDER = "sys/firmware/acpi/tables"
_HEADER = 36
_BLOCK = re.compile(rb"\x5b\x82|\x10")
"""DefDevice and DefScope: 20.2.5.1 and 20.2.5.2."""
_CONNECTION = re.compile(rb"\x8e..[\x01\x02].\x01", re.DOTALL)
"""Serial bus connection descriptor of bus type 1."""
_SEGMENT = re.compile(rb"[A-Z_][A-Z0-9_]{3}")
_DEVICES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class I2cPlace:
    """Where a device is on its bus.

    Attributes:
        address: Its address.
        ten_bit: Is it one of ten bits?
        speed: Of the bus, in Hz, as the device wants it.
    """

    address: int
    ten_bit: bool
    speed: int


@dataclass(frozen=True, slots=True)
class _Block:
    r"""A device's, or scope's, part of a table: from, to, and its path, "\_SB_.PC00"."""

    start: int
    end: int
    path: str
    device: bool


def i2c_places(root: str = "/") -> dict[str, I2cPlace]:
    r"""Where the I2C devices of a machine are, by path in the namespace ("\_SB_.PC00.I2C0.TPD0").

    Args:
        root: Where the machine's root is.

    Returns:
        What the tables tell; nothing where there are none, or they may not be read (it takes root).
    """
    folder = os.path.join(root, _FOLDER)
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # No ACPI.
        return {}
    found: dict[str, I2cPlace] = {}
    for name in names:
        if name.startswith(("DSDT", "SSDT")):
            found |= places_in(_read(f"{folder}/{name}"))
    return found


def places_in(table: bytes) -> dict[str, I2cPlace]:
    """Where the I2C devices of one table (DSDT or SSDT) are, by path."""
    blocks = list(_blocks(table))
    found: dict[str, set[I2cPlace]] = {}
    for match in _CONNECTION.finditer(table, _HEADER):
        around = [block for block in blocks if block.start < match.start() < block.end]
        place = _place(table, match.start())
        if place and around and around[-1].device:
            found.setdefault(around[-1].path, set()).add(place)
    return {path: places.pop() for path, places in found.items() if len(places) == 1}


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # For root alone.
        return b""


def _blocks(table: bytes) -> Iterator[_Block]:
    """The devices and scopes of a table, outer ones before those in them."""
    line: list[_Block] = []
    for count, match in enumerate(_BLOCK.finditer(table, _HEADER)):
        while line and line[-1].end <= match.start():
            line.pop()
        limit = line[-1].end if line else len(table)
        block = _block(table, match, line[-1].path if line else "\\", limit)
        if block is not None and count < _DEVICES_MAX:
            line.append(block)
            yield block


def _block(table: bytes, match: re.Match[bytes], above: str, limit: int) -> _Block | None:
    """The definition at a place; None for bytes that only look like one."""
    length, at = _package(table, match.end())
    end = match.end() + length
    path, at = _name(table, at, above)
    if not path or not at <= end <= limit:
        return None
    return _Block(match.start(), end, path, device=match[0] != b"\x10")


def _package(table: bytes, at: int) -> tuple[int, int]:
    """A length, counted from where it stands, and where what it counts goes on (20.2.4)."""
    lead = table[at] if at < len(table) else 0
    more = lead >> 6
    rest = int.from_bytes(table[at + 1 : at + 1 + more], "little")
    return (rest << 4 | lead & 0xF) if more else lead & 0x3F, at + 1 + more


def _name(table: bytes, at: int, above: str) -> tuple[str, int]:
    """A name as a full path, "" when there is none, and where it ends (20.2.2)."""
    if table[at : at + 1] == b"\\":
        above, at = "\\", at + 1
    while table[at : at + 1] == b"^":
        above, at = above.rpartition(".")[0] or "\\", at + 1
    count = 1
    if table[at : at + 1] == b"\x2e":
        count, at = 2, at + 1
    elif table[at : at + 1] == b"\x2f":
        count, at = int.from_bytes(table[at + 1 : at + 2], "big"), at + 2
    segments = [table[at + 4 * i : at + 4 * i + 4] for i in range(count)]
    if not count or not all(map(_SEGMENT.fullmatch, segments)):
        return "", at
    parts = [above.removesuffix("\\"), *(segment.decode("ascii") for segment in segments)]
    path = ".".join(filter(None, parts))
    return path if path.startswith("\\") else f"\\{path}", at + 4 * count


def _place(table: bytes, at: int) -> I2cPlace | None:
    if at + 18 > len(table) or struct.unpack_from("<H", table, at + 1)[0] < 15:
        return None
    flags, _, length, speed, address = struct.unpack_from("<HBHIH", table, at + 7)
    ten_bit = bool(flags & 1)
    if length < 6 or address > (0x3FF if ten_bit else 0x7F):
        return None
    return I2cPlace(address, ten_bit, speed)
