# SPDX-License-Identifier: Apache-2.0
"""Heads of plain requests: one that says what it wants, how long its body is, and no more of HTTP.

Source: RFC 9112, sections 2 and 3. The parser is uvicorn's, so both understand the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import httptools

END: Final = b"\r\n\r\n"
"""Of a head."""
LONGEST: Final = 4096
"""Bytes of a head that is read here."""
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,9})\r\n")
_NOT_PLAIN: Final = (b"content-encoding", b"expect", b"transfer-encoding", b"upgrade")


class Head(NamedTuple):
    """What the head of a plain POST request says.

    Attributes:
        target: That is asked for, as it was written.
        fields: By name in small letters.
    """

    target: bytes
    fields: Mapping[bytes, bytes]


def head_of(data: bytes) -> bytes:
    """The head of a request, from its first byte on; empty when its end is not there."""
    end = data.find(END)
    return data[: end + len(END)] if end >= 0 else b""


def apart(head: bytes) -> tuple[bytes, int]:
    """What a head says but for the length of the body, and that, in bytes; -1: it says none.

    Heads of which one is plain, and which are the same but for the length, mean the same.
    """
    found = _LENGTH.search(head)
    if found is None:
        return head, -1
    return head[: found.start(1)] + head[found.end(1) :], int(found[1])


def read(head: bytes) -> Head | None:
    """Understand a head; None: it is not plain, or not of a POST request."""
    if not (head.startswith(b"POST ") and len(head) <= LONGEST):
        return None
    told = _Told()
    parser = httptools.HttpRequestParser(told)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    fields = told.fields
    plain = (
        head.count(b"\n") == len(fields) + 2  # each once, and it ends where the parser says
        and parser.get_http_version() == "1.1"
        and parser.should_keep_alive()
        and fields.get(b"content-length") == b"%d" % apart(head)[1]
        and fields.keys().isdisjoint(_NOT_PLAIN)
    )
    return Head(told.target, fields) if plain else None


class _Told:
    """What the parser finds."""

    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: dict[bytes, bytes] = {}

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.lower()] = value
