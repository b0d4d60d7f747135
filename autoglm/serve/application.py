# SPDX-License-Identifier: Apache-2.0
"""The HTTP application: every router, behind one guard."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from . import health, inference
from .access import Access
from .description import describe
from .guard import Guard
from .limits import Limits
from .metrics import CONTENT_TYPE, Metrics
from .model import Graph, Served, kinds
from .shortcut import Shortcut
from .tally import Tally


class Application:
    """An ASGI application that serves models, from `start` to `stop`.

    Args:
        models: Each of another name.
        limits: How much, how long.
        access: Who may; None: whoever can connect.

    Attributes:
        models: By name.
        metrics: Told of every request.
        tally: Of requests.
        shortcut: For plain requests to run a model; a server may take it.
        stopping: Set when the service has been told to stop: it is not ready any more.
    """

    def __init__(
        self, models: Sequence[Served], limits: Limits, access: Access | None = None
    ) -> None:
        self.models = {model.name: model for model in models}
        if len(self.models) != len(models):
            raise ValueError("two models have one name")
        self.stopping = False
        self._started = contextlib.AsyncExitStack()
        self.tally = Tally()
        self.metrics = Metrics(models, self.tally)
        graphs = [model for model in models if isinstance(model, Graph)]
        self.shortcut = Shortcut(graphs, limits, self.tally, self.metrics, access)
        self._guard = Guard(_Paths(self._routes()), limits, self.tally, self.metrics, access)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """As ASGI has it."""
        scope["app"] = self
        return self._guard(scope, receive, send)

    async def start(self) -> None:
        """Load the models; returns when every one is ready.

        Raises:
            Error: One cannot be.
        """
        async with contextlib.AsyncExitStack() as stack:
            for model in self.models.values():
                await model.start()
                stack.push_async_callback(model.stop)
            self._started = stack.pop_all()

    async def stop(self) -> None:
        """Give them back; no request is being answered."""
        await self._started.aclose()

    def _routes(self) -> list[BaseRoute]:
        found = [
            *inference.routes(self.models),
            *health.routes(self.models.values(), lambda: self.stopping),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/openapi.json", self._description, methods=["GET"]),
        ]
        for kind in kinds(self.models):
            found += kind.routes(self.models)
        return found

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _description(self, _request: Request) -> Response:
        content: dict[str, Any] = describe(self.models)
        return Response(orjson.dumps(content), media_type="application/json")


class _Paths:
    """Finds once what a path leads to: trying one route after the other takes longer than most."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._router = Router(routes, default=_nothing)
        self._known: dict[tuple[str, str], tuple[ASGIApp, dict[str, Any]]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        known = self._known.get((scope["method"], scope["path"]))
        if known is None:
            return self._find(scope, receive, send)
        app, scope["path_params"] = known
        return app(scope, receive, send)

    async def _find(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)
        if "route" in scope:  # it was answered: there are no more such paths than there are models
            self._known[scope["method"], scope["path"]] = scope["route"].app, scope["path_params"]


async def _nothing(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(
        404, f"nothing is at {scope['path']!r:.200}; /openapi.json says what there is"
    )
