# SPDX-License-Identifier: Apache-2.0
"""The body of a request; `guard` has put a bound on it."""

from __future__ import annotations

from starlette.types import Receive

from .answer import ClientGone


async def read_body(receive: Receive) -> bytes:
    """All of it.

    Raises:
        ClientGone: It ended early.
    """
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
