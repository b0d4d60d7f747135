# SPDX-License-Identifier: Apache-2.0
"""What an agent goes through in a day, in some seconds: nothing is left of it, at either end.

A day: a link every two minutes, every tenth of them lost and dialled again; every hour a new
token and list of revocations for both ends; every twelve hours new certificates.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

import hal
from hal.link import files, token
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.request import make_request
from hal.link.token import Right

from .far import AGENT, CONTROLLER, DEVICE, equip
from .wire_cut import Wire

HOURS, LINKS = 24, 30
"""Of the day; links an hour."""
WARM = 4
"""Hours after which everything has been allocated that ever is."""
GROWTH = 1 << 20
"""Bytes that memory may differ by: what the allocators keep varies by some pages."""
SOON = 20.0


@dataclass
class Day:
    """An agent of its own process, and the way to it."""

    process: subprocess.Popen[str]
    authority: Authority
    folder: Path
    wire: Wire

    def uri(self, device: str, *options: str) -> str:
        own = f"id={DEVICE}&credentials={self.folder / 'me'}"
        return f"hal://127.0.0.1:{self.wire.port}/{device}?" + "&".join((own, *options))

    def renew(self, who: Identity, folder: str, rights: list[Right], certify: bool) -> None:
        """What `hal-ca renew` brings a machine."""
        own = self.folder / folder
        if certify:
            request = make_request((own / "key.pem").read_bytes(), who.id)
            files.write(own / "cert.pem", self.authority.issue(request, who), files.PUBLIC)
        certificate = x509.load_pem_x509_certificate((own / "cert.pem").read_bytes())
        text = token.issue(
            self.authority.token_key, self.authority.certificate, certificate, rights
        )
        crl = (self.authority.folder / "crl.pem").read_bytes()
        files.write(own / "crl.pem", crl, files.PUBLIC)
        files.write(own / "token", text.encode(), files.SECRET)


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    authority = Authority.create(tmp_path / "ca")
    equip(authority, tmp_path / "device", Identity(DEVICE, Role.DEVICE), [])
    equip(authority, tmp_path / "me", Identity(CONTROLLER, Role.CONTROLLER), [Right("*", "rw")])
    config = tmp_path / "agent.toml"
    config.write_text(
        '[devices]\necho = "loopback:"\nmemory = "memory:memfd:far?size=64KiB"\n'
        f'[listen]\nport = 0\n[audit]\nfile = "{tmp_path / "audit"}"\n'
    )
    command = [*AGENT, "--config", str(config), "--own", str(tmp_path / "device"), "--no-control"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r"port (\d+)", process.stdout.readline())
        assert found
        wire = Wire(int(found[1]))
        yield Day(process, authority, tmp_path, wire)
        wire.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def by(cls, pid: int) -> Held:
        folder = Path(f"/proc/{pid}")
        resident = re.search(r"^VmRSS:\s+(\d+) kB", (folder / "status").read_text(), re.MULTILINE)
        assert resident
        descriptors, threads = (len(os.listdir(folder / name)) for name in ("fd", "task"))
        return cls(int(resident[1]) << 10, descriptors, threads)


def one_link(day: Day, number: int) -> None:
    """A program that opens a device, uses it, and goes; every tenth loses its link meanwhile."""
    lost = number % 10 == 0
    options = ["reconnect=60"] * lost + ["lease=exclusive"] * (number % 3 == 0)
    text = f"link {number}".encode()
    if number % 2:
        with hal.open(day.uri("memory", *options), timeout=SOON) as device:
            device.write_at(text, 64, timeout=SOON)
            assert device.read_at(len(text), 64, timeout=SOON) == text
        return
    with hal.open(day.uri("echo", *options), timeout=SOON) as device:
        device.write(text, timeout=SOON)
        assert device.read_exact(len(text), timeout=SOON) == text
        if lost:
            day.wire.cut()
            device.write(text, timeout=SOON)
            assert device.read_exact(len(text), timeout=SOON) == text


def settled(pid: int, idle: Held) -> Held:
    """What a process holds when the last link has gone there as well."""
    until = time.monotonic() + SOON
    while True:
        held = Held.by(pid)
        calm = held.descriptors <= idle.descriptors and held.threads <= idle.threads
        if calm or time.monotonic() > until:
            return held
        time.sleep(0.02)


def test_a_day(day: Day) -> None:
    pids = (day.process.pid, os.getpid())
    idle = [Held.by(pid) for pid in pids]
    course: list[list[Held]] = []
    for hour in range(HOURS):
        certify = hour in (11, 23)
        day.authority.renew_crl()
        day.renew(Identity(DEVICE, Role.DEVICE), "device", [], certify)
        day.renew(Identity(CONTROLLER, Role.CONTROLLER), "me", [Right("*", "rw")], certify)
        for number in range(LINKS):
            one_link(day, number)
        course.append([settled(pid, before) for pid, before in zip(pids, idle, strict=True)])
    for before, *held in zip(idle, *course, strict=True):
        late = held[-1]
        assert late.memory - held[WARM - 1].memory < GROWTH, [one.memory >> 10 for one in held]
        assert late.descriptors <= before.descriptors, [one.descriptors for one in held]
        assert late.threads <= before.threads, [one.threads for one in held]
