# SPDX-License-Identifier: Apache-2.0
"""The addresses that a service takes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from autoglm.commands.runtime import main
from autoglm.errors import Error
from autoglm.serve.server import listeners
from tests.autoglm.small import good, write


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[int]:
    """The port at which every socket of a host listens."""
    with contextlib.ExitStack() as stack:
        ports = set()
        for each in listeners(host, port):
            stack.enter_context(each).listen()
            ports.add(each.getsockname()[1])
        (found,) = ports
        yield found


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("[::1]", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
        ("[::]", ["::1", "127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
    ],
)
def test_each_address_is_taken(host: str, addresses: list[str]) -> None:
    with listening(host) as port:
        for address in addresses:
            socket.create_connection((address, port), timeout=5).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_a_port_that_is_taken(host: str) -> None:
    with (
        listening("127.0.0.1") as port,
        pytest.raises(Error, match=rf"listen on {host}, port {port}: another program .*--port"),
    ):
        listeners(host, port)


@pytest.mark.parametrize(
    ("host", "says"), [("192.0.2.1", "no interface .*--host"), ("no such host", "no such host")]
)
def test_an_address_that_cannot_be_had(host: str, says: str) -> None:
    with pytest.raises(Error, match=says):
        listeners(host, 0)


def test_the_command_says_so_before_it_loads_a_model(tmp_path: Any, capsys: Any) -> None:
    path = write(tmp_path / "small.glm", [good()])
    with listening("127.0.0.1") as port, pytest.raises(SystemExit) as ended:
        main(["--model", str(path), "--port", str(port)])
    assert ended.value.code == 1
    assert f"listen on 127.0.0.1, port {port}: another program has it" in capsys.readouterr().err
