# SPDX-License-Identifier: Apache-2.0
"""An agent: who comes in, one thread a link, and what has to be done meanwhile."""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from hal._link import Context, Link
from hal.errors import Error, InvalidArgument
from hal.link import frames
from hal.link.credentials import Credentials
from hal.link.identity import Role
from hal.link.listener import LOOPBACK, Bounds, Listener
from hal.link.token import Judge

from .audit import Audit, reason_of
from .config import PORT, Limits
from .gate import Gate
from .leases import Lease, Leases
from .peer import Peer
from .session import NOTICE_GONE, NOTICE_REVOKED, NOTICE_STOPS, Session

if TYPE_CHECKING:
    from .metrics import Metrics

PATIENCE: Final = 2.0
"""Seconds from the connection to the end of HELLO."""
AHEAD: Final = 60.0
"""Seconds before its token's end from which a controller is told."""
STOPPING: Final = 5.0
"""Seconds after which links that do not end are left behind when the agent stops."""
FILES: Final = ("key.pem", "cert.pem", "ca.pem", "crl.pem", "tokens.pub", "token")
_PUSHED_OUT: Final = "many connections that prove nothing: the oldest has to go"
_STOPPED_READING: Final = "the controller took in nothing for 10 s"

log = logging.getLogger("hal.agent")


@dataclass(frozen=True)
class _Own:
    """What the agent proves itself by, and what it judges others by."""

    credentials: Credentials
    context: Context
    judge: Judge

    @classmethod
    def of(cls, credentials: Credentials) -> _Own:
        if credentials.identity.role is not Role.DEVICE:
            text = f"serve: the certificate is for a {credentials.identity}, a device's is needed"
            raise InvalidArgument(errno.EINVAL, text)
        judge = Judge(credentials.token_key, credentials.ca, credentials.identity.id)
        return cls(credentials, Context(str(credentials.folder)), judge)


class Agent:
    """Serves exported devices.

    Args:
        credentials: This device's.
        leases: What is served.
        address: Host and port to listen on; port 0 takes any.
        sockets: Listening ones, used instead of `address`.
        limits: How many may come in.
        audit: Where accepts and refusals are written; None: to standard error.
        metrics: What counts them; None: nothing.
    """

    def __init__(
        self,
        credentials: Credentials,
        leases: Leases,
        address: tuple[str, int] = (LOOPBACK, PORT),
        *,
        sockets: Sequence[socket.socket] = (),
        limits: Limits | None = None,
        audit: Audit | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        limits = limits or Limits()
        self.leases = leases
        leases.taken = lambda lease: self._note_lease("taken", lease)
        self.gate = Gate(limits)
        self.sessions: set[Session] = set()
        self.bytes = [0, 0]
        """Received and sent by the links that have ended."""
        self.requests = 0
        """Of the links that have ended."""
        self._own_audit = None if audit else Audit(None)
        self._audit = audit or self._own_audit or Audit(None)
        self._metrics = metrics
        self._lock = threading.Lock()
        self._own = _Own.of(credentials)
        self._stamp = _stamp(credentials.folder)
        self._complaint = ""
        self._revoked: frozenset[str] = frozenset()
        self._listener = Listener(
            address, _bounds(limits), self._attend, sockets=sockets, turned_away=self._turned_away
        )

    # ---- what it is ---------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every host and port where it listens."""
        return self._listener.addresses

    @property
    def credentials(self) -> Credentials:
        """What it proves itself by at present."""
        return self._own.credentials

    def responsive(self, within: float) -> bool:
        """Whether the thread that accepts has shown a sign of life within so many seconds."""
        self._listener.poke()
        return time.monotonic() - self._listener.turned < within

    # ---- serving ------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve until `stop`."""
        try:
            self._listener.serve(cut=True, patience=STOPPING)
        finally:
            self.leases.close()
            if self._own_audit is not None:
                self._own_audit.close()

    def stop(self) -> None:
        """End `serve` and every link, after telling them; from any thread or signal handler."""
        for session in list(self.sessions):
            session.dismiss(NOTICE_STOPS, "the agent stops")
        self._listener.stop()

    def limit(self, limits: Limits) -> None:
        """Let other numbers in from now on; those who are in stay."""
        self.gate.limits = limits
        self._listener.bounds = _bounds(limits)

    # ---- meanwhile ----------------------------------------------------------------------------

    def tend(self) -> None:
        """Do what is due: tokens, certificates and leases that end, devices that are gone.

        Call it once a second or so, from one thread.
        """
        self._take_new_files()
        now = time.time()
        for session in list(self.sessions):
            if session.link.why:
                continue
            if session.peer.serial in self._revoked:
                self._note("revoked", session.peer, detail="its certificate was revoked")
                session.dismiss(NOTICE_REVOKED, "your certificate was revoked")
            elif now > session.peer.until:
                session.link.end("its certificate has ended")
            else:
                session.remind(now, AHEAD)
        for lease in self.leases.held():
            if lease.holder.serial in self._revoked:
                self._end(lease, NOTICE_REVOKED, "its holder's certificate was revoked")
        for lease in self.leases.sweep(time.monotonic()):
            if lease.link is None:  # The end of one that has a link is noted with the link's.
                self._note_lease("released", lease)
        for lease in _gone(self.leases.held()):
            self._end(lease, NOTICE_GONE, "the device is gone")

    def _end(self, lease: Lease, kind: int, why: str) -> None:
        if self.leases.end(lease, kind, why) and lease.link is None:
            self._note_lease("released", lease)

    def _note_lease(self, event: str, lease: Lease) -> None:
        self._audit.note(
            event,
            detail=lease.why,
            address=lease.holder.address,
            uuid=str(lease.holder.identity.id),
            serial=lease.holder.serial,
            device=lease.name,
            lease=f"{lease.number:x}",
        )

    # ---- credentials --------------------------------------------------------------------------

    def _take_new_files(self) -> None:
        """Use a certificate, list of revocations or token that was put in place meanwhile."""
        folder = self._own.credentials.folder
        stamp = _stamp(folder)
        if stamp == self._stamp:
            return
        try:
            credentials = Credentials(folder)
            credentials.own_token()  # It is this certificate's, not that of the one before.
            revoked = _revocations(credentials)
            own = _Own.of(credentials)
        except (Error, ValueError) as error:  # Half of it may be there; the next look is soon.
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("the new files in %s are not used: %s", folder, error)
                self._audit.note("reload", "failed", detail=str(error))
            return
        self._own, self._stamp, self._complaint = own, stamp, ""
        self._revoked = revoked
        self._audit.note("reload", detail=f"certificate, revocations and token in {folder}")

    # ---- one link -----------------------------------------------------------------------------

    def _turned_away(self, host: str) -> None:
        self._audit.note("refused", "too-many", detail="too many connections", address=host)

    def _attend(self, connection: socket.socket, host: str) -> None:
        begun = time.monotonic()
        self.gate.enter(connection, host)
        detail = ""
        peer = None
        own = self._own  # One for all of the link's beginning: they belong together.
        try:
            link = Link(own.context, connection.fileno())
            certificate = link.handshake(begun + PATIENCE)
            if certificate:
                peer = Peer.of(certificate, host)
                if self._metrics is not None:
                    self._metrics.handshake.observe(time.monotonic() - begun)
                detail = self._admit(connection, link, peer, own, begun)
            elif self.gate.leave(connection):
                detail = _PUSHED_OUT
            else:
                self._note("looked", host)
        except (Error, ValueError) as refusal:
            if self.gate.leave(connection):
                detail = _PUSHED_OUT
            else:
                self._note("refused", peer or host, reason_of(refusal), str(refusal))
        finally:
            self.gate.leave(connection)
        if detail:
            self._note("refused", peer or host, "too-many", detail)

    def _admit(
        self, connection: socket.socket, link: Link, peer: Peer, own: _Own, begun: float
    ) -> str:
        """Serve a link, if there is room for it. Why not; "": it was served."""
        full = self.gate.admit(connection, peer.identity.id)
        if full:
            _decline(link, full)
        else:
            self._note("link", peer)
            self._run(link, peer, own, begun)
        return full

    def _run(self, link: Link, peer: Peer, own: _Own, begun: float) -> None:
        session = Session(link, peer, self.leases, own.judge, own.credentials.token, self._audit)
        with self._lock:
            self.sessions.add(session)
        try:
            session.run(begun + PATIENCE)
        finally:
            with self._lock:
                self.sessions.discard(session)
                self.bytes[0] += link.received
                self.bytes[1] += link.sent
                self.requests += link.requests
            if link.why == _STOPPED_READING:
                self._note("refused", peer, "too-slow", link.why)
            self._note(
                "ended", peer, "", link.why, bytes=link.received + link.sent,
                requests=link.requests, seconds=round(time.monotonic() - begun, 3),
            )  # fmt: skip

    def _note(
        self, event: str, who: Peer | str, reason: str = "", detail: str = "", **more: float
    ) -> None:
        self._audit.note(
            event,
            reason,
            detail=detail,
            address=who.address if isinstance(who, Peer) else who,
            uuid=str(who.identity.id) if isinstance(who, Peer) else "",
            serial=who.serial if isinstance(who, Peer) else "",
            token="",
            device="",
            lease="",
            **more,
        )


def _bounds(limits: Limits) -> Bounds:
    """What the listener lets in; the gate has the finer say, in the thread of the connection."""
    most = limits.links + 2 * limits.half_open
    return Bounds(most, most)


def _decline(link: Link, why: str) -> None:
    """Tell a controller that has proved itself that there is no room for it."""
    body = struct.pack("<i", errno.EUSERS) + frames.text(why)
    link.write(frames.Type.HELLO, frames.Lane.NONE, frames.ANSWER | frames.ERROR, 0, body)
    link.end(why)
    link.serve(False, False, 0)  # What it is told goes out.


def _gone(leases: list[Lease]) -> list[Lease]:
    """Those whose device the kernel says is gone (poll(2): POLLHUP)."""
    poll = select.poll()
    watched: dict[int, list[Lease]] = {}
    for lease in leases:
        with contextlib.suppress(OSError):  # It has no descriptor: its next use tells.
            number = lease.device.fileno()
            poll.register(number, 0)
            watched.setdefault(number, []).append(lease)
    hung_up = [number for number, events in poll.poll(0) if events & select.POLLHUP]
    return [lease for number in hung_up for lease in watched[number]]


def _stamp(folder: Path) -> list[tuple[int, int, int]]:
    """What changes when a file is replaced or written."""
    return [_stamp_of(folder / name) for name in FILES]


def _stamp_of(path: Path) -> tuple[int, int, int]:
    try:
        about = path.stat()
    except OSError:
        return (0, 0, 0)
    return (about.st_ino, about.st_mtime_ns, about.st_size)


def _revocations(credentials: Credentials) -> frozenset[str]:
    """The serial numbers that the authority has revoked."""
    try:
        crl = x509.load_pem_x509_crl(credentials.crl.read_bytes())
        genuine = crl.is_signature_valid(credentials.ca.public_key())  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError) as error:
        text = f'read the revocations "{credentials.crl}": {error}'
        raise InvalidArgument(errno.EINVAL, text) from error
    if not genuine:
        text = f'read the revocations "{credentials.crl}": they are not of this authority'
        raise InvalidArgument(errno.EINVAL, text)
    return frozenset(f"{revoked.serial_number:x}" for revoked in crl)
