# SPDX-License-Identifier: Apache-2.0
"""Whether the service lives, and whether it would answer; for probes and load balancers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .model import Served


def routes(models: Iterable[Served], stopping: Callable[[], bool]) -> list[BaseRoute]:
    """``/health/live`` and ``/health/ready``, also under ``/v2``: the Open Inference Protocol.

    Args:
        models: Every one must be ready.
        stopping: Whether the service has been told to stop.
    """
    models = list(models)

    async def live(_request: Request) -> Response:
        return _answer({"live": True}, 200)

    async def ready(_request: Request) -> Response:
        waits = [model.name for model in models if not model.ready]
        fine = not waits and not stopping()
        return _answer({"ready": fine, "waiting_for": waits}, 200 if fine else 503)

    return [
        Route(f"{prefix}/health/{name}", answer, methods=["GET"])
        for prefix in ("", "/v2")
        for name, answer in (("live", live), ("ready", ready))
    ]


def _answer(content: dict[str, object], status: int) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
