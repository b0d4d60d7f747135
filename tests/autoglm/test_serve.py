# SPDX-License-Identifier: Apache-2.0
"""The service over HTTP: what it answers, and what it withstands."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import autoglm
from autoglm.serve.limits import Limits
from autoglm.serve.model import Graph
from autoglm.tensor import Array
from tests.autoglm import small
from tests.autoglm.serving import (
    HEADER,
    Client,
    Service,
    attack,
    binary,
    commanded,
    request,
    serving,
)
from tests.autoglm.small import bad, good, right, write
from tests.net.running import until

INFER = "/v2/models/small/infer"


pytestmark = pytest.mark.usefixtures("faulty")


def outputs(answer: dict[str, Any]) -> dict[str, Any]:
    """Arrays of an answer in JSON."""
    return {
        each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer["outputs"]
    }


def infer(service: Client, rows: int, seed: int, timeout: str = "60") -> bool:
    """Run the model once; whether the answer is right."""
    given = small.inputs(rows, seed)
    status, answer = service.ask(INFER, request(given), {"Request-Timeout": timeout})
    assert status == 200, answer
    return right(given, outputs(answer))


# ---- what it answers ----------------------------------------------------------------------------


def test_metadata_and_health(service: Service) -> None:
    for prefix in ("", "/v2"):
        assert service.ask(f"{prefix}/health/live") == (200, {"live": True})
        assert service.ask(f"{prefix}/health/ready") == (200, {"ready": True, "waiting_for": []})
    assert service.ask("/v2")[1]["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/models/small", "/v2/models/small/versions/1"):
        status, content = service.ask(path)
        assert status == 200
        assert content["platform"] == "0/cpu/onnxruntime"
        assert content["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
        assert service.ask(f"{path}/ready") == (200, {"name": "small", "ready": True})


def test_an_answer_is_one_piece(service: Service) -> None:
    """Head and body are sent together, as what waits for them is woken once."""
    content = json.dumps(request(small.inputs())).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        for _ in range(20):
            connection.sendall(head.encode() + content)
            got, _, body = connection.recv(1 << 16).partition(b"\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 200")
            assert f"content-length: {len(body)}".encode() in got.lower()
            assert right(small.inputs(), outputs(json.loads(body)))


def test_a_model_is_run(service: Service) -> None:
    given = small.inputs(3, 5)
    status, answer = service.ask(INFER, request(given, id="five"))
    assert status == 200 and answer["id"] == "five" and right(given, outputs(answer))
    status, answer = service.ask("/v2/models/small/versions/1/infer", request(given))
    assert status == 200 and right(given, outputs(answer))


def test_in_binary(service: Service) -> None:
    given = small.inputs(4, 5)
    assert right(given, service.infer("small", given))


def test_trained_models(trained: Callable[[str], Path]) -> None:
    """Several in one service, each with the answers that it gives to a call in Python."""
    random = np.random.default_rng(5)
    given: dict[str, dict[str, Array]] = {
        "magika": {"bytes": random.integers(0, 257, (1, 2048)).astype(np.int32)},
        "minilm": {
            "input_ids": random.integers(1000, 9000, (1, 16)),
            "attention_mask": np.ones((1, 16), np.int64),
        },
    }
    with serving(*map(trained, given)) as service:
        for name, inputs in given.items():
            with autoglm.load(trained(name)) as model:
                wanted = {spec.name for spec in model.inputs}
                inputs |= {other: np.zeros((1, 16), np.int64) for other in wanted - set(inputs)}
                expected = model(inputs)
            found = service.infer(name, inputs)
            assert all(np.allclose(found[key], array, atol=1e-5) for key, array in expected.items())


def test_metrics(service: Service) -> None:
    before = service.metric('autoglm_requests_total{model="small",status="200"}')
    assert infer(service, 1, 1)
    assert service.metric('autoglm_requests_total{model="small",status="200"}') == before + 1
    assert service.metric("autoglm_model_ready") == 1
    assert service.metric("autoglm_requests_now") == 0
    assert service.metric("autoglm_request_bytes_now") == 0


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "says"),
    [
        ("/", None, {}, 404, "openapi.json"),
        ("/v2/models/large", None, {}, 404, "there are: small"),
        ("/v2/models/small/versions/2", None, {}, 404, "there are: small"),
        (INFER, None, {}, 405, "Method Not Allowed"),
        ("/v2/models/large/infer", {}, {}, 404, "there are: small"),
        (INFER, b"x", {"Content-Type": "text/plain"}, 415, "application/json"),
        (INFER, b"{}", {"Content-Encoding": "gzip"}, 415, "send it as it is"),
        (INFER, b"{}", {"Content-Encoding": "Identity"}, 400, "inputs is a list"),
        (INFER, b"{", {}, 400, "no JSON"),
        (INFER, b"[" * 900_000, {}, 400, "no JSON"),
        (INFER, b"{}", {HEADER: "x"}, 400, "number of bytes"),
        (INFER, b"{}", {HEADER: "100"}, 400, "the body has 2"),
        (INFER, {"inputs": []}, {}, 400, "input 'x' is missing"),
        (INFER, b" " * (3 << 19), {}, 413, "longer than"),
        (INFER, {}, {"Request-Timeout": "soon"}, 400, "number of seconds"),
        (INFER, {}, {"Request-Timeout": "-1"}, 400, "number of seconds"),
    ],
)
def test_what_it_refuses(
    service: Service, path: str, body: object, headers: dict[str, str], status: int, says: str
) -> None:
    found, content = service.ask(path, body, headers)
    assert (found, says in content["error"]) == (status, True), content


def test_a_body_without_a_length_is_bounded_too(service: Service) -> None:
    connection = service.connect()
    chunks = (b" " * 65536 for _ in range(24))
    connection.request("POST", INFER, chunks, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_openapi_is_openapi(service: Service) -> None:
    status, description = service.ask("/openapi.json")
    assert status == 200
    operation = description["paths"][INFER]["post"]
    content, answer = operation["requestBody"]["content"], operation["responses"]["200"]
    example = content["application/json"]["example"]
    jsonschema.validate(
        service.ask(INFER, example)[1],
        answer["content"]["application/json"]["schema"],
    )


# ---- what it withstands -------------------------------------------------------------------------


def test_connections_have_a_bound(tmp_path: Path) -> None:
    """Who is in stays in, also when others come; probes are answered in any case."""
    body, headers = binary(small.inputs())

    def asked(connection: HTTPConnection) -> tuple[int, str | None, str | None]:
        connection.request("POST", INFER, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After"), answer.getheader("Connection")

    with serving(write(tmp_path / "small.glm", [good()]), limits=Limits(connections=2)) as service:
        first, second, third = (service.connect() for _ in range(3))
        for _ in range(3):  # the second time on, by the shortcut
            assert asked(first) == asked(second) == (200, None, None)
        assert asked(third) == (503, "1", "close")
        assert asked(first) == asked(second) == (200, None, None)
        assert service.ask("/health/live")[0] == 200
        second.close()
        until(lambda: service.ask(INFER, body, headers)[0] == 200)
        first.close()


def test_a_hundred_clients(service: Service) -> None:
    with concurrent.futures.ThreadPoolExecutor(100) as clients:
        found = list(clients.map(lambda number: infer(service, 1 + number % 3, number), range(300)))
    assert found == [True] * 300
    assert service.metric("autoglm_requests_now") == 0


def test_a_worker_killed_under_load(service: Service) -> None:
    worker = service.models[0].worker
    deaths = worker.deaths
    with concurrent.futures.ThreadPoolExecutor(20) as clients:
        answers = [clients.submit(infer, service, 1, number) for number in range(100)]
        time.sleep(0.05)
        os.kill(worker.pid, signal.SIGKILL)
        assert all(answer.result() for answer in answers)
    assert worker.deaths == deaths + 1
    assert service.metric("autoglm_worker_deaths_total") == worker.deaths


def test_heads_that_do_not_come(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as silent:
        with socket.create_connection(("127.0.0.1", service.port)) as slow:
            slow.sendall(b"GET /v2 HTTP/1.1\r\nHost:")
            slow.settimeout(10)
            assert slow.recv(100) == b""
        silent.settimeout(10)
        assert silent.recv(100) == b""
    assert infer(service, 1, 1)


def test_garbage(service: Service) -> None:
    for junk in (b"\x16\x03\x01\x02", b"\0" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000):
        with socket.create_connection(("127.0.0.1", service.port)) as link:
            link.settimeout(10)
            link.sendall(junk)
            link.shutdown(socket.SHUT_WR)
            answer = link.recv(100)
        assert answer.startswith(b"HTTP/1.1 400") or not answer
    assert infer(service, 1, 1)


@pytest.mark.parametrize("wanted", ["h2c", "websocket"])
def test_a_wish_to_speak_something_else(service: Service, wanted: str) -> None:
    """It is ignored, and the request answered."""
    given = small.inputs(1, 1)
    connection = service.connect()
    for headers in (
        {"Connection": "Upgrade, HTTP2-Settings", "uPGRADE": wanted, "HTTP2-Settings": "AAMAAABk"},
        {},
    ):
        connection.request("POST", INFER, json.dumps(request(given)), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.load(answer)["outputs"]
    connection.close()


def test_schemathesis(service: Service, tmp_path: Path) -> None:
    attack(service, tmp_path, "--max-examples", "6")
    assert infer(service, 1, 1)


# ---- bounds -------------------------------------------------------------------------------------


def test_deadlines(slow: Service) -> None:
    begin = time.monotonic()
    status, answer = slow.ask(INFER, request(small.inputs()), {"Request-Timeout": "0.05"})
    assert status == 504 and "deadline" in answer["error"]
    assert time.monotonic() - begin < 5
    assert infer(slow, 1, 1)


def test_more_than_may_wait(slow: Service) -> None:
    def ask(_number: int) -> int:
        status, answer = slow.ask(INFER, request(small.inputs()))
        assert status == 200 or "ask again" in answer["error"]
        return status

    with concurrent.futures.ThreadPoolExecutor(20) as clients:
        found = list(clients.map(ask, range(20)))
    assert set(found) == {200, 429} and found.count(200) >= 3
    assert slow.ask("/health/ready")[0] == 200


def test_a_client_that_leaves_is_not_served(slow: Service) -> None:
    waiting = threading.Thread(target=infer, args=(slow, 1, 1))
    waiting.start()
    time.sleep(0.1)
    connection = slow.connect()
    connection.request("POST", INFER, json.dumps(request(small.inputs())))
    time.sleep(0.1)
    connection.close()
    waiting.join()
    deadline = time.monotonic() + 5
    while not slow.metric('autoglm_requests_total{model="small",status="499"}'):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert slow.metric("autoglm_worker_waiting") == 0


def test_bodies_together(tmp_path: Path) -> None:
    """While one is held, another that goes beyond the bound with it is refused."""
    path = write(tmp_path / "small.glm", [bad("slow", seconds=1.0)])
    with serving(path, limits=Limits(body=1 << 20, bodies=1 << 20)) as service:
        body = json.dumps(request(small.inputs())).encode() + b" " * 600_000
        with concurrent.futures.ThreadPoolExecutor(1) as clients:
            first = clients.submit(service.ask, INFER, body)
            until(lambda: service.metric("autoglm_request_bytes_now") == len(body))
            assert service.ask(INFER, body)[0] == 429
            assert first.result()[0] == 200
        assert service.metric("autoglm_request_bytes_now") == 0
        assert service.ask(INFER, body)[0] == 200


def test_memory_stays_bounded(service: Service) -> None:
    def resident() -> int:
        pages = Path(f"/proc/{service.models[0].worker.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    given = small.inputs(3000, 2)
    body, headers = binary(given, parameters={"binary_data_output": True})
    service.ask(INFER, body, headers)
    before = resident()
    for _ in range(40):
        assert service.ask(INFER, body, headers)[0] == 200
    assert resident() - before < 16 << 20


# ---- its end ------------------------------------------------------------------------------------


def test_it_ends_in_order(tmp_path: Path) -> None:
    """As a command: what is being answered is answered, and the status is 0."""
    path = write(tmp_path / "small.glm", [bad("slow", seconds=0.3)])
    with commanded(path) as (process, service):
        with concurrent.futures.ThreadPoolExecutor(3) as clients:
            answers = [clients.submit(infer, service, 1, number) for number in range(3)]
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            assert all(answer.result() for answer in answers)
        assert process.wait(30) == 0
        with pytest.raises(ConnectionRefusedError):
            service.ask("/health/live")


def test_two_models_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "small.glm", [good()])
    from autoglm.serve.application import Application

    with pytest.raises(ValueError, match="one name"):
        Application([Graph(path), Graph(path)], Limits())
