# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol (QMP, docs/interop/qmp-spec.txt): commands and events over a socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class QmpError(Exception):
    """QEMU refused a command; the text names the command and QEMU's reason."""


def connect(path: Path, timeout: float) -> socket.socket:
    """Connect to a socket that QEMU is about to open.

    Args:
        path: the socket's file.
        timeout: how long to keep trying, in seconds.
    """
    end = time.monotonic() + timeout
    while True:
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            peer.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return peer


class Qmp:
    """One connection; for one thread at a time."""

    def __init__(self, path: Path, timeout: float = 20) -> None:
        """Connect; every later command has the same timeout, in seconds."""
        self._peer = connect(path, timeout)
        self._peer.settimeout(timeout)
        self._file = self._peer.makefile("rw")
        self._events: list[dict[str, Any]] = []
        self._receive(lambda message: "QMP" in message)
        self("qmp_capabilities")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._peer.close()

    def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read until a wanted message; events met on the way are kept."""
        while True:
            line = self._file.readline()
            if not line:
                raise QmpError("read from QEMU: it has ended")
            message: dict[str, Any] = json.loads(line)
            if wanted(message):
                return message
            if "event" in message:
                self._events.append(message)

    def __call__(self, command: str, **arguments: object) -> Any:
        """Run a command and give what it returns.

        Raises:
            QmpError: QEMU refused it.
        """
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        answer = self._receive(lambda message: "return" in message or "error" in message)
        if "error" in answer:
            raise QmpError(f"{command} {arguments}: {answer['error']['desc']}")
        return answer["return"]

    def unplug(self, device: str) -> None:
        """Pull a device out and wait until it is gone."""
        self._events.clear()
        self("device_del", id=device)

        def gone(message: dict[str, Any]) -> bool:
            deleted = message.get("event") == "DEVICE_DELETED"
            return deleted and message["data"].get("device") == device

        if not any(gone(event) for event in self._events):
            self._receive(gone)

    def plug(self, device: str, **properties: str) -> None:
        """Put a device in; ``properties`` has its ``driver`` and, if needed, its ``bus``."""
        self("device_add", id=device, **properties)
