# SPDX-License-Identifier: Apache-2.0
"""The routes of OpenAI's API for language models: completions, chat, the list of models.

As https://platform.openai.com/docs/api-reference has them, and ``top_k``, ``repetition_penalty``
and ``ignore_eos`` besides, as vLLM calls them. What is not served is refused, not passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ..decoder.language_model import Piece
from ..decoder.sampling import Sampling
from ..decoder.text import LONGEST_STOP, STOPS
from ..errors import Error, InputError
from .access import require
from .answer import problem
from .body import read_body
from .bounded_json import loads
from .description import REFUSALS, answers
from .language import Language

CHOICES = 16
"""The most answers to one request."""
MESSAGES = 1024
"""The most messages of a conversation."""
ROLES = ("developer", "system", "user", "assistant")
"""Of messages."""
COMPLETION = 16
"""Tokens of a completion, unless asked for; a chat's answer may be as long as there is room."""
LONGEST = 1 << 24
"""Tokens that may be asked for; there are no more than there is room."""
_SAMPLED: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "ignore_eos": "ignore_end",
}
"""What a request calls what `Sampling` has."""
_COMMON: Final = {
    *_SAMPLED, "model", "n", "stream", "stream_options", "stop", "seed", "max_tokens", "user"
}  # fmt: skip
_NOTHING: Final[Mapping[str, Any]] = {
    "best_of": 1, "echo": False, "logit_bias": {}, "logprobs": (None, False), "suffix": "",
    "tools": [], "tool_choice": "none", "functions": [], "top_logprobs": 0,
    "response_format": {"type": "text"}, "modalities": ["text"], "store": False, "metadata": {},
    "parallel_tool_calls": (True, False), "service_tier": "auto",
}  # fmt: skip
"""What is not served, by the values at which it changes nothing."""


@dataclass(frozen=True)
class Asked:
    """A request that was understood.

    Attributes:
        model: Who answers.
        prompts: One of tokens for each choice.
        samplings: How, for each choice.
        stop: Strings at which to stop.
        stream: Piece by piece.
        usage: A stream ends with the counts of tokens.
        chat: It is a conversation.
    """

    model: Language
    prompts: Sequence[Sequence[int]]
    samplings: Sequence[Sampling]
    stop: Sequence[str]
    stream: bool
    usage: bool
    chat: bool

    def pieces(self, choice: int) -> AsyncIterator[Piece]:
        """The answer of one choice."""
        return self.model.model.agenerate(self.prompts[choice], self.samplings[choice], self.stop)


def routes(models: Mapping[str, Language]) -> list[BaseRoute]:
    """For the language models that are served, by name."""
    listing = _Listing(models)
    return [
        Route("/v1/completions", _Answer(models, chat=False), methods=["POST"]),
        Route("/v1/chat/completions", _Answer(models, chat=True), methods=["POST"]),
        Route("/v1/models", listing.all, methods=["GET"]),
        Route("/v1/models/{model}", listing.one, methods=["GET"]),
    ]


class _Listing:
    """What there is, to look at."""

    def __init__(self, models: Mapping[str, Language]) -> None:
        self._models = models
        self._began = int(time.time())

    async def all(self, request: HttpRequest) -> Response:
        allowed = []
        for model in self._models.values():
            with contextlib.suppress(HTTPException):  # what a token has no right to is not shown
                require(request.scope.get("token"), model.name, "r")
                allowed.append(self._entry(model))
        return _json({"object": "list", "data": allowed})

    async def one(self, request: HttpRequest) -> Response:
        model = _find(self._models, request.path_params["model"])
        require(request.scope.get("token"), model.name, "r")
        return _json(self._entry(model))

    def _entry(self, model: Language) -> dict[str, Any]:
        return {
            "id": model.name,
            "object": "model",
            "created": self._began,
            "owned_by": "open-autoglm",
        }


class _Answer:
    """Answers prompts, or conversations."""

    def __init__(self, models: Mapping[str, Language], chat: bool) -> None:
        self._models = models
        self._chat = chat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _check_type(scope)
        given = _object(await read_body(receive))
        model = _find(self._models, given.get("model"))
        require(scope.get("token"), model.name, "rw")
        scope["model"] = model.name
        asked = _understood(given, model, self._chat)
        scope["deadline"].attend(receive)
        if asked.stream:
            await _stream(asked, scope, receive, send)
        else:
            await _json(await _whole(asked))(scope, receive, send)


# ---- requests ------------------------------------------------------------------------------------


def _check_type(scope: Scope) -> None:
    json = b"application/json"
    if not scope["fields"].get(b"content-type", json).lower().startswith(json):
        raise HTTPException(415, "the body is application/json")


def _object(body: bytes) -> dict[str, Any]:
    given = loads(body, "the body")
    if not isinstance(given, dict):
        raise InputError("the body is no JSON object")
    return {name: value for name, value in given.items() if value is not None}


def _find(models: Mapping[str, Language], name: object) -> Language:
    if not isinstance(name, str):
        raise InputError(f"model is the name of one; there are: {', '.join(models)}")
    model = models.get(name)
    if model is None:
        raise HTTPException(404, f"no model {name!r:.200}; there are: {', '.join(models)}")
    return model


def _understood(given: Mapping[str, Any], model: Language, chat: bool) -> Asked:
    own = {"messages", "max_completion_tokens"} if chat else {"prompt"}
    for name, value in given.items():
        if name in _NOTHING:
            harmless = _NOTHING[name]
            if value != harmless and not (isinstance(harmless, tuple) and value in harmless):
                raise InputError(f"{name} is not served here: leave it out")
        elif name not in _COMMON | own:
            raise InputError(f"there is no {name!r:.100}; {', '.join(sorted(_COMMON | own))}")
    prompts = [_conversation(given, model)] if chat else _prompts(given, model)
    count = _whole_number(given, "n", 1, 1, CHOICES)
    if len(prompts) * count > CHOICES:
        raise InputError(f"{len(prompts)} prompts with n = {count}: {CHOICES} answers at most")
    samplings = [
        sampling for prompt in prompts for sampling in _samplings(given, model, prompt, count, chat)
    ]
    options = given.get("stream_options", {})
    if not isinstance(options, dict):
        raise InputError("stream_options is an object")
    if not isinstance(given.get("user", ""), str):
        raise InputError("user is a text")
    return Asked(
        model,
        [prompt for prompt in prompts for _ in range(count)],
        samplings,
        _stops(given),
        _flag(given, "stream"),
        _flag(options, "include_usage"),
        chat,
    )


def _samplings(
    given: Mapping[str, Any], model: Language, prompt: Sequence[int], count: int, chat: bool
) -> list[Sampling]:
    """How to choose each of the answers to a prompt."""
    room = max(model.model.capacity - len(prompt), 1)
    longest = _whole_number(given, "max_tokens", room if chat else COMPLETION, 1, LONGEST)
    longest = _whole_number(given, "max_completion_tokens", longest, 1, LONGEST)
    seed = _whole_number(given, "seed", secrets.randbits(63), -(1 << 63), (1 << 64) - 1)
    chosen = {name: given[asked] for asked, name in _SAMPLED.items() if asked in given}
    if not isinstance(chosen.get("ignore_end", False), bool):
        raise InputError("ignore_eos is true or false")
    chosen.setdefault("temperature", 1.0)
    return [
        Sampling(max_tokens=min(longest, room), seed=(seed + number) % (1 << 64), **chosen)
        for number in range(count)
    ]


def _prompts(given: Mapping[str, Any], model: Language) -> list[Sequence[int]]:
    """Of a completion: a text, tokens, or several of either."""
    prompt = given.get("prompt")
    each = [prompt]
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)):
        each = prompt
    if len(each) > CHOICES:
        raise InputError(f"{len(each)} prompts: {CHOICES} are the most")
    return [_tokens(one, model) for one in each]


def _tokens(prompt: object, model: Language) -> Sequence[int]:
    if isinstance(prompt, str):
        return model.model.text.encode(prompt)
    if isinstance(prompt, list) and all(type(token) is int for token in prompt):
        return prompt
    raise InputError("prompt is a text, a list of tokens, or a list of either")


def _conversation(given: Mapping[str, Any], model: Language) -> Sequence[int]:
    messages = given.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MESSAGES:
        raise InputError(f"messages is a list of 1 to {MESSAGES} messages")
    return model.model.text.chat([_message(message) for message in messages])


def _message(message: object) -> dict[str, str]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise InputError(f"a message is an object with content and role: {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, list):
        if not all(
            isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
            for part in content
        ):
            raise InputError("content is a text, or parts of type text: no other is served here")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise InputError("a message has a content, which is a text")
    return {"role": message["role"], "content": content}


def _stops(given: Mapping[str, Any]) -> Sequence[str]:
    stop = given.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise InputError("stop is a text, or a list of texts")
    return stops


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"{name} is true or false")
    return value


def _whole_number(given: Mapping[str, Any], name: str, usual: int, least: int, most: int) -> int:
    value = given.get(name, usual)
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{name} is a whole number from {least} to {most}")
    return value


# ---- answers -------------------------------------------------------------------------------------


async def _whole(asked: Asked) -> dict[str, Any]:
    """The answer in one."""

    async def one(choice: int) -> tuple[str, int, str]:
        text, last = [], Piece("", 0)
        async for last in asked.pieces(choice):
            text.append(last.text)
        return "".join(text), last.tokens, last.finish

    tasks = [asyncio.ensure_future(one(choice)) for choice in range(len(asked.prompts))]
    try:
        found = await asyncio.gather(*tasks)
    except BaseException:
        await _cancel(tasks)
        raise
    return _head(asked, stream=False) | {
        "choices": [
            _choice(asked, number, text, finish) for number, (text, _, finish) in enumerate(found)
        ],
        "usage": _usage(asked, sum(count for _, count, _ in found)),
    }


async def _stream(asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
    """The answer piece by piece, as server-sent events (HTML Standard, section 9.2)."""
    head = _head(asked, stream=True)
    counts = [0] * len(asked.prompts)
    pieces = _merged(asked)
    async with contextlib.aclosing(pieces):
        first = await anext(pieces)  # what is refused is refused before the answer begins
        await _begin(send)
        if asked.chat:
            for number in range(len(counts)):
                await _event(send, head | {"choices": [_delta(number, {"role": "assistant"})]})
        try:
            await _piece(asked, head, counts, *first, send)
            async for number, piece in pieces:
                await _piece(asked, head, counts, number, piece, send)
        except Error as error:  # its status has gone out already
            body = problem(scope["path"], 500, str(error)).body
            await send(_chunk(b"data: " + bytes(body) + b"\n\n"))
        else:
            if asked.usage:
                await _event(send, head | {"choices": [], "usage": _usage(asked, sum(counts))})
            await send(_chunk(b"data: [DONE]\n\n"))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _merged(asked: Asked) -> AsyncGenerator[tuple[int, Piece], None]:
    """The pieces of every choice, as they come."""
    found: asyncio.Queue[tuple[int, Piece] | Exception | None] = asyncio.Queue()

    async def feed(choice: int) -> None:
        try:
            async for piece in asked.pieces(choice):
                found.put_nowait((choice, piece))
        except Exception as error:  # noqa: BLE001 - it is raised where the pieces are taken
            found.put_nowait(error)
        else:
            found.put_nowait(None)

    tasks = [asyncio.ensure_future(feed(choice)) for choice in range(len(asked.prompts))]
    left = len(tasks)
    try:
        while left:
            item = await found.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        await _cancel(tasks)


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """End them, and wait until their slots are given up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _begin(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _piece(
    asked: Asked, head: Mapping[str, Any], counts: list[int], number: int, piece: Piece, send: Send
) -> None:
    counts[number] = piece.tokens
    finish = piece.finish or None
    if asked.chat:
        choice = _delta(number, {"content": piece.text} if piece.text else {}, finish)
    else:
        choice = _choice(asked, number, piece.text, finish)
    await _event(send, {**head, "choices": [choice]})


async def _event(send: Send, content: Mapping[str, Any]) -> None:
    await send(_chunk(b"data: " + orjson.dumps(content) + b"\n\n"))


def _chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _head(asked: Asked, *, stream: bool) -> dict[str, Any]:
    kind = "text_completion"
    if asked.chat:
        kind = "chat.completion.chunk" if stream else "chat.completion"
    return {
        "id": ("chatcmpl-" if asked.chat else "cmpl-") + secrets.token_hex(12),
        "object": kind,
        "created": int(time.time()),
        "model": asked.model.name,
    }


def _choice(asked: Asked, number: int, text: str, finish: str | None) -> dict[str, Any]:
    what: dict[str, Any] = {"text": text}
    if asked.chat:
        what = {"message": {"role": "assistant", "content": text}}
    return {"index": number, **what, "logprobs": None, "finish_reason": finish}


def _delta(number: int, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}


def _usage(asked: Asked, completion: int) -> dict[str, int]:
    """Each prompt is counted once, however many answers it has."""
    each = {id(prompt): len(prompt) for prompt in asked.prompts}
    prompt = sum(each.values())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


# ---- description ---------------------------------------------------------------------------------


def describe(models: Sequence[str]) -> dict[str, Any]:
    """The routes as OpenAPI's ``paths``."""
    text, written = {"type": "string"}, {"type": "string", "minLength": 1}
    named = {"type": "string", "enum": list(models)}
    stop = {"type": "string", "minLength": 1, "maxLength": LONGEST_STOP}
    longest = {"type": "integer", "minimum": 1, "maximum": LONGEST}
    optional: dict[str, Any] = {
        "n": {"type": "integer", "minimum": 1, "maximum": CHOICES},
        "stream": {"type": "boolean"},
        "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
        "stop": {"anyOf": [stop, {"type": "array", "items": stop, "maxItems": STOPS}]},
        "seed": {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 64) - 1},
        "max_tokens": longest,
        "temperature": {"type": "number", "minimum": 0},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "top_k": {"type": "integer", "minimum": 0},
        "repetition_penalty": {"type": "number", "minimum": 0.01},
        "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "ignore_eos": {"type": "boolean"},
        "user": text,
    }
    common = {"model": named} | {name: _or_null(schema) for name, schema in optional.items()}
    tokens = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    several = {"type": "array", "minItems": 1, "maxItems": CHOICES}
    prompt = {"anyOf": [written, tokens, several | {"items": written}, several | {"items": tokens}]}
    message = {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": ROLES}, "content": text},
    }
    messages = {"type": "array", "items": message, "minItems": 1, "maxItems": MESSAGES}
    chat = {"messages": messages, "max_completion_tokens": _or_null(longest), **common}
    return {
        "/v1/completions": _post("Continue a text.", {"prompt": prompt, **common}),
        "/v1/chat/completions": _post("Answer a conversation.", chat),
        "/v1/models": {"get": _get("The models.", 401, 429)},
        "/v1/models/{model}": {
            "parameters": [{"name": "model", "in": "path", "required": True, "schema": named}],
            "get": _get("One model.", 401, 403, 404, 429),
        },
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _post(summary: str, properties: dict[str, Any]) -> dict[str, Any]:
    required = [next(iter(properties)), "model"]  # the prompt, or the messages
    schema = {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }
    responses = _refused(answers("The answer.", {"type": "object"}, *REFUSALS))
    responses["200"]["content"]["text/event-stream"] = {}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": responses}}


def _get(summary: str, *statuses: int) -> dict[str, Any]:
    responses = _refused(answers("That.", {"type": "object"}, *statuses))
    return {"summary": summary, "responses": responses}


def _refused(found: dict[str, Any]) -> dict[str, Any]:
    """With errors in OpenAI's form."""
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {"message": {"type": "string"}, "type": {"type": "string"}},
            }
        },
    }
    for status, answer in found.items():
        if status != "200":
            answer["content"] = {"application/json": {"schema": error}}
    return found
