# SPDX-License-Identifier: Apache-2.0
"""The service as OpenAPI 3.1 has it: ``/openapi.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import hal

from . import protocol
from .model import Graph, Served, kinds

Schema = dict[str, Any]


def describe(models: Mapping[str, Served]) -> Schema:
    """The description of a service with these models."""
    paths = {**_health(), **_server(), **_models(models), **_infer(models)}
    for kind in kinds(models):
        paths |= kind.describe(models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "open-autoglm",
            "version": hal.__version__,
            "description": "Open Inference Protocol, version 2, with binary tensor data.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def answers(what: str, schema: Schema, *statuses: int) -> Schema:
    """Answers: 200 with a schema, and errors.

    Args:
        what: The good answer is.
        schema: Of it.
        statuses: That it may have besides 200, each with an ``Error``.
    """
    found: Schema = {"200": {"description": what, "content": _json(schema)}}
    for status in statuses:
        found[str(status)] = {
            "description": _STATUS[status],
            "content": _json({"$ref": "#/components/schemas/Error"}),
        }
    return found


_STATUS: Final[Mapping[int, str]] = {
    400: "The request does not fit the model, or the protocol.",
    401: "No token, or a bad one.",
    403: "The token has no right to it.",
    404: "There is no such model.",
    405: "Another method is meant.",
    413: "The body is too long.",
    415: "The body is of another kind.",
    429: "Too much is waiting; ask again.",
    503: "Not ready, or every device failed.",
    504: "The deadline has passed.",
}
REFUSALS: Final = (400, 401, 403, 404, 413, 415, 429, 503, 504)
"""What a request with a body may be answered with."""

_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_PARAMETERS: Final[Schema] = {"type": "object"}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "boolean"}


def _health() -> Schema:
    live = {"get": {"summary": "Does it live?", "responses": answers("Yes.", _object(["live"]))}}
    ready = {
        "get": {
            "summary": "Would it answer?",
            "responses": {
                **answers("Yes.", _object(["ready"], ready=_FLAG)),
                "503": {"description": "No.", "content": _json(_object(["ready"], ready=_FLAG))},
            },
        }
    }
    metrics = {
        "get": {
            "summary": "For Prometheus.",
            "responses": {
                "200": {
                    "description": "Text format 0.0.4.",
                    "content": {"text/plain": {"schema": _TEXT}},
                }
            },
        }
    }
    return {
        "/health/live": live,
        "/health/ready": ready,
        "/v2/health/live": live,
        "/v2/health/ready": ready,
        "/metrics": metrics,
    }


def _server() -> Schema:
    schema = _object(
        ["name", "version", "extensions"],
        name=_TEXT,
        version=_TEXT,
        extensions={"type": "array", "items": _TEXT},
    )
    return {
        "/v2": {
            "get": {
                "summary": "Which service it is.",
                "responses": answers("It.", schema, 400, 401, 429),
            }
        }
    }


def _on(model: Served, rest: str, item: Schema) -> Schema:
    """A path of a model, with its version and without."""
    return {f"{place}{rest}": item for place in protocol.places(model.name)}


def _models(models: Mapping[str, Served]) -> Schema:
    tensor = _object(
        ["name", "datatype", "shape"],
        name=_TEXT,
        datatype=_TEXT,
        shape={"type": "array", "items": {"type": "integer"}},
    )
    tensors = {"type": "array", "items": tensor}
    metadata = _object(
        ["name", "versions", "platform", "inputs", "outputs"],
        name=_TEXT,
        versions={"type": "array", "items": _TEXT},
        platform=_TEXT,
        inputs=tensors,
        outputs=tensors,
    )
    ready = _object(["name", "ready"], name=_TEXT, ready=_FLAG)
    refusals = (400, 401, 403, 404, 429)
    about = {
        "get": {
            "summary": "What it takes and gives.",
            "responses": answers("That.", metadata, *refusals),
        }
    }
    would = {
        "get": {
            "summary": "Would it answer?",
            "responses": {
                **answers("Yes.", ready, *refusals),
                "503": {"description": "No.", "content": _json(ready)},
            },
        }
    }
    paths: Schema = {}
    for model in models.values():
        paths |= _on(model, "", about) | _on(model, "/ready", would)
    return paths


def _infer(models: Mapping[str, Served]) -> Schema:
    datatypes = sorted(set(protocol.DATATYPES.values()))
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    given = {"type": "array", "description": "In row-major order, flat or nested."}
    array = {"name": _TEXT, "shape": shape, "datatype": {"type": "string", "enum": datatypes}}
    taken = _object(["name", "shape", "datatype"], **array, parameters=_PARAMETERS, data=given)
    wanted = _object(["name"], name=_TEXT, parameters=_PARAMETERS)
    request = _object(
        ["inputs"],
        id=_TEXT,
        parameters=_PARAMETERS,
        inputs={"type": "array", "items": taken},
        outputs={"type": "array", "items": wanted},
    )
    answer = _object(
        ["model_name", "model_version", "outputs"],
        id=_TEXT,
        model_name=_TEXT,
        model_version=_TEXT,
        outputs={
            "type": "array",
            "items": _object(
                ["name", "shape", "datatype"], **array, parameters=_PARAMETERS, data=given
            ),
        },
    )
    responses = answers("The outputs.", answer, *REFUSALS)
    responses["200"]["content"]["application/octet-stream"] = {"schema": _TEXT}
    timeout = {
        "name": "Request-Timeout",
        "in": "header",
        "description": "Seconds.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    }
    paths: Schema = {}
    for model in models.values():
        if isinstance(model, Graph):
            content = _json(request)
            content["application/json"]["example"] = _example(model)
            item = {
                "post": {
                    "summary": "Run it once.",
                    "parameters": [timeout],
                    "requestBody": {"required": True, "content": content},
                    "responses": responses,
                }
            }
            paths |= _on(model, "/infer", item)
    return paths


def _example(model: Graph) -> Schema:
    """A request that fits: zeros."""
    inputs = []
    for spec in model.info.inputs:
        shape = [1 if isinstance(extent, str) else extent for extent in spec.shape]
        zeros: list[Any] = [False if spec.dtype == "bool" else 0] * math.prod(shape)
        datatype = protocol.DATATYPES.get(spec.dtype, "BYTES")
        inputs.append({"name": spec.name, "shape": shape, "datatype": datatype, "data": zeros})
    return {"inputs": inputs}
