# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API, asked by OpenAI's own client and by hand."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from autoglm.decoder import LanguageModel, Sampling, load
from autoglm.serve.language import Language
from autoglm.serve.limits import Limits

from .languages import Spoken
from .serving import Service, attack, serving
from .test_language_models import until

PROMPT = "A driver is three functions"


@pytest.fixture(scope="module")
def service(qwen: Spoken) -> Iterator[Service]:
    with serving(qwen.artifact, slots=2, capacity=400, threads=1, waiting=14) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{service.port}/v1", api_key="none", max_retries=0
    ) as made:
        yield made


@pytest.fixture(scope="module")
def model(qwen: Spoken) -> Iterator[LanguageModel]:
    with load(qwen.artifact, slots=2, capacity=400, threads=1) as loaded:
        yield loaded


def said(model: LanguageModel, prompt: str | list[int], **options: Any) -> str:
    return "".join(piece.text for piece in model.generate(prompt, Sampling(**options)))


def language(service: Service) -> Language:
    (found,) = service.models
    assert isinstance(found, Language)
    return found


def test_models(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["qwen2"]
    assert client.models.retrieve("qwen2").owned_by == "open-autoglm"
    with pytest.raises(openai.NotFoundError, match="there are: qwen2"):
        client.models.retrieve("gpt")


def test_completion(client: openai.OpenAI, model: LanguageModel) -> None:
    answer = client.completions.create(
        model="qwen2", prompt=PROMPT, max_tokens=30, temperature=0, extra_body={"ignore_eos": True}
    )
    (choice,) = answer.choices
    assert choice.text == said(model, PROMPT, max_tokens=30, ignore_end=True)
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(model.text.encode(PROMPT))
    assert answer.usage.completion_tokens == 30


def test_several_prompts_and_seeds(client: openai.OpenAI, model: LanguageModel) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "top_p": 0.9}
    answer = client.completions.create(
        model="qwen2", prompt=[PROMPT, "GPIO"], n=2, seed=5, **options
    )
    wanted = [
        said(model, prompt, seed=seed, **options) for prompt in (PROMPT, "GPIO") for seed in (5, 6)
    ]
    assert [choice.text for choice in answer.choices] == wanted
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    tokens = client.completions.create(
        model="qwen2", prompt=model.text.encode("GPIO"), seed=5, **options
    )
    assert tokens.choices[0].text == wanted[2]


def test_stream_is_the_whole(client: openai.OpenAI, model: LanguageModel) -> None:
    chunks = list(
        client.completions.create(
            model="qwen2",
            prompt=PROMPT,
            max_tokens=30,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )
    texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert len(texts) > 5
    assert "".join(texts) == said(model, PROMPT, max_tokens=30, ignore_end=True)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 30


def test_chat(client: openai.OpenAI, model: LanguageModel) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is "},
                                     {"type": "text", "text": "I2C?"}]},
    ]  # fmt: skip
    plain = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is I2C?"},
    ]
    wanted = said(model, model.text.chat(plain), max_tokens=20)
    options: dict[str, Any] = {"model": "qwen2", "messages": messages, "temperature": 0}
    answer = client.chat.completions.create(max_completion_tokens=20, **options)
    assert answer.choices[0].message.content == wanted
    assert answer.choices[0].message.role == "assistant"
    deltas = [
        chunk.choices[0].delta
        for chunk in client.chat.completions.create(max_tokens=20, stream=True, **options)
    ]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == wanted


def test_stop(client: openai.OpenAI, model: LanguageModel) -> None:
    whole = said(model, PROMPT, max_tokens=40, ignore_end=True)
    stop = whole[12:15]
    answer = client.completions.create(
        model="qwen2", prompt=PROMPT, max_tokens=40, temperature=0, stop=["~~~~", stop],
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"model": "gpt"}, 404, "no model 'gpt'; there are: qwen2"),
        ({"model": 3}, 400, "model is the name of one"),
        ({"prompt": None}, 400, "prompt is a text"),
        ({"prompt": ""}, 400, "the prompt is empty"),
        ({"prompt": [1, 99999]}, 400, "not from 0 to 399"),
        ({"prompt": [1.5]}, 400, "prompt is a text"),
        ({"prompt": "x " * 400}, 400, "400 are the most"),
        ({"prompt": ["x"] * 17}, 400, "16 are the most"),
        ({"n": 17}, 400, "from 1 to 16"),
        ({"temperature": -1}, 400, "temperature is -1"),
        ({"temperature": "hot"}, 400, "temperature is 'hot'"),
        ({"top_p": 2}, 400, "top_p is 2"),
        ({"max_tokens": 0}, 400, "max_tokens is a whole number"),
        ({"stop": [""]}, 400, "1 to 256 characters"),
        ({"stop": 3}, 400, "stop is a text"),
        ({"stream": "yes"}, 400, "stream is true or false"),
        ({"logprobs": 5}, 400, "logprobs is not served here"),
        ({"tempreature": 1}, 400, "there is no 'tempreature'"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals(
    service: Service, changes: dict[str, Any], status: int, text: str, stream: bool
) -> None:
    body = {"model": "qwen2", "prompt": "x", "stream": stream} | changes
    got, answer = service.ask("/v1/completions", body, {"Content-Type": "application/json"})
    assert (got, set(answer["error"])) == (status, {"message", "type", "param", "code"})
    assert text in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"[]", 400), (b"[" * 100_000, 400), (b'{"a":NaN}', 400), (b"\xff", 400)],
)
def test_bodies_that_are_none(service: Service, body: bytes, status: int) -> None:
    for path in ("/v1/completions", "/v1/chat/completions"):
        assert service.ask(path, body, method="POST")[0] == status
    assert service.ask("/v1/completions", b"{}", {"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_frees_the_slot(service: Service, stream: bool) -> None:
    body = {"model": "qwen2", "prompt": "x", "max_tokens": 390, "n": 14, "ignore_eos": True}
    worker = language(service).worker
    assert worker is not None
    connection = service.connect()
    connection.request("POST", "/v1/completions", json.dumps(body | {"stream": stream}))
    until(lambda: worker.counts[0] > 0)
    if stream:
        assert connection.getresponse().readline().startswith(b"data: ")
    connection.close()
    until(lambda: worker.counts == (0, 0))
    status, _ = service.ask("/v1/completions", body | {"n": 1, "max_tokens": 3})
    assert status == 200


def test_more_than_wait_get_429(qwen: Spoken) -> None:
    with serving(qwen.artifact, slots=1, capacity=400, threads=1, waiting=1) as service:
        body = {"model": "qwen2", "prompt": "x", "max_tokens": 390, "ignore_eos": True}
        status, answer = service.ask("/v1/completions", body | {"n": 3, "seed": 1})
        assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
        until(lambda: language(service).worker.counts == (0, 0))  # type: ignore[union-attr]
        assert service.ask("/v1/completions", body | {"n": 2, "max_tokens": 3})[0] == 200


def test_a_hundred_clients_at_once(service: Service, model: LanguageModel) -> None:
    """16 are answered or wait, the others are told to ask again: nobody is left out."""
    prompts = [PROMPT, "GPIO", "I2C and SPI", "A name"]
    wanted = {each: said(model, each, max_tokens=8, ignore_end=True) for each in prompts}
    worker = language(service).worker
    assert worker is not None
    refused: set[int] = set()

    def ask(number: int) -> None:
        prompt = prompts[number % 4]
        body = {"model": "qwen2", "prompt": prompt, "max_tokens": 8, "temperature": 0,
                "ignore_eos": True, "stream": number % 3 == 0}  # fmt: skip
        while True:
            status, answer = service.ask("/v1/completions", body)
            if status == 200:
                break
            assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
            refused.add(number)
            time.sleep(0.05)
        text = streamed(answer) if body["stream"] else answer["choices"][0]["text"]
        assert text == wanted[prompt]

    with concurrent.futures.ThreadPoolExecutor(100) as clients:
        os.kill(worker.pid, signal.SIGSTOP)  # However fast it is, all are there at once.
        try:
            asking = [clients.submit(ask, number) for number in range(100)]
            until(lambda: len(refused) == 84)
            assert worker.counts == (2, 14)
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        for each in asking:
            each.result(timeout=120)
    until(lambda: worker.counts == (0, 0))
    assert service.metric("autoglm_requests_now") == 0


def streamed(events: bytes) -> str:
    """The text of an answer that came as events, which is whole."""
    *chunks, last = [line[6:] for line in events.splitlines() if line.startswith(b"data: ")]
    assert last == b"[DONE]"
    return "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks)


def test_schemathesis(service: Service, tmp_path: Path) -> None:
    attack(service, tmp_path, "--include-path-regex", "^/v1/", "--max-examples", "2")
    assert service.ask("/v1/completions", {"model": "qwen2", "prompt": "x"})[0] == 200


def test_a_killed_worker_is_not_noticed(
    service: Service, client: openai.OpenAI, model: LanguageModel
) -> None:
    worker = language(service).worker
    assert worker is not None
    deaths = worker.deaths
    texts: list[str] = []
    for chunk in client.completions.create(
        model="qwen2", prompt=PROMPT, max_tokens=300, temperature=0, stream=True,
        extra_body={"ignore_eos": True},
    ):  # fmt: skip
        if not texts:
            os.kill(worker.pid, signal.SIGKILL)
        texts.append(chunk.choices[0].text)
    assert "".join(texts) == said(model, PROMPT, max_tokens=300, ignore_end=True)
    until(lambda: worker.deaths == deaths + 1 and worker.ready)
    assert service.metric("autoglm_worker_deaths_total") == deaths + 1


def test_deadline(qwen: Spoken) -> None:
    with serving(
        qwen.artifact, limits=Limits(deadline=0.1), slots=1, capacity=400, threads=1
    ) as service:
        body = {"model": "qwen2", "prompt": "x", "max_tokens": 390, "n": 16, "ignore_eos": True}
        status, answer = service.ask("/v1/completions", body)
        assert (status, answer["error"]["type"]) == (504, "server_error")
        until(lambda: language(service).worker.counts == (0, 0))  # type: ignore[union-attr]


@pytest.mark.parametrize("role", ["robot", "", None, 3])
def test_roles(service: Service, role: object) -> None:
    body = {"model": "qwen2", "messages": [{"role": role, "content": "x"}]}
    status, answer = service.ask("/v1/chat/completions", body)
    assert status == 400
    assert "role: developer, system, user, assistant" in answer["error"]["message"]


def test_it_is_called_as_its_file(qwen: Spoken, tmp_path: Path) -> None:
    (tmp_path / "small talk.glm").symlink_to(qwen.artifact)
    assert Language(tmp_path / "small talk.glm").name == "small talk"


def test_described(service: Service) -> None:
    _, described = service.ask("/openapi.json")
    assert {"/v1/completions", "/v1/chat/completions", "/v1/models"} <= set(described["paths"])
    _, metadata = service.ask("/v2/models/qwen2")
    assert metadata["name"] == "qwen2"
    status, answer = service.ask("/v2/models/qwen2/infer", {"inputs": []})
    assert status == 400 and "/v1/completions" in answer["error"]
