# SPDX-License-Identifier: Apache-2.0
"""Registers: the face of devices of the driver ``mmio`` (docs/mmio.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from .device import Device, face
from .errors import InvalidArgument
from .settings import State

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from .registers import RegisterMap, Registers

__all__ = ["Mmio"]


@face("mmio")
class Mmio(Device, _core.RegisterHandle):
    """Registers of exact width: a PCI BAR, a map of a UIO device, physical memory.

    Example::

        with hal.Mmio.open("mmio:0000:00:04.0/0", enable=True) as edu:
            edu.write32(4, 0x12345678)
            assert edu.read32(4) == 0xEDCBA987
            registers = edu.registers("edu.toml")
            registers.FACTORIAL.value = 10
    """

    __slots__ = ()

    size = State[int]("size", "Bytes of the region.")
    prefetchable = State[bool]("prefetchable", "Whether reads have no side effects.")
    what = State[str]("what", "Where the registers are.")

    def registers(self, registers: RegisterMap | str | Path) -> Registers:
        """The registers by name, of a map or the file it is in (docs/registers.md)."""
        from .registers import Registers

        return Registers(self, registers)

    def view(
        self,
        dtype: DTypeLike = "u4",
        offset: int = 0,
        length: int = 0,
        *,
        write: bool = True,
        write_combine: bool = False,
    ) -> NDArray[Any]:
        """A block as a numpy array, without a copy.

        Numpy reads and writes in widths of its own choice: for memory (buffers, frames), not for
        registers with side effects.

        Args:
            dtype: Of the elements.
            offset: Bytes from the start.
            length: Elements; 0: as many as there are.
            write: Whether the array can be written.
            write_combine: Gather stores (prefetchable BARs); ``hal.cache`` says when they arrive.

        Returns:
            The array, of one dimension. It keeps the mapping alive and outlives the device.

        Raises:
            InvalidArgument: It is beyond the region.
            Unsupported: No write-combining here.
        """
        import numpy as np

        kind = np.dtype(dtype)
        room = max(self.size - offset, 0) // kind.itemsize if kind.itemsize else 0
        count = length or room
        if count <= 0:
            raise InvalidArgument(f'view "{self.uri}": {count} elements of {kind} at {offset:#x}')
        mapping = self.map(offset, count * kind.itemsize, write=write, write_combine=write_combine)
        array: NDArray[Any] = np.frombuffer(memoryview(mapping), kind, count)
        return array
