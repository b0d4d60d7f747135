# SPDX-License-Identifier: Apache-2.0
"""What is written at once is sent at once, on a socket of the event loop that the service has."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from autoglm.serve.transport import Joined


def on_a_socket(act: Callable[[Joined], Awaitable[None]]) -> list[bytes]:
    """The pieces that come out at the other end, up to its end; nothing may be raised."""
    near, far = socket.socketpair()
    pieces: list[bytes] = []
    failures: list[Any] = []

    async def read() -> None:
        while data := await asyncio.get_running_loop().sock_recv(far, 1 << 16):
            pieces.append(data)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        reading = asyncio.ensure_future(read())
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        await act(Joined(transport, loop))
        await asyncio.sleep(0.02)
        transport.close()
        await reading

    with far:
        far.setblocking(False)
        uvloop.run(run())
    assert not failures
    return pieces


def test_two_are_one() -> None:
    async def act(joined: Joined) -> None:
        joined.write(b"head ")
        joined.write(b"body")

    assert on_a_socket(act) == [b"head body"]


def test_one_does_not_wait() -> None:
    async def act(joined: Joined) -> None:
        for part in (b"one", b"two", b"three"):
            joined.write(part)
            await asyncio.sleep(0.02)

    assert on_a_socket(act) == [b"one", b"two", b"three"]


def test_what_is_held_goes_before_the_end() -> None:
    async def act(joined: Joined) -> None:
        joined.write(b"last")
        joined.close()
        assert joined.is_closing()

    assert on_a_socket(act) == [b"last"]


def test_a_connection_that_ends_meanwhile() -> None:
    """The event loop sees its end before what is held would be sent."""
    failures: list[Any] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        near, far = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        Joined(transport, loop).write(b"nobody's")
        far.close()
        await asyncio.sleep(0.02)
        assert transport.is_closing()

    uvloop.run(run())
    assert not failures


def test_what_is_written_after_the_end_is_dropped() -> None:
    async def act(joined: Joined) -> None:
        joined.write(b"one")
        joined.close()
        for _ in range(2):  # the second time, it is closed
            joined.write(b"head")
            joined.write(b"body")
            joined.write_all([b"all"])
            joined.close()
            await asyncio.sleep(0.02)

    assert on_a_socket(act) == [b"one"]


def test_all_goes_at_once() -> None:
    async def act(joined: Joined) -> None:
        joined.write(b"before ")
        joined.write_all([b"head ", b"body"])

    assert b"".join(on_a_socket(act)) == b"before head body"
