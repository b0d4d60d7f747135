# SPDX-License-Identifier: Apache-2.0
"""Interrupts: the face of devices of the driver ``uio`` (docs/uio.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _core
from .device import Device, Seconds, face
from .settings import State

if TYPE_CHECKING:
    from .registers import RegisterMap, Registers

__all__ = ["Uio"]

WORD = 4
"""Bytes of the kernel's count."""


@face("uio")
class Uio(Device, _core.RegisterHandle):
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

    def wait(self, timeout: Seconds = ...) -> int:
        """Wait for an interrupt that came after the last wait (or the opening).

        Returns:
            The kernel's count of interrupts, modulo 2**32; more than one further: some came
            together.

        Raises:
            Timeout, Cancelled, Unplugged.
        """
        return _count(self.read(WORD, timeout))

    async def await_interrupt(self, timeout: Seconds = ...) -> int:
        """wait() for asyncio."""
        return _count(await self.aread(WORD, timeout))

    def arm(self) -> None:
        """Let the interrupt through now; wait() does it by itself."""
        self.write((1).to_bytes(WORD, sys.byteorder))

    def disarm(self) -> None:
        """Hold the interrupt back, until arm() or the next wait that finds none."""
        self.write((0).to_bytes(WORD, sys.byteorder))

    def registers(self, registers: RegisterMap | str | Path) -> Registers:
        """The registers by name, of a map or the file it is in (docs/registers.md)."""
        from .registers import Registers

        return Registers(self, registers)


def _count(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
