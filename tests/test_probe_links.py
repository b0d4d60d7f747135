# SPDX-License-Identifier: Apache-2.0
"""hal-probe links as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .machine import Machine
from .test_discovery_links import CARD, PORT, expander, function, machine, node  # noqa: F401
from .test_probe import probe, probe_json


@pytest.fixture
def bench(machine: Machine) -> str:  # noqa: F811
    """A card in a slot that is too narrow, and CXL memory that the firmware has figures for."""
    function(machine, PORT, "8.0x4", "8.0x4")
    function(machine, CARD, "8.0x4", "8.0x16")
    expander(machine, 0, "0c")
    node(machine, 0, "0-3", "10 24")
    node(machine, 1, "", "24 10")
    machine.write("/sys/devices/system/node/online", "0-1\n")
    place = "/sys/devices/system/node/node1/access1/initiators"
    for name, value in (("read_latency", 240), ("write_latency", 260), ("read_bandwidth", 30000)):
        machine.write(f"{place}/{name}", f"{value}\n")
    return str(machine.root)


def test_json_fits_the_schema(bench: str) -> None:
    code, data = probe_json("links", "--root", bench)
    assert code == 0
    links = {link["name"]: link for link in data["links"]}
    assert links["mem0"]["protocols"] == ["CXL.io", "CXL.mem"]
    assert links["node1"]["distances"] == {"0": 24, "1": 10}
    assert links["node1"]["access"]["read_latency"] == 240
    assert set(data["suits"]) >= {name for link in data["links"] for name in link["suits"]}


def test_of_this_machine_too() -> None:
    assert probe_json("links")[0] == 0


def test_slow_ones_alone(bench: str) -> None:
    _, data = probe_json("links", "--root", bench, "--slower")
    assert {link["name"] for link in data["links"]} == {"0000:01:00.0", "mem0", "0000:0d:00.0"}


def test_what_people_read(bench: str) -> None:
    text = probe("links", "--root", bench, environment={"COLUMNS": "160"}).stdout
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ")]
    rows = dict(line for line in reversed(lines) if len(line) == 2)
    assert rows["0000:01:00.0"].split("  ")[0] == "PCIe 3.0, 8 GT/s x4"
    assert rows["mem0"].startswith("CXL on PCIe 5.0, 32 GT/s x8")
    assert "node1: 240 ns to read, 260 to write; 30 GB/s to read, - to write; distance 24" in text
    assert "0000:01:00.0: slot width: port 0000:00:01.0 has x4 of the x16" in text


def test_a_machine_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "sys/devices").mkdir(parents=True)
    assert probe("links", "--root", str(tmp_path)).stdout.startswith("NAME")
