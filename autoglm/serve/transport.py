# SPDX-License-Identifier: Apache-2.0
"""What a connection's answers are written to.

uvicorn writes the head of an answer and its body one after the other; each by itself would be a
packet, and wake the client. ASGI means a head to wait for the first of its body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class Joined:
    """Sends two pieces that are written at once as one.

    It has the methods that uvicorn calls, and belongs to the thread of the event loop.

    Args:
        transport: Of the connection.
        loop: That of the service.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._first = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send it with what is written next, or when the event loop turns.

        When the connection has ended, or is about to, nobody waits for it: it is dropped.
        """
        if self.is_closing():
            self._first = b""
        elif self._first:
            self._transport.writelines((self._first, data))
            self._first = b""
        else:
            self._first = data
            self._loop.call_soon(self._flush)

    def write_all(self, pieces: Sequence[bytes]) -> None:
        """Send an answer that is there as a whole, at once."""
        self._flush()
        if not self.is_closing():
            self._transport.writelines(pieces)

    def close(self) -> None:
        """Send what is held, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._first and not self.is_closing():
            self._transport.write(self._first)
        self._first = b""
