# SPDX-License-Identifier: Apache-2.0
"""What the service answers when it cannot do what was asked: status and sentence.

The Open Inference Protocol and OpenAI's API have a form each; the path says which is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..errors import DeviceError, Error, InputError, Overloaded

OPENAI = "/v1/"
"""Paths that begin so are OpenAI's."""

GONE = 499
"""Counted, never sent: the client left before its answer (nginx's number)."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def status_of(error: BaseException) -> tuple[int, str]:
    """The HTTP status that an error means (RFC 9110, section 15), and the sentence for the client.

    What is not foreseen is 500, and told in the log only.
    """
    if isinstance(error, HTTPException):
        return error.status_code, error.detail
    if isinstance(error, InputError):
        return 400, str(error)
    if isinstance(error, Overloaded):
        return 429, str(error)
    if isinstance(error, asyncio.TimeoutError):
        return 504, "the deadline has passed; ask for less, or with a longer Request-Timeout"
    if isinstance(error, DeviceError):
        return 503, str(error)
    if isinstance(error, Error):
        return 500, str(error)
    return 500, "the service failed; its log says how"


def problem(
    path: str, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says what is wrong.

    Args:
        path: Of the request.
        status: By HTTP.
        text: For people.
        headers: Further ones.
    """
    error: object = text
    if path.startswith(OPENAI):
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        error = {"message": text, "type": kind, "param": None, "code": status}
    body = orjson.dumps({"error": error})
    return Response(body, status, dict(headers or {}), "application/json")
