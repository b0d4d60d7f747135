# SPDX-License-Identifier: Apache-2.0
"""Arrays between two processes, through memory that both have mapped."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from .errors import InputError
from .tensor import Array

Slot: TypeAlias = "tuple[str, str, list[int], int]"
"""Name, element type, shape and offset of an array: what goes through the socket."""

ALIGNMENT = 64
"""Of arrays, in bytes: a cache line, and the widest vector register."""
KEPT = 16 << 20
"""Bytes that a region keeps when a large call is over."""


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

    @classmethod
    def make(cls) -> Region:
        """A new one."""
        return cls(os.memfd_create("autoglm-exchange", os.MFD_CLOEXEC))

    def put(self, arrays: Mapping[str, Array], begin: int = 0) -> tuple[list[Slot], int]:
        """Copy arrays into it.

        Args:
            arrays: Of plain element types.
            begin: Where the first one may be.

        Returns:
            Where each is, and where the last one ends.

        Raises:
            InputError: One holds Python objects.
            MemoryError, OSError: There is no memory for them.
        """
        slots: list[Slot] = []
        end = begin
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise InputError(f"array {name!r} holds Python objects, which cannot be shared")
            begin = -(-end // ALIGNMENT) * ALIGNMENT
            end = begin + array.nbytes
            kind = array.dtype.name if array.dtype.kind == "V" else array.dtype.str
            slots.append((name, kind, list(array.shape), begin))
        self._reach(end)
        for (_, _, _, offset), array in zip(slots, arrays.values(), strict=True):
            if array.nbytes:
                self._at(offset, array.dtype, array.shape)[...] = array
        return slots, end

    def take(self, slots: Iterable[Slot]) -> dict[str, Array]:
        """Views of arrays that the other side put into it, until it puts others."""
        found = {}
        for name, kind, shape, offset in slots:
            dtype = np.dtype(kind)
            self._reach(offset + math.prod(shape) * dtype.itemsize)
            found[name] = self._at(offset, dtype, shape)
        return found

    def shrink(self) -> None:
        """Give back what a large call has needed; neither side uses a view now."""
        if self._length > KEPT:
            os.ftruncate(self.descriptor, KEPT)

    def close(self) -> None:
        """Give it back; the map goes with the last view of it."""
        os.close(self.descriptor)
        self._map = None

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
        if self._length < length:  # views of the old map keep it
            self._length = os.fstat(self.descriptor).st_size
            self._map = mmap.mmap(self.descriptor, self._length)
