# SPDX-License-Identifier: Apache-2.0
"""zeroconf on one link.

One instance a link, for zeroconf's cache does not tell links apart: two devices that claim one name
on two networks would look like one with two addresses. So each link also fails alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from zeroconf import IPVersion, NotRunningException
from zeroconf.asyncio import AsyncZeroconf

from ..netlink import Interface
from ..within import end
from .gate import Gate

PORT = 5353

ADDRESSES_MAX = 4
"""IPv4 addresses of one link that are spoken from."""


@asynccontextmanager
async def segment(link: Interface, gate: Gate) -> AsyncIterator[AsyncZeroconf]:
    """A running zeroconf on one link; what it has announced is withdrawn at the end.

    Raises:
        OSError: There is no speaking to the groups of mDNS on this link.
    """
    voices: list[str | int] = [*link.ipv4[:ADDRESSES_MAX]]
    version = IPVersion.V4Only
    if link.ipv6 and not link.loopback:
        version = IPVersion.All if voices else IPVersion.V6Only
        voices.append(link.index)
    try:
        mdns = AsyncZeroconf(interfaces=voices, ip_version=version)
    except RuntimeError as error:  # The address went meanwhile.
        raise OSError(f"mDNS on {link.name}: {error}") from error
    # Cancelled itself, this wait would take the future with it on which closing waits, too.
    started = asyncio.ensure_future(mdns.zeroconf.async_wait_for_start())
    try:
        try:
            await asyncio.shield(started)
        except NotRunningException as error:
            raise OSError(f"mDNS on {link.name}: it does not start") from error
        if not mdns.zeroconf.engine.senders:
            raise OSError(f"mDNS on {link.name}: the kernel refuses to join 224.0.0.251, ff02::fb")
        gate.networks = tuple(address.network for address in link.addresses)
        gate.guard(mdns)
        yield mdns
    finally:
        try:
            await mdns.async_close()
        finally:
            await end((started,))


def port_is_shared() -> bool:
    """Has another socket of this network namespace the port of mDNS?

    Then an answer by unicast may go to that one: answers are to be asked for by multicast
    (RFC 6762, section 15.2).
    """
    for name in ("udp", "udp6"):
        with suppress(OSError), open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
            if any(line.split()[1].endswith(f":{PORT:04X}") for line in file):
                return True
    return False
