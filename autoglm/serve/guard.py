# SPDX-License-Identifier: Apache-2.0
"""What stands before every route: who may, how much, how long; and what is answered when it fails.

An ASGI middleware, the only one. The routes behind it raise, and it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Overloaded
from .access import Access
from .answer import GONE, ClientGone, problem, status_of
from .attend import Deadline
from .limits import Limits
from .metrics import Metrics
from .tally import Tally, Visit

OPEN: Final = ("/health/", "/v2/health/", "/metrics")
"""Paths that are answered however busy the service is, and to whoever can connect."""
TIMEOUT_HEADER: Final = b"request-timeout"
DRAIN: Final = 2.0
"""Seconds that the rest of a refused request has to come."""

log = logging.getLogger("autoglm")


class Guard:
    """The middleware.

    What it leaves in the scope of a request: ``fields``, its headers by name; ``deadline``
    (`Deadline`), which a route that has read the body lets attend; and ``model``, which a route
    sets to the name that metrics count it under.

    Args:
        app: What stands behind.
        limits: How much, how long.
        tally: Kept by it.
        metrics: Told of every request.
        access: Who may; None: whoever can connect.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, tally: Tally, metrics: Metrics, access: Access | None
    ) -> None:
        self._app = app
        self._limits = limits
        self._tally = tally
        self._metrics = metrics
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["path"].startswith(OPEN):
            await self._answer_openly(scope, receive, send)
            return
        scope["model"] = ""
        visit = Visit(self._tally, self._metrics)
        exchange = _Exchange(receive, send, self._limits, self._tally, visit)
        try:
            with Deadline(self._admit(scope, exchange)) as scope["deadline"]:
                await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            exchange.status = GONE
        except Exception as error:  # noqa: BLE001 - every one has an answer
            await self._fail(scope, exchange, error)
        finally:
            visit.end(scope["model"], exchange.status)

    async def _answer_openly(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except HTTPException as error:
            answer = problem(scope["path"], error.status_code, error.detail, error.headers)
            await answer(scope, receive, send)

    def _admit(self, scope: Scope, exchange: _Exchange) -> float:
        """See that a request may be answered; the seconds that it may take."""
        if scope["beyond"]:
            text = f"there are {self._limits.connections} connections already; ask again"
            raise HTTPException(503, text, {"Retry-After": "1", "Connection": "close"})
        if self._tally.requests > self._limits.requests:
            raise Overloaded(f"{self._limits.requests} requests are waiting already; ask again")
        headers = scope["fields"] = dict(scope["headers"])
        if self._access is not None:
            scope["token"] = self._access.admit(headers, scope["certificate"])
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            text = "the body is compressed: send it as it is (Content-Encoding: identity)"
            raise HTTPException(415, text, {"Accept-Encoding": "identity"})
        exchange.expect(headers)
        return seconds_of(headers, self._limits.deadline)

    async def _fail(self, scope: Scope, exchange: _Exchange, error: Exception) -> None:
        status, text = status_of(error)
        if status == 500:
            log.error("%s %s", scope["method"], scope["path"], exc_info=error)
        if exchange.status:
            raise error  # its answer had begun: the server closes the connection
        headers = getattr(error, "headers", None) or {}
        if status == 429:
            headers = {**headers, "Retry-After": "1"}
        if exchange.open and not await exchange.drain():
            headers = {**headers, "Connection": "close"}
        await problem(scope["path"], status, text, headers)(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer, as bytes."""

    __slots__ = ("_limits", "_receive", "_send", "_tally", "_visit", "open", "status")

    def __init__(
        self, receive: Receive, send: Send, limits: Limits, tally: Tally, visit: Visit
    ) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._tally = tally
        self._visit = visit
        self.status = 0
        self.open = True

    def expect(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what says that it will be too long."""
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            self._bound(int(length))

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.open = message.get("more_body", False)
            self._visit.hold(len(message.get("body", b"")))
            self._bound(0)
        return message

    async def drain(self) -> bool:
        """Let what is left of the body come, for whoever still sends does not read an answer.

        Returns:
            Whether all has come; there is a bound on what is waited for.
        """
        left = self._limits.body
        with contextlib.suppress(asyncio.TimeoutError), Deadline(DRAIN):
            while self.open and left > 0:
                message = await self._receive()
                left -= len(message.get("body", b""))
                self.open = message.get("more_body", False)
        return not self.open

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        return self._send(message)

    def _bound(self, more: int) -> None:
        if self._visit.bytes + more > self._limits.body:
            text = f"the body is longer than the {self._limits.body} bytes that are taken"
            raise HTTPException(413, text)
        if self._tally.bytes + more > self._limits.bodies:
            raise Overloaded(f"{self._limits.bodies} bytes of requests are held already; ask again")


def seconds_of(headers: Mapping[bytes, bytes], most: float) -> float:
    """How long a request may take.

    Args:
        headers: Of the request.
        most: Seconds, when it does not ask for less.

    Raises:
        HTTPException: 400, it asks for no time.
    """
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return most
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise HTTPException(400, "Request-Timeout is a number of seconds, more than 0")
    return min(seconds, most)
