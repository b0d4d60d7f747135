# SPDX-License-Identifier: Apache-2.0
"""hal-probe announce: be a device on the network, until told to stop."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import click

from hal.discovery import device_id
from hal.discovery.announce import Announcer
from hal.discovery.announcement import Announcement

from . import output
from .outcome import Exit, Failure


@dataclass(frozen=True)
class Wish:
    """What the command line asks for.

    Attributes:
        id: The UUID to announce; "" for this machine's own.
        address: The address to listen on and to announce; "" for all.
        port: The port to listen on; 0 for any.
        interfaces: Names of the interfaces to announce on; empty for all.
        seconds: How long; None until a signal comes.
    """

    id: str
    address: str
    port: int
    model: str
    version: str
    capabilities: Sequence[str]
    interfaces: Sequence[str]
    protocols: Sequence[str]
    seconds: float | None


def run(wish: Wish, *, json: bool) -> Exit:
    """Announce, until the time is over or SIGINT or SIGTERM comes; then say goodbye."""
    own, hint = wish.id, ""
    if not own:
        try:
            kept = device_id.load()
        except device_id.DeviceIdError as error:
            raise Failure(str(error), Exit.FAILED, "state") from error
        own, hint = kept.id, kept.hint
    return asyncio.run(_announce(wish, own, hint, json=json))


async def _announce(wish: Wish, own: str, hint: str, *, json: bool) -> Exit:
    stop = _signalled()  # First of all: who finds the port open may end us.
    server = await _listen(wish.address, wish.port)
    port = server.sockets[0].getsockname()[1]
    troubles: dict[tuple[str, str], str] = {}

    def told(protocol: str, cause: str, about: str) -> None:
        if cause:
            troubles[protocol, about] = cause
        else:
            troubles.pop((protocol, about), None)
        if cause and not json:
            click.echo(f"hal-probe: {protocol} {about}: {cause}", err=True)

    try:
        announcement = Announcement(
            own,
            port,
            wish.model,
            wish.version,
            tuple(wish.capabilities),
            addresses=(wish.address,) if wish.address else (),
        )
    except ValueError as error:
        server.close()
        raise Failure(f"announce: {error}", Exit.USAGE, "invalid") from error
    announcer = Announcer(
        announcement, wish.interfaces or None, protocols=wish.protocols, told=told
    )
    async with server:
        try:
            await announcer.start()
            _report(announcement, announcer, hint, troubles, json=json)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), wish.seconds)
        finally:
            await announcer.stop()
    return Exit.OK


async def _listen(address: str, port: int) -> asyncio.Server:
    """Listen; who connects is let go at once: there is nothing to be had here but "I live"."""

    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    try:
        if address:
            ipaddress.ip_address(address.partition("%")[0])
        return await asyncio.start_server(connected, sock=_bound(address, port))
    except ValueError as error:
        raise Failure(f"announce: {error}", Exit.USAGE, "invalid") from error
    except OSError as error:
        where = f'listen "{address or "*"} port {port}"'
        if error.errno == errno.EADDRINUSE:
            message = f"{where}: another program has it; --port 0 takes a free one"
            raise Failure(message, Exit.BUSY, "busy") from error
        code = Exit.PERMISSION if error.errno == errno.EACCES else Exit.FAILED
        raise Failure(f"{where}: {error.strerror}", code, "listen") from error


def _bound(address: str, port: int) -> socket.socket:
    """A socket on an address, or on all of IPv4 and IPv6, where one port must do for both."""
    if address:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _signalled() -> asyncio.Event:
    """Set when SIGINT or SIGTERM comes."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _report(
    announcement: Announcement,
    announcer: Announcer,
    hint: str,
    troubles: dict[tuple[str, str], str],
    *,
    json: bool,
) -> None:
    links = announcer.announced
    if json:
        output.emit(
            "announce",
            {
                "id": announcement.id,
                "port": announcement.port,
                "model": announcement.model,
                "version": announcement.version,
                "protocol": announcement.protocol,
                "capabilities": list(announcement.capabilities),
                "links": {name: list(of) for name, of in links.items()},
                "hint": hint,
                "problems": [
                    {"source": f"{protocol} {about}".strip(), "cause": cause}
                    for (protocol, about), cause in troubles.items()
                ],
            },
        )
    else:
        where = "; ".join(f"{name}: {', '.join(of) or 'nowhere'}" for name, of in links.items())
        output.say(f"announced as {announcement.id}, port {announcement.port} ({where})")
        if hint:
            output.say(f"Note: {hint}")
        output.say("Ctrl-C withdraws it.")
    sys.stdout.flush()
