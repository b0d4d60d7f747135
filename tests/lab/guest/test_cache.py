# SPDX-License-Identifier: Apache-2.0
"""Cache operations on real mappings: what the kernel says they are, and stores that arrive.

Emulated caches hold nothing back, so a store that is in the host's file shows that the mapping, the
address and the instruction were right, not that the flush was needed; which lines are flushed is
tested in C on a recording copy.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hal import _abi

from . import devices
from .devices import until
from .host import Host

MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC = 1, 3, 0x80000
SHARED, SYNC, DAX, IO = 1, 2, 4, 8  # enum hal_mapping_flag
ffi: Any = _abi.ffi
lib = _abi.lib


@dataclass(frozen=True)
class Facts:
    """What hal_cache_query() tells."""

    kind: str
    flush: str
    flags: int
    path: str
    device: str
    domain: str
    reason: str


NEED = {0: "unknown", 1: "needed", 2: "not needed"}


def query(address: Any, size: int) -> Facts:
    """Ask about a range of memory."""
    facts = ffi.new("struct hal_mapping_facts *")
    assert lib.hal_cache_query(address, size, facts, ffi.sizeof(facts[0])) == 0, message()
    kind = ffi.string(lib.hal_memory_kind_name(facts.kind)).decode()
    path, device, domain, reason = (
        ffi.string(text).decode() for text in (facts.path, facts.device, facts.domain, facts.reason)
    )
    return Facts(kind, NEED[int(facts.flush)], facts.flags, path, device, domain, reason)


def message() -> str:
    """The last error."""
    return str(ffi.string(lib.hal_last_error()).decode())


@contextmanager
def mapped(
    path: str | Path, size: int, flags: int = MAP_SHARED, offset: int = 0
) -> Iterator[tuple[mmap.mmap, Any]]:
    """A file mapped for reading and writing: the memory, and its address for C."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_SYNC)
    try:
        with mapped_descriptor(descriptor, size, flags, offset) as both:
            yield both
    finally:
        os.close(descriptor)


@contextmanager
def mapped_descriptor(
    descriptor: int, size: int, flags: int = MAP_SHARED, offset: int = 0
) -> Iterator[tuple[mmap.mmap, Any]]:
    """The same for an open file."""
    with (
        mmap.mmap(descriptor, size, flags=flags, offset=offset) as memory,
        ffi.from_buffer(memory) as address,
    ):
        yield memory, address


@pytest.mark.parametrize(("name", "domain"), [("nvdimm", "memory_controller"), ("cxl", None)])
def test_devdax(host: Host, name: str, domain: str | None) -> None:
    dax = devices.dax(name)
    until(Path(dax.node).exists)
    text = f"{name} persists this".encode()
    with mapped(dax.node, 1 << 21) as (memory, address):
        facts = query(address, 100)
        assert (facts.kind, facts.flush) == ("persistent", "needed")
        assert facts.flags == SHARED | SYNC | DAX
        assert facts.path == dax.node
        assert facts.device == Path(dax.node).name
        if domain:
            assert facts.domain == domain
        memory[8192 : 8192 + len(text)] = text
        place = address + 8192
        assert lib.hal_cache_persist(place, len(text)) == 0, message()
        assert host.read_file(name, dax.offset + 8192, len(text)) == text
        many = bytes(range(256)) * 64
        assert lib.hal_copy_nt(place + 77, many, len(many)) == 0, message()
        assert host.read_file(name, dax.offset + 8192 + 77, len(many)) == many
        assert lib.hal_cxl_sync(place, 65536) == 0


def test_fsdax(pmem_folder: Path) -> None:
    path = pmem_folder / "cache-file"
    path.write_bytes(bytes(8192))
    block = Path(devices.pmem_block()).name
    with mapped(path, 8192, MAP_SHARED_VALIDATE | MAP_SYNC) as (memory, address):
        facts = query(address, 8192)
        assert (facts.kind, facts.flush, facts.device) == ("persistent", "needed", block)
        assert facts.domain == "memory_controller"
        assert facts.flags == SHARED | SYNC | DAX
        memory[5000:5004] = b"kept"
        assert lib.hal_cache_persist(address + 5000, 4) == 0
    assert path.read_bytes()[5000:5004] == b"kept"
    with mapped(path, 8192) as (memory, address):
        facts = query(address, 8192)
        assert (facts.kind, facts.flush, facts.flags) == ("persistent", "needed", SHARED | DAX)
        assert "without MAP_SYNC" in facts.reason
    with mapped(path, 8192, mmap.MAP_PRIVATE) as (memory, address):
        facts = query(address, 8192)
        assert (facts.kind, facts.flush) == ("ordinary", "not needed")


def test_bar_for_write_combining(host: Host) -> None:
    device = devices.pci(devices.IVSHMEM)[0]
    (device / "enable").write_text("1")
    with mapped(device / "resource2_wc", 1 << 20) as (_, address):
        facts = query(address, 1 << 20)
        assert (facts.kind, facts.flush) == ("write-combining", "not needed")
        assert facts.flags == SHARED | IO
        assert facts.device == device.name
        block = os.urandom(100_000)
        place = address + 70_000
        assert lib.hal_copy_nt(place, block, len(block)) == 0
        assert host.read_file("ivshmem", 70_000, len(block)) == block
        assert lib.hal_fill_nt(place + 3, 0x33, 5000) == 0
        assert host.read_file("ivshmem", 70_003, 5000) == b"\x33" * 5000
    with mapped(device / "resource2", 1 << 20) as (_, address):
        assert query(address, 1).kind == "uncached"


def test_registers() -> None:
    device = devices.pci(devices.EDU)[0]
    (device / "enable").write_text("1")
    with mapped(device / "resource0", 4096) as (_, address):
        facts = query(address, 4)
        assert (facts.kind, facts.flush) == ("uncached", "not needed")
        assert (facts.flags, facts.device) == (SHARED | IO, device.name)


def test_dma_buf() -> None:
    heap = os.open("/dev/dma_heap/system", os.O_RDWR | os.O_CLOEXEC)
    request = bytearray(struct.pack("QIIQ", 8192, 0, os.O_RDWR | os.O_CLOEXEC, 0))
    fcntl.ioctl(heap, 0xC0184800, request)  # DMA_HEAP_IOCTL_ALLOC
    os.close(heap)
    buffer = struct.unpack("QIIQ", request)[1]
    with mapped_descriptor(buffer, 8192) as (_, address):
        facts = query(address, 8192)
    os.close(buffer)
    assert (facts.kind, facts.flush) == ("unknown", "unknown")
    assert "DMA_BUF_IOCTL_SYNC" in facts.reason


def test_physical_memory() -> None:
    hpet = 0xFED00000
    with mapped("/dev/mem", 4096, offset=hpet) as (_, address):
        facts = query(address, 4)
    assert (facts.kind, facts.flush, facts.flags) == ("unknown", "unknown", SHARED | IO)
    assert "/dev/mem" in facts.reason
