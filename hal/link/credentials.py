# SPDX-License-Identifier: Apache-2.0
"""What one end of the link holds, in one folder, and whether it is any good.

key.pem      its key, which never leaves it; or what stands for one that a TPM or token keeps
request.pem  the request for its certificate, where only that TPM or token could make it
cert.pem     its certificate
ca.pem       the CA that both ends trust, and no other
crl.pem      that CA's revocations
tokens.pub   the key by which the other end's token is judged
token        its own token, shown to the other end
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from hal.errors import InvalidArgument

from . import files
from .identity import Identity, identity_of
from .token import Judge, Refused, Token

SOON: Final = 1 / 3
"""A certificate is renewed when less than this part of its time is left."""
TOKEN_SOON: Final = dt.timedelta(hours=1)
"""A token is told to end soon when less than this is left; it is renewed every hour."""


def own_folder() -> Path:
    """Where ``hal://`` looks for this machine's own: HAL_LINK, else where hal-ca puts them."""
    return Path(os.environ.get("HAL_LINK") or files.home("link"))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about credentials that a person should know.

    Attributes:
        grave: Nothing works until it is mended.
        text: What it is, and what to do.
    """

    grave: bool
    text: str


class Credentials:
    """The content of one end's folder.

    Attributes:
        folder: Where it is.
        certificate: The end's certificate.
        ca: The CA's.
        identity: Whom the certificate is for.
        token: The end's own token; "" when there is none yet.
        token_key: What the other end's token is judged by, PEM.
    """

    def __init__(self, folder: Path) -> None:
        """Read a folder; `findings` says whether what it holds is in order.

        Raises:
            NotFound, PermissionDenied, InvalidArgument: A file lacks or is damaged.
        """
        self.folder = folder
        hint = "enrol this machine: hal-ca enrol CODE"
        files.read_secret(folder / "key.pem", "the key", hint)
        self.certificate = _certificate(folder / "cert.pem", "the certificate", hint)
        self.ca = _certificate(folder / "ca.pem", "the CA certificate", hint)
        self.token_key = files.read(folder / "tokens.pub", "the token key", hint)
        self.identity = self._identity()
        path = folder / "token"
        self.token = files.read_secret(path, "the token", "").decode() if path.exists() else ""

    @property
    def key(self) -> Path:
        """File of the key."""
        return self.folder / "key.pem"

    @property
    def crl(self) -> Path:
        """File of the revocations."""
        return self.folder / "crl.pem"

    def _identity(self) -> Identity:
        try:
            return identity_of(self.certificate)
        except ValueError as error:
            text = f'read the certificate "{self.folder / "cert.pem"}": {error}'
            raise InvalidArgument(errno.EINVAL, text) from error

    def renewal_due(self, moment: dt.datetime) -> bool:
        """Whether it is time to ask for the next certificate."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return end - moment < (end - begin) * SOON

    def findings(self, moment: dt.datetime | None = None) -> list[Finding]:
        """What is wrong, and what soon will be; nothing when all is well.

        Args:
            moment: As of when; None: now.
        """
        moment = moment or dt.datetime.now(dt.timezone.utc)
        return [
            *self._about_key(),
            *self._about_certificate(moment),
            *self._about_crl(moment),
            *self._about_token(moment),
        ]

    def own_token(self) -> Token:
        """What its own token says, whether its time is over or not.

        Raises:
            Refused: There is none, or it is not of this CA, or not this certificate's.
        """
        if not self.token:
            raise Refused("missing", "there is none")
        judge = Judge(self.token_key, self.ca, self.identity.id)
        return judge.read(self.token, self.certificate.public_bytes(serialization.Encoding.DER))

    def revocations_until(self) -> dt.datetime | None:
        """When its list of revocations is too old; None: there is none that can be read."""
        try:
            return x509.load_pem_x509_crl(self.crl.read_bytes()).next_update_utc
        except (OSError, ValueError):
            return None

    def _about_key(self) -> list[Finding]:
        """By OpenSSL, which also knows the keys that its providers keep (TPM, PKCS#11)."""
        files.read_secret(self.key, "the key", "")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_cert_chain(self.folder / "cert.pem", self.key, password=str)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                return [Finding(True, f"{self.key} is not the certificate's key: enrol anew")]
            text = f"{self.key} cannot be used ({error.reason or error}): enrol anew"
            return [Finding(True, text)]
        return []

    def _about_token(self, moment: dt.datetime) -> list[Finding]:
        if not self.token:
            return [Finding(True, "no token: nobody will serve it: hal-ca renew --at HOST")]
        try:
            token = self.own_token()
        except Refused as refusal:
            return [Finding(True, f"{refusal}: hal-ca renew --at HOST")]
        begin, end = (
            dt.datetime.fromtimestamp(t, dt.timezone.utc) for t in (token.begin, token.until)
        )
        if moment < begin:
            return [Finding(True, f"the token begins only {begin:%F %T} UTC: is the clock right?")]
        if moment >= end:
            return [Finding(True, f"the token ended {end:%F %T} UTC: hal-ca renew --at HOST")]
        if end - moment < TOKEN_SOON:
            return [Finding(False, f"the token ends {end:%F %T} UTC: hal-ca renew --at HOST")]
        return []

    def _about_certificate(self, moment: dt.datetime) -> list[Finding]:
        found = []
        try:
            self.certificate.verify_directly_issued_by(self.ca)
        except (ValueError, TypeError, InvalidSignature):
            found.append(Finding(True, "the certificate is not of this CA: enrol anew"))
        for name, certificate in (("CA", self.ca), ("own", self.certificate)):
            begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            if moment < begin:
                text = f"the {name} certificate begins only {begin:%F %T} UTC: is the clock right?"
                found.append(Finding(True, text))
            elif moment >= end:
                found.append(Finding(True, f"the {name} certificate ended {end:%F %T} UTC: renew"))
        if self.renewal_due(moment) and moment < self.certificate.not_valid_after_utc:
            end = self.certificate.not_valid_after_utc
            found.append(Finding(False, f"the certificate ends {end:%F %T} UTC: renewal is due"))
        return found

    def _about_crl(self, moment: dt.datetime) -> list[Finding]:
        if not self.crl.exists():
            text = f"{self.crl} is not there: everybody is refused until the CA's is put there"
            return [Finding(True, text)]
        try:
            crl = x509.load_pem_x509_crl(self.crl.read_bytes())
            genuine = crl.is_signature_valid(self.ca.public_key())  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            return [Finding(True, f"{self.crl} is damaged ({error}): fetch it from the CA")]
        if not genuine:
            return [Finding(True, f"{self.crl} is not of this CA: fetch it from the CA")]
        if crl.get_revoked_certificate_by_serial_number(self.certificate.serial_number):
            return [Finding(True, "this certificate is revoked: enrol anew")]
        end = crl.next_update_utc
        if end is None or moment >= end:
            text = f"{self.crl} was good until {end}: everybody is refused: fetch it from the CA"
            return [Finding(True, text)]
        return []


def _certificate(path: Path, what: str, hint: str) -> x509.Certificate:
    data = files.read(path, what, hint)
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise InvalidArgument(errno.EINVAL, f'read {what} "{path}": {error}') from error
