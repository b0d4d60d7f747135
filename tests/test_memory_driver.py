# SPDX-License-Identifier: Apache-2.0
"""The driver ``memory`` on what every machine has: memfd, shared memory, files; dmabuf's refusals.

Persistent and CXL memory, DAX files and dma-bufs are tested in the lab.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hal

SIZE = 3 * 4096 + 100
PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def shm() -> Iterator[str]:
    """A name of shared memory that nobody has."""
    name = f"/hal-test-{os.getpid()}"
    yield name
    Path("/dev/shm" + name).unlink(missing_ok=True)


@pytest.fixture
def memory() -> Iterator[hal.Memory]:
    with hal.Memory.open("memory:memfd:test", size=SIZE) as device:
        yield device


# ---- what there is ------------------------------------------------------------------------------


def test_facts_of_a_memfd(memory: hal.Memory) -> None:
    assert (memory.size, memory.kind, memory.alignment) == (SIZE, "memfd", PAGE)
    assert (memory.persistent, memory.numa_node) == (False, -1)
    assert (memory.region, memory.decoder, memory.targets) == (None, None, ())
    assert (memory.interleave, memory.target_node) == (None, None)


def test_a_file_is_made_and_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with hal.Memory.open(f"memory:{path}", size=5000, create=True) as device:
        assert device.size == 5000 == path.stat().st_size
        assert path.stat().st_blocks * 512 >= 5000  # room was taken: no SIGBUS on a full disk
        device.write_at(b"kept", 4990)
    with hal.Memory.open(f"memory:{path}") as device:
        assert device.size == 5000
        assert device.read_at(100, 4990) == b"kept" + bytes(6)
    with hal.Memory.open(f"memory:{path}", size=100) as device:
        assert device.size == 100
        with pytest.raises(hal.Error, match="beyond its 100 bytes"):
            device.read_at(1, 100)
    assert path.stat().st_size == 5000


def test_shared_memory_is_seen_by_another_process(shm: str) -> None:
    with hal.Memory.open(f"memory:shm:{shm}", size=8192, create=True) as device:
        assert (device.kind, device.persistent) == ("shm", False)
        device.array("u4")[1000] = 0xC0FFEE
        code = (
            "import hal, sys\n"
            "with hal.Memory.open('memory:shm:' + sys.argv[1]) as device:\n"
            "    print(device.size, device.array('u4')[1000])\n"
            "    device.store(8, 77)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, shm], capture_output=True, text=True, check=True
        )
        assert run.stdout.split() == ["8192", str(0xC0FFEE)]
        assert device.load(8) == 77


def test_a_memfd_is_handed_on(memory: hal.Memory) -> None:
    near, far = socket.socketpair()
    with near, far:
        socket.send_fds(near, [b"x"], [memory.fileno()])
        _, descriptors, _, _ = socket.recv_fds(far, 1, 1)
    try:
        with hal.Memory.open(f"memory:fd:{descriptors[0]}") as other:
            assert (other.kind, other.size) == ("memfd", SIZE)
            memory.write_at(b"over", 4000)
            assert other.read_at(4, 4000) == b"over"
        os.fstat(descriptors[0])  # it stays ours
    finally:
        os.close(descriptors[0])


# ---- registers, blocks, arrays ------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_registers(memory: hal.Memory, width: int) -> None:
    value = int.from_bytes(bytes(range(0x81, 0x81 + width)), sys.byteorder)
    memory.store(4096, value, width)
    assert memory.load(4096, width) == value
    assert memory.read_at(width, 4096) == bytes(range(0x81, 0x81 + width))
    with pytest.raises(hal.InvalidArgument if width > 1 else hal.Error):
        memory.load(SIZE - SIZE % width + (0 if width == 1 else 1), width)


@given(st.integers(0, SIZE + 50), st.binary(min_size=1, max_size=300))
def test_blocks_end_where_the_memory_ends(offset: int, data: bytes) -> None:
    with hal.Memory.open("memory:memfd:test", size=SIZE) as memory:
        if offset >= SIZE:
            for call in (
                lambda: memory.write_at(data, offset),
                lambda: memory.read_at(len(data), offset),
            ):
                with pytest.raises(hal.Error, match="beyond") as caught:
                    call()
                assert caught.value.errno == errno.ERANGE
            return
        taken = memory.write_at(data, offset)
        assert taken == min(len(data), SIZE - offset)
        assert memory.read_at(len(data), offset) == data[:taken]
        assert memory.array(offset=offset)[:taken].tobytes() == data[:taken]


def test_an_array_is_the_memory_and_outlives_the_device() -> None:
    with hal.Memory.open("memory:memfd:test", size=SIZE) as memory:
        words = memory.array("<u4", (10, 20), offset=4001)
        words[3, 4] = 0x01020304
        assert memory.read_at(4, 4001 + 4 * 64) == b"\4\3\2\1"
        memory.write_at(b"\xff", 4001)
        assert words[0, 0] == 0xFF
        row = words[3]
        assert words.flags.writeable
    del words, memory
    gc.collect()
    assert row[4] == 0x01020304
    row[5] = 1  # the mapping is still there


def test_arrays_of_every_shape(memory: hal.Memory) -> None:
    assert memory.array().shape == (SIZE,)
    assert memory.array("f8").shape == (SIZE // 8,)
    assert memory.array("u1", 7, SIZE - 7).shape == (7,)
    assert memory.array("u1", ()).shape == ()
    assert memory.array([("a", "u2"), ("b", "f4")], 3).itemsize == 6


@pytest.mark.parametrize(
    ("dtype", "shape", "offset", "error", "text"),
    [
        ("u1", 8, SIZE - 7, hal.Error, "beyond"),
        ("u1", None, SIZE, hal.InvalidArgument, "no element"),
        ("u8", None, SIZE - 7, hal.InvalidArgument, "no element of 8 bytes"),
        ("u1", -1, 0, hal.InvalidArgument, "negative"),
        ("u1", 0, 0, hal.InvalidArgument, "no element"),
        ("O", 1, 0, hal.InvalidArgument, "not plain memory"),
    ],
)
def test_arrays_that_cannot_be(
    memory: hal.Memory,
    dtype: str,
    shape: int | None,
    offset: int,
    error: type[hal.Error],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        memory.array(dtype, shape, offset)


def test_four_threads_lose_nothing(memory: hal.Memory) -> None:
    def work(number: int) -> None:
        block = bytes([number]) * 512
        for i in range(100):
            memory.write_at(block, 512 * number)
            assert memory.read_at(512, 512 * number) == block
            memory.store(4096 + 8 * number, i, 8)
            assert memory.load(4096 + 8 * number, 8) == i

    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_read_only_refuses_stores(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with hal.Memory.open(f"memory:{path}", read_only=True) as device:
        assert device.read_at(3, 0) == b"xxx"
        for store in (
            lambda: device.write_at(b"y", 0),
            lambda: device.store(0, 1, 1),
            device.array,
        ):
            with pytest.raises(hal.PermissionDenied, match="read_only"):
                store()
        array = device.array(write=False)
        assert not array.flags.writeable
        assert array[0] == ord("x")
    assert path.read_bytes() == b"x" * 100


def test_it_is_no_stream(memory: hal.Memory) -> None:
    with pytest.raises(hal.Unsupported, match="no stream"):
        memory.read()
    with pytest.raises(hal.Unsupported, match="no stream"):
        memory.write(b"x")


def test_a_file_that_shrinks_is_an_error_and_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * PAGE))
    with hal.Memory.open(f"memory:{path}") as device:
        os.truncate(path, PAGE)
        with pytest.raises(hal.Error, match="has shrunk") as caught:
            device.read_at(1, 2 * PAGE)
        assert caught.value.errno == errno.EIO


# ---- making it last -----------------------------------------------------------------------------


def test_persist_of_a_file_is_fdatasync(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with hal.Memory.open(f"memory:{path}", size=8192, create=True) as device:
        if not device.persistent:
            pytest.skip("the folder for temporary files is on a tmpfs")
        assert device.kind == "file"
        array = device.array()
        array[:4] = list(b"last")
        device.persist(array[:4])
        with pytest.raises(hal.Unsupported, match="DAX file system"):
            device.array(sync=True)
    assert path.read_bytes()[:4] == b"last"


def test_memory_that_does_not_last_says_so(memory: hal.Memory) -> None:
    with pytest.raises(hal.Unsupported, match="memfd is not persistent"):
        memory.persist(memory.array())
    with pytest.raises(hal.Unsupported, match="not persistent"):
        memory.map(sync=True)
    with pytest.raises(hal.Unsupported, match="is for PCI memory"):
        memory.map(write_combine=True)
    memory.flush(memory.array())
    memory.sync(memory.array()[::128])


# ---- what cannot be opened ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        ("memory:", hal.InvalidArgument, "shm:/NAME"),
        ("memory:relative", hal.InvalidArgument, "whole path"),
        ("memory:/dev/null", hal.Unsupported, "neither a dax device nor a file"),
        ("memory:/tmp", hal.Error, "Is a directory"),
        ("memory:/no/such/file", hal.NotFound, "/no/such/file"),
        ("memory:/no/such/file?create=true&size=1", hal.NotFound, "/no/such/file"),
        ("memory:/tmp/x?create=true", hal.InvalidArgument, "needs a size"),
        ("memory:/tmp/x?create=true&size=1&read_only=true", hal.InvalidArgument, "exclude"),
        ("memory:shm:name", hal.InvalidArgument, "shm:/name"),
        ("memory:shm:/a/b", hal.InvalidArgument, "shm:/name"),
        ("memory:shm:/hal-nobody-has-it", hal.NotFound, "create=true does"),
        ("memory:memfd:x", hal.InvalidArgument, "needs a size"),
        ("memory:memfd:x?size=1MiB&huge=3MiB", hal.InvalidArgument, "size of a huge page"),
        ("memory:memfd:x?size=1MiB&huge=4KiB", hal.InvalidArgument, "size of a huge page"),
        ("memory:shm:/x?size=1MiB&create=true&huge=2MiB", hal.InvalidArgument, "is for memfd"),
        ("memory:0000:7f:00.0/2", hal.NotFound, "no PCI device 0000:7f:00.0"),
        ("memory:0000:7f:00.0", hal.InvalidArgument, "a PCI device's BAR"),
        ("memory:fd:x", hal.InvalidArgument, "number of a descriptor"),
        ("memory:fd:99999", hal.InvalidArgument, "no descriptor 99999"),
        ("dmabuf:fd:99999", hal.InvalidArgument, "no descriptor 99999"),
        ("dmabuf:fd:1", hal.InvalidArgument, "no dma-buf"),
        ("dmabuf:system", hal.InvalidArgument, "needs a size"),
        ("dmabuf:../null?size=1", hal.InvalidArgument, "HEAP"),
        ("dmabuf:no-such-heap?size=4096", hal.NotFound, "heaps there are"),
    ],
)
def test_what_cannot_be_opened(uri: str, error: type[hal.Error], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        hal.open(uri)


@pytest.mark.parametrize(("size", "good"), [(99, True), (100, True), (101, False)])
def test_a_size_beyond_the_file(tmp_path: Path, size: int, good: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    if good:
        with hal.Memory.open(f"memory:{path}", size=size) as device:
            assert device.size == size
    else:
        with pytest.raises(hal.Error, match="has 100 bytes") as caught:
            hal.open(f"memory:{path}", size=size)
        assert caught.value.errno == errno.ERANGE


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(hal.InvalidArgument, match="it is empty"):
        hal.open(f"memory:{tmp_path}/empty")


def test_a_full_file_system_is_an_error_at_once(shm: str) -> None:
    facts = os.statvfs("/dev/shm")
    beyond = facts.f_bavail * facts.f_frsize + (1 << 30)
    with pytest.raises(hal.Error) as caught:
        hal.open(f"memory:shm:{shm}", size=beyond, create=True)
    assert caught.value.errno == errno.ENOSPC


def test_huge_pages_that_are_not_there_are_named() -> None:
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    if not free.exists() or free.read_text() != "0\n":
        pytest.skip("this machine has huge pages, or no support for them")
    with pytest.raises(hal.Error, match=r"nr_hugepages \(sysctl vm.nr_hugepages\)") as caught:
        hal.open("memory:memfd:x", size=4 << 20, huge=2 << 20)
    assert caught.value.errno == errno.ENOMEM


# ---- placement ----------------------------------------------------------------------------------


def test_placement() -> None:
    if not Path("/sys/devices/system/node/node0").exists():
        with pytest.raises(hal.Unsupported, match="without NUMA"):
            hal.open("memory:memfd:x", size=8192, node=0)
        return
    with hal.Memory.open("memory:memfd:x", size=8192, node=0) as device:
        assert device.numa_node == 0
        array = device.array()
        array[:] = 1
        maps = Path("/proc/self/numa_maps")
        if maps.exists():
            address = array.__array_interface__["data"][0]
            line = next(x for x in maps.read_text().splitlines() if x.startswith(f"{address:08x}"))
            assert " bind:0 " in line, line
    with pytest.raises(hal.InvalidArgument, match="nodes with memory: 0"):
        hal.open("memory:memfd:x", size=8192, node=1000)


@pytest.mark.parametrize("nodes", ["", "x", "0,", ",0", "1-0", "0-1024", "-1", "0 1", "99999"])
def test_lists_of_nodes_that_are_none(nodes: str) -> None:
    with pytest.raises(hal.InvalidArgument, match="listed as 0,2-3"):
        hal.open("memory:memfd:x", size=8192, interleave=nodes)


def test_a_node_or_several() -> None:
    with pytest.raises(hal.InvalidArgument, match="exclude each other"):
        hal.open("memory:memfd:x", size=8192, node=0, interleave="0")


def test_only_shared_memory_is_placed(tmp_path: Path) -> None:
    with pytest.raises(hal.Unsupported, match="shm and memfd"):
        hal.open(f"memory:{tmp_path}/file", size=8192, create=True, node=0)
