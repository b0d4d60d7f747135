# SPDX-License-Identifier: Apache-2.0
"""The routes of the Open Inference Protocol, version 2 (REST), for every model of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

import hal

from ..tensor import TensorSpec
from . import protocol, reply
from .access import require
from .body import read_body
from .model import Graph, Served


def routes(models: Mapping[str, Served]) -> list[BaseRoute]:
    """For models that are served.

    Args:
        models: Those, by name; languages are described, and not inferred.
    """
    of_model = _Models(models)
    infer = _Infer(of_model)
    prefix = "/v2/models/{model}"
    return [
        Route(f"{prefix}/infer", infer, methods=["POST"]),
        Route(f"{prefix}/versions/{{version}}/infer", infer, methods=["POST"]),
        Route("/v2", _server, methods=["GET"]),
        Route(prefix, of_model.metadata, methods=["GET"]),
        Route(f"{prefix}/versions/{{version}}", of_model.metadata, methods=["GET"]),
        Route(f"{prefix}/ready", of_model.ready, methods=["GET"]),
        Route(f"{prefix}/versions/{{version}}/ready", of_model.ready, methods=["GET"]),
    ]


async def _server(_request: HttpRequest) -> Response:
    content = {
        "name": "open-autoglm",
        "version": hal.__version__,
        "extensions": ["binary_tensor_data"],
    }
    return _answer(content)


class _Models:
    """What there is, to look at."""

    def __init__(self, models: Mapping[str, Served]) -> None:
        self.served = models

    def find(self, scope: Scope, access: str) -> Served:
        """The model that a request names.

        Raises:
            HTTPException: 404, 403.
        """
        parameters = scope["path_params"]
        model = self.served.get(parameters["model"])
        if model is None or parameters.get("version", protocol.VERSION) != protocol.VERSION:
            raise HTTPException(404, f"no model of that name and version; {self._known()}")
        require(scope.get("token"), model.name, access)
        scope["model"] = model.name
        return model

    def _known(self) -> str:
        return f"there are: {', '.join(self.served)} (version {protocol.VERSION})"

    async def metadata(self, request: HttpRequest) -> Response:
        """What it takes and gives."""
        model = self.find(request.scope, "r")
        content = {
            "name": model.name,
            "versions": [protocol.VERSION],
            "platform": model.candidate or "none",
            "inputs": _tensors(model.info.inputs),
            "outputs": _tensors(model.info.outputs),
        }
        return _answer(content)

    async def ready(self, request: HttpRequest) -> Response:
        """Whether it would answer: 200 or 503."""
        model = self.find(request.scope, "r")
        content = {"name": model.name, "ready": model.ready}
        return _answer(content, 200 if model.ready else 503)


class _Infer:
    """Runs a model: an ASGI application, since a route's own Request and Response take time."""

    def __init__(self, models: _Models) -> None:
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = self._models.find(scope, "rw")
        if not isinstance(model, Graph):
            raise HTTPException(400, f"{model.name!r} is a language model: ask /v1/completions")
        length = json_length(scope["fields"])
        request = model.reader.read(await read_body(receive), length)
        scope["deadline"].attend(receive)
        write = partial(reply.write, model.name, request)
        content, json = await model.run(request.inputs, write)
        headers = reply.headers(content, json)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def json_length(fields: Mapping[bytes, bytes]) -> int | None:
    """How much of the body is JSON, when arrays follow.

    Args:
        fields: Of the request's head, by name in small letters.

    Raises:
        HTTPException: 415 for another kind of content, as a web page of somebody else could have a
            browser send; 400 for no number.
    """
    kind = fields.get(b"content-type", protocol.JSON).lower()
    if not kind.startswith((protocol.JSON, protocol.BINARY)):
        raise HTTPException(415, "the body is application/json, or application/octet-stream")
    length = fields.get(protocol.FIELD)
    if length is None:
        return None
    if not length.isdigit() or len(length) > 12:
        raise HTTPException(400, f"{protocol.HEADER} is a number of bytes")
    return int(length)


def _tensors(specs: Iterable[TensorSpec]) -> list[dict[str, object]]:
    return [protocol.tensor(spec) for spec in specs]


def _answer(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
