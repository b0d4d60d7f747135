# SPDX-License-Identifier: Apache-2.0
"""Everything the secure link must refuse, tried for real against a running hal-agent.

Each attack comes from an address of its own, by which its line in the audit log is found. Beside it
a client that was there before goes on without a failure, and a new one gets in after it. What takes
time begins before the first test, side by side.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hal
from hal.link import files
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from tests import link_attack as la
from tests.link_attack import Forge, Link, Papers
from tests.needs import find, needs

DEVICE = Identity(uuid.UUID("11111111-1111-4111-8111-111111111111"), Role.DEVICE)
GOOD = Identity(uuid.UUID("22222222-2222-4222-8222-222222222222"), Role.CONTROLLER)
EVIL = Identity(uuid.UUID("66666666-6666-4666-8666-666666666666"), Role.CONTROLLER)
ELSE = Identity(uuid.UUID("33333333-3333-4333-8333-333333333333"), Role.DEVICE)
EACCES, EBUSY, EPROTO, EPROTONOSUPPORT = 13, 16, 71, 93
SOON = 15.0
"""Seconds for what must come; only a failure waits so long."""


# ---- the agent, and the client that must not notice anything -------------------------------------


class Good(threading.Thread):
    """A client that reads every few milliseconds, over one link."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.count = 0
        self.failure: hal.Error | None = None
        self._device = hal.open(uri, timeout=SOON)
        self._device.write_at(b"good", 0, timeout=SOON)
        self._enough = threading.Event()

    def run(self) -> None:
        with self._device as device:
            while not self._enough.wait(0.003):
                try:
                    assert device.read_at(4, 0, timeout=SOON) == b"good"
                except hal.Error as error:
                    self.failure = error
                    return
                self.count += 1

    def stop(self) -> None:
        self._enough.set()
        self.join()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """It does not fail in the block, nor stand still."""
        before = self.count
        yield
        until = time.monotonic() + SOON
        while self.count < before + 2 and self.failure is None and time.monotonic() < until:
            time.sleep(0.002)
        assert self.failure is None and self.count >= before + 2


@dataclass
class Arena:
    """An agent that runs, who attacks it, and who must not be hurt."""

    folder: Path
    forge: Forge
    port: int
    good: Papers
    beside: Good | None = None

    @property
    def address(self) -> la.Address:
        return "127.0.0.1", self.port

    def uri(
        self, device: str = "memory", papers: Papers | None = None, who: Identity = DEVICE
    ) -> str:
        folder = (papers or self.good).folder
        return f"hal://127.0.0.1:{self.port}/{device}?id={who.id}&credentials={folder}"

    def audited(self, source: str) -> list[dict[str, Any]]:
        """What the log says of an address."""
        lines = (self.folder / "stderr").read_text().splitlines()
        return [json.loads(n) for n in lines if n.startswith("{") and f'"{source}' in n]

    def expect(self, source: str, reason: str, event: str = "refused") -> None:
        """The log has it, or will within a moment."""
        until = time.monotonic() + SOON
        while not any(
            line["event"] == event and line.get("reason", "") == reason
            for line in self.audited(source)
        ):
            assert time.monotonic() < until, (reason, self.audited(source))
            time.sleep(0.02)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """A client that was there before goes on in the block, and after it a new one gets in."""
        assert self.beside is not None
        with self.beside.working():
            yield
            with hal.open(self.uri(), timeout=SOON) as device:
                assert device.read_at(4, 0, timeout=SOON) == b"good"

    def take_revocations(self) -> None:
        """Give the agent the authority's list of revocations, as `hal-ca renew` does."""
        crl = (self.forge.authority.folder / "crl.pem").read_bytes()
        files.write(self.folder / "crl.pem", crl, files.PUBLIC)

    def link(self, source: str, papers: Papers | None = None) -> Link:
        return Link(self.address, source, la.context(papers or self.good))

    def greeted(self, source: str, papers: Papers | None = None, token: str | None = None) -> Link:
        """A link of which HELLO is done."""
        papers = papers or self.good
        link = self.link(source, papers)
        answer = link.ask(la.hello(token or (papers.folder / "token").read_text()))
        assert not answer.errno, answer.sentence
        return link

    def opened(self, source: str, device: str = "memory", **how: Any) -> Link:
        """A link on which a device is open."""
        link = self.greeted(source, how.pop("papers", None), how.pop("token", None))
        answer = link.ask(la.opening(device, **how))
        assert not answer.errno, answer.sentence
        return link


CONFIG = """\
[devices]
memory = "memory:memfd:far?size=4MiB"
echo = "loopback:"
[announce]
enabled = false
"""


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("refusals")
    return Forge(folder, Authority.create(folder / "ca"))


@contextlib.contextmanager
def agent(forge: Forge, name: str, config: str) -> Iterator[Arena]:
    """A hal-agent of its own process, with a good client on it."""
    folder = forge.papers(f"{name}-device", DEVICE).folder
    (folder / "agent.toml").write_text(config)
    command = [sys.executable, "-c", "from hal.agent.cli import main; main()"]
    command += ["--config", str(folder / "agent.toml"), "--own", str(folder)]
    with (
        (folder / "stderr").open("wb") as errors,
        subprocess.Popen(
            [*command, "--host", "0.0.0.0", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        found = re.search(r"port (\d+)", process.stdout.readline())
        assert found, (folder / "stderr").read_text()
        good = forge.papers(f"{name}-good", GOOD)
        arena = Arena(folder, forge, int(found[1]), good)
        beside = arena.beside = Good(arena.uri())
        beside.start()
        try:
            yield arena
        finally:
            beside.stop()
            process.send_signal(signal.SIGTERM)
            assert process.wait(SOON) == 0, (folder / "stderr").read_text()


# ---- the attacks ---------------------------------------------------------------------------------

Attack = Callable[[Arena, str], None]


@dataclass(frozen=True)
class Case:
    """An attack, and the reason for which the log must say that it was refused."""

    reason: str
    attack: Attack
    slow: bool = False


CASES: dict[str, Case] = {}


def refused_for(reason: str, *, slow: bool = False) -> Callable[[Attack], Attack]:
    """Enter an attack by its function's name."""

    def enter(attack: Attack) -> Attack:
        CASES[attack.__name__.replace("_", " ")] = Case(reason, attack, slow)
        return attack

    return enter


def without_a_word(link: Link) -> None:
    """TLS itself refuses: not one frame comes."""
    with link:
        with contextlib.suppress(OSError):
            link.send(la.hello("x"))
        assert link.last() is None


# certificates: what is wrong with them is in the papers


def certificate(name: str, reason: str, make: Callable[[Forge], Papers | None]) -> None:
    """Enter an attack with a certificate."""

    def attack(arena: Arena, source: str) -> None:
        papers = make(arena.forge)
        without_a_word(Link(arena.address, source, la.context(papers)))

    CASES[name] = Case(reason, attack)


def _of_another(forge: Forge) -> Papers:
    other = Forge(forge.folder, Authority.create(forge.folder / "other"))
    return other.papers("of-another", EVIL)


certificate("no certificate", "no-certificate", lambda forge: None)
certificate("expired", "expired", lambda forge: forge.papers("expired", EVIL, (-9, -1)))
certificate("not yet valid", "not-yet-valid", lambda forge: forge.papers("early", EVIL, (1, 9)))
certificate(
    "self-signed", "self-signed", lambda forge: forge.papers("self", EVIL, self_signed=True)
)
certificate("other CA", "other-ca", _of_another)
certificate(
    "a device's",
    "wrong-role",
    lambda forge: forge.papers("device-dials", Identity(EVIL.id, Role.DEVICE)),
)


# TLS


@refused_for("old-tls")
def tls_1_2(arena: Arena, source: str) -> None:
    old = la.context(arena.good, newest=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        Link(arena.address, source, old)


@refused_for("old-tls")
def tls_1_1(arena: Arena, source: str) -> None:
    done = s_client(arena, source, arena.good, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert re.search(r"(?i)alert protocol version", done), done


@refused_for("wrong-protocol")
def other_alpn(arena: Arena, source: str) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        Link(arena.address, source, la.context(arena.good, ["h2"]))


@refused_for("wrong-protocol")
def no_alpn(arena: Arena, source: str) -> None:
    with contextlib.suppress(ssl.SSLError):
        without_a_word(Link(arena.address, source, la.context(arena.good, [])))


def s_client(arena: Arena, source: str, papers: Papers, *options: str) -> str:
    """An independent client: what openssl says of its attempt."""
    needs("openssl")
    command = [find("openssl") or "", "s_client", "-connect", f"127.0.0.1:{arena.port}"]
    command += ["-bind", f"{source}:0", "-cert", str(papers.folder / "cert.pem")]
    command += ["-key", str(papers.folder / "key.pem"), "-alpn", "hal/1", *options]
    done = subprocess.run(
        command,
        input="Q\n",
        env=os.environ | {"OPENSSL_CONF": os.devnull},  # The distribution's may forbid old TLS.
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    return done.stdout + done.stderr


# tokens


def told(link: Link, token: str, error: int, words: str) -> None:
    """HELLO is answered with an error, and the link is closed."""
    with link:
        answer = link.ask(la.hello(token))
        assert answer.errno == error and re.search(words, answer.sentence), answer
        assert link.receive() is None


def token(name: str, reason: str, words: str, make: Callable[[Arena], str]) -> None:
    """Enter an attack with a token."""

    def attack(arena: Arena, source: str) -> None:
        told(arena.link(source), make(arena), EACCES, words)

    CASES[name] = Case(reason, attack)


def forged(header: dict[str, Any] | None = None, **how: Any) -> Callable[[Arena], str]:
    """A token for the good client's certificate, with changes."""
    return lambda arena: arena.forge.token(arena.good, header, **how)


def _now() -> int:
    return int(time.time())


def _hs256(arena: Arena) -> str:
    public = (arena.forge.authority.folder / "tokens.pub").read_bytes()
    return arena.forge.token(arena.good, {"alg": "HS256"}, la.by_hmac(public))


def _nested(arena: Arena) -> str:
    deep = "[" * 1400 + "]" * 1400
    sign = arena.forge.authority.token_key.sign
    return la.jws('{"alg":"EdDSA","typ":"hal-device+jwt"}', f'{{"exp":{deep}}}', sign)


def _stolen(arena: Arena) -> str:
    victim = arena.forge.folder / "victim"
    if not victim.exists():
        arena.forge.papers("victim", Identity(uuid.UUID(int=7), Role.CONTROLLER))
    return (victim / "token").read_text()


token("no token", "token-missing", "missing", lambda arena: "")
token("token expired", "token-expired", "expired", forged(nbf=1, exp=9999))
token(
    "token not yet valid",
    "token-not-yet-valid",
    "not-yet",
    lambda arena: arena.forge.token(arena.good, nbf=_now() + 600, exp=_now() + 900),
)
token("token for another agent", "token-audience", "audience", forged(aud=str(ELSE.id)))
token("token of another issuer", "token-issuer", "issuer", forged(iss="0" * 64))
token("token by another key", "token-signature", "signature", forged(sign=la.by_another()))
token("token of another type", "token-type", "type", forged({"typ": "JWT"}))
token("alg none", "token-algorithm", "algorithm", forged({"alg": "none"}, sign=lambda _: b""))
token("HS256 by the public key", "token-algorithm", "algorithm", _hs256)
token("token of another device", "token-subject", "subject", forged(sub=str(ELSE.id)))
token("stolen token", "token-binding", "binding", _stolen)
token("no binding", "token-binding", "bound to no", forged(cnf={}))
token("no cnf", "token-malformed", "cnf", forged(cnf=None))
token("deep nesting", "token-malformed", "malformed", _nested)
token(
    "token for a week",
    "token-malformed",
    "more than 24",
    lambda arena: arena.forge.token(arena.good, nbf=_now() - 60, exp=_now() + 7 * 86400),
)


# rights


def denied(link: Link, request: bytes, words: str) -> None:
    """A request is answered with EACCES; the link goes on."""
    with link:
        answer = link.ask(request)
        assert answer.errno == EACCES and re.search(words, answer.sentence), answer
        assert link.ask(la.frame(la.PING, 3, bytes(8))).body == bytes(8)


@refused_for("rights")
def read_only_writes(arena: Arena, source: str) -> None:
    mine = arena.forge.token(arena.good, rights=[{"device": "memory", "access": "r"}])
    link = arena.opened(source, token=mine)
    denied(link, la.frame(la.WRITE_AT, 1, bytes(8) + b"evil"), "does not allow")


@refused_for("rights")
def read_only_changes_settings(arena: Arena, source: str) -> None:
    mine = arena.forge.token(arena.good, rights=[{"device": "echo", "access": "r"}])
    with arena.greeted(source, token=mine) as link:
        answer = link.ask(la.opening("echo", options={"capacity": "8192"}))
        assert answer.errno == EACCES and "settings" in answer.sentence, answer


@refused_for("rights")
def device_without_a_right(arena: Arena, source: str) -> None:
    mine = arena.forge.token(arena.good, rights=[{"device": "echo", "access": "rw"}])
    link = arena.greeted(source, token=mine)
    with link:
        answer = link.ask(la.opening("memory"))
        assert answer.errno == EACCES and "does not allow" in answer.sentence


@refused_for("rights")
def take_over_without_admin(arena: Arena, source: str) -> None:
    holder = arena.opened(source, "echo", exclusive=True)
    link = arena.greeted(source)
    with holder, link:
        answer = link.ask(la.opening("echo", exclusive=True, take=True))
        assert answer.errno == EACCES and "admin" in answer.sentence, answer
        assert holder.ask(la.frame(la.PING, 3, bytes(8))).body == bytes(8)


# what is said again


@refused_for("altered")
def replay(arena: Arena, source: str) -> None:
    """The bytes of a link on which a register was written do not write it again."""
    recorded = la.Recorded(arena.address, source, la.context(arena.good))
    recorded.ask(la.hello((arena.good.folder / "token").read_text()))
    recorded.ask(la.opening("memory"))
    store = struct.pack("<QIIQ", 64, 4, 0, 0x11111111)
    assert recorded.ask(la.frame(la.STORE, 1, store))[6] == 1
    recorded.close()
    with hal.open(arena.uri(), timeout=SOON) as device:
        assert device.load(64, 4) == 0x11111111
        device.store(64, 0x22222222, 4)
        again = la.connected(arena.address, source)
        with again:
            with contextlib.suppress(OSError):
                again.sendall(recorded.sent)
            assert la.ended(again)
        assert device.load(64, 4) == 0x22222222


# what is no TLS, or never becomes a frame


@refused_for("garbage")
def garbage(arena: Arena, source: str) -> None:
    with la.connected(arena.address, source) as link:
        with contextlib.suppress(OSError):
            link.sendall(bytes(range(256)) * 64)
        assert la.ended(link)


@refused_for("http")
def plain_http(arena: Arena, source: str) -> None:
    with la.connected(arena.address, source) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: hal\r\n\r\n")
        assert la.ended(link)


@refused_for("too-slow", slow=True)
def silence(arena: Arena, source: str) -> None:
    with la.connected(arena.address, source) as link:
        assert la.ended(link)


@refused_for("too-slow", slow=True)
def silence_after_the_handshake(arena: Arena, source: str) -> None:
    with arena.link(source) as link:
        link.last()


@refused_for("too-slow", slow=True)
def one_byte_a_tenth_of_a_second(arena: Arena, source: str) -> None:
    """A ClientHello that drips in."""
    first = ssl.MemoryBIO()
    how = la.context(arena.good).wrap_bio(ssl.MemoryBIO(), first)
    with pytest.raises(ssl.SSLWantReadError):
        how.do_handshake()
    with la.connected(arena.address, source) as link:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in first.read():
                link.sendall(bytes([byte]))
                time.sleep(0.1)
        assert la.ended(link)
        assert time.monotonic() - began < 10  # All of it would have taken 25 s and more.


@refused_for("too-slow", slow=True)
def hello_that_drips_in(arena: Arena, source: str) -> None:
    with arena.link(source) as link, contextlib.suppress(OSError):
        link.drip(la.hello((arena.good.folder / "token").read_text()), 0.1)
        raise AssertionError("all of it was taken")


# frames


def broken(link: Link, data: bytes, words: str) -> None:
    """The agent sends an error frame, and closes."""
    with link:
        with contextlib.suppress(OSError):
            link.send(data)
        last = link.last()
        assert last is not None and last.errno == EPROTO, last
        assert re.search(words, last.sentence), last


def frames(
    name: str,
    words: str,
    data: bytes,
    *,
    opened: str = "memory",
    reason: str = "broken-protocol",
) -> None:
    """Enter an attack with frames; `opened`: on which device, "" for none."""

    def attack(arena: Arena, source: str) -> None:
        broken(arena.opened(source, opened) if opened else arena.greeted(source), data, words)

    CASES[name] = Case(reason, attack)


frames("1 GiB length", "1073741824 bytes", la.header(1 << 30, la.WRITE, 1), reason="too-long")
frames("1 byte too long", "1048577 bytes", la.header((1 << 20) + 1, la.WRITE, 1), reason="too-long")
frames("lane that is none", "", la.header(0, la.PING, 4))
frames("answer from a controller", "", la.header(8, la.LOAD, 2, 1) + bytes(8))
frames("unknown type", "no request of type 99", la.frame(99, 1, lane=2))
frames("type 0", "type 0", la.frame(0, 1, lane=2))
frames("body too short", "too short", la.frame(la.LOAD, 1, bytes(11)))
frames("body too long", "too long", la.frame(la.LOAD, 1, struct.pack("<QI", 0, 4) + b"x"))
frames("ids out of order", "request 7 .* after 0", la.frame(la.LOAD, 7, struct.pack("<QI", 0, 4)))
frames("second HELLO", "", la.hello("x"))
frames("second OPEN", "already", la.opening("echo"))
frames(
    "request without device",
    "no device is open",
    la.frame(la.READ, 1, struct.pack("<I", 1)),
    opened="",
)
frames("lane of another", "lane", la.frame(la.READ, 1, struct.pack("<I", 1), lane=2))
frames(
    "busy lane",
    "busy",
    la.frame(la.READ, 1, struct.pack("<I", 1)) + la.frame(la.READ, 2, struct.pack("<I", 1)),
    opened="echo",
)
frames(
    "READ of more than a frame",
    "more than a frame holds",
    la.frame(la.READ, 1, struct.pack("<I", (1 << 20) + 1)),
    opened="echo",
)
frames(
    "attribute that is none",
    "no such attribute",
    la.frame(la.SET, 1, struct.pack("<HQQ", 999, 1, 1)),
)
frames(
    "batch in a batch",
    "cannot be batched",
    la.frame(20, 1, struct.pack("<HHBBHI", 1, 0, 20, 0, 0, 0), lane=2),
)


@refused_for("broken-protocol")
def frame_before_hello(arena: Arena, source: str) -> None:
    broken(arena.link(source), la.opening("memory"), "HELLO")


@refused_for("too-long")
def hello_that_is_too_long(arena: Arena, source: str) -> None:
    broken(arena.link(source), la.hello("x" * 8192), "8192")


@refused_for("wrong-version")
def wrong_version(arena: Arena, source: str) -> None:
    with arena.link(source) as link:
        mine = (arena.good.folder / "token").read_text()
        answer = link.ask(la.hello(mine, 2, 3))
        assert answer.errno == EPROTONOSUPPORT and "1" in answer.sentence
        assert link.receive() is None


# those who are in, and do harm


@refused_for("too-slow", slow=True)
def client_that_stops_reading(arena: Arena, source: str) -> None:
    """It asks and asks; the agent takes in no more than it can answer, and ends it."""
    asked = 0
    ping = la.frame(la.PING, 3, bytes(8)) * 4096
    with arena.opened(source) as link:
        # The kernels go on moving bytes into the full buffers for a while, at longer and longer
        # intervals: only then the agent's 10 s begin.
        link.settimeout(60)
        with contextlib.suppress(OSError):  # It blocks, and it is ended then.
            while asked < 64 << 20:
                link.send(ping)
                asked += len(ping)
        assert asked < 64 << 20


DIES = """
import sys, hal
device = hal.open(sys.argv[1], timeout=10)
print("held", flush=True)
sys.stdin.read()
"""


@refused_for("")
def client_that_dies_with_a_lease(arena: Arena, source: str) -> None:
    """kill -9: within a second somebody else has the device."""
    uri = arena.uri("echo") + "&lease=exclusive"
    with subprocess.Popen(
        [sys.executable, "-c", DIES, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"held\n"
        with pytest.raises(hal.Busy):
            hal.open(uri, timeout=SOON)
        victim.kill()
        victim.wait()
        died = time.monotonic()
        while True:
            try:
                hal.open(uri, timeout=SOON).close()
                break
            except hal.Busy:
                assert time.monotonic() < died + 1


@pytest.fixture(scope="module")
def arena(forge: Forge) -> Iterator[Arena]:
    with agent(forge, "main", CONFIG) as arena:
        yield arena


@pytest.fixture(scope="module")
def ahead(arena: Arena) -> Iterator[dict[str, Future[None]]]:
    """What takes time, begun already."""
    slow = {name: case.attack for name, case in CASES.items() if case.slow}
    with ThreadPoolExecutor(len(slow)) as pool:
        yield {name: pool.submit(attack, arena, source_of(name)) for name, attack in slow.items()}


def source_of(name: str) -> str:
    """The address from which an attack comes."""
    return next(la.sources(list(CASES).index(name)))


@pytest.mark.parametrize("name", CASES)
def test_refused(arena: Arena, ahead: dict[str, Future[None]], name: str) -> None:
    """It is refused and the log says why; a client beside it goes on, and a new one gets in."""
    case = CASES[name]
    with arena.undisturbed():
        if case.slow:
            ahead[name].result(90)
        else:
            case.attack(arena, source_of(name))
    if case.reason:
        arena.expect(source_of(name), case.reason)


# ---- revocation ----------------------------------------------------------------------------------


def test_revoked(arena: Arena) -> None:
    """An open link ends at once, no new one is let in, nor is one that was before resumed."""
    papers = arena.forge.issued("revoked", EVIL)
    source, again = "127.9.0.1", "127.9.0.2"
    how = la.context(papers)
    with arena.undisturbed():
        session_file = papers.folder / "session"
        said = s_client(arena, "127.9.0.3", papers, "-sess_out", str(session_file))
        assert "New, TLSv1.3" in said and "Session Ticket arrived" not in said
        assert not session_file.exists()
        with Link(arena.address, source, how) as link:
            assert not link.ask(la.hello((papers.folder / "token").read_text())).errno
            session = link.session
            arena.forge.authority.revoke(f"{papers.certificate.serial_number:x}")
            arena.take_revocations()
            last = link.last()
            assert last is not None and last.kind == la.NOTICE and last.body[:1] == bytes([5])
        without_a_word(Link(arena.address, again, how, session))
    arena.expect(source, "", "revoked")
    arena.expect(again, "revoked")


def test_whoever_was_let_in_is_refused_when_his_certificate_has_ended(arena: Arena) -> None:
    """What was verified before is remembered, and ends with the certificate."""
    papers = arena.forge.papers("brief", EVIL, (-1, 3 / 86400))
    for _ in range(2):
        arena.greeted("127.9.1.1", papers).close()
    end = papers.certificate.not_valid_after_utc.timestamp()
    time.sleep(max(0.0, end - time.time()) + 1)
    without_a_word(arena.link("127.9.1.2", papers))
    arena.expect("127.9.1.2", "expired")


# ---- floods --------------------------------------------------------------------------------------

LIMITS = """
[limits]
links = 16
per_identity = 6
half_open = 24
per_address = 8
"""


@pytest.fixture(scope="module")
def narrow(forge: Forge) -> Iterator[Arena]:
    """An agent of few links."""
    with agent(forge, "narrow", CONFIG + LIMITS) as arena:
        yield arena


def flood(arena: Arena, sources: list[str], most: int) -> list[socket.socket]:
    """Connections that say nothing; those that are left when no more than so many are."""
    links = [la.connected(arena.address, source) for source in sources]
    until = time.monotonic() + SOON
    while len(links) > most:
        assert time.monotonic() < until
        time.sleep(0.02)
        links = [link for link in links if still_open(link)]
    return links


def still_open(link: socket.socket) -> bool:
    """Whether the agent has not ended it; closed when it has."""
    link.setblocking(False)
    try:
        if link.recv(1):
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    link.close()
    return False


def test_half_open_of_one_source(narrow: Arena) -> None:
    source = "127.9.1.1"
    with narrow.undisturbed(), contextlib.ExitStack() as stack:
        for link in flood(narrow, [source] * 100, 8):
            stack.enter_context(link)
        with hal.open(narrow.uri(), timeout=SOON):  # Others get in during it.
            pass
    narrow.expect(source, "too-many")


def test_half_open_in_total(narrow: Arena) -> None:
    sources = [f"127.9.2.{host}" for host in range(1, 201)]
    with narrow.undisturbed(), contextlib.ExitStack() as stack:
        for link in flood(narrow, sources, 24):
            stack.enter_context(link)
        with hal.open(narrow.uri(), timeout=SOON):
            pass
    narrow.expect("127.9.2.", "too-many")


def crowd(arena: Arena, source: str, papers: list[Papers]) -> tuple[list[Link], int]:
    """Links that were let in, and how many were not."""
    links, refused = [], 0
    for each in papers:
        link = arena.link(source, each)
        answer = None
        with contextlib.suppress(OSError):
            link.send(la.hello((each.folder / "token").read_text()))
            answer = link.receive()
        if answer is not None and not answer.errno:
            links.append(link)
        else:
            refused += 1
            link.close()
    return links, refused


def test_authenticated_of_one_identity(narrow: Arena) -> None:
    source = "127.9.3.1"
    papers = narrow.forge.papers("crowd", EVIL)
    with narrow.undisturbed(), contextlib.ExitStack() as stack:
        links, refused = crowd(narrow, source, [papers] * 20)
        for link in links:
            stack.enter_context(link)
        assert len(links) == 6 and refused == 14
        with hal.open(narrow.uri(), timeout=SOON):
            pass
    narrow.expect(source, "too-many")


def test_authenticated_in_total(narrow: Arena) -> None:
    source = "127.9.4.1"
    many = [
        narrow.forge.papers(f"crowd{n}", Identity(uuid.UUID(int=100 + n), Role.CONTROLLER))
        for n in range(6)
    ]
    with narrow.undisturbed():  # The new client comes when the crowd has gone.
        links, refused = crowd(narrow, source, many * 4)
        assert len(links) <= 15 and refused >= 9
        assert narrow.beside is not None
        with narrow.beside.working():
            pass
        for link in links:
            link.close()
    narrow.expect(source, "too-many")


# ---- addresses that prove nothing ----------------------------------------------------------------


def test_a_bare_name_is_not_dialled(arena: Arena) -> None:
    """Nor a device whose announced UUID is not its certificate's."""
    credentials = f"credentials={arena.good.folder}"
    with arena.undisturbed():
        with pytest.raises(hal.InvalidArgument, match="an address proves nothing"):
            hal.open(f"hal://localhost:{arena.port}/memory?{credentials}", timeout=SOON)
        announced = f"hal://{ELSE.id}/memory?at=127.0.0.1:{arena.port}&{credentials}"
        with pytest.raises(hal.PermissionDenied, match=f"not proved to be {ELSE.id}"):
            hal.open(announced, timeout=SOON)
    arena.expect("127.0.0.1", "not-believed")
