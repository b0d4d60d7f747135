# SPDX-License-Identifier: Apache-2.0
"""Frames of the link protocol (docs/protocol.md): bytes from values, values from bytes."""

from __future__ import annotations

import enum
import errno
import struct
from dataclasses import dataclass
from typing import Final

from hal.errors import ProtocolError

HEADER: Final = struct.Struct("<IBBBxII")
BODY_MAX: Final = 1 << 20
HELLO_MAX: Final = 8192
FOREVER: Final = 0xFFFFFFFF
ANSWER: Final = 1
ERROR: Final = 2
MORE: Final = 4


class Type(enum.IntEnum):
    """What a frame is about."""

    HELLO = 1
    LIST = 2
    OPEN = 3
    READ = 4
    WRITE = 5
    TRANSFER = 6
    CONTROL = 7
    GET = 8
    SET = 9
    LOAD = 10
    STORE = 11
    READ_AT = 12
    WRITE_AT = 13
    CREDIT = 14
    DATA = 15
    CANCEL = 16
    PING = 17
    NOTICE = 18
    TOKEN = 19
    BATCH = 20
    RESUME = 21


class Lane(enum.IntEnum):
    """Which of the lanes of a device a frame belongs to."""

    READ = 0
    WRITE = 1
    CONTROL = 2
    NONE = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, taken apart.

    Attributes:
        type: A `Type`, or a number that is none.
        lane: Its lane.
        flags: `ANSWER` and `ERROR`, or-ed.
        id: Of the request.
        wait: Milliseconds that are left of the caller's deadline; `FOREVER`: no deadline.
        body: What follows the header.
    """

    type: int
    lane: int
    flags: int
    id: int
    wait: int
    body: memoryview

    @property
    def timeout(self) -> float | None:
        """`wait` in seconds, as `hal` takes it."""
        return None if self.wait == FOREVER else self.wait / 1000


def pack(kind: int, lane: int, flags: int, identifier: int, *parts: bytes | memoryview) -> bytes:
    """The bytes of a frame."""
    length = sum(len(part) for part in parts)
    return b"".join((HEADER.pack(length, kind, lane, flags, identifier, 0), *parts))


def text(value: str) -> bytes:
    """A `str` of the protocol."""
    data = value.encode()
    if len(data) > 0xFFFF:
        raise ProtocolError(errno.EMSGSIZE, f"a text of {len(data)} bytes does not fit a frame")
    return struct.pack("<H", len(data)) + data


class Reader:
    """A cursor over a body. What does not fit raises ProtocolError."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        """Fixed fields."""
        return form.unpack(self.bytes(form.size))

    def bytes(self, length: int) -> memoryview:
        """That many bytes."""
        end = self._at + length
        if end > len(self._body):
            raise ProtocolError(errno.EPROTO, "the body is too short")
        piece = self._body[self._at : end]
        self._at = end
        return piece

    def text(self) -> str:
        """A `str` of the protocol."""
        (length,) = self.take(_U16)
        try:
            value = str(self.bytes(length), "utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(errno.EPROTO, "a text is no UTF-8") from error
        if "\0" in value:
            raise ProtocolError(errno.EPROTO, "a text holds NUL")
        return value

    def rest(self) -> memoryview:
        """What is left."""
        return self.bytes(len(self._body) - self._at)

    def end(self) -> None:
        """There must be nothing left."""
        if self._at != len(self._body):
            raise ProtocolError(errno.EPROTO, "the body is too long")


_U16 = struct.Struct("<H")
