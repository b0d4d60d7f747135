# SPDX-License-Identifier: Apache-2.0
"""hal-agent announces itself: found from another host, with what it exports, until it ends."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from tests.far import AGENT, DEVICE, equip

from .conftest import Lan
from .namespaces import Process

PROBE = (sys.executable, "-m", "hal.probe")


def has(find: Process, *wanted: str) -> dict[str, Any]:
    """The agent as it is found, once it states these capabilities."""
    while True:
        told: dict[str, Any] = json.loads(find.expect(str(DEVICE)))
        device: dict[str, Any] = told["device"]
        if all(word in device["properties"].get("capabilities", "") for word in wanted):
            return device


def test_an_agent_is_found(lan: Lan, tmp_path: Path) -> None:
    equip(Authority.create(tmp_path / "ca"), tmp_path / "own", Identity(DEVICE, Role.DEVICE), [])
    config = tmp_path / "agent.toml"
    config.write_text('[devices]\necho = "loopback:"\n[listen]\nhost = "::"\nport = 7364\n')
    find = lan.d.popen(*PROBE, "find", "--class", "remote", "--watch", "--json")
    agent = lan.c.popen(*AGENT, "--config", str(config), "--own", str(tmp_path / "own"),
                        "--no-control")  # fmt: skip
    agent.expect("port 7364, 1 devices")
    device = has(find, "loopback")
    assert device["uri"].endswith(f":7364?id={DEVICE}")
    assert device["trust"] == "unverified"
    config.write_text(config.read_text().replace("[listen]", 'more = "sim:uart"\n[listen]'))
    agent.signal(signal.SIGHUP)
    has(find, "loopback", "sim")
    assert agent.stop() == 0
    gone = json.loads(find.expect("removed"))
    assert gone["device"]["id"] == str(DEVICE)
    find.kill()
