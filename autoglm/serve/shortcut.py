# SPDX-License-Identifier: Apache-2.0
"""Requests whose head was answered before: from the connection to the model and back.

A client states the same head again and again, byte by byte, where only the arrays behind it differ,
and in JSON the length that they have as text. What HTTP and the routes made of it is kept, for
reading it anew takes longer than a small model.
Bounds, rights and deadlines hold as they do on the long way. Whatever is not plain takes that one,
which alone refuses: a head that is new, a body that comes in pieces, inputs that do not fit.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import Scope

from ..errors import Error
from ..exchange import Layout
from . import reply, wire
from .access import Access, require
from .answer import GONE, problem, status_of
from .guard import seconds_of
from .limits import Limits
from .metrics import Metrics
from .model import Graph
from .tally import Tally, Visit

END: Final = b"\r\n\r\n"
"""Of a head (RFC 9112, section 2.1)."""
LONGEST: Final = 4096
"""Bytes of a head that is kept."""
LONGEST_BODY: Final = 1 << 16
"""Bytes of a body: reading a longer one takes longer than what is saved."""
MOST: Final = 256
"""Heads that are kept."""
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,9})\r\n")
_NOT_PLAIN: Final = (b"transfer-encoding", b"expect", b"upgrade")

log = logging.getLogger("autoglm")

Answer = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], None]
"""Takes status, headers and body."""


@dataclass(frozen=True)
class Known:
    """What a head means.

    Attributes:
        model: That it runs.
        reader: Of requests to it.
        fields: Headers, by name in small letters; one that differs from this one in the length of
            the body only means the same.
        path: Of the request.
        json: How many bytes of the body are JSON, when arrays follow.
    """

    model: Graph
    reader: wire.Reader
    fields: Mapping[bytes, bytes]
    path: str
    json: int | None


class Found(NamedTuple):
    """A request, from its first byte on.

    Attributes:
        known: What its head means.
        begin: Of its body, in bytes.
        end: Of its body.
    """

    known: Known
    begin: int
    end: int


class Shortcut:
    """The heads that are known.

    Args:
        limits: As the guard has them.
        tally: The guard's.
        metrics: The guard's.
        access: The guard's.
    """

    def __init__(
        self, limits: Limits, tally: Tally, metrics: Metrics, access: Access | None
    ) -> None:
        self._limits = limits
        self._tally = tally
        self._metrics = metrics
        self._access = access
        self._longest = min(LONGEST_BODY, limits.body)
        self._known: dict[bytes, Known] = {}

    def learn(self, scope: Scope, known: Known) -> None:
        """Keep the head of a request that was answered, if it is plain.

        Args:
            scope: Of the request.
            known: What it means.
        """
        head = scope.get("head", b"")
        around, length = _apart(head)
        if 0 < len(head) <= LONGEST and _is_plain(scope, head, length):
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[around] = known

    def find(self, data: bytes) -> Found | None:
        """A request whose head is known, and whose body may be answered here.

        Args:
            data: From its first byte on.
        """
        head = head_of(data)
        around, length = _apart(head)
        known = self._known.get(around)
        if known is None or length > self._longest:
            return None
        return Found(known, len(head), len(head) + length)

    def begin(
        self, known: Known, body: bytes, certificate: bytes, answer: Answer
    ) -> Passage | None:
        """Begin to answer a request.

        Args:
            known: What its head means.
            body: All of it.
            certificate: Of the client.
            answer: Called once, later, unless the client leaves.

        Returns:
            None: it takes the long way, and nothing has happened.
        """
        tally, limits = self._tally, self._limits
        if tally.requests >= limits.requests or tally.bytes + len(body) > limits.bodies:
            return None
        try:
            if self._access is not None:
                token = self._access.admit(known.fields, certificate)
                require(token, known.model.name, "rw")
            passage = Passage(known, known.reader.read(body, known.json), answer)
        except (HTTPException, Error):
            return None
        passage.enter(
            len(body), Visit(tally, self._metrics), seconds_of(known.fields, limits.deadline)
        )
        return passage


def head_of(data: bytes) -> bytes:
    """The head of a request, from its first byte on; empty when its end is not there."""
    end = data.find(END)
    return data[: end + len(END)] if end >= 0 else b""


def _apart(head: bytes) -> tuple[bytes, int]:
    """What a head says but for the length of its body, and that, in bytes; -1: it says none."""
    found = _LENGTH.search(head)
    if found is None:
        return head, -1
    return head[: found.start(1)] + head[found.end(1) :], int(found[1])


def _is_plain(scope: Scope, head: bytes, length: int) -> bool:
    """Whether each head that differs from this one in the length only means the same."""
    headers = scope["headers"]
    fields = dict(headers)
    return (
        head.count(b"\n") == len(headers) + 2  # so it ends where the parser says
        and len(fields) == len(headers)  # each once
        and scope["http_version"] == "1.1"
        and fields.get(b"content-length") == b"%d" % length
        and fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        and fields.keys().isdisjoint(_NOT_PLAIN)
    )


class Passage:
    """One request on its way.

    Args:
        known: What its head means.
        request: What its body says.
        answer: Called once, later, unless the client leaves.

    Raises:
        DeviceError: It cannot be begun.
    """

    def __init__(self, known: Known, request: wire.Request, answer: Answer) -> None:
        self._known = known
        self._form = form = request.form
        self._answer = answer
        kind = form if request.known else None
        self._call = known.model.begin(request.inputs, self._done, kind)

    def enter(self, length: int, visit: Visit, seconds: float) -> None:
        """Count it, and bound its time.

        Args:
            length: Of its body, in bytes.
            visit: Its own.
            seconds: That it may take.
        """
        self._visit = visit
        visit.hold(length)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._fail, asyncio.TimeoutError())

    def leave(self) -> None:
        """The client has gone: nothing is answered."""
        self._end(GONE)

    def _done(self, outcome: Layout | Error) -> None:
        if isinstance(outcome, Error):
            self._fail(outcome)
            return
        try:
            content, head = reply.write(self._known.model.name, self._form, outcome)
        except Exception as error:  # noqa: BLE001 - every one has an answer
            self._fail(error)
            return
        self._answer(200, reply.headers(content, head), content)
        self._end(200)

    def _fail(self, error: Exception) -> None:
        self._call.over = True  # before the answer, after which the next request may begin
        status, text = status_of(error)
        if status == 500:
            log.error("POST %s", self._known.path, exc_info=error)
        response = problem(self._known.path, status, text)
        self._answer(status, response.raw_headers, bytes(response.body))
        self._end(status)

    def _end(self, status: int) -> None:
        self._call.over = True
        self._timer.cancel()
        self._visit.end(self._known.model.name, status)
