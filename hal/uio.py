# SPDX-License-Identifier: Apache-2.0
"""Interrupts: the face of devices of the driver ``uio`` (docs/uio.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import _core
from .device import face
from .interrupts import Interrupts
from .settings import State

if TYPE_CHECKING:
    from .registers import RegisterMap, Registers

__all__ = ["Uio"]


@face("uio")
class Uio(Interrupts, _core.RegisterHandle):
    """A device that the kernel hands to user space: its interrupt, and its registers.

    Example::

        with hal.Uio.open("uio:uio0") as edu:
            count = edu.wait(timeout=1)
            edu.write32(0x64, edu.read32(0x24))  # see to the device ...
            count = edu.wait(timeout=1)  # ... before the next wait, which lets it through again
    """

    __slots__ = ()

    count = State[int]("count", "Interrupts since the kernel's driver was bound.")
    name = State[str]("name", "What the kernel's driver calls the device.")
    rearm = State[str]("rearm", 'How it is let through again: "write", "pci" or "none".')

    def registers(self, registers: RegisterMap | str | Path) -> Registers:
        """The registers by name, of a map or the file it is in (docs/registers.md)."""
        from .registers import Registers

        return Registers(self, registers)
