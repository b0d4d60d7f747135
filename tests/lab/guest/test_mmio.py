# SPDX-License-Identifier: Apache-2.0
"""The driver ``mmio`` on PCI devices of the lab: edu's registers, ivshmem's memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hal

from . import devices
from .devices import EDU, IVSHMEM, until
from .host import Host
from .user import call_as

EDU_MAP = Path(__file__).parents[2] / "fixtures/edu.toml"
PCI = Path("/sys/bus/pci/devices")
IO, MEMORY = 0x100, 0x200


def edu_uri(index: int = 0) -> str:
    return f"mmio:{devices.pci(EDU)[index].name}/0"


def disable(device: Path) -> None:
    while (device / "enable").read_text().strip() != "0":
        (device / "enable").write_text("0")


def bars(kind: int) -> list[tuple[Path, int]]:
    """Devices and numbers of BARs of a kind."""
    found = []
    for device in sorted(PCI.iterdir()):
        lines = (device / "resource").read_text().splitlines()[:6]
        found += [(device, i) for i, line in enumerate(lines) if int(line.split()[2], 0) & kind]
    return found


@pytest.fixture
def edu() -> Iterator[hal.Mmio]:
    with hal.Mmio.open(edu_uri(), enable=True) as opened:
        yield opened


@pytest.fixture
def shared() -> Iterator[hal.Mmio]:
    """Memory of the host as BAR 2."""
    device = devices.pci(IVSHMEM)[0].name
    with hal.Mmio.open(f"mmio:{device}/2", enable=True) as opened:
        yield opened


def test_edu_computes(edu: hal.Mmio) -> None:
    assert edu.read32(0) == 0x010000ED
    edu.write32(4, 0x12345678)
    assert edu.load(4) == 0xEDCBA987
    edu.write32(8, 10)
    until(lambda: not edu.read32(0x20) & 1)
    assert edu.read32(8) == 3628800
    assert (edu.size, edu.what) == (1 << 20, "PCI 1234:11e8 BAR 0")


def test_edu_by_name(edu: hal.Mmio) -> None:
    registers = edu.registers(EDU_MAP)
    assert registers.ID.read() == {"MAGIC": 0xED, "MINOR": 0, "MAJOR": 1}
    registers.FACTORIAL.value = 5
    until(lambda: registers.STATUS.COMPUTING == 0)
    assert registers.FACTORIAL.value == 120
    registers.STATUS.IRQ = "on"
    assert registers.STATUS.IRQ == 1
    registers.STATUS.IRQ = 0
    with pytest.raises(hal.Unsupported, match=r'"STATUS\.COMPUTING": the field is read-only'):
        registers.STATUS.COMPUTING = 1
    registers.DMA_SOURCE.value = 0x1234567  # 64 bits wide
    assert registers.DMA_SOURCE.value == 0x1234567


def test_the_other_byte_order() -> None:
    with hal.open(edu_uri(), enable=True, byte_order="big") as edu:
        assert edu.load(0) == 0xED000001


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_widths(shared: hal.Mmio, host: Host, width: int) -> None:
    value = int.from_bytes(bytes(range(0xA1, 0xA1 + width)), "big")
    shared.write_at(bytes(24), 256)
    shared.store(264, value, width)
    assert shared.load(264, width) == value
    expected = bytes(8) + value.to_bytes(width, "little") + bytes(16 - width)
    assert host.read_file("ivshmem", 256, 24) == expected


def test_bounds_and_alignment(edu: hal.Mmio) -> None:
    edu.read32(edu.size - 4)
    with pytest.raises(hal.InvalidArgument, match="beyond the 0x100000 bytes of PCI 1234:11e8"):
        edu.read32(edu.size)
    with pytest.raises(hal.InvalidArgument, match="not a multiple of the width 4"):
        edu.read32(2)


def test_blocks(shared: hal.Mmio, host: Host) -> None:
    data = bytes(range(251))
    assert shared.write_at(data, 513) == 251
    assert host.read_file("ivshmem", 513, 251) == data
    host.write_file("ivshmem", 513, data[::-1])
    assert shared.read_at(251, 513) == data[::-1]
    assert len(shared.read_at(100, shared.size - 5)) == 5


@pytest.mark.parametrize("combine", [False, True])
def test_a_view_is_shared_with_the_host_and_outlives_the_device(host: Host, combine: bool) -> None:
    device = devices.pci(IVSHMEM)[0].name
    with hal.Mmio.open(f"mmio:{device}/2", enable=True) as shared:
        assert shared.prefetchable
        view = shared.array("u2", 300, 8192, write_combine=combine)
    view[:] = np.arange(300)
    host_sees = np.frombuffer(host.read_file("ivshmem", 8192, 600), "u2")
    assert (host_sees == np.arange(300)).all()
    host.write_file("ivshmem", 8192, b"\x34\x12")
    assert view[0] == 0x1234


def test_four_threads(shared: hal.Mmio, host: Host) -> None:
    """Each has a bit of one register, and a block of its own."""
    shared.write32(0, 0)
    wrong = []

    def work(number: int) -> None:
        block = bytes([number + 1]) * 300
        for _ in range(51):
            old = shared.update(0, 1 << number, 0)
            shared.update(0, 1 << number, ~old & 1 << number)
            shared.write_at(block, 4096 + 1001 * number)
            if shared.read_at(300, 4096 + 1001 * number) != block:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert host.read_file("ivshmem", 0, 4) == b"\x0f\0\0\0"


def test_no_write_combining_for_registers(edu: hal.Mmio) -> None:
    assert not edu.prefetchable
    with pytest.raises(hal.Unsupported, match="not prefetchable"):
        edu.map(write_combine=True)


def test_read_only() -> None:
    with hal.Mmio.open(edu_uri(), enable=True, read_only=True) as edu:
        assert edu.read32(0) == 0x010000ED
        with pytest.raises(hal.PermissionDenied, match="read_only"):
            edu.write32(4, 1)
        with pytest.raises(hal.PermissionDenied, match="read_only"):
            edu.map()


def test_a_disabled_device() -> None:
    disable(devices.pci(EDU)[1])
    with pytest.raises(hal.Error, match=r"disabled.*open with enable=true"):
        hal.open(edu_uri(1))
    with hal.open(edu_uri(1), enable=True) as edu:
        assert edu.load(0) == 0x010000ED
    with hal.open(edu_uri(1)) as edu:
        assert edu.load(0) == 0x010000ED


def test_a_device_of_a_kernel_driver() -> None:
    device, bar = next(
        (device, bar)
        for device, bar in bars(MEMORY)
        if (device / "driver").exists() and (device / "driver").resolve().name == "virtio-pci"
    )
    uri = f"mmio:{device.name}/{bar}?read_only=true"
    with pytest.raises(hal.Busy, match="the kernel driver virtio-pci is bound"):
        hal.open(uri)
    with hal.Mmio.open(uri, force=True) as opened:
        assert opened.size


def test_io_ports_are_no_memory() -> None:
    device, bar = bars(IO)[0]
    with pytest.raises(hal.Unsupported, match=f"BAR {bar} is I/O ports"):
        hal.open(f"mmio:{device.name}/{bar}")


def test_what_is_not_there() -> None:
    device = devices.pci(EDU)[0].name
    with pytest.raises(hal.NotFound, match="it has no BAR 5"):
        hal.open(f"mmio:{device}/5")
    with pytest.raises(hal.NotFound, match="no PCI device"):
        hal.open("mmio:0000:7f:00.0/0")


def test_an_ordinary_user_is_refused(edu: hal.Mmio) -> None:
    def attempt() -> None:
        hal.open(edu_uri())

    with pytest.raises(hal.PermissionDenied, match="resource0"):
        call_as("nobody", attempt)


def test_physical_memory(edu: hal.Mmio) -> None:
    """Of the edu device by /dev/mem, where its BAR is in the machine's address space."""
    device = devices.pci(EDU)[0]
    start, end = (int(x, 0) for x in (device / "resource").read_text().split()[:2])
    with hal.Mmio.open(f"mmio:{start:#x}+{end - start + 1:#x}") as physical:
        assert (physical.size, physical.what) == (edu.size, f"physical {start:#x}")
        assert physical.read32(0) == 0x010000ED
        physical.write32(4, 0x0F0F0F0F)
        assert edu.read32(4) == 0xF0F0F0F0
        assert physical.array("u4", 1)[0] == 0x010000ED
        with pytest.raises(hal.InvalidArgument, match=f"of physical {start:#x}"):
            physical.read32(physical.size)
    with hal.Mmio.open(f"mmio:{start + 8:#x}+0x8") as two:  # within a page
        assert two.size == 8
    with pytest.raises(hal.InvalidArgument, match="multiple of 8"):
        hal.open(f"mmio:{start + 4:#x}+0x8")


def test_ordinary_memory_is_not_for_dev_mem() -> None:
    """The kernel keeps its own memory from /dev/mem (CONFIG_STRICT_DEVMEM)."""
    lines = Path("/proc/iomem").read_text().splitlines()
    ram = [line.split(" : ")[0] for line in lines if line.endswith(" : System RAM")]
    start = int(ram[-1].split("-")[0], 16)
    with pytest.raises(hal.PermissionDenied, match="the kernel protects it") as caught:
        hal.open(f"mmio:{start:#x}+0x1000")
    assert "CONFIG_STRICT_DEVMEM" in str(caught.value)


def test_a_device_that_is_pulled_out(host: Host) -> None:
    """The mapping stays; a bus gives all ones for what is gone, and QEMU gives zeros."""
    try:
        with hal.Mmio.open(edu_uri(2), enable=True) as edu:
            assert edu.read32(0) == 0x010000ED
            uri = edu.uri
            host.unplug("edu2")
            until(lambda: len(devices.pci(EDU)) == 2)
            assert edu.read32(0) in (0, 0xFFFFFFFF)
            edu.write32(4, 1)
        with pytest.raises(hal.NotFound):
            hal.open(uri)
    finally:
        host.plug("edu2")
        until(lambda: len(devices.pci(EDU)) == 3)
