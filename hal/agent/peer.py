# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of a link: what it has proved, and where it is."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from hal.link.identity import Identity, identity_of

REMEMBERED: Final = 256
"""Certificates that need not be taken apart again when their holders come back."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A controller that has proved its certificate.

    Attributes:
        identity: Its UUID and role.
        address: Where it is, without the port.
        serial: Of its certificate, hexadecimal, as `hal-ca` prints it.
        certificate: DER.
        until: When that ends, seconds since 1970.
    """

    identity: Identity
    address: str
    serial: str
    certificate: bytes = field(repr=False)
    until: float = math.inf

    @classmethod
    def of(cls, certificate: bytes, address: str) -> Peer:
        """From the certificate that the handshake has proved.

        Raises:
            ValueError: It is not one of this project's.
        """
        identity, serial, until = _read(certificate)
        return cls(identity, address, serial, certificate, until)

    def __str__(self) -> str:
        return f"{self.identity} at {self.address}"


@functools.lru_cache(REMEMBERED)
def _read(certificate: bytes) -> tuple[Identity, str, float]:
    """What it says. Whether it counts, now, each handshake asks anew."""
    loaded = x509.load_der_x509_certificate(certificate)
    until = loaded.not_valid_after_utc.timestamp()
    return identity_of(loaded), f"{loaded.serial_number:x}", until
