# SPDX-License-Identifier: Apache-2.0
"""Services on ports of their own, in a thread of the test or as a command, and clients of them."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autoglm.artifact import Artifact
from autoglm.decoder.language_model import FAMILY
from autoglm.serve.access import Access
from autoglm.serve.application import Application
from autoglm.serve.language import Language
from autoglm.serve.limits import Limits
from autoglm.serve.model import Graph, Served
from autoglm.serve.server import Server
from autoglm.serve.wake import WakeLatency
from autoglm.tensor import Array

DTYPES = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}
HEADER = "Inference-Header-Content-Length"


class Client:
    """Asks a service.

    Args:
        port: Of the service, on the loopback.

    Attributes:
        tls: None without TLS.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.tls: ssl.SSLContext | None = None

    def connect(self) -> http.client.HTTPConnection:
        """A connection of a client."""
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.tls)

    def ask(
        self,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        method: str = "",
    ) -> tuple[int, Any]:
        """Status and content of an answer; a body that is no bytes is sent as JSON."""
        if body is not None and not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
        connection = self.connect()
        try:
            connection.request(
                method or ("GET" if body is None else "POST"), path, body, dict(headers or {})
            )
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        is_json = answer.getheader("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(content) if is_json else content

    def infer(self, model: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run a model, arrays in binary both ways."""
        body, headers = binary(inputs, parameters={"binary_data_output": True})
        connection = self.connect()
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status == 200, content
        length = int(answer.getheader(HEADER, ""))
        rest, found = content[length:], {}
        for each in json.loads(content[:length])["outputs"]:
            size = each["parameters"]["binary_data_size"]
            array = np.frombuffer(rest[:size], DTYPES[each["datatype"]])
            found[each["name"]] = array.reshape(each["shape"])
            rest = rest[size:]
        assert not rest
        return found

    def metric(self, name: str) -> float:
        """The sum of a metric's values."""
        _, text = self.ask("/metrics")
        lines = [line for line in text.decode().splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


class Service(Client):
    """One in this process, and a client of it.

    Attributes:
        models: What it serves.
    """

    def __init__(
        self,
        models: list[Any],
        limits: Limits,
        access: Access | None,
        wake: WakeLatency | None = None,
    ) -> None:
        super().__init__()
        self.models = models
        self._began = threading.Event()
        application = Application(models, limits, access)
        self._server = Server(application, "127.0.0.1", 0, limits, access, self._begin, wake)
        self._thread = threading.Thread(target=self._server.run)

    def _begin(self, _host: str, port: int) -> None:
        self.port = port
        self._began.set()

    def start(self) -> None:
        self._thread.start()
        assert self._began.wait(60)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextmanager
def serving(
    *paths: Path,
    limits: Limits | None = None,
    own: Path | None = None,
    wake: WakeLatency | None = None,
    **settings: Any,
) -> Iterator[Service]:
    """A service of these artifacts."""
    access = Access(own) if own else None
    models = [_model(path, settings) for path in paths]
    service = Service(models, limits or Limits(), access, wake)
    service.start()
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def commanded(path: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A service of an artifact as a command, killed in the end, and a client of it."""
    command = [sys.executable, "-m", "autoglm.commands.runtime", "--model", str(path), "--port=0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith(f"serving {path.stem} on http://127.0.0.1:"), said
            yield process, Client(int(said.rpartition(":")[2]))
        finally:
            process.kill()


def _model(path: Path, settings: dict[str, Any]) -> Served:
    with Artifact(path) as artifact:
        family = artifact.manifest.model.family
    return (Language if family == FAMILY else Graph)(path, **settings)


def request(inputs: Mapping[str, Array], **more: Any) -> dict[str, Any]:
    """A request to run a model, as JSON."""
    names = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}
    stated = [
        {
            "name": name,
            "datatype": names[array.dtype.name],
            "shape": list(array.shape),
            "data": array.reshape(-1).tolist(),
        }
        for name, array in inputs.items()
    ]
    return {"inputs": stated, **more}


def binary(inputs: Mapping[str, Array], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The same, with binary arrays: body and headers."""
    content = request(inputs, **more)
    for entry, array in zip(content["inputs"], inputs.values(), strict=True):
        del entry["data"]
        entry["parameters"] = {"binary_data_size": array.nbytes}
    head = json.dumps(content).encode()
    tail = b"".join(array.tobytes() for array in inputs.values())
    return head + tail, {HEADER: str(len(head)), "Content-Type": "application/octet-stream"}


def attack(service: Service, folder: Path, *options: str) -> None:
    """Have schemathesis make requests up, and check status, content and schema of the answers.

    One check is left out: that what fits the schema is accepted. No schema can tie the data to the
    shape; the example, which is tried, is accepted. And 504 is right for a deadline of 5e-324 s.
    """
    settings = folder / "schemathesis.toml"
    settings.write_text(
        "[checks.positive_data_acceptance]\nenabled = false\n"
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "4xx", "504"]\n'
    )
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", settings, "run"),
            f"http://127.0.0.1:{service.port}/openapi.json",
            *("--phases", "examples,coverage,fuzzing", "--seed", "1", *options),
            *("--suppress-health-check", "all", "--no-color"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
