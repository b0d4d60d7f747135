# SPDX-License-Identifier: Apache-2.0
"""Plain requests to run a model: from the connection to the worker and back.

The long way, by ASGI, its routes and a task for each request, takes longer than a small model.
Bounds, rights and deadlines hold as they do there. Whatever is not plain takes that one, which
alone refuses: a head that says more (`head.read`), a long body, inputs that do not fit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException

from ..errors import Error
from ..exchange import Layout
from . import protocol, reply, wire
from .access import Access, require
from .answer import GONE, problem, status_of
from .guard import seconds_of
from .head import divide, read
from .inference import json_length
from .limits import Limits
from .metrics import Metrics
from .model import Graph
from .tally import Tally, Visit

LONGEST: Final = 1 << 16
"""Bytes of a body: reading a longer one takes longer than what is saved."""
MOST: Final = 256
"""Heads that are kept, understood: a client states the same again and again."""

log = logging.getLogger("autoglm")

Answer = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], None]
"""Takes status, headers and body."""


@dataclass(frozen=True)
class Known:
    """What a head means.

    Attributes:
        model: That is to run.
        target: By which it was asked for.
        fields: By name in small letters.
        json: How many bytes of the body are JSON, when arrays follow.
        seconds: That it may take.
    """

    model: Graph
    target: bytes
    fields: Mapping[bytes, bytes]
    json: int | None
    seconds: float


class Shortcut:
    """Leads plain requests to their models. It belongs to the event loop of the service.

    Args:
        models: Those to which it leads.
        limits: As the guard has them.
        tally: The guard's.
        metrics: The guard's.
        access: The guard's.
    """

    def __init__(
        self,
        models: Iterable[Graph],
        limits: Limits,
        tally: Tally,
        metrics: Metrics,
        access: Access | None,
    ) -> None:
        self._targets = {
            f"{place}/infer".encode(): model
            for model in models
            for place in protocol.places(model.name)
        }
        self._known: dict[tuple[bytes, bytes], Known] = {}
        self._longest = min(LONGEST, limits.body)
        self._limits = limits
        self._tally = tally
        self._metrics = metrics
        self._access = access

    def find(self, data: bytes) -> tuple[Known, int, bytes] | None:
        """A request that may take it, as far as its head tells.

        Args:
            data: From its first byte on.

        Returns:
            What its head means, how long its body is, and what is there of that, or of more.
        """
        divided = divide(data)
        if divided is None:
            return None
        around, length, body = divided
        if length > self._longest:
            return None
        known = self._known.get(around) or self._understand(data[: -len(body) or None], around)
        return (known, length, body) if known is not None else None

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
                require(self._access.admit(known.fields, certificate), known.model.name, "rw")
            passage = Passage(known, known.model.reader.read(body, known.json), answer)
        except (HTTPException, Error):
            return None
        passage.enter(len(body), Visit(tally, self._metrics))
        return passage

    def _understand(self, head: bytes, around: tuple[bytes, bytes]) -> Known | None:
        found = read(head)
        model = self._targets.get(found.target) if found is not None else None
        if found is None or model is None:
            return None
        try:
            seconds = seconds_of(found.fields, self._limits.deadline)
            known = Known(model, *found, json_length(found.fields), seconds)
        except HTTPException:
            return None
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[around] = known
        return known


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
        self._request = request
        self._answer = answer
        self._call = known.model.begin(request.inputs, self._done)

    def enter(self, length: int, visit: Visit) -> None:
        """Count it, and bound its time.

        Args:
            length: Of its body, in bytes.
            visit: Its own.
        """
        self._visit = visit
        visit.hold(length)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._known.seconds, self._fail, asyncio.TimeoutError())

    def leave(self) -> None:
        """The client has gone: nothing is answered."""
        self._end(GONE)

    def _done(self, outcome: Layout | Error) -> None:
        if isinstance(outcome, Error):
            self._fail(outcome)
            return
        try:
            content, head = reply.write(self._known.model.name, self._request, outcome)
        except Exception as error:  # noqa: BLE001 - every one has an answer
            self._fail(error)
            return
        self._answer(200, reply.headers(content, head), content)
        self._end(200)

    def _fail(self, error: Exception) -> None:
        self._call.over = True  # before the answer, after which the next request may begin
        path = self._known.target.decode()
        status, text = status_of(error)
        if status == 500:
            log.error("POST %s", path, exc_info=error)
        response = problem(path, status, text)
        self._answer(status, response.raw_headers, bytes(response.body))
        self._end(status)

    def _end(self, status: int) -> None:
        self._call.over = True
        self._timer.cancel()
        self._visit.end(self._known.model.name, status)
