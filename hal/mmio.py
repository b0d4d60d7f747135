# SPDX-License-Identifier: Apache-2.0
"""Registers: the face of devices of the driver ``mmio`` (docs/mmio.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import _core
from .device import face
from .mappable import Mappable
from .settings import State

if TYPE_CHECKING:
    from .registers import RegisterMap, Registers

__all__ = ["Mmio"]


@face("mmio")
class Mmio(Mappable, _core.RegisterHandle):
    """Registers of exact width: a PCI BAR, a map of a UIO device, physical memory.

    Example::

        with hal.Mmio.open("mmio:0000:00:04.0/0", enable=True) as edu:
            edu.write32(4, 0x12345678)
            assert edu.read32(4) == 0xEDCBA987
            registers = edu.registers("edu.toml")
            registers.FACTORIAL.value = 10
    """

    __slots__ = ()

    prefetchable = State[bool]("prefetchable", "Whether reads have no side effects.")
    what = State[str]("what", "Where the registers are.")

    def registers(self, registers: RegisterMap | str | Path) -> Registers:
        """The registers by name, of a map or the file it is in (docs/registers.md)."""
        from .registers import Registers

        return Registers(self, registers)
