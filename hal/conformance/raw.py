# SPDX-License-Identifier: Apache-2.0
"""A device by the raw C ABI: results as C gives them, a negative errno for a failure.

Python's own API retries after signals, words errors and checks arguments; a driver's contract is
with C, so the checks look at that.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from hal import _core  # noqa: F401 - loads the library
from hal._abi import ffi, lib

from .outcome import Broken

NOWAIT = 0
PAST = 1
"""A deadline that is over since this machine was switched on, and is not HAL_NOWAIT."""
UNKNOWN = 0x7EADBEE5
"""A request that no class of device has."""
RECORD = 256
"""Room for a read of a device that gives whole records, such as events, and nothing less."""
GUARD = b"\xa5\x5a" * 8
"""Stands behind a buffer: whoever changes it has written too far."""


def after(seconds: float) -> int:
    """The deadline so far from now."""
    return int(lib.hal_after(int(seconds * 1e9)))


def name_of(result: int) -> str:
    """A result as people read it: "-EAGAIN" for -11; a count as it is."""
    if result == -errno.EOPNOTSUPP:
        return "-EOPNOTSUPP"  # Linux has one number for it and ENOTSUP
    return str(result) if result >= 0 else "-" + errno.errorcode.get(-result, str(-result))


def last_error() -> str:
    """The calling thread's last message."""
    return _text(lib.hal_last_error())


def _text(pointer: Any) -> str:
    return os.fsdecode(ffi.string(pointer)) if pointer != ffi.NULL else ""


class Got(NamedTuple):
    """What a read gave: its result, and the bytes it stands for."""

    result: int
    data: bytes


class Row(NamedTuple):
    """One attribute, as the driver's table has it; None for what is NULL there."""

    name: str
    unit: str | None
    doc: str | None
    type: int
    access: int
    minimum: float
    maximum: float
    choices: tuple[str, ...]
    initial: str | None
    has_get: bool
    has_set: bool

    @property
    def readable(self) -> bool:
        """May it be read?"""
        return bool(self.access & lib.HAL_ATTR_READ)

    @property
    def writable(self) -> bool:
        """May it be written?"""
        return bool(self.access & lib.HAL_ATTR_WRITE)


class OpenFailed(Exception):
    """The device cannot be opened: the result, and the message."""

    def __init__(self, result: int) -> None:
        super().__init__(last_error())
        self.result = result


class Raw:
    """One open device."""

    def __init__(self, uri: str, until: int) -> None:
        self.handle: int = lib.hal_open(os.fsencode(uri), until)
        if self.handle < 0:
            raise OpenFailed(self.handle)

    def close(self) -> int:
        """hal_close()."""
        return int(lib.hal_close(self.handle))

    def read(self, size: int, until: int) -> Got:
        """hal_read(); a byte changed behind the buffer is a failure of its own."""
        return self._fill(size, lambda room: lib.hal_read(self.handle, room, size, until))

    def read_exact(self, size: int, until: int) -> Got:
        """hal_read_exact()."""
        return self._fill(size, lambda room: lib.hal_read_exact(self.handle, room, size, until))

    def read_until(self, size: int, delimiter: bytes, until: int) -> Got:
        """hal_read_until()."""
        return self._fill(
            size,
            lambda room: lib.hal_read_until(
                self.handle, room, size, delimiter, len(delimiter), until
            ),
        )

    def _fill(self, size: int, call: Any) -> Got:
        room = ffi.new("char[]", size + len(GUARD))
        memory = ffi.buffer(room)
        memory[size:] = GUARD
        result = int(call(room))
        if memory[size:] != GUARD:
            raise Broken(f"bytes behind a buffer of {size} were written to")
        if result > size:
            raise Broken(f"a read of {size} bytes returned {result}")
        return Got(result, memory[: max(result, 0)])

    def write(self, data: bytes, until: int) -> int:
        """hal_write()."""
        return int(lib.hal_write(self.handle, ffi.from_buffer(data), len(data), until))

    def send(self, data: bytes) -> None:
        """hal_write() of all of it, within five seconds."""
        result = self.write(data, after(5.0))
        if result != len(data):
            raise Broken(f"a write of {len(data)} bytes: {name_of(result)} ({last_error()})")

    def poll(self, events: int, until: int) -> int:
        """hal_poll()."""
        return int(lib.hal_poll(self.handle, events, until))

    def cancel(self) -> int:
        """hal_cancel()."""
        return int(lib.hal_cancel(self.handle))

    def fd(self, events: int) -> int:
        """hal_fd()."""
        return int(lib.hal_fd(self.handle, events))

    def control(self, request: int, argument: Any, size: int, until: int) -> int:
        """hal_control()."""
        return int(lib.hal_control(self.handle, request, argument, size, until))

    def transfer(self, segments: Any, count: int, until: int) -> int:
        """hal_transfer()."""
        return int(lib.hal_transfer(self.handle, segments, count, until))

    def load(self, offset: int, width: int) -> tuple[int, int]:
        """hal_load(): the result and the value."""
        value = ffi.new("uint64_t *")
        return int(lib.hal_load(self.handle, offset, width, value)), int(value[0])

    def store(self, offset: int, width: int, value: int) -> int:
        """hal_store()."""
        return int(lib.hal_store(self.handle, offset, width, value))

    def read_at(self, size: int, offset: int, until: int) -> Got:
        """hal_read_at(); a byte changed behind the buffer is a failure of its own."""
        return self._fill(
            size, lambda room: lib.hal_read_at(self.handle, room, size, offset, until)
        )

    def write_at(self, data: bytes, offset: int, until: int) -> int:
        """hal_write_at()."""
        return int(lib.hal_write_at(self.handle, ffi.from_buffer(data), len(data), offset, until))

    def map(self, offset: int, length: int, flags: int) -> tuple[int, Any]:
        """hal_map(): the result and the struct hal_mapping, the caller's to unmap."""
        mapping = ffi.new("struct hal_mapping *")
        return int(lib.hal_map(self.handle, offset, length, flags, mapping)), mapping

    def get(self, name: str, until: int) -> tuple[int, Any]:
        """hal_get(): the result and the struct hal_value."""
        value = ffi.new("struct hal_value *")
        return int(lib.hal_get(self.handle, os.fsencode(name), value, until)), value

    def set(self, name: str, value: Any, until: int) -> int:
        """hal_set() of a struct hal_value."""
        return int(lib.hal_set(self.handle, os.fsencode(name), value, until))

    def set_text(self, name: str, text: str, until: int) -> int:
        """hal_set_text()."""
        return int(lib.hal_set_text(self.handle, os.fsencode(name), os.fsencode(text), until))

    def describe(self) -> Any:
        """hal_describe()."""
        out = ffi.new("struct hal_description *")
        result = lib.hal_describe(self.handle, out, ffi.sizeof("struct hal_description"))
        if result:
            raise Broken(f"hal_describe: {last_error()}")
        return out

    def rows(self) -> Iterator[Row]:
        """The attributes."""
        for index in range(lib.hal_attribute_count(self.handle)):
            out = ffi.new("struct hal_attribute const **")
            if lib.hal_attribute_at(self.handle, index, out):
                raise Broken(f"hal_attribute_at({index}): {last_error()}")
            yield _row(out[0])


def _row(row: Any) -> Row:
    choices: list[str] = []
    while row.choices and row.choices[len(choices)]:
        choices.append(_text(row.choices[len(choices)]))
    return Row(
        _text(row.name),
        _text(row.unit) if row.unit else None,
        _text(row.doc) if row.doc else None,
        row.type,
        row.access,
        row.min,
        row.max,
        tuple(choices),
        _text(row.initial) if row.initial else None,
        bool(row.get),
        bool(row.set),
    )


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._began
