# SPDX-License-Identifier: Apache-2.0
"""A board that is plugged in by USB, and is a network by that: one device, one record."""

from __future__ import annotations

from pathlib import Path

from hal.discovery.announce import Announcer
from hal.discovery.announcement import Announcement
from hal.discovery.local import LocalScout
from hal.discovery.mdns import MdnsScout
from hal.discovery.ssdp import SsdpScout
from tests.machine import FTDI, Machine, usb_serial

from .namespaces import Net
from .running import announcing, scouting, seen, until

UUID = "6f0c1f9e-8f5a-4b8b-9a86-5b1f1d8c1a11"
WAYS = ("mdns", "ssdp", "local")


def test_usb_ipv4_ipv6_mdns_and_ssdp_are_one_record(net: Net, tmp_path: Path) -> None:
    """The controller's eth0 is, says its sysfs, a part of the USB device with the board's UUID."""
    board, controller = net.host("board"), net.host("controller")
    machine = Machine(tmp_path / "machine")
    usb_serial(machine, FTDI, "ttyUSB0", UUID)
    link = {"type": "1", "address": "02:00:00:00:00:01", "operstate": "up"}
    machine.device(f"{FTDI}/1-2:1.2/net/eth0", "class/net", attrs=link)
    scouts = LocalScout(root=str(machine.root)), MdnsScout(), SsdpScout()
    said = Announcement(UUID, 7000, "Board")
    with scouting(controller, *scouts) as roster:
        plugged = seen(roster, UUID)
        assert (plugged.device_class, plugged.sources) == ("usb", ("local",))
        with announcing(board, said, Announcer):
            until(lambda: set(seen(roster, UUID).sources) == set(WAYS), what=roster.snapshot)
            until(lambda: len(seen(roster, UUID).addresses) == 5, what=roster.snapshot)
            record = seen(roster, UUID, state="reachable")
            assert record.uri == f"hal://{board.address}:7000?id={UUID}"
            assert (record.device_class, record.trust) == ("remote", "unverified")
            *best, last = record.addresses
            assert best[:2] == [f"{board.address}:7000", f"[{board.address6}]:7000"]
            assert set(best[2:]) == {*plugged.addresses} and last.startswith("[fe80::")
            assert (record.vendor, record.detail) == ("FTDI", "")
            assert sum(r.id == UUID for r in roster.snapshot().records) == 1
            assert not roster.snapshot().problems
        until(lambda: seen(roster, UUID) == plugged or seen(roster, UUID).sources == ("local",))
