# SPDX-License-Identifier: Apache-2.0
"""How a machine comes to its certificate and token, and keeps them fresh, over the network.

The authority runs `Registrar`; a machine calls `enrol` once with a pairing code, and `renew` from
then on. One TLS 1.3 connection carries one request and one answer, each one line of JSON of at most
`LINE_MAX` bytes::

    {"want": "ca"}                                      -> {"ca": PEM}
    {"want": "certificate", "id", "secret", "request"}  -> {"certificate", "crl", "tokens", "token"}
    {"want": "renewal", "request"}                      -> the same
    {"want": "refresh"}                                 -> {"crl", "tokens", "token"}

The last two are for members: the connection must carry their certificate. A device's is good for
the end of TLS alone that is dialled (RFC 5280, 4.2.1.12: server), so a device that dials sends the
one byte `TURNED` first, and then the two change places in TLS: the service is its client, with a
certificate of the service's that is a client's.

A newcomer knows only the hash of the CA certificate, from its code: it fetches the certificate over
a connection that proves nothing, compares the hash, and makes a second connection that trusts that
CA alone. Errors come as ``{"error": text}``.
"""

from __future__ import annotations

import base64
import datetime as dt
import errno
import hmac
import json
import logging
import socket
import ssl
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hal.errors import Error, InvalidArgument, PermissionDenied, ProtocolError, Timeout

from . import files, token
from .authority import DAYS, Authority
from .credentials import Credentials
from .identity import SERVICE, Identity, Role, host_name, identity_of
from .listener import LOOPBACK, Bounds, Listener
from .members import Members
from .pairing import Code, Pairings, hash_of
from .request import make_key, make_request, request_of

LINE_MAX: Final = 32 << 10
PATIENCE: Final = 5.0
"""Seconds from accepting a connection to its end."""
CONNECTIONS: Final = 64
PER_ADDRESS: Final = 8
"""Connections at one time, in all and of one address; the next ones are closed at once."""
PORT: Final = 7363
PROTOCOL: Final = "hal-enrol/1"
TURNED: Final = b"D"
"""Nothing that TLS begins with."""

log = logging.getLogger("hal.link.enrol")


# ---- the authority's side ------------------------------------------------------------------------


class Registrar:
    """The service of an authority.

    Args:
        authority: Whose.
        address: Host and port to listen on; port 0 takes any.
        days: How long certificates are good for.
    """

    def __init__(
        self, authority: Authority, address: tuple[str, int] = (LOOPBACK, PORT), days: int = DAYS
    ) -> None:
        self._authority = authority
        self._days = days
        self._pairings, self._members = Pairings(authority.folder), Members(authority.folder)
        self._lock = threading.Lock()
        self._listener = Listener(address, Bounds(CONNECTIONS, PER_ADDRESS), self._attend)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    def serve(self) -> None:
        """Answer until `stop`; those being served then are answered."""
        self._listener.serve(cut=False)

    def stop(self) -> None:
        """End `serve`; from any thread or signal handler."""
        self._listener.stop()

    def _attend(self, link: socket.socket, host: str) -> None:
        until = time.monotonic() + PATIENCE
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(_left(until))  # For the handshake as a whole, however it drips in.
        turned = link.recv(1, socket.MSG_PEEK) == TURNED
        if turned:
            link.recv(1)
        with self._context(turned).wrap_socket(link, server_side=not turned) as secure:
            question = _receive(secure, until)
            peer = secure.getpeercert(binary_form=True)
            _send(secure, self._judged(question, peer, host), until)

    def _judged(self, question: dict[str, Any], peer: bytes | None, host: str) -> dict[str, str]:
        try:
            return self._answer(question, peer, host)
        except Error as refusal:
            log.warning("%s: refused: %s", host, refusal)
            return {"error": str(refusal)}

    def _answer(self, question: dict[str, Any], peer: bytes | None, host: str) -> dict[str, str]:
        want = question.get("want")
        if want == "ca":
            return {"ca": _pem(self._authority.certificate)}
        if want == "certificate":
            return self._first(question, host)
        if want not in ("renewal", "refresh"):
            raise InvalidArgument(errno.EINVAL, f"enrolment: {want!r} cannot be wanted")
        if peer is None:
            text = f"{want}: the connection carries no certificate: enrol with a pairing code"
            raise PermissionDenied(errno.EACCES, text)
        certificate = x509.load_der_x509_certificate(peer)
        who = identity_of(certificate)
        if want == "refresh":
            return self._grant(who, certificate)
        log.info("%s: renewal for %s", host, who)
        return self._certify(_text(question, "request"), who)

    def _first(self, question: dict[str, Any], host: str) -> dict[str, str]:
        try:
            identifier = uuid.UUID(_text(question, "id"))
            secret = base64.b64decode(_text(question, "secret"), validate=True)
        except ValueError as error:
            raise InvalidArgument(errno.EINVAL, f"enrolment: {error}") from error
        who = self._pairings.redeem(identifier, secret)
        log.info("%s: certificate for %s", host, who)
        return self._certify(_text(question, "request"), who)

    def _certify(self, request: str, who: Identity) -> dict[str, str]:
        self._members.get(who.id)
        pem = self._authority.issue(request.encode(), who, self._days)
        granted = self._grant(who, x509.load_pem_x509_certificate(pem))
        return {"certificate": pem.decode(), **granted}

    def _grant(self, who: Identity, certificate: x509.Certificate) -> dict[str, str]:
        member = self._members.get(who.id)
        authority = self._authority
        authority.keep_crl_fresh()
        return {
            "crl": (authority.folder / "crl.pem").read_text(),
            "tokens": (authority.folder / "tokens.pub").read_text(),
            "token": token.issue(
                authority.token_key, authority.certificate, certificate, member.rights
            ),
        }

    def _context(self, turned: bool) -> ssl.SSLContext:
        """Made anew each time, so that a revocation counts at once."""
        folder = self._authority.folder
        with self._lock:
            own = _own_certificate(self._authority, Role.CONTROLLER if turned else Role.DEVICE)
        if turned:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False  # Whoever it is, as long as it is a device of ours.
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.verify_mode = ssl.CERT_OPTIONAL  # A newcomer has none.
            context.num_tickets = 0
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        context.set_alpn_protocols([PROTOCOL])
        context.load_cert_chain(own, folder / "service" / "key.pem")
        context.load_verify_locations(cafile=str(folder / "ca.pem"))
        context.load_verify_locations(cafile=str(folder / "crl.pem"))
        return context


_CERTIFICATES: Final = {Role.DEVICE: "cert.pem", Role.CONTROLLER: "client.pem"}
"""The service's own: for the end of TLS that is dialled, and for the other."""


def _own_certificate(authority: Authority, role: Role) -> Path:
    """The service's own certificate, made when it lacks or will soon end; the key is beside it."""
    folder = authority.folder / "service"
    path = folder / _CERTIFICATES[role]
    if path.exists():
        left = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        if left.timestamp() - time.time() > DAYS * 86400 / 3:
            return path
    request = make_request(make_key(folder / "key.pem"), SERVICE)
    files.write(path, authority.issue(request, Identity(SERVICE, role)), files.PUBLIC)
    return path


# ---- the machine's side --------------------------------------------------------------------------


def enrol(
    code: Code, address: tuple[str, int], folder: Path, *, timeout: float = PATIENCE
) -> Credentials:
    """Become a member: make a key, and get a certificate and token for it.

    Args:
        code: The pairing code.
        address: Host and port of the authority's service.
        folder: Where key and certificates are put; a key, and a request, that are there are used.
        timeout: Seconds for all of it.

    Raises:
        PermissionDenied: The code is not good (any more), or the service is not its authority's.
        InvalidArgument, Timeout, ProtocolError, OSError: As the message says. Nothing is written
            but the key.
    """
    until = time.monotonic() + timeout
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    ca = _ask(address, stranger, {"want": "ca"}, until).get("ca", "")
    try:
        certificate = x509.load_pem_x509_certificate(ca.encode())
    except (ValueError, x509.InvalidVersion) as error:
        raise ProtocolError(errno.EPROTO, f"enrol: {address[0]} gave no CA certificate") from error
    if not hmac.compare_digest(hash_of(certificate), code.ca):
        text = f"enrol: the service at {address[0]} is not of the authority that made the code"
        raise PermissionDenied(errno.EACCES, text)
    make_key(folder / "key.pem")
    answer = _ask(
        address,
        _trusting(certificate),
        {
            "want": "certificate",
            "id": str(code.id),
            "secret": base64.b64encode(code.secret).decode(),
            "request": request_of(folder, code.id).decode(),
        },
        until,
    )
    files.write(folder / "ca.pem", ca.encode(), files.PUBLIC)
    return _keep(folder, answer)


def renew(
    credentials: Credentials, address: tuple[str, int], *, timeout: float = PATIENCE
) -> Credentials:
    """Get the next certificate when it is time, and in any case a new token and revocations.

    Raises:
        As `enrol`; also PermissionDenied when the certificate was revoked or has ended: then a new
        pairing code is needed.
    """
    until = time.monotonic() + timeout
    turned = credentials.identity.role is Role.DEVICE
    context = _trusting(credentials.ca, turned)
    context.load_cert_chain(credentials.folder / "cert.pem", credentials.key)
    question = {"want": "refresh"}
    if credentials.renewal_due(dt.datetime.now(dt.timezone.utc)):
        request = request_of(credentials.folder, credentials.identity.id)
        question = {"want": "renewal", "request": request.decode()}
    return _keep(credentials.folder, _ask(address, context, question, until))


def _keep(folder: Path, answer: dict[str, str]) -> Credentials:
    """Write what the authority gave, the certificate last: a stop between leaves the old one."""
    names = {"crl": "crl.pem", "tokens": "tokens.pub", "token": "token", "certificate": "cert.pem"}
    for key, name in names.items():
        if key in answer:
            mode = files.SECRET if name == "token" else files.PUBLIC
            files.write(folder / name, answer[key].encode(), mode)
    return Credentials(folder)


def _trusting(ca: x509.Certificate, turned: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if turned else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=_pem(ca))
    context.set_alpn_protocols([PROTOCOL])
    if turned:
        context.num_tickets = 0
    return context


def _secured(link: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """TLS with the service, which has proved to be it."""
    if context.protocol is ssl.PROTOCOL_TLS_CLIENT:
        return context.wrap_socket(link, server_hostname=host_name(SERVICE))
    link.sendall(TURNED)
    secure = context.wrap_socket(link, server_side=True)
    who = identity_of(x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b""))
    if who.id != SERVICE:
        secure.close()
        raise PermissionDenied(errno.EACCES, f"enrol: what answers is {who}, not the authority")
    return secure


def _ask(
    address: tuple[str, int], context: ssl.SSLContext, question: dict[str, str], until: float
) -> dict[str, str]:
    where = f"{address[0]} port {address[1]}"
    try:
        with socket.create_connection(address, timeout=_left(until)) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.settimeout(_left(until))
            with _secured(link, context) as secure:
                _send(secure, question, until)
                answer = _receive(secure, until)
    except Error:
        raise
    except ssl.SSLError as error:
        closed = isinstance(error, ssl.SSLEOFError)
        cause = "it closed the connection: hal-ca status" if closed else error.reason or error
        raise PermissionDenied(errno.EACCES, f"enrol at {where}: {cause}") from error
    except TimeoutError as error:
        raise Timeout(errno.ETIMEDOUT, f"enrol at {where}: no answer") from error
    except ValueError as error:
        raise ProtocolError(errno.EPROTO, f"enrol at {where}: {error}") from error
    except OSError as error:
        cause = error.strerror or str(error)
        raise Error(error.errno or errno.EIO, f"enrol at {where}: {cause}") from error
    if error_text := answer.get("error"):
        raise PermissionDenied(errno.EACCES, f"enrol at {where}: refused: {error_text}")
    if not all(isinstance(value, str) for value in answer.values()):
        raise ProtocolError(errno.EPROTO, f"enrol at {where}: the answer is none")
    return answer


# ---- lines ---------------------------------------------------------------------------------------


def _send(link: ssl.SSLSocket, message: dict[str, str], until: float) -> None:
    link.settimeout(_left(until))
    link.sendall(json.dumps(message).encode() + b"\n")


def _receive(link: ssl.SSLSocket, until: float) -> dict[str, Any]:
    """One line, whole by the time given.

    Raises:
        ValueError: It is too long, no JSON, or no object.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        link.settimeout(_left(until))
        piece = link.recv(LINE_MAX + 1 - len(line))
        line += piece
        if not piece or len(line) > LINE_MAX:
            raise ValueError("too long" if piece else "it ended before the line did")
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - bad content, not a bad call
    return message


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise Timeout(errno.ETIMEDOUT, "too slow")
    return left


def _text(question: dict[str, Any], name: str) -> str:
    value = question.get(name)
    if not isinstance(value, str):
        raise InvalidArgument(errno.EINVAL, f"enrolment: {name!r} is missing or no text")
    return value


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
