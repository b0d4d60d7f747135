# SPDX-License-Identifier: Apache-2.0
"""Checks of devices that are memory: registers, blocks at an offset, mappings."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hal._abi import ffi, lib

from .check import check
from .outcome import Broken, NotApplicable
from .raw import Raw, after, last_error, name_of
from .subject import WAIT, Session

WIDTHS = (1, 2, 4, 8)
ROOM = 64
"""Bytes at the device's start that are written to, and put back."""
SEED = 20210
BEYOND = (1 << 63, (1 << 64) - 8)
"""Offsets that no device has; with the second one the end of an access wraps around."""


def _lacking(result: int) -> bool:
    return result == -errno.EOPNOTSUPP


def _size_of(device: Raw) -> int:
    """The device's size, as it tells or as a mapping of all of it has."""
    result, value = device.get("size", after(WAIT))
    if not result and value.type == lib.HAL_TYPE_INT:
        return int(value.i)
    with _mapped(device, 0, 0) as mapping:
        return int(mapping.length)


@contextmanager
def _mapped(device: Raw, offset: int, length: int, flags: int = 1) -> Iterator[Any]:
    """A mapping of a part (HAL_MAP_READ is 1); the check does not apply where there are none."""
    result, mapping = device.map(offset, length, flags)
    if _lacking(result):
        raise NotApplicable(last_error())
    if result == -errno.EACCES and flags & lib.HAL_MAP_WRITE:
        raise NotApplicable(last_error())
    if result:
        raise Broken(f"mapping {length} bytes at {offset}: {name_of(result)} ({last_error()})")
    try:
        yield mapping
    finally:
        if mapping.base and lib.hal_unmap(mapping):
            raise Broken(f"hal_unmap: {last_error()}")


def _bytes(mapping: Any, length: int) -> bytes:
    return bytes(ffi.buffer(mapping.address, length))


@contextmanager
def memory(device: Raw) -> Iterator[bytes]:
    """Where a device gives back what it gets: 64 random bytes at its start, until the end."""
    before = device.read_at(ROOM, 0, after(WAIT))
    if before.result < ROOM:
        raise NotApplicable(last_error() or f"it has {before.result} bytes only")
    content = random.Random(SEED).randbytes(ROOM)  # noqa: S311 - repeatable on purpose
    written = device.write_at(content, 0, after(WAIT))
    if written < 0:
        raise NotApplicable(last_error())
    try:
        if device.read_at(ROOM, 0, after(WAIT)).data != content:
            raise NotApplicable("what is written at offset 0 does not come back: no memory")
        yield content
    finally:
        device.write_at(before.data, 0, after(WAIT))


# ---- registers ----------------------------------------------------------------------------------


@check
def register_range(run: Session) -> str:
    """The device's last register is there; one beyond its end is -ERANGE, not an access.

    Why: an access beyond a mapping ends the program, and one beyond a BAR hits another device.

    See: hal/memory.h, hal_load() and hal_store(); hal/driver.h, load
    """
    device = run.open()
    result, _ = device.load(0, 1)
    if _lacking(result):
        raise NotApplicable(last_error())
    size = _size_of(device)
    refused = {
        f"{width} bytes at {offset:#x}": device.load(offset, width)[0]
        for width in WIDTHS
        for offset in (-(-size // width) * width, *BEYOND)
    }
    if run.subject.writes:
        refused |= {f"a store at {place:#x}": device.store(place, 8, 0) for place in BEYOND}
    for what, result in refused.items():
        if result not in (-errno.ERANGE, -errno.EACCES, -errno.EOPNOTSUPP):
            raise Broken(f"{what} of a device of {size:#x}: {name_of(result)}, not -ERANGE")
    if (result := device.load(size - 1, 1)[0]) not in (0, -errno.EOPNOTSUPP):
        raise Broken(f"the last byte, at {size - 1:#x}: {name_of(result)} ({last_error()})")
    return f"{size} bytes, and none behind"


@check
def register_width(run: Session) -> str:
    """A store changes as many bytes as it is wide, and no others; a load gives them and zeros.

    Why: the neighbour of a register may be the one that starts the motor.

    See: hal/memory.h, hal_load() and hal_store(); hal/driver.h, load and store
    """
    run.needs_writes()
    device = run.open()
    with memory(device) as content:
        value = 0x8192A3B4C5D6E7F8
        seen = []
        for width in WIDTHS:
            result = device.store(ROOM // 2, width, value)
            if _lacking(result):
                continue
            if result:
                raise Broken(f"a store of {width} bytes: {name_of(result)} ({last_error()})")
            _check_width(device, content, width, value)
            device.write_at(content, 0, after(WAIT))
            seen.append(str(width))
        if not seen:
            raise NotApplicable(last_error())
        return f"{', '.join(seen)} bytes"


def _check_width(device: Raw, content: bytes, width: int, value: int) -> None:
    now = device.read_at(ROOM, 0, after(WAIT)).data
    changed = [at for at in range(ROOM) if now[at] != content[at]]
    if any(not ROOM // 2 <= at < ROOM // 2 + width for at in changed):
        raise Broken(f"a store of {width} bytes at {ROOM // 2} changed bytes {changed}")
    want = value & ((1 << 8 * width) - 1)
    result, got = device.load(ROOM // 2, width)
    if result or got != want:
        raise Broken(
            f"{want:#x} stored in {width} bytes was loaded as {got:#x} ({name_of(result)})"
        )


# ---- blocks -------------------------------------------------------------------------------------


@check
def block_range(run: Session) -> str:
    """A block ends with the device, and its count says so; one that begins beyond is -ERANGE.

    Why: a program that copies "to the end" relies on the count.

    See: hal/memory.h, hal_read_at() and hal_write_at(); hal/driver.h, read_at
    """
    device = run.open()
    result = device.read_at(1, 0, after(WAIT)).result
    if _lacking(result):
        raise NotApplicable(last_error())
    size = _size_of(device)
    last = min(size, 3)
    if (got := device.read_at(last + 5, size - last, after(WAIT)).result) != last:
        raise Broken(f"of the last {last} bytes, and 5 behind, {name_of(got)} came")
    for offset in (size, size + 1, *BEYOND):
        results = [device.read_at(4, offset, after(WAIT)).result]
        if run.subject.writes:
            results.append(device.write_at(b"none", offset, after(WAIT)))
        right = {-errno.ERANGE, -errno.EACCES, -errno.EOPNOTSUPP}
        right |= {0, -errno.ENOSPC} if offset == size else set()
        for result in results:
            if result not in right:
                raise Broken(f"4 bytes at {offset:#x} of {size:#x}: {name_of(result)}, not -ERANGE")
    return f"{size} bytes, and none behind"


@check
def block_content(run: Session) -> str:
    """What is written at an offset is read there, whatever offset and length, and nothing else.

    Why: records have any length; a driver that rounds to words destroys their neighbours.

    See: hal/memory.h, hal_read_at() and hal_write_at(); hal/driver.h, write_at
    """
    run.needs_writes()
    device = run.open()
    with memory(device) as content:
        chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
        expected = bytearray(content)
        for _ in range(40):
            offset = chance.randrange(ROOM)
            block = chance.randbytes(chance.randint(1, ROOM - offset))
            result = device.write_at(block, offset, after(WAIT))
            if result != len(block):
                raise Broken(f"{len(block)} bytes at {offset}: {name_of(result)} ({last_error()})")
            expected[offset : offset + len(block)] = block
            if device.read_at(len(block), offset, after(WAIT)).data != block:
                raise Broken(f"{len(block)} bytes written at {offset} are read otherwise")
            if device.read_at(ROOM, 0, after(WAIT)).data != expected:
                raise Broken(f"{len(block)} bytes written at {offset} changed others")
        return f"40 blocks within {ROOM} bytes, seed {SEED}"


# ---- mappings -----------------------------------------------------------------------------------


@check
def map_range(run: Session) -> str:
    """A mapping has the length asked for, or the rest; one that reaches beyond is -ERANGE.

    Why: what lies behind a mapping is a signal, or somebody else's memory.

    See: hal/memory.h, hal_map(); hal/driver.h, map
    """
    device = run.open()
    with _mapped(device, 0, 0) as mapping:
        size = int(mapping.length)
    for offset, length, want in ((0, 1, 1), (size - 1, 0, 1), (min(5, size - 1), 0, 0)):
        with _mapped(device, offset, length) as mapping:
            if mapping.length != (want or size - offset) or mapping.offset != offset:
                raise Broken(
                    f"{length or 'all'} bytes asked for at {offset} of {size}: {mapping.length} "
                    f"at {mapping.offset} mapped"
                )
    for offset, length in ((0, size + 1), (size, 0), (size - 1, 2), (BEYOND[1], 16)):
        result, mapping = device.map(offset, length, lib.HAL_MAP_READ)
        if result != -errno.ERANGE:
            raise Broken(
                f"mapping {length or 'all'} bytes at {offset:#x} of {size:#x}: {name_of(result)}, "
                "not -ERANGE"
            )
    return f"{size} bytes, and none behind"


@check
def map_content(run: Session) -> str:
    """A mapping is the memory: what blocks write is seen in it, and the reverse, at any offset.

    Why: kernels map whole pages; a driver that forgets the rest of the offset shows other bytes.

    See: hal/memory.h, hal_map() and struct hal_mapping; hal/driver.h, map
    """
    flags = lib.HAL_MAP_READ | lib.HAL_MAP_WRITE
    run.needs_writes()
    device = run.open()
    with memory(device) as content:
        for offset in (0, 5, ROOM - 8):
            with _mapped(device, offset, 8, flags) as mapping:
                if (seen := _bytes(mapping, 8)) != content[offset : offset + 8]:
                    raise Broken(f"at {offset} the mapping shows {seen!r}")
                ffi.buffer(mapping.address, 8)[:] = b"mapping!"
            if (seen := device.read_at(8, offset, after(WAIT)).data) != b"mapping!":
                raise Broken(f"what was stored through a mapping at {offset} is read as {seen!r}")
            device.write_at(content, 0, after(WAIT))
    return "offsets 0, 5 and 56, both ways"


@check
def map_rights(run: Session) -> str:
    """A mapping without HAL_MAP_WRITE cannot be written to.

    Why: who asks for reading alone is protected from his own mistakes, and others are from him.

    See: hal/memory.h, enum hal_map_flag; hal/driver.h, map
    """
    device = run.open()
    with _mapped(device, 0, 0) as mapping:
        address = int(ffi.cast("uintptr_t", mapping.address))
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            start, end = (int(part, 16) for part in place.split("-"))
            if start <= address < end:
                if not rights.startswith("r-"):
                    raise Broken(f"HAL_MAP_READ alone gave {rights}")
                return f"HAL_MAP_READ gives {rights}"
    raise Broken(f"nothing is mapped at {address:#x}, where the mapping should be")


@check
def map_outlives(run: Session) -> str:
    """A mapping outlives hal_close(); hal_unmap() ends it, once.

    Why: arrays that a program has made of it go on being used; they must not become a crash.

    See: hal/memory.h, hal_map() and hal_unmap(); hal/driver.h, map and fini
    """
    device = run.open()
    with _mapped(device, 0, 0) as mapping:
        before = _bytes(mapping, 1)
        device.close()
        seen = _bytes(mapping, 1)
        if run.subject.writes and seen != before:
            raise Broken(f"its first byte was {before!r}, and is {seen!r} after hal_close()")
        if lib.hal_unmap(mapping):
            raise Broken(f"hal_unmap after hal_close: {last_error()}")
        if lib.hal_unmap(mapping) != -errno.EINVAL:
            raise Broken("hal_unmap of what is unmapped was taken")
    return "it was there after hal_close(), and is gone after hal_unmap()"
