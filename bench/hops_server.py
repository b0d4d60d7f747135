# SPDX-License-Identifier: Apache-2.0
"""The least a server can do that runs a model in another process.

``python -m bench.hops_server MODEL PORT``: whatever comes is a request, nothing is read of it, the
model runs on inputs of its own, and the answer is always the same. What it takes is the price of
the two processes on this machine, to which HTTP, arrays and bounds are yet to be added.
"""

import asyncio
import os
import socket
import sys

import numpy as np
import onnxruntime
import uvloop

BODY = b"{}"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Service(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        asyncio.get_running_loop().add_reader(self._link, self._answer)

    def data_received(self, data: bytes) -> None:
        self._link.send(b"run")

    def _answer(self) -> None:
        self._link.recv(16)
        self._transport.write(ANSWER)


def work(model: str, link: socket.socket) -> None:
    """Run the model whenever told to."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
    inputs = {
        each.name: np.zeros([n if isinstance(n, int) else 1 for n in each.shape], dtypes[each.type])
        for each in session.get_inputs()
    }
    while link.recv(16):
        session.run(None, inputs)
        link.send(b"done")


async def serve(port: int, link: socket.socket) -> None:
    """Until it is killed."""
    link.setblocking(False)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Service(link), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        work(sys.argv[1], theirs)
        os._exit(0)
    theirs.close()
    uvloop.run(serve(int(sys.argv[2]), ours))
