# SPDX-License-Identifier: Apache-2.0
"""Checks of hal_transfer()."""

from __future__ import annotations

import errno
from typing import Any

from hal._abi import ffi, lib

from .check import check
from .outcome import Broken, NotApplicable
from .raw import GUARD, after, last_error, name_of
from .subject import WAIT, Session

REFUSALS = (-errno.EINVAL, -errno.EMSGSIZE, -errno.EOPNOTSUPP)


@check
def transfers(run: Session) -> str:
    """A transfer returns the bytes of all its segments; none, or too many, are refused.

    Why: a program tells by the count whether its exchange took place.

    See: hal/device.h, hal_transfer() and struct hal_segment; hal/driver.h, transfer
    """
    device = run.open()
    many = lib.HAL_SEGMENTS_MAX + 1
    segments = ffi.new("struct hal_segment[]", many)
    none = device.transfer(segments, 0, after(WAIT))
    if none == -errno.EOPNOTSUPP:
        raise NotApplicable(last_error())
    if none != -errno.EINVAL:
        raise Broken(f"no segments at all: {name_of(none)}, not -EINVAL")
    if (result := device.transfer(segments, many, after(WAIT))) not in REFUSALS:
        raise Broken(f"{many} segments: {name_of(result)}, not refused")
    if device.transfer(ffi.NULL, 1, after(WAIT)) != -errno.EFAULT:
        raise Broken("segments at NULL were taken")
    if not run.subject.writes:
        return "none and too many are refused; nothing was sent (--writes)"
    if device.transfer(_one(), 1, after(WAIT)) == -errno.EOPNOTSUPP:
        raise NotApplicable(last_error())
    moved = [_receive(run, count) for count in (1, 2, 32, lib.HAL_SEGMENTS_MAX)]
    return "segments of 3 bytes: " + ", ".join(moved)


def _one() -> Any:
    """One segment, of one byte to receive."""
    return ffi.new("struct hal_segment[]", [{"rx": _ROOM, "len": 1}])


_ROOM = ffi.new("uint8_t[1]")


def _receive(run: Session, count: int) -> str:
    """Receive in this many segments, the shape that every bus has."""
    device = run.open()
    size = 3
    room = ffi.new("uint8_t[]", size * count + len(GUARD))
    memory = ffi.buffer(room)
    memory[size * count :] = GUARD
    segments = ffi.new("struct hal_segment[]", count)
    for index in range(count):
        segments[index].rx, segments[index].len = room + size * index, size
    result = device.transfer(segments, count, after(WAIT))
    if memory[size * count :] != GUARD:
        raise Broken(f"bytes behind the last of {count} segments were written to")
    if result < 0:
        if result in REFUSALS and count > 1:
            return f"{count} are refused"
        raise Broken(f"{count} segments: {name_of(result)} ({last_error()})")
    if result != size * count:
        raise Broken(f"{count} segments of {size} bytes: {result}, not {size * count}")
    return str(count)
