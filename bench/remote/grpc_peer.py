# SPDX-License-Identifier: Apache-2.0
"""gRPC with mutual TLS: a unary call that gives 64 bytes, and a stream of blocks of 64 KiB.

``python -m bench.remote.grpc_peer FOLDER`` serves.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

SIZE, BLOCK = 64, bytes(65536)


def _same(data: bytes) -> bytes:
    return data


def _read(_request: bytes, _context: Any) -> bytes:
    return bytes(SIZE)


def _stream(request: bytes, _context: Any) -> Iterator[bytes]:
    for _ in range(int(request)):
        yield BLOCK


def _parts(folder: Path) -> tuple[bytes, bytes, bytes]:
    key, certificate, ca = (folder / name for name in ("key.pem", "cert.pem", "ca.pem"))
    return key.read_bytes(), certificate.read_bytes(), ca.read_bytes()


def main() -> None:
    """Serve until SIGTERM."""
    key, certificate, ca = _parts(Path(sys.argv[1]))
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {
        "read": grpc.unary_unary_rpc_method_handler(_read, _same, _same),
        "stream": grpc.unary_stream_rpc_method_handler(_stream, _same, _same),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", handlers),))
    credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    print(f"port {port}", flush=True)
    done.wait()
    server.stop(None)


class Client:
    """A channel to it.

    Args:
        folder: The client's key and certificates.
        name: What the server's certificate is for.
        port: Where it is, on the loopback.
    """

    def __init__(self, folder: Path, name: str, port: int) -> None:
        key, certificate, ca = _parts(folder)
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        options = (("grpc.ssl_target_name_override", name),)
        self._channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)
        self._read: Callable[[bytes], bytes] = self._channel.unary_unary(
            "/bench/read", _same, _same
        )
        self._stream = self._channel.unary_stream("/bench/stream", _same, _same)

    def read(self) -> bytes:
        """64 bytes."""
        return self._read(b"")

    def take(self, count: int) -> None:
        """So many bytes, in blocks."""
        for _ in self._stream(b"%d" % (count // len(BLOCK))):
            pass

    def close(self) -> None:
        """End it."""
        self._channel.close()


if __name__ == "__main__":
    main()
