# SPDX-License-Identifier: Apache-2.0
"""Heads of requests: which ones are plain, and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.serve.head import LONGEST, MOST_DIGITS, divide, head_of, may_become, read

TARGET = b"/v2/models/small/infer"


def head(*lines: bytes, first: bytes = b"POST %s HTTP/1.1" % TARGET) -> bytes:
    return b"\r\n".join((first, b"Host: localhost", *lines, b"", b""))


PLAIN = (
    (b"Content-Length: 12",),
    (b"content-length: 12",),
    (b"Content-Length: 12", b"Connection: keep-alive"),
    (b"Content-Length: 12", b"X-Content-Length: 13", b"X: Content-Length: 14"),
    (b"Authorization: Bearer a.b", b"Content-Length: 12", b"Request-Timeout: 0.5"),
    (b"Connection: Keep-Alive, X", b"X: ", b"Content-Length: 12"),
)


@pytest.mark.parametrize("lines", PLAIN)
def test_plain(lines: tuple[bytes, ...]) -> None:
    data = head(*lines)
    assert head_of(data + b"body\r\n\r\n") == data
    found = read(data)
    assert found is not None and found.target == TARGET
    pairs = (line.split(b":", 1) for line in lines)
    stated = {name.lower(): value.strip() for name, value in pairs}
    assert found.fields == {b"host": b"localhost"} | stated
    divided = divide(data + b"body\r\n\r\n")
    assert divided is not None and divided[1:] == (12, b"body\r\n\r\n")


NOT_PLAIN = {
    "no length": head(),
    "no number": head(b"Content-Length: x"),
    "a sign": head(b"Content-Length: +5"),
    "a list": head(b"Content-Length: 5, 5"),
    "a huge length": head(b"Content-Length: 1234567890"),
    "two lengths": head(b"Content-Length: 5", b"Content-Length: 5"),
    "two other lengths": head(b"Content-Length: 5", b"content-length: 6"),
    "a length in other letters": head(b"CONTENT-LENGTH: 5"),
    "a length after two spaces": head(b"Content-Length:  5"),
    "a length after none": head(b"Content-Length:5"),
    "a length that goes on": head(b"Content-Length: 5", b" 6"),
    "a length in a folded line": head(b"X: 1", b" Content-Length: 5"),
    "a space before the colon": head(b"Content-Length : 5"),
    "chunks": head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "chunks alone": head(b"Transfer-Encoding: chunked"),
    "expecting": head(b"Content-Length: 5", b"Expect: 100-continue"),
    "an upgrade": head(b"Content-Length: 5", b"Connection: Upgrade", b"Upgrade: h2c"),
    "compressed": head(b"Content-Length: 5", b"Content-Encoding: gzip"),
    "the last one": head(b"Content-Length: 5", b"Connection: close"),
    "a field twice": head(b"Content-Length: 5", b"X: 1", b"x: 2"),
    "no name": head(b"Content-Length: 5", b": 1"),
    "a bare line feed": head(b"Content-Length: 5\nX: 1"),
    "a bare return": head(b"Content-Length: 5", b"X: 1\rY: 2"),
    "a head in the head": head(b"Content-Length: 5\n\nPOST / HTTP/1.1"),
    "a zero": head(b"Content-Length: 5", b"X: a\0b"),
    "an older version": head(b"Content-Length: 5", first=b"POST / HTTP/1.0"),
    "an older one that stays": head(
        b"Content-Length: 5", b"Connection: keep-alive", first=b"POST / HTTP/1.0"
    ),
    "no version": head(b"Content-Length: 5", first=b"POST /"),
    "another method": head(b"Content-Length: 5", first=b"PUT / HTTP/1.1"),
    "small letters": head(b"Content-Length: 5", first=b"post / HTTP/1.1"),
    "a line before": b"\r\n" + head(b"Content-Length: 5"),
    "nothing": b"",
    "no end": head(b"Content-Length: 5")[:-1],
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_not_plain(name: str) -> None:
    assert read(NOT_PLAIN[name]) is None


@pytest.mark.parametrize(("more", "plain"), [(-1, True), (0, True), (1, False)])
def test_the_longest(more: int, plain: bool) -> None:
    bare = head(b"Content-Length: 5", b"X: ")
    data = bare.replace(b"X: ", b"X: " + b"x" * (LONGEST - len(bare) + more))
    assert (read(data) is not None) == plain


def test_what_may_become_a_head() -> None:
    plain = head(b"X-Long: ", b"Content-Length: 12")
    plain = plain.replace(b"X-Long: ", b"X-Long: " + b"x" * (LONGEST - len(plain)))
    assert len(plain) == LONGEST and read(plain) is not None
    assert all(may_become(plain[:length]) for length in range(1, LONGEST))
    assert not may_become(plain), "it is there"
    longer = plain.replace(b"xx", b"xxx", 1)
    assert not may_become(longer[:LONGEST]), "it is too long already"
    for other in (b"G", b"POTS", b"post ", b"\x16\x03", b"POST / HTTP/1.1\r\n\r\n"):
        assert not may_become(other)


ODD = (b"Content-Length: ", b"Content-Length: \r\nX: 1", b"\r\n", b"X:\r\n", b"12", b"a")


@pytest.mark.parametrize(("more", "plain"), [(-1, True), (0, True), (1, False)])
def test_the_longest_length(more: int, plain: bool) -> None:
    data = head(b"Content-Length: " + b"7" * (MOST_DIGITS + more))
    assert (divide(data) is not None) == (read(data) is not None) == plain


LINES = st.sampled_from([*sorted({line for lines in PLAIN for line in lines}), *ODD])


@given(st.lists(LINES, max_size=6), st.integers(0, 999_999_999))
def test_the_same_but_for_the_length(lines: list[bytes], length: int) -> None:
    """Who knows one of them knows the other."""
    data = head(*lines)
    found, divided = read(data), divide(data)
    other = data.replace(b"ength: 12\r\n", b"ength: %d\r\n" % length, 1)
    if found is not None and divided is not None and divide(other) == (divided[0], length, b""):
        known = read(other)
        assert known is not None and known.target == found.target and divided[1] == 12
        assert known.fields == {**found.fields, b"content-length": b"%d" % length}
