# SPDX-License-Identifier: Apache-2.0
"""The service over TLS: who gets in, with which token, to which model, and for how long."""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from autoglm.errors import Error
from autoglm.serve.server import check_host
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from tests.autoglm import small
from tests.autoglm.serving import Service, request, serving
from tests.autoglm.small import good, write
from tests.link_attack import Forge, Papers

INFER = "/v2/models/small/infer"
DEVICE = Identity(uuid.UUID(int=0x11111111_1111_4111_8111_111111111111), Role.DEVICE)
CLIENT = Identity(uuid.UUID(int=0x22222222_2222_4222_8222_222222222222), Role.CONTROLLER)
OTHER = Identity(uuid.UUID(int=0x33333333_3333_4333_8333_333333333333), Role.CONTROLLER)
ALL = ({"device": "model:*", "access": "rw"},)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("papers")
    return Forge(folder, Authority.create(folder / "ca"))


@pytest.fixture(scope="module")
def service(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = write(tmp_path_factory.mktemp("service") / "small.glm", [good()])
    with serving(path, own=forge.papers("service", DEVICE).folder) as running:
        yield running


def context(papers: Papers | None, authority: Authority) -> ssl.SSLContext:
    """A client's, by Python's own means."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False  # the certificate names the device's UUID, not where it is
    found.load_verify_locations(cafile=str(authority.folder / "ca.pem"))
    if papers is not None:
        found.load_cert_chain(papers.folder / "cert.pem", papers.folder / "key.pem")
    return found


def ask(
    service: Service, forge: Forge, papers: Papers, path: str, body: object = None, token: str = ""
) -> tuple[int, Any]:
    """Ask with a certificate and its token, or another."""
    service.tls = context(papers, forge.authority)
    headers: Mapping[str, str] = {
        "Authorization": f"Bearer {token or (papers.folder / 'token').read_text()}"
    }
    return service.ask(path, body, headers)


def test_with_certificate_and_token(service: Service, forge: Forge) -> None:
    papers = forge.papers("all", CLIENT, rights=ALL)
    status, answer = ask(service, forge, papers, INFER, request(small.inputs()))
    assert status == 200, answer
    assert ask(service, forge, papers, "/v2/models/small")[0] == 200


def test_without_a_right(service: Service, forge: Forge) -> None:
    looks = forge.papers("looks", CLIENT, rights=({"device": "model:small", "access": "r"},))
    assert ask(service, forge, looks, "/v2/models/small")[0] == 200
    status, answer = ask(service, forge, looks, INFER, request(small.inputs()))
    assert status == 403 and "no right model:small=rw" in answer["error"]
    other = forge.papers("other", CLIENT, rights=({"device": "model:large", "access": "rw"},))
    assert ask(service, forge, other, "/v2/models/small")[0] == 403


def test_without_a_token_or_with_a_stolen_one(service: Service, forge: Forge) -> None:
    owner = forge.papers("owner", CLIENT, rights=ALL)
    thief = forge.papers("thief", OTHER, rights=())
    service.tls = context(thief, forge.authority)
    status, answer = service.ask("/v2/models/small")
    assert status == 401 and "Bearer" in answer["error"]
    status, answer = ask(
        service, forge, thief, INFER, {}, token=(owner.folder / "token").read_text()
    )
    assert status == 401 and "bound to another certificate" in answer["error"]
    status, answer = ask(service, forge, thief, INFER, {}, token="a.b.c")
    assert status == 401 and "malformed" in answer["error"]
    assert service.ask("/health/live")[0] == 200  # a certificate is enough


def test_without_a_certificate(service: Service, forge: Forge) -> None:
    foreign = Authority.create(forge.folder / "foreign")
    stranger = Forge(forge.folder / "strangers", foreign)
    stranger.folder.mkdir()
    for papers in (None, stranger.papers("stranger", CLIENT), forge.papers("own", DEVICE)):
        service.tls = context(papers, forge.authority)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            service.ask("/v2")


def test_who_is_revoked_is_out_at_once(service: Service, forge: Forge) -> None:
    papers = forge.issued("revoked", CLIENT)
    service.tls = context(papers, forge.authority)
    connection = service.connect()  # that stays open
    headers = {"Authorization": f"Bearer {(papers.folder / 'token').read_text()}"}
    connection.request("GET", "/v2/models/small", headers=headers)
    answer = connection.getresponse()
    assert (answer.status, bool(answer.read())) == (200, True)
    forge.authority.revoke(f"{papers.certificate.serial_number:x}")
    (forge.folder / "service" / "crl.pem").write_bytes(
        (forge.authority.folder / "crl.pem").read_bytes()
    )
    time.sleep(0.6)
    connection.request("GET", "/v2/models/small", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 401 and b"revoked" in answer.read()
    connection.close()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        service.ask("/health/live")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "[::1", "192.0.2.1", "example.org"])
def test_nobody_else_is_let_in_without_tls(host: str) -> None:
    with pytest.raises(Error, match="--own FOLDER"):
        check_host(host, None)
    for alone in ("127.0.0.1", "::1", "[::1]", "localhost"):
        check_host(alone, None)
