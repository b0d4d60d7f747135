# SPDX-License-Identifier: Apache-2.0
"""The guest's side of the request channel: what a test asks of the host that runs its guest."""

from __future__ import annotations

import base64
import json
import os
import select
import threading
from pathlib import Path
from typing import Any

PORT = "hal.request"


class HostError(Exception):
    """The host could not do what was asked; the text is its reason."""


class Host:
    """The host, as a test sees it.  Thread-safe; one request at a time."""

    def __init__(self) -> None:
        """Open the channel.

        Raises:
            HostError: this is no lab guest.
        """
        ports = Path("/sys/class/virtio-ports").glob("*/name")
        found = [port.parent.name for port in ports if port.read_text().strip() == PORT]
        if not found:
            raise HostError(f"find port {PORT}: none here (not a lab guest?)")
        self._port = os.open(f"/dev/{found[0]}", os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the channel."""
        os.close(self._port)

    def _call(self, call: str, *, wait: float = 30, **arguments: object) -> Any:
        request = json.dumps({"call": call, "arguments": arguments}) + "\n"
        with self._lock:
            data, answer = request.encode(), b""
            while data:
                data = data[os.write(self._port, data) :]
            while not answer.endswith(b"\n"):
                if not select.select([self._port], [], [], wait)[0]:
                    raise HostError(f"{call}: no answer within {wait:.0f} s")
                answer += os.read(self._port, 65536)
        result = json.loads(answer)
        if "error" in result:
            raise HostError(f"{call} {arguments}: {result['error']}")
        return result["result"]

    def unplug(self, device: str) -> None:
        """Pull a device out; it is gone from the machine when this returns.

        Args:
            device: its name in ``machine.py``: ``usb0`` or ``edu2``, or one that ``plug`` made.
        """
        self._call("unplug", device=device)

    def plug(self, device: str, **properties: str) -> None:
        """Put a device in; the kernel finds it shortly after this returns.

        Args:
            device: its name.
            properties: QEMU's for a new device (``driver="edu"``, ``bus="slot0"``); none to put one
                of the machine's own back.
        """
        self._call("plug", device=device, properties=properties)

    def qmp(self, command: str, **arguments: object) -> Any:
        """Run a command of QEMU's machine protocol and give what it returns."""
        return self._call("qmp", command=command, arguments=arguments)

    def send(self, chardev: str, data: bytes) -> None:
        """Send bytes into a serial line from its far end.

        Args:
            chardev: ``serial`` (ttyS1) or ``usb`` (ttyUSB0).
            data: the bytes.
        """
        self._call("send", chardev=chardev, data=base64.b64encode(data).decode())

    def receive(self, chardev: str, size: int, timeout: float = 5) -> bytes:
        """Give the next bytes that came out of a serial line at its far end.

        Args:
            chardev: as for ``send``.
            size: how many.
            timeout: how long to wait for them, in seconds; then what is there is given.
        """
        data = self._call("receive", chardev=chardev, size=size, timeout=timeout, wait=timeout + 30)
        return base64.b64decode(data)

    def echo(self, chardev: str, on: bool = True) -> None:
        """Make the far end of a serial line send everything back as it comes, or keep it again."""
        self._call("echo", chardev=chardev, on=on)

    def clear(self, chardev: str) -> None:
        """Make the far end of a serial line forget what it has received."""
        self._call("clear", chardev=chardev)

    def read_file(self, name: str, offset: int, size: int) -> bytes:
        """Give bytes of the file behind a memory device, as the host sees them.

        Args:
            name: ``ivshmem``, ``nvdimm`` or ``cxl``.
            offset: from the start of the device's memory.
            size: how many.
        """
        return base64.b64decode(self._call("read_file", name=name, offset=offset, size=size))

    def write_file(self, name: str, offset: int, data: bytes) -> None:
        """Change bytes of the file behind a memory device from the host's side."""
        self._call("write_file", name=name, offset=offset, data=base64.b64encode(data).decode())
