# SPDX-License-Identifier: Apache-2.0
"""Interrupts that are waited for: what the faces of ``uio`` and ``vfio`` share."""

from __future__ import annotations

import sys

from .device import Device, Seconds

__all__ = ["Interrupts"]

WORD = 4
"""Bytes of the count."""


class Interrupts(Device):
    """A device whose reads wait for an interrupt and give the count of them."""

    __slots__ = ()

    def wait(self, timeout: Seconds = ...) -> int:
        """Wait for an interrupt that came after the last wait (or the opening).

        Returns:
            The count of interrupts, modulo 2**32; more than one further: some came together.

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


def _count(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
