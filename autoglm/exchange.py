# SPDX-License-Identifier: Apache-2.0
"""Arrays between two processes, through memory that both have mapped.

What goes through a socket beside it is a description, as JSON: name, element type, shape and offset
of each array. Calls of one model are much alike, so both sides keep the views that a description
stands for: the same one again is looked up, and neither written nor read.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from .errors import InputError
from .tensor import Array

ALIGNMENT = 64
"""Of arrays, in bytes: a cache line, and the widest vector register."""
KEPT = 16 << 20
"""Bytes that a region keeps when a large call is over."""
KNOWN = 64
"""Layouts that are kept."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Arrays in a region.

    Attributes:
        description: By which the other side finds them.
        views: On the memory, by name.
        end: Where the last one ends, in bytes.
    """

    description: bytes
    views: dict[str, Array]
    end: int


class Region:
    """Memory without a name in any file system: the kernel takes it back with its last user.

    One side writes at a time, as the messages between the two say.

    Args:
        descriptor: Of a memfd_create(2), taken over.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None
        self._length = 0
        self._known: dict[Hashable, Layout] = {}

    @classmethod
    def make(cls) -> Region:
        """A new one."""
        return cls(os.memfd_create("autoglm-exchange", os.MFD_CLOEXEC))

    def put(self, arrays: Mapping[str, Array], begin: int = 0, most: int = sys.maxsize) -> bytes:
        """Copy arrays into it.

        Args:
            arrays: Of plain element types.
            begin: Where the first one may be.
            most: Bytes of them; more is refused, as outputs of a call are that are too large.

        Returns:
            Their description, which `take` of the other side wants.

        Raises:
            InputError: One holds Python objects, or they are larger.
            MemoryError, OSError: There is no memory for them.
        """
        layout = self._known.get(begin)  # of the last ones
        if layout is None or not _alike(layout.views, arrays):
            key = (begin, *((name, each.dtype, each.shape) for name, each in arrays.items()))
            layout = self._known.get(key) or self._keep(key, self._lay(arrays, begin, most))
            self._keep(begin, layout)
        for name, view in layout.views.items():
            view[...] = arrays[name]
        return layout.description

    def take(self, description: bytes) -> Layout:
        """Where the arrays are that the other side put into it, until it puts others."""
        return self._known.get(description) or self._keep(description, self._read(description))

    def shrink(self) -> None:
        """Give back what a large call has needed; neither side uses a view now."""
        if self._length > KEPT:
            os.ftruncate(self.descriptor, KEPT)

    def close(self) -> None:
        """Give it back; the map goes with the last view of it."""
        os.close(self.descriptor)
        self._map = None
        self._known.clear()

    def _lay(self, arrays: Mapping[str, Array], begin: int, most: int) -> Layout:
        """Find a place for each array."""
        if sum(array.nbytes for array in arrays.values()) > most:
            raise InputError(f"the outputs are larger than {most} bytes")
        slots = []
        end = begin
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise InputError(f"array {name!r} holds Python objects, which cannot be shared")
            begin = -(-end // ALIGNMENT) * ALIGNMENT
            end = begin + array.nbytes
            kind = array.dtype.name if array.dtype.kind == "V" else array.dtype.str
            slots.append((name, kind, array.shape, begin))
        return self._read(orjson.dumps(slots))

    def _read(self, description: bytes) -> Layout:
        slots = [
            (name, np.dtype(kind), shape, offset)
            for name, kind, shape, offset in orjson.loads(description)
        ]
        end = max(
            (offset + math.prod(shape) * dtype.itemsize for _, dtype, shape, offset in slots),
            default=0,
        )
        self._reach(end)
        views = {name: self._at(offset, dtype, shape) for name, dtype, shape, offset in slots}
        return Layout(description, views, end)

    def _keep(self, key: Hashable, layout: Layout) -> Layout:
        if layout.end <= KEPT:  # what lies behind may be taken away by `shrink`
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[key] = layout
        return layout

    def _at(self, offset: int, dtype: np.dtype[np.generic], shape: Sequence[int]) -> Array:
        if not math.prod(shape):
            return np.empty(shape, dtype)
        view: Array = np.ndarray(shape, dtype, self._map, offset)
        return view

    def _reach(self, length: int) -> None:
        """Have at least so many bytes, in the file and in the map."""
        if length <= min(self._length, KEPT):  # the other side never takes those away
            return
        if os.fstat(self.descriptor).st_size < length:
            os.ftruncate(self.descriptor, -(-length // mmap.PAGESIZE) * mmap.PAGESIZE)
        if self._length < length:
            self._length = os.fstat(self.descriptor).st_size
            self._map = mmap.mmap(self.descriptor, self._length)
            self._known.clear()  # views of the old map; those in use keep it


def _alike(views: Mapping[str, Array], arrays: Mapping[str, Array]) -> bool:
    """Whether arrays have the names, types and shapes of others."""
    if len(views) != len(arrays):
        return False
    for name, view in views.items():
        array = arrays.get(name)
        if array is None or array.shape != view.shape or array.dtype != view.dtype:
            return False
    return True
