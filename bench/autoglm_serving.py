# SPDX-License-Identifier: Apache-2.0
"""Running what was compiled: a call in Python, a request over HTTP, many clients, loading."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import autoglm
from autoglm import compiler
from autoglm.tensor import Array

from .rounds import Contestant, Row, medians, middle, quiet, turns

CLIENTS = 32
SECONDS = 2.0
"""Of one turn of the many clients."""
TURNS = 5
NAMES = {"float32": "FP32", "int32": "INT32"}
BARE = "bare call"
STARTS = 3
"""How often servers and engines are started anew: one start may be luckier than another."""
ROUNDS = 40
"""Turns of each in a start, short ones: how fast the machine is changes within seconds, by more
than what is measured here, so only what was done one after the other compares."""
HOPS = {"a process alone": "alone", "two processes alone": "bare", "they and uvicorn": "uvicorn"}
"""The least that servers can do (`hops_server`)."""


@dataclass(frozen=True)
class Model:
    """A model, compiled by ONNX Runtime: the same engine on both sides.

    Attributes:
        threads: Of the engine, as text; "0": as many as it takes by itself.
        calls: Of a turn.
    """

    name: str
    source: Path
    artifact: Path
    inputs: Mapping[str, Array]
    threads: str
    calls: int

    def session(self) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self.source, providers=["CPUExecutionProvider"])


def models(folder: Path) -> list[Model]:
    """A small one, where what is around the engine counts, and a trained one."""
    random = np.random.default_rng(1)
    classes = np.zeros((1, 2048), np.int32)
    classes[0] = random.integers(0, 256, 2048)
    found = find_spec("magika")
    assert found and found.submodule_search_locations
    magika = Path(found.submodule_search_locations[0], "models/standard_v3_3/model.onnx")
    x = random.standard_normal((1, 784)).astype(np.float32)
    given: dict[str, tuple[Path, dict[str, Array]]] = {
        "mlp": (_perceptron(folder), {"x": x}),
        "magika": (magika, {"bytes": classes}),
    }
    made = []
    for name, (source, inputs) in given.items():
        artifact = folder / f"{name}.glm"
        compiler.compile(source, output=artifact, engines=["onnxruntime"], seconds=1)
        threads, calls = ("1", 20) if name == "mlp" else ("0", 5)
        made.append(Model(name, source, artifact, inputs, threads, calls))
    return made


def _perceptron(folder: Path) -> Path:
    random = np.random.default_rng(1)
    sizes, nodes, weights, last = [784, 512, 256, 10], [], [], "x"
    for index, (rows, columns) in enumerate(pairwise(sizes)):
        w = random.standard_normal((rows, columns)).astype(np.float32) / np.float32(20)
        weights.append(numpy_helper.from_array(w, f"w{index}"))
        out = "y" if columns == sizes[-1] else f"h{index}"
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [out]))
        if out != "y":
            nodes.append(helper.make_node("Relu", [out], [f"r{index}"]))
            last = f"r{index}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 784])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    path = folder / "mlp.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


# ---- in Python ----------------------------------------------------------------------------------


def call_row(model: Model) -> Row:
    """``model(inputs)`` beyond the engine it calls."""
    with autoglm.load(model.artifact) as loaded:
        executable = loaded._executable
        assert executable is not None
        found = medians(
            {
                "autoglm": lambda: loaded(model.inputs),
                "engine": lambda: executable.run(model.inputs),
            },
            rounds=3001,
        )
    beyond = (found["autoglm"] - found["engine"]) / 1e3
    theirs = {"engine": found["engine"] / 1e3}
    return Row(
        f"model(inputs), {model.name}", found["autoglm"] / 1e3, theirs, "<= 20", beyond, "us"
    )


def load_row(model: Model) -> Row:
    """``autoglm.load()`` against a session of the source model."""
    found = medians(
        {"autoglm": lambda: autoglm.load(model.artifact).close(), "onnxruntime": model.session},
        rounds=31,
    )
    theirs = {"onnxruntime": found["onnxruntime"] / 1e6}
    ours = found["autoglm"] / 1e6
    ratio = found["autoglm"] / found["onnxruntime"]
    return Row(f"load, {model.name}", ours, theirs, "", ratio, "ms")


# ---- over HTTP ----------------------------------------------------------------------------------


def request(path: str, inputs: Mapping[str, Array]) -> bytes:
    """A request to run a model, in JSON; both servers take it."""
    stated = [
        {
            "name": name,
            "datatype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data": array.reshape(-1).tolist(),
        }
        for name, array in inputs.items()
    ]
    body = json.dumps({"inputs": stated}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def request_in_binary(path: str, inputs: Mapping[str, Array]) -> bytes:
    """The same with binary arrays, both ways."""
    stated = [
        {
            "name": name,
            "datatype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs.items()
    ]
    content = {"inputs": stated, "parameters": {"binary_data_output": True}}
    text = json.dumps(content).encode()
    body = text + b"".join(array.tobytes() for array in inputs.values())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """Of one client, as thin as can be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def renew(self) -> None:
        """Connect again: servers close what is idle for seconds."""
        self.close()
        self._connect()

    def ask(self, message: bytes) -> None:
        self._socket.sendall(message)
        data = self._more()
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), data
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self._more()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 16)
        assert data, "the server has ended"
        return data

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Server:
    """One that runs, and answers."""

    process: int
    port: int

    def client(self) -> AbstractContextManager[Connection]:
        return closing(Connection(self.port))


@contextmanager
def server(*command: str, port: int) -> Iterator[Server]:
    """Start one, and end it."""
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.05)
            yield Server(process.pid, port)
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def ours(model: Model, *options: str) -> Iterator[Server]:
    port = _free_port()
    command = ["autoglm.commands.runtime", "--model", str(model.artifact), "--port", str(port)]
    with server(*command, *options, port=port) as started:
        yield started


@contextmanager
def peer_server(module: str, model: Model, *options: str) -> Iterator[Server]:
    port = _free_port()
    command = [f"bench.{module}", str(model.source), str(port), *options]
    with server(*command, port=port) as started:
        yield started


def served_rows(model: Model, *options: str, goal: str = "<= 300") -> list[Row]:
    """A request of one client beyond a bare call of the engine.

    What is beyond the call is taken of turns of the same round; the note gives the range in which
    its median lies, for ours and for each peer.

    Args:
        model: Which.
        options: Of our service; what they do to the machine is done to all.
        goal: In microseconds.
    """
    path = f"/v2/models/{model.name}/infer"
    asked = {"binary": request_in_binary(path, model.inputs), "json": request(path, model.inputs)}
    found: dict[str, list[float]] = {}
    for _ in range(STARTS):
        for name, taken in _served(model, asked, options).items():
            found.setdefault(name, []).extend(taken)
    bare = found.pop(BARE)
    theirs = {peer: statistics.median(found[peer]) for peer in found if peer not in asked}
    theirs[BARE] = statistics.median(bare)
    beyond = {name: middle(_differences(taken, bare)) for name, taken in found.items()}
    rows = []
    for form in asked:
        name = " ".join(["served, 1 client,", f"{form}, {model.name}", *options])
        told = [
            f"{each} {median:.0f} ({low:.0f} to {high:.0f})"
            for each, (median, low, high) in beyond.items()
            if each == form or each in theirs
        ]
        note = f"beyond the call: {', '.join(told)}"
        ours_took = statistics.median(found[form])
        rows.append(Row(name, ours_took, theirs, goal, beyond[form][0], "us", note))
    return rows


def _differences(taken: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(taken, others, strict=True)]


def _served(
    model: Model, asked: Mapping[str, bytes], options: Sequence[str]
) -> dict[str, list[float]]:
    """Microseconds of a request to each server, and of a bare call, by turn; all started anew."""
    with ExitStack() as stack:
        servers = dict.fromkeys(asked, stack.enter_context(ours(model, *options)))
        servers["fastapi"] = stack.enter_context(peer_server("fastapi_server", model))
        for name, how in HOPS.items():
            least = peer_server("hops_server", model, how, model.threads)
            servers[name] = stack.enter_context(least)
        messages = {**dict.fromkeys(HOPS, asked["binary"]), **asked}
        messages["fastapi"] = request("/infer", model.inputs)
        clients = {name: stack.enter_context(each.client()) for name, each in servers.items()}

        def between() -> None:
            for client in clients.values():
                client.renew()
            quiet({each.process for each in servers.values()})

        contestants: dict[str, Contestant] = {
            name: partial(client.ask, messages[name]) for name, client in clients.items()
        }
        contestants[BARE] = partial(model.session().run, None, model.inputs)
        found = turns(contestants, ROUNDS, timings=model.calls, warm=5, before=between)
    return {name: [statistics.median(turn) / 1e3 for turn in each] for name, each in found.items()}


def awake_rows(model: Model) -> list[Row]:
    """The same while processors do not sleep: a virtual machine's are slow to wake up."""
    if not os.access("/dev/cpu_dma_latency", os.W_OK):
        return []
    return served_rows(model, "--wake-latency", "0")


def asleep_rows(model: Model) -> list[Row]:
    """The same where nobody looks for a message without sleeping."""
    return served_rows(model, "--busy-poll", "0", goal="")


def clients_row(model: Model) -> Row:
    """Answers a second to many clients, the same requests to both, in turns."""
    with ExitStack() as stack:
        servers = {
            "autoglm": stack.enter_context(ours(model)),
            "fastapi": stack.enter_context(peer_server("fastapi_server", model)),
        }
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "autoglm").write_bytes(request(f"/v2/models/{model.name}/infer", model.inputs))
        (folder / "fastapi").write_bytes(request("/infer", model.inputs))
        rates: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(TURNS):
            for name, each in servers.items():
                rates[name].append(_rate(each.port, folder / name))
    found = {name: statistics.median(each) for name, each in rates.items()}
    ratio = found["autoglm"] / found["fastapi"]
    theirs = {"fastapi": found["fastapi"]}
    name = f"{CLIENTS} clients, JSON, {model.name}"
    return Row(name, found["autoglm"], theirs, ">= 1", ratio, "1/s")


def _rate(port: int, file: Path) -> float:
    command = [sys.executable, "-m", "bench.http_load", str(port), str(CLIENTS), str(SECONDS)]
    done = subprocess.run(
        [*command, str(file)], check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return float(done.stdout)


def rows() -> list[Row]:
    """All rows of this module."""
    with tempfile.TemporaryDirectory() as folder:
        small, trained = models(Path(folder))
        found = [call_row(small)]  # in a long call it is lost in the noise
        found += asleep_rows(small)
        for model in (small, trained):
            found += [load_row(model), *served_rows(model), *awake_rows(model), clients_row(model)]
    return found
