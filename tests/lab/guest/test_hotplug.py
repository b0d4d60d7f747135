# SPDX-License-Identifier: Apache-2.0
"""hal.watch on a real kernel: devices pulled out and put in, with udevd, without it, and between.

How long a change took from the event is printed (pytest -rP), never judged: emulation makes
Python some 20 times slower.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hal
from hal.discovery import Changes, Query, local

from .devices import Module, i2c_bus, until
from .host import Host

UDEVD = "/lib/systemd/systemd-udevd"


class Watched:
    """One consumer's view of the devices."""

    def __init__(self, changes: Changes, query: str) -> None:
        self._changes = changes
        self._query = Query.parse(query)
        self.problems: list[str] = []
        self.last = self._take(60)

    @property
    def records(self) -> tuple[hal.Record, ...]:
        """The devices that the query asks for."""
        return self._query.of(self.last.records)

    def names(self) -> set[str]:
        """Their names."""
        return {record.name for record in self.records}

    def ids(self) -> set[str]:
        """Their identities."""
        return {record.id for record in self.records}

    def _take(self, timeout: float) -> hal.Change:
        change = self._changes.next(timeout)
        if change is None:
            raise TimeoutError(f"nothing new in {timeout:.0f} s")
        self.problems += map(str, change.problems)
        return change

    def until(self, condition: Callable[[], object]) -> None:
        """Follow the changes until a condition holds."""
        end = time.monotonic() + 60
        while not condition():
            self.last = self._take(max(end - time.monotonic(), 0))


@pytest.fixture(scope="module")
def watch() -> Iterator[hal.Watch]:
    """One watch for all tests: its first look takes seconds here."""
    second, local.SECOND_LOOK = local.SECOND_LOOK, 20.0
    with hal.watch(network=False) as watch:
        yield watch
    local.SECOND_LOOK = second


@pytest.fixture
def lines(watch: hal.Watch) -> Watched:
    """The serial lines."""
    return Watched(watch.changes(), "class=serial")


class Events:
    """When the kernel's events came, by a monitor of the test's own."""

    def __init__(self, subsystem: str) -> None:
        import pyudev

        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), "kernel")
        monitor.filter_by(subsystem)
        monitor.start()
        self.times: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._note, args=(monitor,))
        self._thread.start()

    def _note(self, monitor: object) -> None:
        while not self._end.is_set():
            if monitor.poll(0.1):  # type: ignore[attr-defined]
                self.times.append(time.monotonic())

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def report(self, what: str) -> None:
        """Print how long ago the first event was."""
        until(lambda: self.times)
        print(f"{what}: {1e3 * (time.monotonic() - self.times[0]):.0f} ms after the kernel's event")


@pytest.fixture
def tty_events() -> Iterator[Events]:
    events = Events("tty")
    yield events
    events.close()


def test_usb_adapter_goes_and_comes(host: Host, lines: Watched, tty_events: Events) -> None:
    before = next(record for record in lines.records if record.name == "ttyUSB0")
    host.unplug("usb0")
    lines.until(lambda: "ttyUSB0" not in lines.names())
    tty_events.report("unplugged")
    assert before.id in {record.id for record in lines.last.removed}
    tty_events.times.clear()
    host.plug("usb0")
    lines.until(lambda: "ttyUSB0" in lines.names())
    tty_events.report("plugged")
    after = next(record for record in lines.records if record.name == "ttyUSB0")
    assert after.uri == "uart:/dev/ttyUSB0"
    # QEMU makes the serial number of the port, which is another one now.
    number = re.compile(r"-\d+ ")
    assert number.sub(" ", after.identity) == number.sub(" ", before.identity)
    lines.until(lambda: by_id(lines))  # udevd's link: the look came after udevd, or again.


def by_id(lines: Watched) -> bool:
    """Is the adapter's name in /dev/serial/by-id known?"""
    return any("/dev/serial/by-id/" in " ".join(record.addresses) for record in lines.records)


def test_usb_adapter_without_udevd_and_when_it_is_back(host: Host, lines: Watched) -> None:
    subprocess.run(["udevadm", "settle"], check=True)  # it ends once none of its workers is busy
    subprocess.run(["udevadm", "control", "--exit"], check=True)
    until(lambda: not running())
    try:
        host.unplug("usb0")
        lines.until(lambda: "ttyUSB0" not in lines.names())
    finally:
        subprocess.run([UDEVD, "--daemon"], check=True, stderr=subprocess.DEVNULL)
        until(running)
        host.plug("usb0")
    lines.until(lambda: by_id(lines))


def running() -> bool:
    """Does a udevd run?"""
    folders = Path("/proc").glob("[0-9]*/comm")
    return any(_text(path) in ("systemd-udevd\n", "(udev-worker)\n") for path in folders)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # The process has ended.
        return ""


def test_i2c_adapter_goes_and_comes_with_all_on_it(watch: hal.Watch, lab_i2c: Module) -> None:
    buses = Watched(watch.changes(), "class=i2c")
    adapter = f"i2c-{i2c_bus()}"
    path = next(record.path for record in buses.records if record.name == adapter)
    ours = {record.id for record in buses.records if record.path.startswith(path)}
    assert len(ours) == 4  # It, and the chips that kernel drivers hold.
    lab_i2c.remove()
    buses.until(lambda: not ours & buses.ids())
    lab_i2c.insert()
    buses.until(lambda: ours <= buses.ids())


def test_pci_device_goes_and_comes(host: Host, watch: hal.Watch) -> None:
    devices = Watched(watch.changes(), "class=pci property:id=1234:11e8")
    before = devices.ids()
    assert len(before) == 3
    host.unplug("edu2")
    devices.until(lambda: len(devices.ids()) == 2)
    host.plug("edu2")
    devices.until(lambda: len(devices.ids()) == 3)
    assert devices.ids() == before
