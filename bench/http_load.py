# SPDX-License-Identifier: Apache-2.0
"""Clients that ask one after the other, each on a connection of its own, all at once.

``python -m bench.http_load PORT CLIENTS SECONDS FILE``: FILE holds a request as bytes; printed is
how many answers came in a second.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop


async def answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), head
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))


async def client(port: int, request: bytes, end: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    count = 0
    while time.monotonic() < end:
        writer.write(request)
        await answer(reader)
        count += 1
    writer.close()
    return count


async def main(port: int, clients: int, seconds: float, request: bytes) -> None:
    begin = time.monotonic()
    counts = await asyncio.gather(*(client(port, request, begin + seconds) for _ in range(clients)))
    print(sum(counts) / (time.monotonic() - begin))


if __name__ == "__main__":
    uvloop.run(
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]).read_bytes())
    )
