# SPDX-License-Identifier: Apache-2.0
"""Pairing codes: the one secret by which a new machine asks for its first certificate.

A code is one text for one machine, good once and for ten minutes::

    hal1.<uuid>.<secret>.<SHA-256 of the CA certificate>

The UUID says for whom, the secret (192 bits) that the bearer may, and the hash which authority to
believe, so that the very first connection is already authenticated. The authority keeps only the
secret's SHA-256. Base64 without padding (RFC 4648, section 5) keeps the code at 128 characters,
which a QR code of version 7 holds.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hal.errors import InvalidArgument, PermissionDenied

from . import files
from .identity import Identity, Role

LIFETIME: Final = 600.0
"""Seconds a code is good for."""
LIFETIME_MAX: Final = 86400.0
OPEN_MAX: Final = 1000
"""Codes that may be open at one time."""
_PREFIX: Final = "hal1"


@dataclass(frozen=True, slots=True)
class Code:
    """A pairing code, taken apart.

    Attributes:
        id: UUID of the machine it is for.
        secret: What proves that the bearer was given it.
        ca: SHA-256 of the CA certificate.
    """

    id: uuid.UUID
    secret: bytes
    ca: bytes

    def __str__(self) -> str:
        return ".".join((_PREFIX, _text(self.id.bytes), _text(self.secret), _text(self.ca)))

    def __repr__(self) -> str:
        return f"<pairing code for {self.id}>"  # The secret belongs in no log.

    @classmethod
    def parse(cls, text: str) -> Code:
        """Take a code apart.

        Raises:
            InvalidArgument: It is no code, or was cut or mistyped.
        """
        prefix, *parts = text.strip().split(".")
        try:
            fields = [_bytes(part) for part in parts]
        except ValueError:
            fields = []
        if prefix != _PREFIX or [len(field) for field in fields] != [16, 24, 32]:
            form = f"{_PREFIX}.ID.SECRET.CA, as hal-ca pair prints it"
            raise InvalidArgument(errno.EINVAL, f"pairing code: it is not {form}: is it whole?")
        return cls(uuid.UUID(bytes=fields[0]), fields[1], fields[2])


@dataclass(frozen=True, slots=True)
class _Open:
    id: str
    role: str
    digest: str
    until: float


class Pairings:
    """The open codes of an authority, in its folder. Processes may share it.

    Args:
        folder: The authority's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "pairings.json"
        self._lock = folder / ".pairings.lock"

    def mint(self, who: Identity, ca: x509.Certificate, lifetime: float = LIFETIME) -> Code:
        """Make a code. One that was open for the same UUID is void from now on.

        Raises:
            InvalidArgument: The lifetime is not more than 0 and at most `LIFETIME_MAX` seconds, or
                `OPEN_MAX` codes are open.
        """
        if not 0 < lifetime <= LIFETIME_MAX:
            text = f"pairing code: {lifetime:g} s are not more than 0 and at most {LIFETIME_MAX:g}"
            raise InvalidArgument(errno.EINVAL, text)
        code = Code(who.id, secrets.token_bytes(24), hash_of(ca))
        entry = _Open(str(who.id), who.role.value, _digest(code.secret), time.time() + lifetime)
        with self._book() as entries:
            entries.pop(entry.id, None)
            if len(entries) >= OPEN_MAX:
                text = f"pairing code: {OPEN_MAX} are open: wait until some have ended"
                raise InvalidArgument(errno.E2BIG, text)
            entries[entry.id] = entry
        return code

    def redeem(self, identifier: uuid.UUID, secret: bytes) -> Identity:
        """Use a code up.

        Returns:
            Who its bearer may become.

        Raises:
            PermissionDenied: There is no such code open: it was used, has ended, or was never made.
                Which of these it was is not told to whom might guess.
        """
        with self._book() as entries:
            entry = entries.get(str(identifier))
            wanted = entry.digest if entry else _digest(b"")
            if entry is None or not hmac.compare_digest(wanted, _digest(secret)):
                text = f"pairing of {identifier}: the code is wrong, was used, or has ended"
                raise PermissionDenied(errno.EACCES, text)
            del entries[entry.id]
        return Identity(identifier, Role(entry.role))

    @contextmanager
    def _book(self) -> Iterator[dict[str, _Open]]:
        """The codes that are open now; what the caller makes of them is written."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = self._read()
            entries = {e.id: e for e in before.values() if e.until > time.time()}
            yield entries
            if entries != before:
                text = json.dumps([dataclasses.asdict(entry) for entry in entries.values()])
                files.write(self._path, text.encode(), files.SECRET)
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, _Open]:
        if not self._path.exists():
            return {}
        try:
            stated = json.loads(files.read_secret(self._path, "the pairing codes", ""))
            return {entry["id"]: _Open(**entry) for entry in stated}
        except (ValueError, TypeError, KeyError) as error:
            text = f'read the pairing codes "{self._path}": damaged ({error}): remove the file'
            raise InvalidArgument(errno.EINVAL, text) from error


def hash_of(ca: x509.Certificate) -> bytes:
    """SHA-256 of a CA certificate (DER)."""
    return hashlib.sha256(ca.public_bytes(serialization.Encoding.DER)).digest()


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
