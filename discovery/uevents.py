# SPDX-License-Identifier: Apache-2.0
"""The kernel's device events (netlink(7), NETLINK_KOBJECT_UEVENT) through libudev.

An event says no more than "look there": its content is not believed, it may be lost or late.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

import pyudev

from .udev import context

BUFFER: Final = 16 << 20
"""Bytes the kernel may queue for one monitor: some 30,000 events."""


class Uevents:
    """The events of one group.

    Args:
        group: "kernel": as soon as the kernel has changed something. "udev": when udevd has given
            the device its name and rights.
        buffer: Bytes the kernel may queue; without CAP_NET_ADMIN it is bounded by
            /proc/sys/net/core/rmem_max.

    Raises:
        OSError: The kernel gives no such socket here.
    """

    def __init__(self, group: str, buffer: int = BUFFER) -> None:
        self.group = group
        self._monitor = pyudev.Monitor.from_netlink(context(), group)
        self._size(buffer)
        self._monitor.start()
        # The socket is closed with libudev's object, whenever that is collected: a descriptor of
        # our own can be taken out of an event loop for certain.
        self._descriptor = os.dup(self._monitor.fileno())

    def fileno(self) -> int:
        """The descriptor, readable when there are events."""
        return self._descriptor

    def read(self, most: int) -> list[str]:
        """The subsystems of the next events, at most so many; empty when there is none.

        Raises:
            OSError: Events were lost (ENOBUFS), or the socket is dead.
        """
        subsystems = []
        for _ in range(most):
            device = self._monitor.poll(timeout=0)
            if device is None:
                break
            subsystems.append(device.subsystem or "")
        return subsystems

    def close(self) -> None:
        """Read no more."""
        del self._monitor
        os.close(self._descriptor)

    def _size(self, buffer: int) -> None:
        try:
            self._monitor.set_receive_buffer_size(buffer)
        except OSError:  # Without rights, as much as everybody may have.
            with contextlib.closing(socket.socket(fileno=os.dup(self._monitor.fileno()))) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
