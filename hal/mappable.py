# SPDX-License-Identifier: Apache-2.0
"""Devices whose memory becomes numpy arrays: what their faces have in common."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from .device import Device
from .errors import InvalidArgument
from .settings import State

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Mappable"]


class Mappable(Device):
    """A device whose memory becomes numpy arrays."""

    __slots__ = ()

    size = State[int]("size", "Bytes.")

    def array(
        self,
        dtype: DTypeLike = "uint8",
        shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
        offset: int = 0,
        *,
        write: bool = True,
        write_combine: bool = False,
        sync: bool = False,
    ) -> NDArray[Any]:
        """A numpy array that is the memory itself: nothing is copied.

        It keeps its mapping alive, also after ``close()``; the mapping ends with the last array.
        Numpy accesses memory in widths of its own choice: for registers with side effects use
        ``load()`` and ``store()``.

        Args:
            dtype: Of the elements.
            shape: How many; None: as many as there are from the offset on.
            offset: Bytes from the device's start; need not be a multiple of anything.
            write: Whether it can be written to.
            write_combine: Gather stores (prefetchable BARs); ``hal.cache`` says when they arrive.
            sync: Map with MAP_SYNC: stores last once ``persist()`` has returned.

        Raises:
            InvalidArgument: The array would reach beyond the device.
            Unsupported: It cannot be mapped, or not so; the text says why.
            PermissionDenied: To be written, but opened with read_only.
        """
        import numpy as np

        kind = np.dtype(dtype)
        if kind.hasobject or kind.itemsize == 0:
            raise InvalidArgument(f'array "{self.uri}": elements of {kind} are not plain memory')
        extent = _extent(shape, max(self.size - offset, 0) // kind.itemsize)
        length = math.prod(extent) * kind.itemsize
        if any(count < 0 for count in extent):
            raise InvalidArgument(f'array "{self.uri}": the shape {extent} has a negative length')
        if length == 0:
            raise InvalidArgument(
                f'array "{self.uri}": no element of {kind.itemsize} bytes at offset {offset} of '
                f"{self.size} bytes"
            )
        mapping = self.map(offset, length, write=write, write_combine=write_combine, sync=sync)
        array: NDArray[Any] = np.ndarray(extent, kind, memoryview(mapping))
        return array


def _extent(shape: SupportsIndex | Sequence[SupportsIndex] | None, most: int) -> tuple[int, ...]:
    if shape is None:
        return (most,)
    lengths = (shape,) if isinstance(shape, SupportsIndex) else shape
    return tuple(operator.index(length) for length in lengths)
