# SPDX-License-Identifier: Apache-2.0
"""TLS as the link uses it: version 1.3, certificates on both sides, no resumption.

Resumption is off because a resumed session is not checked against new revocations (RFC 8446, 4.6.1;
a certificate revoked after its first connection was let in again by a ticket). Revocations are
required: without a list, or with one that is too old, everybody is refused (OpenSSL:
X509_V_FLAG_CRL_CHECK).

A context is never changed: when certificates or revocations are new, a new one takes its place. (A
list loaded into a context beside an older one of the same second does not count.)
"""

from __future__ import annotations

import errno
import ssl
import uuid
from typing import Final

from hal.errors import InvalidArgument

from .credentials import Credentials
from .identity import Role, host_name

PROTOCOL: Final = "hal/1"
"""The name of the protocol in the handshake (ALPN, RFC 7301)."""


def listener_context(credentials: Credentials) -> ssl.SSLContext:
    """For the end that is dialled: a device.

    Raises:
        InvalidArgument: The certificate is a controller's, or a file is damaged.
    """
    _need(credentials, Role.DEVICE, "listen")
    context = _context(credentials, ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    return context


def dialler_context(credentials: Credentials) -> ssl.SSLContext:
    """For the end that dials: a controller. Use with `server_name` of the device.

    Raises:
        InvalidArgument: The certificate is a device's, or a file is damaged.
    """
    _need(credentials, Role.CONTROLLER, "dial")
    context = _context(credentials, ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    return context


def server_name(device: uuid.UUID) -> str:
    """What a dialler gives as ``server_hostname``, whatever address it dials."""
    return host_name(device)


def _context(credentials: Credentials, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.set_alpn_protocols([PROTOCOL])
    try:
        context.load_cert_chain(credentials.folder / "cert.pem", credentials.key)
        context.load_verify_locations(cafile=str(credentials.folder / "ca.pem"))
        if credentials.crl.exists():  # Without one, the handshake fails closed and says why.
            context.load_verify_locations(cafile=str(credentials.crl))
    except (OSError, ssl.SSLError) as error:
        text = f'use the certificate in "{credentials.folder}": {error}'
        raise InvalidArgument(errno.EINVAL, text) from error
    return context


def _need(credentials: Credentials, role: Role, what: str) -> None:
    if credentials.identity.role is not role:
        text = (
            f"{what}: the certificate is for a {credentials.identity}, a {role.value}'s is needed"
        )
        raise InvalidArgument(errno.EINVAL, text)
