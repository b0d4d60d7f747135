# SPDX-License-Identifier: Apache-2.0
"""An end's own key, and the request by which it asks for a certificate. The key never leaves it."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from hal.errors import InvalidArgument

from . import files
from .identity import host_name


def make_key(path: Path) -> bytes:
    """Make a key (ECDSA P-256) in a file that only its owner may read, unless one is there.

    One at a time: of two that make the same file at once, one gets a key that is not in it.

    Returns:
        The key, PEM (PKCS #8).
    """
    if path.exists():
        return files.read_secret(path, "the key", "")
    files.folder(path.parent)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files.write(path, pem, files.SECRET)
    return pem


def request_of(folder: Path, identifier: uuid.UUID) -> bytes:
    """The request for the key of a folder, PEM: the one that is there, else a new one.

    Raises:
        InvalidArgument: The key is not in its file but kept elsewhere, so that its request has to
            be made there.
    """
    made = folder / "request.pem"
    if made.exists():
        return files.read(made, "the request", "")
    try:
        return make_request(files.read_secret(folder / "key.pem", "the key", ""), identifier)
    except (ValueError, TypeError) as error:
        text = (
            f'make a request for "{folder / "key.pem"}": {error}: for a key that a TPM or token '
            "keeps, put request.pem beside it (docs/hal-ca.md)"
        )
        raise InvalidArgument(errno.EINVAL, text) from error


def make_request(key: bytes, identifier: uuid.UUID) -> bytes:
    """A certification request (RFC 2986), PEM, that names one UUID."""
    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        text = "make a request: the key must be ECDSA or Ed25519"
        raise InvalidArgument(errno.EINVAL, text)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(identifier))])
    names = x509.SubjectAlternativeName([x509.DNSName(host_name(identifier))])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = request.add_extension(names, critical=False)
    algorithm = hashes.SHA256() if isinstance(private, ec.EllipticCurvePrivateKey) else None
    return request.sign(private, algorithm).public_bytes(serialization.Encoding.PEM)
