# SPDX-License-Identifier: Apache-2.0
"""Device tokens: what the holder of a certificate may do, where, and until when.

A token is a JSON Web Token (RFC 7519) signed by EdDSA (RFC 8037) with the authority's token key,
and bound to one certificate by its SHA-256 (RFC 8705, ``cnf.x5t#S256``): whoever steals it can do
nothing with it. Both ends show one in their first frame, and each judges the other's.

| claim | content |
|---|---|
| header ``typ`` | ``hal-device+jwt`` |
| ``iss`` | SHA-256 of the CA certificate, hexadecimal |
| ``sub`` | UUID of the holder, that of its certificate |
| ``aud`` | UUID of the other end, or ``*`` for every end of this CA |
| ``iat``, ``nbf``, ``exp`` | seconds since 1970; at most 24 h from ``nbf`` to ``exp`` |
| ``jti`` | a UUID, for the audit log |
| ``cnf`` | ``{"x5t#S256": ...}`` |
| ``rights`` | list of ``{"device": glob, "access": "r", "w", "rw" or "admin"}`` |
"""

from __future__ import annotations

import base64
import datetime as dt
import errno
import fnmatch
import hashlib
import hmac
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from hal.errors import InvalidArgument, PermissionDenied

from .identity import identity_of

TYPE: Final = "hal-device+jwt"
LARGEST: Final = 4096
"""Bytes of the longest token that is looked at."""
LIFETIME: Final = dt.timedelta(hours=12)
LIFETIME_MAX: Final = dt.timedelta(hours=24)
LEEWAY: Final = dt.timedelta(seconds=5)
"""How far clocks may be apart."""
RIGHTS_MAX: Final = 64
REMEMBERED: Final = 256
"""Good tokens that a judge knows again, by their SHA-256 and the certificate's they came with."""
ACCESSES: Final = ("r", "w", "rw", "admin")
ANYONE: Final = "*"


@dataclass(frozen=True, slots=True)
class Right:
    """What may be done with some devices.

    Attributes:
        device: Glob (fnmatch) over the names that the agent exports, 1 to 128 characters.
        access: One of `ACCESSES`; "admin" is "rw" and taking over leases.
    """

    device: str
    access: str

    def __post_init__(self) -> None:
        """Check both."""
        if self.access not in ACCESSES:
            choice = ", ".join(ACCESSES)
            text = f"right for {self.device!r}: no access {self.access!r}: choose of {choice}"
            raise InvalidArgument(errno.EINVAL, text)
        if not 1 <= len(self.device) <= 128:
            text = f"right: a device's glob has 1 to 128 characters, not {len(self.device)}"
            raise InvalidArgument(errno.EINVAL, text)

    @classmethod
    def parse(cls, text: str) -> Right:
        """A right from ``GLOB`` (read and write) or ``GLOB=ACCESS``."""
        device, equals, access = text.partition("=")
        return cls(device, access if equals else "rw")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was judged good.

    Attributes:
        subject: UUID of its holder.
        rights: What the holder may do.
        begin: When it begins, seconds since 1970.
        until: When it ends, likewise.
        id: Its own UUID, for the log.
    """

    subject: uuid.UUID
    rights: tuple[Right, ...]
    begin: float
    until: float
    id: str

    def allows(self, device: str, access: str) -> bool:
        """Whether a device may be used so: "r", "w", "rw" or "admin"."""
        return any(
            fnmatch.fnmatchcase(device, right.device)
            and (right.access == "admin" or set(access) <= set(right.access))
            for right in self.rights
        )


def thumbprint(certificate: x509.Certificate | bytes) -> str:
    """SHA-256 of a certificate (DER) as RFC 8705 writes it."""
    return (
        base64.urlsafe_b64encode(hashlib.sha256(_der(certificate)).digest()).rstrip(b"=").decode()
    )


def issuer_of(ca: x509.Certificate | bytes) -> str:
    """Name of the CA as tokens state it."""
    return hashlib.sha256(_der(ca)).hexdigest()


def issue(
    key: ed25519.Ed25519PrivateKey,
    ca: x509.Certificate,
    certificate: x509.Certificate,
    rights: Iterable[Right],
    *,
    audience: str = ANYONE,
    lifetime: dt.timedelta = LIFETIME,
) -> str:
    """Make a token.

    Args:
        key: The authority's token key.
        ca: Its CA certificate.
        certificate: The certificate to which the token is bound; it names the holder.
        rights: What the holder may do, at most `RIGHTS_MAX`.
        audience: UUID of the end that shall accept it, or `ANYONE`.
        lifetime: Up to `LIFETIME_MAX`.

    Raises:
        InvalidArgument: Too many rights, or the lifetime is out of range.
    """
    granted = [{"device": right.device, "access": right.access} for right in rights]
    if len(granted) > RIGHTS_MAX:
        text = f"issue a token: {len(granted)} rights are more than {RIGHTS_MAX}"
        raise InvalidArgument(errno.E2BIG, text)
    if not dt.timedelta(0) < lifetime <= LIFETIME_MAX:
        text = f"issue a token: a lifetime of {lifetime} is not more than 0 and at most 24 h"
        raise InvalidArgument(errno.EINVAL, text)
    moment = dt.datetime.now(dt.timezone.utc)
    claims = {
        "iss": issuer_of(ca),
        "sub": str(identity_of(certificate).id),
        "aud": audience,
        "iat": moment,
        "nbf": moment,
        "exp": moment + lifetime,
        "jti": str(uuid.uuid4()),
        "cnf": {"x5t#S256": thumbprint(certificate)},
        "rights": granted,
    }
    text = jwt.encode(claims, key, algorithm="EdDSA", headers={"typ": TYPE})
    if len(text) > LARGEST:
        raise InvalidArgument(errno.E2BIG, f"issue a token: {len(text)} bytes exceed {LARGEST}")
    return text


class Refused(PermissionDenied):
    """A token, or what comes with it, was judged bad.

    Attributes:
        reason: One word for logs and counters: "expired", "not-yet-valid", "audience", "issuer",
            "signature", "algorithm", "type", "binding", "subject", "malformed", "missing".
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the word, and the sentence."""
        super().__init__(errno.EACCES, f"token refused ({reason}): {detail}")
        self.reason = reason


class Judge:
    """What tells good tokens from bad. Threads may share it.

    Args:
        key: The authority's public token key, PEM.
        ca: Its CA certificate.
        own: UUID of the end that judges: the audience that is asked for.
    """

    def __init__(self, key: bytes, ca: x509.Certificate, own: uuid.UUID) -> None:
        public = serialization.load_pem_public_key(key)
        if not isinstance(public, ed25519.Ed25519PublicKey):
            raise InvalidArgument(errno.EINVAL, "the token key is not an Ed25519 key")
        self._key = public
        self._issuer = issuer_of(ca)
        self._own = str(own)
        self._good: dict[bytes, Token] = {}

    def judge(self, text: str | None, certificate: bytes) -> Token:
        """Accept a token or say why not.

        Args:
            text: The token as it came; None: none came.
            certificate: The certificate that the other end has proved to hold, DER.

        Raises:
            Refused: With the reason.
        """
        if not text:
            raise Refused("missing", "none was sent")
        if len(text) > LARGEST:
            raise Refused("malformed", f"{len(text)} bytes are more than {LARGEST}")
        key = hashlib.sha256(text.encode(errors="surrogatepass") + certificate).digest()
        known = self._good.get(key)
        if known is not None and known.begin <= time.time() <= known.until:
            return known
        token = _token(self._claims(text), certificate)
        if len(self._good) >= REMEMBERED:
            self._good.clear()
        self._good[key] = token
        return token

    def read(self, text: str, certificate: bytes) -> Token:
        """What a token says that is one's own, whoever it is meant for and whenever it is good.

        Raises:
            Refused: It is not the authority's, or not this certificate's.
        """
        return _token(self._claims(text, verify_aud=False, **_ANY_TIME), certificate)

    def _claims(self, text: str, **checks: bool) -> dict[str, Any]:
        try:
            if jwt.get_unverified_header(text).get("typ") != TYPE:
                raise Refused("type", f'its header\'s "typ" is not {TYPE}')
            return jwt.decode(
                text,
                self._key,
                algorithms=["EdDSA"],
                audience=[self._own, ANYONE],
                issuer=self._issuer,
                leeway=LEEWAY,
                options={**_OPTIONS, **checks},  # type: ignore[arg-type]
            )
        except jwt.ExpiredSignatureError as error:
            raise Refused("expired", "renew it, and compare the clocks of both ends") from error
        except jwt.ImmatureSignatureError as error:
            raise Refused(
                "not-yet-valid", "its time has not come: compare the clocks of both ends"
            ) from error
        except jwt.InvalidAudienceError as error:
            raise Refused("audience", "it is meant for another device") from error
        except jwt.InvalidIssuerError as error:
            raise Refused("issuer", "another authority made it") from error
        except jwt.InvalidAlgorithmError as error:
            raise Refused("algorithm", f"{error}: only EdDSA counts") from error
        except jwt.InvalidSignatureError as error:
            raise Refused("signature", "the authority has not signed it") from error
        except (
            jwt.InvalidTokenError,
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise Refused("malformed", str(error)) from error


_OPTIONS: Final = {"require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "cnf"]}
_ANY_TIME: Final = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


def _short_lived(claims: dict[str, Any]) -> None:
    begin, end = claims["nbf"], claims["exp"]
    if not all(isinstance(moment, int | float) for moment in (begin, end)):
        raise Refused("malformed", "its times are not numbers")
    if not end - begin <= LIFETIME_MAX.total_seconds():
        raise Refused("malformed", "it is good for more than 24 h")


def _bound(claims: dict[str, Any], certificate: bytes) -> None:
    """The token is this certificate's, and this certificate's owner's."""
    binding = claims["cnf"]
    stated = binding.get("x5t#S256") if isinstance(binding, dict) else None
    if not isinstance(stated, str) or not stated.isascii():
        raise Refused("binding", "it is bound to no certificate")
    if not hmac.compare_digest(stated, thumbprint(certificate)):
        raise Refused("binding", "it is bound to another certificate")
    holder = identity_of(x509.load_der_x509_certificate(certificate))
    if claims["sub"] != str(holder.id):
        raise Refused("subject", f"it is for {claims['sub']}, the certificate for {holder.id}")


def _token(claims: dict[str, Any], certificate: bytes) -> Token:
    _short_lived(claims)
    _bound(claims, certificate)
    stated = claims.get("rights", [])
    if not isinstance(stated, list) or len(stated) > RIGHTS_MAX:
        raise Refused("malformed", f"its rights are not a list of at most {RIGHTS_MAX}")
    try:
        rights = tuple(Right(str(right["device"]), str(right["access"])) for right in stated)
    except (ValueError, TypeError, KeyError, InvalidArgument) as error:
        raise Refused("malformed", f"its rights: {error}") from error
    begin, until = float(claims["nbf"]), float(claims["exp"])
    return Token(uuid.UUID(claims["sub"]), rights, begin, until, str(claims["jti"]))


def _der(certificate: x509.Certificate | bytes) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    return certificate.public_bytes(serialization.Encoding.DER)
