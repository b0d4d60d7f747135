# SPDX-License-Identifier: Apache-2.0
"""Heads of plain requests: one that says what it wants, how long its body is, and no more of HTTP.

Source: RFC 9112, sections 2 and 3. The parser is uvicorn's, so both understand the same.
Any thread may call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import httptools

END: Final = b"\r\n\r\n"
"""Of a head."""
LONGEST: Final = 4096
"""Bytes of a head that is read here."""
MOST_DIGITS: Final = 9
"""Of the length of a body."""
_METHOD: Final = b"POST "
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


def may_become(data: bytes) -> bool:
    """Whether bytes may be the beginning of a plain head, of which more has to come."""
    return len(data) < LONGEST and _METHOD.startswith(data[: len(_METHOD)]) and END not in data


def divide(data: bytes) -> tuple[tuple[bytes, bytes], int, bytes] | None:
    """What a head says but for the length of its body, that, and what is there of the body.

    Heads of which one is plain, and which are the same but for the length, mean the same.

    Args:
        data: From its first byte on.

    Returns:
        None: the head is not there as a whole, or no length is where most clients have it.
    """
    head, end, body = data.partition(END)
    before, _, rest = head.partition(b"\r\nContent-Length: ")
    if not rest:
        before, _, rest = head.partition(b"\r\ncontent-length: ")
    digits, _, after = rest.partition(b"\r\n")
    if not (end and digits.isdigit() and len(digits) <= MOST_DIGITS):
        return None
    return (before, after), int(digits), body


def read(head: bytes) -> Head | None:
    """Understand a head; None: it is not plain, or not of a POST request."""
    if not (head.startswith(_METHOD) and len(head) <= LONGEST):
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
        and divide(head) is not None
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
