# SPDX-License-Identifier: Apache-2.0
"""The kernel's devices through libudev (pyudev), with what udev's rules found out about them.

Without udevd, as in many containers, libudev gives the kernel's own properties.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

import pyudev

from .sysfs import Node, Sysfs, natural, printable

_threads = threading.local()


def context() -> pyudev.Context:
    """This thread's handle of libudev. Making one is slow: pyudev runs ldconfig to find it."""
    if not hasattr(_threads, "context"):
        _threads.context = pyudev.Context()
    return _threads.context


class Udev(Sysfs):
    """All devices of this machine.

    Attributes:
        running: Is udevd there to keep its database, and to give nodes their names and rights?
    """

    def __init__(self) -> None:
        super().__init__("/")
        self._context = context()
        self._devices: dict[str, pyudev.Device] = {}
        self.running = os.path.exists("/run/udev/control")

    def nodes(self, subsystem: str) -> Iterable[Node]:
        """The devices of a bus or class."""
        devices = self._context.list_devices(subsystem=subsystem)
        for device in sorted(devices, key=lambda device: natural(device.sys_name)):
            self._devices[device.sys_path] = device
            yield self.node(device.sys_path)

    def properties(self, path: str) -> dict[str, str]:
        """What uevent and udev's database say of one device."""
        if path not in self._devices:
            try:
                self._devices[path] = pyudev.Devices.from_sys_path(self._context, path)
            except pyudev.DeviceNotFoundError:  # It went away, or only groups others.
                return super().properties(path)
        device = self._devices[path]
        return {key: printable(value) for key, value in device.properties.items()}
