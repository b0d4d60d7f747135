# SPDX-License-Identifier: Apache-2.0
"""A new machine's way to its certificate: pairing codes and the authority's service."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import socket
import ssl
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

import hal
from hal.link import enrol as enrolment
from hal.link import files
from hal.link.authority import Authority
from hal.link.credentials import Credentials
from hal.link.enrol import LINE_MAX, PER_ADDRESS, TURNED, Registrar, enrol, renew
from hal.link.identity import SERVICE, Identity, Role, host_name
from hal.link.members import Member, Members
from hal.link.pairing import LIFETIME_MAX, Code, Pairings
from hal.link.request import make_key, make_request
from hal.link.token import Judge, Right

WHO = Identity(uuid.UUID("22222222-2222-4222-8222-222222222222"), Role.CONTROLLER)
OTHER = uuid.UUID("33333333-3333-4333-8333-333333333333")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority.create(tmp_path / "ca")
    Members(authority.folder).put(Member(WHO, (Right("uart*", "r"),), "desk"))
    return authority


@pytest.fixture
def registrar(authority: Authority) -> Iterator[Registrar]:
    service = Registrar(authority, ("127.0.0.1", 0))
    thread = threading.Thread(target=service.serve)
    thread.start()
    yield service
    service.stop()
    thread.join()


def mint(authority: Authority, who: Identity = WHO, lifetime: float = 60) -> Code:
    return Pairings(authority.folder).mint(who, authority.certificate, lifetime)


def address(registrar: Registrar) -> tuple[str, int]:
    return "127.0.0.1", registrar.port


# ---- codes ---------------------------------------------------------------------------------------


def test_a_code_survives_being_typed(authority: Authority) -> None:
    code = mint(authority)
    assert Code.parse(f"  {code}\n") == code
    assert len(str(code)) <= 128
    assert base64.urlsafe_b64encode(code.secret).decode() not in repr(code)


@pytest.mark.parametrize("text", ["", "hal1", "hal1.a.b.c", "hal2.AAAA", "hal1.....", "hal1.é.b.c"])
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(hal.InvalidArgument, match="is it whole"):
        Code.parse(text)


def test_a_cut_code(authority: Authority) -> None:
    text = str(mint(authority))
    for length in range(len(text)):
        with pytest.raises(hal.InvalidArgument, match="is it whole"):
            Code.parse(text[:length])


def test_a_code_is_good_once(authority: Authority) -> None:
    code, pairings = mint(authority), Pairings(authority.folder)
    assert pairings.redeem(code.id, code.secret) == WHO
    with pytest.raises(hal.PermissionDenied, match="wrong, was used, or has ended"):
        pairings.redeem(code.id, code.secret)


def test_a_wrong_guess_does_not_use_it_up(authority: Authority) -> None:
    code, pairings = mint(authority), Pairings(authority.folder)
    for secret in (b"", bytes(24), code.secret[:-1]):
        with pytest.raises(hal.PermissionDenied):
            pairings.redeem(code.id, secret)
    with pytest.raises(hal.PermissionDenied):
        pairings.redeem(OTHER, code.secret)
    assert pairings.redeem(code.id, code.secret) == WHO


def test_a_code_ends(authority: Authority) -> None:
    code = mint(authority, lifetime=0.05)
    time.sleep(0.06)
    with pytest.raises(hal.PermissionDenied, match="has ended"):
        Pairings(authority.folder).redeem(code.id, code.secret)


def test_a_new_code_voids_the_old(authority: Authority) -> None:
    old, new = mint(authority), mint(authority)
    pairings = Pairings(authority.folder)
    with pytest.raises(hal.PermissionDenied):
        pairings.redeem(old.id, old.secret)
    assert pairings.redeem(new.id, new.secret) == WHO


@pytest.mark.parametrize(
    ("lifetime", "good"), [(0, False), (0.1, True), (LIFETIME_MAX, True), (LIFETIME_MAX + 1, False)]
)
def test_lifetimes_of_codes(authority: Authority, lifetime: float, good: bool) -> None:
    if good:
        assert mint(authority, lifetime=lifetime)
    else:
        with pytest.raises(hal.InvalidArgument, match="not more than 0"):
            mint(authority, lifetime=lifetime)


def test_the_secret_is_not_kept(authority: Authority) -> None:
    code = mint(authority)
    kept = (authority.folder / "pairings.json").read_bytes()
    assert code.secret.hex().encode() not in kept
    assert base64.b64encode(code.secret) not in kept
    assert stat.S_IMODE((authority.folder / "pairings.json").stat().st_mode) == 0o600


# ---- members -------------------------------------------------------------------------------------


def test_a_role_never_changes(authority: Authority) -> None:
    with pytest.raises(hal.InvalidArgument, match="is a controller and stays one"):
        Members(authority.folder).put(Member(Identity(WHO.id, Role.DEVICE)))


def test_the_services_own_uuid_is_nobodys(authority: Authority) -> None:
    with pytest.raises(hal.InvalidArgument, match="the authority's own"):
        Members(authority.folder).put(Member(Identity(SERVICE, Role.DEVICE)))


def test_damaged_members_are_told(authority: Authority) -> None:
    (authority.folder / "members.json").write_text('[{"id": 1}]')
    with pytest.raises(hal.InvalidArgument, match="damaged"):
        Members(authority.folder).all()


# ---- the service ---------------------------------------------------------------------------------


def test_enrolment(authority: Authority, registrar: Registrar, tmp_path: Path) -> None:
    """What comes back is whole, and a judge accepts its token with the rights of the member."""
    credentials = enrol(mint(authority), address(registrar), tmp_path / "me")
    assert credentials.identity == WHO
    assert credentials.findings() == []
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "me" / "cert.pem").read_text())
    judged = Judge(credentials.token_key, credentials.ca, OTHER).judge(credentials.token, der)
    assert judged.allows("uart3", "r")
    assert not judged.allows("uart3", "w")
    for name in ("key.pem", "token"):
        assert stat.S_IMODE((tmp_path / "me" / name).stat().st_mode) == 0o600


def test_a_used_code_is_refused(authority: Authority, registrar: Registrar, tmp_path: Path) -> None:
    code = mint(authority)
    enrol(code, address(registrar), tmp_path / "me")
    with pytest.raises(hal.PermissionDenied, match="was used"):
        enrol(code, address(registrar), tmp_path / "again")
    assert not (tmp_path / "again" / "cert.pem").exists()


def test_another_authoritys_service_is_refused(registrar: Registrar, tmp_path: Path) -> None:
    stranger = Authority.create(tmp_path / "strange")
    with pytest.raises(hal.PermissionDenied, match="not of the authority that made the code"):
        enrol(mint(stranger), address(registrar), tmp_path / "me")
    assert not (tmp_path / "me").exists(), "not even a key is made for a stranger"


def test_a_code_whose_member_was_taken_out(
    authority: Authority, registrar: Registrar, tmp_path: Path
) -> None:
    code = mint(authority)
    Members(authority.folder).remove(WHO.id)
    with pytest.raises(hal.PermissionDenied, match="there is none"):
        enrol(code, address(registrar), tmp_path / "me")


def question(
    authority: Authority, registrar: Registrar, line: bytes, member: Credentials | None = None
) -> dict[str, str]:
    """Ask by hand."""
    context = ssl.create_default_context(cafile=str(authority.folder / "ca.pem"))
    if member:
        context.load_cert_chain(member.folder / "cert.pem", member.key)
    plain = socket.create_connection(address(registrar))
    with plain, context.wrap_socket(plain, server_hostname=host_name(SERVICE)) as link:
        link.sendall(line)
        answer = b""
        while not answer.endswith(b"\n") and (piece := link.recv(65536)):
            answer += piece
    stated = json.loads(answer) if answer else {}
    assert isinstance(stated, dict)
    return stated


def test_a_request_for_another_uuid_is_refused(authority: Authority, registrar: Registrar) -> None:
    code = mint(authority)
    key = make_key(authority.folder / "x" / "key.pem")
    message = {
        "want": "certificate",
        "id": str(code.id),
        "secret": base64.b64encode(code.secret).decode(),
        "request": make_request(key, OTHER).decode(),
    }
    answer = question(authority, registrar, json.dumps(message).encode() + b"\n")
    assert "it names 3333" in answer["error"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"want": "everything"}\n', "cannot be wanted"),
        (b'{"want": "renewal", "request": "x"}\n', "carries no certificate"),
        (b'{"want": "refresh"}\n', "carries no certificate"),
        (b'{"want": "certificate"}\n', "'id' is missing"),
        (b'{"want": "certificate", "id": 5}\n', "'id' is missing"),
        (b'{"want": "certificate", "id": "x"}\n', "badly formed"),
        (
            b'{"want": "certificate", "id": "%s", "secret": "!"}\n' % str(OTHER).encode(),
            "base64|Non",
        ),
    ],
)
def test_a_bad_question_is_answered(
    authority: Authority, registrar: Registrar, line: bytes, error: str
) -> None:
    import re

    assert re.search(error, question(authority, registrar, line)["error"])


@pytest.mark.parametrize(
    "line",
    [b"\n", b"rubbish\n", b"[]\n", b"\xff\n", b"[" * 30000 + b"\n", b"x" * (LINE_MAX + 1)],
    ids=["empty", "rubbish", "list", "bytes", "deep", "long"],
)
def test_rubbish_ends_the_connection_and_nothing_else(
    authority: Authority, registrar: Registrar, line: bytes
) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):  # Closed while it was being sent.
        assert question(authority, registrar, line) == {}
    assert "ca" in question(authority, registrar, b'{"want": "ca"}\n')


def test_the_slow_and_the_silent_are_ended(
    authority: Authority,
    registrar: Registrar,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They hold their places for a while; then others get them."""
    monkeypatch.setattr(enrolment, "PATIENCE", 0.5)
    silent = [socket.create_connection(address(registrar)) for _ in range(PER_ADDRESS)]
    time.sleep(0.1)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        question(authority, registrar, b'{"want": "ca"}\n')
    dripping = silent[0]
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            dripping.sendall(b"\x16")
        except OSError:
            break
        time.sleep(0.1)
    assert time.monotonic() < end, "a byte every 100 ms kept the connection open"
    for link in silent:
        link.close()
    assert "ca" in question(authority, registrar, b'{"want": "ca"}\n')


def test_a_certificate_is_renewed_when_it_is_time(
    authority: Authority, registrar: Registrar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = enrol(mint(authority), address(registrar), tmp_path / "me")
    same = renew(first, address(registrar))
    assert same.certificate == first.certificate
    assert same.token != first.token, "the token is new in any case"
    monkeypatch.setattr(Credentials, "renewal_due", lambda *_: True)
    second = renew(same, address(registrar))
    assert second.certificate.serial_number != first.certificate.serial_number
    assert second.certificate.public_key() == first.certificate.public_key()
    assert second.identity == WHO


DEVICE = Identity(OTHER, Role.DEVICE)


def test_a_device_renews(
    authority: Authority, registrar: Registrar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is good for no TLS client, so the two change places."""
    Members(authority.folder).put(Member(DEVICE))
    first = enrol(mint(authority, DEVICE), address(registrar), tmp_path / "device")
    same = renew(first, address(registrar))
    assert same.certificate == first.certificate and same.token != first.token
    monkeypatch.setattr(Credentials, "renewal_due", lambda *_: True)
    second = renew(same, address(registrar))
    assert second.certificate.serial_number != first.certificate.serial_number
    assert second.identity == DEVICE
    authority.revoke(str(OTHER))
    with pytest.raises(OSError, match=r"(?i)revoked|closed|reset|refused|ended"):
        renew(second, address(registrar))


def test_a_device_gives_nothing_to_another_than_the_authority(
    authority: Authority, registrar: Registrar, tmp_path: Path
) -> None:
    """A member may hold a client's certificate of the same authority: it is not the service."""
    Members(authority.folder).put(Member(DEVICE))
    device = enrol(mint(authority, DEVICE), address(registrar), tmp_path / "device")
    member = enrol(mint(authority), address(registrar), tmp_path / "me")
    heard = b""

    def pretend(listener: socket.socket) -> None:
        nonlocal heard
        link, _ = listener.accept()
        assert link.recv(1) == TURNED
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(member.folder / "cert.pem", member.key)
        with link, contextlib.suppress(OSError), context.wrap_socket(link) as secure:
            heard = secure.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=pretend, args=(listener,))
        thread.start()
        with pytest.raises(hal.PermissionDenied, match=f"{WHO}, not the authority"):
            renew(device, listener.getsockname()[:2])
        thread.join()
    assert heard == b""


def test_a_controller_cannot_change_places(
    authority: Authority, registrar: Registrar, tmp_path: Path
) -> None:
    """Its certificate is good for no TLS server."""
    member = enrol(mint(authority), address(registrar), tmp_path / "me")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(member.folder / "cert.pem", member.key)
    with socket.create_connection(address(registrar), timeout=5) as link:
        link.sendall(TURNED)
        with pytest.raises(ssl.SSLError, match=r"(?i)unsupported.certificate"):
            context.wrap_socket(link, server_side=True)


def test_the_revoked_cannot_renew(
    authority: Authority, registrar: Registrar, tmp_path: Path
) -> None:
    member = enrol(mint(authority), address(registrar), tmp_path / "me")
    authority.revoke(str(WHO.id))
    with pytest.raises(OSError, match=r"(?i)revoked|closed|reset|refused|ended"):
        renew(member, address(registrar))
    again = enrol(mint(authority), address(registrar), tmp_path / "me")
    assert again.findings() == []


def test_a_member_cannot_renew_for_another(
    authority: Authority, registrar: Registrar, tmp_path: Path
) -> None:
    member = enrol(mint(authority), address(registrar), tmp_path / "me")
    request = make_request(member.key.read_bytes(), OTHER).decode()
    line = json.dumps({"want": "renewal", "request": request}).encode() + b"\n"
    assert "it names 3333" in question(authority, registrar, line, member)["error"]


def test_the_service_keeps_the_revocations_fresh(
    authority: Authority, registrar: Registrar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=4)
    monkeypatch.setattr("hal.link.authority.now", lambda: later.replace(microsecond=0))
    authority.keep_crl_fresh()
    after = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert after.next_update_utc is not None
    assert before.next_update_utc is not None
    assert after.next_update_utc > before.next_update_utc


def test_an_unreachable_service_is_named(authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        enrol(mint(authority), ("127.0.0.1", port), tmp_path / "me", timeout=1)


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    files.write(path, b"old", files.SECRET)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, b"new", files.SECRET)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
