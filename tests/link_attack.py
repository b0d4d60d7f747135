# SPDX-License-Identifier: Apache-2.0
"""What attacks on the secure link are made of: forged papers, raw frames, impostors.

Nothing here uses the project's own client: Python's ssl, cryptography's certificates, tokens put
together by hand, and frames written byte by byte.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import errno
import hashlib
import hmac
import json
import socket
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from hal.link.authority import Authority
from hal.link.identity import Identity, host_name
from hal.link.request import make_key, make_request

Address = tuple[str, int]
PATIENCE = 15.0
"""Seconds for what must come; only a failure waits so long."""

# ---- papers: keys, certificates, tokens ----------------------------------------------------------


@dataclass(frozen=True)
class Papers:
    """A folder as `hal.link.credentials` reads it, and what is in it."""

    folder: Path
    who: Identity
    certificate: x509.Certificate

    @classmethod
    def load(cls, folder: Path, who: Identity) -> Papers:
        """Papers that were made before."""
        pem = (folder / "cert.pem").read_bytes()
        return cls(folder, who, x509.load_pem_x509_certificate(pem))

    @property
    def thumbprint(self) -> str:
        """As tokens state it."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return _base64(hashlib.sha256(der).digest())


class Forge:
    """Makes papers, good ones and those that no authority would make.

    Args:
        folder: Where.
        authority: Whose keys it has.
    """

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        key = serialization.load_pem_private_key((authority.folder / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._ca_key = key

    def papers(
        self,
        name: str,
        who: Identity,
        days: tuple[float, float] = (-1, 1),
        *,
        self_signed: bool = False,
        rights: Sequence[Mapping[str, str]] = ({"device": "*", "access": "rw"},),
    ) -> Papers:
        """A key, a certificate that is good from and to so many days from now, and a good token."""
        key = ec.generate_private_key(ec.SECP256R1())
        common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(who))])
        signer = key if self_signed else self._ca_key
        moment = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
        begin, end = (moment + dt.timedelta(days=d) for d in days)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(common)
            .issuer_name(common if self_signed else self.authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([who.role.usage]), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host_name(who.id))]), critical=False
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._keep(name, who, private, certificate, rights)

    def issued(self, name: str, who: Identity) -> Papers:
        """Papers that the authority itself made, and knows to revoke."""
        key = make_key(self.folder / f"{name}.key")
        pem = self.authority.issue(make_request(key, who.id), who)
        certificate = x509.load_pem_x509_certificate(pem)
        return self._keep(name, who, key, certificate, ({"device": "*", "access": "rw"},))

    def _keep(
        self,
        name: str,
        who: Identity,
        key: bytes,
        certificate: x509.Certificate,
        rights: Sequence[Mapping[str, str]],
    ) -> Papers:
        folder = self.folder / name
        folder.mkdir()
        made = Papers(folder, who, certificate)
        secret(folder / "key.pem", key)
        (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        for shared in ("ca.pem", "crl.pem", "tokens.pub"):
            (folder / shared).write_bytes((self.authority.folder / shared).read_bytes())
        secret(folder / "token", self.token(made, rights=list(rights)).encode())
        return made

    def token(
        self,
        papers: Papers,
        header: Mapping[str, Any] | None = None,
        sign: Callable[[bytes], bytes] | None = None,
        **claims: Any,
    ) -> str:
        """A token that is good but for what is given.

        Args:
            papers: Whom it is for.
            header: Changes to its header.
            sign: What signs it; None: the authority.
            claims: Changes to its claims; None leaves one out.
        """
        now = int(time.time())
        ca = self.authority.certificate.public_bytes(serialization.Encoding.DER)
        good = {
            "iss": hashlib.sha256(ca).hexdigest(),
            "sub": str(papers.who.id),
            "aud": "*",
            "iat": now,
            "nbf": now - 60,
            "exp": now + 3600,
            "jti": str(uuid.uuid4()),
            "cnf": {"x5t#S256": papers.thumbprint},
            "rights": [{"device": "*", "access": "rw"}],
        }
        stated = {name: value for name, value in {**good, **claims}.items() if value is not None}
        head = {"alg": "EdDSA", "typ": "hal-device+jwt", **(header or {})}
        return jws(json.dumps(head), json.dumps(stated), sign or self.authority.token_key.sign)


def jws(header: str, claims: str, sign: Callable[[bytes], bytes]) -> str:
    """A signed text (RFC 7515, compact)."""
    text = ".".join((_base64(header.encode()), _base64(claims.encode())))
    return f"{text}.{_base64(sign(text.encode()))}"


def by_hmac(public: bytes) -> Callable[[bytes], bytes]:
    """Signs with a public key as if it were a shared secret."""
    return lambda text: hmac.digest(public, text, "sha256")


def by_another() -> Callable[[bytes], bytes]:
    """Signs with a key that is nobody's."""
    return ed25519.Ed25519PrivateKey.generate().sign


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def secret(path: Path, data: bytes) -> None:
    """A file that only its owner may read."""
    path.touch(0o600)
    path.write_bytes(data)


# ---- a controller that does what it is told ------------------------------------------------------

HELLO, LIST, OPEN, READ, WRITE, STORE, LOAD, READ_AT = 1, 2, 3, 4, 5, 11, 10, 12
SET, WRITE_AT, CREDIT, PING, NOTICE = 9, 13, 14, 17, 18
LANE = {READ: 0, READ_AT: 0, CREDIT: 0, WRITE: 1, WRITE_AT: 1, SET: 2, LOAD: 2, STORE: 2}
FOREVER = 0xFFFFFFFF
_HEADER = struct.Struct("<IBBBBII")


class Frame(NamedTuple):
    """A frame that came."""

    kind: int
    lane: int
    flags: int
    id: int
    body: bytes

    @property
    def errno(self) -> int:
        """Of an error; 0: it is none."""
        return int(struct.unpack_from("<i", self.body)[0]) if self.flags & 2 else 0

    @property
    def sentence(self) -> str:
        """Of an error."""
        return self.body[6:].decode()


def text(value: str) -> bytes:
    """A `str` of the protocol."""
    data = value.encode()
    return struct.pack("<H", len(data)) + data


def frame(kind: int, identifier: int = 0, body: bytes = b"", *, lane: int | None = None) -> bytes:
    """A request without deadline."""
    lane = LANE.get(kind, 3) if lane is None else lane
    return _HEADER.pack(len(body), kind, lane, 0, 0, identifier, FOREVER) + body


def header(length: int, kind: int, lane: int, flags: int = 0, zero: int = 0) -> bytes:
    """A header of any content."""
    return struct.pack("<IBBBBII", length, kind, lane, flags, zero, 1, 0)


def hello(token: str, lowest: int = 1, highest: int = 1) -> bytes:
    """The first frame."""
    return frame(HELLO, 1, struct.pack("<HH", lowest, highest) + text(token) + text("attack"))


def opening(
    device: str,
    *,
    exclusive: bool = False,
    take: bool = False,
    keep: int = 0,
    options: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The second frame."""
    how = struct.pack("<BBHH", 2 if exclusive else 1, take, keep, len(options))
    pairs = b"".join(text(part) for option in options.items() for part in option)
    return frame(OPEN, 2, text(device) + how + pairs)


def context(
    papers: Papers | None,
    protocols: Sequence[str] = ("hal/1",),
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """TLS of a client that believes everybody."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.maximum_version = newest
    if protocols:
        made.set_alpn_protocols(list(protocols))
    if papers:
        made.load_cert_chain(papers.folder / "cert.pem", papers.folder / "key.pem")
    return made


def connected(address: Address, source: str) -> socket.socket:
    """A TCP connection from an address of the loopback interface."""
    link = socket.create_connection(address, PATIENCE, source_address=(source, 0))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


class Link:
    """A TLS connection to an agent; whether it was accepted shows with the first answer."""

    def __init__(
        self,
        address: Address,
        source: str,
        how: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._tls = how.wrap_socket(connected(address, source), session=session)
        self._got = b""

    def __enter__(self) -> Link:
        """The link; it ends with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def session(self) -> ssl.SSLSession | None:
        """What could be resumed."""
        return self._tls.session

    def close(self) -> None:
        """End the connection as it is."""
        self._tls.close()

    def settimeout(self, seconds: float) -> None:
        """For how long each call may block, at most."""
        self._tls.settimeout(seconds)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._tls.sendall(data)

    def drip(self, data: bytes, pause: float) -> None:
        """Send them one by one."""
        for byte in data:
            self._tls.sendall(bytes([byte]))
            time.sleep(pause)

    def receive(self) -> Frame | None:
        """The next frame; None: the connection has ended, whichever way."""
        head = self._exactly(_HEADER.size)
        if head is None:
            return None
        length, kind, lane, flags, _, identifier, _ = _HEADER.unpack(head)
        body = self._exactly(length)
        return None if body is None else Frame(kind, lane, flags, identifier, body)

    def _exactly(self, length: int) -> bytes | None:
        while len(self._got) < length:
            try:
                piece = self._tls.recv(65536)
            except TimeoutError:
                raise AssertionError(
                    f"the agent neither answers nor ends it: {self._got!r}"
                ) from None
            except OSError:  # An alert, or a reset.
                return None
            if not piece:
                return None
            self._got += piece
        data, self._got = self._got[:length], self._got[length:]
        return data

    def ask(self, data: bytes) -> Frame:
        """Send a request; its answer."""
        self.send(data)
        answer = self.receive()
        assert answer is not None, "the agent ended the link"
        return answer

    def last(self) -> Frame | None:
        """The last frame before the agent ends the link."""
        kept = None
        with contextlib.suppress(OSError):
            while (got := self.receive()) is not None:
                kept = got
        return kept


# ---- an agent that is not what it says -----------------------------------------------------------


class Impostor:
    """Listens as an agent does, and answers HELLO of one controller with what it is told.

    Args:
        papers: Its certificate.
        answer: The bytes that answer the first frame; None: nothing is said.
        how: Changes to its side of TLS.
    """

    def __init__(
        self,
        papers: Papers,
        answer: bytes | None,
        how: Callable[[ssl.SSLContext], None] = lambda _: None,
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(papers.folder / "cert.pem", papers.folder / "key.pem")
        self._context.load_verify_locations(papers.folder / "ca.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.set_alpn_protocols(["hal/1"])
        how(self._context)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Impostor:
        """It listens until the end of the block."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # The controller goes; that is what is tested.
            while True:
                self._attend(self._listener.accept()[0])

    def _attend(self, link: socket.socket) -> None:
        link.settimeout(PATIENCE)
        with (
            link,
            contextlib.suppress(OSError),
            self._context.wrap_socket(link, server_side=True) as tls,
        ):
            self.heard += tls.recv(65536)
            if self._answer is not None:
                tls.sendall(self._answer)
            while piece := tls.recv(65536):  # Until the controller goes.
                self.heard += piece


def greeting(token: str, version: int = 1) -> bytes:
    """An agent's answer to HELLO."""
    now = int(time.time() * 1000)
    body = struct.pack("<HHQQ", version, 0, now, now + 3_600_000) + text(token) + text("impostor")
    return _HEADER.pack(len(body), HELLO, 3, 1, 0, 1, 0) + body


# ---- TLS bytes that can be heard and said again --------------------------------------------------


class Recorded:
    """A TLS client over a TCP connection that keeps every byte it sends."""

    def __init__(self, address: Address, source: str, how: ssl.SSLContext) -> None:
        self._link = connected(address, source)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = how.wrap_bio(self._in, self._out)
        self.sent = b""
        self._turn(self._tls.do_handshake)

    def _turn(self, step: Callable[[], Any]) -> Any:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                done = step()
                self._flush()
                return done
            self._flush()
            self._in.write(self._link.recv(65536))

    def _flush(self) -> None:
        data = self._out.read()
        self.sent += data
        self._link.sendall(data)

    def ask(self, data: bytes) -> bytes:
        """Send a request; the bytes of its answer."""
        self._turn(lambda: self._tls.write(data))
        return bytes(self._turn(lambda: self._tls.read(65536)))

    def close(self) -> None:
        """End the connection."""
        self._link.close()


# ---- sources -------------------------------------------------------------------------------------


def sources(case: int) -> Iterator[str]:
    """Addresses of the loopback interface that no other case uses."""
    return (f"127.{100 + case // 250}.{case % 250 + 1}.{host}" for host in range(1, 255))


def ended(link: socket.socket) -> bool:
    """Whether the other end closes a connection, saying nothing that is a frame's."""
    try:
        while link.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno in (errno.ECONNRESET, errno.EPIPE)
    return True
