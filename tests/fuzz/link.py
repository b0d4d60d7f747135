# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of what the secure link reads in Python, by atheris (libFuzzer for Python).

    python -m tests.fuzz.link [LIBFUZZER OPTIONS] [CORPUS ...]

The first byte of an input chooses what reads the rest: frames, tokens, pairing codes, requests for
certificates, lines of the authority's service. Nothing may be raised but what is promised; what is
accepted is within its bounds, and is the same after it was written and read again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import atheris

import hal  # noqa: F401 - not to be instrumented

with atheris.instrument_imports(include=["hal.link", "jwt"]):
    from hal.link import enrol, frames, pairing, token
    from hal.link.authority import Authority, _checked
    from hal.link.identity import Identity, Role
    from hal.link.members import Member, Members
    from hal.link.request import make_key, make_request

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hal.errors import InvalidArgument, ProtocolError
from tests.link_attack import jws

WHO = Identity(uuid.UUID("22222222-2222-4222-8222-222222222222"), Role.CONTROLLER)
OTHER = uuid.UUID("33333333-3333-4333-8333-333333333333")
FORMS = [struct.Struct(form) for form in ("<B", "<H", "<I", "<Q", "<q", "<HHQQ", "<IBBBBQIIHH12x")]


class World:
    """An authority and a member, made once."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority.create(folder / "ca")
        Members(self.authority.folder).put(Member(WHO, (), ""))
        self.registrar = enrol.Registrar(self.authority, ("127.0.0.1", 0))
        request = make_request(make_key(folder / "key.pem"), WHO.id)
        certificate = x509.load_pem_x509_certificate(self.authority.issue(request, WHO))
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)
        public = (self.authority.folder / "tokens.pub").read_bytes()
        self.judge = token.Judge(public, self.authority.certificate, OTHER)
        now = int(time.time())
        self.claims = {
            "iss": token.issuer_of(self.authority.certificate),
            "sub": str(WHO.id),
            "aud": "*",
            "iat": now,
            "nbf": now,
            "exp": now + 80_000,
            "jti": "x",
            "cnf": {"x5t#S256": token.thumbprint(self.certificate)},
            "rights": [{"device": "*", "access": "rw"}],
        }


def read_frames(data: bytes) -> None:
    """Fields, in any order."""
    give = atheris.FuzzedDataProvider(data)
    choices = [give.ConsumeIntInRange(0, len(FORMS) + 2) for _ in range(8)]
    bytes_ = give.ConsumeBytes(4096)
    body = frames.Reader(memoryview(bytes_))
    again = b""
    try:
        for choice in choices:
            if choice < len(FORMS):
                again += FORMS[choice].pack(*body.take(FORMS[choice]))
            elif choice == len(FORMS):
                text = body.text()
                assert "\0" not in text
                again += frames.text(text)
            else:
                again += bytes(body.bytes(choice))
        again += bytes(body.rest())
        body.end()
    except ProtocolError:
        return
    assert len(again) == len(bytes_)
    assert again == bytes_ or any(choice == len(FORMS) - 1 for choice in choices)  # Padding.


def judge(world: World, text: str) -> None:
    """A token: refused, or within its bounds."""
    try:
        good = world.judge.judge(text, world.certificate)
    except token.Refused:
        return
    assert good.subject == WHO.id
    assert time.time() - 10 <= good.until <= time.time() + 86_400 + 10
    assert len(good.rights) <= token.RIGHTS_MAX
    good.allows("memory", "rw")


def token_texts(world: World, data: bytes) -> None:
    """Any text as a token."""
    judge(world, data.decode("utf-8", "surrogateescape"))


def signed_tokens(world: World, data: bytes) -> None:
    """Any header and claims, signed by the authority."""
    header, _, claims = data.decode("utf-8", "replace").partition("\n")
    judge(world, jws(header, claims, world.authority.token_key.sign))


def changed_tokens(world: World, data: bytes) -> None:
    """A good token but for some claims, which are any JSON."""
    try:
        changes = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(changes, dict):
        claims = json.dumps({**world.claims, **changes})
        judge(
            world,
            jws('{"alg":"EdDSA","typ":"hal-device+jwt"}', claims, world.authority.token_key.sign),
        )


def codes(data: bytes) -> None:
    """Any text as a pairing code."""
    try:
        code = pairing.Code.parse(data.decode("utf-8", "surrogateescape"))
    except InvalidArgument:
        return
    assert len(code.secret) == 24 and len(code.ca) == 32 and len(str(code)) <= 128
    assert pairing.Code.parse(str(code)) == code


def requests(data: bytes) -> None:
    """Any bytes as a request for a certificate, as they are and as PEM."""
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(data)
    for request in (data, pem + b"-----END CERTIFICATE REQUEST-----\n"):
        with contextlib.suppress(InvalidArgument):
            _checked(request, WHO.id)


class Line:
    """What `enrol` reads a line from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self, most: int) -> bytes:
        piece, self._data = self._data[: min(most, 512)], self._data[min(most, 512) :]
        return piece


def lines(world: World, data: bytes) -> None:
    """Any bytes as a question to the authority's service."""
    try:
        question = enrol._receive(Line(data + b"\n"), time.monotonic() + 5)  # type: ignore[arg-type]
    except ValueError:
        return
    answer = world.registrar._judged(question, None, "127.0.0.1")
    assert set(answer) in ({"ca"}, {"error"})


def run() -> None:
    """Fuzz until the options say it is enough."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        readers: list[Callable[[bytes], None]] = [
            read_frames,
            lambda data: token_texts(world, data),
            lambda data: signed_tokens(world, data),
            lambda data: changed_tokens(world, data),
            codes,
            requests,
            lambda data: lines(world, data),
        ]

        def read(data: bytes) -> None:
            if data:
                readers[data[0] % len(readers)](data[1:])

        atheris.Setup(sys.argv, read)
        atheris.Fuzz()


if __name__ == "__main__":
    run()
