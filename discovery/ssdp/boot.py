# SPDX-License-Identifier: Apache-2.0
"""BOOTID.UPNP.ORG: a number that is greater each time the device begins anew.

UPnP Device Architecture 2.0, section 1.2.2: it is kept over power cycles, or taken from the clock.
Here both: it is one more than the last one kept, and at least the seconds since 2020, so that it
grows where the file is lost, and where the clock was set back or has never been set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .message import NUMBER_MAX

_EPOCH = 1_577_836_800  # 2020-01-01: with it the clock fits 31 bits until 2088.


class BootCounter:
    """Gives the numbers.

    Attributes:
        last: The one given last, 0 before the first.

    Args:
        path: File that keeps the last one; its folder is made when needed. None: nothing is kept.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self.last = 0

    def next(self) -> int:
        """The next number; it is on the disk before it is returned.

        Raises:
            OSError: It cannot be kept. `last` is the number all the same.
        """
        last = max(self.last, self._kept())
        number = max(last + 1, int(self._clock()) - _EPOCH)
        if number > NUMBER_MAX:  # The clock is wrong, or it is 2088: all must forget us first.
            number = last + 1 if last < NUMBER_MAX else 1
        self.last = number
        if self._path is not None:
            _keep(self._path, number)
        return number

    def _kept(self) -> int:
        if self._path is None:
            return 0
        with suppress(OSError, ValueError):  # First start; or damaged.
            number = int(self._path.read_bytes()[:32])
            return number if 0 <= number <= NUMBER_MAX else 0
        return 0


def _keep(path: Path, number: int) -> None:
    """Write the file so that it has the old or the new number whenever power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(fresh, "w", encoding="ascii") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
