# SPDX-License-Identifier: Apache-2.0
"""Persistent and CXL memory, DAX files, huge pages and dma-bufs through their drivers.

What is stored here is looked for in the host's file behind the device, and the reverse.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

import hal

from . import devices
from .devices import until
from .host import Host
from .user import call_as

HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


@pytest.fixture(params=["nvdimm", "cxl"])
def dax(request: pytest.FixtureRequest) -> Iterator[tuple[str, devices.Dax, hal.Memory]]:
    """A dax device: its name on the host, where it is, and it opened."""
    name = str(request.param)
    place = devices.dax(name)
    until(Path(place.node).exists)
    with hal.Memory.open(f"memory:{place.node}") as device:
        yield name, place, device


Dax = tuple[str, devices.Dax, hal.Memory]


def signal_of(access: Callable[[], object]) -> int:
    """The signal that an access ends a child with; 0 for none."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        access()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


# ---- devdax -------------------------------------------------------------------------------------


def test_facts_of_a_dax_device(dax: Dax) -> None:
    name, place, device = dax
    folder = Path("/sys/bus/dax/devices") / Path(place.node).name
    assert (device.kind, device.persistent) == ("devdax", True)
    assert device.size == place.size
    assert device.alignment == int((folder / "align").read_text())
    assert device.numa_node == int((folder / "numa_node").read_text())
    assert device.target_node == int((folder / "target_node").read_text())
    if name == "nvdimm":
        assert (device.region, device.decoder, device.targets) == (None, None, ())
        assert "region" not in device.attributes
        return
    region = devices.one("/sys/bus/cxl/devices/region*")
    assert device.region == region.name
    assert device.decoder == region.resolve().parent.name == "decoder0.0"
    assert device.targets == ((region / "target0").read_text().strip(),)
    assert device.interleave == (1, 256)


def test_blocks_and_registers_are_in_the_hosts_file(dax: Dax, host: Host) -> None:
    name, place, device = dax
    block = os.urandom(70_001)
    for offset in (0, 4095, place.size - len(block)):
        assert device.write_at(block, offset) == len(block)
        assert host.read_file(name, place.offset + offset, len(block)) == block
        assert device.read_at(len(block), offset) == block
    assert device.write_at(block, place.size - 7) == 7
    with pytest.raises(hal.Error, match="beyond") as caught:
        device.read_at(1, place.size)
    assert caught.value.errno == errno.ERANGE
    for width in (1, 2, 4, 8):
        value = 0x8877665544332211 & ((1 << 8 * width) - 1)
        device.store(8192, value, width)
        assert device.load(8192, width) == value
        hal.cache.persist(device.array("u1", width, 8192))
        assert host.read_file(name, place.offset + 8192, width) == value.to_bytes(width, "little")
    host.write_file(name, place.offset + 12288, b"from the host")
    assert device.read_at(13, 12288) == b"from the host"


def test_an_array_persists(dax: Dax, host: Host) -> None:
    name, place, device = dax
    array = device.array("<u4", (1000, 16), offset=4096 + 4, sync=True)
    array[:] = range(16)
    array[:, 3] = 0xC0FFEE
    device.persist(array[:, 3])
    device.flush(array)
    device.sync(array[::-2])
    seen = host.read_file(name, place.offset + 4100, array.nbytes)
    assert seen == array.tobytes()
    source = os.urandom(5000)
    hal.cache.copy_nt(device.array("u1", 5000, 100_001), source)
    assert host.read_file(name, place.offset + 100_001, 5000) == source
    facts = hal.cache.query(array)
    assert (facts.kind, facts.flush, facts.path) == ("persistent", "needed", place.node)


def test_an_array_outlives_its_device(host: Host) -> None:
    place = devices.dax("cxl")
    with hal.Memory.open(f"memory:{place.node}") as device:
        array = device.array("u1", 100, 20480)
    array[:] = 0x5A
    hal.cache.persist(array)
    assert host.read_file("cxl", place.offset + 20480, 100) == b"\x5a" * 100


def test_four_threads(dax: Dax) -> None:
    _, _, device = dax
    errors: list[BaseException] = []

    def work(number: int) -> None:
        block = bytes([number]) * 3000
        try:
            for i in range(50):
                device.write_at(block, 65536 * number)
                assert device.read_at(3000, 65536 * number) == block
                device.store(65536 * number + 4096, i)
                assert device.load(65536 * number + 4096) == i
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_size_beyond_the_device() -> None:
    place = devices.dax("nvdimm")
    with hal.Memory.open(f"memory:{place.node}", size=8192) as device:
        assert device.size == 8192
        with pytest.raises(hal.Error, match="beyond its 8192"):
            device.array("u1", 1, 8192)
    with pytest.raises(hal.Error, match=f"has {place.size} bytes"):
        hal.open(f"memory:{place.node}", size=place.size + 1)
    with pytest.raises(hal.Unsupported, match="shm and memfd"):
        hal.open(f"memory:{place.node}", node=0)


def test_read_only() -> None:
    place = devices.dax("nvdimm")
    with hal.Memory.open(f"memory:{place.node}", read_only=True) as device:
        assert len(device.read_at(100, 0)) == 100
        assert not device.array("u1", 100, write=False).flags.writeable
        with pytest.raises(hal.PermissionDenied):
            device.write_at(b"x", 0)


def _refused(uri: str) -> str:
    try:
        hal.open(uri).close()
    except hal.PermissionDenied as error:
        return str(error)
    return ""


def test_an_ordinary_user_is_told_what_is_missing() -> None:
    place = devices.dax("nvdimm")
    for node in (place.node, "/dev/dma_heap/system"):
        uri = f"memory:{node}" if node == place.node else "dmabuf:system?size=4096"
        text = call_as("nobody", functools.partial(_refused, uri))
        assert node in text
        assert "root" in text


def test_a_device_taken_away_is_an_error_for_blocks_and_a_signal_for_arrays() -> None:
    """SIGBUS cannot be made an error where the processor itself accesses: a child dies of it.

    It is given back when nobody holds it any more: before that, the kernel would lose it.
    """
    place = devices.dax("cxl")
    name = Path(place.node).name
    driver = Path("/sys/bus/dax/drivers/device_dax")
    try:
        with hal.Memory.open(f"memory:{place.node}") as device:
            array = device.array("u1", 4096)
            array[0] = 1
            (driver / "unbind").write_text(name)
            for call in (lambda: device.read_at(10, 0), lambda: device.write_at(b"x", 0)):
                with pytest.raises(hal.Unplugged):
                    call()
            with pytest.raises(hal.Unplugged, match="no kernel driver has it"):
                hal.open(f"memory:{place.node}")
            assert signal_of(functools.partial(array.item, 0)) == signal.SIGBUS
            del array
    finally:
        (driver / "bind").write_text(name)
        until(Path(place.node).exists)
    for _ in range(2):
        with hal.Memory.open(f"memory:{place.node}") as device:
            assert device.load(0, 1) == 1


# ---- memory of a PCI device ---------------------------------------------------------------------


def test_a_bar_is_memory_that_the_host_shares(host: Host) -> None:
    address = devices.pci(devices.IVSHMEM)[0].name
    with hal.Memory.open(f"memory:{address}/2", enable=True) as device:
        assert (device.kind, device.persistent, device.size) == ("bar", False, 1 << 20)
        assert device.numa_node == int(
            Path(f"/sys/bus/pci/devices/{address}/numa_node").read_text()
        )
        block = os.urandom(5001)
        assert device.write_at(block, 3) == 5001
        assert host.read_file("ivshmem", 3, 5001) == block
        assert device.read_at(5001, 3) == block
        assert device.write_at(block, device.size - 7) == 7
        device.store(8192, 0x11223344)
        assert host.read_file("ivshmem", 8192, 4) == bytes.fromhex("44332211")
        array = device.array("<u2", 300, 12290)
        facts = hal.cache.query(array)
        assert (facts.kind, facts.flush) == ("write-combining", "not needed")
        with pytest.raises(hal.Unsupported, match="not persistent"):
            device.persist(array)
        with pytest.raises(hal.Error, match="beyond its 1048576"):
            device.array("u1", 2, device.size - 1)
    array[:] = range(300)
    hal.cache.fence_store()
    assert host.read_file("ivshmem", 12290, 600) == array.tobytes()
    host.write_file("ivshmem", 12290, b"\x34\x12")
    assert array[0] == 0x1234


def test_a_bar_of_registers_is_refused() -> None:
    address = devices.pci(devices.EDU)[0].name
    with pytest.raises(hal.Unsupported, match=f"registers, not memory.*mmio:{address}/0"):
        hal.open(f"memory:{address}/0", enable=True)
    shared = devices.pci(devices.IVSHMEM)[0].name
    with pytest.raises(hal.Error, match="has 1048576 bytes"):
        hal.open(f"memory:{shared}/2", enable=True, size=(1 << 20) + 1)


# ---- bad pages ----------------------------------------------------------------------------------

HWPOISON = 100
"""MADV_HWPOISON of madvise(2): the kernel takes the page for one with an uncorrectable error."""


def poison(array: NDArray[Any]) -> None:
    """Make the page under an array a bad one."""
    address = array.__array_interface__["data"][0]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(array.nbytes), HWPOISON):
        raise OSError(ctypes.get_errno(), "madvise MADV_HWPOISON")


@pytest.mark.parametrize("address", ["memfd:bad", "/run/bad"])
def test_a_bad_page_is_an_error_for_blocks(address: str) -> None:
    """And a signal for arrays: the accesses are the program's own."""
    with hal.Memory.open(f"memory:{address}", size=65536, create=address[0] == "/") as device:
        page, bad = device.alignment, 32768
        device.write_at(bytes(65536), 0)
        array = device.array("u1", page, bad)
        array[:] = 1
        poison(array)
        for call in (lambda: device.read_at(10, bad), lambda: device.write_at(b"x", bad + 100)):
            with pytest.raises(hal.Error, match=f"at offset {bad:#x}|{bad + 100:#x}") as caught:
                call()
            assert caught.value.errno == errno.EIO
        assert device.read_at(4, bad - 4) == bytes(4)
        assert device.read_at(65536, 0) == bytes(bad)  # as far as it goes
        assert signal_of(functools.partial(array.item, 0)) == signal.SIGBUS
    Path(address).unlink(missing_ok=True)


# ---- files --------------------------------------------------------------------------------------


def test_a_dax_file(pmem_folder: Path) -> None:
    path = pmem_folder / "memory-file"
    with hal.Memory.open(f"memory:{path}", size=1 << 20, create=True) as device:
        assert (device.kind, device.persistent, device.size) == ("fsdax", True, 1 << 20)
        array = device.array("u1", 8192, 4090, sync=True)
        array[:4] = list(b"kept")
        device.persist(array[:4])
        facts = hal.cache.query(array)
        assert (facts.synchronous, facts.dax, facts.flush) == (True, True, "needed")
        plain = device.array("u1", 100)
        plain[:4] = list(b"also")
        device.persist(plain)
        device.write_at(b"here", 200)
    data = path.read_bytes()
    assert (data[4090:4094], data[:4], data[200:204]) == (b"kept", b"also", b"here")
    path.unlink()


def test_a_pmem_disk_in_use_is_only_read(pmem_folder: Path) -> None:
    assert pmem_folder.is_mount()
    node = devices.pmem_block()
    with pytest.raises(hal.Busy, match=node):
        hal.open(f"memory:{node}")
    with hal.Memory.open(f"memory:{node}", read_only=True) as device:
        assert (device.kind, device.persistent) == ("block", True)
        size = int(Path(f"/sys/class/block/{Path(node).name}/size").read_text()) * 512
        assert device.size == size
        assert device.load(1024 + 56, 2) == 0xEF53  # ext4's magic number
        assert device.read_at(10, size - 4) == device.read_at(4, size - 4)
        with pytest.raises(hal.Unsupported, match="DAX file system"):
            device.map(write=False, sync=True)


def test_map_sync_is_refused_where_it_cannot_be() -> None:
    for folder in ("/run", "/root"):
        path = Path(folder) / "memory-file"
        with hal.Memory.open(f"memory:{path}", size=8192, create=True) as device:
            assert device.kind == "file"
            with pytest.raises(hal.Unsupported, match="DAX file system"):
                device.map(sync=True)
        path.unlink()


# ---- huge pages ---------------------------------------------------------------------------------


def test_huge_pages() -> None:
    with pytest.raises(hal.Error, match=r"2 free huge pages.*vm\.nr_hugepages") as caught:
        hal.open("memory:memfd:huge", size=3 << 20, huge=2 << 20)
    assert caught.value.errno == errno.ENOMEM
    HUGE.write_text("4")
    try:
        with hal.Memory.open("memory:memfd:huge", size=3 << 20, huge=2 << 20) as device:
            assert (device.size, device.alignment) == (3 << 20, 2 << 20)
            assert device.write_at(b"across", (2 << 20) - 3) == 6
            array = device.array("u1", 6, (2 << 20) - 3)
            assert array.tobytes() == b"across"
            with hal.Memory.open(f"memory:fd:{device.fileno()}") as other:
                assert (other.kind, other.alignment) == ("memfd", 2 << 20)
                assert other.read_at(6, (2 << 20) - 3) == b"across"
            del array
    finally:
        HUGE.write_text("0")


# ---- NUMA ---------------------------------------------------------------------------------------


def nodes_of(array: NDArray[Any]) -> set[int]:
    """The nodes that the pages under an array are on, as the kernel has them."""
    address = array.__array_interface__["data"][0]
    lines = Path("/proc/self/numa_maps").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{address:08x}"))
    return {int(word[1]) for word in line.split() if re.fullmatch(r"N\d=\d+", word)}


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("address", ["memfd:placed", "shm:/placed"])
def test_memory_is_on_the_node_asked_for(address: str, node: int) -> None:
    create = address.startswith("shm:")
    uri = f"memory:{address}"
    with hal.Memory.open(uri, size=1 << 20, node=node, create=create) as device:
        assert device.numa_node == node
        array = device.array()
        array[:] = 1
        assert nodes_of(array) == {node}
        again = hal.Memory.open(f"memory:fd:{device.fileno()}")
        with again:  # who takes it over gets what was placed
            assert nodes_of(again.array()[:1]) <= {node}
    if create:
        Path("/dev/shm/placed").unlink()


@pytest.mark.parametrize(("nodes", "expected"), [("0,1", {0, 1}), ("0-1", {0, 1}), ("1", {1})])
def test_memory_is_spread_over_nodes(nodes: str, expected: set[int]) -> None:
    with hal.Memory.open("memory:memfd:spread", size=1 << 20, interleave=nodes) as device:
        array = device.array()
        array[:] = 1
        assert nodes_of(array) == expected


def test_a_node_without_memory_is_named() -> None:
    with pytest.raises(hal.InvalidArgument, match=r"interleave=1,5-7; nodes with memory: 0-1"):
        hal.open("memory:memfd:x", size=8192, interleave="1,5-7")
    with pytest.raises(hal.InvalidArgument, match=r"node=7; nodes with memory: 0-1"):
        hal.open("memory:memfd:x", size=8192, node=7)


# ---- dma-buf ------------------------------------------------------------------------------------


def test_a_buffer_from_a_heap() -> None:
    with hal.Dmabuf.open("dmabuf:system", size=10_000, name="lab") as buffer:
        assert (buffer.size, buffer.exporter) == (12288, "system")
        assert buffer.write_at(b"frame", 5000) == 5
        assert buffer.read_at(5, 5000) == b"frame"
        assert buffer.write_at(b"frame", 12286) == 2
        with pytest.raises(hal.Error, match="beyond its 12288"):
            buffer.read_at(1, 12288)
        pixels = buffer.array("u1", (3, 1000), 4999)
        with buffer.access(write=True):
            assert bytes(pixels[0, 1:6]) == b"frame"
            pixels[2, 999] = 77
        assert buffer.read_at(1, 4999 + 2999) == b"\x4d"
        assert hal.cache.query(pixels).kind == "unknown"
        for wrong in ({"sync": True}, {"write_combine": True}):
            with pytest.raises(hal.Unsupported, match="exporter's choice"):
                buffer.map(**wrong)
        with pytest.raises(hal.InvalidArgument, match="READ"):
            buffer.begin(read=False, write=False)
        with pytest.raises(hal.Unsupported, match="no stream"):
            buffer.read()


def test_a_buffer_is_passed_to_another_process() -> None:
    near, far = socket.socketpair()
    with hal.Dmabuf.open("dmabuf:system", size=8192) as buffer:
        child = os.fork()
        if child == 0:
            near.close()
            _, descriptors, _, _ = socket.recv_fds(far, 1, 1)
            with hal.Dmabuf.open(f"dmabuf:fd:{descriptors[0]}") as taken:
                taken.write_at(b"by the child " + taken.exporter.encode(), 4096)
            os._exit(0)
        far.close()
        descriptor = buffer.export()
        try:
            assert os.get_inheritable(descriptor) is False
            socket.send_fds(near, [b"x"], [descriptor])
        finally:
            os.close(descriptor)
        assert os.waitpid(child, 0)[1] == 0
        assert buffer.read_at(19, 4096) == b"by the child system"
    near.close()


def test_what_no_heap_gives() -> None:
    with pytest.raises(hal.NotFound, match=r"heaps there are: .*system"):
        hal.open("dmabuf:nothing", size=4096)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    with pytest.raises(hal.Error, match=f"the machine has {memory}") as caught:
        hal.open("dmabuf:system", size=memory + 1)
    assert caught.value.errno == errno.ENOMEM


# ---- peers --------------------------------------------------------------------------------------


def test_daxctl_says_the_same() -> None:
    place = devices.dax("nvdimm")
    name = Path(place.node).name
    run = subprocess.run(["daxctl", "list", "-d", name], capture_output=True, text=True, check=True)
    with hal.Memory.open(f"memory:{place.node}") as device:
        assert f'"size":{device.size}' in run.stdout.replace(" ", "")
