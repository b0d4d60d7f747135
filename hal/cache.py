# SPDX-License-Identifier: Apache-2.0
"""Caches and fences: ``<hal/cache.h>`` on arrays (docs/cache.md).

    hal.cache.persist(log[first:last])     # survives power loss when it returns
    hal.cache.sync(mailbox)                # hand over to another host, or take over from it
    hal.cache.copy_nt(frame, source)       # copy around the caches
    hal.cache.fence_store()                # send off stores to a write-combining array
    hal.cache.query(frame).flush           # "needed", "not needed" or "unknown", and why

An operation takes any buffer: a numpy array, a Mapping, bytes. A strided array (``a[::2]``,
``a[:, 3]``) has exactly those lines treated that it touches, in one call, with one fence at the
end; every operation is complete when it returns.

Buffers that cannot be written to are taken wherever nothing is stored: flushing what one reads of
somebody else's memory is what these functions are for. ``copy_nt``, ``fill_nt`` and
``prefetch(write=True)`` refuse them.

Any thread. The GIL is let go for more than 4 KiB.

Raises, all of them:
    Unsupported: This processor and kernel have no instruction for it. A full fence was executed all
        the same, which is enough for coherent memory; ``info()`` says more.
    InvalidArgument: Read-only, of the wrong size or type, or not in one piece: the text says which.
    TypeError: It is no buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import _core

if TYPE_CHECKING:
    from ._core import AnyBuffer

__all__ = [
    "Choice",
    "Cost",
    "Costs",
    "Facts",
    "Info",
    "copy_nt",
    "fence_full",
    "fence_load",
    "fence_store",
    "fill_nt",
    "flush",
    "info",
    "invalidate",
    "measure",
    "persist",
    "prefetch",
    "query",
    "sync",
    "writeback",
]

# enum hal_cache_op
_WRITEBACK, _FLUSH, _INVALIDATE, _PERSIST, _SYNC, _PREFETCH_READ, _PREFETCH_WRITE = range(7)

Need = Literal["unknown", "needed", "not needed"]
_NEEDS: tuple[Need, ...] = ("unknown", "needed", "not needed")  # enum hal_flush_need


def writeback(buffer: AnyBuffer) -> None:
    """Write its changed lines to memory; they may stay cached. Then a store fence."""
    _core.cache_lines(_WRITEBACK, buffer)


def flush(buffer: AnyBuffer) -> None:
    """Write its changed lines to memory and drop them all. Then a full fence."""
    _core.cache_lines(_FLUSH, buffer)


def invalidate(buffer: AnyBuffer) -> None:
    """Drop its lines, so that what others have written is seen. Then a full fence.

    Lines that this processor has changed are written back first: no user program may discard them.
    """
    _core.cache_lines(_INVALIDATE, buffer)


def persist(buffer: AnyBuffer) -> None:
    """Make it survive power loss: written back to the point of persistence, then a store fence."""
    _core.cache_lines(_PERSIST, buffer)


def sync(buffer: AnyBuffer) -> None:
    """Hand it over to another host, or take it over: flush, then a full fence (hal_cxl_sync)."""
    _core.cache_lines(_SYNC, buffer)


def prefetch(buffer: AnyBuffer, *, write: bool = False) -> None:
    """Hint that it will soon be read, or written."""
    _core.cache_lines(_PREFETCH_WRITE if write else _PREFETCH_READ, buffer)


def copy_nt(destination: AnyBuffer, source: AnyBuffer) -> None:
    """Copy around the caches; the destination is then as after ``persist()``.

    Worth it for large blocks that will not be read soon.

    Args:
        destination: Writable, in one piece (C order).
        source: As many bytes, in one piece, not overlapping; elements of the same type, unless one
            of both has bytes.
    """
    _core.cache_copy_nt(destination, source)


def fill_nt(destination: AnyBuffer, byte: int = 0) -> None:
    """Fill with a byte (0 to 255) around the caches, then as after ``persist()``."""
    _core.cache_fill_nt(destination, byte)


def fence_store() -> None:
    """This thread's earlier stores come before its later ones, for every observer.

    It sends off what waits to be gathered in a write-combining array. What works on a buffer above
    has its fence already.
    """
    _core.cache_fence_store()


def fence_load() -> None:
    """This thread's earlier loads come before its later loads and stores."""
    _core.cache_fence_load()


def fence_full() -> None:
    """All that this thread did before comes before all that it does later."""
    _core.cache_fence_full()


@dataclass(frozen=True)
class Choice:
    """How one operation is done.

    Attributes:
        instruction: Its name; None: nothing here can do it.
        reason: Why this one, or why none.
        alternatives: Others that this processor has.
    """

    instruction: str | None
    reason: str
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class Info:
    """Which instructions are in use, and why.

    Attributes:
        architecture: "x86-64", "aarch64", "riscv64".
        line: Bytes of a cache line.
        requested: The environment variable HAL_CACHE as it was read; None: not set.
        refused: Which part of it could not be followed, and why; None: none.
        choices: By operation: "writeback", "flush" ... "fence-full".
    """

    architecture: str
    line: int
    requested: str | None
    refused: str | None
    choices: Mapping[str, Choice]


@dataclass(frozen=True)
class Cost:
    """What one operation takes, nanoseconds, medians.

    Attributes:
        line: One line and its fence; of a fence itself.
        block: 64 KiB and one fence.
    """

    line: float
    block: float


@dataclass(frozen=True)
class Costs:
    """What the operations take here. Each but a fence's includes reading the range again.

    Attributes:
        operations: By operation; one that is not supported here is left out.
        read: The reading alone, of lines in the cache.
    """

    operations: Mapping[str, Cost]
    read: Cost


@dataclass(frozen=True)
class Facts:
    """What the kernel says of a mapping, and what follows.

    Attributes:
        kind: "ordinary", "persistent", "cxl", "write-combining", "uncached" or "unknown".
        flush: Whether stores must be flushed to arrive.
        shared: MAP_SHARED.
        synchronous: MAP_SYNC: no fsync is needed besides the write-back.
        dax: Of a file, without page cache; or of a dax device.
        io: Memory of a device.
        path: What is mapped; "": anonymous.
        device: The device behind it, as sysfs names it; "": none, or not known.
        domain: The region's persistence_domain; "": none, or not told.
        reason: One sentence: where the answer comes from.
        start: First address of the mapping.
        end: First address after it.
    """

    kind: str
    flush: Need
    shared: bool
    synchronous: bool
    dax: bool
    io: bool
    path: str
    device: str
    domain: str
    reason: str
    start: int
    end: int


def info() -> Info:
    """Which instructions are in use, and why."""
    architecture, requested, refused, line, rows = _core.cache_info()
    choices = {
        name: Choice(instruction, reason, tuple(alternatives.split()))
        for name, instruction, reason, alternatives in rows
    }
    return Info(architecture, line, requested, refused, choices)


def measure() -> Costs:
    """Measure what the operations take, on memory of the library's own: some milliseconds."""
    rows, line, block = _core.cache_measure()
    return Costs({name: Cost(one, many) for name, one, many in rows if one}, Cost(line, block))


def query(buffer: AnyBuffer) -> Facts:
    """Ask the kernel what memory a buffer is in, and whether its stores need a flush.

    It reads /proc/self and sysfs: milliseconds.
    """
    kind, need, flags, path, device, domain, reason, start, end = _core.cache_query(buffer)
    shared, synchronous, dax, io = (bool(flags & bit) for bit in (1, 2, 4, 8))
    return Facts(
        kind,
        _NEEDS[need],
        shared,
        synchronous,
        dax,
        io,
        path,
        device,
        domain,
        reason,
        start,
        end,
    )
