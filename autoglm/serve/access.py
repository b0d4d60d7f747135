# SPDX-License-Identifier: Apache-2.0
"""Who may use which model over the network: certificates on both sides and tokens, by ``hal-ca``.

The service is a device of the secure link, its clients are controllers (docs/hal-ca.md): TLS 1.3
with certificates of one authority, and in each request a token bound to the client's certificate,
as ``Authorization: Bearer``. A right ``model:NAME=rw`` lets its holder run the model, ``=r`` see
what it takes and gives; globs as ever (``model:*=rw``).
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from starlette.exceptions import HTTPException

from hal.link.credentials import Credentials
from hal.link.tls import listener_context
from hal.link.token import Judge, Refused, Token

PREFIX: Final = "model:"
"""Of a model's name in rights."""
LOOK: Final = 0.5
"""Seconds between two looks whether certificate or revocations are new."""

log = logging.getLogger("autoglm")


class Access:
    """The service's credentials, read anew when their files change.

    Args:
        folder: As ``hal-ca enrol --own`` made it.

    Raises:
        hal.Error: A file lacks, is damaged, or is a controller's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked = time.monotonic()
        self._stamp = self._changed()
        self._load()

    def context(self) -> ssl.SSLContext:
        """For the listening socket; each handshake uses what the files hold then."""

        def renew(link: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            self._refresh()
            link.context = self._context

        context = self._make()
        context.sni_callback = renew
        return context

    def admit(self, headers: Mapping[bytes, bytes], certificate: bytes) -> Token:
        """Judge the token of a request.

        Raises:
            HTTPException: 401 with the reason.
        """
        self._refresh()
        if _serial(certificate) in self._revoked:
            raise _unauthorized("the certificate is revoked: enrol anew")
        scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("Authorization: Bearer TOKEN is wanted, a token of hal-ca")
        try:
            return self._judge.judge(text.strip(), certificate)
        except Refused as error:
            raise _unauthorized(str(error)) from error

    def _refresh(self) -> None:
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        stamp = self._changed()
        if stamp == self._stamp:
            return
        try:
            self._load()
            self._stamp = stamp
        except (OSError, ValueError) as error:
            log.warning("the new files in %s are not used: %s", self._folder, error)

    def _load(self) -> None:
        credentials = Credentials(self._folder)
        for finding in credentials.findings():
            log.warning("%s", finding.text)
        self._credentials = credentials
        self._judge = Judge(credentials.token_key, credentials.ca, credentials.identity.id)
        self._revoked = _revoked(credentials)
        self._context = self._make()

    def _make(self) -> ssl.SSLContext:
        context = listener_context(self._credentials)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _changed(self) -> tuple[int, ...]:
        paths = (self._folder / name for name in ("cert.pem", "crl.pem", "ca.pem", "tokens.pub"))
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def require(token: Token | None, model: str, access: str) -> None:
    """See that the token of a request allows what is asked for.

    Args:
        token: Of the request, as `Access.admit` gave it; None: whoever could connect may do all.
        model: Name of the model.
        access: ``r`` to look, ``rw`` to run.

    Raises:
        HTTPException: 403.
    """
    if token is not None and not token.allows(PREFIX + model, access):
        raise HTTPException(403, f"the token has no right {PREFIX}{model}={access}: hal-ca pair")


@lru_cache(256)
def _serial(certificate: bytes) -> int:
    return x509.load_der_x509_certificate(certificate).serial_number


def _revoked(credentials: Credentials) -> frozenset[int]:
    if not credentials.crl.exists():
        return frozenset()
    crl = x509.load_pem_x509_crl(credentials.crl.read_bytes())
    return frozenset(entry.serial_number for entry in crl)


def _unauthorized(text: str) -> HTTPException:
    return HTTPException(401, text, {"WWW-Authenticate": "Bearer"})
