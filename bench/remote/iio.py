# SPDX-License-Identifier: Apache-2.0
"""iiod, without encryption: an attribute of 64 bytes, read by libiio 0.x."""

from __future__ import annotations

import ctypes
import ctypes.util

SERVE = """
mount -t tmpfs tmpfs /sys/bus
d=/sys/bus/iio/devices/iio:device0
mkdir -p $d /sys/bus/usb/devices
echo stand-in >$d/name
printf 'MAJOR=1\\nMINOR=1\\n' >$d/uevent
echo 250:0 >$d/dev
printf '%063d\\n' 0 >$d/in_voltage0_raw
exec iiod -u local:
"""
"""For a shell in a mount namespace: libiio's local backend reads the files of sysfs."""


class Client:
    """A connection to an iiod on the loopback.

    Raises:
        OSError: libiio is not there, or nobody listens.
    """

    def __init__(self) -> None:
        self._iio = iio = ctypes.CDLL(ctypes.util.find_library("iio") or "libiio.so.0")
        for name in ("create_network_context", "context_get_device", "device_find_channel"):
            getattr(iio, f"iio_{name}").restype = ctypes.c_void_p
        iio.iio_channel_attr_read.restype = ctypes.c_ssize_t
        self._context = ctypes.c_void_p(iio.iio_create_network_context(b"127.0.0.1"))
        if not self._context:
            raise OSError("iiod does not answer")
        device = ctypes.c_void_p(iio.iio_context_get_device(self._context, 0))
        self._channel = ctypes.c_void_p(
            iio.iio_device_find_channel(device, b"voltage0", ctypes.c_bool(False))
        )
        self._room = ctypes.create_string_buffer(128)
        if self.read() != 64:
            raise OSError("iiod does not give the attribute")

    def read(self) -> int:
        """64 bytes, with the NUL."""
        return int(
            self._iio.iio_channel_attr_read(self._channel, b"raw", self._room, len(self._room))
        )

    def close(self) -> None:
        """End it."""
        self._iio.iio_context_destroy(self._context)
