# SPDX-License-Identifier: Apache-2.0
"""PCI functions by VFIO: the face of devices of the driver ``vfio`` (docs/vfio.md)."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from .device import face
from .errors import Closed, Forked, InvalidArgument
from .interrupts import Interrupts
from .mmio import Mmio
from .settings import Setting, State

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Buffer, Self

    from ._core import AnyBuffer

__all__ = ["DmaRegion", "Vfio"]

# <hal/vfio.h>
_MAP, _UNMAP, _TRIGGER, _RESET = 0x5601, 0x5602, 0x5603, 0x5604
_READS, _WRITES = 1, 2
_ANY = (1 << 64) - 1
_DMA = struct.Struct("QQQII")


@face("vfio")
class Vfio(Interrupts, Mmio):
    """A region of a PCI function, with its interrupt and memory that the function reaches by DMA.

    Example::

        with hal.Vfio.open("vfio:0000:00:04.0/0", irq="msi") as edu:
            data = np.arange(512, dtype="u8")
            with edu.dma(data) as region:
                edu.write64(0x80, region.iova)  # edu: source, target, bytes, go
                edu.write64(0x88, 0x40000)
                edu.write64(0x90, region.nbytes)
                edu.write64(0x98, 5)
                edu.wait(timeout=1)
    """

    __slots__ = ()

    irq = State[str]("irq", 'What wait() waits for: "msix", "msi", "intx" or "none".')
    count = State[int]("count", "Interrupts that waits on this object have seen.")
    backend = State[str]("backend", 'The kernel\'s interface: "group" or "iommufd".')
    group = State[int]("group", "The IOMMU group: functions that the IOMMU cannot keep apart.")
    bus_master = Setting[bool]("bus_master", "Whether the function may begin transfers.")
    can_reset = State[bool]("can_reset", "Whether the function has a reset of its own.")
    dma_bytes = State[int](
        "dma_bytes", "Memory mapped for DMA here, in whole pages, locked in RAM."
    )

    @property
    def iova_ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last of the addresses for DMA that the IOMMU translates, in order."""
        words = str(self.attributes["iova_ranges"]).split()
        pairs = (word.split("-") for word in words)
        return tuple((int(first, 16), int(last, 16)) for first, last in pairs)

    def dma(
        self,
        array: AnyBuffer,
        *,
        read: bool = True,
        write: bool = True,
        iova: int | None = None,
    ) -> DmaRegion:
        """Let the function reach an array, until the region is closed, or forgotten.

        The array is not copied, and cannot be freed or resized before it is unmapped. An IOMMU maps
        whole pages: the function reaches whatever else lies in the array's first and last page.
        Where that matters take ``dma_buffer()``, which shares no page.

        Args:
            array: Contiguous memory: a numpy array, a bytearray, a mapping.
            read: Whether the function may read it.
            write: Whether the function may write to it.
            iova: The address that the function shall see; None: the lowest that is free.

        Raises:
            InvalidArgument: It is not contiguous, empty, or read-only and ``write`` is set; the
                IOVA is not one that the IOMMU translates.
            Error: The limit of locked memory (the text says which), the IOVA is taken, or there is
                no room for one.
        """
        return DmaRegion(self, array, read=read, write=write, iova=iova)

    def dma_buffer(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = "u1",
        *,
        read: bool = True,
        write: bool = True,
        iova: int | None = None,
    ) -> DmaRegion:
        """New memory, of pages of its own and zero, as ``dma()``; ``region.array`` is the array.

        Args:
            shape: Of the array.
            dtype: Of its elements.
            read: Whether the function may read it.
            write: Whether the function may write to it.
            iova: The address that the function shall see; None: the lowest that is free.
        """
        import numpy as np

        kind = np.dtype(dtype)
        extent = (shape,) if isinstance(shape, int) else tuple(shape)
        size = math.prod(extent) * kind.itemsize
        if kind.hasobject or size <= 0 or min(extent, default=1) < 0:
            raise InvalidArgument(f'dma_buffer "{self.uri}": {extent} elements of {kind}')
        memory = mmap.mmap(-1, size)
        array: NDArray[Any] = np.ndarray(extent, kind, memory)
        return DmaRegion(self, array, read=read, write=write, iova=iova)

    def trigger(self) -> None:
        """Have the kernel act as if the interrupt had come, to test what waits for it."""
        self.control(_TRIGGER)

    def reset(self) -> None:
        """Reset the function, for all who have it open.

        Raises:
            Unsupported: It has no reset of its own (``can_reset``).
        """
        self.control(_RESET)


class DmaRegion:
    """An array that a device reaches by DMA; ``Vfio.dma()`` makes it.

    It holds the array and the device. ``close()``, the end of a ``with`` block, the region's
    garbage collection and the device's ``close()`` unmap; only then can the array be freed.
    """

    __slots__ = ("_array", "_device", "_iova", "_mapped", "_view")

    def __init__(
        self, device: Vfio, array: AnyBuffer, *, read: bool, write: bool, iova: int | None
    ) -> None:
        self._mapped = False
        self._device = device
        self._array = array
        self._view = _bytes_of(array, device.uri, write=write)
        if iova is not None and not 0 <= iova < _ANY:
            raise InvalidArgument(f'dma "{device.uri}": {iova} is no IOVA')
        flags = (_READS if read else 0) | (_WRITES if write else 0)
        where = _ANY if iova is None else iova
        request = bytearray(_DMA.pack(_address(self._view), self._view.nbytes, where, flags, 0))
        device.control(_MAP, request)
        self._mapped = True
        self._iova: int = _DMA.unpack(request)[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._mapped:
            self.close()

    def __len__(self) -> int:
        return self.nbytes

    def __repr__(self) -> str:
        state = f"at {self._iova:#x}" if self._mapped else "closed"
        return f'<hal.DmaRegion of "{self._device.uri}", {self._view.nbytes} bytes {state}>'

    @property
    def array(self) -> Any:
        """The array, also once closed."""
        return self._array

    @property
    def iova(self) -> int:
        """The address of its first byte, for the device."""
        return self._iova

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return self._view.nbytes

    @property
    def closed(self) -> bool:
        """Whether it is unmapped."""
        return not self._mapped or self._device.closed

    def close(self) -> None:
        """Unmap it: once this returns, no device reaches it any more. Twice does nothing."""
        if not self._mapped:
            return
        self._mapped = False
        # Closing the device has unmapped it; in a forked child it is the parent's.
        with suppress(Closed, Forked):
            self._device.control(_UNMAP, _DMA.pack(0, 0, self._iova, 0, 0))


def _bytes_of(array: AnyBuffer, uri: str, *, write: bool) -> memoryview:
    """Its memory as bytes; the view keeps it where it is."""
    view = memoryview(cast("Buffer", array))
    if not view.c_contiguous and not view.f_contiguous:
        raise InvalidArgument(
            f'dma "{uri}": the array is not contiguous (strides {view.strides}): '
            "map the array it is part of, or a copy (numpy.ascontiguousarray)"
        )
    if view.nbytes == 0:
        raise InvalidArgument(f'dma "{uri}": the array is empty')
    if write and view.readonly:
        raise InvalidArgument(
            f'dma "{uri}": the array is read-only: map it with write=False, for the device to read'
        )
    return view


def _address(view: memoryview) -> int:
    import numpy as np

    place: int = np.asarray(view).__array_interface__["data"][0]
    return place
