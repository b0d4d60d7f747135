# SPDX-License-Identifier: Apache-2.0
"""Registers, blocks and mappings: on simulated memory, and on a file in place of registers."""

from __future__ import annotations

import errno
import gc
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hal
from hal._core import Mapping
from tests.native import ROOT, run
from tests.needs import needs

SIZE = 8192


@pytest.fixture
def memory() -> Iterator[hal.Device]:
    """Simulated memory of 256 bytes."""
    with hal.open("sim:memory", size=256) as device:
        yield device


@pytest.fixture
def registers(tmp_path: Path) -> Path:
    """A file that stands in for registers."""
    path = tmp_path / "registers"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_register_is_stored_and_loaded(memory: hal.Device, width: int) -> None:
    value = int.from_bytes(bytes(range(0x81, 0x81 + width)), "big")
    memory.store(16, value, width)
    assert memory.load(16, width) == value
    assert memory.load(offset=16, width=width) == value
    assert memory.read_at(width, 16) == value.to_bytes(width, "little")


def test_bits_are_updated(memory: hal.Device) -> None:
    memory.store(0, 0xFFFF0000)
    assert memory.update(0, 0x00FF00FF, 0x12345678) == 0xFFFF0000
    assert memory.load(0) == 0xFF340078


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(old=st.integers(0, 2**32 - 1), mask=st.integers(0, 2**32 - 1), new=st.integers(0, 2**32 - 1))
def test_an_update_leaves_other_bits(old: int, mask: int, new: int) -> None:
    with hal.open("sim:memory", size=256) as device:
        device.store(4, old)
        device.update(4, mask, new)
        assert device.load(4) == old & ~mask | new & mask


def test_updates_of_threads_lose_nothing(memory: hal.Device) -> None:
    def toggle(bit: int) -> None:
        for _ in range(501):
            old = memory.update(0, 1 << bit, 0)
            memory.update(0, 1 << bit, ~old & 1 << bit)

    threads = [threading.Thread(target=toggle, args=(bit,)) for bit in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.load(0) == 0b1111


@pytest.mark.parametrize(
    ("offset", "width", "number", "text"),
    [
        (2, 4, errno.EINVAL, "0x2 is not a multiple of the width 4"),
        (0, 3, errno.EINVAL, "1, 2, 4 or 8 bytes wide, not 3"),
        (0, 0, errno.EINVAL, "1, 2, 4 or 8"),
        (0, 2**40, errno.EINVAL, "1, 2, 4 or 8"),
        (256, 4, errno.ERANGE, "beyond"),
        (2**64 - 4, 4, errno.ERANGE, "beyond"),
    ],
)
def test_what_is_no_register(
    memory: hal.Device, offset: int, width: int, number: int, text: str
) -> None:
    for call in (
        lambda: memory.load(offset, width),
        lambda: memory.store(offset, 0, width),
        lambda: memory.update(offset, 0, 0, width),
    ):
        with pytest.raises(hal.InvalidArgument, match=text) as caught:
            call()
        assert caught.value.errno == number


def test_the_last_register(memory: hal.Device) -> None:
    memory.store(252, 7)
    assert memory.load(252) == 7
    assert memory.read_at(16, 252) == b"\7\0\0\0"


def test_values_that_do_not_fit(memory: hal.Device) -> None:
    memory.store(0, 0xFF, 1)
    with pytest.raises(hal.InvalidArgument, match="0x100 does not fit into 1 byte"):
        memory.store(0, 0x100, 1)
    with pytest.raises(hal.InvalidArgument, match="does not fit into 2 bytes"):
        memory.update(0, 0x10000, 0, 2)
    for wrong in (-1, 2**64):
        with pytest.raises(hal.InvalidArgument, match="value must be within"):
            memory.store(0, wrong, 8)
    with pytest.raises(TypeError):
        memory.store(0, 1.5)  # type: ignore[arg-type]
    memory.store(0, np.uint32(5))
    assert memory.load(np.int64(0)) == 5


def test_a_device_without_registers(loopback: hal.Device) -> None:
    for call in (
        lambda: loopback.load(0),
        lambda: loopback.read_at(4, 0),
        loopback.map,
    ):
        with pytest.raises(hal.Unsupported, match='driver "loopback" has no'):
            call()


def test_a_closed_device(memory: hal.Device) -> None:
    memory.close()
    with pytest.raises(hal.Closed):
        memory.load(0)
    with pytest.raises(hal.Closed):
        memory.map()


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("order", ["little", "big"])
def test_byte_order(registers: Path, width: int, order: str) -> None:
    value = int.from_bytes(bytes(range(0x11, 0x11 + width)), "big")
    with hal.open(f"mmio:{registers}", byte_order=order) as device:
        device.store(8, value, width)
        assert device.load(8, width) == value
    expected = value.to_bytes(width, "little" if order == "little" else "big")
    assert registers.read_bytes()[8 : 8 + width] == expected


@pytest.mark.parametrize("order", ["little", "big"])
def test_blocks_are_bytes_in_any_order(registers: Path, order: str) -> None:
    data = bytes(range(100))
    with hal.open(f"mmio:{registers}", byte_order=order) as device:
        assert device.write_at(data, 3) == 100
        assert device.read_at(100, 3) == data
        assert device.read_at(100, SIZE - 7) == bytes(7)
        assert device.write_at(data, SIZE - 7) == 7
        with pytest.raises(hal.InvalidArgument, match="beyond"):
            device.read_at(1, SIZE)
    assert registers.read_bytes()[3:103] == data


@pytest.mark.parametrize(
    ("machine", "load", "store"),
    [
        ("aarch64", r"ldr\tw\S+, \[.*\n\s*dmb oshld", r"dmb osh\n(.*\n)*\s*str\tw"),
        ("riscv64", r"lwu?\t.*\n(.*\n)*\s*fence ir, rw", r"fence rw, ow\n(.*\n)*\s*sw\t"),
    ],
)
def test_registers_are_ordered_against_memory(
    machine: str, load: str, store: str, tmp_path: Path
) -> None:
    """What no emulator shows, as it has no weak order: the barriers are there, and where."""
    compiler = f"{machine}-linux-gnu-gcc"
    needs(compiler)
    source = tmp_path / "order.c"
    source.write_text(
        f'#include "{ROOT}/drivers/mmio/access.h"\n'
        "uint64_t look(volatile uint8_t *at) { return load_once(at, 4, false); }\n"
        "void tell(volatile uint8_t *at, uint64_t v) { store_once(at, 4, v, false); }\n"
    )
    lines = run(compiler, "-O2", "-S", f"-I{ROOT}/include", source, "-o", "-").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(("#", "//")))
    look, tell = text.index("look:"), text.index("tell:")
    assert look < tell, text
    assert re.search(load, text[look:tell]), text
    assert re.search(store, text[tell:]), text


def test_read_only(registers: Path) -> None:
    registers.write_bytes(b"\1\2\3\4" * 16)
    with hal.open(f"mmio:{registers}", read_only=True) as device:
        assert device.load(0) == 0x04030201
        for call in (
            lambda: device.store(0, 1),
            lambda: device.write_at(b"1", 0),
            device.map,
        ):
            with pytest.raises(hal.PermissionDenied, match="read_only=true"):
                call()
        mapping = device.map(write=False)
    array = np.frombuffer(memoryview(mapping), np.uint8)
    assert array[2] == 3
    assert not array.flags.writeable


def test_plain_reads_say_what_to_use(registers: Path) -> None:
    with hal.open(f"mmio:{registers}") as device:
        with pytest.raises(hal.Unsupported, match="registers have offsets"):
            device.read(4)
        with pytest.raises(hal.Unsupported, match="registers have offsets"):
            device.write(b"1234")


def test_addresses(registers: Path) -> None:
    with hal.open(f"mmio:{registers}+0x20") as device:
        assert device.attributes["size"] == 0x20
        with pytest.raises(hal.InvalidArgument, match="beyond"):
            device.load(0x20)
    with pytest.raises(hal.InvalidArgument, match="comes a length"):
        hal.open(f"mmio:{registers}+many")
    with pytest.raises(hal.InvalidArgument, match="does not tell its size"):
        hal.open("mmio:/dev/null")
    with pytest.raises(hal.NotFound):
        hal.open(f"mmio:{registers}.none")
    for wrong in ("", "0000:00:04.0", "0000:00:04.0/6", "0x1000", "0x1000+0", "uio0", "uio0/x"):
        with pytest.raises(hal.InvalidArgument, match="the address is a PCI BAR"):
            hal.open(f"mmio:{wrong}")
    with pytest.raises(hal.InvalidArgument, match="multiple of 8"):
        hal.open("mmio:0x1004+0x10")
    with pytest.raises(hal.NotFound, match="no PCI device"):
        hal.open("mmio:ffff:00:00.0/0")
    with pytest.raises(hal.NotFound, match="no map 0 of uio9999"):
        hal.open("mmio:uio9999/0")


# --- mappings ---------------------------------------------------------------------------------


def test_a_mapping_is_the_device(registers: Path) -> None:
    with hal.open(f"mmio:{registers}") as device:
        mapping = device.map(4100, 8)
        assert (len(mapping), mapping.offset, mapping.closed) == (8, 4100, False)
        view = memoryview(mapping)
        view[0] = 0x55
        assert device.load(4100) == 0x55
        device.store(4104, 0x66, 1)
        assert view[4] == 0x66
        view.release()
        mapping.close()
        mapping.close()
        assert mapping.closed
        with pytest.raises(ValueError, match="closed"):
            memoryview(mapping)


def test_an_array_keeps_the_mapping(registers: Path) -> None:
    with hal.open(f"mmio:{registers}") as device:
        mapping = device.map()
        array = np.frombuffer(memoryview(mapping), np.uint32)
        assert array.ctypes.data == mapping.address
        with pytest.raises(BufferError, match="1 view of the mapping is still in use"):
            mapping.close()
    place = f"{mapping.address:x}-"
    del mapping
    gc.collect()
    array[3] = 7  # the device is closed, the name gone
    assert registers.read_bytes()[12] == 7
    assert place in Path("/proc/self/maps").read_text()
    del array
    gc.collect()
    assert place not in Path("/proc/self/maps").read_text()


def test_a_mapping_ends_with_its_block(registers: Path) -> None:
    with hal.open(f"mmio:{registers}") as device, device.map(0, 64) as mapping:
        assert "64 bytes" in repr(mapping)
    assert mapping.closed
    assert "closed" in repr(mapping)


def test_what_cannot_be_mapped(registers: Path) -> None:
    with hal.open(f"mmio:{registers}") as device:
        with pytest.raises(hal.InvalidArgument, match="beyond"):
            device.map(SIZE)
        with pytest.raises(hal.InvalidArgument, match="beyond"):
            device.map(0, SIZE + 1)
        with pytest.raises(hal.Unsupported, match="not prefetchable"):
            device.map(write_combine=True)
        with pytest.raises(hal.Unsupported, match="not persistent"):
            device.map(sync=True)
        with pytest.raises(TypeError, match="at most 2 positional"):
            device.map(0, 0, True)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Mapping()
