# SPDX-License-Identifier: Apache-2.0
"""The driver ``uio`` on edu, which the kernel's uio_pci_generic hands over."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import hal

from . import devices
from .devices import until
from .host import Host
from .user import call_as

RAISE, STATUS, ACKNOWLEDGE = 0x60, 0x24, 0x64


@contextmanager
def handed_over(device: Path) -> Iterator[str]:
    """Give a PCI device to uio_pci_generic; its name there."""
    with devices.handed_over(device, "uio_pci_generic"):
        name = until(lambda: list((device / "uio").glob("uio*")))[0].name
        until(Path(f"/dev/{name}").exists)
        yield name


@pytest.fixture
def name() -> Iterator[str]:
    with handed_over(devices.pci(devices.EDU)[0]) as name:
        yield name


@pytest.fixture
def edu(name: str) -> Iterator[hal.Uio]:
    with hal.Uio.open(f"uio:{name}") as opened:
        yield opened


def test_facts(edu: hal.Uio, name: str) -> None:
    assert edu.name == "uio_pci_generic"
    assert edu.rearm == "pci"
    assert edu.attributes["registers"] == f"mmio:{name}/0?byte_order=native"
    node = os.stat(f"/dev/{name}")
    assert os.fstat(edu.fileno()).st_rdev == node.st_rdev


def test_registers_are_those_of_the_bar(edu: hal.Uio) -> None:
    assert edu.read32(0) == 0x010000ED
    edu.write32(4, 0xFFFF0000)
    assert edu.read_at(4, 4) == b"\xff\xff\0\0"
    assert np.frombuffer(memoryview(edu.map(0, 16)), "u4")[0] == 0x010000ED
    with edu.map(8192, 4096) as far:  # of a UIO map, the kernel maps all or nothing
        edu.write32(4, 1)
        assert len(far) == 4096
    with pytest.raises(hal.InvalidArgument, match="beyond"):
        edu.read32(1 << 20)


def test_interrupts_are_counted(edu: hal.Uio) -> None:
    first = edu.count
    for i in range(1, 4):
        edu.write32(RAISE, i)
        assert edu.wait(timeout=20) == first + i
        assert edu.read32(STATUS) == i
        edu.write32(ACKNOWLEDGE, i)
    assert edu.count == first + 3
    with pytest.raises(hal.Timeout):
        edu.wait(timeout=0.05)


def test_poll_sees_an_interrupt(edu: hal.Uio) -> None:
    with pytest.raises(hal.WouldBlock):
        edu.poll(select.POLLIN, timeout=0)
    edu.write32(RAISE, 1)
    assert edu.poll(select.POLLIN, timeout=20) == select.POLLIN
    edu.write32(ACKNOWLEDGE, 1)
    edu.wait(timeout=0)


def test_a_wait_is_woken(edu: hal.Uio) -> None:
    timer = threading.Timer(0.3, lambda: edu.write32(RAISE, 1))
    timer.start()
    edu.wait(timeout=20)
    edu.write32(ACKNOWLEDGE, 1)
    timer.join()


def test_a_wait_is_cancelled(edu: hal.Uio) -> None:
    timer = threading.Timer(0.3, edu.cancel)
    timer.start()
    with pytest.raises(hal.Cancelled):
        edu.wait(timeout=20)
    timer.join()


def test_asyncio(edu: hal.Uio) -> None:
    async def main() -> list[int]:
        counts = []
        for _ in range(2):
            asyncio.get_running_loop().call_later(0.1, edu.write32, RAISE, 1)
            counts.append(await edu.await_interrupt(timeout=20))
            edu.write32(ACKNOWLEDGE, 1)
        return counts

    first, second = asyncio.run(main())
    assert second == first + 1


def test_held_back_and_let_through(edu: hal.Uio) -> None:
    edu.disarm()
    before = edu.count
    edu.write32(RAISE, 1)
    time.sleep(0.2)
    assert edu.count == before
    edu.arm()
    until(lambda: edu.count > before)
    edu.write32(ACKNOWLEDGE, 1)
    edu.wait(timeout=5)


def test_reads_and_writes_are_words(edu: hal.Uio) -> None:
    with pytest.raises(hal.InvalidArgument, match="room for 2"):
        edu.read(2)
    with pytest.raises(hal.InvalidArgument, match="4 bytes"):
        edu.write(b"1")


def test_options(name: str) -> None:
    with pytest.raises(hal.Error, match="no irqcontrol: open with rearm=none or rearm=pci"):
        hal.open(f"uio:{name}", rearm="write")
    with hal.Uio.open(f"uio:/dev/{name}", rearm="none") as opened:
        assert opened.rearm == "none"
    with pytest.raises(hal.NotFound, match="no map 3"):
        hal.open(f"uio:{name}", map=3)
    with pytest.raises(hal.NotFound):
        hal.open("uio:uio777")
    for wrong in ("", "uio", "0", "uio0/1"):
        with pytest.raises(hal.InvalidArgument, match="which device"):
            hal.open(f"uio:{wrong}")


def test_an_ordinary_user_is_refused(name: str) -> None:
    def attempt() -> None:
        hal.open(f"uio:{name}")

    with pytest.raises(hal.PermissionDenied, match=f"/dev/{name}"):
        call_as("nobody", attempt)


def test_a_device_that_is_pulled_out(host: Host) -> None:
    device = devices.pci(devices.EDU)[2]
    try:
        with handed_over(device) as name, hal.Uio.open(f"uio:{name}") as edu:
            timer = threading.Timer(0.3, lambda: host.unplug("edu2"))
            timer.start()
            with pytest.raises(hal.Unplugged):
                edu.wait(timeout=30)
            timer.join()
    finally:
        until(lambda: len(devices.pci(devices.EDU)) == 2)
        host.plug("edu2")
        until(lambda: len(devices.pci(devices.EDU)) == 3)
