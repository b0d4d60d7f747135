# SPDX-License-Identifier: Apache-2.0
"""What is announced is not trusted until the secure link has proved it: an agent and a liar."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hal.discovery.mdns import MdnsScout
from hal.link import files
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.token import Right
from tests.far import CONTROLLER, DEVICE, equip

from .conftest import Lan
from .looking import QUICK, Looking
from .namespaces import Host, Process
from .test_mdns import publish

AGENT = (sys.executable, "-c", "from hal.agent.cli import main; main()")
PORT = 7364
OFTEN = replace(QUICK, proven=0.3, doubted=0.3)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority, of which this machine is a controller."""
    made = Authority.create(tmp_path / "ca")
    who = Identity(CONTROLLER, Role.CONTROLLER)
    equip(made, tmp_path / "me", who, [Right("*", "rw")])
    monkeypatch.setenv("HAL_LINK", str(tmp_path / "me"))
    return made


@pytest.fixture
def agent(lan: Lan, authority: Authority, tmp_path: Path) -> Iterator[Process]:
    """An agent on host c."""
    equip(authority, tmp_path / "own", Identity(DEVICE, Role.DEVICE), [])
    config = tmp_path / "agent.toml"
    config.write_text(f'[devices]\necho = "loopback:"\n[listen]\nhost = "::"\nport = {PORT}\n')
    process = lan.c.popen(*AGENT, "--config", str(config), "--own", str(tmp_path / "own"),
                          "--no-control")  # fmt: skip
    process.expect(f"port {PORT}")
    yield process
    process.close()


@contextmanager
def liar(host: Host) -> Iterator[None]:
    """Somebody who announces the agent's id, and answers at the port that he announces."""
    text = ("txtvers=1", f"id={DEVICE}", "protocol=hal/1", "boot=00000000")
    announced = publish(host, "liar", "_hal-device._tcp", PORT, *text)
    server = host.popen(sys.executable, "-m", "http.server", str(PORT))
    try:
        yield
    finally:
        announced.kill()
        server.kill()


def test_who_proves_it_is_trusted_and_who_does_not_is_not(lan: Lan, agent: Process) -> None:
    with Looking(lan.d, MdnsScout(pace=OFTEN)) as look:
        true = look.record(id=str(DEVICE), trust="verified", state="reachable")
        assert true.detail == ""
        assert json.loads(agent.expect('"hello"'))["uuid"] == str(CONTROLLER)
        with liar(lan.a):
            look.until(lambda s: any("not proved: no secure link" in r.detail for r in s.records))
            false = look.record(state="cloned")
            assert (false.id, false.trust) == (true.id, "unverified")
            assert f"{lan.a.address}:{PORT}" in false.addresses
            look.record(trust="verified", state="reachable")
            assert lan.c.address in look.problem("is proven, trust no other").partition(" is ")[0]
        look.until(lambda s: [r.trust for r in s.records] == ["verified"] and not s.problems)
        agent.kill()
        look.record(id=true.id, trust="unverified", state="silent")


def test_a_proof_is_asked_for_again(
    lan: Lan, agent: Process, authority: Authority, tmp_path: Path
) -> None:
    """A device whose certificate was revoked is trusted no more."""
    with Looking(lan.d, MdnsScout(pace=OFTEN)) as look:
        look.record(id=str(DEVICE), trust="verified")
        authority.revoke(str(DEVICE))
        crl = (authority.folder / "crl.pem").read_bytes()
        files.write(tmp_path / "me/crl.pem", crl, files.PUBLIC)
        record = look.record(id=str(DEVICE), trust="unverified", state="reachable")
        assert record.detail == "not proved: certificate revoked"
        (tmp_path / "me/crl.pem").unlink()
        look.until(lambda s: "unable to get certificate CRL" in str(s.records[0].detail))
        (tmp_path / "me/cert.pem").unlink()
        assert "cert.pem" in look.problem("devices cannot be asked to prove themselves")
        assert agent.stop() == 0
