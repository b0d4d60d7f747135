# SPDX-License-Identifier: Apache-2.0
"""Links: what the standards say of rates, CXL, NUMA and fabrics on machines made of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal.discovery.links import SUITS, Link, local_links, pcie, usb
from hal.discovery.links.link import INFERENCE, STREAMING, suits
from hal.discovery.sysfs import Sysfs

from .machine import Machine

PORT = "/devices/pci0000:00/0000:00:01.0"
CARD = f"{PORT}/0000:01:00.0"
CXL = "/devices/platform/ACPI0017:00/root0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def link_of(machine: Machine, name: str) -> Link:
    return next(link for link in local_links(str(machine.root)) if link.name == name)


def function(machine: Machine, devpath: str, now: str = "", most: str = "", **attrs: str) -> str:
    """A PCI function on a link, "8.0x4"."""
    for which, text in (("current", now), ("max", most)):
        if text:
            speed, _, width = text.partition("x")
            attrs[f"{which}_link_speed"] = f"{speed} GT/s PCIe"
            attrs[f"{which}_link_width"] = width
    attrs.setdefault("class", "0x060400" if devpath == PORT else "0x020000")
    return machine.device(devpath, "bus/pci", attrs={"vendor": "0x15b3", "device": "0x1", **attrs})


def causes(machine: Machine, name: str = "0000:01:00.0") -> list[str]:
    return [finding.cause for finding in link_of(machine, name).findings]


# ---- PCI Express --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed", "standard", "bandwidth"),  # bytes a second a lane, as the PCI-SIG publishes them
    [
        (2.5, "PCIe 1.0", 0.25e9),
        (5.0, "PCIe 2.0", 0.5e9),
        (8.0, "PCIe 3.0", 0.985e9),
        (16.0, "PCIe 4.0", 1.969e9),
        (32.0, "PCIe 5.0", 3.938e9),
        (64.0, "PCIe 6.0", 7.375e9),
        (128.0, "PCIe 7.0", 14.75e9),
    ],
)
def test_a_lane_of_each_generation(speed: float, standard: str, bandwidth: float) -> None:
    for lanes in (1, 2, 4, 8, 16, 32):
        rate = pcie.rate(speed, lanes)
        assert rate is not None
        assert (rate.standard, rate.lanes) == (standard, lanes)
        assert rate.bandwidth == pytest.approx(bandwidth * lanes, rel=1e-3)
        over_cxl = pcie.rate(speed, lanes, cxl=True)
        assert over_cxl is not None
        assert over_cxl.bandwidth == pytest.approx(
            speed
            / 8
            * 1e9
            * lanes
            * (240 / 256 if speed >= 64 else pcie._SPEEDS[speed][2] * 64 / 68)
        )


@given(st.floats(allow_nan=True), st.integers())
def test_no_other_speed_or_width_is_a_link(speed: float, lanes: int) -> None:
    rate = pcie.rate(speed, lanes)
    assert rate is None or (speed in pcie._SPEEDS and 1 <= lanes <= 32)


@pytest.mark.parametrize(
    ("port", "card", "found"),  # current, most
    [
        (("8.0x4", "8.0x4"), ("8.0x4", "8.0x4"), []),
        (("8.0x4", "16.0x8"), ("8.0x4", "8.0x4"), []),
        (("8.0x4", "8.0x4"), ("8.0x4", "16.0x4"), ["older port"]),
        (("8.0x4", "8.0x4"), ("8.0x4", "8.0x16"), ["slot width"]),
        (("8.0x1", "8.0x4"), ("8.0x1", "8.0x4"), ["lanes lost"]),
        (("2.5x4", "8.0x4"), ("2.5x4", "8.0x4"), ["trained down"]),
        (("2.5x1", "8.0x2"), ("2.5x1", "16.0x4"),
         ["older port", "slot width", "lanes lost", "trained down"]),
    ],
)  # fmt: skip
def test_why_a_link_is_slow(
    machine: Machine, port: tuple[str, str], card: tuple[str, str], found: list[str]
) -> None:
    function(machine, PORT, *port)
    function(machine, CARD, *card)
    assert causes(machine) == found


@pytest.mark.parametrize(("speed", "width"), [("Unknown", "0"), ("Unknown", "63"), ("0.0", "255")])
def test_a_function_without_a_link_is_not_slow(machine: Machine, speed: str, width: str) -> None:
    function(machine, CARD, current_link_speed=speed, current_link_width=width)
    link = link_of(machine, "0000:01:00.0")
    assert (link.bus, link.now, link.bandwidth, link.findings) == ("pci", None, None, ())
    assert link.suits == ()
    assert "no link" in link.notes[0]


def test_functions_of_a_card_say_once_what_is_wrong_with_its_slot(machine: Machine) -> None:
    function(machine, PORT, "8.0x4", "8.0x4")
    for number in (0, 1):
        function(machine, f"{PORT}/0000:01:00.{number}", "8.0x4", "8.0x16")
    machine.write("/sys/bus/pci/slots/7/address", "0000:01:00\n")
    assert causes(machine) == ["slot width"]
    assert causes(machine, "0000:01:00.1") == []
    assert link_of(machine, "0000:01:00.1").slot == "7"


def test_a_port_of_an_emulator_is_told(machine: Machine) -> None:
    function(machine, PORT, "16.0x32", "16.0x32", vendor="0x1b36")
    function(machine, CARD, "2.5x1", "2.5x1")
    assert link_of(machine, "0000:01:00.0").notes[0].startswith("its port is made up by QEMU")


def test_a_virtual_function_is_on_the_link_of_its_card(machine: Machine) -> None:
    function(machine, PORT, "16.0x8", "16.0x8")
    function(machine, CARD, "16.0x8", "16.0x8", **{"class": "0x020000"})
    name = f"{PORT}/0000:01:00.1"
    function(machine, name, current_link_speed="Unknown", current_link_width="0")
    (machine.root / f"sys{name}/physfn").symlink_to("../0000:01:00.0")
    link = link_of(machine, "0000:01:00.1")
    assert link.now is not None
    assert (link.bus, link.now.text, link.findings) == ("pcie", "16 GT/s x8", ())


# ---- USB ----------------------------------------------------------------------------------------


def hub(machine: Machine, number: int, speed: str) -> str:
    attrs = {"idVendor": "1d6b", "idProduct": "2", "speed": speed, "version": " 2.00"}
    path = f"/devices/platform/xhci/usb{number}"
    return machine.device(path, "bus/usb", uevent={"DEVTYPE": "usb_device"}, attrs=attrs)


def plugged(machine: Machine, devpath: str, **attrs: str) -> None:
    attrs = {"idVendor": "1", "idProduct": "2", "manufacturer": "m", "product": "p", **attrs}
    machine.device(devpath, "bus/usb", uevent={"DEVTYPE": "usb_device"}, attrs=attrs)


def test_rates_of_usb_are_those_of_the_standards(machine: Machine) -> None:
    root = hub(machine, 1, "20000")
    rates = {
        "1.5": 48e3, "12": 1.216e6, "480": 53.248e6,
        "5000": 500e6, "10000": 1.2121e9, "20000": 2.4242e9,
    }  # fmt: skip
    for port, speed in enumerate(rates, 1):
        plugged(machine, f"{root}/1-{port}", speed=speed, version=" 2.00")
        link = link_of(machine, f"1-{port}")
        assert link.bandwidth == pytest.approx(rates[speed], rel=1e-3)
        assert link.findings == ()
    plugged(machine, f"{root}/1-9", speed="10000", rx_lanes="2")
    two_lanes = link_of(machine, "1-9").now
    assert two_lanes is not None
    assert two_lanes.standard == "USB 3.2 Gen 1x2"
    assert two_lanes.bandwidth == 1e9


def test_a_hub_on_the_way_limits(machine: Machine) -> None:
    root = hub(machine, 2, "10000")
    plugged(machine, f"{root}/2-1", speed="5000", version=" 3.00", bDeviceClass="09")
    plugged(machine, f"{root}/2-1/2-1.1", speed="5000", version=" 3.20")
    bos = bytes.fromhex("050f1c00020a10030000000000000014100a00000000000000000000000000000000")
    machine.write(f"/sys{root}/2-1/2-1.1/bos_descriptors", bos)
    link = link_of(machine, "2-1.1")
    assert [hop.device for hop in link.hops] == ["2-1.1", "2-1"]
    assert [finding.cause for finding in link.findings] == ["older port"]
    assert "hub 2-1 has 5000 Mbit/s" in link.findings[0].text


@given(st.binary(max_size=80))
def test_any_descriptors_are_read(descriptors: bytes) -> None:
    class Node:
        def raw(self, _: str) -> bytes:
            return descriptors

        def attr(self, _: str) -> str:
            return ""

    assert usb._said(Node()) in ("", "5000", "10000")  # type: ignore[arg-type]


# ---- CXL and NUMA -------------------------------------------------------------------------------


def expander(machine: Machine, number: int, bus: str) -> None:
    """A CXL memory expander on a root port of its own."""
    port = f"/devices/pci0000:{bus}/0000:{bus}:00.0"
    card = f"{port}/0000:{int(bus, 16) + 1:02x}:00.0"
    function(machine, port, "32.0x8", "32.0x8", **{"class": "0x060400"})
    function(machine, card, "32.0x8", "32.0x16", **{"class": "0x050210", "numa_node": "0"})
    memory = machine.device(f"{card}/mem{number}", "bus/cxl", attrs={"serial": "0x1"})
    endpoint = machine.device(f"{CXL}/port1/endpoint{number + 2}", "bus/cxl")
    target = machine.root / f"sys{memory}"
    link = machine.root / f"sys{endpoint}/uport"
    link.symlink_to(os.path.relpath(target, link.parent))
    decoder = f"{endpoint}/decoder{number + 2}.0"
    machine.device(decoder, "bus/cxl", attrs={"target_type": "expander"})


def node(machine: Machine, number: int, processors: str, distance: str) -> None:
    attrs = {
        "meminfo": f"Node {number} MemTotal: 1024 kB",
        "cpulist": processors,
        "distance": distance,
    }
    machine.device(f"/devices/system/node/node{number}", "bus/node", attrs=attrs)


def test_cxl_memory_and_what_is_made_of_it(machine: Machine) -> None:
    expander(machine, 0, "0c")
    expander(machine, 1, "de")
    region = machine.device(
        f"{CXL}/decoder0.0/region0",
        "bus/cxl",
        attrs={"target0": "decoder2.0", "target1": "decoder3.0", "size": "0x1000"},
    )
    attrs = {"size": "4096", "target_node": "1", "numa_node": "0"}
    machine.device(f"{region}/dax_region0/dax0.0", "bus/dax", attrs=attrs)
    node(machine, 0, "0-3", "10 20")
    node(machine, 1, "", "20 10")
    machine.write("/sys/devices/system/node/online", "0-1\n")
    one = link_of(machine, "mem0")
    lanes = 32e9 / 8 * 8 * 128 / 130 * 64 / 68
    assert one.now is not None
    assert (one.bus, one.now.standard, one.protocols) == (
        "cxl", "CXL on PCIe 5.0", ("CXL.io", "CXL.mem"),
    )  # fmt: skip
    assert one.bandwidth == pytest.approx(lanes)
    assert (one.suits, one.numa_node) == (("memory expansion",), 0)
    assert [finding.cause for finding in one.findings] == ["slot width"]
    for name in ("region0", "dax0.0"):
        both = link_of(machine, name)
        assert both.bandwidth == pytest.approx(2 * lanes)
        assert "interleaved over mem0, mem1" in both.notes
    assert (both.numa_node, both.distances) == (1, {0: 20, 1: 10})


@pytest.mark.parametrize("told", ["address", "provider"])
def test_persistent_cxl_memory(machine: Machine, told: str) -> None:
    """Its device DAX hangs on the NVDIMM driver's bus, not on the CXL one."""
    expander(machine, 0, "0c")
    attrs = {"target0": "decoder2.0", "resource": "0x190000000"}
    machine.device(f"{CXL}/decoder0.0/region0", "bus/cxl", attrs=attrs)
    bus = f"{CXL}/nvdimm-bridge0/ndbus0"
    machine.device(f"{bus}/nmem0", "bus/nd", attrs={"state": "idle"})
    attrs = {"mapping0": "nmem0,0,268435456,0"}
    if told == "address":
        attrs["resource"] = "0x190000000"  # For root alone.
    else:
        machine.write(f"/sys{bus}/nmem0/cxl/provider", "pmem0\n")  # Linux 6.4
        machine.device("/devices/pci0000:0c/0000:0c:00.0/0000:0d:00.0/mem0/pmem0", "bus/cxl")
    region = machine.device(f"{bus}/region0", "bus/nd", attrs=attrs)
    machine.device(f"{region}/dax0.0/dax0.0", "bus/dax", attrs={"size": "4096"})
    link = link_of(machine, "dax0.0")
    assert (link.bus, link.bandwidth) == ("cxl", link_of(machine, "mem0").bandwidth)
    assert link.bandwidth is not None


def test_a_device_that_caches_suits_coherent_work(machine: Machine) -> None:
    expander(machine, 0, "0c")
    machine.write(f"/sys{CXL}/port1/endpoint2/decoder2.0/target_type", "accelerator\n")
    link = link_of(machine, "mem0")
    assert link.protocols == ("CXL.io", "CXL.mem", "CXL.cache")
    assert link.suits == ("memory expansion", "coherent multi-device work")


def test_the_firmwares_figures_of_memory(machine: Machine) -> None:
    node(machine, 0, "0-3", "10 21 31")
    node(machine, 2, "", "21 10 41")
    node(machine, 3, "", "31 41 10")
    machine.write("/sys/devices/system/node/online", "0,2-3\n")
    for kind, latency in (("access0", 90), ("access1", 250)):
        place = f"/sys/devices/system/node/node2/{kind}/initiators"
        figures = {"read_latency": latency, "write_latency": latency + 20,
                   "read_bandwidth": 32000, "write_bandwidth": 0}  # fmt: skip
        for name, value in figures.items():
            machine.write(f"{place}/{name}", f"{value}\n")
    near, far, silent = (link_of(machine, f"node{number}") for number in (0, 2, 3))
    assert far.access is not None
    assert (far.access.read_latency, far.access.write_latency) == (250, 270)
    assert (far.access.read_bandwidth, far.access.write_bandwidth) == (32e9, None)
    assert (far.bandwidth, far.distances) == (32e9, {0: 21, 2: 10, 3: 41})
    assert (near.suits, far.suits) == ((), ("memory expansion",))
    assert (silent.access, silent.bandwidth) == (None, None)


# ---- fabrics and what a link suits --------------------------------------------------------------


def test_fabrics_that_sysfs_names(machine: Machine) -> None:
    function(machine, PORT, "16.0x16", "16.0x16")
    for number, bus in enumerate(("01", "02", "03")):
        card = f"{PORT}/0000:{bus}:00.0"
        function(machine, card, "16.0x16", "16.0x16", **{"class": "0x038000"})
        hive = "7" if number < 2 else "8"
        machine.write(f"/sys{card}/xgmi_hive_info/xgmi_hive_id", f"{hive}\n")
    place = f"/sys{CARD}/infiniband/mlx5_0/ports/1"
    machine.write(f"{place}/rate", "100 Gb/sec (4X EDR)\n")
    machine.write(f"{place}/link_layer", "InfiniBand\n")
    xgmi, rdma = link_of(machine, "0000:01:00.0").fabrics
    assert (xgmi.kind, xgmi.name, xgmi.peers) == ("xgmi", "hive 7", ("0000:02:00.0",))
    assert (rdma.kind, rdma.name, rdma.bandwidth) == ("infiniband", "mlx5_0 port 1", 12.5e9)
    assert "coherent multi-device work" in link_of(machine, "0000:02:00.0").suits


def test_the_rule_of_what_a_link_suits() -> None:
    assert suits(None) == ()
    assert suits(STREAMING - 1) == ("control",)
    assert suits(STREAMING) == suits(INFERENCE - 1) == ("streaming",)
    assert suits(INFERENCE) == ("general inference",)
    assert suits(1e9, memory=True) == ("memory expansion",)
    assert suits(1e9, coherent=True) == ("coherent multi-device work", "general inference")
    assert {"control", "streaming", "general inference"} < SUITS.keys()
    single_lane = pcie.rate(8.0, 1)
    assert single_lane is not None
    assert single_lane.bandwidth >= INFERENCE


def test_this_machines_links_are_those_of_the_kernel() -> None:
    for link in local_links():
        if link.bus == "pcie" and link.now is not None:
            folder = Path("/sys/bus/pci/devices", link.name)
            if folder.exists() and not (folder / "physfn").exists():
                assert (folder / "current_link_width").read_text().strip() == str(link.now.lanes)
    tree = Sysfs("/")
    assert {link.name for link in local_links()} <= {
        node.name for kind in ("pci", "usb", "node", "dax", "nd", "cxl", "block", "drm", "accel",
                               "i2c", "spi", "fpga_manager", "remoteproc")
        for node in tree.nodes(kind)
    }  # fmt: skip
