# SPDX-License-Identifier: Apache-2.0
"""Who is who on the link: the authority, certificates, revocations, tokens; real handshakes."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import socket
import ssl
import stat
import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

import hal
from hal.link import files, tls, token
from hal.link.authority import DAYS_CRL, DAYS_MAX, LARGEST_REQUEST, Authority
from hal.link.credentials import Credentials
from hal.link.identity import Identity, Role, host_name, identity_of
from hal.link.request import make_key, make_request
from hal.link.token import Judge, Refused, Right

DEVICE = uuid.UUID("11111111-1111-4111-8111-111111111111")
CONTROLLER = uuid.UUID("22222222-2222-4222-8222-222222222222")
OTHER = uuid.UUID("33333333-3333-4333-8333-333333333333")
PEM = serialization.Encoding.PEM
ALL = (Right("*", "rw"),)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca")


def equip(authority: Authority, folder: Path, who: Identity, days: int = 30) -> Credentials:
    """An end's folder, with everything it needs."""
    key = make_key(folder / "key.pem")
    certificate = authority.issue(make_request(key, who.id), who, days)
    files.write(folder / "cert.pem", certificate, files.PUBLIC)
    for name in ("ca.pem", "crl.pem", "tokens.pub"):
        files.write(folder / name, (authority.folder / name).read_bytes(), files.PUBLIC)
    text = token.issue(
        authority.token_key,
        authority.certificate,
        x509.load_pem_x509_certificate(certificate),
        ALL,
    )
    files.write(folder / "token", text.encode(), files.SECRET)
    return Credentials(folder)


@pytest.fixture
def device(authority: Authority, tmp_path: Path) -> Credentials:
    return equip(authority, tmp_path / "device", Identity(DEVICE, Role.DEVICE))


@pytest.fixture
def controller(authority: Authority, tmp_path: Path) -> Credentials:
    return equip(authority, tmp_path / "controller", Identity(CONTROLLER, Role.CONTROLLER))


# ---- the authority -------------------------------------------------------------------------------


def test_its_secrets_are_its_owners_alone(authority: Authority) -> None:
    for name in ("ca.key", "tokens.key"):
        assert stat.S_IMODE((authority.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700


def test_a_second_authority_in_one_folder_is_refused(authority: Authority) -> None:
    before = (authority.folder / "ca.key").read_bytes()
    with pytest.raises(hal.InvalidArgument, match="there is one already"):
        Authority.create(authority.folder)
    assert (authority.folder / "ca.key").read_bytes() == before


def test_a_key_that_others_may_read_is_refused(authority: Authority) -> None:
    (authority.folder / "ca.key").chmod(0o640)
    with pytest.raises(hal.PermissionDenied, match=r"mode 0640.*chmod 600"):
        Authority.load(authority.folder)


def test_a_folder_without_authority_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(hal.NotFound, match="hal-ca init"):
        Authority.load(tmp_path)


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "tokens.key"])
def test_a_damaged_file_is_named(authority: Authority, name: str) -> None:
    path = authority.folder / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(hal.InvalidArgument, match="damaged"):
        Authority.load(authority.folder)


def test_a_key_of_another_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other")
    files.write(authority.folder / "ca.key", (other.folder / "ca.key").read_bytes(), files.SECRET)
    with pytest.raises(hal.InvalidArgument, match=r"not the key of ca\.pem"):
        Authority.load(authority.folder)


def test_openssl_accepts_the_chain(authority: Authority, device: Credentials) -> None:
    """An independent implementation finds CA, certificate and revocations in order."""
    common = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile"]
    files_ = [str(authority.folder / "ca.pem"), "-CRLfile", str(authority.folder / "crl.pem")]
    for purpose, good in (("sslserver", True), ("sslclient", False)):
        command = [*common, *files_, "-purpose", purpose, str(device.folder / "cert.pem")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is good, done.stdout + done.stderr


def test_a_certificate_says_who_and_no_more(device: Credentials) -> None:
    assert identity_of(device.certificate) == Identity(DEVICE, Role.DEVICE)
    constraints = device.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca


def request(
    *names: x509.GeneralName,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ca: bool = False,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    private = key or ec.generate_private_key(ec.SECP256R1())
    return builder.sign(private, hashes.SHA256()).public_bytes(PEM)


NAME = x509.DNSName(host_name(DEVICE))
WHO = Identity(DEVICE, Role.DEVICE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (request, "exactly one name"),
        (lambda: request(NAME, x509.DNSName("more.example")), "exactly one name"),
        (lambda: request(x509.DNSName("a.example")), "is not <uuid>"),
        (lambda: request(x509.DNSName(host_name(OTHER))), "it names 3333.*not 1111"),
        (lambda: request(x509.DNSName(host_name(DEVICE).upper())), "is not <uuid>"),
        (lambda: request(NAME, key=rsa.generate_private_key(65537, 1024)), "its key must be"),
        (lambda: request(NAME, key=ec.generate_private_key(ec.SECP192R1())), "its key must be"),
        (lambda: b"", "certif|ASN|parsing|PEM"),
        (lambda: b"\x30\x82" + bytes(100), "ASN|parsing"),
        (lambda: bytes(LARGEST_REQUEST + 1), "are more than"),
    ],
)
def test_a_bad_request_is_refused(
    authority: Authority, make: Callable[[], bytes], message: str
) -> None:
    with pytest.raises(hal.InvalidArgument, match=message):
        authority.issue(make(), WHO)
    assert authority.issued() == []


def test_a_request_whose_signature_is_broken_is_refused(authority: Authority) -> None:
    pem = request(NAME)
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(hal.InvalidArgument, match=r"not signed by the key|ASN|parsing"):
        authority.issue(bytes(der), WHO)


def test_a_request_to_be_an_authority_gives_a_leaf(authority: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(authority.issue(request(NAME, ca=True), WHO))
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca


@pytest.mark.parametrize(
    ("days", "good"), [(0, False), (1, True), (DAYS_MAX, True), (DAYS_MAX + 1, False)]
)
def test_lifetimes(authority: Authority, days: int, good: bool) -> None:
    if good:
        certificate = x509.load_pem_x509_certificate(authority.issue(request(NAME), WHO, days))
        left = certificate.not_valid_after_utc - dt.datetime.now(dt.timezone.utc)
        assert abs(left - dt.timedelta(days=days)) < dt.timedelta(minutes=1)
    else:
        with pytest.raises(hal.InvalidArgument, match=f"not 1 to {DAYS_MAX}"):
            authority.issue(request(NAME), WHO, days)


def test_the_book_outlives_a_crash_while_it_is_written(authority: Authority) -> None:
    authority.issue(request(NAME), WHO)
    book = authority.folder / "issued.jsonl"
    book.write_bytes(book.read_bytes() + b'{"serial": "12')
    assert len(authority.issued()) == 1
    authority.issue(request(NAME), WHO)
    assert len(authority.issued()) == 2


def test_a_damaged_book_names_the_line(authority: Authority) -> None:
    authority.issue(request(NAME), WHO)
    book = authority.folder / "issued.jsonl"
    book.write_bytes(b"rubbish\n" + book.read_bytes())
    with pytest.raises(hal.InvalidArgument, match="line 1 is damaged"):
        authority.issued()


def test_threads_lose_no_certificate(authority: Authority) -> None:
    pem = request(NAME)
    threads = [
        threading.Thread(target=lambda: Authority.load(authority.folder).issue(pem, WHO))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(authority.issued()) == 8


# ---- handshakes ----------------------------------------------------------------------------------


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[str, str]:
    """Shake hands over a socket pair; what each end says: "" when it is content."""
    ends = socket.socketpair()
    said = {"listener": "", "dialler": ""}

    def listen() -> None:
        try:
            with server.wrap_socket(ends[0], server_side=True) as link:
                link.sendall(b"x")
                link.recv(1)
        except OSError as error:
            said["listener"] = str(error)
            ends[0].close()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        with client.wrap_socket(ends[1], server_hostname=name) as link:
            if link.recv(1) != b"x":  # In TLS 1.3 the listener's refusal comes after the handshake.
                raise ConnectionError("closed")
            link.sendall(b"y")
    except OSError as error:
        said["dialler"] = str(error)
        ends[1].close()
    thread.join()
    return said["listener"], said["dialler"]


def test_good_ends_meet(device: Credentials, controller: Credentials) -> None:
    contexts = tls.listener_context(device), tls.dialler_context(controller)
    assert shake(*contexts, tls.server_name(DEVICE)) == ("", "")


def test_the_announced_uuid_must_be_the_certificates(
    device: Credentials, controller: Credentials
) -> None:
    contexts = tls.listener_context(device), tls.dialler_context(controller)
    assert "match" in shake(*contexts, tls.server_name(OTHER))[1].lower()
    assert shake(*contexts, "127.0.0.1")[1]
    assert shake(*contexts, "localhost")[1]


def test_a_certificate_of_another_authority(
    device: Credentials, controller: Credentials, tmp_path: Path
) -> None:
    stranger = Authority.create(tmp_path / "strange")
    theirs = equip(stranger, tmp_path / "theirs", Identity(CONTROLLER, Role.CONTROLLER))
    (theirs.folder / "ca.pem").write_bytes((device.folder / "ca.pem").read_bytes())
    (theirs.folder / "crl.pem").write_bytes((device.folder / "crl.pem").read_bytes())
    said = shake(tls.listener_context(device), tls.dialler_context(theirs), host_name(DEVICE))
    assert "certificate verify failed" in said[0]
    mine = equip(stranger, tmp_path / "fake", Identity(DEVICE, Role.DEVICE))
    for name in ("ca.pem", "crl.pem"):
        (mine.folder / name).write_bytes((device.folder / name).read_bytes())
    said = shake(tls.listener_context(mine), tls.dialler_context(controller), host_name(DEVICE))
    assert "certificate verify failed" in said[1]


def test_no_certificate_and_old_versions(device: Credentials, controller: Credentials) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(cafile=str(device.folder / "ca.pem"))
    said = shake(tls.listener_context(device), bare, host_name(DEVICE))
    assert "peer did not return a certificate" in said[0]
    old = tls.dialler_context(controller)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "unsupported protocol" in shake(tls.listener_context(device), old, host_name(DEVICE))[0]


def test_roles_are_kept_apart(
    authority: Authority, device: Credentials, controller: Credentials, tmp_path: Path
) -> None:
    """TLS itself refuses a device's certificate where a controller's is due, and the reverse."""
    with pytest.raises(hal.InvalidArgument, match="listen: the certificate is for a controller"):
        tls.listener_context(controller)
    with pytest.raises(hal.InvalidArgument, match="dial: the certificate is for a device"):
        tls.dialler_context(device)
    stolen = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stolen.load_cert_chain(device.folder / "cert.pem", device.key)
    stolen.load_verify_locations(cafile=str(device.folder / "ca.pem"))
    said = shake(tls.listener_context(device), stolen, host_name(DEVICE))
    assert "unsuitable certificate purpose" in said[0]


def test_a_revoked_certificate_is_refused_at_once(
    authority: Authority, device: Credentials, controller: Credentials
) -> None:
    """Also after a link was made before; nothing is resumed."""
    listener, dialler = tls.listener_context(device), tls.dialler_context(controller)
    assert shake(listener, dialler, host_name(DEVICE)) == ("", "")
    revoked = authority.revoke(str(CONTROLLER), "key-compromise")
    assert [entry.reason for entry in revoked] == ["key-compromise"]
    (device.folder / "crl.pem").write_bytes((authority.folder / "crl.pem").read_bytes())
    assert shake(listener, dialler, host_name(DEVICE)) == ("", ""), "a context is never changed"
    listener = tls.listener_context(device)
    assert "certificate revoked" in shake(listener, dialler, host_name(DEVICE))[0]
    assert authority.revoke(str(CONTROLLER)) == [], "revoked twice"


def test_without_revocations_everybody_is_refused(
    device: Credentials, controller: Credentials
) -> None:
    device.crl.unlink()
    said = shake(tls.listener_context(device), tls.dialler_context(controller), host_name(DEVICE))
    assert "unable to get certificate CRL" in said[0]


def stale_crl(authority: Authority) -> bytes:
    begin = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=DAYS_CRL + 1)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(begin).next_update(begin + dt.timedelta(days=DAYS_CRL))
    key = authority.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False
    ).add_extension(x509.CRLNumber(1), critical=False)
    private = serialization.load_pem_private_key((authority.folder / "ca.key").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return builder.sign(private, hashes.SHA256()).public_bytes(PEM)


def test_old_revocations_are_as_good_as_none(
    authority: Authority, device: Credentials, controller: Credentials
) -> None:
    device.crl.write_bytes(stale_crl(authority))
    said = shake(tls.listener_context(device), tls.dialler_context(controller), host_name(DEVICE))
    assert "CRL has expired" in said[0]
    (finding,) = device.findings()
    assert finding.grave
    assert "everybody is refused" in finding.text


def test_damaged_revocations_are_told_before_anything_listens(device: Credentials) -> None:
    device.crl.write_bytes(b"rubbish")
    with pytest.raises(hal.InvalidArgument, match="use the certificate in"):
        tls.listener_context(device)


def test_revoking_what_was_never_made(authority: Authority) -> None:
    with pytest.raises(hal.NotFound, match="no certificate of that"):
        authority.revoke("abcdef")
    with pytest.raises(hal.InvalidArgument, match="choose of"):
        authority.revoke("abcdef", "whim")


# ---- findings ------------------------------------------------------------------------------------


def test_nothing_is_found_when_all_is_well(device: Credentials) -> None:
    assert device.findings() == []


@pytest.mark.parametrize(
    ("days", "grave", "text"),
    [
        (-1, True, "is the clock right"),
        (15, False, ""),
        (21, False, "renewal is due"),
        (31, True, "ended"),
    ],
)
def test_findings_about_time(device: Credentials, days: int, grave: bool, text: str) -> None:
    moment = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days)
    found = [f for f in device.findings(moment) if "crl.pem" not in f.text]
    found = [f for f in found if "the token" not in f.text]
    assert any(text in f.text and f.grave is grave for f in found) if text else not found


def test_a_key_of_another_certificate_is_found(
    device: Credentials, controller: Credentials
) -> None:
    files.write(device.key, controller.key.read_bytes(), files.SECRET)
    assert any("is not the certificate's key" in finding.text for finding in device.findings())


def test_a_revoked_certificate_knows_it(authority: Authority, device: Credentials) -> None:
    authority.revoke(str(DEVICE))
    device.crl.write_bytes((authority.folder / "crl.pem").read_bytes())
    assert any("this certificate is revoked" in finding.text for finding in device.findings())


@pytest.mark.parametrize(
    ("hours", "grave", "text"),
    [
        (-1, True, "token begins only"),
        (6, False, ""),
        (11.5, False, "token ends"),
        (13, True, "token ended"),
    ],
)
def test_findings_about_the_token(
    device: Credentials, hours: float, grave: bool, text: str
) -> None:
    moment = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=hours)
    found = [f for f in device.findings(moment) if "token" in f.text]
    assert any(text in f.text and f.grave is grave for f in found) if text else not found


def test_a_token_of_another_certificate_is_found(
    device: Credentials, controller: Credentials
) -> None:
    files.write(device.folder / "token", controller.token.encode(), files.SECRET)
    (found,) = Credentials(device.folder).findings()
    assert found.grave and "binding" in found.text


# ---- tokens --------------------------------------------------------------------------------------


@pytest.fixture
def judge(device: Credentials) -> Judge:
    return Judge(device.token_key, device.ca, DEVICE)


def der(credentials: Credentials) -> bytes:
    return credentials.certificate.public_bytes(serialization.Encoding.DER)


def test_a_good_token(judge: Judge, controller: Credentials) -> None:
    good = judge.judge(controller.token, der(controller))
    assert good.subject == CONTROLLER
    assert good.allows("uart0", "rw")
    assert not good.allows("uart0", "admin")
    assert len(controller.token) < 1024


@pytest.mark.parametrize(
    ("rights", "device", "access", "allowed"),
    [
        (["uart*=r"], "uart0", "r", True),
        (["uart*=r"], "uart0", "w", False),
        (["uart*=r"], "uart0", "rw", False),
        (["uart*=r"], "gpio", "r", False),
        (["uart0=r", "uart0=w"], "uart0", "w", True),
        (["uart0=admin"], "uart0", "rw", True),
        (["uart0=admin"], "uart0", "admin", True),
        ([], "uart0", "r", False),
        (["UART0"], "uart0", "r", False),
    ],
)
def test_rights(rights: list[str], device: str, access: str, allowed: bool) -> None:
    parsed = tuple(Right.parse(text) for text in rights)
    assert token.Token(CONTROLLER, parsed, 0, 0, "").allows(device, access) is allowed


def forged(authority: Authority, holder: Credentials, **changes: object) -> dict[str, object]:
    """The claims of a good token, some changed; None leaves one out, a time is seconds from now."""
    moment = int(dt.datetime.now(dt.timezone.utc).timestamp())
    claims: dict[str, object] = {
        "iss": token.issuer_of(authority.certificate),
        "sub": str(holder.identity.id),
        "aud": str(DEVICE),
        "iat": moment,
        "nbf": moment,
        "exp": moment + 600,
        "jti": str(uuid.uuid4()),
        "cnf": {"x5t#S256": token.thumbprint(holder.certificate)},
        "rights": [{"device": "*", "access": "rw"}],
    }
    for name, value in changes.items():
        claims[name] = moment + value if isinstance(value, int) else value
    return {name: value for name, value in claims.items() if value is not None}


def signed(authority: Authority, claims: dict[str, object], typ: str = token.TYPE) -> str:
    return jwt.encode(claims, authority.token_key, algorithm="EdDSA", headers={"typ": typ})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": -60, "nbf": -600}, "expired"),
        ({"nbf": 600, "exp": 1200}, "not-yet-valid"),
        ({"aud": str(OTHER)}, "audience"),
        ({"iss": "0" * 64}, "issuer"),
        ({"sub": str(OTHER)}, "subject"),
        ({"cnf": {"x5t#S256": "A" * 43}}, "binding"),
        ({"cnf": {"x5t#S256": 7}}, "binding"),
        ({"cnf": {"x5t#S256": "é"}}, "binding"),
        ({"cnf": "none"}, "binding"),
        ({"exp": 90000}, "malformed"),
        ({"rights": "all"}, "malformed"),
        ({"rights": [{"device": "*", "access": "everything"}]}, "malformed"),
        ({"rights": [{"device": "*", "access": "r"}] * 65}, "malformed"),
        *[
            ({name: None}, "malformed")
            for name in ("iss", "sub", "aud", "iat", "nbf", "exp", "jti", "cnf")
        ],
    ],
)
def test_a_bad_token_is_refused_with_its_reason(
    authority: Authority,
    judge: Judge,
    controller: Credentials,
    changes: dict[str, object],
    reason: str,
) -> None:
    text = signed(authority, forged(authority, controller, **changes))
    with pytest.raises(Refused) as refusal:
        judge.judge(text, der(controller))
    assert refusal.value.reason == reason


def test_a_token_that_is_known_is_judged_by_its_time_and_certificate_still(
    judge: Judge, controller: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = der(controller)
    token = judge.judge(controller.token, mine)
    assert judge.judge(controller.token, mine) is token
    with pytest.raises(Refused, match="binding"):
        judge.judge(controller.token, mine + b"\0")
    monkeypatch.setattr("hal.link.token.time.time", lambda: token.until + 1)
    assert judge.judge(controller.token, mine) is not token  # It was looked at anew.


def test_tokens_of_the_wrong_making(
    authority: Authority, judge: Judge, controller: Credentials
) -> None:
    claims = forged(authority, controller)
    with_public = (authority.folder / "tokens.pub").read_bytes()
    header = base64.urlsafe_b64encode(
        json.dumps({"alg": "HS256", "typ": token.TYPE}).encode()
    ).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    mac = hmac.new(with_public, header + b"." + body, hashlib.sha256).digest()
    confused = b".".join([header, body, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()
    for text, reason in (
        (
            jwt.encode(claims, ed25519.Ed25519PrivateKey.generate(), "EdDSA", {"typ": token.TYPE}),
            "signature",
        ),
        (jwt.encode(claims, "", "none", {"typ": token.TYPE}), "algorithm"),
        (confused, "algorithm"),
        (signed(authority, claims, typ="JWT"), "type"),
        ("", "missing"),
        (None, "missing"),
        ("rubbish", "malformed"),
        ("a.b.c", "malformed"),
        ("x" * 5000, "malformed"),
    ):
        with pytest.raises(Refused) as refusal:
            judge.judge(text, der(controller))
        assert refusal.value.reason == reason, text


def test_a_stolen_token_is_of_no_use(
    authority: Authority, judge: Judge, controller: Credentials, tmp_path: Path
) -> None:
    thief = equip(authority, tmp_path / "thief", Identity(OTHER, Role.CONTROLLER))
    with pytest.raises(Refused, match="bound to another certificate"):
        judge.judge(controller.token, der(thief))


@pytest.mark.parametrize(("hours", "good"), [(0, False), (1, True), (24, True), (25, False)])
def test_token_lifetimes(
    authority: Authority, controller: Credentials, hours: int, good: bool
) -> None:
    def make() -> str:
        return token.issue(
            authority.token_key,
            authority.certificate,
            controller.certificate,
            ALL,
            lifetime=dt.timedelta(hours=hours),
        )

    if good:
        assert make()
    else:
        with pytest.raises(hal.InvalidArgument, match="at most 24 h"):
            make()
