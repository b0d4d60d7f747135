# SPDX-License-Identifier: Apache-2.0
"""Who is at an end of the link: a UUID and a role, as a certificate states them.

The UUID stands in the certificate as one DNS name, ``<uuid>.hal.internal`` (RFC 9525; the domain
is the one ICANN keeps for private use), so that TLS itself compares it with the one that was
dialled. The role is the extended key usage (RFC 5280, 4.2.1.12): a device listens and may only be
a TLS server, a controller dials and may only be a client. The certificate of a stolen device
opens nothing on other devices.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

DOMAIN = "hal.internal"
SERVICE = uuid.UUID("00000000-0000-8000-8000-000000000001")
"""The UUID of every authority's own service; no member has it."""


class Role(enum.Enum):
    """What an end of the link may do."""

    DEVICE = "device"
    CONTROLLER = "controller"

    @property
    def usage(self) -> ObjectIdentifier:
        """The extended key usage of its certificate."""
        if self is Role.DEVICE:
            return ExtendedKeyUsageOID.SERVER_AUTH
        return ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate is for.

    Attributes:
        id: The UUID of the device or controller.
        role: What it may do.
    """

    id: uuid.UUID
    role: Role

    def __str__(self) -> str:
        return f"{self.role.value} {self.id}"


def host_name(identifier: uuid.UUID) -> str:
    """The DNS name that a certificate states, and that a dialler asks TLS for."""
    return f"{identifier}.{DOMAIN}"


def names_of(extensions: x509.Extensions) -> x509.SubjectAlternativeName:
    """The names in a certificate or request; empty when there are none."""
    try:
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def id_of(extensions: x509.Extensions) -> uuid.UUID:
    """The one UUID that a certificate or request names.

    Raises:
        ValueError: It names none, several, or something else besides.
    """
    names = list(names_of(extensions))
    if len(names) != 1 or not isinstance(names[0], x509.DNSName):
        raise ValueError(f"exactly one name <uuid>.{DOMAIN} is wanted, {_spelt(names)} is given")
    label, _, _domain = names[0].value.partition(".")
    try:
        identifier = uuid.UUID(label)
    except ValueError:
        identifier = None
    if identifier is None or names[0].value != host_name(identifier):
        raise ValueError(f"the name {names[0].value!r} is not <uuid>.{DOMAIN}")
    return identifier


def identity_of(certificate: x509.Certificate) -> Identity:
    """Who a certificate is for.

    Raises:
        ValueError: It is not one of this project's.
    """
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise ValueError("it states no extended key usage, so no role") from None
    roles = [role for role in Role if role.usage in usages]
    if len(roles) != 1 or len(usages) != 1:
        raise ValueError("its extended key usage is not exactly one of server and client")
    return Identity(id_of(certificate.extensions), roles[0])


def _spelt(names: list[x509.GeneralName]) -> str:
    return ", ".join(str(name.value) for name in names) or "none"
