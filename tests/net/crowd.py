# SPDX-License-Identifier: Apache-2.0
"""Many devices on one host: each answers mDNS queries by a packet of its own (RFC 6762).

    python -m tests.net.crowd COUNT ADDRESS [flood]

Device i announces `_hal-device._tcp` under the UUID of integer i + 1 with an address of its own of
10.78.0.0/16, all of which are this host's (see `Net.crowd`), and port 7362, where one listener
stands for all. With "flood", each time a line comes on standard input, all of them announce
themselves, once each, 2000 a second, and "told" is written.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
import uuid

from zeroconf._dns import DNSAddress, DNSPointer, DNSService, DNSText
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.const import _FLAGS_AA, _FLAGS_QR_RESPONSE, _TYPE_PTR

GROUP, PORT, LISTEN = "224.0.0.251", 5353, 7362
TYPE = "_hal-device._tcp.local."
UNIQUE = 0x8001  # class IN, cache flush


def identity(number: int) -> str:
    """The UUID of a device."""
    return str(uuid.UUID(int=number + 1))


def address(number: int) -> bytes:
    """Its address."""
    return bytes((10, 78, *divmod(number + 1, 256)))


def answer(number: int) -> bytes:
    """All that a device says, in one packet."""
    own = identity(number)
    name, host = f"{own}.{TYPE}", f"{own}.local."
    text = b"".join(bytes([len(s)]) + s for s in (b"txtvers=1", b"id=" + own.encode(), b"model=X"))
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    out.add_answer_at_time(DNSPointer(TYPE, _TYPE_PTR, 1, 4500, name), 0)
    out.add_additional_answer(DNSService(name, 33, UNIQUE, 120, 0, 0, LISTEN, host))
    out.add_additional_answer(DNSText(name, 16, UNIQUE, 4500, text))
    out.add_additional_answer(DNSAddress(host, 1, UNIQUE, 120, address(number)))
    return out.packets()[0]


class Crowd(asyncio.DatagramProtocol):
    """The devices."""

    def __init__(self, count: int) -> None:
        self._names = {f"{identity(number)}.{TYPE}": number for number in range(count)}
        self._packets = [answer(number) for number in range(count)]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = DNSIncoming(data)
        if not query.is_query():
            return
        known = {record.alias for record in query.answers() if record.type == _TYPE_PTR}  # type: ignore[attr-defined]
        for question in query.questions:
            if question.name.lower() == TYPE:
                for name, number in self._names.items():
                    if name not in known:
                        self._later(number, addr if question.unicast else (GROUP, PORT))
            elif (found := self._names.get(question.name)) is not None:
                self._later(found, (GROUP, PORT))

    def _later(self, number: int, to: tuple[str, int]) -> None:
        """RFC 6762, section 6: a shared answer is given after 20 to 120 ms."""
        delay = random.uniform(0.02, 0.12)
        asyncio.get_running_loop().call_later(delay, self.send, number, to)

    def send(self, number: int, to: tuple[str, int] = (GROUP, PORT)) -> None:
        """Let a device speak."""
        self._transport.sendto(self._packets[number], to)  # type: ignore[attr-defined]


def speaker(own: str) -> socket.socket:
    """A socket of mDNS that speaks from an address of this host."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    sock.bind(("", PORT))
    group = socket.inet_aton(GROUP)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(own))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("b", 127))
    sock.setblocking(False)
    return sock


async def main(count: int, own: str, flood: bool) -> None:
    """Be the crowd."""
    loop = asyncio.get_running_loop()
    crowd = Crowd(count)
    await loop.create_datagram_endpoint(lambda: crowd, sock=speaker(own))
    await asyncio.start_server(lambda _r, writer: writer.close(), "", LISTEN, backlog=4096)
    print("ready", flush=True)
    while flood:
        if not await asyncio.to_thread(sys.stdin.readline):
            break
        for number in range(count):
            crowd.send(number)
            if number % 50 == 49:
                await asyncio.sleep(0.025)
        print("told", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["flood"]))
