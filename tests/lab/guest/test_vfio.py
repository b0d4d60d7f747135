# SPDX-License-Identifier: Apache-2.0
"""The driver ``vfio`` behind the guest's IOMMU: edu, whose DMA engine has 4 KiB of its own, and the
network card, which has MSI-X."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import os
import resource
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import hal
from hal.probe.vfio import look

from . import devices
from .devices import EDU, until
from .host import Host
from .user import call_as

PCI = Path("/sys/bus/pci")
NETWORK = (0x1AF4, 0x1000)

STATUS, RAISE, ACKNOWLEDGE = 0x24, 0x60, 0x64
SOURCE, TARGET, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
GO, TO_MEMORY, INTERRUPT = 1, 2, 4
SRAM, MOST = 0x40000, 4095
"""Its own memory, and the most that it moves at once (its check of the end is off by one)."""
DMA_DONE = 0x100


handed_over = partial(devices.handed_over, driver="vfio-pci")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with handed_over(devices.pci(EDU)[0]) as name:
        yield name


@pytest.fixture
def edu(address: str) -> Iterator[hal.Vfio]:
    with hal.Vfio.open(f"vfio:{address}/0", irq="msi", dma_bits=28) as opened:
        yield opened


def transfer(edu: hal.Vfio, source: int, target: int, count: int, command: int) -> None:
    """Have edu move bytes; it says so by an interrupt."""
    for register, value in ((SOURCE, source), (TARGET, target), (COUNT, count)):
        edu.write64(register, value)
    edu.write64(COMMAND, command | GO | INTERRUPT)
    edu.wait(timeout=20)
    assert edu.read32(STATUS) == DMA_DONE
    edu.write32(ACKNOWLEDGE, DMA_DONE)


def to_device(edu: hal.Vfio, iova: int, count: int) -> None:
    transfer(edu, iova, SRAM, count, 0)


def from_device(edu: hal.Vfio, iova: int, count: int) -> None:
    transfer(edu, SRAM, iova, count, TO_MEMORY)


# --- registers ------------------------------------------------------------------------------------


def test_facts(edu: hal.Vfio, address: str) -> None:
    group = int((PCI / "devices" / address / "iommu_group").resolve().name)
    assert (edu.size, edu.what, edu.prefetchable) == (1 << 20, "PCI 1234:11e8 BAR 0", False)
    backend = "iommufd" if Path("/dev/vfio/devices").exists() else "group"  # Debian has the latter
    assert (edu.irq, edu.backend, edu.group) == ("msi", backend, group)
    assert (edu.count, edu.dma_bytes, edu.bus_master, edu.can_reset) == (0, 0, False, False)
    assert edu.iova_ranges[0] == (0, 0xFEDFFFFF)  # x86: the window of message interrupts follows


def test_registers(edu: hal.Vfio) -> None:
    assert edu.read32(0) == 0x010000ED
    edu.write32(4, 0x12345678)
    assert edu.load(4) == 0xEDCBA987
    edu.write32(8, 10)
    until(lambda: not edu.read32(0x20) & 1)
    assert edu.read32(8) == 3628800
    assert edu.read_at(4, 0) == b"\xed\0\0\x01"
    edu.write_at(b"\xff\xff\0\0", 4)
    assert edu.read32(4) == 0xFFFF0000
    with pytest.raises(hal.InvalidArgument, match="beyond the 0x100000 bytes of PCI 1234:11e8"):
        edu.read32(edu.size)


def test_registers_by_name_and_mapped(edu: hal.Vfio) -> None:
    registers = edu.registers(Path(__file__).parents[2] / "fixtures/edu.toml")
    assert registers.ID.read() == {"MAGIC": 0xED, "MINOR": 0, "MAJOR": 1}
    assert edu.array("u4", 1)[0] == 0x010000ED
    with pytest.raises(hal.Unsupported, match="neither write-combining"):
        edu.map(write_combine=True)


def test_configuration_space(edu: hal.Vfio, address: str) -> None:
    with hal.Vfio.open(f"vfio:{address}/config") as config:
        assert (config.load(0, 2), config.load(2, 2)) == EDU
        assert config.read_at(4, 0) == b"\x34\x12\xe8\x11"
        assert (config.irq, config.load(4, 2) & 2) == ("none", 2)
        with pytest.raises(hal.Unsupported, match="4 bytes at most"):
            config.load(0, 8)
        with pytest.raises(hal.Unsupported, match="be mapped: nothing"):
            config.map()
        with pytest.raises(hal.Unsupported, match="opened without interrupt"):
            config.wait(timeout=0)
        config.bus_master = True
        assert edu.bus_master  # one function, two handles
        config.bus_master = False
    with hal.Vfio.open(f"vfio:{address}/0", byte_order="big") as other:
        assert other.read32(0) == 0xED000001


def test_regions_of_other_kinds() -> None:
    """The network card: I/O ports, which go through the kernel; the MSI-X table; a wide BAR."""
    with handed_over(devices.pci(NETWORK)[0]) as name:
        with hal.Vfio.open(f"vfio:{name}/0") as ports:
            status = 18  # of a virtio device by its old interface
            ports.store(status, 1, width=1)
            assert (ports.load(status, 1), ports.read_at(1, status)) == (1, b"\1")
            ports.write_at(b"\0", status)
            assert ports.load(status, 1) == 0
            with pytest.raises(hal.Unsupported, match="be mapped: nothing"):
                ports.map()
            with pytest.raises(hal.InvalidArgument, match="beyond"):
                ports.load(ports.size, 1)
        with hal.Vfio.open(f"vfio:{name}/1") as table:
            assert table.load(12) & 1 == 1  # the vector is masked
        with hal.Vfio.open(f"vfio:{name}/4") as wide:
            assert wide.prefetchable
            assert len(wide.array("u1", 64, 4096)) == 64
        with pytest.raises(hal.NotFound, match="there is no PCI 1af4:1000 ROM"):
            hal.open(f"vfio:{name}/rom")


# --- interrupts -----------------------------------------------------------------------------------


def test_messages_are_counted(edu: hal.Vfio) -> None:
    edu.bus_master = True  # a message is a store by the device
    for i in range(1, 4):
        edu.write32(RAISE, i)
        assert edu.wait(timeout=20) == i
        edu.write32(ACKNOWLEDGE, i)
    assert edu.count == 3
    with pytest.raises(hal.Timeout):
        edu.wait(timeout=0.05)
    with pytest.raises(hal.WouldBlock):
        edu.poll(select.POLLIN, timeout=0)
    edu.trigger()
    assert edu.poll(select.POLLIN, timeout=5) == select.POLLIN
    assert edu.wait(timeout=0) == 4


def test_messages_held_back_are_lost(edu: hal.Vfio) -> None:
    edu.bus_master = True
    edu.disarm()
    edu.write32(RAISE, 1)
    edu.write32(ACKNOWLEDGE, 1)
    edu.arm()
    with pytest.raises(hal.Timeout):
        edu.wait(timeout=0.2)
    edu.write32(RAISE, 1)
    assert edu.wait(timeout=20) == 1
    edu.write32(ACKNOWLEDGE, 1)


def test_a_level_is_let_through_again(address: str) -> None:
    with hal.Vfio.open(f"vfio:{address}/0", irq="intx") as edu:
        edu.write32(RAISE, 1)
        assert edu.wait(timeout=20) == 1
        with pytest.raises(hal.WouldBlock):
            edu.poll(select.POLLIN, timeout=0)  # masked
        assert edu.wait(timeout=20) == 2  # not seen to: it comes again
        edu.write32(ACKNOWLEDGE, 1)
        with pytest.raises(hal.Timeout):
            edu.wait(timeout=0.1)
        edu.disarm()
        edu.write32(RAISE, 2)
        assert edu.read32(STATUS) == 2
        with pytest.raises(hal.WouldBlock):
            edu.poll(select.POLLIN, timeout=0)
        edu.arm()
        assert edu.wait(timeout=20) == 3
        edu.write32(ACKNOWLEDGE, 2)


def test_a_wait_is_woken_and_cancelled(edu: hal.Vfio) -> None:
    timer = threading.Timer(0.3, edu.trigger)
    timer.start()
    assert edu.wait(timeout=20) == 1
    timer.join()
    timer = threading.Timer(0.3, edu.cancel)
    timer.start()
    with pytest.raises(hal.Cancelled):
        edu.wait(timeout=20)
    timer.join()


def test_asyncio(edu: hal.Vfio) -> None:
    async def main() -> list[int]:
        counts = []
        for _ in range(2):
            asyncio.get_running_loop().call_later(0.1, edu.trigger)
            counts.append(await edu.await_interrupt(timeout=20))
        return counts

    assert asyncio.run(main()) == [1, 2]


def test_vectors_of_one_function() -> None:
    with handed_over(devices.pci(NETWORK)[0]) as name:
        uri = f"vfio:{name}/config"
        with hal.Vfio.open(uri, irq="auto", vectors=2) as first:
            assert first.irq == "msix"
            with hal.Vfio.open(uri, irq="msix", vector=1) as second:
                second.trigger()
                assert second.wait(timeout=5) == 1
                with pytest.raises(hal.WouldBlock):
                    first.wait(timeout=0)
                first.trigger()
                assert first.wait(timeout=5) == 1
                with pytest.raises(hal.Busy, match="another handle of this process has vector 1"):
                    hal.open(uri, irq="msix", vector=1)
            hal.open(uri, irq="msix", vector=1).close()
            with pytest.raises(hal.Busy, match=r"turned on 2; open that with vectors=3"):
                hal.open(uri, irq="msix", vector=2)
            with pytest.raises(hal.Unsupported, match=r"irq=msi: it has . of intx, 0 of msi"):
                hal.open(uri, irq="msi")
            with pytest.raises(hal.Busy, match="a function has one kind"):
                hal.open(uri, irq="intx")
        with pytest.raises(hal.InvalidArgument, match=r"msix vectors, 0 .. "):
            hal.open(uri, irq="msix", vector=100)


def test_a_function_without_reset(edu: hal.Vfio) -> None:
    with pytest.raises(hal.Unsupported, match=r"no reset of its own"):
        edu.reset()


# --- DMA ------------------------------------------------------------------------------------------


def test_dma_both_ways(edu: hal.Vfio) -> None:
    data = np.random.default_rng(1).integers(0, 256, 4096, "u1")
    back = np.zeros(4096, "u1")
    with edu.dma(data, write=False) as out, edu.dma(back, read=False) as into:
        assert edu.bus_master
        assert out.iova % 4096 == data.ctypes.data % 4096
        assert (len(out), out.array is data) == (4096, True)
        to_device(edu, out.iova, MOST)
        from_device(edu, into.iova, MOST)
    assert (back[:MOST] == data[:MOST]).all()
    assert (edu.dma_bytes, back[MOST]) == (0, 0)


def test_dma_buffer(edu: hal.Vfio) -> None:
    with edu.dma_buffer((2, 512), "u8") as region:
        assert region.array.ctypes.data % mmap.PAGESIZE == region.iova % mmap.PAGESIZE == 0
        assert (edu.dma_bytes, region.nbytes) == (8192, 8192)
        region.array[0] = np.arange(512)
        to_device(edu, region.iova, 4088)
        from_device(edu, region.iova + 4096, 4088)
        assert (region.array[1, :511] == np.arange(511)).all()


def test_what_is_not_mapped_is_not_touched(edu: hal.Vfio) -> None:
    """The IOMMU stops the device: what it reads there is not ours, what it writes goes nowhere."""
    with edu.dma_buffer(4096) as region:
        region.array[:] = 7
        to_device(edu, region.iova, 4000)
        iova = region.iova
    region.array[:] = 1
    from_device(edu, iova, 4000)  # unmapped
    assert (region.array == 1).all()
    with edu.dma_buffer(4096, iova=iova, write=False) as region:
        from_device(edu, iova, 4000)  # mapped for reading alone
        assert not region.array.any()


def test_an_array_lives_as_long_as_its_mapping(edu: hal.Vfio) -> None:
    def make() -> hal.DmaRegion:
        return edu.dma(np.full(4096, 42, "u1"))

    region = make()
    gc.collect()
    to_device(edu, region.iova, 4000)  # nobody but the region has the array
    with pytest.raises(ValueError, match="resize"):
        region.array.resize(1 << 20)
    assert edu.dma_bytes >= 4096
    del region
    assert edu.dma_bytes == 0  # forgotten: unmapped, then freed
    back = np.zeros(4096, "u1")
    with edu.dma(back) as region:
        from_device(edu, region.iova, 4000)
        region.close()
        region.close()
        assert region.closed
    assert (back[:4000] == 42).all()


def test_closing_the_device_unmaps(address: str) -> None:
    array = np.zeros(4096, "u1")
    with hal.Vfio.open(f"vfio:{address}/0") as keeper:
        with hal.Vfio.open(f"vfio:{address}/config") as edu:
            region = edu.dma(array, iova=0x100000 + array.ctypes.data % 4096)
            with pytest.raises(hal.Error, match="is mapped"):
                keeper.dma(array, iova=region.iova)  # one address space for both
        assert region.closed
        region.close()
        with keeper.dma(array, iova=region.iova):  # free again
            pass
        with pytest.raises(hal.NotFound, match="this handle has mapped nothing"):
            keeper.control(0x5602, bytes(32))


def test_iova_of_choice_and_its_limits(edu: hal.Vfio) -> None:
    with edu.dma_buffer(4096, iova=0) as low, edu.dma_buffer(4096) as next_one:
        assert (low.iova, next_one.iova) == (0, 0x10000)
        with edu.dma_buffer(4096) as third:
            assert third.iova == 0x11000
        with edu.dma_buffer(4096) as again:
            assert again.iova == 0x11000
    with pytest.raises(hal.InvalidArgument, match="does not translate"):
        edu.dma_buffer(4096, iova=0xFEE00000)
    with pytest.raises(hal.InvalidArgument, match=r"0x10 into its page.*must be equal"):
        edu.dma(np.frombuffer(mmap.mmap(-1, 4096), "u1")[16:], iova=0x20000)
    with pytest.raises(hal.Error, match=r"bytes free below 2\^28"):
        edu.dma(mmap.mmap(-1, (1 << 28) - 0x10000 + 1))


def test_what_cannot_be_mapped(edu: hal.Vfio) -> None:
    with pytest.raises(hal.InvalidArgument, match="not contiguous"):
        edu.dma(np.zeros((64, 64))[:, ::2])
    with pytest.raises(hal.InvalidArgument, match="read-only: map it with write=False"):
        edu.dma(bytes(4096))
    with pytest.raises(hal.InvalidArgument, match="empty"):
        edu.dma(bytearray())
    with pytest.raises(hal.InvalidArgument, match="HAL_VFIO_DEVICE_READS"):
        edu.dma(bytearray(1), read=False, write=False)
    with pytest.raises(hal.InvalidArgument, match="no IOVA"):
        edu.dma(bytearray(1), iova=-1)
    read_only = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)
    with edu.dma(read_only, write=False):
        pass
    libc = ctypes.CDLL(None, use_errno=True)
    guarded = mmap.mmap(-1, 4096)
    place = ctypes.addressof(ctypes.c_char.from_buffer(guarded))
    assert libc.mprotect(ctypes.c_void_p(place), 4096, mmap.PROT_READ) == 0
    with pytest.raises(hal.InvalidArgument, match="that can be written"):
        edu.dma(guarded)
    with pytest.raises(hal.InvalidArgument, match="struct hal_vfio_dma of 32 bytes"):
        edu.control(0x5601, bytes(8))
    with pytest.raises(hal.Unsupported):
        edu.control(0x5699)
    gc.collect()


def test_threads_map_at_once(edu: hal.Vfio) -> None:
    places: list[int] = []

    def work() -> None:
        for _ in range(10):
            with edu.dma_buffer(8192) as region:
                places.append(region.iova)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 40
    assert edu.dma_bytes == 0


def test_threads_open_and_close(address: str) -> None:
    """The function and its address space come and go with the first and the last handle."""

    def work(region: str) -> None:
        for _ in range(5):
            with hal.Vfio.open(f"vfio:{address}/{region}") as edu:
                with edu.dma_buffer(4096) as buffer:
                    assert buffer.iova >= 0x10000
                assert edu.load(0) in (0x010000ED, 0x11E81234)

    threads = [threading.Thread(target=work, args=(region,)) for region in ("0", "config") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_array_of_registers_keeps_the_device(address: str) -> None:
    with hal.Vfio.open(f"vfio:{address}/0") as edu:
        registers = edu.array("u4", 2)
    assert registers[0] == 0x010000ED
    with pytest.raises(hal.Busy, match=r"array\) of a handle that was closed"):
        hal.open(f"vfio:{address}/0")
    del registers
    hal.open(f"vfio:{address}/0").close()


# --- who may have it, and who may not -------------------------------------------------------------


@contextmanager
def open_to_all(address: str) -> Iterator[None]:
    node = Path("/dev/vfio") / (PCI / "devices" / address / "iommu_group").resolve().name
    until(node.exists)
    node.chmod(0o666)
    yield
    node.chmod(0o600)


def test_an_ordinary_user(address: str) -> None:
    def attempt() -> int:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        with hal.Vfio.open(f"vfio:{address}/0", irq="msi", dma_bits=28) as edu:
            with edu.dma_buffer(65536) as region:
                to_device(edu, region.iova, 4000)
            edu.dma_buffer(65536 + 4096)
        return 0

    with pytest.raises(hal.PermissionDenied, match=r"/dev/vfio/\d+"):
        call_as("nobody", attempt)
    with open_to_all(address), pytest.raises(hal.Error) as caught:
        call_as("nobody", attempt)
    assert "may lock 65536 (RLIMIT_MEMLOCK): raise it (ulimit -l" in str(caught.value)


def test_a_child_holds_nothing(edu: hal.Vfio, address: str) -> None:
    region = edu.dma_buffer(4096)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            region.close()  # the parent's: nothing happens
            edu.read32(0)
        except hal.Forked:
            os.read(reader, 1)
        os._exit(0)
    to_device(edu, region.iova, 4000)
    region.close()
    edu.close()
    with hal.Vfio.open(f"vfio:{address}/0") as again:  # while the child lives
        assert again.read32(0) == 0x010000ED
    os.write(writer, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(reader)
    os.close(writer)


def test_a_group_in_use(edu: hal.Vfio, address: str) -> None:
    def attempt() -> None:
        hal.open(f"vfio:{address}/0")

    with pytest.raises(hal.Busy, match=rf"/dev/vfio/.*pid {os.getpid()}"):
        call_as("root", attempt)


def test_a_function_that_vfio_does_not_have() -> None:
    free = devices.pci(EDU)[1].name
    with pytest.raises(hal.NotFound) as caught:
        hal.open(f"vfio:{free}/0")
    message = str(caught.value)
    assert "it has no kernel driver; give it to vfio-pci, as root: modprobe vfio-pci; " in message
    commands = message.partition("as root: ")[2]
    try:
        assert os.system(commands.rstrip(")")) == 0
        with hal.Vfio.open(f"vfio:{free}/0") as edu:  # they do what they say
            assert edu.read32(0) == 0x010000ED
    finally:
        (PCI / "devices" / free / "driver/unbind").write_text(free)
        (PCI / "devices" / free / "driver_override").write_text("\n")
    card = devices.pci(NETWORK)[0].name
    with pytest.raises(hal.Busy, match=rf"kernel driver virtio-pci is.*echo {card} > .*/unbind"):
        hal.open(f"vfio:{card}/0")


def test_a_group_whose_mates_the_kernel_uses() -> None:
    """The functions of the PC's south bridge: its SMBus has a driver, its SATA is given away."""
    bridge = next(p for p in PCI.joinpath("devices").glob("*:1f.2"))
    mate = next(p for p in PCI.joinpath("devices").glob("*:1f.3"))
    driver = (mate / "driver").resolve().name
    with handed_over(bridge) as name:
        with pytest.raises(hal.Busy) as caught:
            hal.open(f"vfio:{name}/5")
        stage, fine, text, *_ = list(look(f"vfio:{name}/5", ""))[-1]
    assert f"{mate.name} ({driver})" in str(caught.value)
    assert (stage, fine) == ("group", False)
    assert f"{mate.name} ({driver})" in text


def test_what_hal_probe_explains(edu: hal.Vfio) -> None:
    found = {stage: (fine, text) for stage, fine, text, *_ in look(edu.uri, "")}
    assert found["kernel"] == (True, "kernel driver vfio-pci")
    assert found["group"] == (True, f"IOMMU group {edu.group}, with 0 more")
    assert found["holder"][0] is False
    assert str(os.getpid()) in found["holder"][1]
    *_, (stage, _, text, advice, _) = look(f"vfio:{devices.pci(EDU)[1].name}/0", "")
    assert (stage, text) == ("kernel", "no kernel driver; it has to be vfio-pci")
    assert advice[-1].endswith("| sudo tee /sys/bus/pci/drivers_probe")


def test_what_is_not_there(address: str) -> None:
    with pytest.raises(hal.NotFound, match="there is no PCI 1234:11e8 BAR 3"):
        hal.open(f"vfio:{address}/3")
    with pytest.raises(hal.NotFound, match="no region 40"):
        hal.open(f"vfio:{address}/40")
    with pytest.raises(hal.NotFound, match=r"no PCI device 0000:7f:00\.0"):
        hal.open("vfio:0000:7f:00.0/0")
    if not Path("/dev/iommu").exists():  # Debian's kernels have none
        with pytest.raises(hal.Unsupported, match=r"no /dev/iommu.*open with backend=group"):
            hal.open(f"vfio:{address}/0", backend="iommufd")


def test_a_device_that_is_pulled_out(host: Host) -> None:
    """The kernel asks for it back and waits: whoever waits for its interrupt is told."""
    device = devices.pci(EDU)[2]
    try:
        with handed_over(device) as name:
            timer = threading.Timer(0.3, lambda: host.unplug("edu2"))
            with hal.Vfio.open(f"vfio:{name}/0", irq="msi") as edu:
                assert edu.can_reset  # by its bus, which is for it alone
                edu.reset()
                assert edu.read32(0) == 0x010000ED
                timer.start()
                with pytest.raises(hal.Unplugged, match="is being taken away"):
                    edu.wait(timeout=60)
                with pytest.raises(hal.Unplugged):
                    edu.wait(timeout=0)
            timer.join()
    finally:
        until(lambda: len(devices.pci(EDU)) == 2)
        host.plug("edu2")
        until(lambda: len(devices.pci(EDU)) == 3)
