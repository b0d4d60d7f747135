# SPDX-License-Identifier: Apache-2.0
"""The whole way: what one host announces is found on another, by command and by call."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

import hal
from hal.discovery import Devices

from .conftest import Lan
from .namespaces import Process

PROBE = (sys.executable, "-m", "hal.probe")
ID = str(uuid.UUID(int=7))


def line(process: Process, text: str) -> dict[str, Any]:
    """The next line that holds a text, as the object it is."""
    found: dict[str, Any] = json.loads(process.expect(text))
    return found


@pytest.fixture
def announced(lan: Lan, tmp_path: Path) -> Process:
    """A device on host c, announced by mDNS and SSDP."""
    state = ("env", f"HAL_STATE_DIR={tmp_path}")
    process = lan.c.popen(*state, *PROBE, "announce", "--id", ID, "--model", "Board")
    process.expect("Ctrl-C")
    return process


def test_find_follows_a_device(lan: Lan, announced: Process) -> None:
    find = lan.d.popen(*PROBE, "find", "--class", "remote", "--watch", "--json")
    device = line(find, "reachable")["device"]
    while device["sources"] != ["mdns", "ssdp"]:  # Seen twice, one record.
        device = line(find, "reachable")["device"]
    assert (device["id"], device["model"], device["trust"]) == (ID, "Board", "unverified")
    assert device["uri"] == f"hal://{lan.c.address}:7362?id={ID}"
    announced.stop()
    gone = line(find, "removed")
    assert gone["device"]["id"] == ID
    find.kill()


def test_devices_returns_as_soon_as_the_one_is_there(lan: Lan, announced: Process) -> None:
    code = (
        "import sys, time, hal; begun = time.monotonic()\n"
        "found = hal.devices(sys.argv[1], timeout=200)\n"
        "print([record.name for record in found], time.monotonic() - begun < 150)"
    )
    for query in (ID, f"id={ID}", f"hal://{lan.c.address}:7362"):
        assert lan.d.python(code, query, timeout=250).endswith("] True\n")
    announced.stop()
    assert lan.d.python(code.replace("200", "1"), ID) == "[] True\n"


def test_the_watch_runs_in_the_network_of_its_maker(lan: Lan, announced: Process) -> None:
    """One failing interface is a problem, and the rest is found."""

    def search() -> Devices:
        return hal.devices("class=remote", interfaces=["eth0", "none0"], timeout=5)

    found = lan.d.call(search)
    assert [record.id for record in found] == [ID]
    assert any("none0" in str(problem) for problem in found.problems)
    announced.stop()
