# SPDX-License-Identifier: Apache-2.0
"""The local inventory: this machine as it is, and machines made of files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal import discovery
from hal.discovery import access, identity, inventory, names, sources
from hal.discovery.sysfs import Node, Sysfs, natural, printable
from hal.discovery.udev import Udev

from .machine import FTDI, I2C, PCI_IDS, UNPRIVILEGED, Machine, usb_serial, workbench

FTDI_2 = "/devices/pci0000:00/0000:00:14.0/usb1/1-3"


@pytest.fixture
def bench(tmp_path: Path) -> Machine:
    return workbench(tmp_path / "machine")


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def look(machine: Machine) -> dict[str, discovery.Record]:
    return {record.name: record for record in discovery.local_devices(str(machine.root))}


# ---- this machine -------------------------------------------------------------------------------


def test_every_pci_function_of_this_machine_is_listed() -> None:
    found = {r.name for r in discovery.local_devices() if r.device_class == "pci"}
    folder = "/sys/bus/pci/devices"
    assert found == set(os.listdir(folder) if os.path.isdir(folder) else [])


def test_every_network_interface_but_the_loop_is_listed() -> None:
    found = {r.name for r in discovery.local_devices() if r.device_class == "network"}
    assert found == set(os.listdir("/sys/class/net")) - {"lo", "bonding_masters"}


def test_system_memory_is_listed_with_its_size() -> None:
    nodes = [r for r in discovery.local_devices() if re.fullmatch(r"node\d+", r.name)]
    kilobytes = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert kilobytes
    assert bool(nodes) == os.path.isdir("/sys/devices/system/node/node0")
    for record in nodes:
        size = int(record.properties["size"])
        assert size % os.sysconf("SC_PAGE_SIZE") == 0
        assert 0 < size <= int(kilobytes[1]) * 1024


def test_only_serial_lines_with_hardware_are_listed() -> None:
    for record in discovery.local_devices():
        if record.device_class == "serial":
            assert not re.match(r"(tty\d*|pty.*|ptmx|console)$", record.name)
            assert record.uri == f"uart:/dev/{record.name}"
            type_file = Path(f"/sys{record.path}/type")
            assert not type_file.exists() or type_file.read_text() != "0\n"


def test_no_device_node_is_opened() -> None:
    """Run the inventory in a child that reports every file it opens (audit hook, PEP 578)."""
    script = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from hal import discovery
discovery.local_inventory(holders=True, drivers={"uart": ""})
print(*(path for path in opened if path.startswith("/dev/") and path != "/dev/null"))
print(len([path for path in opened if path.startswith("/sys/")]) > 0)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "\nTrue\n"


def test_udev_and_sysfs_see_the_same_devices() -> None:
    udev, sysfs = Udev(), Sysfs("/")
    for source in sources.SOURCES:
        by_udev = {node.path for node in udev.nodes(source.subsystem)}
        assert by_udev == {node.path for node in sysfs.nodes(source.subsystem)}
        for node in sysfs.nodes(source.subsystem):
            assert sysfs.properties(node.path).keys() <= udev.properties(node.path).keys()
            assert node.devnode == udev.node(node.path).devnode


def test_without_libudev_sysfs_is_read_and_the_reason_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with_udev = discovery.local_devices()
    monkeypatch.setitem(sys.modules, "hal.discovery.udev", None)
    without = discovery.local_inventory()
    assert [r.id for r in without] == [r.id for r in with_udev]
    assert "sysfs alone" in str(without.problems[0])


def test_records_are_the_same_each_time_and_ids_are_uuids() -> None:
    first, second = discovery.local_devices(), discovery.local_devices()
    assert [r.id for r in first] == [r.id for r in second]
    assert len({r.id for r in first}) == len(first)
    assert all(uuid.UUID(r.id).version == 5 for r in first)


# ---- made-up machines: what is seen --------------------------------------------------------------

EXPECTED = {
    # name: class, driver, URI, state (as root, or where the mode lets everybody)
    "ttyS0": ("serial", "uart", "uart:/dev/ttyS0", "ready"),
    "ttyGS0": ("serial", "uart", "uart:/dev/ttyGS0", None),
    "ttyAMA0": ("serial", "uart", "uart:/dev/ttyAMA0", None),
    "ttyUSB0": ("serial", "uart", "uart:/dev/ttyUSB0", None),
    "i2c-1": ("i2c", "i2c", "i2c:1", "ready"),
    "1-0050": ("i2c", "i2c", "i2c:1/0x50", "kernel"),
    "1-0068": ("i2c", "i2c", "i2c:1/0x68", "ready"),
    "1-a250": ("i2c", "i2c", "i2c:1/0x250", "ready"),
    "i2c-PRP0001:00": ("i2c", "", "", "present"),
    "i2c-2": ("i2c", "i2c", "i2c:2", "no node"),
    "spi0": ("spi", "", "", "present"),
    "spi0.0": ("spi", "spi", "spi:0.0", "ready"),
    "spi0.1": ("spi", "spi", "spi:0.1", "kernel"),
    "spi0.2": ("spi", "spi", "spi:0.2", "no node"),
    "gpiochip0": ("gpio", "gpio", "gpio:gpiochip0", "ready"),
    "iio:device0": ("iio", "iio", "iio:device0", None),
    "pwmchip0": ("pwm", "pwm", "pwm:pwmchip0/0", "ready"),
    "ACT": ("led", "led", "led:ACT", "ready"),
    "hwmon0": ("hwmon", "hwmon", "hwmon:hwmon0", "ready"),
    "0000:00:14.0": ("pci", "mmio", "mmio:0000:00:14.0/0", "kernel"),
    "0000:01:00.0": ("pci", "mmio", "mmio:0000:01:00.0/1", None),
    "usb1": ("usb", "", "", None),
    "1-2": ("usb", "", "", "kernel"),
    "node0": ("memory", "", "", "present"),
    "node1": ("memory", "", "", "present"),
    "dax0.0": ("memory", "memory", "memory:/dev/dax0.0", "ready"),
    "dax1.0": ("memory", "", "", "kernel"),
    "pmem0": ("memory", "memory", "memory:/dev/pmem0", None),
    "nmem0": ("memory", "", "", "present"),
    "mem0": ("memory", "", "", None),
    "region0": ("memory", "", "", "present"),
    "renderD128": ("accelerator", "", "", "ready"),
    "accel0": ("accelerator", "", "", "ready"),
    "fpga0": ("accelerator", "", "", "present"),
    "fpga-region0": ("accelerator", "", "", "present"),
    "remoteproc0": ("accelerator", "", "", "present"),
    "enp0s25": ("network", "", "", "present"),
    "video0": ("video", "", "", "ready"),
    "card0": ("sound", "", "", "ready"),
}


def test_the_workbench_shows_exactly_what_it_has(bench: Machine) -> None:
    records = look(bench)
    assert records.keys() == EXPECTED.keys()
    for name, (device_class, driver, uri, state) in EXPECTED.items():
        record = records[name]
        assert (record.device_class, record.driver, record.uri) == (device_class, driver, uri), name
        assert state is None or record.state == state, name
    classes = {source.device_class for source in sources.SOURCES}
    assert {r.device_class for r in records.values()} == classes
    assert {r.state for r in records.values()} <= set(discovery.STATES)


def test_a_usb_serial_line_knows_its_hardware(bench: Machine) -> None:
    record = look(bench)["ttyUSB0"]
    assert (record.vendor, record.model) == ("FTDI", "FT232R USB UART")
    assert record.serial == "A50285BI"
    assert record.kernel_driver == "ftdi_sio"
    assert record.addresses == ("/dev/ttyUSB0",)
    assert record.description == "FTDI FT232R USB UART"


def test_a_uart_knows_its_kind_and_place(bench: Machine) -> None:
    record = look(bench)["ttyS0"]
    assert record.model == "16550A UART"
    assert record.kernel_driver == "serial"  # and not "port", the layer in between
    assert dict(record.properties) == {"port": "0x3F8", "irq": "4"}


def test_a_device_without_a_driver_does_not_borrow_one_from_above(bench: Machine) -> None:
    bridge = bench.device("/devices/pci0000:00/0000:00:06.0", "bus/pci", driver="pcieport")
    bench.device(f"{bridge}/0000:02:00.0", "bus/pci", attrs={"current_link_width": "255"})
    records = look(bench)
    drivers = {"0000:02:00.0": "", "1-0068": "", "i2c-1": "i2c-bcm2835", "spi0.2": "",
               "1-2": "usb", "0000:00:14.0": "xhci_hcd"}  # fmt: skip
    assert {name: records[name].kernel_driver for name in drivers} == drivers
    assert not {"link_speed", "link_width"} & records["0000:02:00.0"].properties.keys()


def test_device_tree_names_the_hardware(bench: Machine) -> None:
    record = look(bench)["ttyAMA0"]
    assert (record.vendor, record.model) == ("arm", "pl011")


def test_pci_names_and_bars(bench: Machine) -> None:
    records = look(bench)
    host = records["0000:00:14.0"]
    assert host.vendor == "Intel Corporation"
    assert host.model == "Cannon Lake PCH USB 3.1 xHCI Host Controller"
    assert host.properties["bar0"] == "65536"
    assert host.properties["id"] == "8086:a36d"
    assert "numa_node" not in host.properties
    assert "bar0" not in records["0000:01:00.0"].properties  # an I/O BAR is not memory


def test_sizes_are_in_bytes_and_speeds_in_bits_a_second(bench: Machine) -> None:
    records = look(bench)
    assert records["node0"].properties["size"] == str(16384 * 1024)
    assert records["node1"].model == "system RAM without processors"
    assert records["dax0.0"].properties["size"] == str(1 << 30)
    assert records["mem0"].properties["volatile_size"] == str(0x10000000)
    assert records["pmem0"].properties["size"] == str(2048 * 512)
    assert records["enp0s25"].properties["speed"] == "1000000000"
    assert records["1-2"].properties["speed"] == "12000000"


def test_what_each_bus_device_tells(bench: Machine) -> None:
    records = look(bench)
    assert records["1-a250"].properties["address_bits"] == "10"
    assert records["gpiochip0"].properties["lines"] == "58"
    assert records["gpiochip0"].model == "pinctrl-bcm2711"
    assert records["iio:device0"].properties["channels"] == "in_temp in_voltage0 in_voltage1"
    assert records["hwmon0"].properties["sensors"] == "temp1 (die)"
    assert records["ACT"].properties["trigger"] == "mmc0"
    assert records["region0"].properties["interleave_granularity"] == "256"
    assert records["remoteproc0"].properties["processor_state"] == "offline"
    assert records["fpga0"].model == "Xilinx Zynq FPGA Manager"


def test_parents_lead_from_line_to_adapter_to_controller(bench: Machine) -> None:
    records = look(bench)
    by_id = {record.id: record.name for record in records.values()}
    assert by_id[records["ttyUSB0"].parent] == "1-2"
    assert by_id[records["1-2"].parent] == "usb1"
    assert by_id[records["usb1"].parent] == "0000:00:14.0"
    assert by_id[records["iio:device0"].parent] == "1-0068"
    assert records["0000:00:14.0"].parent == ""


def test_an_empty_machine_has_no_devices_and_says_why(bare: Machine) -> None:
    found = discovery.local_inventory(str(bare.root))
    assert len(found) == 0
    assert not found.problems
    assert set(found.unseen) == {source.device_class for source in sources.SOURCES}
    assert found.unseen["i2c"] == inventory.ABSENT


def test_an_empty_bus_differs_from_an_absent_one(bare: Machine) -> None:
    (bare.root / "sys/bus/i2c/devices").mkdir(parents=True)
    found = discovery.local_inventory(str(bare.root))
    assert found.unseen["i2c"] == inventory.EMPTY


def test_only_the_classes_asked_for(bench: Machine) -> None:
    found = discovery.local_inventory(str(bench.root), classes=["gpio", "iio"])
    assert {record.device_class for record in found} == {"gpio", "iio"}
    assert not found.unseen


def test_a_failing_device_is_reported_and_the_rest_listed(bench: Machine) -> None:
    bench.device("/devices/pci0000:00/0000:02:00.0", "bus/pci", attrs={"resource": "no number 0"})
    found = discovery.local_inventory(str(bench.root))
    assert len(found) == len(EXPECTED)
    assert [problem.source for problem in found.problems] == ["pci"]
    assert "0000:02:00.0" in found.problems[0].cause


def test_a_failing_source_is_reported_and_the_rest_listed(
    bench: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nodes(tree: Sysfs, subsystem: str) -> Iterator[Node]:
        if subsystem == "i2c":
            raise OSError(5, "Input/output error")
        return iter(real(tree, subsystem))

    real = Sysfs.nodes
    monkeypatch.setattr(Sysfs, "nodes", nodes)
    found = discovery.local_inventory(str(bench.root))
    assert len(found) == len(EXPECTED) - 6
    assert "Input/output error" in str(found.problems[0])


def test_a_device_that_goes_away_meanwhile_is_no_problem(bench: Machine) -> None:
    (bench.root / "sys/class/tty/ttyGone").symlink_to("../../devices/gone")
    assert look(bench).keys() == EXPECTED.keys()


def test_names_from_devices_cannot_command_a_terminal(bare: Machine) -> None:
    usb_serial(bare, FTDI, "ttyUSB0", "x\x1b[2Jy\n\r\u202ez")
    record = look(bare)["ttyUSB0"]
    assert record.serial == r"x\x1b[2Jy \x0d\x202ez"
    assert record.serial.isprintable()


# ---- state ---------------------------------------------------------------------------------------


def test_state_counts_the_drivers_that_are_there(bench: Machine) -> None:
    drivers = {"uart": "", "i2c": 'load "i2c.so": invalid ELF header'}
    found = discovery.local_inventory(str(bench.root), drivers=drivers)
    records = {record.name: record for record in found}
    assert records["ttyS0"].state == "ready"
    assert (records["i2c-1"].state, records["i2c-1"].detail) == ("no driver", drivers["i2c"])
    assert records["spi0.0"].detail == "it is not installed"


def test_a_holder_is_named(bench: Machine) -> None:
    for pid, name, node in ((7, "minicom", "ttyS0"), (8, "gpiomon", "gpiochip0")):
        link = bench.root / f"proc/{pid}/fd/3"
        link.parent.mkdir(parents=True)
        link.symlink_to(bench.root / "dev" / node)
        bench.write(f"/proc/{pid}/comm", f"{name}\n")
    found = discovery.local_inventory(str(bench.root), holders=True)
    states = {record.name: (record.state, record.detail) for record in found}
    assert states["ttyS0"] == ("busy", "pid 7 (minicom)")
    assert states["gpiochip0"] == ("free", "shared with pid 8 (gpiomon)")
    assert states["i2c-1"] == ("free", "")
    assert states["1-0050"][0] == "kernel"


def test_holders_of_real_files_are_found_and_forgotten(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.touch()
    assert access.holders([str(node)])[0] == {}
    with node.open("rb"):
        held, _ = access.holders([str(node)])
        assert [holder.pid for holder in held[str(node)]] == [os.getpid()]
    assert access.holders([str(node)])[0] == {}


def test_a_missing_node_is_no_node(bench: Machine) -> None:
    (bench.root / "dev/ttyS0").unlink()
    record = look(bench)["ttyS0"]
    assert record.state == "no node"
    assert record.detail == "/dev/ttyS0: No such file or directory"


def test_denied_names_owner_mode_and_groups(bench: Machine) -> None:
    prefix: list[str] = []
    mode = 0o060
    if os.geteuid() == 0:
        prefix, mode = UNPRIVILEGED, 0o660
        os.chown(bench.root / "dev/ttyUSB0", 0, 0)
    (bench.root / "dev/ttyUSB0").chmod(mode)
    script = f"""
from hal import discovery
record = {{r.name: r for r in discovery.local_devices({str(bench.root)!r})}}["ttyUSB0"]
print(record.state, record.detail, sep="|")
"""
    run = subprocess.run(
        [*prefix, sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    state, detail = run.stdout.split("|")
    assert state == "denied"
    assert re.fullmatch(rf"owner \w+:\w+, mode {mode:04o}; you are in: [\w, -]+\n", detail)


def rights(**changes: object) -> access.Rights:
    plain = access.Rights("/dev/ttyUSB0", "root", "dialout", 0o660, ("users",), granted=False)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_group_that_may_open_it_is_the_remedy() -> None:
    commands = access.remedy(rights(), "tty")
    assert re.fullmatch(r"sudo usermod -aG dialout \w+", commands[0])


def test_a_node_of_root_alone_gets_a_udev_rule() -> None:
    commands = access.remedy(rights(node="/dev/spidev0.0", group="root", mode=0o600), "spi")
    rule = 'SUBSYSTEM=="spidev", KERNEL=="spidev*", GROUP="hal", MODE="0660"'
    assert rule in commands[1]
    assert "udevadm control --reload" in commands[2]


# ---- identity ------------------------------------------------------------------------------------


def test_a_serial_number_moves_with_the_hardware(tmp_path: Path) -> None:
    here, there = Machine(tmp_path / "a"), Machine(tmp_path / "b")
    usb_serial(here, FTDI, "ttyUSB0", "A50285BI")
    usb_serial(there, "/devices/platform/usb/usb3/3-1", "ttyUSB7", "A50285BI")
    there.write("/etc/machine-id", "another\n")
    assert look(here)["ttyUSB0"].id == look(there)["ttyUSB7"].id
    assert look(here)["ttyUSB0"].identity.startswith("usb 0403:6001 A50285BI")


@pytest.mark.parametrize("serial", ["", "0", "00000000", "0123456789ABCDEF", "n/a", "To be filled"])
def test_a_dummy_serial_number_names_nothing(bare: Machine, serial: str) -> None:
    usb_serial(bare, FTDI, "ttyUSB0", serial)
    assert look(bare)["ttyUSB0"].identity.startswith("place ")


def test_a_board_that_gives_its_uuid_is_known_by_it(bare: Machine) -> None:
    """The id that it announces, too; what it has is told apart from it."""
    own = "6f0c1f9e-8f5a-4b8b-9a86-5b1f1d8c1a11"
    usb_serial(bare, FTDI, "ttyUSB0", own.upper())
    found = look(bare)
    assert (found["1-2"].id, found["1-2"].identity) == (own, f"uuid {own}")
    assert found["ttyUSB0"].id != own and found["ttyUSB0"].parent == own


def test_the_kernels_count_does_not_matter(tmp_path: Path) -> None:
    before, after = Machine(tmp_path / "a"), Machine(tmp_path / "b")
    usb_serial(before, FTDI, "ttyUSB0", "")
    usb_serial(after, FTDI.replace("usb1/1-2", "usb4/4-2"), "ttyUSB3", "")
    assert look(before)["ttyUSB0"].id == look(after)["ttyUSB3"].id


def test_port_and_machine_matter(tmp_path: Path) -> None:
    ids = set()
    for name, port, machine_id in (("a", "1-2", "m1"), ("b", "1-3", "m1"), ("c", "1-2", "m2")):
        machine = Machine(tmp_path / name)
        machine.write("/etc/machine-id", machine_id)
        usb_serial(machine, FTDI.replace("1-2", port), "ttyUSB0", "")
        ids.add(look(machine)["ttyUSB0"].id)
    assert len(ids) == 3


def test_ports_of_one_adapter_differ(bare: Machine) -> None:
    usb_serial(bare, FTDI, "ttyUSB0", "QUAD1")
    interface = f"{FTDI}/1-2:1.0"
    bare.device(f"{interface}/ttyUSB10", "bus/usb-serial")
    bare.device(f"{interface}/ttyUSB10/tty/ttyUSB10", "class/tty", node="ttyUSB10")
    found = look(bare)
    assert "ttyUSB#0" in found["ttyUSB0"].identity
    assert "ttyUSB#1" in found["ttyUSB10"].identity
    assert found["ttyUSB0"].id != found["ttyUSB10"].id


def test_clones_are_told_apart_by_place_and_reported(bare: Machine) -> None:
    usb_serial(bare, FTDI, "ttyUSB0", "CLONE1")
    usb_serial(bare, FTDI_2, "ttyUSB1", "CLONE1")
    found = discovery.local_inventory(str(bare.root))
    assert len({record.id for record in found}) == len(found)
    assert all(re.match(r"place .*\b[23]\b", record.identity) for record in found)
    assert "ttyUSB0: another device claims to be usb 0403:6001 CLONE1" in "\n".join(
        map(str, found.problems)
    )


def test_a_mac_address_names_an_interface_whatever_it_is_called(tmp_path: Path) -> None:
    attrs = {"type": "1", "address": "00:1b:21:3a:4f:10", "addr_assign_type": "0"}
    ids = set()
    for name in ("eth0", "enp3s0"):
        machine = Machine(tmp_path / name)
        machine.device(f"/devices/pci0000:00/0000:00:19.0/net/{name}", "class/net", attrs=attrs)
        ids.add(look(machine)[name].id)
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("address", "assigned"),
    [
        ("02:1b:21:3a:4f:10", "0"),  # locally administered
        ("00:1b:21:3a:4f:10", "1"),  # random
        ("00:00:00:00:00:00", "0"),
    ],
)
def test_other_mac_addresses_name_nothing(bare: Machine, address: str, assigned: str) -> None:
    attrs = {"type": "1", "address": address, "addr_assign_type": assigned}
    bare.device("/devices/pci0000:00/0000:00:19.0/net/eth0", "class/net", attrs=attrs)
    assert look(bare)["eth0"].identity.startswith("place ")


def test_ids_do_not_change_from_version_to_version(bench: Machine) -> None:
    """Recorded: users keep these ids in their files."""
    records = look(bench)
    assert {name: records[name].id for name in RECORDED} == RECORDED


RECORDED = {
    "1-0050": "ac10491b-0001-5712-9304-2f81a66fe339",
    "enp0s25": "d42df23c-9099-5c5b-8aa8-bfaf14952eba",
    "ttyS0": "4f36d881-fbdf-53fa-9fb1-429a4d3937da",
    "ttyUSB0": "80065a87-954e-530e-abc4-fc718ed69782",
}


def test_the_layer_of_linux_6_5_does_not_change_a_uarts_id(tmp_path: Path) -> None:
    attrs = {"type": "4"}
    old, new = Machine(tmp_path / "old"), Machine(tmp_path / "new")
    for machine in (old, new):
        machine.device("/devices/pnp0/00:05", "bus/pnp")
    old.device("/devices/pnp0/00:05/tty/ttyS0", "class/tty", node="ttyS0", attrs=attrs)
    new.device("/devices/pnp0/00:05/00:05:0", "bus/serial-base")
    new.device("/devices/pnp0/00:05/00:05:0/00:05:0.0", "bus/serial-base")
    new.device(
        "/devices/pnp0/00:05/00:05:0/00:05:0.0/tty/ttyS0", "class/tty", node="ttyS0", attrs=attrs
    )
    assert look(old)["ttyS0"].id == look(new)["ttyS0"].id


# ---- the pieces ----------------------------------------------------------------------------------


def test_a_record_cannot_be_changed(bench: Machine) -> None:
    record = look(bench)["ttyS0"]
    with pytest.raises(FrozenInstanceError):
        record.state = "free"  # type: ignore[misc]


def test_pci_ids_are_looked_up_within_their_vendor(tmp_path: Path) -> None:
    (tmp_path / "usr/share/misc").mkdir(parents=True)
    (tmp_path / "usr/share/misc/pci.ids").write_text(PCI_IDS)
    ids = names.Names(str(tmp_path), "pci.ids")
    assert ids.lookup(0x8087, 0xA36D) == ("Nobody", "Of another vendor")
    assert ids.lookup(0x10DE, 0x2204) == ("NVIDIA Corporation", "GA102")
    assert ids.lookup(0x10DE, 0xA36D) == ("NVIDIA Corporation", "")
    assert ids.lookup(0x1028, 0x0871) == ("", "")
    assert names.Names(str(tmp_path / "none"), "pci.ids").lookup(0x8086, 1) == ("", "")


@pytest.mark.skipif(not os.path.exists("/usr/bin/lspci"), reason="lspci is not installed")
def test_names_are_those_of_lspci() -> None:
    run = subprocess.run(["lspci", "-mmD"], capture_output=True, text=True, check=True)
    lines = [re.findall(r'^\S+|"[^"]*"', line) for line in run.stdout.splitlines()]
    told = {line[0]: [name.strip('"') for name in line[2:4]] for line in lines}
    for record in discovery.local_devices():
        if record.device_class == "pci" and not record.model.startswith("device "):
            assert [record.vendor, record.model] == told[record.name]


@given(st.text(max_size=200))
def test_printable_text_is_printable(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text("ab.:-", max_size=8), st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_numbered_names_are_ordered_by_number(stem: str, one: int, other: int) -> None:
    ordered = sorted([f"{stem}{one}", f"{stem}{other}"], key=natural)
    assert ordered == [f"{stem}{min(one, other)}", f"{stem}{max(one, other)}"]


def test_numbers_are_ordered_as_numbers() -> None:
    assert sorted(["tty10", "tty9", "tty1"], key=natural) == ["tty1", "tty9", "tty10"]


@given(st.from_regex(r"[A-F][G-Z][0-9A-Z]{2,20}", fullmatch=True))
def test_a_real_serial_number_is_no_dummy(serial: str) -> None:
    assert not identity.is_dummy(serial)


def test_the_adapter_of_a_bus_device_is_named(bench: Machine) -> None:
    tree = Sysfs(str(bench.root))
    node = tree.node(f"{tree.sys}{I2C}/1-0050")
    assert [step.name for step in node.line()] == ["1-0050", "i2c-1", "fe804000.i2c"]
    assert repr(node) == f"<Node {I2C}/1-0050>"
