# SPDX-License-Identifier: Apache-2.0
"""What an agent exports: names for devices, and who holds which."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import hal
from hal.errors import Busy, InvalidArgument, NotFound

SHARED, EXCLUSIVE = 1, 2


@dataclass(slots=True)
class Export:
    """A device that may be used from elsewhere.

    Attributes:
        name: What it is called there.
        uri: What is opened here.
        device: The open device; None while nobody holds it.
        options: What it was opened with, besides its URI.
        holders: Who holds it: a number of the lease, and a name for people.
        exclusive: Whether one holder has it for himself.
    """

    name: str
    uri: str
    device: hal.Device | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    holders: dict[int, str] = field(default_factory=dict)
    exclusive: bool = False


class Exports:
    """The exported devices. Threads may share it.

    Args:
        devices: URI by name.
    """

    def __init__(self, devices: Mapping[str, str]) -> None:
        self._exports = {name: Export(name, uri) for name, uri in devices.items()}
        self._lock = threading.Lock()
        self._leases = 0

    def all(self) -> list[Export]:
        """Every export, by name."""
        return sorted(self._exports.values(), key=lambda export: export.name)

    def lease(
        self, name: str, kind: int, holder: str, options: Mapping[str, str], timeout: float | None
    ) -> tuple[int, hal.Device]:
        """Take a device, and open it if nobody has it open.

        Args:
            name: Which.
            kind: `SHARED` or `EXCLUSIVE`.
            holder: Who takes it, for people.
            options: Added to its URI. While others hold it they must be the same.
            timeout: Bounds the opening, seconds.

        Returns:
            The number of the lease, and the device, which stays the agent's.

        Raises:
            NotFound: No device of that name is exported.
            Busy: Somebody has it for himself, or others have it and it is wanted exclusively, or it
                is open with other options; the message names them.
        """
        export = self._exports.get(name)
        if export is None:
            names = ", ".join(sorted(self._exports)) or "none"
            text = f'open "{name}": not exported here; exported to you may be: {names}'
            raise NotFound(errno.ENOENT, text)
        if kind not in (SHARED, EXCLUSIVE):
            raise InvalidArgument(errno.EINVAL, f'open "{name}": no lease of kind {kind}')
        with self._lock:
            self._check(export, kind, options)
            if export.device is None:
                export.device = hal.open(export.uri, timeout=timeout, **options)
                export.options = dict(options)
            self._leases += 1
            export.holders[self._leases] = holder
            export.exclusive = kind == EXCLUSIVE
            return self._leases, export.device

    def _check(self, export: Export, kind: int, options: Mapping[str, str]) -> None:
        who = ", ".join(export.holders.values())
        if export.holders and (export.exclusive or kind == EXCLUSIVE):
            raise Busy(errno.EBUSY, f'open "{export.name}": held by {who}')
        if export.holders and dict(options) != dict(export.options):
            text = f'open "{export.name}": shared with {who}, who opened it with other options'
            raise Busy(errno.EBUSY, text)

    def release(self, name: str, lease: int) -> None:
        """Give a lease back; the last one closes the device."""
        export = self._exports[name]
        with self._lock:
            export.holders.pop(lease, None)
            if export.holders or export.device is None:
                return
            device, export.device, export.exclusive = export.device, None, False
        device.close()
