# SPDX-License-Identifier: Apache-2.0
"""hal-agent over a real link on the loopback: who is let in, who has to go, and when."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import logging
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import hal
from hal.agent import control, session
from hal.agent.config import Limits
from hal.agent.daemon import Daemon, capabilities
from hal.agent.gate import Gate
from hal.agent.peer import Peer
from hal.link import files, token
from hal.link.authority import Authority
from hal.link.credentials import Credentials
from hal.link.identity import Identity, Role
from hal.link.listener import Bounds, Listener
from hal.link.token import Right
from tests import link_attack as la
from tests.far import CONTROLLER, DEVICE, equip

OTHER = uuid.UUID("33333333-3333-4333-8333-333333333333")
CONFIG = """
[devices]
echo = "loopback:"
sim = "sim:uart"
line = "uart:{line}"
[limits]
links = 6
per_identity = 4
half_open = 6
per_address = 4
[audit]
file = "{folder}/audit.jsonl"
[leases]
keep = 30
"""


class Far:
    """An agent with all that belongs to it, and two controllers."""

    def __init__(self, folder: Path, line: str) -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "ca")
        equip(self.authority, folder / "device", Identity(DEVICE, Role.DEVICE), [])
        self.me = self.controller("me", CONTROLLER)
        self.other = self.controller("other", OTHER)
        self.config = folder / "agent.toml"
        self.config.write_text(CONFIG.format(folder=folder, line=line))
        self.daemon = Daemon(self.config, folder / "device", {"port": 0}, folder / "control")
        ready = threading.Event()
        self.thread = threading.Thread(target=self.daemon.run, args=(ready.set,))
        self.thread.start()
        assert ready.wait(10)
        self.port = self.daemon.agent.port

    def controller(self, name: str, who: uuid.UUID) -> Credentials:
        rights = [Right("*", "rw")]
        return equip(self.authority, self.folder / name, Identity(who, Role.CONTROLLER), rights)

    def uri(self, device: str, whose: Credentials | None = None, **options: str) -> str:
        more = "".join(f"&{key}={value}" for key, value in options.items())
        folder = (whose or self.me).folder
        return f"hal://127.0.0.1:{self.port}/{device}?id={DEVICE}&credentials={folder}{more}"

    def revoke(self, whose: Credentials) -> None:
        self.authority.revoke(f"{whose.certificate.serial_number:x}")
        crl = (self.authority.folder / "crl.pem").read_bytes()
        files.write(self.folder / "device" / "crl.pem", crl, files.PUBLIC)

    def lines(self, event: str) -> list[dict[str, Any]]:
        text = (self.folder / "audit.jsonl").read_text()
        found = [json.loads(line) for line in text.splitlines()]
        return [line for line in found if line["event"] == event]

    def noted(self, event: str, **wanted: str) -> dict[str, Any]:
        """The first line of the audit log that has all this; it may come yet."""
        lines: list[dict[str, Any]] = waited(
            lambda: [line for line in self.lines(event) if wanted.items() <= line.items()]
        )
        return lines[0]

    def stop(self) -> None:
        self.daemon.stop()
        self.thread.join()


def waited(what: Callable[[], Any], patience: float = 5) -> Any:
    """What comes true at last."""
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)
    return found


@pytest.fixture
def pty() -> Iterator[list[int]]:
    ends = list(os.openpty())
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def far(tmp_path: Path, pty: list[int]) -> Iterator[Far]:
    far = Far(tmp_path, os.ttyname(pty[1]))
    yield far
    far.stop()


def test_what_is_noted_of_a_link(far: Far) -> None:
    with hal.open(far.uri("echo"), timeout=5) as device:
        device.write(b"hello", timeout=5)
    ended = far.noted("ended")
    assert ended["uuid"] == str(CONTROLLER) and ended["address"] == "127.0.0.1"
    assert ended["serial"] == f"{far.me.certificate.serial_number:x}"
    assert ended["bytes"] > 0 and ended["requests"] >= 1 and ended["seconds"] >= 0
    assert [far.noted(event)["event"] for event in ("start", "link", "hello", "open", "released")]
    assert far.noted("open")["device"] == "echo"
    text = (far.folder / "audit.jsonl").read_text()
    assert far.me.token not in text and far.me.token.split(".")[1] not in text


def test_a_revoked_controller_loses_its_link_and_lease_at_once(far: Far) -> None:
    with (
        hal.open(far.uri("echo"), timeout=5) as mine,
        hal.open(far.uri("sim", far.other), timeout=5) as others,
    ):
        begun = time.monotonic()
        far.revoke(far.other)
        with pytest.raises(hal.PermissionDenied, match="revoked"):
            waited(lambda: others.attributes["ops"] is None)
        assert time.monotonic() - begun < 5
        far.noted("revoked", uuid=str(OTHER))
        with pytest.raises(hal.Error):
            hal.open(far.uri("sim", far.other), timeout=5)
        far.noted("refused", reason="revoked")
        mine.write(b"x", timeout=5)  # A good one goes on, and gets in.
        assert mine.read(1, timeout=5) == b"x"
        hal.open(far.uri("sim"), timeout=5).close()


def test_a_damaged_list_of_revocations_is_not_taken(far: Far, caplog: Any) -> None:
    path = far.folder / "device" / "crl.pem"
    good = path.read_bytes()
    with caplog.at_level(logging.WARNING, "hal.agent"):
        files.write(path, b"nonsense", files.PUBLIC)
        waited(lambda: "are not used" in caplog.text)
        hal.open(far.uri("echo"), timeout=5).close()
        files.write(path, good, files.PUBLIC)
        far.noted("reload", detail=f"certificate, revocations and token in {path.parent}")


@pytest.mark.parametrize("name", ["tokens.pub", "cert.pem", "key.pem", "ca.pem"])
def test_damaged_files_are_not_taken(far: Far, caplog: Any, name: str) -> None:
    path = far.folder / "device" / name
    with caplog.at_level(logging.WARNING, "hal.agent"):
        files.write(path, b"nonsense", files.SECRET)
        waited(lambda: "are not used" in caplog.text)
    hal.open(far.uri("echo"), timeout=5).close()


def test_it_ends_rather_than_go_on_without_revocations(
    far: Far, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A fault in what looks after the links; there is no other way to make one."""

    def broken() -> None:
        raise LookupError("broken")

    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    monkeypatch.setattr(far.daemon.agent, "tend", broken)
    far.thread.join(10)
    assert far.daemon.failed and "the agent ends" in caplog.text
    with pytest.raises(hal.Error):
        hal.open(far.uri("echo"), timeout=5)


def test_new_certificate_and_token_are_taken(far: Far) -> None:
    before = far.daemon.agent.credentials.certificate.serial_number
    with hal.open(far.uri("echo"), timeout=5) as device:
        (far.folder / "device" / "key.pem").unlink()
        equip(far.authority, far.folder / "device", Identity(DEVICE, Role.DEVICE), [])
        waited(lambda: far.daemon.agent.credentials.certificate.serial_number != before)
        hal.open(far.uri("sim"), timeout=5).close()
        device.write(b"x", timeout=5)


def test_a_device_that_is_gone(far: Far, pty: list[int]) -> None:
    with hal.open(far.uri("line"), timeout=5) as device:
        os.write(pty[0], b"x")
        assert device.read(1, timeout=5) == b"x"
        for end in pty:
            os.close(end)
        pty.clear()
        with pytest.raises(hal.Unplugged):
            device.read(1, timeout=5)
        waited(lambda: not far.daemon.leases.held())


def test_one_controller_too_often(far: Far) -> None:
    devices = [hal.open(far.uri("echo"), timeout=5) for _ in range(4)]
    try:
        with pytest.raises(hal.Error):
            hal.open(far.uri("echo"), timeout=5)
        refused = far.noted("refused", reason="too-many", uuid=str(CONTROLLER))
        assert "4 links of this controller" in refused["detail"]
        hal.open(far.uri("echo", far.other), timeout=5).close()
    finally:
        for device in devices:
            device.close()
    waited(lambda: not far.daemon.agent.gate.links)
    hal.open(far.uri("echo"), timeout=5).close()


def test_an_ipv4_address_is_one_on_every_socket() -> None:
    """On a socket of both kinds it reads ::ffff:127.0.0.1; bounds and log know it by its own."""
    seen: list[str] = []
    listener = Listener(("::", 0), Bounds(4, 4), lambda _link, host: seen.append(host))
    thread = threading.Thread(target=listener.serve, kwargs={"cut": True})
    thread.start()
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, listener.port)).close()
    waited(lambda: len(seen) == 2)
    listener.stop()
    thread.join()
    assert sorted(seen) == ["127.0.0.1", "::1"]


def test_half_open_ones_make_room(far: Far) -> None:
    """Four of one address may be half open: the oldest goes, and a good client gets in."""
    silent = [socket.create_connection(("127.0.0.1", far.port)) for _ in range(12)]
    try:
        hal.open(far.uri("echo"), timeout=5).close()
        assert far.daemon.agent.gate.half_open <= 4
        far.noted("refused", reason="too-many")
        far.noted("refused", reason="too-slow")
    finally:
        for each in silent:
            each.close()


def test_a_look_whether_it_lives_is_no_refusal(far: Far) -> None:
    """Discovery connects and leaves; whoever leaves after a byte has asked for something."""
    for _ in range(3):
        socket.create_connection(("127.0.0.1", far.port)).close()
    with socket.create_connection(("127.0.0.1", far.port)) as stranger:
        stranger.sendall(b"\x16")
    far.noted("refused", reason="went-away")
    waited(lambda: not far.daemon.agent.gate.half_open)
    hal.open(far.uri("echo"), timeout=5).close()
    far.noted("ended")  # What was noted before it is written.
    assert len(far.lines("refused")) == 1
    assert far.lines("looked") == []


def test_the_gate_at_its_limits() -> None:
    gate = Gate(Limits(links=3, per_identity=2, half_open=4, per_address=2))
    pairs = [socket.socketpair() for _ in range(8)]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    try:
        for number, host in enumerate(("a", "a", "b", "c")):
            gate.enter(ours[number], host)
        assert gate.half_open == 4
        gate.enter(ours[4], "a")  # Too many of "a": its oldest goes.
        assert theirs[0].recv(1) == b"" and gate.half_open == 4
        gate.enter(ours[5], "d")  # Too many in all: the oldest of who has most.
        assert theirs[1].recv(1) == b"" and gate.half_open == 4
        assert gate.leave(ours[0]) and not gate.leave(ours[0])
        one, two = uuid.UUID(int=1), uuid.UUID(int=2)
        assert gate.admit(ours[2], one) == gate.admit(ours[3], one) == ""
        assert "2 links of this controller" in gate.admit(ours[4], one)
        assert gate.admit(ours[5], two) == ""
        assert "3 links are open" in gate.admit(ours[6], two)
        assert gate.half_open == 0 and gate.links == 3
        assert not gate.leave(ours[2])
        assert gate.admit(ours[6], two) == ""
    finally:
        for pair in pairs:
            for each in pair:
                each.close()


def test_a_token_that_ends(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is announced, then requests are refused, and after a while the link ends."""
    told: list[tuple[int, str, float]] = []
    notice = session.Session.notice
    monkeypatch.setattr(session, "GRACE", 0.5)

    def noted(self: session.Session, kind: int, text: str, at: float = 0.0) -> None:
        told.append((kind, text, at))
        notice(self, kind, text, at)

    monkeypatch.setattr(session.Session, "notice", noted)
    text = token.issue(
        far.authority.token_key, far.authority.certificate, far.me.certificate,
        [Right("*", "rw")], lifetime=dt.timedelta(seconds=2),
    )  # fmt: skip
    files.write(far.me.folder / "token", text.encode(), files.SECRET)
    with hal.open(far.uri("sim"), timeout=5) as device:
        waited(lambda: told)
        assert told[0][0] == session.NOTICE_TOKEN_ENDS
        assert 0 < told[0][2] - time.time() < 2
        with pytest.raises(hal.PermissionDenied):
            waited(lambda: device.attributes["ops"] is None)
        far.noted("ended", detail="its token has ended")
    assert len(told) == 1


def test_the_administrator_drops_a_device(far: Far) -> None:
    path = far.folder / "control"
    assert path.stat().st_mode & 0o777 == 0o660
    with hal.open(far.uri("echo", lease="exclusive"), timeout=5) as device:
        (held,) = control.ask(path, {"do": "leases"})["leases"]
        assert (held["device"], held["exclusive"]) == ("echo", True)
        assert held["holder"] == str(CONTROLLER)
        control.ask(path, {"do": "drop", "device": "echo"})
        with pytest.raises(hal.Busy, match="administrator of the machine"):
            device.read(1, timeout=5)
    assert control.ask(path, {"do": "leases"}) == {"leases": []}
    far.noted("taken", device="echo")
    hal.open(far.uri("echo", far.other, lease="exclusive"), timeout=5).close()


def greeted(far: Far, whose: Credentials) -> la.Link:
    """A link of its own frames, of which HELLO is done."""
    papers = la.Papers.load(whose.folder, whose.identity)
    link = la.Link(("127.0.0.1", far.port), "127.0.0.1", la.context(papers))
    assert not link.ask(la.hello(whose.token)).errno
    return link


def granted(answer: la.Frame) -> tuple[int, bytes, int]:
    """Number, secret and keep of OPEN's answer."""
    assert not answer.errno, answer.sentence
    (length,) = struct.unpack_from("<H", answer.body)
    _, number, secret, keep = struct.unpack_from("<IQ16sH", answer.body, 2 + length)
    return number, secret, keep


def test_a_lease_is_taken_over_by_whoever_may(far: Far) -> None:
    rights = [Right("echo", "admin")]
    boss = Identity(uuid.UUID(int=77), Role.CONTROLLER)
    papers = equip(far.authority, far.folder / "boss", boss, rights)
    with hal.open(far.uri("echo", lease="exclusive"), timeout=5) as device:
        with greeted(far, far.other) as link:
            assert link.ask(la.opening("echo", exclusive=True, take=True)).errno == errno.EACCES
        with greeted(far, papers) as link:
            granted(link.ask(la.opening("echo", exclusive=True, take=True)))
            with pytest.raises(hal.Busy, match=f"taken over by {boss}"):
                device.read(1, timeout=5)
            assert [str(lease.holder.identity) for lease in far.daemon.leases.held()] == [str(boss)]
    assert far.noted("taken", device="echo")["uuid"] == str(CONTROLLER)


def test_a_lease_is_kept_resumed_and_over(far: Far) -> None:
    with greeted(far, far.me) as link, greeted(far, far.me) as another:
        number, secret, keep = granted(link.ask(la.opening("sim", exclusive=True, keep=1)))
        assert keep == 1
        assert granted(another.ask(la.opening("echo", keep=31)))[2] == 30
    far.noted("lost", device="sim")
    (held,) = [x for x in far.daemon.leases.held() if x.name == "sim"]
    assert held.kept
    resume = la.frame(21, 2, struct.pack("<Q16sQ", number, secret, 0))
    with greeted(far, far.other) as link:  # It knows the secret, but is somebody else.
        assert link.ask(resume).errno == errno.ENOENT
    with greeted(far, far.me) as link:
        assert not link.ask(resume).errno
        assert far.noted("resumed")["lease"] == f"{number:x}"
        waited(lambda: not held.kept)
    over = far.noted("released", device="sim")
    assert over["detail"] == "its link was lost more than 1 s ago"
    with greeted(far, far.me) as link:
        assert link.ask(resume).errno == errno.ENOENT


def test_wrong_questions_of_the_administrator(far: Far) -> None:
    path = far.folder / "control"
    with pytest.raises(hal.NotFound, match="nobody holds it"):
        control.ask(path, {"do": "drop", "device": "echo"})
    for question in ({"do": "drop"}, {"do": "sing"}, {}):
        with pytest.raises(hal.InvalidArgument):
            control.ask(path, question)
    for line in (b"[]\n", b"nonsense\n", b"[" * 4000 + b"\n", b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            link.sendall(line)
            assert b'"error"' in link.recv(1000)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(path))
        link.sendall(b"x" * (control.QUESTION_MAX + 1))
        assert link.recv(1) == b""
    with pytest.raises(hal.InvalidArgument, match="another hal-agent runs here"):
        control.Control(path, lambda _question: {})
    with pytest.raises(hal.NotFound, match="does it run here"):
        control.ask(far.folder / "none", {"do": "leases"})


def test_commands(far: Far) -> None:
    def said(*words: str) -> tuple[int, str]:
        run = [sys.executable, "-c", "from hal.agent.cli import main; main()", *words]
        done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    way = ("--control", str(far.folder / "control"))
    own = ("--config", str(far.config), "--own", str(far.folder / "device"))
    with hal.open(far.uri("echo"), timeout=5):
        code, text = said("leases", *way)
        assert code == 0 and re.search(rf"echo  shared  {CONTROLLER} at 127.0.0.1 since 20", text)
        code, text = said("drop", "echo", "--json", *way)
        assert code == 0 and json.loads(text)[0]["device"] == "echo"
    assert said("drop", "echo", *way)[0] == 3
    code, text = said("check", *own)
    assert code == 0 and "echo  loopback:" in text and "all is well" in text, text
    (far.folder / "device" / "token").unlink()
    code, text = said("check", *own)
    assert code == 1 and "WRONG: no token" in text, text
    far.config.write_text('[devices]\nx = "nothing:"\n')
    code, text = said("check", "--json", *own)
    assert code == 1
    assert any('no driver "nothing"' in f["text"] for f in json.loads(text)["findings"])


def test_metrics(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    authority = Authority.create(tmp_path / "ca")
    equip(authority, tmp_path / "device", Identity(DEVICE, Role.DEVICE), [])
    mine = Identity(CONTROLLER, Role.CONTROLLER)
    me = equip(authority, tmp_path / "me", mine, [Right("*", "rw")])
    config = tmp_path / "agent.toml"
    config.write_text(f'[devices]\necho = "loopback:"\n[metrics]\nport = {port}\n')
    daemon = Daemon(config, tmp_path / "device", {"port": 0}, None)
    ready = threading.Event()
    thread = threading.Thread(target=daemon.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(10)
        with socket.create_connection(("127.0.0.1", daemon.agent.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
            stranger.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(100):
                    pass
        uri = f"hal://127.0.0.1:{daemon.agent.port}/echo?id={DEVICE}&credentials={me.folder}"
        with hal.open(uri, timeout=5) as device:
            device.write(b"x", timeout=5)
            text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        values = dict(re.findall(r"^(hal_agent\S+) (\S+)$", text, re.MULTILINE))
        assert values["hal_agent_links"] == "1.0"
        assert values['hal_agent_leases{device="echo"}'] == "1.0"
        assert values['hal_agent_refusals_total{reason="http"}'] == "1.0"
        assert values['hal_agent_events_total{event="open"}'] == "1.0"
        assert values["hal_agent_handshake_seconds_count"] == "1.0"
        assert float(values['hal_agent_bytes_total{direction="received"}']) > 0
        assert float(values["hal_agent_requests_total"]) >= 1
        end = me.certificate.not_valid_after_utc.timestamp()
        assert abs(float(values["hal_agent_certificate_end_seconds"]) - end) < 60
        assert float(values["hal_agent_next_token_end_seconds"]) > time.time()
        with pytest.raises(hal.InvalidArgument, match=r"metrics\.port"):
            Daemon(config, tmp_path / "device", {"port": 0}, None)
    finally:
        daemon.stop()
        thread.join()


def test_what_does_not_begin(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("")
    with pytest.raises(hal.NotFound, match="hal-ca enrol"):
        Daemon(config, tmp_path / "none", {}, None)
    authority = Authority.create(tmp_path / "ca")
    equip(authority, tmp_path / "me", Identity(CONTROLLER, Role.CONTROLLER), [])
    with pytest.raises(hal.InvalidArgument, match="a device's is needed"):
        Daemon(config, tmp_path / "me", {}, None)


def test_announced_unless_only_the_loopback_listens(far: Far) -> None:
    assert far.daemon._announced() is None
    assert capabilities(far.daemon.config.devices) == ("loopback", "sim", "uart")


def test_a_peer_states_what_was_proved(far: Far) -> None:
    der = far.me.certificate.public_bytes(Encoding.DER)
    peer = Peer.of(der, "::1")
    assert peer.until == far.me.certificate.not_valid_after_utc.timestamp()
    assert str(peer) == f"controller {CONTROLLER} at ::1"
