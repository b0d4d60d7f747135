# SPDX-License-Identifier: Apache-2.0
"""How long a processor may take to wake up, while requests come.

A request wakes four: the service, the worker, the service again, the client. A processor that
sleeps deeply takes up to hundreds of microseconds for it; one of a virtual machine has to be run
again by the host. The kernel can be told how long it may take, for all processors; the cost is
power.

Source: "Power Management Quality of Service for CPUs" in the kernel's
Documentation/admin-guide/pm/cpuidle.rst: what is written to /dev/cpu_dma_latency holds until
something else is, or the file is closed, however its holder ends.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

from ..errors import Error

DEVICE = Path("/dev/cpu_dma_latency")
ANY = 2_000_000_000
"""Microseconds: the kernel's own word for no bound."""
HOLD = 1.0
"""Seconds without a request after which processors sleep as they like."""


class WakeLatency:
    """A bound on the time in which processors wake up, while somebody is busy. One thread uses it.

    Args:
        microseconds: 0 to `ANY`; at 0 they do not sleep at all.

    Raises:
        Error: This kernel has no such bound, or the right to it is missing.
    """

    def __init__(self, microseconds: int) -> None:
        self._bound = microseconds
        self._until = 0.0
        self._held = False
        try:
            self._file = os.open(DEVICE, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Error(
                f'bound the time in which processors wake up by "{DEVICE}": {error.strerror};'
                " it takes the right to write it (root's, or by a udev rule), and a kernel with"
                " CONFIG_CPU_IDLE"
            ) from error
        self._ask(ANY)

    def look(self, busy: bool) -> None:
        """Bound it while somebody is busy, and `HOLD` seconds longer; called now and then."""
        now = time.monotonic()
        if busy:
            self._until = now + HOLD
        held = now < self._until
        if held != self._held:
            self._ask(self._bound if held else ANY)
            self._held = held

    def close(self) -> None:
        """Bound it no more."""
        os.close(self._file)

    def _ask(self, microseconds: int) -> None:
        os.write(self._file, struct.pack("=i", microseconds))
