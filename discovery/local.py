# SPDX-License-Identifier: Apache-2.0
"""The devices of this machine, kept up to date as they come and go.

Events only say where to look again; what is there is read from sysfs each time. So it does no harm
that events come twice, late, in thousands, or not at all: when some are known to be lost, or a
monitor breaks, everything is looked at again, and now and then without any reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .inventory import Standing
from .record import Inventory
from .roster import Roster, Sighting
from .within import within

if TYPE_CHECKING:
    from .uevents import Uevents

PERIOD = 30.0
"""Seconds between two whole looks when nothing happens."""

BLIND_PERIOD = 2.0
"""The same where events cannot be had."""

SETTLE: Final = 0.005
"""Seconds from an event to the look: one device makes several events."""

UDEV_TIME: Final = 0.12
"""Seconds that udevd is given to prepare a device that the kernel has told of."""

SECOND_LOOK = 2.0
"""Seconds after the last event to a whole look, for what depends on the devices concerned."""

_BREATH = 0.05
"""Seconds without a look after a whole one, at most. After another one it is as long as it took."""

_BATCH = 64
"""Events read at a time; then others have their turn in the event loop."""


class LocalScout:
    """Looks at this machine, and again wherever the kernel or udev tells of a change.

    Both are listened to. Where udevd runs, a device is looked at when udevd is done with it, and
    `UDEV_TIME` after the kernel's event at the latest; so it does not matter whether udevd is
    there, dies or starts again.

    Args:
        on_look: Called after each look.
        root: Where the machine's root is, for tests.
    """

    source = "local"

    def __init__(self, on_look: Callable[[], object] = lambda: None, root: str = "/") -> None:
        self._on_look = on_look
        self._standing = Standing(root)
        self._monitors: list[Uevents] = []
        self._touched: set[str] = set()
        self._whole = True
        self._due = math.inf
        self._whole_due = 0.0
        self._earliest = 0.0
        self._eventful = False
        self._told: set[str] = set()
        self._known: set[str] | None = None

    async def run(self, roster: Roster) -> None:
        """Keep the roster right until cancelled."""
        self._roster = roster
        self._wake = asyncio.Event()
        with contextlib.suppress(ImportError):  # Told when monitors are opened.
            await asyncio.to_thread(importlib.import_module, ".uevents", __package__)
        try:
            while True:
                self._open()
                await self._look()
                await self._wait()
        finally:
            self._close()

    def _open(self) -> None:
        """Listen, before the look, so that nothing happens unnoticed between."""
        if self._monitors:
            return
        loop = asyncio.get_running_loop()
        try:
            from .uevents import Uevents

            for group in ("kernel", "udev"):
                monitor = Uevents(group)
                self._monitors.append(monitor)
                loop.add_reader(monitor.fileno(), self._read, monitor)
        except (ImportError, OSError) as error:
            self._close()
            cause = f"no events of devices that come and go ({error}): looked for every"
            self._roster.trouble(self.source, f"{cause} {BLIND_PERIOD:g} s", "events")

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for monitor in self._monitors:
            loop.remove_reader(monitor.fileno())
            monitor.close()
        self._monitors = []

    def _read(self, monitor: Uevents) -> None:
        """Note where to look: the event loop has seen that there are events."""
        try:
            subsystems = monitor.read(_BATCH)
        except OSError as error:
            self._lost(monitor, error)
            return
        if not subsystems:
            return
        now = time.monotonic()
        self._eventful = True
        self._touched.update(subsystems)
        patience = UDEV_TIME if monitor.group == "kernel" and _udevd() else SETTLE
        self._due = min(self._due, now + patience)
        self._whole_due = min(self._whole_due, now + SECOND_LOOK)
        self._wake.set()

    def _lost(self, monitor: Uevents, error: OSError) -> None:
        """Look at everything again, with new monitors."""
        cause = f"events were lost ({error.strerror or error}): everything is looked at again"
        self._roster.trouble(self.source, cause, "events")
        self._close()
        self._whole = self._eventful = True
        self._due = time.monotonic()
        self._wake.set()

    async def _wait(self) -> None:
        """Until it is time for the next look."""
        while (left := self._next() - time.monotonic()) > 0:
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(left, self._wake.wait())
        self._whole = self._whole or self._whole_due <= time.monotonic()

    def _next(self) -> float:
        return max(min(self._due, self._whole_due), self._earliest)

    async def _look(self) -> None:
        """Look at what was touched, or at everything, in a thread: it takes its time."""
        whole, touched = self._whole, self._touched
        self._whole, self._touched, self._due = False, set(), math.inf
        begun = time.monotonic()
        quiet = whole and not self._eventful
        if whole:
            self._eventful = False
            self._whole_due = begun + (PERIOD if self._monitors else BLIND_PERIOD)
        inventory = await asyncio.to_thread(self._standing.look, None if whole else touched)
        self._tell(inventory)
        now = time.monotonic()
        spent = now - begun
        self._earliest = now + (min(spent, _BREATH) if whole else spent)
        known = {record.id for record in inventory}
        if whole and self._monitors:
            self._roster.trouble(self.source, "", "events")
        if quiet and not self._eventful and self._known not in (None, known):
            self._close()  # Devices came or went, and no event told so: these monitors are no good.
            self._whole_due = now
        self._known = known
        self._on_look()

    def _tell(self, inventory: Inventory) -> None:
        now = time.time()
        links = [r for r in inventory if r.device_class == "network"]
        self._roster.replace(
            self.source,
            [
                Sighting(
                    source=self.source,
                    key=record.id,
                    record=replace(record, last_seen=now),
                    places=frozenset((f"path /sys{record.path}",)),
                    links=tuple(r.name for r in links if r.path.startswith(f"{record.path}/")),
                )
                for record in inventory
            ],
        )
        causes: dict[str, str] = {}
        for problem in inventory.problems:
            earlier = causes.get(problem.source)
            causes[problem.source] = f"{earlier}; {problem.cause}" if earlier else problem.cause
        for about in self._told - causes.keys():
            self._roster.trouble(self.source, "", about)
        for about, cause in causes.items():
            self._roster.trouble(self.source, cause, about)
        self._told = set(causes)


def _udevd() -> bool:
    return os.path.exists("/run/udev/control")
