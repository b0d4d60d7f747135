# SPDX-License-Identifier: Apache-2.0
"""Agents that are not to be believed: hal:// says why, and sends them nothing of the program's.

Each is a TLS server with papers that something is wrong with, or that answers what it must not.
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Callable

import pytest

import hal
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from tests import link_attack as la
from tests.link_attack import Forge, Impostor, Papers

DEVICE = Identity(uuid.UUID("11111111-1111-4111-8111-111111111111"), Role.DEVICE)
GOOD = Identity(uuid.UUID("22222222-2222-4222-8222-222222222222"), Role.CONTROLLER)
ELSE = Identity(uuid.UUID("33333333-3333-4333-8333-333333333333"), Role.DEVICE)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("impostors")
    return Forge(folder, Authority.create(folder / "ca"))


def _now() -> int:
    return int(time.time())


def not_proved(words: str) -> str:
    return rf"not proved to be {DEVICE.id}.*{words}"


def dial(forge: Forge, impostor: Impostor, timeout: float = 5) -> None:
    folder = forge.folder / "dialler"
    if not folder.exists():
        forge.papers("dialler", GOOD)
    uri = f"hal://127.0.0.1:{impostor.port}/memory?id={DEVICE.id}&credentials={folder}"
    hal.open(uri, timeout=timeout).close()


IMPOSTORS: dict[str, tuple[Callable[[Forge], Papers], str]] = {
    "expired": (lambda f: f.papers("d-expired", DEVICE, (-9, -1)), "expired"),
    "not yet valid": (lambda f: f.papers("d-early", DEVICE, (1, 9)), "not yet valid"),
    "self-signed": (lambda f: f.papers("d-self", DEVICE, self_signed=True), "self.signed"),
    "other CA": (
        lambda f: Forge(f.folder, Authority.create(f.folder / "other-d")).papers("d-other", DEVICE),
        "certificate",
    ),
    "a controller's": (
        lambda f: f.papers("d-role", Identity(DEVICE.id, Role.CONTROLLER)),
        "purpose",
    ),
    "another UUID": (lambda f: f.papers("d-else", ELSE), "mismatch|match"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_agent_is_not_believed(forge: Forge, name: str) -> None:
    """Nothing of the program's is sent to it, and its own words say why."""
    make, words = IMPOSTORS[name]
    with Impostor(make(forge), b"") as impostor:
        with pytest.raises(hal.PermissionDenied, match=not_proved(words)):
            dial(forge, impostor)
        assert not impostor.heard


def test_revoked_agent_is_not_believed(forge: Forge) -> None:
    papers = forge.issued("d-revoked", DEVICE)
    forge.authority.revoke(f"{papers.certificate.serial_number:x}")
    good = forge.papers("d-revoked-good", GOOD)  # It has the new list.
    with Impostor(papers, b"") as impostor:
        uri = f"hal://127.0.0.1:{impostor.port}/x?id={DEVICE.id}&credentials={good.folder}"
        with pytest.raises(hal.PermissionDenied, match=not_proved("revoked")):
            hal.open(uri, timeout=5)
        assert not impostor.heard


def test_an_agent_that_was_known_is_not_believed_for_ever(forge: Forge) -> None:
    """What was verified before is remembered, and ends with the certificate; so is its token."""
    brief = forge.papers("d-brief", DEVICE, (-1, 4 / 86400))
    token = forge.token(brief)
    with Impostor(brief, la.greeting(token)) as impostor:
        for _ in range(2):
            with pytest.raises(hal.Timeout):  # It is believed, and asked for the device.
                dial(forge, impostor, 0.5)
        assert impostor.heard.count(b"memory") == 2
        with (
            Impostor(own_device(forge), la.greeting(token)) as other,
            pytest.raises(hal.PermissionDenied, match="bound to another certificate"),
        ):
            dial(forge, other)
        time.sleep(max(0.0, brief.certificate.not_valid_after_utc.timestamp() - time.time()) + 1)
        with pytest.raises(hal.PermissionDenied, match=not_proved("expired")):
            dial(forge, impostor)


def _only_1_2(tls: ssl.SSLContext) -> None:
    tls.maximum_version = ssl.TLSVersion.TLSv1_2


def _other_protocol(tls: ssl.SSLContext) -> None:
    tls.set_alpn_protocols(["h2"])


@pytest.mark.parametrize(
    ("how", "words"), [(_only_1_2, "version|protocol"), (_other_protocol, "does not speak hal/1")]
)
def test_tls_that_the_dialler_does_not_speak(
    forge: Forge, how: Callable[[ssl.SSLContext], None], words: str
) -> None:
    papers = own_device(forge)
    with Impostor(papers, la.greeting(forge.token(papers)), how) as impostor:
        with pytest.raises(hal.Error, match=words):
            dial(forge, impostor)
        assert not impostor.heard


def own_device(forge: Forge) -> Papers:
    """A device's good papers."""
    folder = forge.folder / "d-good"
    if not folder.exists():
        return forge.papers("d-good", DEVICE)
    return Papers.load(folder, DEVICE)


GREETINGS: dict[str, tuple[Callable[[Forge, Papers], str], str]] = {
    "none": (lambda f, p: "", "none was sent"),
    "expired": (lambda f, p: f.token(p, nbf=1, exp=9999), "it ended .* s ago"),
    "not yet valid": (
        lambda f, p: f.token(p, nbf=_now() + 600, exp=_now() + 900),
        "its time begins in",
    ),
    "another's ear": (lambda f, p: f.token(p, aud=str(ELSE.id)), "another controller"),
    "another issuer": (lambda f, p: f.token(p, iss="0" * 64), "another authority"),
    "another key": (lambda f, p: f.token(p, sign=la.by_another()), "not signed by the authority"),
    "alg none": (lambda f, p: f.token(p, {"alg": "none"}, lambda _: b""), "by EdDSA"),
    "another type": (lambda f, p: f.token(p, {"typ": "JWT"}), "another kind"),
    "another's": (lambda f, p: f.token(p, sub=str(ELSE.id)), "for another device"),
    "stolen": (lambda f, p: f.token(p, cnf={"x5t#S256": "A" * 43}), "bound to"),
    "unbound": (lambda f, p: f.token(p, cnf=None), "bound to"),
    "no token at all": (lambda f, p: "a.b", "it is no token"),
}


@pytest.mark.parametrize("name", GREETINGS)
def test_agents_token_is_judged(forge: Forge, name: str) -> None:
    """The dialler closes the link without another frame."""
    make, words = GREETINGS[name]
    papers = own_device(forge)
    with Impostor(papers, la.greeting(make(forge, papers))) as impostor:
        with pytest.raises(hal.PermissionDenied, match=words):
            dial(forge, impostor)
        assert len(impostor.heard) < 2000 and b"memory" not in impostor.heard


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", hal.ProtocolError),
        (la.header(1 << 30, la.HELLO, 3, 1), hal.ProtocolError),
        (la.header(2, la.HELLO, 3, 1) + b"\1\0", hal.ProtocolError),
        (la.header(0, 99, 3, 1), hal.ProtocolError),
        (la.greeting("", 2), hal.Error),
        (None, hal.Timeout),
    ],
    ids=["HTTP", "1 GiB", "cut", "type 99", "version 2", "silence"],
)
def test_answers_that_are_none(forge: Forge, answer: bytes | None, error: type[hal.Error]) -> None:
    with Impostor(own_device(forge), answer) as impostor, pytest.raises(error):
        dial(forge, impostor, 0.3 if answer is None else 5)
