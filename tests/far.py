# SPDX-License-Identifier: Apache-2.0
"""An agent that serves on the loopback, and a controller that has the papers to use it."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from hal.agent import opened
from hal.agent.audit import Audit
from hal.agent.leases import Leases
from hal.agent.server import Agent
from hal.link import files, token
from hal.link.authority import Authority
from hal.link.credentials import Credentials
from hal.link.identity import Identity, Role
from hal.link.request import make_key, make_request
from hal.link.token import Right

DEVICE = uuid.UUID("11111111-1111-4111-8111-111111111111")
CONTROLLER = uuid.UUID("22222222-2222-4222-8222-222222222222")
AGENT = (sys.executable, "-c", "from hal.agent.cli import main; main()")
"""hal-agent, by this interpreter."""

EXPORTS = {
    "echo": "loopback:",
    "memory": "memory:memfd:far?size=64KiB",
    "sim": "sim:uart",
    "i2c": "sim:i2c",
    "spi": "sim:spi",
    "gpio": "sim:gpio",
    "registers": "sim:memory",
}


def equip(authority: Authority, folder: Path, who: Identity, rights: list[Right]) -> Credentials:
    key = make_key(folder / "key.pem")
    certificate = authority.issue(make_request(key, who.id), who)
    files.write(folder / "cert.pem", certificate, files.PUBLIC)
    for name in ("ca.pem", "crl.pem", "tokens.pub"):
        files.write(folder / name, (authority.folder / name).read_bytes(), files.PUBLIC)
    loaded = x509.load_pem_x509_certificate(certificate)
    text = token.issue(authority.token_key, authority.certificate, loaded, rights)
    files.write(folder / "token", text.encode(), files.SECRET)
    return Credentials(folder)


@dataclass
class Far:
    """An agent that serves, and the way to its devices."""

    agent: Agent
    thread: threading.Thread
    folder: Path
    leases: Leases
    port: int

    def stop(self) -> None:
        """End the agent, and every link with it."""
        self.agent.stop()
        self.thread.join()

    def uri(self, device: str) -> str:
        return f"hal://127.0.0.1:{self.port}/{device}?id={DEVICE}&credentials={self.folder}"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    authority = Authority.create(tmp_path / "ca")
    own = equip(authority, tmp_path / "device", Identity(DEVICE, Role.DEVICE), [])
    mine = equip(
        authority, tmp_path / "me", Identity(CONTROLLER, Role.CONTROLLER), [Right("*", "rw")]
    )
    leases = Leases(EXPORTS, 60, None, opened.serve)
    audit = Audit(tmp_path / "audit")
    agent = Agent(own, leases, ("127.0.0.1", 0), audit=audit)
    thread = threading.Thread(target=agent.serve)
    thread.start()
    far = Far(agent, thread, mine.folder, leases, agent.port)
    yield far
    far.stop()
    audit.close()
