# SPDX-License-Identifier: Apache-2.0
"""The private certificate authority: one folder, which one person keeps.

    ca.pem, ca.key            the CA certificate, and its key (ECDSA P-256)
    tokens.pub, tokens.key    what signs device tokens (Ed25519); never the CA's key
    crl.pem                   the list of revoked certificates (RFC 5280, section 5)
    issued.jsonl              every certificate made, one a line: serial, who, until, revoked

Certificates are short lived (30 days unless told) and have one name and one role; see
`hal.link.identity`. What a request asks for beyond its key and its UUID is never taken over.
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from hal.errors import InvalidArgument, NotFound

from . import files
from .identity import Identity, host_name, id_of

DAYS_CA: Final = 3650
DAYS: Final = 30
"""Days a certificate is good for, unless told otherwise."""
DAYS_MAX: Final = 398
DAYS_CRL: Final = 7
"""Days after which a list of revocations is too old, and everything is refused (RFC 5280: next
update)."""
SKEW: Final = dt.timedelta(minutes=5)
"""How far before now a certificate begins, for machines whose clock is a little behind."""
LARGEST_REQUEST: Final = 16 << 10

REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "retired": x509.ReasonFlags.cessation_of_operation,
}
"""Why a certificate is revoked (RFC 5280, 5.3.1)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One line of the book of certificates.

    Attributes:
        serial: Its serial number, hexadecimal.
        id: UUID of its owner.
        role: "device" or "controller".
        until: When it ends, seconds since 1970.
        revoked: When it was revoked, seconds since 1970; 0 when it was not.
        reason: One of `REASONS`; "" when it was not revoked.
    """

    serial: str
    id: str
    role: str
    until: int
    revoked: int = 0
    reason: str = ""


def now() -> dt.datetime:
    """The time, to whole seconds, as certificates have it."""
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


class Authority:
    """A private CA. Processes may use one folder at the same time; a lock keeps its book whole."""

    def __init__(
        self,
        folder: Path,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        token_key: ed25519.Ed25519PrivateKey,
    ) -> None:
        """Take the parts; use `create` or `load`."""
        self.folder = folder
        self.certificate = certificate
        self._key = key
        self.token_key = token_key

    # ---- making and loading -------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, name: str = "HAL private CA", days: int = DAYS_CA) -> Authority:
        """Make a CA in a folder.

        Args:
            folder: Where; made if need be. It must hold no CA yet.
            name: Common name of the CA certificate, 1 to 64 characters.
            days: How long that certificate is good for.

        Raises:
            InvalidArgument: The folder holds a CA, or the name is too long or empty.
        """
        if (folder / "ca.key").exists():
            text = f'create CA "{folder}": there is one already: use it, or name another folder'
            raise InvalidArgument(errno.EEXIST, text)
        if not 1 <= len(name) <= 64:
            text = f"create CA: the name has {len(name)} characters, 1 to 64 are allowed (RFC 5280)"
            raise InvalidArgument(errno.EINVAL, text)
        files.folder(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        token_key = ed25519.Ed25519PrivateKey.generate()
        certificate = _root(name, key, days)
        authority = cls(folder, certificate, key, token_key)
        files.write(folder / "tokens.key", _private(token_key), files.SECRET)
        files.write(folder / "tokens.pub", _public(token_key.public_key()), files.PUBLIC)
        files.write(folder / "ca.pem", _pem(certificate), files.PUBLIC)
        files.write(folder / "ca.key", _private(key), files.SECRET)
        authority.renew_crl()
        return authority

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """Take up the CA of a folder.

        Raises:
            NotFound, PermissionDenied, InvalidArgument: The message names the file and says why.
        """
        hint = f"make a CA with: hal-ca init --folder {folder}"
        ca = files.read(folder / "ca.pem", "the CA certificate", hint)
        key = files.read_secret(folder / "ca.key", "the CA key", hint)
        tokens = files.read_secret(folder / "tokens.key", "the token key", hint)
        try:
            certificate = x509.load_pem_x509_certificate(ca)
            ca_key = serialization.load_pem_private_key(key, None)
            token_key = serialization.load_pem_private_key(tokens, None)
        except (ValueError, TypeError) as error:
            text = f'load CA "{folder}": a key or certificate is damaged ({error}): restore a copy'
            raise InvalidArgument(errno.EINVAL, text) from error
        if (
            not isinstance(ca_key, ec.EllipticCurvePrivateKey)
            or not isinstance(token_key, ed25519.Ed25519PrivateKey)
            or ca_key.public_key() != certificate.public_key()
        ):
            text = f'load CA "{folder}": ca.key is not the key of ca.pem, or of the wrong kind'
            raise InvalidArgument(errno.EINVAL, text)
        return cls(folder, certificate, ca_key, token_key)

    # ---- certificates -------------------------------------------------------------------------

    def issue(self, request: bytes, who: Identity, days: int = DAYS) -> bytes:
        """Make a certificate from a request.

        Args:
            request: A certification request (RFC 2986), PEM or DER, at most `LARGEST_REQUEST`.
            who: For whom. The request must name this UUID and nothing else.
            days: How long it is good for, 1 to `DAYS_MAX`; not beyond the CA's own end.

        Returns:
            The certificate, PEM.

        Raises:
            InvalidArgument: The request is damaged, its signature is wrong, its key is weak, it
                names another device or more than one, or `days` is out of range.
        """
        if not 1 <= days <= DAYS_MAX:
            raise _refused(f"{days} days are not 1 to {DAYS_MAX}")
        key = _checked(request, who.id)
        begin = now() - SKEW
        end = min(begin + SKEW + dt.timedelta(days=days), self.certificate.not_valid_after_utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(who))]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([who.role.usage]), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host_name(who.id))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_issuer_key(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        entry = Issued(
            f"{certificate.serial_number:x}", str(who.id), who.role.value, int(end.timestamp())
        )
        with self._book():
            self._append(entry)
        return _pem(certificate)

    def issued(self) -> list[Issued]:
        """Every certificate made, oldest first.

        Raises:
            InvalidArgument: The book is damaged; the message says in which line.
        """
        entries: dict[str, Issued] = {}
        try:
            lines = (self.folder / "issued.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        for number, line in enumerate(lines, 1):
            try:
                entry = Issued(**json.loads(line))
            except (ValueError, TypeError) as error:
                if number == len(lines):
                    break  # Cut short when the machine stopped: it was never handed out.
                text = f'read "{self.folder / "issued.jsonl"}": line {number} is damaged ({error})'
                raise InvalidArgument(errno.EINVAL, text) from error
            entries[entry.serial] = entry
        return list(entries.values())

    def revoke(self, what: str, reason: str = "unspecified") -> list[Issued]:
        """Revoke certificates, and renew the list of revocations.

        Args:
            what: A serial number in hexadecimal, or a UUID: then all certificates of its owner.
            reason: One of `REASONS`.

        Returns:
            Those that are revoked now and were not before.

        Raises:
            NotFound: No certificate of that serial number or owner was made here.
            InvalidArgument: There is no such reason.
        """
        if reason not in REASONS:
            text = f"revoke {what}: there is no reason {reason!r}: choose of {', '.join(REASONS)}"
            raise InvalidArgument(errno.EINVAL, text)
        wanted = what.lower().removeprefix("0x").lstrip("0")
        with self._book():
            found = [e for e in self.issued() if e.serial == wanted or e.id == what.lower()]
            if not found:
                text = f"revoke {what}: no certificate of that serial number or UUID was made here"
                raise NotFound(errno.ENOENT, text)
            moment = int(now().timestamp())
            ended = [replace(e, revoked=moment, reason=reason) for e in found if not e.revoked]
            for entry in ended:
                self._append(entry)
            self._write_crl()
        return ended

    def renew_crl(self) -> None:
        """Make the list of revocations anew, good for `DAYS_CRL` days from now."""
        with self._book():
            self._write_crl()

    def keep_crl_fresh(self) -> None:
        """Make the list of revocations anew when half of its time is over."""
        crl = x509.load_pem_x509_crl(files.read(self.folder / "crl.pem", "the revocations", ""))
        end = crl.next_update_utc
        if end is None or end - now() < dt.timedelta(days=DAYS_CRL) / 2:
            self.renew_crl()

    # ---- inside -------------------------------------------------------------------------------

    @contextmanager
    def _book(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _append(self, entry: Issued) -> None:
        path = self.folder / "issued.jsonl"
        text = json.dumps(asdict(entry)) + "\n"
        whole = path.read_bytes() if path.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]
        files.write(path, kept + text.encode(), files.SECRET)

    def _write_crl(self) -> None:
        begin = now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(begin - SKEW)
            .next_update(begin + dt.timedelta(days=DAYS_CRL))
            .add_extension(_issuer_key(self._key), critical=False)
            .add_extension(x509.CRLNumber(self._crl_number() + 1), critical=False)
        )
        for entry in self.issued():
            if entry.revoked and entry.until > begin.timestamp():
                builder = builder.add_revoked_certificate(_revoked(entry))
        crl = builder.sign(self._key, hashes.SHA256())
        pem = crl.public_bytes(serialization.Encoding.PEM)
        files.write(self.folder / "crl.pem", pem, files.PUBLIC)

    def _crl_number(self) -> int:
        try:
            last = x509.load_pem_x509_crl((self.folder / "crl.pem").read_bytes())
            return last.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except (FileNotFoundError, ValueError):
            return 0


def _root(name: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = now() - SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


_PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def _checked(request: bytes, identifier: uuid.UUID) -> _PublicKey:
    """The key of a request that is sound and for this UUID alone."""
    if len(request) > LARGEST_REQUEST:
        raise _refused(f"{len(request)} bytes are more than {LARGEST_REQUEST}")
    try:
        pem = request.lstrip().startswith(b"-----BEGIN")
        load = x509.load_pem_x509_csr if pem else x509.load_der_x509_csr
        csr = load(request)
        sound, key, named = csr.is_signature_valid, csr.public_key(), id_of(csr.extensions)
    except _UNREADABLE as error:
        raise _refused(str(error) or "it is no certification request") from error
    if not sound:
        raise _refused("it is not signed by the key it brings")
    if named != identifier:
        raise _refused(f"it names {named}, not {identifier}")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise _refused("its key must be ECDSA P-256 or P-384, or Ed25519")


_CURVES = (ec.SECP256R1, ec.SECP384R1)
_UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What is raised for a damaged request; the library's own errors have no common base."""


def _refused(cause: str) -> InvalidArgument:
    return InvalidArgument(errno.EINVAL, f"issue a certificate: {cause}")


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _revoked(entry: Issued) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(int(entry.serial, 16))
        .revocation_date(dt.datetime.fromtimestamp(entry.revoked, dt.timezone.utc))
        .add_extension(x509.CRLReason(REASONS[entry.reason]), critical=False)
        .build()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public(key: ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
