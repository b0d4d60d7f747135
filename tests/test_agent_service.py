# SPDX-License-Identifier: Apache-2.0
"""hal-agent as a service: what systemd is told, what it gives, and its units."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hal
from hal.agent import service
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.listener import Bounds, Listener
from hal.link.token import Right
from tests.far import CONTROLLER, DEVICE, equip
from tests.needs import needs

UNITS = Path(__file__).parent.parent / "packaging" / "systemd"
UNPRIVILEGED = ["setpriv", "--no-new-privs"]
if os.geteuid() == 0:
    UNPRIVILEGED += ["--bounding-set=-all", "--inh-caps=-all"]
"""As the unit has it: no capability at all."""
EXPOSURE_MAX = 25
"""Tenths of what `systemd-analyze security` gives: below it a unit counts as well confined."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


# ---- what is told --------------------------------------------------------------------------------


def test_what_is_told(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2500000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = service.Notifier()
    assert notifier.watchdog == 2.5
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    for tell in (notifier.ready, notifier.reloading, notifier.stopping, notifier.alive):
        tell()
    notifier.status("two\nREADY=0")
    assert manager.recv(1000) == b"READY=1"
    reloading = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", manager.recv(1000))
    assert reloading and int(reloading[1]) >= before
    assert [manager.recv(1000) for _ in range(3)] == [
        b"STOPPING=1", b"WATCHDOG=1", b"STATUS=two READY=0"
    ]  # fmt: skip


def test_an_abstract_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0hal-agent-test")
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@hal-agent-test")
        service.Notifier().ready()
        assert listening.recv(100) == b"READY=1"


def test_nobody_is_told_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    quiet = service.Notifier()
    quiet.ready()
    quiet.alive()
    assert quiet.watchdog is None
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    deaf = service.Notifier()
    assert deaf.watchdog is None
    deaf.ready()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY_SOCKET", "relative"),
        ("NOTIFY_SOCKET", "/" + "x" * 107),
        ("WATCHDOG_USEC", "soon"),
        ("WATCHDOG_USEC", "0"),
    ],
)
def test_what_cannot_be_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with pytest.raises(hal.InvalidArgument, match=name):
        service.Notifier()


# ---- what is given -------------------------------------------------------------------------------

TAKE = """
import os, sys
from hal.agent import service
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID", str(os.getpid()))
try:
    for one in service.sockets():
        print(one.getsockname()[1])
except OSError as error:
    print(error)
print("LISTEN_FDS" in os.environ)
"""


def given(count: str, descriptors: list[int], **environment: str) -> list[str]:
    """What a process takes of these descriptors, passed as 3, 4 ..."""
    passed = " ".join(f"{number}<&{fd}" for number, fd in enumerate(descriptors, 3))
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {passed}', "bash", sys.executable, "-c", TAKE],
        pass_fds=descriptors, env=os.environ | {"LISTEN_FDS": count} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_sockets_are_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("::1", 0),
            family=socket.AF_INET6) as two:  # fmt: skip
        ports = [str(each.getsockname()[1]) for each in (one, two)]
        high = [os.dup(one.fileno()) for _ in range(8)]  # Beyond the numbers that are passed.
        fds = [os.dup(one.fileno()), os.dup(two.fileno())]
        try:
            assert given("2", fds) == [*ports, "False"]
            assert given("1", fds) == [ports[0], "False"]
            assert given("1", fds, LISTEN_PID="1") == ["False"]
            for wrong in ("0", "-1", "65", "x"):
                assert "LISTEN_FDS=" in given(wrong, fds)[0]
        finally:
            for fd in (*high, *fds):
                os.close(fd)


def test_what_is_no_listening_socket_is_told() -> None:
    with socket.socket() as deaf, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        high = [os.dup(deaf.fileno()) for _ in range(8)]
        for each in (deaf, datagram):
            fd = os.dup(each.fileno())
            assert "descriptor 3 is no listening TCP socket" in given("1", [fd])[0]
            os.close(fd)
        for fd in high:
            os.close(fd)


# ---- the service ---------------------------------------------------------------------------------


def until(manager: socket.socket, wanted: bytes) -> list[bytes]:
    """What is told, up to this."""
    told: list[bytes] = []
    while not told or not told[-1].startswith(wanted):
        told.append(manager.recv(1000))
    return told


def test_a_service(manager: socket.socket, tmp_path: Path) -> None:
    """Ready, alive, reloaded with a link open, stopped; on two sockets that were passed."""
    authority = Authority.create(tmp_path / "ca")
    equip(authority, tmp_path / "device", Identity(DEVICE, Role.DEVICE), [])
    me = equip(
        authority, tmp_path / "me", Identity(CONTROLLER, Role.CONTROLLER), [Right("*", "rw")]
    )
    config = tmp_path / "agent.toml"
    config.write_text('[devices]\necho = "loopback:"\n')
    run = (
        "import os; os.environ['LISTEN_PID'] = str(os.getpid());"
        "from hal.agent.cli import main; main()"
    )
    words = [
        *UNPRIVILEGED,
        sys.executable,
        "-c",
        run,
        "--config",
        str(config),
        "--own",
        str(tmp_path / "device"),
    ]
    environment = os.environ | {
        "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1500000", "LISTEN_FDS": "2"
    }  # fmt: skip
    environment.pop("WATCHDOG_PID", None)
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [each.getsockname()[1] for each in (one, two)]
        fds = [os.dup(one.fileno()) for _ in range(6)] + [
            os.dup(one.fileno()),
            os.dup(two.fileno()),
        ]
        passed = f"3<&{fds[-2]} 4<&{fds[-1]}"
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" {passed}', "bash", *words, "--no-control"],
            pass_fds=fds[-2:], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        for fd in fds:
            os.close(fd)

    def uri(port: int, name: str) -> str:
        return f"hal://127.0.0.1:{port}/{name}?id={DEVICE}&credentials={me.folder}"

    with process:
        try:
            until(manager, b"READY=1")
            assert b"1 devices" in until(manager, b"STATUS=")[-1]
            until(manager, b"WATCHDOG=1")
            with hal.open(uri(ports[0], "echo"), timeout=5) as device:
                with pytest.raises(hal.NotFound):
                    hal.open(uri(ports[1], "new"), timeout=5)
                config.write_text('[devices]\nnew = "loopback:"\n')
                process.send_signal(signal.SIGHUP)
                told = until(manager, b"RELOADING=1") + until(manager, b"READY=1")
                assert told[-1] == b"READY=1"
                hal.open(uri(ports[1], "new"), timeout=5).close()
                with pytest.raises(hal.NotFound):
                    hal.open(uri(ports[1], "echo"), timeout=5)
                device.write(b"x", timeout=5)  # It was not dropped.
                assert device.read(1, timeout=5) == b"x"
                config.write_text("[devices\n")
                process.send_signal(signal.SIGHUP)
                until(manager, b"READY=1")
                hal.open(uri(ports[1], "new"), timeout=5).close()  # All stays as it was.
            until(manager, b"WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            until(manager, b"STOPPING=1")
            assert process.wait(10) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read()
    assert "echo is not exported so any more; who holds it goes on" in said
    assert "not reloaded, all stays as it was" in said


def test_the_watchdog_is_not_fed_when_nobody_accepts(tmp_path: Path) -> None:
    """What the agent asks before it tells of being alive: has the accepting thread answered?"""
    listener = Listener(("127.0.0.1", 0), Bounds(1, 1), lambda *_: None)
    before = listener.turned
    listener.poke()
    time.sleep(0.05)
    assert listener.turned == before  # Nobody serves yet.
    thread = threading.Thread(target=listener.serve, kwargs={"cut": True})
    thread.start()
    deadline = time.monotonic() + 5
    while listener.turned == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    listener.stop()
    thread.join()


# ---- units ---------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with commands that are there."""
    needs("systemd-analyze")
    for unit in UNITS.glob("*.*"):
        text = unit.read_text().replace("/usr/bin/hal-", f"{Path(sys.executable).parent}/hal-")
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*words: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_units_are_sound(units: Path) -> None:
    names = [
        str(path) for path in units.iterdir() if path.suffix in (".service", ".socket", ".timer")
    ]
    assert len(names) == 4
    assert analyze("verify", "--man=no", *names) == ""


@pytest.mark.parametrize("name", ["hal-agent.service", "hal-renew.service"])
def test_units_are_confined(units: Path, name: str) -> None:
    """The threshold is checked too: a unit without any confinement exceeds it."""
    words = ["security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}"]
    analyze(*words, str(units / name))
    bare = units / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(AssertionError):
        analyze(*words, str(bare))


def allowed(filters: str) -> set[str]:
    """The system calls of a set of systemd, and of the sets in it."""
    calls: set[str] = set()
    for line in analyze("syscall-filter", "--no-pager", filters).splitlines():
        word = line.split("#")[0].strip()
        if word.startswith("@") and word != filters:
            calls |= allowed(word)
        elif word:
            calls.add(word)
    return calls


def test_the_filter_of_system_calls_lets_everything_through(tmp_path: Path) -> None:
    """What an agent calls, from its start over a link and a reload to its end."""
    needs("strace", "systemd-analyze")
    unit = (UNITS / "hal-agent.service").read_text()
    assert re.findall("^SystemCallFilter=(.*)$", unit, re.MULTILINE) == [
        "@system-service", "~@privileged @resources"
    ]  # fmt: skip
    authority = Authority.create(tmp_path / "ca")
    equip(authority, tmp_path / "device", Identity(DEVICE, Role.DEVICE), [])
    mine = Identity(CONTROLLER, Role.CONTROLLER)
    me = equip(authority, tmp_path / "me", mine, [Right("*", "rw")])
    config = tmp_path / "agent.toml"
    log = f'[audit]\nfile = "{tmp_path}/audit.jsonl"\n'
    config.write_text('[devices]\necho = "loopback:"\nsim = "sim:uart"\n' + log)
    run = "import os; print(os.getpid(), flush=True); from hal.agent.cli import main; main()"
    words = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), sys.executable, "-c", run]
    words += ["--config", str(config), "--own", str(tmp_path / "device"), "--port", "0"]
    words += ["--control", str(tmp_path / "control")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        found = re.search(r"port (\d+)", process.stdout.readline())
        assert found
        for name in ("echo", "sim"):
            uri = f"hal://127.0.0.1:{found[1]}/{name}?id={DEVICE}&credentials={me.folder}"
            with hal.open(uri, timeout=20) as device:
                device.write(b"x", timeout=20)
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGTERM)
        assert process.wait(30) == 0
    trace = (tmp_path / "trace").read_text()
    used = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace, re.MULTILINE))
    assert {"accept4", "sendto"} & used
    refused = allowed("@privileged") | allowed("@resources")
    assert used <= (allowed("@system-service") - refused) | allowed("@default")


def test_user_and_groups(units: Path) -> None:
    needs("systemd-sysusers")
    snippet = str(units / "hal-agent.sysusers.conf")
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", f"--root={units}", snippet],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Creating user 'hal-agent'" in done.stdout + done.stderr
