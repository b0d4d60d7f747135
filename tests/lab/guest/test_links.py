# SPDX-License-Identifier: Apache-2.0
"""Links of a real kernel's devices: PCI Express and CXL ports, NUMA nodes with an HMAT, ACPI."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hal import discovery
from hal.discovery.links import Link, local_links

from . import devices


@pytest.fixture(scope="module")
def links() -> dict[str, Link]:
    return {link.name: link for link in local_links()}


def test_a_card_in_a_slot_is_on_its_link(links: dict[str, Link]) -> None:
    cards = [path.name for path in devices.pci(devices.EDU)]
    slotted = [name for name in cards if not name.startswith("0000:00")]
    assert [links[name].bus for name in cards if name not in slotted] == ["pci"] * 2
    for name in slotted:  # edu says nothing of links; the port above it does.
        assert links[name].port == Path(f"/sys/bus/pci/devices/{name}").resolve().parent.name
    ports = {path.name for path in Path("/sys/bus/pci/drivers/pcieport").glob("0000:*")}
    assert not ports & links.keys()


def test_cxl_memory_from_region_to_port(links: dict[str, Link]) -> None:
    memory = Path("/sys/bus/cxl/devices/mem0").resolve()
    function = memory.parent
    link = links["mem0"]
    assert (link.bus, link.protocols) == ("cxl", ("CXL.io", "CXL.mem"))
    assert link.port == function.parent.name
    assert link.now is not None
    assert str(link.now.lanes) == (function / "current_link_width").read_text().strip()
    assert (function / "current_link_speed").read_text().startswith(link.now.text.split()[0])
    assert link.now.standard.startswith("CXL on PCIe")
    place = devices.dax("cxl")
    for name in ("region0", Path(place.node).name):
        assert links[name].bandwidth == link.bandwidth
        assert "memory expansion" in links[name].suits


def test_memory_nodes_have_the_figures_of_the_firmware(links: dict[str, Link]) -> None:
    near, far = links["node0"], links["node1"]
    assert (near.distances, far.distances) == ({0: 10, 1: 24}, {0: 24, 1: 10})
    assert near.access is not None
    assert far.access is not None
    assert (near.access.read_latency, far.access.read_latency) == (80, 240)
    assert far.access.read_bandwidth == far.bandwidth == pytest.approx(16e9, rel=0.1)
    assert (near.suits, far.suits) == ((), ("memory expansion",))


def test_acpi_names_devices_and_its_tables() -> None:
    tables = {table.name: table for table in discovery.acpi_tables()}
    assert {"APIC", "CEDT", "DSDT", "HMAT", "NFIT", "SRAT"} <= tables.keys()
    assert tables["HMAT"].meaning == "memory latency and bandwidth"
    assert tables["DSDT"].oem == "BOCHS BXPC"
    for name, table in tables.items():
        assert table.size == len(Path(f"/sys/firmware/acpi/tables/{name}").read_bytes())
    named = {device.hid: device for device in discovery.acpi_devices()}
    assert named["PNP0501"].path.endswith("COM1")
    record = next(r for r in discovery.local_devices() if r.name == "ttyS0")
    assert record.properties["acpi_path"] == named["PNP0501"].path
    assert record.properties["acpi_id"] == "PNP0501"


def test_lspci_sees_the_same_links(links: dict[str, Link]) -> None:
    for link in links.values():
        if link.device_class == "pci" and link.now is not None:
            told = subprocess.check_output(["lspci", "-vvs", link.name], text=True)
            assert f"Speed {link.now.text.split()[0]}GT/s" in told
            assert f"Width x{link.now.lanes}" in told
