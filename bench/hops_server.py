# SPDX-License-Identifier: Apache-2.0
"""The least that a server can do which runs a model: in another process, or in its own.

``python -m bench.hops_server MODEL PORT bare|uvicorn|alone THREADS``: whatever comes is a request,
nothing is read of it, the model runs on inputs of its own, and the answer is always the same. What
that takes is the price of two processes on this machine, with uvicorn that of HTTP too; alone, that
of being a server at all. Arrays, bounds and deadlines come on top of it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
import uvloop

BODY = b"{}"
LENGTH = str(len(BODY)).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\n\r\n%s" % (LENGTH, BODY)


def engine(model: str, threads: int) -> Callable[[], object]:
    """What runs the model once, on so many threads; 0: as many as ONNX Runtime takes by itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
    random = np.random.default_rng(1)
    inputs = {
        each.name: random.integers(
            0, 256, [n if isinstance(n, int) else 1 for n in each.shape]
        ).astype(dtypes[each.type])
        for each in session.get_inputs()
    }
    return partial(session.run, None, inputs)


def work(run: Callable[[], object], link: socket.socket) -> None:
    """Run the model whenever told to."""
    while link.recv(16):
        run()
        link.send(b"done")


class Worker:
    """The other process, for one request after the other."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(link, self._done)

    def run(self) -> asyncio.Future[None]:
        self._link.send(b"run")
        self._answer = self._loop.create_future()
        return self._answer

    def _done(self) -> None:
        self._link.recv(16)
        self._answer.set_result(None)


class Bare(asyncio.Protocol):
    """A connection without HTTP.

    Args:
        run: Runs the model, and calls what it is given.
    """

    def __init__(self, run: Callable[[Callable[[], object]], object]) -> None:
        self._run = run

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._run(partial(self._transport.write, ANSWER))


async def bare(port: int, link: socket.socket) -> None:
    worker = Worker(link)
    await serve(port, lambda answer: worker.run().add_done_callback(lambda _: answer()))


async def alone(port: int, run: Callable[[], object]) -> None:
    await serve(port, lambda answer: (run(), answer()))


async def serve(port: int, run: Callable[[Callable[[], object]], object]) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Bare(run), "127.0.0.1", port)
    await server.serve_forever()


async def with_uvicorn(port: int, link: socket.socket) -> None:
    worker = Worker(link)

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await worker.run()
        headers = [(b"content-length", LENGTH)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    config = uvicorn.Config(
        application, "127.0.0.1", port, lifespan="off", log_config=None, access_log=False
    )
    await uvicorn.Server(config).serve()


def main(model: str, port: str, how: str, threads: str) -> None:
    """Serve until killed."""
    if how == "alone":
        uvloop.run(alone(int(port), engine(model, int(threads))))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        work(engine(model, int(threads)), theirs)
        os._exit(0)
    theirs.close()
    uvloop.run({"bare": bare, "uvicorn": with_uvicorn}[how](int(port), ours))


if __name__ == "__main__":
    main(*sys.argv[1:])
