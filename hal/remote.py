# SPDX-License-Identifier: Apache-2.0
"""Machines that serve devices (hal-agent): where one is, and what it exports (docs/remote.md).

Opening such a device needs nothing of this: that is the driver "hal", which is C.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

from . import _core
from .errors import Error, InvalidArgument, NotFound, PermissionDenied, ProtocolError, Timeout

if TYPE_CHECKING:
    from .link.credentials import Credentials
    from .link.frames import Frame

__all__ = ["Export", "exports"]

PORT: Final = 7362
SEARCH: Final = 3.0
"""Seconds for finding a machine on the network, unless the caller has fewer."""
_LEASES: Final = ("", "shared", "exclusive")
_PLACE: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[0-9.]+):\d+")


@dataclass(frozen=True)
class Export:
    """A device that a machine exports.

    Attributes:
        name: What it is called there.
        driver: The driver that serves it there.
        what: The URI by which it is opened there.
        lease: How it is held at present: "shared", "exclusive", or "" when nobody has it.
        holder: Who has it, since when.
        uri: What opens it from here.
    """

    name: str
    driver: str
    what: str
    lease: str
    holder: str
    uri: str


def exports(machine: str, *, timeout: float = 5.0) -> list[Export]:
    """What a machine exports, and who holds it. Nothing is opened.

    Args:
        machine: ``hal://UUID``, which is looked for on the network, or ``hal://HOST[:PORT]?id=UUID``;
            options ``at`` and ``credentials`` as for opening a device.
        timeout: Seconds for all of it.

    Returns:
        Those that this controller's token lets it read, by name.

    Raises:
        NotFound: It is not found on the network, or this machine is not enrolled.
        PermissionDenied: One end does not believe the other; the text says why.
        InvalidArgument, Timeout, ProtocolError, Error: As the text says.
    """
    until = time.monotonic() + timeout
    asked = Machine.parse(machine)
    places = asked.places or located(asked.id, timeout)
    asked = Machine(asked.id, places, asked.credentials)
    body = memoryview(_Link(asked, until).ask_list())
    return list(_listed(body, asked))


def substitute(uri: str, timeout: float | None = None) -> str | None:
    """A URI with the place of its machine, where only the machine's UUID was given.

    Args:
        uri: It.
        timeout: Seconds for the search; None, or more: `SEARCH`.

    Returns:
        None when the URI says where the machine is, or is none of ours.

    Raises:
        NotFound: It is not on the network.
    """
    host, _, rest = uri.removeprefix("hal://").partition("/")
    options = rest.partition("?")[2].split("&")
    identifier = _uuid(host)
    if not uri.startswith("hal://") or not identifier or any(o.startswith("at=") for o in options):
        return None
    at = ",".join(located(identifier, timeout))
    return f"{uri}{'&' if '?' in uri else '?'}at={_core.quote(at)}"


def located(identifier: uuid.UUID, timeout: float | None = None) -> tuple[str, ...]:
    """Where a machine says it is, ``host:port`` each. It has proved nothing by that.

    Raises:
        NotFound: Nobody on the network says so.
    """
    from .discovery import devices

    patience = SEARCH if timeout is None else min(timeout, SEARCH)
    for record in devices(f"id={identifier}", timeout=patience):
        places = tuple(place for place in record.addresses if _PLACE.fullmatch(place))
        if places:
            return places
    text = f"nobody on the network says it is {identifier}: add ?at=HOST[:PORT] (hal-probe find)"
    raise NotFound(errno.ENOENT, text)


@dataclass(frozen=True)
class Machine:
    """Which machine is asked.

    Attributes:
        id: The UUID that it has to prove.
        places: Where it may be, ``host:port`` each; empty: not known.
        credentials: Folder of this machine's own; "": where it is by default.
    """

    id: uuid.UUID
    places: tuple[str, ...]
    credentials: str

    @classmethod
    def parse(cls, text: str) -> Machine:
        """From ``hal://UUID``, ``hal://HOST[:PORT]?id=UUID``.

        Raises:
            InvalidArgument: It is neither.
        """
        bare, _, query = text.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        host = unquote(bare.removeprefix("hal://").rstrip("/"))
        if not bare.startswith("hal://") or not host or "/" in host:
            raise InvalidArgument(
                errno.EINVAL, f'exports of "{text}": a machine is hal://UUID or hal://HOST?id=UUID'
            )
        known = _uuid(host)
        identifier = known or _uuid(options.get("id", ""))
        if identifier is None:
            raise InvalidArgument(
                errno.EINVAL,
                f'exports of "{text}": an address proves nothing: add ?id=UUID (hal-probe find)',
            )
        at = options.get("at", "") if known else host
        places = tuple(filter(None, at.split(",")))
        return cls(identifier, places, options.get("credentials", ""))

    def uri(self, device: str) -> str:
        """What opens one of its devices."""
        options = f"at={_core.quote(','.join(self.places))}"
        if self.credentials:
            options += f"&credentials={_core.quote(self.credentials)}"
        return f"hal://{self.id}/{device}?{options}"


class _Link:
    """A link that only asks."""

    def __init__(self, machine: Machine, until: float) -> None:
        self._machine = machine
        self._until = until

    def ask_list(self) -> bytes:
        """LIST's answer."""
        from .link.credentials import Credentials, own_folder
        from .link.frames import Lane, Type
        from .link.tls import dialler_context, server_name

        own = Credentials(Path(self._machine.credentials or own_folder()))
        with self._dialled() as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = server_name(self._machine.id)
            try:
                with dialler_context(own).wrap_socket(plain, server_hostname=name) as link:
                    self._greet(link, own)
                    return bytes(self._asked(link, Type.LIST, Lane.NONE, 2, b"").body)
            except ssl.SSLError as error:
                raise PermissionDenied(errno.EACCES, self._disbelief(error)) from error
            except TimeoutError as error:
                raise Timeout(errno.ETIMEDOUT, f"{self._machine.id} does not answer") from error

    def _dialled(self) -> socket.socket:
        """A connection to the first place that takes one."""
        failures: list[OSError] = []
        for place in self._machine.places:
            link = self._connected(place)
            if isinstance(link, socket.socket):
                return link
            failures.append(link)
        where = ", ".join(self._machine.places)
        text = f"connect to {where}: {failures[-1]}: does hal-agent run there?"
        raise Error(failures[-1].errno or errno.EIO, text)

    def _connected(self, place: str) -> socket.socket | OSError:
        try:
            return socket.create_connection(_split(place), timeout=self._left())
        except OSError as error:
            return error

    def _disbelief(self, error: ssl.SSLError) -> str:
        reason = error.reason or str(error)
        if "ALERT" in reason:
            return f"{self._machine.id} does not believe this machine: {reason}: hal-ca status"
        cause = getattr(error, "verify_message", "") or reason
        return f"the other end has not proved to be {self._machine.id}: {cause}"

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Timeout(errno.ETIMEDOUT, f"{self._machine.id} does not answer")
        return left

    def _greet(self, link: ssl.SSLSocket, own: Credentials) -> None:
        from .link import frames
        from .link.token import Judge

        version = struct.pack("<HH", 1, 1)
        program = frames.text(f"hal {_core.version()}")
        answer = self._asked(
            link, frames.Type.HELLO, frames.Lane.NONE, 1, version + frames.text(own.token) + program
        )
        body = frames.Reader(answer.body)
        body.take(_HELLO)
        theirs = body.text()
        certificate = link.getpeercert(binary_form=True)
        Judge(own.token_key, own.ca, own.identity.id).judge(theirs, certificate or b"")

    def _asked(self, link: ssl.SSLSocket, kind: int, lane: int, number: int, body: bytes) -> Frame:
        from .link.frames import BODY_MAX, ERROR, HEADER, Frame, Reader, pack

        link.settimeout(self._left())
        link.sendall(pack(kind, lane, 0, number, body))
        header: tuple[int, int, int, int, int, int] = HEADER.unpack(
            self._exactly(link, HEADER.size)
        )
        if header[0] > BODY_MAX:
            raise ProtocolError(errno.EPROTO, f"an answer of {header[0]} bytes came")
        answer = Frame(*header[1:], memoryview(self._exactly(link, header[0])))
        if answer.flags & ERROR:
            reader = Reader(answer.body)
            (cause,) = reader.take(_I32)
            kinds = {errno.EACCES: PermissionDenied, errno.ENOENT: NotFound}
            raise kinds.get(cause, Error)(cause, f"remote {self._machine.id}: {reader.text()}")
        if (answer.type, answer.id) != (kind, number):
            raise ProtocolError(errno.EPROTO, "an answer came to no question")
        return answer

    def _exactly(self, link: ssl.SSLSocket, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            link.settimeout(self._left())
            piece = link.recv(length - len(data))
            if not piece:
                raise ProtocolError(errno.EPROTO, "the other end has closed the link")
            data += piece
        return bytes(data)


def _listed(data: memoryview, machine: Machine) -> Iterator[Export]:
    from .link.frames import Reader

    body = Reader(data)
    (count,) = body.take(_U16)
    for _ in range(count):
        name, driver, what = body.text(), body.text(), body.text()
        (lease,) = body.take(_U8)
        if lease >= len(_LEASES):
            raise ProtocolError(errno.EPROTO, f"a lease of kind {lease} came")
        yield Export(name, driver, what, _LEASES[lease], body.text(), machine.uri(name))
    body.end()


_U8, _U16, _I32 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<i")
_HELLO = struct.Struct("<HHQQ")


def _split(place: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = place.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidArgument(errno.EINVAL, f'"{place}": the port is a number from 1 to 65535')
    return host, int(port or PORT)


def _uuid(text: str) -> uuid.UUID | None:
    """A UUID as it is written in URIs."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None
