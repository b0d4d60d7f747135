# SPDX-License-Identifier: Apache-2.0
"""Checks of what is read and written: lengths, order, every byte value."""

from __future__ import annotations

import errno
import mmap
import random
from typing import Any

from hal._abi import ffi, lib

from .check import check
from .outcome import Broken
from .raw import NOWAIT, UNKNOWN, Raw, Stopwatch, after, last_error, name_of
from .subject import SOON, WAIT, Session

SEED = 20210
BUDGET = 1.0
"""Seconds that a round trip may go on, on a slow line."""
TOTAL = 1 << 16
NORESERVE = 0x4000
"""MAP_NORESERVE: pages are there once touched."""


@check
def zero_lengths(run: Session) -> str:
    """A length of zero moves nothing, never waits and touches no memory.

    Why: a program that has nothing left to send calls all the same.

    See: hal/device.h, hal_read() and hal_control(); hal/driver.h, control
    """
    device = run.open()
    clock = Stopwatch()
    for what, result in (
        ("hal_read", lib.hal_read(device.handle, ffi.NULL, 0, lib.HAL_FOREVER)),
        ("hal_write", lib.hal_write(device.handle, ffi.NULL, 0, lib.HAL_FOREVER)),
        ("hal_readv", lib.hal_readv(device.handle, ffi.NULL, 0, lib.HAL_FOREVER)),
        ("hal_writev", lib.hal_writev(device.handle, ffi.NULL, 0, lib.HAL_FOREVER)),
    ):
        if result:
            raise Broken(f"{what} of nothing returned {name_of(result)}")
    result = device.control(UNKNOWN, ffi.NULL, 0, after(WAIT))
    if result >= 0:
        raise Broken(f"hal_control of an unknown request without argument returned {result}")
    if clock.seconds > SOON:
        raise Broken(f"calls that move nothing took {clock.seconds:.2f} s")
    return "hal_read, hal_write, hal_readv, hal_writev; a request without argument"


@check
def short_reads(run: Session) -> str:
    """A read gives at most what was asked for, and leaves the rest for the next.

    Why: a program reads a header first, then the body by the length it says.

    See: hal/device.h, hal_read()
    """
    device = run.open()
    if run.facts.no_wait or run.facts.no_echo or not run.subject.writes:
        sizes = (1, 2, 3, 7, 64)
        results = [name_of(device.read(size, NOWAIT).result) for size in sizes]
        return "none longer than asked for: " + ", ".join(results)
    message = bytes(range(0x30, 0x30 + 20))
    device.send(message)
    read = b""
    for size in (1, 2, 3, 5, 9):
        got = device.read_exact(size, after(WAIT))
        read += got.data
        if read != message[: len(read)] or got.result != size:
            raise Broken(
                f"of {message!r} a read of {size} bytes gave {got.data!r} "
                f"({name_of(got.result)}), after {read[: len(read) - len(got.data)]!r}"
            )
    return f"{len(message)} bytes in 5 reads"


@check
def round_trip(run: Session) -> str:
    """Every byte, whatever its value, arrives once, in order and unchanged.

    Why: a line that changes CR to NL, or eats XON, works with text and fails with firmware.

    See: hal/device.h, "Buffering"; hal_read(), hal_read_exact(), hal_read_until()
    """
    run.needs_echo()
    device = run.open()
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    clock = Stopwatch()
    done = 0
    first = bytes(range(256))
    while done < TOTAL and (clock.seconds < BUDGET or not done):
        chunk = first if not done else chance.randbytes(chance.randint(1, 1024))
        device.send(chunk)
        back = _receive(device, chunk, chance)
        if back != chunk:
            at = next(i for i, (a, b) in enumerate(zip(chunk, back, strict=False)) if a != b)
            raise Broken(
                f"byte {done + at} was {chunk[at]:#04x} and came back as {back[at]:#04x} "
                f"(seed {SEED})"
            )
        done += len(chunk)
    return f"{done} bytes in random chunks, seed {SEED}"


def _receive(device: Raw, chunk: bytes, chance: random.Random) -> bytes:
    """As many bytes as the chunk has, by one of the three ways to read."""
    way = chance.randrange(3)
    back = b""
    until = after(WAIT)
    while len(back) < len(chunk):
        left = len(chunk) - len(back)
        if way == 0:
            got = device.read(left, until)
        elif way == 1 or left < 2:
            got = device.read_exact(left, until)
        else:  # up to a byte that is sure to come, so that what follows it is read ahead
            at = chance.randrange(len(back), len(chunk))
            got = device.read_until(left, chunk[at : at + 1], until)
        if got.result <= 0:
            raise Broken(
                f"{len(back)} of {len(chunk)} bytes came back, then {name_of(got.result)} "
                f"({last_error()})"
            )
        back += got.data
    return back


@check
def oversize(run: Session) -> str:
    """A request longer than the device, or a call, can serve is served in part or refused.

    Why: a program that reads "as much as there is" with a large buffer must get what there is.

    See: hal/device.h, HAL_LENGTH_MAX and HAL_SEGMENTS_MAX
    """
    device = run.open()
    count = lib.HAL_SEGMENTS_MAX + 1
    vector = ffi.new("struct iovec[]", count)
    for name, call in (("hal_readv", lib.hal_readv), ("hal_writev", lib.hal_writev)):
        result = call(device.handle, vector, count, NOWAIT)
        if result != -errno.EINVAL:
            raise Broken(f"{name} with {count} buffers: {name_of(result)}, not -EINVAL")
    if run.facts.no_wait:
        for size in (1 << 12, 1 << 16, 1 << 20):
            device.read(size, after(SOON))
        return "reads of up to 1 MiB"
    length = lib.HAL_LENGTH_MAX + 0x1000
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
    with mmap.mmap(-1, length, flags=flags) as room, ffi.from_buffer(room) as start:
        for size in (1 << 16, 1 << 24, length):
            _read_too_much(run, device, start, size)
    return "reads of 64 KiB, 16 MiB, and 4 KiB more than a call may ask for"


def _read_too_much(run: Session, device: Raw, start: Any, size: int) -> None:
    result = lib.hal_read(device.handle, start, size, NOWAIT)
    if result != -errno.EAGAIN:
        raise Broken(f"a read of {size} bytes of nothing: {name_of(result)}, not -EAGAIN")
    if run.facts.no_echo or not run.subject.writes:
        return
    message = b"all there is"
    device.send(message)
    result = int(lib.hal_read(device.handle, start, size, after(WAIT)))
    if not 0 < result <= len(message):
        raise Broken(f"a read of {size} bytes: {name_of(result)}, not what there is")
    device.read_exact(len(message) - result, after(WAIT))
